"""Orders to calls: checked against the book, said to the switch once, and each in the timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from callengine.calls.facts import LegAnswered
from callengine.calls.record import CallRecord
from callengine.errors import (
    CallOver,
    CommandRefused,
    CommandTimedOut,
    EslDisconnected,
    MalformedInput,
    NoSuchCall,
    NotAllowed,
    StoreUnavailable,
    SwitchUnavailable,
    WrongState,
)
from callengine.originate import orders
from tests.esl.parser import originate
from tests.originate.fakes import EPOCH_US, OTHER_TENANT, REQUEST, TENANT, Rig, path_of

NINE = {"type": "extension", "extension": "9001"}
AGENT = {"type": "agent", "agents": "desk", "agent_id": "7"}
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Nothing here may hang."""
    with gevent.Timeout(10, AssertionError("it hung")):
        yield Rig()


Order = Callable[[Rig, str, str], CallRecord]
ORDERS: dict[str, Order] = {
    "bridge": lambda rig, tenant, call: rig.control.bridge(tenant, call, AGENT),
    "transfer": lambda rig, tenant, call: rig.control.transfer(
        tenant, call, {"type": "extension", "extension": "9001"}
    ),
    "hold": lambda rig, tenant, call: rig.control.hold(tenant, call),
    "unhold": lambda rig, tenant, call: rig.control.unhold(tenant, call),
    "dtmf": lambda rig, tenant, call: rig.control.dtmf(tenant, call, "1", None),
    "recording": lambda rig, tenant, call: rig.control.recording(tenant, call, "start"),
}
HANGUP: Order = lambda rig, tenant, call: rig.control.hangup(tenant, call, None)  # noqa: E731
EVERY = {**ORDERS, "hangup": HANGUP}


def sent_since(rig: Rig, mark: int) -> list[str]:
    return rig.link.sent[mark:]


# -- who may, and when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_call_of_another_tenant_is_no_call(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    mark = len(rig.link.sent)
    for tenant, call in ((OTHER_TENANT, call_id), (TENANT, NOBODY)):
        with pytest.raises(NoSuchCall) as refusal:
            EVERY[name](rig, tenant, call)
        assert str(refusal.value) == "there is no such call"
    assert sent_since(rig, mark) == []


@pytest.mark.parametrize("name", EVERY)
def test_a_call_whose_tenant_is_not_known_yet_is_no_call(rig: Rig, name: str) -> None:
    rig.create("others", direction="inbound")
    call = rig.book.call_of("others")
    assert call is not None
    assert call.held
    with pytest.raises(NoSuchCall):
        EVERY[name](rig, TENANT, call.id)


@pytest.mark.parametrize("name", ORDERS)
def test_what_needs_somebody_there_is_refused_before_the_answer(rig: Rig, name: str) -> None:
    waiting = rig.submit()
    with pytest.raises(WrongState):
        ORDERS[name](rig, TENANT, waiting)
    rig.work()
    with pytest.raises(WrongState):
        ORDERS[name](rig, TENANT, waiting)
    rig.create(waiting)
    with pytest.raises(WrongState):
        ORDERS[name](rig, TENANT, waiting)
    assert len(rig.link.sent) == 1


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_over_is_over(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    rig.end(call_id)
    mark = len(rig.link.sent)
    with pytest.raises(CallOver):
        ORDERS[name](rig, TENANT, call_id)
    rig.wait(100)
    assert call_id not in rig.book.calls
    with pytest.raises(CallOver):
        ORDERS[name](rig, TENANT, call_id)
    assert sent_since(rig, mark) == []


@pytest.mark.parametrize("name", EVERY)
def test_without_a_switch_nothing_is_done(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    notes = len(rig.notes)
    rig.link.ready = False
    with pytest.raises(SwitchUnavailable):
        EVERY[name](rig, TENANT, call_id)
    rig.link.ready = True
    rig.link.answers = dict.fromkeys(
        ("uuid_kill", "uuid_transfer", "uuid_hold", "uuid_send_dtmf", "uuid_record", "originate"), EslDisconnected()
    )
    with pytest.raises(SwitchUnavailable):
        EVERY[name](rig, TENANT, call_id)
    assert len(rig.notes) == notes


@pytest.mark.parametrize("name", EVERY)
def test_no_answer_in_time_is_said_and_stands_in_the_timeline(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    verbs = ("uuid_kill", "uuid_transfer", "uuid_hold", "uuid_send_dtmf", "uuid_record", "originate")
    rig.link.answers = {verb: CommandTimedOut(verb, 5) for verb in verbs}
    with pytest.raises(CommandTimedOut):
        EVERY[name](rig, TENANT, call_id)
    assert (rig.notes[-1][1] or "").endswith("no reply")


@pytest.mark.parametrize("name", EVERY)
def test_a_call_of_another_engine_is_not_ours_to_order(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    del rig.book.calls[call_id]
    with pytest.raises(SwitchUnavailable):
        EVERY[name](rig, TENANT, call_id)


@pytest.mark.parametrize("name", EVERY)
def test_every_order_is_in_the_timeline_and_committed(rig: Rig, name: str) -> None:
    call_id = rig.answered()
    notes, flushes = len(rig.notes), rig.writer.flushes
    record = EVERY[name](rig, TENANT, call_id)
    assert record.id == call_id
    assert rig.words()[notes:] == [{"recording": "recording_start"}.get(name, name)]
    assert rig.writer.flushes == flushes + 1


def test_what_cannot_be_committed_is_not_confirmed(rig: Rig) -> None:
    call_id = rig.answered()
    rig.writer.away = True
    with pytest.raises(StoreUnavailable):
        rig.control.hold(TENANT, call_id)


def test_one_order_at_a_time_for_a_call_and_other_calls_go_on(rig: Rig) -> None:
    one, two = rig.answered(), rig.answered()
    rig.link.hold = Event()
    first = gevent.spawn(rig.control.recording, TENANT, one, "start")
    second = gevent.spawn(rig.control.recording, TENANT, one, "start")
    third = gevent.spawn(rig.control.dtmf, TENANT, two, "1", None)
    gevent.sleep(0.01)
    assert not second.dead
    assert f"uuid_send_dtmf {two} 1" in rig.link.sent
    rig.link.hold.set()
    gevent.joinall([first, second, third], raise_error=True)
    assert len([c for c in rig.link.sent if c.startswith(f"uuid_record {one} start")]) == 1


# -- placing -------------------------------------------------------------------------------------------------------


def test_a_call_is_placed_and_shown_as_committed(rig: Rig) -> None:
    record = rig.control.originate(TENANT, {**REQUEST, "caller_id_number": "100", "lead_id": "l"})
    assert (record.status, record.live, record.direction) == ("dialing", True, "outbound")
    assert (record.callee_number, record.caller_number, record.gateway) == ("+4930123456", "100", "carrier")
    assert (record.dial_us, record.lead_id, record.tenant_id) == (None, "l", TENANT)
    assert record.queued_us == rig.now_us()
    assert rig.link.sent == []
    rig.work()
    assert len(rig.originates()) == 1


def test_what_is_refused_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(NotAllowed):
        rig.control.originate(TENANT, {**REQUEST, "gateway": "other"})
    assert (rig.book.calls, rig.notes, rig.originator.queued) == ({}, [], 0)


# -- the end -------------------------------------------------------------------------------------------------------


def test_hanging_up_a_call_in_line_cancels_it(rig: Rig) -> None:
    call_id = rig.submit()
    record = rig.control.hangup(TENANT, call_id)
    assert (record.status, record.failure_reason, record.live) == ("failed", "cancelled", False)
    rig.work()
    assert rig.link.sent == []


def test_a_call_that_rings_is_cancelled_and_one_that_is_answered_is_cleared(rig: Rig) -> None:
    ringing = rig.dialled()
    rig.create(ringing)
    rig.control.hangup(TENANT, ringing)
    assert rig.link.sent[-1] == f"uuid_kill {ringing} ORIGINATOR_CANCEL"
    rig.end(ringing, "ORIGINATOR_CANCEL")
    talking = rig.answered()
    rig.control.hangup(TENANT, talking)
    assert rig.link.sent[-1] == f"uuid_kill {talking} NORMAL_CLEARING"
    rig.create("inbound", direction="inbound", tenant="a")
    inbound = rig.book.call_of("inbound")
    assert inbound is not None
    rig.control.hangup(TENANT, inbound.id, "CALL_REJECTED")
    assert rig.link.sent[-1] == "uuid_kill inbound CALL_REJECTED"


def test_hanging_up_again_is_no_error_and_asks_nothing(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.hangup(TENANT, call_id)
    rig.end(call_id)
    mark = len(rig.link.sent)
    assert rig.control.hangup(TENANT, call_id).status == "completed"
    rig.wait(100)
    assert rig.control.hangup(TENANT, call_id).status == "completed"
    assert sent_since(rig, mark) == []


def test_a_channel_that_is_not_there_yet_is_waited_for(rig: Rig) -> None:
    call_id = rig.dialled()
    tries = iter(["-ERR No such channel!\n"] * 3 + ["+OK\n"])
    rig.link.answers["uuid_kill"] = lambda command: next(tries)
    rig.control.hangup(TENANT, call_id)
    assert rig.link.sent[1:] == [f"uuid_kill {call_id} ORIGINATOR_CANCEL"] * 4
    assert rig.words().count("hangup") == 1


def test_a_channel_that_never_comes_is_not_waited_for_forever(rig: Rig) -> None:
    call_id = rig.dialled()
    rig.link.answers["uuid_kill"] = "-ERR No such channel!\n"
    before = rig.now
    assert rig.control.hangup(TENANT, call_id).live
    assert 2 <= rig.now - before < 3


def test_a_call_that_ends_while_its_channel_is_waited_for(rig: Rig) -> None:
    call_id = rig.dialled()

    def refuse(command: str) -> str:
        rig.job(call_id, "-ERR USER_BUSY")
        return "-ERR No such channel!\n"

    rig.link.answers["uuid_kill"] = refuse
    assert rig.control.hangup(TENANT, call_id).hangup_cause == "USER_BUSY"
    assert len(rig.link.sent) == 2


def test_the_agent_who_is_rung_first_is_let_go(rig: Rig) -> None:
    call_id = rig.dialled(first="agent", on_answer=AGENT)
    agent_leg = rig.book.calls[call_id].origination.agent_leg  # type: ignore[union-attr]
    rig.link.answers["uuid_kill"] = lambda c: "+OK\n" if agent_leg in c else "-ERR No such channel!\n"
    rig.control.hangup(TENANT, call_id)
    assert rig.link.sent[1:] == [f"uuid_kill {call_id} ORIGINATOR_CANCEL", f"uuid_kill {agent_leg} ORIGINATOR_CANCEL"]


# -- whom it is with -----------------------------------------------------------------------------------------------


def test_an_agent_is_rung_and_takes_the_call(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.bridge(TENANT, call_id, AGENT)
    command = originate(rig.link.sent[-1])
    assert command.target == "user/7@example.com"
    assert (command.application, command.arguments) == ("intercept", call_id)
    leg = command.variables["origination_uuid"]
    assert command.variables == {
        "callengine_agent_id": "7",
        "originate_timeout": "30",
        "ignore_early_media": "true",
        "origination_caller_id_number": "+4930123456",
        "origination_caller_id_name": "+4930123456",
        "origination_uuid": leg,
    }
    assert rig.notes[-1] == ("bridge", "agent 7")
    rig.create(leg, leg_agent="7", own_agent="7")
    rig.answer(leg)
    rig.bridge(leg, call_id)
    assert (rig.stored[call_id].status, rig.stored[call_id].agent_id) == ("agent_connected", "7")


def test_an_agent_is_rung_once(rig: Rig) -> None:
    call_id = rig.answered()
    for _ in range(3):
        rig.control.bridge(TENANT, call_id, AGENT)
    assert len(rig.originates()) == 2
    leg = originate(rig.link.sent[-1]).variables["origination_uuid"]
    rig.create(leg, leg_agent="7", own_agent="7")
    rig.control.bridge(TENANT, call_id, AGENT)
    rig.answer(leg)
    rig.bridge(leg, call_id)
    rig.control.bridge(TENANT, call_id, AGENT)
    assert len(rig.originates()) == 2
    rig.end(leg)
    rig.control.bridge(TENANT, call_id, AGENT)
    assert len(rig.originates()) == 3


def test_an_agent_who_did_not_answer_may_be_rung_again(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.bridge(TENANT, call_id, AGENT)
    leg = originate(rig.link.sent[-1]).variables["origination_uuid"]
    rig.create(leg, leg_agent="7", own_agent="7")
    rig.end(leg, "NO_ANSWER")
    rig.control.bridge(TENANT, call_id, AGENT)
    assert len(rig.originates()) == 3


@pytest.mark.parametrize("gone", ["over", "transferred", "another agent"])
def test_an_agent_who_is_no_longer_needed_is_let_go(rig: Rig, gone: str) -> None:
    call_id = rig.answered()
    rig.control.bridge(TENANT, call_id, AGENT)
    leg = originate(rig.link.sent[-1]).variables["origination_uuid"]
    if gone == "over":
        rig.end(call_id)
    elif gone == "transferred":
        rig.control.transfer(TENANT, call_id, {"type": "park"})
    else:
        rig.control.bridge(TENANT, call_id, {**AGENT, "agent_id": "8"})
    gevent.sleep(0.01)
    assert f"uuid_kill {leg} ORIGINATOR_CANCEL" in rig.link.sent


def test_an_agent_who_talks_is_not_let_go(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.bridge(TENANT, call_id, AGENT)
    leg = originate(rig.link.sent[-1]).variables["origination_uuid"]
    rig.create(leg, leg_agent="7", own_agent="7")
    rig.answer(leg)
    rig.bridge(leg, call_id)
    rig.end(call_id)
    gevent.sleep(0.01)
    assert not [c for c in rig.link.sent if c.startswith("uuid_kill")]


def test_an_agent_whom_the_switch_was_never_asked_for_is_asked_for_again(rig: Rig) -> None:
    call_id = rig.answered()
    for error in (EslDisconnected(), CommandRefused("bgapi", "-ERR permission denied")):
        rig.link.answers["originate"] = error
        with pytest.raises((SwitchUnavailable, CommandRefused)):
            rig.control.bridge(TENANT, call_id, AGENT)
    rig.link.answers.clear()
    rig.control.bridge(TENANT, call_id, AGENT)
    assert rig.words().count("bridge") == 1
    assert len(rig.originates()) == 4


def test_an_agent_whose_channel_is_not_there_yet_is_let_go_all_the_same(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.bridge(TENANT, call_id, AGENT)
    tries = iter(["-ERR No such channel!\n", "+OK\n"])
    rig.link.answers["uuid_kill"] = lambda command: next(tries)
    rig.end(call_id)
    gevent.sleep(0.01)
    assert len([c for c in rig.link.sent if c.startswith("uuid_kill")]) == 2


def test_two_calls_of_one_tenant_are_connected_once(rig: Rig) -> None:
    one, two = rig.answered(), rig.answered()
    for call in (two, two.upper()):
        rig.control.bridge(TENANT, one, {"type": "call", "call_id": call})
        rig.bridge(one, two)
    assert [c for c in rig.link.sent if c.startswith("uuid_bridge")] == [f"uuid_bridge {one} {two}"]
    assert rig.notes.count(("bridge", f"call {two}")) == rig.notes.count(("bridge", f"call {one}")) == 1


def test_whom_a_call_can_be_connected_to(rig: Rig) -> None:
    one, ringing = rig.answered(), rig.dialled()
    rig.create(ringing)
    over = rig.answered()
    rig.end(over)
    rig.create("others", direction="inbound", tenant="b")
    others = rig.book.call_of("others")
    assert others is not None
    assert others.tenant_id == OTHER_TENANT
    for target, error in (
        (ringing, WrongState),
        (over, CallOver),
        (others.id, NoSuchCall),
        (NOBODY, NoSuchCall),
        (one, NotAllowed),
    ):
        with pytest.raises(error):
            rig.control.bridge(TENANT, one, {"type": "call", "call_id": target})
    for kind in ("park", "extension", None):
        with pytest.raises(NotAllowed):
            rig.control.bridge(TENANT, one, {"type": kind})
    assert not [c for c in rig.link.sent if c.startswith("uuid_bridge")]


def test_a_foreign_call_is_not_told_from_a_missing_one_whatever_it_is_to_be_connected_to(rig: Rig) -> None:
    one = rig.answered()
    with pytest.raises(NoSuchCall):
        rig.control.bridge(OTHER_TENANT, one, {"type": "call", "call_id": one})


@pytest.mark.parametrize(
    ("target", "command", "detail"),
    [
        ({"type": "extension", "extension": "9001"}, "uuid_transfer {} 9001 XML default", "extension 9001"),
        ({"type": "park"}, "uuid_park {}", "park"),
        (
            {"type": "queue", "queue": "support@default"},
            "uuid_transfer {} callcenter:support@default inline",
            "queue support@default",
        ),
        (
            {"type": "application", "application": "ivr"},
            "uuid_transfer {} playback:/sounds/${{language}}/hello.wav inline",
            "application ivr",
        ),
    ],
)
def test_where_a_call_can_be_sent(rig: Rig, target: dict[str, Any], command: str, detail: str) -> None:
    call_id = rig.answered()
    for _ in range(3):
        rig.control.transfer(TENANT, call_id, target)
    assert rig.link.sent[1:] == [command.format(call_id)]
    assert rig.notes[-1] == ("transfer", detail)
    rig.wait(6)
    rig.control.transfer(TENANT, call_id, target)
    assert len(rig.link.sent) == 3, "later on it is a new order"


@pytest.mark.parametrize("order", ["transfer", "bridge"])
def test_an_order_waits_for_the_end_of_the_originate(rig: Rig, order: str) -> None:
    """FreeSWITCH sends an answered channel on only when the originate's thread has seen the answer."""
    call_id = rig.dialled()
    rig.create(call_id)
    at, leg = rig.stamp(), rig.leg(call_id)
    rig.take(LegAnswered(uuid=call_id, at_us=at, created_us=leg.created_us, answered_us=at))
    seen: list[int] = []

    def sleep(seconds: float) -> None:
        seen.append(len(rig.link.sent))
        rig.wait(seconds)
        if len(seen) == 3:
            rig.job(call_id, f"+OK {call_id}")

    rig.control._sleep = sleep
    ORDERS[order](rig, TENANT, call_id)
    assert seen == [1, 1, 1]
    assert len(rig.link.sent) == 2


def test_an_order_waits_for_no_job_that_never_comes(rig: Rig) -> None:
    call_id = rig.dialled()
    rig.create(call_id)
    at, leg = rig.stamp(), rig.leg(call_id)
    rig.take(LegAnswered(uuid=call_id, at_us=at, created_us=leg.created_us, answered_us=at))
    before = rig.now
    ORDERS["transfer"](rig, TENANT, call_id)
    assert 1 <= rig.now - before < 1.5


def test_where_a_call_cannot_be_sent(rig: Rig) -> None:
    call_id = rig.answered()
    for target in (
        {"type": "queue", "queue": "other@default"},
        {"type": "application", "application": "system"},
        {"type": "extension", "extension": "park inline"},
        {"type": "call", "call_id": call_id},
        {"type": "agent", **AGENT, "agents": "x"},
        {"type": "inline"},
    ):
        with pytest.raises((NotAllowed, MalformedInput)):
            rig.control.transfer(TENANT, call_id, target)
    assert len(rig.link.sent) == 1


# -- hold, digits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "state"), [("hold", "HELD"), ("unhold", "ACTIVE")])
def test_holding_what_is_held_is_no_error(rig: Rig, order: str, state: str) -> None:
    call_id = rig.answered()
    rig.link.answers = {
        "uuid_hold": "-ERR Operation failed\n",
        "uuid_dump": f'{{"Event-Name":"CHANNEL_DATA","Channel-Call-State":"{state}"}}',
    }
    notes = len(rig.notes)
    getattr(rig.control, order)(TENANT, call_id)
    assert len(rig.notes) == notes
    rig.link.answers["uuid_dump"] = f'{{"Channel-Call-State":"{"ACTIVE" if state == "HELD" else "HELD"}"}}'
    with pytest.raises(WrongState):
        getattr(rig.control, order)(TENANT, call_id)


def test_hold_and_unhold(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.hold(TENANT, call_id)
    rig.control.unhold(TENANT, call_id)
    assert rig.link.sent[1:] == [f"uuid_hold {call_id}", f"uuid_hold off {call_id}"]


def test_digits_are_sent_and_not_kept(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.dtmf(TENANT, call_id, "4711#", 100)
    assert rig.link.sent[-1] == f"uuid_send_dtmf {call_id} 4711#@100"
    assert rig.notes[-1] == ("dtmf", "5 digits")
    assert not [note for note in rig.notes if "4711" in (note[1] or "")]


def test_a_channel_that_has_gone_meanwhile(rig: Rig) -> None:
    call_id = rig.answered()
    rig.link.answers = dict.fromkeys(("uuid_send_dtmf", "uuid_transfer"), "-ERR No such channel!\n")
    with pytest.raises(CallOver):
        rig.control.dtmf(TENANT, call_id, "1", None)
    with pytest.raises(CallOver):
        rig.control.transfer(TENANT, call_id, {"type": "extension", "extension": "9001"})


# -- recording -----------------------------------------------------------------------------------------------------


def recorded(rig: Rig) -> tuple[str, str]:
    """A call that is recorded on request, and the path."""
    call_id = rig.answered()
    rig.control.recording(TENANT, call_id, "start")
    path = path_of(rig, call_id)
    rig.record_started(call_id, path)
    return call_id, path


def test_a_recording_goes_to_a_file_of_ours(rig: Rig) -> None:
    call_id, path = recorded(rig)
    assert rig.link.sent[1:] == [
        f"uuid_setvar {call_id} recording_follow_transfer true",
        f"uuid_setvar {call_id} RECORD_STEREO true",
        f"uuid_record {call_id} start {path}",
    ]
    assert EPOCH_US < rig.now_us() < EPOCH_US + 86_400_000_000


def test_recording_what_is_recorded_changes_nothing(rig: Rig) -> None:
    call_id = rig.answered()
    for _ in range(3):
        rig.control.recording(TENANT, call_id, "start")
    rig.record_started(call_id, path_of(rig, call_id))
    rig.control.recording(TENANT, call_id, "start")
    assert len([c for c in rig.link.sent if " start " in c]) == 1
    assert rig.words().count("recording_start") == 1


def test_a_call_that_is_recorded_from_its_answer_on(rig: Rig) -> None:
    call_id = rig.answered(record=True)
    path = path_of(rig, call_id)
    rig.record_started(call_id, path)
    rig.control.recording(TENANT, call_id, "start")
    rig.control.recording(TENANT, call_id, "stop")
    assert rig.link.sent[1:] == [f"uuid_record {call_id} stop {path}"]


def test_a_recording_after_another_has_a_name_of_its_own(rig: Rig) -> None:
    call_id, path = recorded(rig)
    rig.control.recording(TENANT, call_id, "stop")
    rig.record_stopped(call_id, path)
    rig.control.recording(TENANT, call_id, "start")
    assert rig.link.sent[-1] == f"uuid_record {call_id} start {path_of(rig, call_id, '-2')}"


def test_stopping_what_is_not_recorded_is_no_error(rig: Rig) -> None:
    call_id, path = recorded(rig)
    rig.control.recording(TENANT, call_id, "stop")
    rig.record_stopped(call_id, path)
    rig.control.recording(TENANT, call_id, "stop")
    assert len([c for c in rig.link.sent if " stop " in c]) == 1


def test_a_pause_masks_and_is_said_once(rig: Rig) -> None:
    call_id, path = recorded(rig)
    for action in ("pause", "pause", "resume", "resume", "pause"):
        rig.control.recording(TENANT, call_id, action)
    assert [c for c in rig.link.sent if "mask " in c] == [
        f"uuid_record {call_id} mask {path}",
        f"uuid_record {call_id} unmask {path}",
        f"uuid_record {call_id} mask {path}",
    ]
    assert [w for w in rig.words() if w.endswith(("paused", "resumed"))] == [
        "recording_paused",
        "recording_resumed",
        "recording_paused",
    ]


def test_a_pause_before_the_event_of_the_start(rig: Rig) -> None:
    call_id = rig.answered()
    rig.control.recording(TENANT, call_id, "start")
    rig.control.recording(TENANT, call_id, "pause")
    assert rig.link.sent[-1] == f"uuid_record {call_id} mask {path_of(rig, call_id)}"


def test_an_engine_that_did_not_see_the_pause_can_end_it(rig: Rig) -> None:
    call_id = rig.answered(record=True)
    path = path_of(rig, call_id)
    rig.record_started(call_id, path)
    rig.control.recording(TENANT, call_id, "resume")
    assert rig.link.sent[-1] == f"uuid_record {call_id} unmask {path}"


def test_what_cannot_be_recorded(rig: Rig) -> None:
    call_id = rig.answered()
    for action in ("pause", "resume"):
        with pytest.raises(WrongState):
            rig.control.recording(TENANT, call_id, action)
    with pytest.raises(NotAllowed):
        rig.control.recording(TENANT, call_id, "erase")
    rig.link.answers["uuid_record"] = "-ERR Cannot record session!\n"
    with pytest.raises(WrongState):
        rig.control.recording(TENANT, call_id, "start")
    rig.link.answers.clear()
    rig.control.recording(TENANT, call_id, "start")
    assert rig.link.sent[-1].endswith(f"/{call_id}.wav")


# -- nothing is kept -----------------------------------------------------------------------------------------------


def test_what_was_remembered_of_a_call_goes_with_it(rig: Rig) -> None:
    call_id, _ = recorded(rig)
    rig.control.bridge(TENANT, call_id, AGENT)
    rig.end(call_id)
    rig.control.hangup(TENANT, call_id)
    assert not rig.control._orders._desks


def test_calls_whose_end_nobody_told_are_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_MAX_DESKS", 2)
    for number in range(5):
        rig.create(f"in{number}", direction="inbound", tenant="a")
        rig.answer(f"in{number}")
        call = rig.book.call_of(f"in{number}")
        assert call is not None
        rig.control.hold(TENANT, call.id)
        rig.originator.listeners.clear()
        rig.end(f"in{number}")
        rig.wait(10)
    assert len(rig.control._orders._desks) <= 2
