"""Calls that the book did not see begin: found alive on connect, told by a CDR, or loaded from the store."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from callengine.calls.book import Timing
from callengine.calls.call import Call
from callengine.calls.ids import call_id_of
from tests.calls.build import PATIENT, Channel, Desk, leg, time, us

# -- found alive -----------------------------------------------------------------------------------------------------


def test_a_live_channel_found_on_connect_makes_a_call() -> None:
    a = Channel(at=1)
    a.stamps |= {"progress_us": us(2), "answered_us": us(5)}
    desk = Desk().take(a.listed(30))
    shown = desk.shown()
    assert (shown["status"], shown["direction"], shown["caller_number"]) == ("answered", "inbound", "+15550100")
    assert [shown[f"{n}_time"] for n in ("dial", "ring", "answer")] == [time(1), time(2), time(5)]
    assert desk.told() == ["dialing", "ringing", "answered"]
    desk.take(a.ended(40))
    assert (desk.shown()["status"], desk.shown()["talk_duration_s"]) == ("completed", 35)


def test_its_id_is_the_one_it_would_have_had() -> None:
    a = Channel(at=1)
    assert Desk().take(a.listed(30)).call().id == Desk().take(a.created()).call().id == call_id_of("sw1", "A", us(1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
@pytest.mark.parametrize(
    "b",
    [
        leg("B", "A"),
        Channel("B", direction="outbound", loopback_leg="B", loopback_other="A"),
        Channel("B", direction="outbound", queue_side="agent", queue_member="A"),
    ],
    ids=["originator", "loopback B", "a queue's agent"],
)
def test_b_legs_are_not_adopted_as_calls(b: Channel, order: tuple[int, ...]) -> None:
    facts = [Channel("A").listed(30), b.listed(30)]
    desk = Desk().take(*(facts[i] for i in order))
    assert desk.roots() == {"A"}
    assert "B" in desk.legs()


def test_whom_a_channel_met_last_is_not_whom_it_was_created_for() -> None:
    """``uuid_bridge`` sets Other-Leg-Unique-ID on both, and Other-Type "originator" on one of two calls."""
    a, b = Channel("A"), Channel("B", 1, "outbound")
    desk = Desk().take(a.listed(30, bridged_to="B", bridged_us=us(9)), b.listed(30, bridged_to="A", bridged_us=us(9)))
    assert desk.roots() == {"A", "B"}
    assert desk.legs("A")["B"]["call_id"] == desk.call("B").id
    assert desk.legs("B")["A"]["call_id"] == desk.call("A").id


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_one_that_is_bridged_to_an_agent_is_adopted_with_the_agent(order: tuple[int, ...]) -> None:
    a, b = Channel("A"), leg("B", "A")
    a.stamps["answered_us"] = us(2)
    b.variables["leg_agent"] = "bob"
    facts = [a.listed(30, bridged_to="B", bridged_us=us(9)), b.listed(30, bridged_to="A", bridged_us=us(9.2))]
    desk = Desk().take(*(facts[i] for i in order))
    shown = desk.shown()
    assert (shown["status"], shown["agent_id"], shown["agent_connect_time"]) == ("agent_connected", "bob", time(9))
    assert len(shown["agents"]) == 1


def test_a_bridge_that_we_know_is_not_counted_again() -> None:
    a, b = Channel("A"), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.bridged("A", 9, bridge_a="B", bridge_b="A"))
    desk.take(a.listed(30, bridged_to="B", bridged_us=us(9.01)), b.listed(30, bridged_to="A", bridged_us=us(9)))
    assert [x["connect_time"] for x in desk.shown()["agents"]] == [time(9)]


def test_one_that_began_after_the_last_parting_is() -> None:
    a, b = Channel("A"), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    desk = Desk().take(a.created(), b.created(), a.answered(2), a.bridged("B", 3), a.unbridged("B", 5))
    desk.take(a.listed(30, bridged_to="B", bridged_us=us(9)))
    assert [x["connect_time"] for x in desk.shown()["agents"]] == [time(3), time(9)]


def test_a_nailed_up_agents_leg_is_not_adopted_as_a_call() -> None:
    g = Channel("G", direction="outbound")
    g.variables["leg_agent"] = "bob"
    assert Desk().take(g.listed(30)).roots() == set()


def test_a_snapshot_of_what_is_known_changes_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.rang(1), a.answered(2))
    before, effects = desk.changes, len(desk.effects)
    desk.take(a.listed(30), a.listed(40))
    assert (desk.changes, len(desk.effects)) == (before, effects)


def test_events_that_overtook_the_snapshot_are_joined() -> None:
    a = Channel(at=1)
    answered = a.answered(5)
    desk = Desk().take(answered)
    del a.stamps["answered_us"]
    desk.take(a.listed(4))
    assert desk.shown()["answer_time"] == time(5)


def test_a_creation_after_the_snapshot_knows_better() -> None:
    a = Channel(caller_number="200")
    desk = Desk().take(a.listed(30))
    a.described["caller_number"] = "100"
    assert desk.take(a.created()).shown()["caller_number"] == "100"


# -- told by a CDR
# ------------------------------------------------------------------------------------------------------


def test_a_cdr_makes_a_call_of_what_nobody_saw() -> None:
    a = Channel(at=1)
    a.stamps |= {"progress_us": us(2), "answered_us": us(5)}
    desk = Desk().take(a.reported(9, "NORMAL_CLEARING", sip_disposition="recv_bye"))
    shown = desk.shown()
    assert (shown["status"], shown["hangup_cause"], shown["end_source"]) == ("completed", "NORMAL_CLEARING", "cdr")
    assert (shown["talk_duration_s"], shown["hangup_by"], shown["caller_number"]) == (4, "caller", "+15550100")
    assert desk.told() == ["dialing", "ringing", "answered", "ended"]


def test_the_cdr_of_a_leg_makes_none() -> None:
    b = leg("B", "A")
    desk = Desk().take(b.reported(9))
    assert desk.roots() == set()
    desk.take(Channel("A").reported(9))
    assert desk.roots() == {"A"}
    assert desk.legs()["B"]["end_time"] == time(9)


def test_the_same_cdr_twice_is_told_once() -> None:
    a = Channel(at=1)
    desk = Desk().take(a.reported(9), a.reported(9))
    assert desk.told() == ["dialing", "ended"]


def test_the_end_by_event_and_by_cdr_is_the_same_row() -> None:
    rows = []
    for by_cdr_first in (True, False):
        a = Channel()
        desk = Desk().take(a.created(), a.answered(1))
        facts = [a.reported(9, sip_disposition="recv_bye"), a.ended(9, "NORMAL_CLEARING", sip_disposition="recv_bye")]
        desk.take(*(facts if by_cdr_first else facts[::-1]))
        row = desk.record()
        row.end_source = None
        rows.append(row)
    assert rows[0] == rows[1]


# -- loaded from the store
# ------------------------------------------------------------------------------------------------


def restored(call: Call, now: float = 0.0, **options: object) -> Desk:
    """Through the store's column and back."""
    desk = Desk(**options)  # type: ignore[arg-type]
    loaded = msgspec.json.decode(msgspec.json.encode(call), type=Call)
    assert loaded == call
    desk.now = now
    desk.book.restore(loaded, now)
    desk.calls[loaded.id] = loaded
    return desk


def test_a_restored_call_goes_on_and_nothing_is_told_twice() -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    before = Desk().take(a.created(), a.rang(1), a.answered(2), b.created(), b.answered(3), a.bridged("B", 3))
    desk = restored(before.call())
    assert desk.book.call_of("A") is not None
    desk.take(a.listed(30), b.listed(30), a.unbridged("B", 40), b.ended(40), a.ended(41))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agents"][0]["disconnect_time"], shown["end_time"]) == ("bob", time(40), time(41))
    assert desk.told() == ["ended"]
    assert desk.record().seq == before.record().seq + 1
    assert desk.legs()["B"]["end_time"] == time(40)


def test_restoring_what_the_book_has_changes_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.created())
    old = desk.call()
    desk.take(a.answered(2))
    desk.book.restore(old, 3.0)
    assert desk.book.calls[old.id].own.answered_us == us(2)


def test_every_wait_is_taken_up_again() -> None:
    hold = Desk(rules_of_two()).take(Channel().created()).call()
    assert hold.held
    desk = restored(hold, 100.0, rules=rules_of_two())
    desk.tick(102)
    assert desk.told() == ["dialing"]

    a = Channel("A", 1, "outbound")
    job = Desk().originate().take(a.created(), a.ended(2)).call()
    desk = restored(job, 100.0)
    desk.tick(105)
    assert desk.told() == ["ended"]

    hanging = Desk().take(Channel().created(), Channel().hung_up(2)).call()
    assert restored(hanging, 100.0).tick(130) == ["A"]

    over = Desk().take(Channel().created(), Channel().ended(2)).call()
    desk = restored(over, 100.0)
    desk.tick(160)
    assert not any(desk.book.sizes().values())


def rules_of_two() -> object:
    from callengine.calls.machine import Rules

    return Rules(default_tenant="operator", tenants={"operator": "operator", "acme": "acme"})


def test_a_restored_calls_agent_is_placed_anew_by_what_the_switch_lists() -> None:
    g, a = Channel("G", direction="outbound"), Channel("A", 2)
    g.variables["leg_agent"] = "bob"
    before = Desk().take(g.created(), g.answered(1), a.created(), a.answered(3), g.bridged("A", 4))
    desk = restored(before.call())
    c = Channel("C", 20)
    desk.take(g.listed(10, bridged_to="A", bridged_us=us(4)), g.unbridged("A", 12), a.ended(12))
    desk.take(c.created(), c.answered(21), g.bridged("C", 22))
    assert desk.roots() == {"A", "C"}
    assert [desk.shown(u)["agent_id"] for u in "AC"] == ["bob", "bob"]


def test_two_restored_calls_that_were_bridged_still_name_each_other() -> None:
    a, b = Channel("A"), Channel("B", 1)
    before = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    for order in ("AB", "BA"):
        desk = Desk()
        for uuid in order:
            call = before.call(uuid)
            desk.book.restore(call, 0.0)
            desk.calls[call.id] = call
        desk.take(b.ended(5), a.ended(9))
        assert [desk.shown(u)["end_time"] for u in "AB"] == [time(9), time(5)]
        assert desk.legs("A")["B"]["call_id"] == desk.call("B").id


def test_a_restored_call_of_ours_waits_for_its_job() -> None:
    a = Channel("A", 1, "outbound")
    desk = restored(Desk().originate().take(a.created()).call())
    desk.take(a.ended(2, "USER_BUSY")).job("-ERR USER_BUSY", 3)
    assert desk.shown()["status"] == "failed"


def test_a_call_is_forgotten_a_minute_after_its_end() -> None:
    a = Channel()
    desk = Desk(timing=Timing()).take(a.created(), a.ended(10), a.destroyed(10))
    desk.tick(69.9)
    assert desk.book.call_of("A") is not None
    desk.tick(70)
    assert desk.book.call_of("A") is None
    assert not desk.book.knows("A")
    assert PATIENT.retire_s > 70
