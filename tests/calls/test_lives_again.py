"""A UUID that lives again after its call has left the book: one call, whoever finds out when."""

from __future__ import annotations

from typing import Any

from callengine.calls.call import Call
from callengine.calls.leg import Note
from callengine.calls.machine import Noted
from callengine.calls.record import record_of
from tests.calls.build import Channel, Desk, leg, time, us


def forgotten(*facts: Any) -> tuple[Desk, Call]:
    """A desk whose call has ended and left the book, and the call as the store has it."""
    desk = Desk().take(*facts)
    desk.tick(desk.now + 100)
    stored = desk.call()
    assert stored.over
    assert desk.book.call_of("A") is None
    return desk, stored


def rejoined(desk: Desk, stored: Call) -> Desk:
    """The store's word comes, for the one that was begun anew: what had been told under its id is withdrawn."""
    again = desk.book.call_of("A")
    assert again is not None
    if again.id != stored.id:
        del desk.calls[again.id]
    notes: list[Note] = []
    for effect in [e for e in desk.effects if getattr(e, "call_id", None) == again.id != stored.id]:
        desk.effects.remove(effect)
        notes += [effect.note] if isinstance(effect, Noted) else []
    desk.book.rejoin(stored, again, notes, desk.now)
    desk.tick(desk.now)
    return desk


def test_it_is_the_same_call_and_corrected() -> None:
    one = Channel(at=1.0, caller_name="Ada")
    two = one.again(200)
    desk, stored = forgotten(one.created(), one.rang(1.5), one.ended(2, "USER_BUSY"))
    desk.take(two.created(), two.rang(201))
    rejoined(desk, stored)
    call = desk.call()
    assert (call.id, call.over, call.own.first_created_us) == (stored.id, False, us(1))
    shown = desk.shown()
    assert (shown["status"], shown["dial_time"], shown["end_time"]) == ("ringing", time(1), None)
    assert desk.told() == ["dialing", "ringing", "ended", "corrected"]
    desk.take(two.answered(203), two.hung_up(209), two.ended(209), two.destroyed(209))
    record = desk.record()
    assert (record.status, record.hangup_cause) == ("completed", "NORMAL_CLEARING")
    assert [record.dial_us, record.ring_us, record.answer_us, record.end_us] == [us(s) for s in (1, 201, 203, 209)]
    assert [p.seq for p in desk.published()] == list(range(1, len(desk.told()) + 1))
    assert desk.notes()[-5:] == ["created", "rang", "answered", "hung_up", "ended"]
    desk.tick(300)
    assert not any(desk.book.sizes().values())


def test_it_becomes_what_it_would_have_been_in_the_book() -> None:
    """Whether the book had forgotten it or not, and whenever the store's word comes."""
    for late in range(4):
        one, other = Channel(at=1.0, campaign="c"), leg("B", "A", 201.5)
        two = one.again(200)
        first = [one.created(), one.rang(1.5), one.answered(1.7), one.ended(2)]
        second = [
            [two.created(), two.rang(201)],
            [other.created(), two.answered(202), two.started("/r.wav", 202.5)],
            [two.bridged("B", 203), two.stopped("/r.wav", 205)],
            [two.hung_up(206), two.ended(206), other.ended(206), two.destroyed(206)],
        ]
        known = Desk().take(*first)
        desk, stored = forgotten(*first)
        for n, facts in enumerate(second):
            known.take(*facts)
            desk.take(*facts)
            if n == late:
                rejoined(desk, stored)
        for each in (known, desk):
            each.tick(210)
        found, wanted = record_of(desk.call()), record_of(known.call())
        found.seq = wanted.seq
        assert found == wanted
        assert desk.told()[: len(first) - 1] == known.told()[: len(first) - 1]


def test_a_call_that_was_closed_without_a_stamp_and_lives_is_found_again() -> None:
    """The same creation, so the same id: the switch lists the channel that it had denied."""
    one = Channel(at=1.0)
    desk, stored = forgotten(one.created(), one.answered(2), one.gone(before=10, after=5))
    desk.take(one.listed(200))
    rejoined(desk, stored)
    call = desk.call()
    assert (call.id, call.over, call.seq) == (stored.id, False, stored.seq + 1)
    assert desk.shown()["status"] == "answered"
    assert desk.told()[-1] == "corrected"
    desk.take(one.ended(205))
    assert (desk.shown()["status"], desk.record().end_us) == ("completed", us(205))


def test_an_end_that_was_stamped_is_not_undone() -> None:
    one = Channel(at=1.0)
    desk, stored = forgotten(one.created(), one.answered(2), one.ended(9))
    desk.take(one.created())
    rejoined(desk, stored)
    assert desk.record() == record_of(stored)
    assert "corrected" not in desk.told()


def test_told_again_it_changes_nothing() -> None:
    one = Channel(at=1.0)
    two = one.again(200)
    desk, stored = forgotten(one.created(), one.ended(2, "USER_BUSY"))
    desk.take(two.created())
    again = desk.book.call_of("A")
    assert again is not None
    rejoined(desk, stored)
    before = desk.call()
    desk.book.rejoin(stored, again, [], desk.now)
    desk.tick(desk.now)
    assert desk.call() == before


def test_what_the_same_life_had_not_told_before_is_taken() -> None:
    one = Channel(at=1.0)
    desk, stored = forgotten(one.created(), one.answered(2), one.gone(before=10, after=5))
    desk.take(one.reported(9, sip_term_status="200", sip_call_id="c@h"))
    rejoined(desk, stored)
    record = desk.record()
    assert (record.end_us, record.sip_status, record.sip_call_id) == (us(9), 200, "c@h")


def test_what_is_only_named_the_second_time_is_not_forgotten() -> None:
    """Its bridge was told once more, after the agent's channel had left the book as well."""
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    desk, stored = forgotten(
        a.created(), a.answered(1), b.created(), b.answered(2), a.bridged("B", 3), a.ended(9), b.ended(9)
    )
    before = desk.record()
    assert before.agent_id == "bob"
    desk.take(a.created(), a.answered(1), a.bridged("B", 3), a.ended(9))
    rejoined(desk, stored)
    after = desk.record()
    assert (after.agent_id, after.agent_connect_us) == ("bob", us(3))
    assert [view["role"] for view in after.legs] == ["agent"]
