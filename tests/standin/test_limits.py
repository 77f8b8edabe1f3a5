"""Limits of sessions and of their rate, pauses, many calls at once, and what a switch says of itself."""

from __future__ import annotations

import json
import time

from callengine.standin import StandIn
from tests.conformance.client import Switch
from tests.standin.conftest import LogIn, StartStandIn, answered, place

REFUSED = "-ERR DESTINATION_OUT_OF_ORDER"


def originate(switch: Switch) -> str:
    return switch.job(switch.bgapi("originate null/x &park"))


def test_so_many_sessions(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(max_sessions=2))
    assert originate(switch).startswith("+OK")
    assert originate(switch).startswith("+OK")
    assert originate(switch) == REFUSED
    assert switch.api("fsctl max_sessions 3") == "+OK max sessions: 3\n"
    assert originate(switch).startswith("+OK")


def within_a_second(switch: Switch) -> list[bool]:
    """Which of four were placed; anew, where a machine that stood still let a second end between them."""
    for _ in range(10):
        while time.time() % 1 > 0.3:
            switch.settle(0.1)
        began_s = int(time.time())
        placed = [originate(switch).startswith("+OK") for _ in range(4)]
        if int(time.time()) == began_s:
            return placed
        switch.settle(1.0)
    raise AssertionError("this machine never placed four calls within a second")


def test_so_many_a_second(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(sessions_per_second=3))
    placed = within_a_second(switch)
    assert placed == [True, True, True, False]
    switch.settle(1.0)
    assert originate(switch).startswith("+OK")


def test_the_rate_can_be_changed(switch: Switch) -> None:
    assert switch.api("fsctl sps 1") == "+OK sessions per second: 1\n"
    results = [originate(switch) for _ in range(4)]
    assert REFUSED in results


def test_paused_and_resumed(switch: Switch) -> None:
    assert switch.api("fsctl pause") == "+OK\n"
    assert switch.api("fsctl pause_check") == "true"
    assert originate(switch) == REFUSED
    assert switch.api("fsctl resume") == "+OK\n"
    assert originate(switch).startswith("+OK")


def test_a_list_of_gateways(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(gateways=("alpha",)))
    assert switch.job(switch.bgapi("originate sofia/gateway/beta/15550100486 &park")) == "-ERR INVALID_GATEWAY"
    assert switch.job(switch.bgapi("originate sofia/gateway/alpha/15550100486 &park")) == "-ERR USER_BUSY"


def test_heartbeats_with_the_counts(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(heartbeat_s=0.2), "HEARTBEAT BACKGROUND_JOB")
    answered(switch)
    switch.events.clear()
    switch.pump(lambda: len(switch.events) >= 2, 5)
    first, second = switch.events[:2]
    assert first["Event-Info"] == "System Ready"
    assert (first["Session-Count"], first["Max-Sessions"]) == ("1", "5000")
    gap_us = int(second["Event-Date-Timestamp"]) - int(first["Event-Date-Timestamp"])
    assert 180_000 < gap_us < 400_000


def test_one_heart_after_a_restart(start: StartStandIn, login: LogIn) -> None:
    standin = start(heartbeat_s=0.2)
    for _ in range(3):
        standin.restart()
    switch = login(standin, "HEARTBEAT")
    switch.settle(0.7)
    assert len(switch.events) in {3, 4}


def test_it_says_that_it_is_none(standin: StandIn, switch: Switch) -> None:
    assert "not FreeSWITCH" in switch.api("status")
    assert "not FreeSWITCH" in switch.api("version")
    assert standin.banner() == (
        f"standin: not FreeSWITCH, a stand-in for tests and demos; event socket on 127.0.0.1:{standin.port}"
    )


def test_hundreds_of_calls_at_once(standin: StandIn, login: LogIn) -> None:
    switch = login(standin, "CHANNEL_CREATE CHANNEL_ANSWER CHANNEL_DESTROY")
    for _ in range(300):
        place(switch, "201", "standin_ring_s=0.5")
    switch.pump(lambda: len(switch.events) == 600, 30)
    assert json.loads(switch.api("show channels count as json"))["row_count"] == 300
    assert switch.api("hupall") == "+OK hangup all channels with cause MANAGER_REQUEST\n"
    switch.pump(lambda: len(switch.events) == 900, 30)
    assert {each["Hangup-Cause"] for each in switch.events[600:]} == {"MANAGER_REQUEST"}
    assert standin.switch.channels == {}


def test_nothing_is_left_behind(standin: StandIn, switch: Switch) -> None:
    for digits in ("486", "200", "180", "183"):
        uuid = place(switch, digits, "originate_timeout=1")
        switch.wait(uuid, "CHANNEL_DESTROY", 10)
    switch.settle(0.2)
    assert standin.switch.channels == {}
    assert standin.switch.background == set()
    switch.close()
    deadline = time.monotonic() + 5
    while standin.server.sessions or standin.switch.listeners:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_leaves_in_the_middle(standin: StandIn, login: LogIn) -> None:
    first = login(standin)
    first.wire.send(b"api originate {originate_timeout=2}sofia/gateway/carrier/15550100180 &park\n\n")
    first.settle(0.1)
    first.close()
    second = login(standin)
    second.settle(0.1)
    assert second.api("show channels count").strip() == "1 total."
    second.api("hupall")
    second.settle(0.2)
    assert standin.switch.channels == {}
    assert len(standin.server.sessions) == 1
