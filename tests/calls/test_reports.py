"""CDRs in the book: bridges, agents, who hung up, and that a correction is told in one piece."""

from __future__ import annotations

import pytest

from callengine.calls.facts import LegReported
from tests.calls.build import Channel, Desk, leg, us


def caller(**fields: object) -> LegReported:
    a = Channel("A")
    a.stamps["answered_us"] = us(2)
    return a.reported(9, bridges=((us(3), "B"),), **fields)


def agent(at: float = 8.9, **fields: object) -> LegReported:
    b = leg("B", "A")
    b.stamps["answered_us"] = us(3)
    return b.reported(at, bridges=((us(3), "A"),), leg_agent="bob", **fields)


def test_both_records_make_the_call_whichever_comes_first() -> None:
    for reports in ([caller(), agent()], [agent(), caller()]):
        desk = Desk().take(*reports)
        shown = desk.shown()
        assert (shown["agent_id"], shown["agent_connect_time"]) == ("bob", "2027-01-15T08:00:03.000Z")
        assert desk.roots() == {"A"}
        assert desk.told() == ["dialing", "answered", "agent_connected", "ended"]


def test_the_end_waits_a_moment_for_the_other_record_and_no_longer() -> None:
    desk = Desk().take(caller())
    assert desk.told() == ["dialing", "answered"]
    desk.tick(10.5)
    assert desk.told() == ["dialing", "answered", "ended"]
    desk.take(agent())
    assert desk.told() == ["dialing", "answered", "ended", "corrected"]
    assert desk.shown()["agent_id"] == "bob"


def test_who_hung_up_is_read_off_both_records() -> None:
    desk = Desk().take(agent(sip_disposition="recv_bye"), caller(sip_disposition="send_bye"))
    assert desk.shown()["hangup_by"] == "callee"
    # The agent was gone long before: it was not that which ended the call.
    desk = Desk().take(agent(at=5, sip_disposition="recv_bye"), caller(sip_disposition="send_bye"))
    assert desk.shown()["hangup_by"] == "switch"


@pytest.mark.parametrize("off_us", [0, -20_000, 20_000])
def test_a_bridge_that_events_told_is_not_told_again(off_us: int) -> None:
    a, b = Channel("A"), leg("B", "A")
    desk = Desk().take(a.created(), a.answered(2), b.created(leg_agent="bob"), b.answered(3), a.bridged("B", 3))
    before = desk.record().agents
    desk.take(a.reported(9, bridges=((us(3) + off_us, "B"),)))
    assert desk.record().agents == before
    assert desk.notes().count("bridged") == 1


def test_a_second_bridge_that_events_missed_is_added() -> None:
    a, b = Channel("A"), leg("B", "A")
    desk = Desk().take(a.created(), a.answered(2), b.created(leg_agent="bob"), b.answered(3), a.bridged("B", 3))
    desk.take(a.reported(9, bridges=((us(3), "B"), (us(6), "B"))))
    assert [each["connect_us"] for each in desk.record().agents] == [us(3), us(6)]


def test_a_correction_is_told_in_one_piece() -> None:
    a = Channel("A")
    desk = Desk().take(a.created(), a.answered(2), a.gone(20))
    desk.take(leg("B", "A").created(leg_agent="bob"))
    desk.take(caller())
    desk.tick(30)
    assert desk.told() == ["dialing", "answered", "ended", "corrected"]
    last = desk.published()[-1].record
    assert (last.agent_id, last.end_us, last.end_source) == ("bob", us(9), "cdr")


@pytest.mark.parametrize("first", ["caller", "agent"])
def test_both_records_of_a_call_that_was_given_up_are_one_correction(first: str) -> None:
    a, b = Channel("A"), leg("B", "A")
    desk = Desk().take(a.created(), a.answered(2), b.created(), b.answered(3), a.bridged("B", 3))
    desk.take(a.gone(20), b.gone(20))
    reports = [caller(sip_disposition="send_bye"), agent(sip_disposition="recv_bye")]
    desk.take(*(reports if first == "caller" else reversed(reports)))
    desk.tick(30)
    assert desk.told() == ["dialing", "answered", "ended", "corrected"]
    assert desk.published()[-1].record.hangup_by == "callee"


def test_two_calls_that_met_name_each_other() -> None:
    a, c = Channel("A"), Channel("C", 1.0)
    desk = Desk().take(a.reported(9, bridges=((us(3), "C"),)), c.reported(9, bridges=((us(3), "A"),)))
    assert desk.roots() == {"A", "C"}
    assert desk.legs("A")["C"]["call_id"] == desk.call("C").id
    assert desk.legs("C")["A"]["call_id"] == desk.call("A").id


def test_what_a_call_is_about_is_known_and_leaves_sooner_if_told_so() -> None:
    desk = Desk().take(caller(), agent())
    book = desk.book
    assert book.concerned("A")
    assert book.concerned("B")
    assert not book.concerned("X")
    book.hasten("A", 12.0)
    book.hasten("X", 12.0)
    desk.tick(13)
    assert not book.concerned("A")
    assert book.sizes() == dict.fromkeys(book.sizes(), 0)


def test_one_that_lives_is_not_hurried_away() -> None:
    desk = Desk().take(Channel("A").created())
    desk.book.hasten("A", 1.0)
    desk.tick(5)
    assert desk.book.concerned("A")
