"""The order of events, case by case, and what each fact's headers say."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conformance.client import Event, Switch, assert_order, positions
from tests.conformance.conftest import Target

STAMPS = (
    "Caller-Channel-Created-Time",
    "Caller-Channel-Progress-Time",
    "Caller-Channel-Progress-Media-Time",
    "Caller-Channel-Answered-Time",
    "Caller-Channel-Bridged-Time",
    "Caller-Channel-Hangup-Time",
)


def stamps(event: Event) -> dict[str, int]:
    return {name.removeprefix("Caller-Channel-").removesuffix("-Time"): int(event[name]) for name in STAMPS}


def test_answered_and_hung_up_by_the_far_end(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("answer", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    sequence = switch.sequence(uuid, job)
    assert_order(sequence, "CREATE", "PROGRESS", "ANSWER", "job +OK", "HANGUP", "EXECUTE_COMPLETE", "HANGUP_COMPLETE")
    assert sequence[-1] == "DESTROY"
    assert switch.job(job) == f"+OK {uuid}"
    end = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == end["variable_hangup_cause"] == "NORMAL_CLEARING"
    assert end["variable_hangup_cause_q850"] == "16"
    assert end["variable_sip_hangup_disposition"] == "recv_bye"
    assert end["variable_sip_term_status"] == "200"


def test_the_stamps_of_an_answered_call(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("answer", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    created = stamps(switch.first(uuid, "CHANNEL_CREATE"))
    assert created["Created"] > 0
    assert {name for name, us in created.items() if us} == {"Created"}
    rung = stamps(switch.first(uuid, "CHANNEL_PROGRESS"))
    assert {name for name, us in rung.items() if us} == {"Created", "Progress"}
    answered = stamps(switch.first(uuid, "CHANNEL_ANSWER"))
    assert {name for name, us in answered.items() if us} == {"Created", "Progress", "Answered"}
    assert stamps(switch.first(uuid, "CHANNEL_HANGUP"))["Hangup"] == 0, "CHANNEL_HANGUP comes before the hangup time"
    end_event = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    end = stamps(end_event)
    assert end["Created"] == created["Created"]
    assert end["Created"] <= end["Progress"] <= end["Answered"] < end["Hangup"]
    assert int(end_event["variable_start_uepoch"]) == end["Created"]
    assert int(end_event["variable_progress_uepoch"]) == end["Progress"]
    assert int(end_event["variable_answer_uepoch"]) == end["Answered"]
    assert int(end_event["variable_end_uepoch"]) == end["Hangup"]
    assert int(end_event["variable_uduration"]) == end["Hangup"] - end["Created"]
    assert int(end_event["variable_billusec"]) == end["Hangup"] - end["Answered"]
    assert int(end_event["variable_duration"]) == end["Hangup"] // 1_000_000 - end["Created"] // 1_000_000
    assert int(end_event["variable_mduration"]) == end["Hangup"] // 1000 - end["Created"] // 1000


def test_durations_come_at_the_end_only(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("answer", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    for event in switch.of(uuid):
        late = event["Event-Name"] in {"CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"}
        assert ("variable_duration" in event) == late, event["Event-Name"]
        assert ("variable_end_uepoch" in event) == late
        assert ("variable_hangup_cause_q850" in event) == late


def test_the_caller_id_flips_once_answered(target: Target, switch: Switch, uuid: str) -> None:
    given = "origination_caller_id_number=15550100,origination_caller_id_name=Lab"
    switch.bgapi(target.originate("answer", uuid, variables=given))
    switch.wait(uuid, "CHANNEL_DESTROY")
    created = switch.first(uuid, "CHANNEL_CREATE")
    number = target.numbers["answer"]
    assert created["Caller-Caller-ID-Number"] == "15550100"
    assert created["Caller-Destination-Number"] == created["Caller-Callee-ID-Number"] == number
    ended = switch.first(uuid, "CHANNEL_HANGUP")
    assert ended["Caller-Caller-ID-Number"] == number
    assert ended["Caller-Callee-ID-Number"] == "15550100"
    assert ended["Caller-Orig-Caller-ID-Number"] == "15550100"
    assert ended["variable_channel_cid_flipped"] == "yes"


def test_answered_without_ringing_sets_no_progress(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("direct", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    assert not switch.of(uuid, "CHANNEL_PROGRESS")
    end = stamps(switch.first(uuid, "CHANNEL_HANGUP_COMPLETE"))
    assert end["Progress"] == end["Progress-Media"] == 0
    assert end["Answered"] > 0


@pytest.mark.parametrize(
    ("what", "cause", "status"),
    [
        ("busy", "USER_BUSY", "486"),
        ("unallocated", "UNALLOCATED_NUMBER", "404"),
        ("unavailable", "NORMAL_TEMPORARY_FAILURE", "503"),
    ],
)
def test_refused(target: Target, switch: Switch, uuid: str, what: str, cause: str, status: str) -> None:
    job = switch.bgapi(target.originate(what, uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    assert switch.job(job) == f"-ERR {cause}"
    sequence = [step for step in switch.sequence(uuid, job) if not step.startswith("job")]
    assert sequence == ["CREATE", "HANGUP", "HANGUP_COMPLETE", "DESTROY"]
    end = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == cause
    assert end["variable_sip_term_status"] == end["variable_sip_invite_failure_status"] == status
    assert end["variable_sip_hangup_disposition"] == "recv_refuse"
    assert stamps(end)["Answered"] == 0


@pytest.mark.parametrize(("what", "rings"), [("ring", True), ("silent", False)])
def test_originate_timeout(target: Target, switch: Switch, uuid: str, what: str, rings: bool) -> None:
    job = switch.bgapi(target.originate(what, uuid, variables="originate_timeout=2"))
    switch.wait(uuid, "CHANNEL_DESTROY", 8)
    assert switch.job(job) == "-ERR NO_ANSWER"
    sequence = switch.sequence(uuid, job)
    assert_order(sequence, "CREATE", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    hung_up, reported = positions(sequence, "HANGUP", "job -ERR")
    assert hung_up < reported
    assert ("PROGRESS" in sequence) == rings
    end = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["variable_sip_hangup_disposition"] == "send_cancel"
    lasted_s = int(end["variable_uduration"]) / 1_000_000
    assert 0.95 <= lasted_s <= 2.3, "a timeout of N seconds fires between N-1 and N"


def test_early_media_lets_the_job_succeed_before_the_answer(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("early", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    sequence = switch.sequence(uuid, job)
    assert_order(sequence, "CREATE", "PROGRESS_MEDIA", "job +OK", "ANSWER", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    assert stamps(switch.first(uuid, "CHANNEL_HANGUP_COMPLETE"))["Progress-Media"] > 0


def test_ignored_early_media_makes_the_job_wait(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("early", uuid, variables="ignore_early_media=true"))
    switch.wait(uuid, "CHANNEL_DESTROY")
    assert_order(switch.sequence(uuid, job), "PROGRESS_MEDIA", "ANSWER", "job +OK", "HANGUP")


@pytest.mark.parametrize("given", ["", "USER_BUSY", "ORIGINATOR_CANCEL"])
def test_killed_while_ringing(target: Target, switch: Switch, uuid: str, given: str) -> None:
    job = switch.bgapi(target.originate("ring", uuid))
    switch.wait(uuid, "CHANNEL_PROGRESS")
    assert switch.api(f"uuid_kill {uuid} {given}".strip()) == "+OK\n"
    switch.wait(uuid, "CHANNEL_DESTROY")
    cause = given or "NORMAL_CLEARING"
    assert switch.job(job) == f"-ERR {cause}"
    end = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == cause
    assert end["variable_sip_hangup_disposition"] == "send_cancel"


def test_killed_after_the_answer(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("stay", uuid))
    assert switch.job(job).startswith("+OK")
    assert switch.api(f"uuid_kill {uuid} CALL_REJECTED") == "+OK\n"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == "CALL_REJECTED"
    assert end["variable_sip_hangup_disposition"] == "send_bye"
    assert "variable_sip_term_status" not in end


def test_hangup_complete_doubles_the_cause(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("busy", uuid))
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    body = switch.bodies[switch.events.index(end)]
    assert body.count(b'"Hangup-Cause":"USER_BUSY"') == 2


def test_variables_of_an_originate_are_on_every_event(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("busy", uuid, variables="campaign_id=c42,lead_id=7"))
    switch.wait(uuid, "CHANNEL_DESTROY")
    for event in switch.of(uuid):
        assert event["variable_campaign_id"] == "c42"
        assert event["variable_lead_id"] == "7"
        assert event["variable_origination_uuid"] == event["variable_uuid"] == uuid
        assert event["Call-Direction"] == "outbound"
        assert "Other-Leg-Unique-ID" not in event


def test_every_event_begins_alike(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("answer", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    begin = [
        "Event-Name",
        "Core-UUID",
        "FreeSWITCH-Hostname",
        "FreeSWITCH-Switchname",
        "FreeSWITCH-IPv4",
        "FreeSWITCH-IPv6",
        "Event-Date-Local",
        "Event-Date-GMT",
        "Event-Date-Timestamp",
        "Event-Calling-File",
        "Event-Calling-Function",
        "Event-Calling-Line-Number",
        "Event-Sequence",
    ]
    cores = set()
    for event in switch.of(uuid):
        assert list(event)[: len(begin)] == begin
        cores.add(event["Core-UUID"])
    assert len(cores) == 1
    sequence = [int(event["Event-Sequence"]) for event in switch.of(uuid)]
    assert sequence == sorted(set(sequence)), "of one SIP channel, events come in the order of their numbers"


def test_sched_hangup_uses_its_cause(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("stay", uuid))
    switch.job(job)
    assert switch.api(f"sched_hangup +1 {uuid}") == "+OK\n"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE", 5)
    assert end["Hangup-Cause"] == "ALLOTTED_TIMEOUT"
    assert end["variable_hangup_cause_q850"] == "16", "causes above 127 are folded"


def test_sizes_are_honest(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("answer", uuid))
    switch.wait(uuid, "CHANNEL_DESTROY")
    sizes = {
        name: len(switch.bodies[switch.events.index(switch.first(uuid, f"CHANNEL_{name}"))])
        for name in ("CREATE", "ANSWER", "HANGUP_COMPLETE")
    }
    assert 3000 < sizes["CREATE"] < 4500
    assert 5200 < sizes["ANSWER"] < 7000
    assert 8500 < sizes["HANGUP_COMPLETE"] < 11000


def test_failover_lives_again(target: Target, switch: Switch) -> None:
    """Without a UUID of ours each group gets its own; with one, it is the same channel's second life."""
    job = switch.bgapi(f"originate {{{target.variables}}}{target.far('busy')}|{target.far('answer')} &park")
    answer = switch.job(job)
    assert answer.startswith("+OK ")
    winner = answer.split()[1]
    switch.wait(winner, "CHANNEL_DESTROY")
    losers = {
        each["Unique-ID"]
        for each in switch.events
        if each["Event-Name"] == "CHANNEL_HANGUP" and each["Caller-Destination-Number"] == target.numbers["busy"]
    }
    assert losers
    assert winner not in losers


def test_a_forked_call_has_one_winner(target: Target, switch: Switch) -> None:
    job = switch.bgapi(f"originate {{{target.variables}}}{target.far('ring')},{target.far('answer')} &park")
    winner = switch.job(job).split()[1]
    switch.wait(winner, "CHANNEL_DESTROY")
    switch.settle(0.2)
    [loser] = [
        each
        for each in switch.events
        if each.get("Hangup-Cause") == "LOSE_RACE" and each["Event-Name"] == "CHANNEL_HANGUP_COMPLETE"
    ]
    assert loser["Unique-ID"] != winner


def test_the_second_leg_of_a_fork_with_our_uuid_is_a_duplicate(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(
        target.originate("ring", uuid, variables="originate_timeout=2").replace(
            " &park", f",{target.far('answer')} &park"
        )
    )
    assert switch.job(job) == "-ERR NO_ANSWER"
    assert len(switch.of(uuid, "CHANNEL_CREATE")) == 1


def test_a_call_without_a_uuid_of_ours_gets_one(target: Target, switch: Switch) -> None:
    job = switch.bgapi(f"originate {{campaign_id=own}}{target.far('busy')} &park")
    assert switch.job(job) == "-ERR USER_BUSY"
    [created] = [
        each
        for each in switch.events
        if each["Event-Name"] == "CHANNEL_CREATE" and each.get("variable_campaign_id") == "own"
    ]
    assert UUID(created["Unique-ID"]).version == 4


def test_failover_with_our_uuid_lives_twice(target: Target, switch: Switch, uuid: str) -> None:
    if not target.is_standin:
        pytest.skip("there it depends on whether the first life is over in time")
    job = switch.bgapi(target.originate("busy", uuid).replace(" &park", f"|{target.far('answer')} &park"))
    assert switch.job(job) == f"+OK {uuid}"
    switch.pump(lambda: len(switch.of(uuid, "CHANNEL_DESTROY")) == 2, 10)
    causes = [each["Hangup-Cause"] for each in switch.of(uuid, "CHANNEL_HANGUP_COMPLETE")]
    assert causes == ["USER_BUSY", "NORMAL_CLEARING"]
    assert [step for step in switch.sequence(uuid) if step in {"CREATE", "DESTROY"}] == ["CREATE", "DESTROY"] * 2


def test_applications_on_ringing_answer_and_media(target: Target, switch: Switch, uuid: str) -> None:
    given = (
        "execute_on_answer_2='set second=a b',execute_on_answer_1='sched_hangup +2',"
        "execute_on_ring_x='set rang=1',execute_on_media='set media=1'"
    )
    switch.command("event json CHANNEL_EXECUTE")
    assert switch.job(switch.bgapi(target.originate("stay", uuid, variables=given))).startswith("+OK")
    steps = [
        (str(each["Event-Name"]).removeprefix("CHANNEL_"), str(each.get("Application-Data", "")))
        for each in switch.of(uuid)
    ]
    assert [step for step in steps if step[0] in {"PROGRESS", "ANSWER", "EXECUTE"} and step != ("EXECUTE", "")] == [
        ("PROGRESS", ""),
        ("EXECUTE", "rang=1"),
        ("ANSWER", ""),
        ("EXECUTE", "second=a b"),
        ("EXECUTE", "+2"),
        ("EXECUTE", "media=1"),
    ]
    end = switch.wait(uuid, "CHANNEL_DESTROY", 6)
    assert end["Hangup-Cause"] == "ALLOTTED_TIMEOUT"
    assert (end["variable_second"], end["variable_rang"], end["variable_media"]) == ("a b", "1", "1")
