"""Incoming calls and the queue: what is told of them, and in which order (as a real mod_callcenter told it)."""

from __future__ import annotations

import pytest

from callengine.standin import StandIn
from callengine.standin.inbound import KINDS
from tests.conformance.client import CHANNEL_EVENTS, Event, Switch, assert_order
from tests.standin.conftest import LogIn, StartStandIn

EVENTS = f"{CHANNEL_EVENTS} CUSTOM callcenter::info"


@pytest.fixture
def switch(standin: StandIn, login: LogIn) -> Switch:
    return login(standin, EVENTS)


def ended(standin: StandIn, switch: Switch, kind: str) -> str:
    """An incoming call of a kind, from beginning to end."""
    uuid = standin.place_inbound(kind, called="15550199", caller="+15550123")
    switch.wait(uuid, "CHANNEL_DESTROY", 10)
    switch.settle(0.1)
    return uuid


def test_who_calls_whom(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "ivr")
    created = switch.first(uuid, "CHANNEL_CREATE")
    assert created["Call-Direction"] == "inbound"
    assert created["Caller-Caller-ID-Number"] == created["variable_sip_from_user"] == "+15550123"
    assert created["Caller-Destination-Number"] == "15550199"
    assert created["Caller-Context"] == "public"
    assert created["Channel-Name"].startswith("sofia/internal/+15550123@")
    assert created["variable_sip_call_id"]
    assert "variable_originator" not in created


def test_a_menu(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "ivr")
    assert_order(switch.sequence(uuid), "CREATE", "ANSWER", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    assert switch.first(uuid, "CHANNEL_HANGUP")["Hangup-Cause"] == "NORMAL_CLEARING"
    assert switch.first(uuid, "CHANNEL_DESTROY")["variable_billsec"].isdigit()


def test_abandoned(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "abandoned")
    assert_order(switch.sequence(uuid), "CREATE", "PROGRESS", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    hangup = switch.first(uuid, "CHANNEL_HANGUP")
    assert hangup["Hangup-Cause"] == "ORIGINATOR_CANCEL"
    assert hangup["Caller-Channel-Answered-Time"] == "0"


def test_bridged_to_an_agent(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "agent")
    bridge = switch.first(uuid, "CHANNEL_BRIDGE")
    agent = bridge["Other-Leg-Unique-ID"]
    switch.wait(agent, "CHANNEL_DESTROY")
    created = switch.first(agent, "CHANNEL_CREATE")
    assert created["variable_originator"] == uuid
    assert created["Channel-Call-UUID"] == uuid
    assert created["variable_sip_gateway_name"] == "agents"
    steps = switch.sequence(uuid, agent)
    assert_order(steps, "CREATE", "PROGRESS", "ANSWER", "BRIDGE", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    assert steps.count("CREATE") == steps.count("DESTROY") == 2


def test_no_such_extension(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "nowhere")
    assert switch.first(uuid, "CHANNEL_HANGUP")["Hangup-Cause"] == "NO_ROUTE_DESTINATION"


def step(event: Event, caller: str) -> str:
    if event["Event-Name"] == "CUSTOM":
        return " ".join(part for part in (event["CC-Action"], event.get("CC-Agent-State", "")) if part)
    leg = "caller" if event["Unique-ID"] == caller else "agent"
    return f"{leg} {str(event['Event-Name']).removeprefix('CHANNEL_')}"


def test_through_the_queue(standin: StandIn, switch: Switch) -> None:
    uuid = ended(standin, switch, "queue")
    while not switch.of(uuid, "CHANNEL_BRIDGE"):  # this one gave up before an agent took it
        switch.events.clear()
        uuid = ended(standin, switch, "queue")
    switch.pump(lambda: sum(each["Event-Name"] == "CHANNEL_DESTROY" for each in switch.events) == 2, 5)
    assert_order(
        [step(each, uuid) for each in switch.events],
        "caller CREATE",
        "caller ANSWER",
        "member-queue-start",
        "members-count",
        "agent-state-change Receiving",
        "agent-offering",
        "agent CREATE",
        "agent PROGRESS",
        "agent ANSWER",
        "bridge-agent-start",
        "caller BRIDGE",
        "agent-state-change In a queue call",
        "caller HANGUP",
        "caller HANGUP_COMPLETE",
        "bridge-agent-end",
        "member-queue-end",
        "agent-state-change Waiting",
        "caller DESTROY",
    )
    member = next(each for each in switch.events if each.get("CC-Action") == "member-queue-start")
    assert (member["CC-Queue"], member["CC-Member-Session-UUID"]) == ("support@default", uuid)
    start = next(each for each in switch.events if each.get("CC-Action") == "bridge-agent-start")
    agent = start["CC-Agent-UUID"]
    created = switch.first(agent, "CHANNEL_CREATE")
    assert created["variable_cc_member_session_uuid"] == uuid
    assert created["variable_cc_agent"] == start["CC-Agent"]
    assert "variable_originator" not in created
    end = next(each for each in switch.events if each.get("CC-Action") == "member-queue-end")
    assert end["CC-Cause"] == "Terminated"


def test_nobody_waits_for_ever(standin: StandIn, switch: Switch) -> None:
    """All agents are taken, so the caller gives up."""
    uuids = [standin.place_inbound("queue") for _ in range(12)]
    for uuid in uuids:
        switch.wait(uuid, "CHANNEL_DESTROY", 15)
    ends = [each for each in switch.events if each.get("CC-Action") == "member-queue-end"]
    assert {each["CC-Member-Session-UUID"] for each in ends} == set(uuids)
    cancelled = [each for each in ends if each["CC-Cause"] == "Cancel"]
    assert cancelled
    assert {each["CC-Cancel-Reason"] for each in cancelled} == {"BREAK_OUT"}
    assert switch.api("callcenter_config queue count members support@default") == "0\n"
    assert "|In a queue call\n" not in switch.api("callcenter_config agent list")


def test_they_come_at_a_rate(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(inbound_rate=60.0, inbound_numbers=("15550777",)), EVENTS)
    switch.settle(1.5)
    created = [each for each in switch.events if each["Event-Name"] == "CHANNEL_CREATE"]
    arrived = [each for each in created if each["Call-Direction"] == "inbound"]
    assert 40 < len(arrived) < 150
    assert {each["Caller-Destination-Number"] for each in arrived} == {"15550777"}


def test_no_call_while_paused(standin: StandIn, switch: Switch) -> None:
    switch.api("fsctl pause inbound")
    assert switch.api("standin_fault inbound ivr") == "-ERR no call now\n"
    switch.api("fsctl resume")
    for kind in KINDS:
        answer = switch.api(f"standin_fault inbound {kind} 15550188 +1555")
        switch.wait(answer.split()[1], "CHANNEL_CREATE")
