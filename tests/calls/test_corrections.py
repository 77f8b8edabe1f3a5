"""Ends that nobody stamped, calls that live again, and what is told when more becomes known."""

from __future__ import annotations

import pytest

from callengine.calls.book import Timing
from callengine.calls.facts import LegDescribed
from tests.calls.build import Channel, Desk, leg, time, us

# -- an end that nobody stamped ----------------------------------------------------------------------------------------


def lost(answered: bool = True) -> tuple[Desk, Channel]:
    a = Channel()
    desk = Desk().take(a.created(), a.rang(1))
    if answered:
        desk.take(a.answered(2))
    return desk.take(a.gone(before=50, after=40)), a


@pytest.mark.parametrize(("answered", "status"), [(True, "completed"), (False, "failed")])
def test_an_end_that_nobody_stamped_is_an_end_by_the_last_known_answer(answered: bool, status: str) -> None:
    desk, _ = lost(answered)
    assert desk.shown()["status"] == status
    assert desk.told()[-1] == "ended"


def test_it_leaves_end_time_durations_and_cause_null_and_is_bounded() -> None:
    shown = lost()[0].shown()
    assert [shown[k] for k in ("end_time", "talk_duration_s", "total_duration_s", "hangup_cause")] == [None] * 4
    assert (shown["ended_after"], shown["ended_before"], shown["end_source"]) == (time(40), time(50), "bounds")
    assert shown["ring_duration_s"] == 1


def test_its_lower_bound_is_the_last_that_was_seen_of_it() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(2), a.held(30), a.gone(before=50, after=20))
    assert desk.shown()["ended_after"] == time(30)


def test_a_bound_before_the_last_sign_of_life_is_no_bound() -> None:
    a = Channel()
    shown = Desk().take(a.created(), a.answered(30), a.gone(before=20)).shown()
    assert (shown["ended_after"], shown["ended_before"]) == (time(30), None)


def test_gone_twice_is_told_once() -> None:
    desk, a = lost()
    effects, changes = len(desk.effects), desk.changes
    desk.take(a.gone(before=59, after=58))
    assert (len(desk.effects), desk.changes) == (effects, changes)


def test_gone_of_what_nobody_knows_does_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.gone(5))
    assert desk.calls == {}
    desk.take(a.answered(1), a.gone(5))
    assert not any(desk.book.sizes().values())


def test_an_answer_is_never_estimated() -> None:
    shown = lost(answered=False)[0].shown()
    assert (shown["answer_time"], shown["talk_duration_s"], shown["ring_duration_s"]) == (None, None, None)


def test_gone_after_the_true_end_changes_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.ended(5), a.gone(9))
    assert (desk.shown()["end_time"], desk.shown()["end_source"]) == (time(5), "event")


# -- more becomes known
# --------------------------------------------------------------------------------------------------


def test_a_late_hangup_complete_corrects_it_once() -> None:
    desk, a = lost()
    desk.take(a.hung_up(45, "USER_BUSY"), a.ended(45), a.destroyed(45))
    shown = desk.shown()
    assert (shown["end_time"], shown["hangup_cause"], shown["end_source"]) == (time(45), "USER_BUSY", "event")
    assert (shown["ended_after"], shown["ended_before"]) == (None, None)
    assert (shown["talk_duration_s"], shown["total_duration_s"]) == (43, 45)
    assert desk.told()[-2:] == ["ended", "corrected"]
    assert desk.told().count("corrected") == 1


def test_a_late_cdr_corrects_it_once_and_is_its_source() -> None:
    desk, a = lost()
    desk.take(a.reported(45, "NORMAL_CLEARING"))
    assert (desk.shown()["end_time"], desk.shown()["end_source"]) == (time(45), "cdr")
    assert desk.told().count("corrected") == 1


def test_a_cdr_of_what_ended_before_our_eyes_changes_nothing() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(1), a.ended(5))
    effects = len(desk.effects)
    desk.take(a.reported(5), a.reported(5))
    assert (len(desk.effects), desk.shown()["end_source"]) == (effects, "event")


@pytest.mark.parametrize("missed", ["completion", "answer", "all"])
def test_events_that_come_after_it_was_given_up_are_one_correction(missed: str) -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    early = [a.created(), a.rang(1)], [a.answered(2), b.created(), b.answered(3), a.bridged("B", 3)]
    late = [b.hung_up(45), a.hung_up(45), a.ended(45, sip_disposition="send_bye")]
    late.append(b.ended(45, sip_disposition="recv_bye"))
    seen, unseen = {
        "completion": ([*early[0], *early[1]], late),
        "answer": (early[0], [*early[1], *late]),
        "all": (early[0][:1], [early[0][1], *early[1], *late]),
    }[missed]
    desk = Desk().take(*seen, a.gone(before=50, after=40), b.gone(before=50, after=40), *unseen)
    desk.tick(60)
    assert desk.told()[-2:] == ["ended", "corrected"]
    assert desk.told().count("corrected") == 1
    shown = desk.published()[-1].record
    assert (shown.end_us, shown.hangup_by, shown.agent_id) == (us(45), "callee", "bob")


@pytest.mark.parametrize("by", ["time", "release", "leaving"])
def test_a_correction_does_not_wait_for_long(by: str) -> None:
    desk, a = lost(answered=False)
    a.stamps["answered_us"] = us(3)
    desk.take(a.held(45))
    assert desk.told()[-1] == "ended"
    if by == "time":
        desk.tick(52)
    elif by == "release":
        desk._keep(desk.book.release())
    else:
        desk.book.hasten("A", 50.5)
        desk.tick(50.6)
        assert desk.book.call_of("A") is None
    assert desk.told()[-2:] == ["ended", "corrected"]
    assert desk.published()[-1].record.answer_us == us(3)


def test_a_correction_that_was_about_to_be_told_when_we_died_is_told_by_the_next_life() -> None:
    desk, a = lost(answered=False)
    a.stamps["answered_us"] = us(3)
    desk.take(a.held(45))
    after = Desk()
    after.book.restore(desk.call(), 0.0)
    after.tick(2)
    assert after.told() == ["corrected"]


def test_a_late_answer_corrects_the_status() -> None:
    desk, a = lost(answered=False)
    a.stamps["answered_us"] = us(3)
    desk.take(a.ended(45))
    assert (desk.shown()["status"], desk.shown()["answer_time"]) == ("completed", time(3))
    assert desk.told()[-2:] == ["ended", "corrected"]


def test_what_is_no_part_of_what_was_told_is_no_correction() -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.ended(5), b.ended(5))
    desk.take(a.stopped("/x.wav", 6), b.destroyed(7))
    assert desk.told() == ["dialing", "ended"]


def test_an_agent_who_becomes_known_after_the_end_is_a_correction() -> None:
    a, b = Channel(), leg("B", "A")
    b.variables["leg_agent"] = "bob"
    desk = Desk().take(a.created(), a.answered(2), a.bridged("B", 3), a.ended(9), b.created())
    assert desk.told() == ["dialing", "answered", "ended", "corrected"]
    assert desk.published()[-1].record.agent_id == "bob"


def test_a_campaign_that_becomes_known_after_the_end_is_a_correction() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.ended(5))
    a.variables["campaign"] = "spring"
    desk.take(a.destroyed(5))
    assert desk.told() == ["dialing", "ended", "corrected"]
    assert desk.published()[-1].record.campaign_id == "spring"


# -- a UUID that lives again
# -----------------------------------------------------------------------------------------------


def test_where_a_call_of_others_lives_again_the_row_is_reopened_and_told_by_corrected() -> None:
    one = Channel(at=1.0, direction="outbound")
    two = one.again(3.0)
    desk = Desk().take(one.created(), one.rang(1.5), one.ended(2, "USER_BUSY"))
    assert desk.told() == ["dialing", "ringing", "ended"]
    desk.take(two.created())
    shown = desk.shown()
    assert (shown["status"], shown["dial_time"]) == ("dialing", time(1))
    assert [shown[k] for k in ("ring_time", "end_time", "hangup_cause", "end_source")] == [None] * 4
    assert desk.record().live
    assert desk.told()[-1] == "corrected"
    desk.take(two.rang(4), two.answered(5), two.hung_up(9), two.ended(9), two.destroyed(9))
    shown = desk.shown()
    times = [shown[f"{n}_time"] for n in ("dial", "ring", "answer", "end")]
    assert times == [time(1), time(4), time(5), time(9)]
    assert (shown["status"], shown["hangup_cause"]) == ("completed", "NORMAL_CLEARING")
    assert desk.told() == ["dialing", "ringing", "ended", *["corrected"] * 4]
    assert [p.seq for p in desk.published()] == list(range(1, 8))
    assert len(desk.calls) == 1


def test_a_reopened_call_is_not_forgotten_while_it_lives() -> None:
    one = Channel(at=1.0)
    two = one.again(3.0)
    desk = Desk().take(one.created(), one.ended(2, "USER_BUSY"), two.created())
    desk.tick(200)
    assert desk.book.call_of("A") is not None
    desk.take(two.ended(201))
    desk.tick(262)
    assert desk.book.call_of("A") is None


# -- channels that fall silent
# ----------------------------------------------------------------------------------------------


def test_a_hangup_without_its_completion_makes_a_suspect() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(1), a.hung_up(10))
    assert desk.tick(39.9) == []
    assert desk.tick(40) == ["A"]
    assert desk.tick(69.9) == []
    assert desk.tick(70) == ["A"]
    desk.take(a.gone(before=59))
    assert desk.tick(300) == []
    shown = desk.shown()
    assert (shown["status"], shown["end_time"], shown["ended_after"]) == ("completed", None, time(10))
    assert desk.told() == ["dialing", "answered", "ended"]


def test_what_completes_in_time_is_no_suspect() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.hung_up(10), a.ended(10))
    assert desk.tick(1000) == []


def test_a_second_life_is_not_suspected_for_the_first_ones_hangup() -> None:
    one = Channel(at=1.0)
    two = one.again(3.0)
    desk = Desk().take(one.created(), one.hung_up(2), two.created())
    assert desk.tick(60) == []


@pytest.mark.parametrize("kind", ["call", "leg", "agent", "ignored"])
def test_nothing_counts_as_active_forever(kind: str) -> None:
    """Any living channel is asked for every quarter of an hour, and forgotten once the switch denies it."""
    desk = Desk(tracking_others=kind != "ignored")
    a, b = Channel(), Channel("A", direction="outbound")
    b.variables["leg_agent"] = "bob"
    channel = b if kind == "agent" else a
    if kind == "leg":
        channel = Channel("A", 0, "outbound", queue_side="agent")
    desk.take(channel.created())
    assert desk.tick(899) == []
    assert desk.tick(900) == ["A"]
    assert desk.tick(1800) == ["A"]
    desk.take(channel.gone(before=1801))
    desk.tick(1900)
    assert not any(desk.book.sizes().values())


def test_a_call_grown_too_long_is_flagged() -> None:
    a = Channel()
    desk = Desk(timing=Timing(overlong_after_s=100)).take(a.created(), a.answered(1))
    desk.tick(99)
    assert not desk.shown()["overlong"]
    desk.tick(100)
    assert desk.shown()["overlong"]
    assert desk.shown()["status"] == "answered"
    assert desk.told() == ["dialing", "answered"]


def test_also_one_that_was_found_alive_counts_from_its_creation() -> None:
    a = Channel(at=0)
    desk = Desk(timing=Timing(overlong_after_s=100)).take(a.listed(90))
    desk.tick(100)
    assert desk.shown()["overlong"]


def test_an_end_before_that_is_not_flagged() -> None:
    a = Channel()
    desk = Desk(timing=Timing(overlong_after_s=100)).take(a.created(), a.ended(99))
    desk.tick(110)
    assert not desk.shown()["overlong"]


# -- incarnations of the switch
# ---------------------------------------------------------------------------------------------


def test_node_and_core_uuid_stand_on_every_call() -> None:
    a = Channel()
    shown = Desk(node="pbx7").take(a.created()).shown()
    assert (shown["node"], shown["core_uuid"]) == ("pbx7", "core-1")


def test_a_call_that_the_new_core_lists_goes_on_and_carries_it() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(2))
    a.core_uuid = "core-2"
    desk.take(a.listed(20))
    assert (desk.shown()["core_uuid"], desk.shown()["status"]) == ("core-2", "answered")
    a.core_uuid = "core-1"
    desk.take(a.answered(2))
    assert desk.shown()["core_uuid"] == "core-2"


@pytest.mark.parametrize("by", ["created", "listed"])
def test_a_call_that_the_new_core_recovers_goes_on(by: str) -> None:
    """Recovery creates the channel again, with the stamps of old (switch_core_session.c, ``request_xml``)."""
    desk, a = lost()
    a.core_uuid = "core-2"
    a.at = 0
    back: LegDescribed = a.listed(55) if by == "listed" else a._fact(type(a.created()), 55, **a.described)
    desk.take(back)
    shown = desk.shown()
    assert (shown["status"], shown["core_uuid"], shown["answer_time"]) == ("answered", "core-2", time(2))
    assert [shown[k] for k in ("ended_after", "ended_before", "end_source")] == [None] * 3
    assert desk.told()[-2:] == ["ended", "corrected"]
    assert "found_again" in desk.notes()
    desk.tick(200)
    assert desk.book.call_of("A") is not None
    desk.take(a.ended(58))
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("completed", time(58))


def test_an_old_creation_told_again_revives_nothing() -> None:
    desk, a = lost()
    desk.take(a.created())
    assert desk.shown()["status"] == "completed"
    assert desk.told().count("corrected") == 0


# -- who hung up
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "own", "other", "who"),
    [
        ("outbound", "recv_bye", None, "callee"),
        ("outbound", "recv_refuse", None, "callee"),
        ("outbound", "send_bye", "recv_bye", "caller"),
        ("outbound", "send_bye", "send_bye", "switch"),
        ("outbound", "send_cancel", None, "switch"),
        ("inbound", "recv_bye", None, "caller"),
        ("inbound", "recv_cancel", None, "caller"),
        ("inbound", "send_bye", "recv_bye", "callee"),
        ("inbound", "send_bye", None, "switch"),
        ("inbound", None, None, None),
    ],
)
def test_hangup_by(direction: str, own: str | None, other: str | None, who: str | None) -> None:
    a, b = Channel(direction=direction), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    b_end = b.ended(8.9, sip_disposition=other) if other else b.ended(9)
    desk.take(b_end, a.ended(9, sip_disposition=own))
    assert desk.shown()["hangup_by"] == who


def test_call_ended_waits_for_whom_it_was_bridged_to_if_that_is_hanging_up() -> None:
    """Whose completion comes first varies; who hung up is told right at once all the same."""
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    desk.take(b.hung_up(9), a.unbridged("B", 9), a.hung_up(9), a.ended(9, sip_disposition="send_bye"))
    assert desk.shown()["status"] == "completed"
    assert desk.told() == ["dialing", "answered"]
    desk.take(b.ended(9, sip_disposition="recv_bye"))
    assert desk.told() == ["dialing", "answered", "ended"]
    assert desk.published()[-1].record.hangup_by == "callee"


@pytest.mark.parametrize("by", ["time", "release"])
def test_but_not_for_long(by: str) -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    desk.take(b.hung_up(9), a.ended(9, sip_disposition="send_bye"))
    if by == "time":
        desk.tick(10)
    else:
        desk._keep(desk.book.release())
    assert desk.told() == ["dialing", "answered", "ended"]
    assert desk.published()[-1].record.hangup_by == "switch"
    desk.take(b.ended(9, sip_disposition="recv_bye"))
    assert desk.told()[-1] == "corrected"


def test_one_who_left_a_while_before_did_not_end_the_call() -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    desk.take(b.ended(5, sip_disposition="recv_bye"), a.unbridged("B", 5), a.ended(9, sip_disposition="send_bye"))
    assert desk.shown()["hangup_by"] == "switch"
