"""What can be made to go wrong, does."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
import pytest

from callengine.standin import StandIn, sources
from tests.conformance.client import Closed, Switch, Wire
from tests.standin.conftest import LogIn, StartStandIn, answered, place

GOING_DOWN = "The system is being shut down.\n"


def names_of(switch: Switch, uuid: str) -> list[str]:
    return [str(each["Event-Name"]) for each in switch.of(uuid)]


# -- events -------------------------------------------------------------------------------------------------------


def test_silence(standin: StandIn, switch: Switch) -> None:
    uuid = answered(switch)
    assert switch.api("standin_fault silent on") == "+OK\n"
    seen = len(switch.events)
    switch.api(f"uuid_kill {uuid}")
    switch.settle(0.2)
    assert len(switch.events) == seen
    assert switch.api(f"uuid_exists {uuid}") == "false"
    assert standin.faults.dropped > 3
    switch.api("standin_fault silent off")
    switch.wait(place(switch, "486"), "CHANNEL_DESTROY")


def test_lost_events_leave_a_gap_in_the_numbers(switch: Switch, standin: StandIn) -> None:
    before = answered(switch)
    last = int(switch.events[-1]["Event-Sequence"])
    assert switch.api("standin_fault drop 2") == "+OK\n"
    switch.api(f"uuid_kill {before}")
    switch.wait(before, "CHANNEL_DESTROY")
    assert standin.faults.dropped == 2
    missing = int(switch.of(before)[-1]["Event-Sequence"]) - last
    came = [each for each in switch.events if int(each["Event-Sequence"]) > last]
    assert missing > len(came)


def test_events_of_one_name_are_lost(switch: Switch) -> None:
    switch.api("standin_fault drop_name CHANNEL_ANSWER")
    uuid = place(switch, "201", "standin_ring_s=0.04")
    switch.pump(lambda: any("Job-UUID" in each for each in switch.events), 5)
    assert names_of(switch, uuid)[:2] == ["CHANNEL_CREATE", "CHANNEL_PROGRESS"]
    assert not switch.of(uuid, "CHANNEL_ANSWER")


def test_events_come_twice(switch: Switch) -> None:
    switch.api("standin_fault duplicate 1")
    uuid = answered(switch)
    first, second = switch.of(uuid, "CHANNEL_CREATE")
    assert first == second
    assert len(switch.of(uuid, "CHANNEL_ANSWER")) == 1


def test_events_come_late(switch: Switch) -> None:
    switch.api("standin_fault delay 1 0.3")
    uuid = answered(switch)
    switch.wait(uuid, "CHANNEL_CREATE")
    names = names_of(switch, uuid)
    assert names.index("CHANNEL_CREATE") > names.index("CHANNEL_ANSWER")
    numbers = [int(each["Event-Sequence"]) for each in switch.of(uuid)]
    assert numbers[-1] == min(numbers)


def test_the_end_of_one_call_never_comes(switch: Switch) -> None:
    lost, other = answered(switch), answered(switch)
    assert switch.api(f"standin_fault no_complete {lost}") == "+OK\n"
    switch.api("hupall")
    switch.wait(other, "CHANNEL_DESTROY")
    switch.settle(0.1)
    assert "CHANNEL_HANGUP" in names_of(switch, lost)
    assert not {"CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"} & set(names_of(switch, lost))
    assert switch.api(f"uuid_exists {lost}") == "false"


def test_what_it_does_not_know(switch: Switch) -> None:
    assert switch.api("standin_fault").startswith("-USAGE: standin_fault silent")
    assert switch.api("standin_fault jump").startswith("-USAGE")
    assert switch.api("standin_fault no_complete nobody").startswith("-USAGE")


def test_all_off_again(switch: Switch, standin: StandIn) -> None:
    for words in ("silent on", "drop 5", "duplicate 5", "delay 5 9", "drop_name X", "header_only on"):
        assert switch.api(f"standin_fault {words}") == "+OK\n"
    switch.api("standin_fault reset")
    faults = standin.faults
    left = (faults.drop_next, faults.duplicate_next, faults.delay_next, len(faults.drop_names))
    assert left == (0, 0, 0, 0)
    assert not faults.silent
    assert not faults.header_only_recordings


# -- connections --------------------------------------------------------------------------------------------------


def test_closed_without_a_word(standin: StandIn, switch: Switch, login: LogIn) -> None:
    uuid = answered(switch)
    switch.api("standin_fault fin")
    assert switch.wire.to_the_end() == []
    assert login(standin).api(f"uuid_exists {uuid}") == "true"


def test_reset(switch: Switch) -> None:
    switch.api("standin_fault rst")
    with pytest.raises(ConnectionResetError):
        switch.wire.to_the_end()


@pytest.mark.parametrize("command", ["api standin_fault reload", "bgapi reload mod_event_socket"])
def test_the_module_is_reloaded_and_calls_live_on(standin: StandIn, switch: Switch, login: LogIn, command: str) -> None:
    uuid = answered(switch)
    switch.wire.send(f"{command}\n\n".encode())
    frames = switch.wire.to_the_end()
    assert frames[-1].kind == "text/disconnect-notice"
    assert frames[-1].text == GOING_DOWN
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(standin.host, standin.port)
    deadline = time.monotonic() + 5
    while not standin.server.listening:
        assert time.monotonic() < deadline
        gevent.sleep(0.005)
    assert login(standin).api(f"uuid_exists {uuid}") == "true"


def test_a_black_hole(standin: StandIn, switch: Switch) -> None:
    switch.api("standin_fault stall on")
    gevent.sleep(0.1)
    switch.wire.send(b"api echo 1\n\n")
    with pytest.raises(TimeoutError):
        switch.wire.frame(0.2)
    standin.stall(False)
    assert switch.wire.frame(2).text == "1"


def test_nobody_listens_for_a_while(standin: StandIn, switch: Switch, login: LogIn) -> None:
    standin.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(standin.host, standin.port)
    assert switch.api("echo still") == "still"
    standin.accept_connections()
    assert login(standin).api("echo again") == "again"


def test_shut_down(standin: StandIn, login: LogIn) -> None:
    switch = login(standin, "CHANNEL_HANGUP CHANNEL_HANGUP_COMPLETE CHANNEL_DESTROY BACKGROUND_JOB SHUTDOWN")
    uuid = answered(switch)
    assert switch.api("fsctl shutdown") == "+OK\n"
    frames = switch.wire.to_the_end()
    for frame in frames:
        switch._take(frame)
    assert frames[-1].text == GOING_DOWN
    assert [each["Event-Name"] for each in switch.events][-4:] == [
        "SHUTDOWN",
        "CHANNEL_HANGUP",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_DESTROY",
    ]
    assert switch.first(uuid, "CHANNEL_HANGUP")["Hangup-Cause"] == "SYSTEM_SHUTDOWN"
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(standin.host, standin.port)


def test_elegantly_means_after_the_last_call(standin: StandIn, login: LogIn) -> None:
    switch = login(standin)
    uuid = answered(switch)
    switch.api("fsctl shutdown elegant")
    assert switch.job(switch.bgapi("originate null/x &park")) == "-ERR DESTINATION_OUT_OF_ORDER"
    assert switch.api(f"uuid_exists {uuid}") == "true"
    switch.api(f"uuid_kill {uuid}")
    assert switch.wire.to_the_end()[-1].text == GOING_DOWN


def test_killed(standin: StandIn, switch: Switch, tmp_path: Path) -> None:
    uuid = answered(switch)
    file = tmp_path / "cut.wav"
    switch.api(f"uuid_record {uuid} start {file}")
    gevent.sleep(0.1)
    standin.kill()
    with pytest.raises((ConnectionResetError, Closed)):
        while True:
            assert switch.wire.frame().kind == "text/event-json"
    assert file.stat().st_size == 44
    with pytest.raises(ConnectionRefusedError):
        Wire.connect(standin.host, standin.port)


def test_restarted_as_a_new_core(standin: StandIn, switch: Switch, login: LogIn) -> None:
    port, core = standin.port, standin.core_uuid
    uuid = answered(switch)
    assert switch.first(uuid, "CHANNEL_ANSWER")["Core-UUID"] == core
    switch.api("standin_fault restart 0.1")
    deadline = time.monotonic() + 5
    while standin.core_uuid == core or not standin.server.listening:
        assert time.monotonic() < deadline
        gevent.sleep(0.02)
    again = login(standin)
    assert standin.port == port
    assert again.api(f"uuid_exists {uuid}") == "false"
    assert again.api("show channels count").strip() == "0 total."
    after = answered(again)
    event = again.first(after, "CHANNEL_ANSWER")
    assert event["Core-UUID"] == standin.core_uuid != core
    assert int(event["Event-Sequence"]) < 1000


# -- a client that does not read ----------------------------------------------------------------------------------


def flood(standin: StandIn, count: int) -> None:
    for number in range(count):
        block = {"Number": str(number), "Pad": "x" * 4000}
        standin.switch.emit_raw("CUSTOM", block, sources.HEARTBEAT, None, "flood")


def test_a_slow_reader_loses_its_place(start: StartStandIn, login: LogIn) -> None:
    standin = start(queue_limit=500, lost_limit=50)
    switch = login(standin, "CUSTOM flood")
    gevent.sleep(0.05)
    flood(standin, 500)
    gevent.sleep(0.05)  # the writer stands at a full socket
    flood(standin, 900)
    gevent.sleep(0.1)
    assert standin.server.sessions == []
    frames = switch.wire.to_the_end()
    assert frames[-1].text == "killed listener because of lost events\n"
    assert len(frames) < 1100
    assert login(standin).api("echo others live") == "others live"


def test_a_reader_that_catches_up_keeps_it(start: StartStandIn, login: LogIn) -> None:
    standin = start(queue_limit=500, lost_limit=50)
    switch = login(standin, "CUSTOM flood")
    for _ in range(10):
        flood(standin, 400)
        switch.pump(lambda: bool(switch.events) and switch.events[-1]["Number"] == "399", 5)
        switch.events.clear()
    assert switch.api("echo here") == "here"
