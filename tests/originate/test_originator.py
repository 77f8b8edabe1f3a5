"""Committed, then in line, then sent once; and every slot comes back, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from callengine.errors import (
    CommandRefused,
    CommandTimedOut,
    EslDisconnected,
    QueueFull,
    StoreUnavailable,
    SwitchUnavailable,
)
from tests.originate.fakes import TENANT, Rig

AGENT_FIRST: dict[str, Any] = {
    "first": "agent",
    "on_answer": {"type": "agent", "agents": "desk", "agent_id": "7"},
}


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Nothing here may hang."""
    with gevent.Timeout(10, AssertionError("it hung")):
        yield Rig()


def idle(rig: Rig) -> None:
    """Nothing waits, no slot is taken, nothing is in doubt."""
    assert (rig.originator.queued, rig.originator.in_flight, rig.originator.in_doubt) == (0, 0, 0)


# -- the way of a call ---------------------------------------------------------------------------------------------


def test_a_call_is_committed_before_it_is_in_line_and_sent_once(rig: Rig) -> None:
    seen: list[tuple[bool, list[str]]] = []
    rig.writer.before_commit = lambda: seen.append((bool(rig.book.calls), rig.link.sent))
    plan = rig.plan()
    call_id = rig.originator.submit(TENANT, plan)
    assert seen == [(True, [])]
    assert call_id == plan.call_id == rig.book.calls[call_id].own.uuid
    assert rig.stored[call_id].status == "dialing"
    assert rig.stored[call_id].dial_us is None
    assert rig.originator.waits(call_id)
    rig.work()
    rig.work()
    assert rig.link.sent == [plan.command]
    assert rig.link.jobs == [plan.job_uuid]
    assert rig.words() == ["queued", "originate_sent"]
    assert rig.counts.results == {"sent": 1}
    assert not rig.originator.waits(call_id)


def test_a_call_that_is_not_committed_is_never_sent(rig: Rig) -> None:
    rig.writer.away = True
    plan = rig.plan()
    with pytest.raises(StoreUnavailable):
        rig.originator.submit(TENANT, plan)
    rig.work()
    assert rig.link.sent == []
    assert rig.reason(plan.call_id) == "not_committed"
    idle(rig)


@pytest.mark.parametrize("error", [gevent.GreenletExit, gevent.Timeout, KeyboardInterrupt])
def test_a_request_that_is_killed_while_it_commits(rig: Rig, error: type[BaseException]) -> None:
    rig.writer.hold = Event()
    plan = rig.plan()
    request = gevent.spawn(rig.originator.submit, TENANT, plan)
    gevent.sleep(0)
    assert rig.originator.queued == 1
    request.kill(error if error is not KeyboardInterrupt else gevent.GreenletExit)
    assert rig.reason(plan.call_id) == "not_committed"
    rig.work()
    assert rig.link.sent == []
    idle(rig)


def test_without_a_switch_there_is_no_call(rig: Rig) -> None:
    rig.link.ready = False
    with pytest.raises(SwitchUnavailable):
        rig.submit()
    assert not rig.book.calls
    idle(rig)


def test_a_full_queue_makes_no_row(rig: Rig) -> None:
    for _ in range(5):
        rig.submit()
    with pytest.raises(QueueFull) as full:
        rig.submit()
    assert full.value.retry_after_s >= 1
    assert len(rig.book.calls) == 5
    assert rig.counts.results["queue_full"] == 1


def test_calls_that_are_being_committed_count_for_the_queue(rig: Rig) -> None:
    rig.writer.hold = Event()
    requests = [gevent.spawn(rig.submit) for _ in range(6)]
    gevent.sleep(0)
    assert [type(r.exception) for r in requests if r.dead] == [QueueFull]
    rig.writer.hold.set()
    gevent.joinall(requests)
    assert rig.originator.queued == 5


def test_no_more_calls_at_once_than_allowed(rig: Rig) -> None:
    calls = [rig.submit() for _ in range(5)]
    for _ in range(5):
        rig.work()
        rig.now += 1
    assert len(rig.originates()) == rig.originator.in_flight == 3
    rig.create(calls[1])
    rig.end(calls[1], "USER_BUSY")
    rig.work()
    assert len(rig.originates()) == 3, "the job has not answered yet"
    rig.job(calls[1], "-ERR USER_BUSY")
    rig.work()
    assert len(rig.originates()) == 4


def test_no_faster_than_allowed() -> None:
    rig = Rig({"originate": {"max_per_second": 2, "max_concurrent": 100}})
    for _ in range(5):
        rig.submit()
    sent = []
    for _ in range(9):
        rig.work()
        sent.append(len(rig.originates()))
        rig.now += 0.25
    assert sent == [1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_a_gateway_has_limits_of_its_own() -> None:
    gateways = {"slow": {"max_concurrent": 1}, "fast": {}}
    rig = Rig({"originate": {"gateways": gateways, "max_concurrent": 10, "queue_max": 10}})
    for gateway in ("slow", "slow", "fast", "slow", "fast"):
        rig.submit(gateway=gateway)
    for _ in range(5):
        rig.work()
        rig.now += 1
    assert [c.split("sofia/gateway/")[1].split("/")[0] for c in rig.originates()] == ["slow", "fast", "fast"]


# -- the end before the beginning ----------------------------------------------------------------------------------


def test_whoever_finds_no_slot_in_time_has_failed_and_is_never_dialled(rig: Rig) -> None:
    for _ in range(3):
        rig.dialled()
        rig.now += 1
    late = rig.submit()
    rig.now += 29
    rig.work()
    assert rig.originator.waits(late)
    rig.now += 1.1
    rig.work()
    assert rig.reason(late) == "queue_timeout"
    assert rig.stored[late].hangup_cause is None
    assert rig.stored[late].dial_us is None
    assert (rig.originator.queued, rig.originator.in_flight) == (0, 3)
    assert rig.counts.results == {"sent": 3, "queue_timeout": 1}
    assert len(rig.originates()) == 3


def test_nothing_is_sent_until_the_switch_was_compared_with_the_book(rig: Rig) -> None:
    rig.up = False
    call_id = rig.submit()
    rig.work()
    assert rig.link.sent == []
    rig.now += 31
    rig.work()
    assert rig.reason(call_id) == "switch_unreachable"
    idle(rig)


def test_a_call_in_line_can_be_cancelled(rig: Rig) -> None:
    call_id = rig.submit()
    assert rig.originator.cancel(call_id)
    assert not rig.originator.cancel(call_id)
    rig.work()
    assert rig.link.sent == []
    assert rig.reason(call_id) == "cancelled"
    assert rig.counts.results == {"cancelled": 1}
    idle(rig)


def test_a_call_can_be_cancelled_while_it_is_committed(rig: Rig) -> None:
    rig.writer.hold = Event()
    plan = rig.plan()
    request = gevent.spawn(rig.originator.submit, TENANT, plan)
    gevent.sleep(0)
    assert rig.originator.cancel(plan.call_id)
    rig.writer.hold.set()
    assert request.get() == plan.call_id
    rig.work()
    assert rig.link.sent == []
    assert rig.reason(plan.call_id) == "cancelled"
    idle(rig)


def test_a_call_that_was_sent_cannot_be_cancelled(rig: Rig) -> None:
    call_id = rig.dialled()
    assert not rig.originator.cancel(call_id)
    assert rig.stored[call_id].live


def test_the_end_of_the_engine_ends_what_waits(rig: Rig) -> None:
    waiting = rig.submit()
    rig.originator.close()
    assert rig.reason(waiting) == "engine_stopped"
    rig.work()
    assert rig.link.sent == []
    with pytest.raises(SwitchUnavailable):
        rig.submit()
    idle(rig)


def test_the_end_of_the_engine_while_a_call_is_committed(rig: Rig) -> None:
    rig.writer.hold = Event()
    plan = rig.plan()
    request = gevent.spawn(rig.originator.submit, TENANT, plan)
    gevent.sleep(0)
    rig.originator.close()
    rig.writer.hold.set()
    request.join()
    assert rig.reason(plan.call_id) == "engine_stopped"
    idle(rig)


# -- slots ---------------------------------------------------------------------------------------------------------


def busy(rig: Rig, call_id: str) -> None:
    rig.create(call_id)
    rig.end(call_id, "USER_BUSY")
    rig.job(call_id, "-ERR USER_BUSY")


def no_answer_job_first(rig: Rig, call_id: str) -> None:
    rig.create(call_id)
    rig.job(call_id, "-ERR NO_ANSWER")
    rig.end(call_id, "NO_ANSWER")


def no_channel(rig: Rig, call_id: str) -> None:
    rig.job(call_id, "-ERR SUBSCRIBER_ABSENT")


def misread(rig: Rig, call_id: str) -> None:
    rig.job(call_id, "-USAGE: <call url>")


def talked(rig: Rig, call_id: str) -> None:
    rig.create(call_id)
    rig.answer(call_id)
    rig.end(call_id)


def job_lost(rig: Rig, call_id: str) -> None:
    rig.create(call_id)
    rig.end(call_id, "NORMAL_TEMPORARY_FAILURE")
    rig.wait(5.1)


ENDS = [busy, no_answer_job_first, no_channel, misread, talked, job_lost]


@pytest.mark.parametrize("end", ENDS)
def test_the_slot_comes_back_with_the_end_of_the_call(rig: Rig, end: Callable[[Rig, str], None]) -> None:
    call_id = rig.dialled()
    assert rig.originator.in_flight == 1
    end(rig, call_id)
    assert not rig.stored[call_id].live
    idle(rig)
    rig.wait(60)
    idle(rig)


def test_what_the_switch_refused_is_counted(rig: Rig) -> None:
    no_channel(rig, rig.dialled())
    assert rig.counts.results == {"sent": 1, "refused": 1}


def test_the_agent_who_is_rung_first_does_not_answer(rig: Rig) -> None:
    call_id = rig.dialled(**AGENT_FIRST)
    origination = rig.book.calls[call_id].origination
    assert origination is not None
    assert origination.agent_leg is not None
    rig.create(origination.agent_leg, leg_agent="7", own_agent="7")
    rig.job(call_id, "-ERR NO_ANSWER")
    rig.end(origination.agent_leg, "NO_ANSWER")
    assert not rig.stored[call_id].live
    assert rig.stored[call_id].hangup_cause == "NO_ANSWER"
    idle(rig)


@pytest.mark.parametrize("error", [gevent.GreenletExit(), gevent.Timeout(), RuntimeError("a bug")])
def test_a_worker_that_dies_while_it_sends(rig: Rig, error: BaseException) -> None:
    """Sent or not, nobody knows; so it is asked, and not sent again."""
    call_id = rig.submit()
    rig.link.answers = {"originate": error, "uuid_exists": "false"}
    with pytest.raises(type(error)):
        rig.originator.turn()
    assert (rig.originator.in_flight, rig.originator.in_doubt) == (1, 1)
    rig.work()
    assert rig.stored[call_id].live, "asked once"
    rig.now += 2.1
    rig.work()
    assert rig.reason(call_id) == "switch_unreachable"
    assert len(rig.originates()) == 1
    idle(rig)


def test_a_worker_that_is_killed_between_two_calls(rig: Rig) -> None:
    call_id = rig.submit()
    rig.up = False
    worker = gevent.spawn(rig.originator.run)
    gevent.sleep(0)
    worker.kill()
    assert rig.originator.in_flight == 0
    rig.up = True
    rig.work()
    assert rig.originates() == [rig.originates()[0]]
    assert not rig.originator.waits(call_id)


def test_the_worker_wakes_for_a_new_call_and_for_a_free_slot(rig: Rig) -> None:
    worker = gevent.spawn(rig.originator.run)
    gevent.sleep(0.01)
    calls = [rig.submit() for _ in range(4)]
    for _ in range(4):
        rig.now += 1
        gevent.sleep(0.01)
    assert len(rig.originates()) == 3
    busy(rig, calls[0])
    gevent.sleep(0.01)
    assert len(rig.originates()) == 4
    worker.kill()


def test_several_senders_send_each_call_once(rig: Rig) -> None:
    rig.link.hold = Event()
    workers = [gevent.spawn(run) for run in (rig.originator.run, *[rig.originator.run_sender] * 4)]
    for _ in range(3):
        rig.submit()
        rig.now += 1
        gevent.sleep(0.01)
    assert len(rig.originates()) == 3, "one reply is not waited for by the next call"
    rig.link.hold.set()
    gevent.sleep(0.01)
    assert len(rig.originates()) == len(set(rig.originates())) == 3
    assert rig.counts.results == {"sent": 3}
    gevent.killall(workers)


def test_a_reply_that_takes_long_is_no_doubt(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers["uuid_exists"] = "false"
    rig.link.hold = Event()
    sender = gevent.spawn(rig.originator.turn)
    gevent.sleep(0)
    for _ in range(5):
        rig.now += 5
        rig.originator.turn()
    assert rig.stored[call_id].live
    assert not [command for command in rig.link.sent if command.startswith("uuid_exists")]
    rig.link.hold.set()
    sender.join()
    assert rig.counts.results == {"sent": 1}


# -- what may have been sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EslDisconnected(), CommandTimedOut("bgapi", 10)])
def test_a_send_that_failed_is_never_repeated(rig: Rig, error: Exception) -> None:
    call_id = rig.submit()
    rig.link.answers = {"originate": error, "uuid_exists": "false"}
    rig.originator.turn()
    rig.link.ready = False
    for _ in range(5):
        rig.work()
        rig.now += 10
    assert rig.stored[call_id].live
    assert rig.originator.in_flight == 1
    rig.link.ready = True
    rig.originator.recover([rig.book.calls[call_id]])
    rig.work()
    rig.now += 2.1
    rig.work()
    assert rig.reason(call_id) == "switch_unreachable"
    assert rig.counts.results == {"unreachable": 1}
    assert len(rig.originates()) == 1
    idle(rig)


def test_a_send_that_failed_but_was_taken_goes_on(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers = {"originate": EslDisconnected(), "uuid_exists": "true"}
    rig.originator.turn()
    rig.work()
    rig.create(call_id)
    rig.answer(call_id)
    assert rig.stored[call_id].status == "answered"
    rig.end(call_id)
    assert rig.stored[call_id].status == "completed"
    idle(rig)


def test_a_channel_that_comes_between_two_questions(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers = {"originate": EslDisconnected(), "uuid_exists": "false"}
    rig.originator.turn()
    rig.work()
    rig.create(call_id)
    rig.now += 10
    rig.work()
    assert rig.stored[call_id].live


def test_the_agents_channel_stands_for_the_call(rig: Rig) -> None:
    call_id = rig.submit(**AGENT_FIRST)
    agent_leg = rig.book.calls[call_id].origination.agent_leg  # type: ignore[union-attr]
    assert agent_leg is not None
    rig.link.answers["originate"] = EslDisconnected()
    rig.link.answers["uuid_exists"] = lambda command: "true" if command.endswith(agent_leg) else "false"
    rig.originator.turn()
    for _ in range(3):
        rig.work()
        rig.now += 40
    assert rig.stored[call_id].live


def test_a_refusal_of_the_command_itself_fails_the_call_at_once(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers["originate"] = CommandRefused("bgapi", "-ERR permission denied")
    rig.work()
    assert rig.reason(call_id) == "switch_refused"
    assert rig.counts.results == {"refused": 1}
    idle(rig)


def test_a_call_of_which_no_event_ever_comes(rig: Rig) -> None:
    call_id = rig.dialled()
    rig.link.answers["uuid_exists"] = "false"
    rig.now += 59
    rig.work()
    assert rig.stored[call_id].live
    for _ in range(2):
        rig.now += 2.1
        rig.work()
    assert rig.reason(call_id) == "outcome_unknown"
    idle(rig)


def test_a_switch_that_cannot_be_asked_is_asked_later(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers = {"originate": EslDisconnected(), "uuid_exists": EslDisconnected()}
    rig.originator.turn()
    for _ in range(5):
        rig.work()
        rig.now += 10
    assert rig.stored[call_id].live


def test_a_worker_that_dies_while_it_asks_keeps_the_call_in_sight(rig: Rig) -> None:
    call_id = rig.submit()
    rig.link.answers = {"originate": EslDisconnected(), "uuid_exists": gevent.GreenletExit()}
    rig.originator.turn()
    with pytest.raises(gevent.GreenletExit):
        rig.originator.turn()
    rig.link.answers["uuid_exists"] = "false"
    for _ in range(3):
        rig.now += 2.1
        rig.work()
    assert rig.reason(call_id) == "switch_unreachable"
    idle(rig)


# -- after a restart -----------------------------------------------------------------------------------------------


def restarted(rig: Rig) -> Rig:
    """Another engine, with what the store keeps of the first one's calls."""
    after = Rig()
    after.now = rig.now + 60
    for call in rig.book.live():
        after.book.restore(call, after.now)
        after.stored[call.id] = rig.stored[call.id]
    after.originator.recover([c for c in after.book.live() if c.origination is not None and not c.own.created_us])
    return after


def test_killed_between_commit_and_send_the_call_is_not_dialled(rig: Rig) -> None:
    call_id = rig.submit()
    after = restarted(rig)
    after.link.answers["uuid_exists"] = "false"
    assert after.originator.in_flight == 1
    after.work()
    assert after.stored[call_id].live, "asked once"
    after.now += 2.1
    after.work()
    assert after.reason(call_id) == "engine_restarted"
    assert after.stored[call_id].hangup_cause is None
    assert after.originates() == []
    idle(after)


def test_killed_after_the_send_the_call_goes_on(rig: Rig) -> None:
    call_id = rig.dialled()
    after = restarted(rig)
    after.link.answers["uuid_exists"] = "true"
    after.work()
    after.create(call_id)
    after.answer(call_id)
    after.end(call_id)
    assert after.stored[call_id].status == "completed"
    assert after.originates() == []
    idle(after)


def test_live_calls_of_before_take_their_slots(rig: Rig) -> None:
    calls = [rig.answered() for _ in range(3)]
    after = restarted(rig)
    assert after.originator.in_flight == 3
    after.submit()
    after.work()
    assert after.originates() == []
    after.end(calls[0])
    after.work()
    assert len(after.originates()) == 1


def test_a_reconnect_leaves_calls_in_line_where_they_are(rig: Rig) -> None:
    rig.link.answers["uuid_exists"] = "false"
    rig.up = False
    call_id = rig.submit()
    rig.originator.recover([rig.book.calls[call_id]])
    rig.up = True
    rig.work()
    rig.now += 5
    rig.work()
    assert len(rig.originates()) == 1
    assert rig.stored[call_id].live


def test_a_reconnect_asks_for_what_was_sent_before(rig: Rig) -> None:
    call_id = rig.dialled()
    rig.link.answers["uuid_exists"] = "false"
    rig.originator.recover([rig.book.calls[call_id]])
    rig.work()
    rig.now += 2.1
    rig.work()
    assert rig.reason(call_id) == "outcome_unknown"
    idle(rig)


# -- in all --------------------------------------------------------------------------------------------------------


def test_a_hundred_calls_of_every_fate_leave_nothing_behind() -> None:
    rig = Rig({"originate": {"max_concurrent": 7, "queue_max": 100, "queue_timeout_s": 10_000}})
    waiting = [rig.submit() for _ in range(100)]
    for number in range(1000):
        rig.work()
        rig.now += 0.1
        started = [call_id for call_id in waiting if not rig.originator.waits(call_id)]
        if not started:
            break
        assert rig.originator.in_flight <= 7
        ENDS[number % len(ENDS)](rig, started[0])
        waiting.remove(started[0])
    assert not waiting
    assert len(rig.originates()) == len(set(rig.originates())) == 100
    idle(rig)


def test_the_gauges_are_what_they_say(rig: Rig) -> None:
    for _ in range(5):
        rig.submit()
    for _ in range(3):
        rig.work()
        rig.now += 1
    assert rig.counts.gauges["callengine_originate_queued"]() == 2.0
    assert rig.counts.gauges["callengine_originate_in_flight"]() == 3.0
    assert rig.counts.gauges["callengine_originate_in_doubt"]() == 0.0


def test_while_another_engine_may_have_the_switch_nothing_is_sent(rig: Rig) -> None:
    rig.submit()
    rig.holds = False
    rig.work()
    assert rig.originates() == []
    rig.holds = True
    rig.work()
    assert len(rig.originates()) == 1


def test_a_shorter_timeout_holds_for_who_waits_already(rig: Rig) -> None:
    call_id = rig.submit()
    rig.holds = False
    object.__setattr__(rig.settings.originate, "queue_timeout_s", 5.0)
    rig.originator.reconfigure()
    rig.now += 5
    rig.work()
    assert rig.stored[call_id].failure_reason == "queue_timeout"
    assert rig.originates() == []


def test_an_engine_that_does_not_hold_the_switch_accepts_nothing(rig: Rig) -> None:
    rig.opened = False
    with pytest.raises(SwitchUnavailable):
        rig.submit()
    assert not rig.book.calls
