"""Status, cause, what is told, and in which order."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.calls.call import EventName
from callengine.calls.causes import CAUSES
from callengine.calls.facts import ChannelFact, LegCreated
from tests.calls.build import PATIENT, Channel, Desk, leg, us

ORDER = ["dialing", "ringing", "answered", "agent_connected", "completed"]


def test_status_is_read_off_what_is_known() -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    desk = Desk()
    facts = (a.created(), a.rang(1), a.answered(2), b.created(), b.answered(3), a.bridged("B", 3), a.ended(9))
    seen = [desk.take(fact).shown()["status"] for fact in facts]
    assert seen == ["dialing", "ringing", "answered", "answered", "answered", "agent_connected", "completed"]


def test_answered_then_ended_is_completed_whatever_the_cause() -> None:
    for cause in sorted(CAUSES):
        a = Channel()
        assert Desk().take(a.created(), a.answered(1), a.ended(2, cause)).shown()["status"] == "completed"


def test_ended_unanswered_is_failed_and_the_cause_tells_which() -> None:
    for cause in ("USER_BUSY", "NO_ANSWER", "ORIGINATOR_CANCEL", "CALL_REJECTED", "NO_ROUTE_DESTINATION"):
        a = Channel()
        shown = Desk().take(a.created(), a.rang(1), a.hung_up(2, cause), a.ended(2)).shown()
        assert (shown["status"], shown["hangup_cause"]) == ("failed", cause)


def test_the_caller_who_gives_up_while_it_rings_has_a_final_status() -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), b.rang(2), a.rang(2))
    desk.take(a.hung_up(5, "ORIGINATOR_CANCEL"), b.hung_up(5, "ORIGINATOR_CANCEL"), a.ended(5), b.ended(5))
    assert (desk.shown()["status"], desk.shown()["hangup_cause"]) == ("failed", "ORIGINATOR_CANCEL")
    assert desk.told() == ["dialing", "ringing", "ended"]


@pytest.mark.parametrize("cause", [*sorted(CAUSES), "A_CAUSE_OF_TOMORROW", "Besetzt", "é中"])
def test_the_cause_is_the_switchs_token_verbatim(cause: str) -> None:
    a = Channel()
    assert Desk().take(a.created(), a.ended(1, cause)).shown()["hangup_cause"] == cause


def test_the_cause_is_that_of_the_calls_own_channel() -> None:
    a, b = Channel(), leg("B", "A")
    facts = [a.created(), b.created(), b.ended(2, "USER_BUSY"), a.ended(3, "NORMAL_CLEARING")]
    desk = Desk().take(*facts)
    assert desk.shown()["hangup_cause"] == "NORMAL_CLEARING"
    assert desk.legs()["B"]["hangup_cause"] == "USER_BUSY"


def test_the_cause_is_known_from_the_hangup_on() -> None:
    a = Channel()
    shown = Desk().take(a.created(), a.hung_up(1, "USER_BUSY")).shown()
    assert (shown["status"], shown["hangup_cause"], shown["end_time"]) == ("dialing", "USER_BUSY", None)


@given(st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_status_never_goes_back_in_whatever_order_facts_come(dice: random.Random) -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    facts: list[ChannelFact] = [*a.life(1, 2, 9), b.created(), b.answered(3), a.bridged("B", 3), b.ended(9)]
    dice.shuffle(facts)
    desk, last = Desk(timing=PATIENT), 0
    for fact in facts:
        if desk.take(fact).calls:
            rank = ORDER.index(desk.shown()["status"])
            assert rank >= last
            last = rank
    assert last == ORDER.index("completed")


# -- what is told ---------------------------------------------------------------------------------------------------


def test_each_milestone_is_told_once_and_in_order_with_a_seq_without_gaps() -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    facts = [a.created(), a.rang(1), a.answered(2), b.created(), b.answered(3), a.bridged("B", 3), *a.life(1, 2, 9)[3:]]
    desk = Desk().take(*facts)
    assert desk.told() == ["dialing", "ringing", "answered", "agent_connected", "ended"]
    assert [p.seq for p in desk.published()] == [1, 2, 3, 4, 5]
    assert [p.record.seq for p in desk.published()] == [1, 2, 3, 4, 5]
    assert desk.record().seq == 5


def test_what_came_at_once_is_told_one_by_one() -> None:
    a = Channel()
    a.rang(1)
    desk = Desk().take(a.answered(2))
    assert desk.calls == {}
    desk.take(a.created())
    assert desk.told() == ["dialing", "ringing", "answered"]
    assert [p.record.seq for p in desk.published()] == [1, 2, 3]


def test_what_was_told_does_not_change_afterwards() -> None:
    a = Channel()
    desk = Desk().take(a.created())
    first = desk.published()[0].record
    desk.take(a.rang(1), a.ended(2))
    assert (first.status, first.ring_us, first.seq) == ("dialing", None, 1)


def test_every_fact_twice_is_told_once() -> None:
    a = Channel()
    desk = Desk()
    for fact in a.life(1, 2, 9):
        desk.take(fact, fact)
    assert desk.told() == ["dialing", "ringing", "answered", "ended"]
    assert desk.notes() == ["created", "rang", "answered", "hung_up", "ended"]


def test_a_duplicate_changes_nothing() -> None:
    a = Channel()
    life = a.life(1, 2, 9)
    desk = Desk().take(*life)
    before, effects = desk.changes, len(desk.effects)
    desk.take(*life)
    assert (desk.changes, len(desk.effects)) == (before, effects)


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::7])
def test_facts_in_any_order_end_in_the_same_row(order: tuple[int, ...]) -> None:
    a = Channel()
    life = a.life(1, 2, 9)[1:]
    straight = Desk().take(a.created(), *life).record()
    mixed = Desk().take(a.created(), *(life[i] for i in order)).record()
    mixed.seq = straight.seq
    assert mixed == straight


@pytest.mark.parametrize("missing", ["rang", "answered", "hung_up", "ended", "destroyed"])
def test_any_one_event_may_be_missing(missing: str) -> None:
    a = Channel()
    names = ["created", "rang", "answered", "hung_up", "ended", "destroyed"]
    life = dict(zip(names, a.life(1, 2, 9), strict=True))
    whole = Desk().take(*life.values())
    del life[missing]
    desk = Desk().take(*life.values())
    assert desk.record() == whole.record()
    assert desk.told().count("ended") == 1


def test_hangup_complete_never_comes_and_the_destroy_ends_the_call_once() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(1), a.hung_up(5), a.destroyed(5))
    assert desk.told() == ["dialing", "answered", "ended"]
    assert (desk.record().end_us, desk.record().end_source) == (us(5), "event")


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_another_stamp_for_what_was_stamped_is_refused_by_name() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(2))
    a.stamps["answered_us"] = us(3)
    desk.take(a.hung_up(9))
    assert desk.refused() == ["answered_stamp_changed"]
    assert desk.record().answer_us == us(2)


def test_an_answer_after_the_end_is_refused_by_name() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.ended(2, "USER_BUSY"))
    a.stamps["answered_us"] = us(3)
    desk.take(a.destroyed(3))
    assert desk.refused() == ["answered_after_end"]


def test_another_cause_is_refused_by_name() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.ended(2, "USER_BUSY"), a.destroyed(2, hangup_cause="CALL_REJECTED"))
    assert desk.refused() == ["cause_changed"]
    assert desk.record().hangup_cause == "USER_BUSY"


def test_a_creation_in_the_future_is_refused_and_harms_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.created())
    bad = LegCreated(uuid="A", at_us=us(1), created_us=us(500 * 365 * 86400))
    desk.take(bad, a.answered(2), a.ended(3))
    assert desk.refused() == ["created_in_the_future"]
    assert (desk.shown()["status"], desk.shown()["talk_duration_s"]) == ("completed", 1)


def test_the_names_of_events_are_closed() -> None:
    assert {e.value for e in EventName} == {
        "call.dialing",
        "call.ringing",
        "call.answered",
        "call.agent_connected",
        "call.ended",
        "call.corrected",
        "call.recording_ready",
        "call.recording_failed",
        "call.analyzed",
    }
