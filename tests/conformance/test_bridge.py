"""Two legs: the bridge application, uuid_bridge, transfers."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.conformance.client import Event, Switch, assert_order
from tests.conformance.conftest import Target


def bridged(target: Target, switch: Switch, uuid: str, what: str = "stay") -> Event:
    """A call bridged to an agent; its CHANNEL_BRIDGE."""
    if not target.agent:
        pytest.skip("no agent given")
    switch.bgapi(target.originate(what, uuid, f"&bridge({target.agent})", variables="campaign_id=c42"))
    return switch.wait(uuid, "CHANNEL_BRIDGE")


def test_bridge_and_the_caller_hangs_up(target: Target, switch: Switch, uuid: str) -> None:
    bridge = bridged(target, switch, uuid)
    other = bridge["Other-Leg-Unique-ID"]
    assert bridge["Unique-ID"] == bridge["Bridge-A-Unique-ID"] == uuid
    assert bridge["Bridge-B-Unique-ID"] == other
    assert bridge["Other-Type"] == "originatee"
    assert int(bridge["Caller-Channel-Bridged-Time"]) >= int(bridge["Other-Leg-Channel-Answered-Time"]) > 0
    switch.api(f"uuid_kill {uuid} CALL_REJECTED")
    switch.pump(lambda: all(switch.of(each, "CHANNEL_DESTROY") for each in (uuid, other)), 10)
    assert_order(
        switch.sequence(uuid), "CREATE", "ANSWER", "BRIDGE", "HANGUP", "UNBRIDGE", "EXECUTE_COMPLETE", "HANGUP_COMPLETE"
    )
    assert_order(switch.sequence(other), "CREATE", "PROGRESS", "ANSWER", "HANGUP", "HANGUP_COMPLETE", "DESTROY")
    assert_order(switch.sequence(uuid, other), "ANSWER", "BRIDGE", "UNBRIDGE")
    assert switch.sequence(uuid, other).count("BRIDGE") == switch.sequence(uuid, other).count("UNBRIDGE") == 1
    own, agent = (switch.first(each, "CHANNEL_HANGUP_COMPLETE") for each in (uuid, other))
    assert own["Hangup-Cause"] == "CALL_REJECTED"
    assert agent["Hangup-Cause"] == "NORMAL_CLEARING"
    assert agent["variable_last_bridge_hangup_cause"] == "CALL_REJECTED"
    assert own["variable_last_bridge_role"] == "originator"
    assert own["variable_last_bridge_to"] == other


def test_the_agents_leg_tells_whose_it_is(target: Target, switch: Switch, uuid: str) -> None:
    other = bridged(target, switch, uuid)["Other-Leg-Unique-ID"]
    created = switch.first(other, "CHANNEL_CREATE")
    assert created["Other-Type"] == "originator"
    assert created["Other-Leg-Unique-ID"] == created["variable_originator"] == uuid
    assert created["Other-Leg-Channel-Created-Time"] == "0"
    assert created["Channel-Call-UUID"] == uuid
    assert created["Call-Direction"] == "outbound"
    assert "variable_campaign_id" not in created, "what is given in {} is on the first leg only"
    switch.api(f"uuid_kill {uuid}")
    end = switch.wait(other, "CHANNEL_DESTROY")
    assert end["Channel-Call-UUID"] == other
    assert end["Other-Leg-Unique-ID"] == uuid


def test_bridge_and_the_agent_hangs_up(target: Target, switch: Switch, uuid: str) -> None:
    other = bridged(target, switch, uuid)["Other-Leg-Unique-ID"]
    switch.api(f"uuid_kill {other} USER_BUSY")
    switch.pump(lambda: all(switch.of(each, "CHANNEL_DESTROY") for each in (uuid, other)), 10)
    unbridge = switch.first(uuid, "CHANNEL_UNBRIDGE")
    assert unbridge["Answer-State"] == "answered"
    assert_order(switch.sequence(uuid), "BRIDGE", "UNBRIDGE", "EXECUTE_COMPLETE", "HANGUP", "HANGUP_COMPLETE")
    own = switch.first(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert own["Hangup-Cause"] == "NORMAL_CLEARING"
    assert own["variable_last_bridge_hangup_cause"] == own["variable_bridge_hangup_cause"] == "USER_BUSY"
    assert switch.first(other, "CHANNEL_HANGUP_COMPLETE")["variable_last_bridge_role"] == "originatee"


def test_bridge_to_a_busy_agent_ends_the_call_with_busy(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("stay", uuid, f"&bridge({target.far('busy')})"))
    own = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert own["Hangup-Cause"] == own["variable_last_bridge_hangup_cause"] == "USER_BUSY"
    assert own["variable_originate_disposition"] == "USER_BUSY"
    assert own["variable_DIALSTATUS"] == "BUSY"
    assert_order(switch.sequence(uuid), "ANSWER", "HANGUP", "EXECUTE_COMPLETE", "HANGUP_COMPLETE")
    assert not switch.of(uuid, "CHANNEL_BRIDGE")


def test_bridge_to_an_agent_who_does_not_answer(target: Target, switch: Switch, uuid: str) -> None:
    dial = f"{{originate_timeout=2}}{target.far('ring')}"
    switch.bgapi(target.originate("stay", uuid, f"&bridge({dial})"))
    own = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert own["Hangup-Cause"] == "NORMAL_CLEARING"
    assert own["variable_last_bridge_hangup_cause"] == own["variable_originate_failed_cause"] == "NO_ANSWER"
    assert own["variable_DIALSTATUS"] == "NOANSWER"
    assert_order(switch.sequence(uuid), "ANSWER", "EXECUTE_COMPLETE", "HANGUP", "HANGUP_COMPLETE")


def test_the_caller_gives_up_while_the_agent_rings(target: Target, switch: Switch, uuid: str) -> None:
    switch.bgapi(target.originate("stay", uuid, f"&bridge({target.far('ring')})"))
    switch.pump(lambda: any(each.get("variable_originator") == uuid for each in switch.events), 10)
    other = next(each["Unique-ID"] for each in switch.events if each.get("variable_originator") == uuid)
    switch.wait(other, "CHANNEL_PROGRESS")
    switch.api(f"uuid_kill {uuid}")
    switch.pump(lambda: all(switch.of(each, "CHANNEL_DESTROY") for each in (uuid, other)), 10)
    assert switch.first(other, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "ORIGINATOR_CANCEL"


def two_parked(target: Target, switch: Switch) -> tuple[str, str]:
    first, second = str(uuid4()), str(uuid4())
    for each in (first, second):
        switch.job(switch.bgapi(target.originate("stay", each)))
    return first, second


def test_uuid_bridge(target: Target, switch: Switch) -> None:
    lead, agent = two_parked(target, switch)
    assert switch.api(f"uuid_bridge {lead} {agent}") == f"+OK {agent}\n"
    bridge = switch.wait(lead, "CHANNEL_BRIDGE")
    assert not switch.of(agent, "CHANNEL_BRIDGE")
    assert (bridge["Bridge-A-Unique-ID"], bridge["Bridge-B-Unique-ID"]) == (lead, agent)
    assert bridge["Other-Leg-Unique-ID"] == agent
    assert bridge["Caller-Profile-Index"] == "2"
    assert f":uuid_br:{agent}" in bridge["Caller-Transfer-Source"]
    assert_order(switch.sequence(lead), "EXECUTE_COMPLETE", "BRIDGE")
    assert switch.sequence(agent).count("EXECUTE_COMPLETE") == 1
    switch.api(f"uuid_kill {lead}")
    switch.pump(lambda: all(switch.of(each, "CHANNEL_DESTROY") for each in (lead, agent)), 10)
    end = switch.first(agent, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == "NORMAL_CLEARING"
    assert end["Other-Leg-Unique-ID"] == lead
    assert int(end["Caller-Channel-Bridged-Time"]) == int(bridge["Caller-Channel-Bridged-Time"])


def test_uuid_bridge_leaves_a_leg_that_parks_after_it(target: Target, switch: Switch) -> None:
    lead, agent = two_parked(target, switch)
    assert switch.api(f"uuid_setvar {agent} park_after_bridge true") == "+OK\n"
    assert switch.api(f"uuid_setvar {agent} hangup_after_bridge false") == "+OK\n"
    switch.api(f"uuid_bridge {lead} {agent}")
    switch.wait(lead, "CHANNEL_BRIDGE")
    switch.api(f"uuid_kill {lead}")
    switch.wait(lead, "CHANNEL_DESTROY")
    switch.settle(0.2)
    assert switch.api(f"uuid_exists {agent}") == "true"
    switch.api(f"uuid_kill {agent}")
    assert switch.wait(agent, "CHANNEL_HANGUP")["Channel-State"] == "CS_PARK"


def test_intercepted_while_it_is_parked(target: Target, switch: Switch, uuid: str) -> None:
    if not target.agent:
        pytest.skip("no agent given")
    switch.job(switch.bgapi(target.originate("stay", uuid)))
    taker = intercept(target, switch, uuid)
    bridge = switch.wait(taker, "CHANNEL_BRIDGE")
    assert (bridge["Bridge-A-Unique-ID"], bridge["Bridge-B-Unique-ID"]) == (taker, uuid)
    assert not switch.of(uuid, "CHANNEL_BRIDGE")
    switch.api(f"uuid_kill {uuid}")
    switch.pump(lambda: all(switch.of(each, "CHANNEL_DESTROY") for each in (uuid, taker)), 10)
    assert switch.first(uuid, "CHANNEL_DESTROY")["Other-Leg-Unique-ID"] == taker


def intercept(target: Target, switch: Switch, uuid: str) -> str:
    """An agent that is rung and then takes the call from wherever it is."""
    taker = str(uuid4())
    switch.bgapi(f"originate {{origination_uuid={taker}}}{target.agent} &intercept({uuid})")
    return taker


def test_intercepted_from_its_agent(target: Target, switch: Switch, uuid: str) -> None:
    first = bridged(target, switch, uuid)["Other-Leg-Unique-ID"]
    second = intercept(target, switch, uuid)
    switch.wait(second, "CHANNEL_BRIDGE")
    assert switch.wait(first, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "PICKED_OFF"
    steps = [(each.get("Unique-ID"), each["Event-Name"]) for each in switch.events]
    assert steps.index((uuid, "CHANNEL_UNBRIDGE")) < steps.index((second, "CHANNEL_BRIDGE"))
    third = intercept(target, switch, uuid)
    switch.wait(third, "CHANNEL_BRIDGE")
    assert switch.wait(second, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "PICKED_OFF"
    assert switch.api(f"uuid_exists {uuid}") == "true"
    switch.api(f"uuid_kill {uuid}")
    switch.wait(third, "CHANNEL_DESTROY")


def test_intercepting_nobody(target: Target, switch: Switch) -> None:
    if not target.agent:
        pytest.skip("no agent given")
    taker = intercept(target, switch, "nobody")
    assert switch.wait(taker, "CHANNEL_HANGUP")["Hangup-Cause"] == "NORMAL_CLEARING"


def test_variables_for_the_other_leg(target: Target, switch: Switch, uuid: str) -> None:
    if not target.agent:
        pytest.skip("no agent given")
    given = r"one=1,two='a b',three=3,four=4,export_vars=one\,two\,nosuch,bridge_export_vars=four"
    switch.bgapi(target.originate("stay", uuid, f"'&bridge({target.agent})'", variables=given))
    other = switch.wait(uuid, "CHANNEL_BRIDGE")["Other-Leg-Unique-ID"]
    created = switch.first(other, "CHANNEL_CREATE")
    assert (created["variable_one"], created["variable_two"]) == ("1", "a b")
    assert created["variable_export_vars"] == "one,two,nosuch"
    assert not {"variable_three", "variable_four", "variable_nosuch"} & created.keys()
    switch.api(f"uuid_kill {uuid}")
    end = switch.wait(other, "CHANNEL_DESTROY")
    assert end["variable_four"] == "4"


def test_uuid_bridge_of_nobody(target: Target, switch: Switch) -> None:
    assert switch.api("uuid_bridge x y") == "-ERR Invalid uuid\n"
    assert switch.api("uuid_bridge x") == "-USAGE: <uuid> <other_uuid>\n"


def test_transferred_away_from_its_agent(target: Target, switch: Switch, uuid: str) -> None:
    if not target.extension:
        pytest.skip("no extension given")
    other = bridged(target, switch, uuid)["Other-Leg-Unique-ID"]
    assert switch.api(f"uuid_transfer {uuid} {target.extension}") == "+OK\n"
    agent = switch.wait(other, "CHANNEL_HANGUP_COMPLETE")
    assert agent["Hangup-Cause"] == "NORMAL_CLEARING"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Caller-Profile-Index"] == "2"
    assert end["Caller-Channel-Bridged-Time"] == "0", "a new profile knows of no bridge"
    assert end["Caller-Channel-Answered-Time"] != "0"
    assert "Other-Leg-Unique-ID" not in end
    assert_order(switch.sequence(uuid), "BRIDGE", "UNBRIDGE", "EXECUTE_COMPLETE", "HANGUP")


def test_the_agent_is_transferred(target: Target, switch: Switch, uuid: str) -> None:
    if not target.extension:
        pytest.skip("no extension given")
    other = bridged(target, switch, uuid)["Other-Leg-Unique-ID"]
    assert switch.api(f"uuid_transfer {uuid} -bleg {target.extension}") == "+OK\n"
    assert switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "NORMAL_CLEARING"
    assert switch.wait(other, "CHANNEL_HANGUP_COMPLETE")["Caller-Profile-Index"] == "2"


def test_loopback_has_two_channels(target: Target, switch: Switch, uuid: str) -> None:
    if not target.extension:
        pytest.skip("no extension given")
    job = switch.bgapi(f"originate {{origination_uuid={uuid},campaign_id=c}}loopback/{target.extension}/default &park")
    assert switch.job(job) == f"+OK {uuid}"
    end = switch.wait(uuid, "CHANNEL_DESTROY")
    twin = end["variable_other_loopback_leg_uuid"]
    switch.wait(twin, "CHANNEL_DESTROY")
    assert end["variable_loopback_leg"] == "A"
    assert end["Call-Direction"] == "outbound"
    other = switch.first(twin, "CHANNEL_CREATE")
    assert other["variable_loopback_leg"] == "B"
    assert other["Call-Direction"] == "inbound"
    assert other["variable_campaign_id"] == "c"
    assert len(switch.of(uuid, "CHANNEL_CREATE")) == len(switch.of(twin, "CHANNEL_CREATE")) == 1
    for each in (uuid, twin):
        assert switch.first(each, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "NORMAL_CLEARING"
        assert "variable_sip_call_id" not in switch.first(each, "CHANNEL_HANGUP_COMPLETE")
