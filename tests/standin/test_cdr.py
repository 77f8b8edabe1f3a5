"""CDRs: one for each leg, at its end, with the figures that its last events told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.standin import StandIn
from tests.conformance.client import Switch
from tests.standin.conftest import LogIn, StartStandIn, answered, place

FIGURES = (
    "start_uepoch profile_start_uepoch progress_uepoch progress_media_uepoch answer_uepoch bridge_uepoch end_uepoch"
    " duration billsec progresssec answersec waitsec answermsec hangup_cause hangup_cause_q850"
).split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cdr"


@pytest.fixture
def standin(start: StartStandIn, folder: Path) -> StandIn:
    return start(cdr=folder)


def cdr_of(folder: Path, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{uuid}.cdr.json").read_bytes())
    return found


def bridged(switch: Switch) -> tuple[str, str]:
    """A call whose two legs were bridged and have ended."""
    uuid = answered(switch)
    agent = place(switch, "201", "standin_ring_s=0.04", "'&bridge({standin_ring_s=0.04}sofia/gateway/agents/1001)'")
    switch.pump(lambda: bool(switch.of(agent, "CHANNEL_BRIDGE")), 5)
    other = str(switch.first(agent, "CHANNEL_BRIDGE")["Other-Leg-Unique-ID"])
    switch.settle(0.1)
    switch.api("hupall")
    for each in (uuid, agent, other):
        switch.wait(each, "CHANNEL_DESTROY")
    return agent, other


def test_the_shape(standin: StandIn, switch: Switch, folder: Path) -> None:
    uuid = answered(switch, "campaign_id='c 1'")
    switch.api(f"uuid_kill {uuid}")
    switch.wait(uuid, "CHANNEL_DESTROY")
    cdr = cdr_of(folder, uuid)
    assert list(cdr) == ["core-uuid", "switchname", "channel_data", "callStats", "variables", "app_log", "callflow"]
    assert (cdr["core-uuid"], cdr["switchname"]) == (standin.core_uuid, "standin")
    assert cdr["channel_data"]["state"] == "CS_REPORTING"
    assert cdr["channel_data"]["direction"] == "outbound"
    assert cdr["callStats"]["audio"]["inbound"]["packet_count"] >= 0
    assert cdr["variables"]["campaign_id"] == "c 1"
    assert [each["app_name"] for each in cdr["app_log"]["applications"]] == ["park"]


def test_the_figures_are_those_of_the_events(switch: Switch, folder: Path) -> None:
    uuid = answered(switch)
    switch.api(f"uuid_kill {uuid}")
    destroyed = switch.wait(uuid, "CHANNEL_DESTROY")
    variables = cdr_of(folder, uuid)["variables"]
    for name in FIGURES:
        assert variables[name] == destroyed[f"variable_{name}"], name
    begun_ms, answered_ms = (int(variables[name]) // 1000 for name in ("start_uepoch", "answer_uepoch"))
    assert answered_ms - begun_ms == int(variables["answermsec"])
    [flow] = cdr_of(folder, uuid)["callflow"]
    times = flow["times"]
    assert times["created_time"] == destroyed["Caller-Channel-Created-Time"] == variables["start_uepoch"]
    assert times["hangup_time"] == destroyed["Caller-Channel-Hangup-Time"] == variables["end_uepoch"]
    assert times["answered_time"] == variables["answer_uepoch"]


def test_both_legs_of_a_bridge(switch: Switch, folder: Path) -> None:
    uuid, other = bridged(switch)
    first, second = cdr_of(folder, uuid), cdr_of(folder, other)
    assert first["variables"]["bridge_uuid"] == other
    assert second["variables"]["bridge_uuid"] == uuid
    assert second["variables"]["originator"] == uuid
    profile = first["callflow"][0]["caller_profile"]
    assert profile["originatee"]["originatee_caller_profiles"][0]["uuid"] == other
    profile = second["callflow"][0]["caller_profile"]
    assert profile["originator"]["originator_caller_profiles"][0]["uuid"] == uuid


def test_a_transfer_shows_where_the_call_was_before(switch: Switch, folder: Path) -> None:
    uuid = answered(switch)
    switch.api(f"uuid_transfer {uuid} 9012")
    switch.settle(0.2)
    switch.api(f"uuid_kill {uuid}")
    switch.wait(uuid, "CHANNEL_DESTROY")
    now, before = cdr_of(folder, uuid)["callflow"]
    assert now["extension"]["number"] == "9012"
    assert now["caller_profile"]["destination_number"] == "9012"
    assert before["caller_profile"]["destination_number"] == "15550100201"
    assert int(before["times"]["transfer_time"]) >= int(before["times"]["answered_time"]) > 0
    assert now["times"]["answered_time"] == before["times"]["answered_time"]


@pytest.mark.parametrize(("digits", "cause"), [("486", "USER_BUSY"), ("404", "UNALLOCATED_NUMBER")])
def test_a_call_that_failed_has_one_too(switch: Switch, folder: Path, digits: str, cause: str) -> None:
    uuid = place(switch, digits)
    switch.wait(uuid, "CHANNEL_DESTROY")
    cdr = cdr_of(folder, uuid)
    assert cdr["variables"]["hangup_cause"] == cause
    assert cdr["variables"]["answer_uepoch"] == "0"
    assert "app_log" not in cdr
    assert cdr["callflow"][0]["times"]["answered_time"] == "0"


def test_written_before_the_channel_is_gone(switch: Switch, folder: Path) -> None:
    uuid = place(switch, "486")
    switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    deadline = time.monotonic() + 5
    while not (folder / f"{uuid}.cdr.json").exists():
        assert time.monotonic() < deadline
        gevent.sleep(0.01)


def test_written_in_place_so_that_a_reader_may_meet_half_of_it(switch: Switch, folder: Path) -> None:
    uuid = place(switch, "486")
    path, halves, deadline = folder / f"{uuid}.cdr.json", 0, time.monotonic() + 5
    while True:
        assert time.monotonic() < deadline
        gevent.sleep(0.001)
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except ValueError:
            halves += 1
        else:
            break
    assert halves
    assert cdr_of(folder, uuid)["variables"]["hangup_cause"] == "USER_BUSY"


def test_what_never_was_a_channel_has_none(switch: Switch, folder: Path) -> None:
    switch.job(switch.bgapi("originate sofia/gateway/nosuchgateway/1 &park"))
    switch.job(switch.bgapi("originate error/USER_BUSY &park"))
    assert not list(folder.glob("*"))


def test_killed_writes_none(standin: StandIn, login: LogIn, switch: Switch, folder: Path) -> None:
    uuid = answered(switch)
    standin.kill()
    gevent.sleep(0.05)
    assert not (folder / f"{uuid}.cdr.json").exists()
