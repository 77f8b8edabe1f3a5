"""Plans: what a request may ask for, and the very command that comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.errors import MalformedInput, NotAllowed, RequestRefused
from callengine.originate.ids import new_uuid
from callengine.originate.request import Plan, Planner
from tests.esl.parser import Read, originate
from tests.originate.fakes import EPOCH_US, REQUEST, TENANT, settings

AGENT = {"type": "agent", "agents": "desk", "agent_id": "7"}


def plan(configuration: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return Planner(settings(configuration)).plan({**REQUEST, **changes}, EPOCH_US)


def read(configuration: dict[str, Any] | None = None, **changes: Any) -> tuple[Plan, Read]:
    made = plan(configuration, **changes)
    return made, originate(made.command)


def refused(field: str, configuration: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises((NotAllowed, MalformedInput)) as refusal:
        plan(configuration, **changes)
    assert refusal.value.field == field
    return str(refusal.value)


# -- what it comes to ----------------------------------------------------------------------------------------------


def test_the_lead_is_called_and_parked() -> None:
    made, command = read()
    assert command == Read(
        {
            "origination_uuid": made.call_id,
            "originate_timeout": "30",
            "ignore_early_media": "true",
            "execute_on_answer_1": "sched_hangup +14400 allotted_timeout",
        },
        "sofia/gateway/carrier/+4930123456",
        "park",
    )


def test_the_call_is_its_channel_and_both_are_ordered_by_time() -> None:
    first, second = plan(), Planner(settings()).plan(REQUEST, EPOCH_US + 5000)
    assert first.call_id < second.call_id
    assert len({first.call_id, first.job_uuid, second.call_id, second.job_uuid}) == 4
    fact = first.queued(TENANT, EPOCH_US)
    assert (fact.uuid, fact.call_id, fact.job_uuid) == (first.call_id, first.call_id, first.job_uuid)


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = new_uuid(EPOCH_US)
    assert (made[14], made[19] in "89ab") == ("7", True)
    assert int(made[:8] + made[9:13], 16) == EPOCH_US // 1000


def test_everything_that_can_be_asked_for() -> None:
    made, command = read(
        caller_id_number="+4930999",
        caller_id_name="O'Brien, (Sales)",
        ring_timeout_s=12,
        record=True,
        campaign_id="spring, 2026",
        lead_id="crm-1'1",
        variables={"sip_h_X-Note": "a=b, 'c' \\ d)"},
    )
    assert command.variables == {
        "sip_h_X-Note": "a=b, 'c' \\ d)",
        "callengine_campaign_id": "spring, 2026",
        "callengine_lead_id": "crm-1'1",
        "origination_caller_id_name": "O'Brien, (Sales)",
        "origination_uuid": made.call_id,
        "originate_timeout": "12",
        "ignore_early_media": "true",
        "execute_on_answer_1": "sched_hangup +14400 allotted_timeout",
        "origination_caller_id_number": "+4930999",
        "execute_on_answer_2": f"record_session /var/spool/recordings/2026-11-22/{made.call_id}.wav",
        "recording_follow_transfer": "true",
        "RECORD_STEREO": "true",
    }
    fact = made.queued(TENANT, EPOCH_US)
    assert (fact.caller_number, fact.caller_name, fact.callee_number) == ("+4930999", "O'Brien, (Sales)", "+4930123456")
    assert (fact.campaign, fact.lead, fact.gateway) == ("spring, 2026", "crm-1'1", "carrier")


@pytest.mark.parametrize(
    ("target", "application", "arguments"),
    [
        ({"type": "queue", "queue": "support@default"}, "callcenter", "support@default"),
        ({"type": "park"}, "park", ""),
        ({"type": "extension", "extension": "*98"}, "default/*98", ""),
    ],
)
def test_what_happens_on_answer(target: dict[str, Any], application: str, arguments: str) -> None:
    made, command = read(on_answer=target)
    assert (command.application, command.arguments) == (application, arguments)
    assert made.queue == target.get("queue")


def test_an_application_has_the_arguments_of_the_configuration() -> None:
    made = plan(on_answer={"type": "application", "application": "ivr"})
    assert made.command.endswith(" &playback(/sounds/${language}/hello.wav)")


def test_the_lead_first_and_then_an_agent() -> None:
    made, command = read(on_answer=AGENT, variables={"crm_note": "it's (a) test"})
    assert command.application == "bridge"
    assert command.variables["crm_note"] == "it's (a) test"
    assert command.variables["transfer_ringback"] == "%(2000,4000,440,480)"
    assert command.second == Read(
        {
            "callengine_agent_id": "7",
            "originate_timeout": "30",
            "ignore_early_media": "true",
            "origination_caller_id_number": "+4930123456",
            "origination_caller_id_name": "+4930123456",
        },
        "user/7@example.com",
        "",
    )
    assert (made.agent, made.agent_leg) == ("7", None)


def test_the_agent_first_and_then_the_lead() -> None:
    made, command = read(
        first="agent",
        on_answer=AGENT,
        caller_id_name="O'Brien, (Sales)",
        caller_id_number="100",
        variables={"crm_note": "it's (a) test"},
        lead_id="l1",
        record=True,
    )
    assert made.agent_leg is not None
    assert made.agent_leg != made.call_id
    assert made.queued(TENANT, 1).agent_leg == made.agent_leg
    assert command.target == "user/7@example.com"
    assert command.variables["origination_uuid"] == made.agent_leg
    assert command.variables["callengine_agent_id"] == "7"
    assert not {"callengine_lead_id", "crm_note", "execute_on_answer_1"} & set(command.variables)
    assert command.second is not None
    assert command.second.target == "sofia/gateway/carrier/+4930123456"
    assert command.of_second_leg() == {
        "crm_note": "it's (a) test",
        "callengine_lead_id": "l1",
        "origination_caller_id_name": "O'Brien, (Sales)",
        "origination_caller_id_number": "100",
        "origination_uuid": made.call_id,
        "originate_timeout": "30",
        "ignore_early_media": "true",
        "execute_on_answer_1": "sched_hangup +14400 allotted_timeout",
        "execute_on_answer_2": f"record_session /var/spool/recordings/2026-11-22/{made.call_id}.wav",
        "recording_follow_transfer": "true",
        "RECORD_STEREO": "true",
    }


def test_the_variables_have_the_names_that_the_configuration_gives_them() -> None:
    tracking = {"agent_variables": ["my_agent"], "campaign_variable": "my_campaign", "lead_variable": "my_lead"}
    _, command = read({"tracking": tracking}, on_answer=AGENT, campaign_id="c", lead_id="l")
    assert (command.variables["my_campaign"], command.variables["my_lead"]) == ("c", "l")
    assert command.second is not None
    assert command.second.variables["my_agent"] == "7"


def test_the_gateways_own_caller_id_where_none_is_asked_for() -> None:
    gateways = {"originate": {"gateways": {"carrier": {"caller_id_number": "+4930000"}}}}
    made, command = read(gateways)
    assert made.caller_number == command.variables["origination_caller_id_number"] == "+4930000"


def test_the_only_gateway_need_not_be_named() -> None:
    assert plan(gateway=None).gateway == "carrier"
    refused("gateway", {"originate": {"gateways": {"a": {}, "b": {}}}}, gateway=None)
    refused("gateway", {"originate": {"gateways": {}}}, gateway=None)


def test_recording_as_configured() -> None:
    assert "record_session" not in plan().command
    assert "record_session" in plan({"recordings": {"start": "answer"}}).command
    assert "record_session" not in plan({"recordings": {"start": "answer"}}, record=False).command
    mono = plan({"recordings": {"stereo": False, "format": "mp3"}}, record=True)
    assert "RECORD_STEREO" not in mono.command
    assert f"{mono.call_id}.mp3" in mono.command


@pytest.mark.parametrize(
    ("asked", "rule", "start", "recorded"),
    [
        (None, "originated", "never", True),
        (None, "all", "never", True),
        (None, "never", "answer", False),
        (None, None, "all", True),
        (None, None, "never", False),
        (True, "never", "never", True),
        (False, "all", "all", False),
    ],
)
def test_recording_by_rule(asked: bool | None, rule: str | None, start: str, recorded: bool) -> None:
    planner = Planner(settings({"recordings": {"start": start}}))
    made = planner.plan({**REQUEST, "record": asked}, EPOCH_US, rule)
    assert ("record_session" in made.command) is recorded


def test_a_recordings_path_is_as_the_switch_sees_it() -> None:
    mapped = {"recordings": {"directories": ["/mnt/rec/a"], "path_map": {"/var/lib/freeswitch/rec": "/mnt/rec"}}}
    made, command = read(mapped, record=True)
    path = f"/var/lib/freeswitch/rec/a/2026-11-22/{made.call_id}.wav"
    assert command.variables["execute_on_answer_2"] == f"record_session {path}"


def test_a_recording_needs_a_directory_that_can_be_named() -> None:
    refused("record", {"recordings": {"directories": []}}, record=True)
    for directory in ("/a b", "/a'b", "/a,b", "/a$b"):
        refused("record", {"recordings": {"directories": [directory]}}, record=True)


# -- what it does not come to --------------------------------------------------------------------------------------


def test_only_what_is_configured_by_name() -> None:
    refused("gateway", gateway="other")
    refused("on_answer.agents", on_answer={**AGENT, "agents": "other"})
    refused("on_answer.queue", on_answer={"type": "queue", "queue": "other@default"})
    refused("on_answer.application", on_answer={"type": "application", "application": "system"})
    refused("on_answer.type", on_answer={"type": "inline", "extension": "park"})
    refused("on_answer.type", on_answer={"type": "call", "call_id": "x"})
    refused("on_answer", first="agent", on_answer={"type": "park"})
    refused("first", first="nobody")


@pytest.mark.parametrize("destination", ["", "abc", "1 2", "1,2", "1|2", "100@evil.example", "1}x", "+1\n", "$1", "1'"])
def test_a_destination_matches_its_pattern(destination: str) -> None:
    refused("destination", destination=destination)


@pytest.mark.parametrize(
    "number", ["1 2", "1,sofia/x/2", "1|sofia/x/2", "[a=b]1", "1}2", "1'2", "$1", "1\n", "undef", "1%41", "1;x", "1(2)"]
)
def test_no_pattern_lets_through_what_is_more_than_a_number(number: str) -> None:
    """The operator meant to allow letters, and allowed everything."""
    everything = {
        "originate": {
            "destination_pattern": "(?s).*",
            "extension_pattern": "(?s).*",
            "gateways": {"carrier": {"caller_id_pattern": "(?s).*"}},
            "agents": {"desk": {"dial_string": "user/{agent}", "agent_pattern": "(?s).*"}},
        }
    }
    refused("destination", everything, destination=number)
    refused("on_answer.extension", everything, on_answer={"type": "extension", "extension": number})
    refused("on_answer.agent_id", everything, on_answer={**AGENT, "agent_id": number})
    if number != "undef":
        refused("caller_id_number", everything, caller_id_number=number)


def test_a_caller_id_matches_the_gateways_pattern() -> None:
    assert refused("caller_id_number", caller_id_number="anonymous") == (
        "caller_id_number is not among what originate.gateways.NAME.caller_id_pattern allows"
    )


@pytest.mark.parametrize(
    ("request_", "setting"),
    [
        ({"destination": "no number"}, "destination_pattern"),
        ({"gateway": "no-such"}, "gateways"),
        ({"variables": {"other": "1"}}, "variables"),
        ({"on_answer": {**AGENT, "agents": "no-such"}}, "agents"),
        ({"on_answer": {**AGENT, "agent_id": "no such"}}, "agents.NAME.agent_pattern"),
        ({"on_answer": {"type": "extension", "extension": "no such"}}, "extension_pattern"),
        ({"on_answer": {"type": "queue", "queue": "no-such"}}, "queues"),
        ({"on_answer": {"type": "application", "application": "no-such"}}, "applications"),
    ],
)
def test_the_setting_that_does_not_allow_it_is_named(request_: dict[str, Any], setting: str) -> None:
    with pytest.raises(NotAllowed) as refusal:
        plan(**request_)
    assert str(refusal.value) == f"{refusal.value.field} is not among what originate.{setting} allows"


def test_a_variable_that_no_setting_opens_names_none() -> None:
    for name in ("execute_on_answer", "origination_uuid"):
        with pytest.raises(NotAllowed) as refusal:
            plan(variables={name: "1"})
        assert str(refusal.value) == f"variables.{name} is none that a request may set"


@pytest.mark.parametrize(
    "name",
    [
        "execute_on_answer",
        "EXECUTE_ON_ANSWER",
        "api_on_answer",
        "exec_after_bridge_app",
        "api_hangup_hook",
        "record_post_process_exec_api",
        "callengine_agent_id",
        "callengine_tenant_id",
        "sip_h_Contact",
        "origination_uuid",
        "x y",
        "a=b",
        "",
        "crm_a,execute_on_answer",
        "crm_a}",
        "crm_a\n",
    ],
)
def test_only_variables_that_are_opened(name: str) -> None:
    with pytest.raises((NotAllowed, MalformedInput)) as refusal:
        plan(variables={name: "1"})
    assert refusal.value.field.split(".")[0] == "variables"
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name",
    [
        "Origination_UUID",
        "origination_caller_id_number",
        "originate_timeout",
        "export_vars",
        "_nolocal_sip_h_X-A",
        "nolocal_x",
        "ignore_early_media",
        "transfer_ringback",
        "My_Tenant",
        "my_campaign",
        "my_agent",
    ],
)
def test_no_pattern_opens_what_is_ours(name: str) -> None:
    """Not even where the operator opens them."""
    tracking = {"tenant_variable": "my_tenant", "campaign_variable": "my_campaign", "agent_variables": ["my_agent"]}
    opened = {"tracking": tracking, "originate": {"variables": [name, "My_*", "my_*"]}}
    refused(f"variables.{name}", opened, variables={name: "1"})


def test_variables_are_few_and_named_once() -> None:
    refused("variables", variables={f"crm_{n}": "1" for n in range(65)})
    refused(
        "variables",
        variables={"crm_a": "1", "CRM_A": "2"},
        configuration={"originate": {"variables": ["crm_a", "CRM_A"]}},
    )


@pytest.mark.parametrize("value", ["$1", "${api}", "a\nb", "a}b", "{", ":_:", "", "ARRAY::a|:b"])
def test_a_value_that_cannot_be_carried(value: str) -> None:
    refused("variables.crm_a", variables={"crm_a": value})
    if value:
        refused("campaign_id", campaign_id=value)
        refused("lead_id", lead_id=value)
        refused("caller_id_name", caller_id_name=value)


@pytest.mark.parametrize("seconds", [0, -1, 601, True, 1.5, "30"])
def test_times_are_whole_seconds_within_bounds(seconds: Any) -> None:
    refused("ring_timeout_s", ring_timeout_s=seconds)


def test_nobody_asks_for_longer_than_the_configuration_allows() -> None:
    refused("max_duration_s", max_duration_s=14_401)
    assert "+60 " in originate(plan(max_duration_s=60).command).variables["execute_on_answer_1"]


def test_no_calls_at_all() -> None:
    refused("destination", {"originate": {"enabled": False}})


def test_a_configuration_that_freeswitch_would_misread_is_refused_not_sent() -> None:
    gateways = {"originate": {"gateways": {"carrier": {"dial_string": "sofia/gateway/a)/{destination}"}}}}
    assert plan(gateways).gateway == "carrier"
    refused("gateway", gateways, first="agent", on_answer=AGENT)
    applications = {"originate": {"applications": {"ivr": {"application": "say", "arguments": "en (x)"}}}}
    with pytest.raises(RequestRefused, match="FreeSWITCH"):
        plan(applications, on_answer={"type": "application", "application": "ivr"})
