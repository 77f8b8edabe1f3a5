"""Calls that we originate: before the channel, with it, and where none ever comes."""

from __future__ import annotations

import itertools

import pytest

from callengine.calls.causes import CAUSES
from callengine.calls.facts import CommandIssued, JobAnswered, OriginateAbandoned, OriginateSent
from callengine.calls.view import iso
from tests.calls.build import Channel, Desk, call_id, leg, ours, time, us

HOUR_US = 3600 * 1_000_000


def mine(at: float = 1.0) -> Channel:
    return Channel("A", at, "outbound")


def abandoned(reason: str, now: float) -> OriginateAbandoned:
    return OriginateAbandoned(uuid="A", at_us=ours(now), reason=reason)


# -- before the channel ---------------------------------------------------------------------------------------------


def test_a_queued_call_has_our_queued_time_and_no_dial_time() -> None:
    shown = Desk().originate(sent=False).shown()
    assert (shown["status"], shown["dial_time"], shown["queued_time"]) == ("dialing", None, iso(ours(0)))
    assert (shown["fs_uuid"], shown["direction"], shown["id"]) == ("A", "outbound", call_id("A"))
    assert (shown["callee_number"], shown["gateway"]) == ("+15550123", "lab")


def test_dial_time_is_set_from_the_channels_creation() -> None:
    a = mine(1.5)
    desk = Desk().originate()
    assert desk.shown()["dial_time"] is None
    assert desk.take(a.created()).shown()["dial_time"] == time(1.5)


def test_nothing_is_told_of_it_until_its_channel_comes() -> None:
    desk = Desk().originate()
    assert desk.told() == []
    assert desk.take(mine().created()).told() == ["dialing"]


@pytest.mark.parametrize("reason", ["queue_timeout", "interrupted"])
def test_what_the_switch_never_took_has_failed_and_the_reason_says_which(reason: str) -> None:
    desk = Desk().originate(sent=False)
    desk.take(abandoned(reason, 30))
    shown = desk.shown()
    assert (shown["status"], shown["hangup_cause"], shown["failure_reason"]) == ("failed", None, reason)
    assert (shown["dial_time"], shown["end_time"], shown["total_duration_s"]) == (None, iso(ours(30)), None)
    assert desk.told() == ["ended"]


def test_hanging_up_a_queued_call_cancels_it() -> None:
    desk = Desk().originate(sent=False)
    desk.take(abandoned("cancelled", 3), abandoned("queue_timeout", 30))
    assert (desk.shown()["status"], desk.shown()["failure_reason"]) == ("failed", "cancelled")
    assert desk.told() == ["ended"]


def test_what_was_abandoned_and_comes_all_the_same_is_the_call_again() -> None:
    a = mine()
    desk = Desk().originate().take(abandoned("interrupted", 2), a.created(), a.answered(3))
    assert (desk.shown()["status"], desk.shown()["failure_reason"]) == ("answered", None)
    desk.job("+OK A", 3).take(a.ended(9))
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("completed", time(9))


def test_what_was_abandoned_and_had_ended_by_then_is_over_with_its_cdr_and_corrected_once() -> None:
    """Its events and its job were told while nobody was connected; asked for it, the switch knew it no more."""
    desk = Desk().originate().take(abandoned("switch_unreachable", 60), mine().reported(5, "NO_ANSWER"))
    shown = desk.shown()
    assert (shown["status"], shown["hangup_cause"], shown["failure_reason"]) == ("failed", "NO_ANSWER", None)
    assert (shown["end_time"], shown["end_source"]) == (time(5), "cdr")
    assert desk.told() == ["ended", "corrected"]
    desk.job("-ERR NO_ANSWER", 5.1)
    assert desk.tick(4000) == []
    assert desk.call().over


@pytest.mark.parametrize("by", ["denial", "job", "abandoned"])
def test_what_was_given_up_and_had_ended_by_then_is_corrected_once(by: str) -> None:
    """Of its channel nothing was heard but the end."""
    a, desk = mine(), Desk().originate()
    if by == "denial":
        desk.job("+OK A", 1).take(a.gone(before=5))
    elif by == "job":
        desk.job("-ERR NO_ANSWER", 1)
    else:
        desk.take(abandoned("outcome_unknown", 5))
    desk.take(a.hung_up(5, "USER_BUSY"), a.ended(5), a.destroyed(5))
    desk.tick(20)
    assert desk.told() == ["ended", "corrected"]
    assert desk.published()[-1].record.hangup_cause == "USER_BUSY"


def test_what_was_abandoned_and_came_all_the_same_is_over_without_its_job() -> None:
    a = mine()
    desk = Desk().originate().take(abandoned("outcome_unknown", 2), a.created(), a.ended(9, "NO_ANSWER"))
    shown = desk.shown()
    assert (shown["status"], shown["end_time"], shown["hangup_cause"]) == ("failed", time(9), "NO_ANSWER")


def test_a_call_that_has_a_channel_cannot_be_abandoned() -> None:
    a = mine()
    desk = Desk().originate().take(a.created(), abandoned("cancelled", 2))
    assert (desk.shown()["status"], desk.shown()["failure_reason"]) == ("dialing", None)


# -- without a channel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_a_call_without_a_channel_has_the_jobs_cause(cause: str) -> None:
    shown = Desk().originate().job(f"-ERR {cause}", 2).shown()
    assert (shown["status"], shown["fs_uuid"], shown["hangup_cause"]) == ("failed", "A", cause)
    assert shown["failure_reason"] is None


@pytest.mark.parametrize("text", ["-ERR", "-ERR no such gateway", "-USAGE <call url>", "-ERR user_busy", "what?", ""])
def test_what_is_no_cause_is_no_cause(text: str) -> None:
    shown = Desk().originate().job(text, 2).shown()
    assert (shown["status"], shown["hangup_cause"], shown["failure_reason"]) == ("failed", None, text)


def test_its_times_are_from_our_clock_alone_and_marked_so() -> None:
    desk = Desk()
    desk.now = 1.0
    desk.originate()
    shown = desk.job("-ERR SUBSCRIBER_ABSENT", 4.5).shown()
    assert (shown["dial_time"], shown["end_time"]) == (iso(ours(1.0)), iso(ours(4.5)))
    assert (shown["total_duration_s"], shown["end_source"]) == (3, "clock")
    assert (shown["ring_time"], shown["answer_time"], shown["talk_duration_s"]) == (None, None, None)


def test_without_our_clock_it_has_no_end_time() -> None:
    """After a restart nothing of ours told the time yet; the switch's clock is no substitute."""
    before = Desk().originate()
    desk = Desk()
    desk.book.restore(before.call(), 0.0)
    shown = desk.job("-ERR SUBSCRIBER_ABSENT", 4.5).shown()
    assert (shown["end_time"], shown["total_duration_s"], shown["end_source"]) == (None, None, "clock")
    desk = Desk(epoch_us=ours(0))
    desk.book.restore(before.call(), 0.0)
    assert desk.job("-ERR SUBSCRIBER_ABSENT", 4.5).shown()["total_duration_s"] == 4


def test_a_lone_destroy_is_no_channel() -> None:
    """INVALID_GATEWAY: the channel is destroyed before it ran."""
    for order in (1, -1):
        desk = Desk().originate()
        facts = [mine().never_ran(2), JobAnswered(job_uuid="job-A", text="-ERR INVALID_GATEWAY", at_us=us(2))]
        shown = desk.take(*facts[::order]).shown()
        assert (shown["status"], shown["hangup_cause"]) == ("failed", "INVALID_GATEWAY")
        assert (shown["end_source"], shown["end_time"]) == ("clock", iso(ours(2)))
        assert desk.told() == ["ended"]


def test_a_lone_destroy_whose_job_never_answers_ends_the_call_5_s_later() -> None:
    desk = Desk().originate().take(mine().never_ran(2))
    desk.tick(6.9)
    assert desk.shown()["status"] == "dialing"
    desk.tick(7.0)
    shown = desk.shown()
    assert (shown["status"], shown["hangup_cause"], shown["failure_reason"]) == ("failed", None, "no_channel")


def test_a_job_makes_no_call() -> None:
    assert Desk().job("+OK A", 1).job("-ERR USER_BUSY", 2).roots() == set()


def test_a_lone_destroy_makes_no_call() -> None:
    desk = Desk().take(Channel().never_ran(1), Channel("B").destroyed(1))
    desk.tick(100)
    assert desk.roots() == set()


def test_a_channel_the_switch_denies_ends_the_call() -> None:
    """Sent, and then nothing: neither a channel nor a job, since the connection broke. The engine asks."""
    desk = Desk().originate().take(mine().gone(20))
    desk.tick(25)
    assert (desk.shown()["status"], desk.shown()["failure_reason"]) == ("failed", "no_channel")
    assert desk.told() == ["ended"]


def test_a_silent_originate_becomes_a_suspect() -> None:
    desk = Desk().originate()
    assert desk.tick(900) == ["A"]
    assert Desk().originate(sent=False).tick(900) == []


# -- the job and the channel, in either order
# ---------------------------------------------------------------------------


def test_job_and_end_in_either_order_same_result() -> None:
    """A timeout: CREATE, PROGRESS, HANGUP, job -ERR NO_ANSWER, HANGUP_COMPLETE; after uuid_kill the other way."""
    rows = []
    for order in itertools.permutations(range(5)):
        a = mine()
        facts = [a.created(), a.rang(2), a.hung_up(9, "NO_ANSWER"), a.ended(9)]
        facts.append(JobAnswered(job_uuid="job-A", text="-ERR NO_ANSWER", at_us=us(9)))  # type: ignore[arg-type]
        desk = Desk().originate().take(*(facts[i] for i in order))
        row = desk.record()
        assert row.status == "failed"
        assert desk.told().count("ended") == 1
        row.seq = 0
        rows.append(row)
    assert all(row == rows[0] for row in rows)


def test_job_before_the_answer_is_no_answer() -> None:
    """Early media: the job says +OK before CHANNEL_ANSWER."""
    a = mine()
    desk = Desk().originate().take(a.created(), a.early_media(2)).job("+OK A", 2)
    assert desk.shown()["status"] == "ringing"
    desk.take(a.ended(3, "USER_BUSY"))
    assert (desk.shown()["status"], desk.shown()["hangup_cause"]) == ("failed", "USER_BUSY")
    assert desk.told() == ["dialing", "ringing", "ended"]


def test_the_call_ends_when_its_channel_has_ended_and_its_job_has_answered() -> None:
    a = mine()
    desk = Desk().originate().take(a.created(), a.ended(2, "USER_BUSY"))
    assert desk.shown()["status"] == "dialing"
    desk.job("-ERR USER_BUSY", 2.5)
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("failed", time(2))


def test_or_5_s_later_without_one() -> None:
    a = mine()
    desk = Desk().originate().take(a.created(), a.answered(1.5), a.ended(2))
    desk.tick(6.999)
    assert desk.shown()["status"] == "answered"
    desk.tick(7.0)
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("completed", time(2))
    assert desk.told() == ["dialing", "answered", "ended"]
    desk.job("+OK A", 8)
    assert desk.told() == ["dialing", "answered", "ended"]


def test_a_creation_that_comes_after_the_job_said_ok() -> None:
    a = mine()
    desk = Desk().originate().job("+OK A", 3)
    desk.tick(60)
    assert desk.shown()["status"] == "dialing"
    assert desk.take(a.created(), a.answered(2)).shown()["status"] == "answered"


def test_a_creation_that_comes_after_the_job_refused() -> None:
    a = mine()
    desk = Desk().originate().job("-ERR USER_BUSY", 3)
    assert desk.shown()["status"] == "failed"
    shown = desk.take(a.created(), a.ended(2, "USER_BUSY")).shown()
    assert (shown["status"], shown["dial_time"], shown["end_time"]) == ("failed", time(1), time(2))
    assert (shown["total_duration_s"], shown["end_source"]) == (1, "event")


def test_a_second_answer_of_the_job_changes_nothing() -> None:
    a = mine()
    desk = Desk().originate().take(a.created()).job("+OK A", 2).job("-ERR USER_BUSY", 3)
    assert desk.shown()["status"] == "dialing"
    assert desk.notes().count("job_answered") == 1


# -- failover
# ------------------------------------------------------------------------------------------------------------


def test_a_uuid_that_lives_again_is_the_same_call() -> None:
    """dial_time of its first life; ring, answer, end and cause of its last."""
    one = mine(1.0)
    two = one.again(3.0)
    desk = Desk().originate()
    desk.take(one.created(), one.rang(2), one.ended(2.5, "USER_BUSY", sip_term_status="486"), one.destroyed(2.5))
    assert desk.shown()["status"] == "ringing"
    desk.take(two.created(), two.rang(4), two.answered(6)).job("+OK A", 6).take(two.ended(9.5), two.destroyed(9.5))
    shown = desk.shown()
    times = [shown[f"{n}_time"] for n in ("dial", "ring", "answer", "end")]
    assert times == [time(1), time(4), time(6), time(9.5)]
    assert (shown["hangup_cause"], shown["status"], shown["sip_status"]) == ("NORMAL_CLEARING", "completed", None)
    assert (shown["ring_duration_s"], shown["talk_duration_s"], shown["total_duration_s"]) == (2, 3, 8)
    assert desk.told() == ["dialing", "ringing", "answered", "ended"]


@pytest.mark.parametrize("never_ran_at", [0, 1, 2, 3, 4])
def test_an_attempt_that_came_to_nothing_ends_no_life(never_ran_at: int) -> None:
    """``nonexistent/1|lab/2``: a lone CHANNEL_DESTROY stands before, between, or behind the lives."""
    one = mine()
    facts = [one.created(), one.rang(2), one.answered(3), one.hung_up(9), one.ended(9)]
    facts.insert(never_ran_at, one.never_ran(1))  # type: ignore[arg-type]
    desk = Desk().originate().job("+OK A", 0.5)
    for fact in facts[:-1]:
        desk.take(fact)
        assert desk.shown()["status"] != "failed"
    desk.take(facts[-1])
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("completed", time(9))
    assert desk.told() == ["dialing", "ringing", "answered", "ended"]


def test_the_job_is_waited_for_from_the_end_of_the_last_life() -> None:
    one = mine(1.0)
    two = one.again(3.0)
    desk = Desk().originate().take(one.created(), one.ended(2, "USER_BUSY"), two.created(), two.ended(6, "NO_ANSWER"))
    desk.tick(7.5)
    assert desk.shown()["status"] == "dialing"
    desk.tick(11)
    assert (desk.shown()["status"], desk.shown()["hangup_cause"]) == ("failed", "NO_ANSWER")


def test_a_late_event_of_an_earlier_life_changes_nothing() -> None:
    one = mine(1.0)
    two = one.again(3.0)
    late = [one.created(), one.hung_up(2, "USER_BUSY"), one.ended(2), one.destroyed(2)]
    desk = Desk().originate().take(late[0], two.created(), two.answered(4), *late[1:])
    assert (desk.shown()["status"], desk.shown()["hangup_cause"]) == ("answered", None)
    assert desk.refused() == []


# -- the agent first
# -----------------------------------------------------------------------------------------------------


def agent_first() -> tuple[Desk, Channel, Channel]:
    g = Channel("G", 1, "outbound")
    a = leg("A", "G", 4)
    return Desk().originate(agent="bob", agent_leg="G"), g, a


def test_where_the_agent_is_rung_first_the_call_is_the_leg_to_the_lead() -> None:
    desk, g, a = agent_first()
    desk.take(g.created(), g.rang(2), g.answered(3)).job("+OK G", 3)
    shown = desk.shown()
    assert (shown["status"], shown["dial_time"], shown["answer_time"]) == ("dialing", None, None)
    desk.take(a.created(), a.answered(6), g.bridged("A", 6))
    shown = desk.shown()
    assert (desk.roots(), shown["fs_uuid"], shown["status"]) == ({"A"}, "A", "agent_connected")
    assert (shown["agent_id"], shown["dial_time"], shown["agent_connect_time"]) == ("bob", time(4), time(6))
    desk.take(a.ended(9), g.ended(9))
    assert (desk.shown()["status"], desk.legs()["G"]["end_time"]) == ("completed", time(9))


def test_an_agent_who_does_not_answer_leaves_a_failed_call() -> None:
    desk, g, _ = agent_first()
    desk.take(g.created(), g.rang(2), g.ended(9, "NO_ANSWER")).job("-ERR NO_ANSWER", 9)
    shown = desk.shown()
    assert (shown["status"], shown["hangup_cause"], shown["dial_time"]) == ("failed", "NO_ANSWER", iso(ours(0)))
    assert desk.told() == ["ended"]


@pytest.mark.parametrize("job_first", [True, False])
def test_an_agent_who_leaves_before_the_lead_was_dialled(job_first: bool) -> None:
    desk, g, _ = agent_first()
    desk.take(g.created(), g.answered(3))
    if job_first:
        desk.job("+OK G", 3).take(g.ended(5))
    else:
        desk.take(g.ended(5)).job("+OK G", 5)
    shown = desk.shown()
    assert (shown["status"], shown["failure_reason"], shown["end_time"]) == ("failed", "lead_not_dialled", iso(ours(5)))


def test_the_lead_is_not_asked_for_while_the_agent_is_rung() -> None:
    desk, g, _ = agent_first()
    desk.take(g.created(), g.rang(2))
    assert "A" not in desk.tick(900)


# -- the rest
# ------------------------------------------------------------------------------------------------------------


def test_what_we_asked_for_stands_until_the_channel_says_it_itself() -> None:
    a = Channel("A", 1, "outbound", caller_number="100", callee_number="200", gateway="carrier")
    desk = Desk().originate(caller_number="1", caller_name="Sales", callee_number="2", gateway="lab")
    first = desk.shown()
    assert [first[k] for k in ("caller_number", "caller_name", "callee_number", "gateway")] == [
        "1",
        "Sales",
        "2",
        "lab",
    ]
    shown = desk.take(a.created()).shown()
    assert [shown[k] for k in ("caller_number", "callee_number", "gateway")] == ["100", "200", "carrier"]


def test_the_commands_that_we_issue_stand_in_the_timeline() -> None:
    a = mine()
    desk = Desk().originate().take(a.created(), CommandIssued(uuid="A", at_us=ours(2), command="hangup"))
    desk.take(CommandIssued(uuid="nobody", at_us=ours(2), command="hangup"))
    assert desk.notes() == ["queued", "originate_sent", "created", "hangup"]


def test_a_uuid_that_is_in_use_is_refused_by_name() -> None:
    desk = Desk().originate().originate()
    assert desk.refused() == ["uuid_in_use"]
    assert len(desk.calls) == 1


def test_events_that_overtook_the_queueing_are_not_lost() -> None:
    a = mine()
    desk = Desk().take(a.answered(2)).originate()
    assert desk.shown()["status"] == "dialing" or desk.shown()["status"] == "answered"
    assert desk.take(a.created()).shown()["status"] == "answered"


def test_the_tenant_that_asked_for_it_owns_it_whatever_the_channel_says() -> None:
    a = mine()
    a.variables["tenant"] = "somebody-else"
    assert Desk().originate().take(a.created(), a.answered(2)).record().tenant_id == "tenant-1"


def test_sent_is_taken_once() -> None:
    desk = Desk().originate()
    desk.take(OriginateSent(uuid="A", at_us=ours(9)))
    origination = desk.call().origination
    assert origination is not None
    assert origination.sent_us == ours(0)
