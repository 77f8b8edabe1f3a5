"""The stand-in as a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callengine.standin import StandInNotStarted, launch
from callengine.standin.__main__ import main
from callengine.standin.fault_command import USAGE
from callengine.standin.scenarios import BY_DIGITS, BY_NAME
from tests.conformance.client import Switch


def test_it_says_what_it_is_first() -> None:
    arguments = ["--port", "0", "--password", "other", "--print-address"]
    command = [sys.executable, "-m", "callengine.standin", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline().strip(), process.stdout.readline().strip()
        assert first.startswith("standin: not FreeSWITCH, a stand-in for tests and demos; event socket on 127.0.0.1:")
        assert first.endswith(second)
        port = int(second.rpartition(":")[2])
        switch = Switch.login("127.0.0.1", port, "other", "")
        assert switch.api("hostname") == "standin"
        switch.close()
        process.terminate()
        assert process.wait(10) == 0


def test_its_calls_end_when_it_is_stopped() -> None:
    with launch(["--time-scale", "20"]) as process:
        switch = Switch.login(process.host, process.port, "ClueCon", "CHANNEL_ANSWER CHANNEL_HANGUP")
        switch.bgapi("originate {origination_uuid=u1}sofia/gateway/carrier/15550100201 &park")
        switch.wait("u1", "CHANNEL_ANSWER")
        process.stop()
        for frame in switch.wire.to_the_end():
            switch._take(frame)
        assert switch.first("u1", "CHANNEL_HANGUP")["Hangup-Cause"] == "SYSTEM_SHUTDOWN"
        switch.close()
    assert process.process.returncode == 0


def test_it_ends_by_fsctl_shutdown_with_a_word_and_all_cdrs(tmp_path: Path) -> None:
    with launch(["--cdr", str(tmp_path)]) as process:
        switch = Switch.login(process.host, process.port, "ClueCon", "CHANNEL_ANSWER CHANNEL_HANGUP SHUTDOWN")
        channels = [f"u{number}" for number in range(5)]
        for channel in channels:
            switch.bgapi(f"originate {{origination_uuid={channel}}}sofia/gateway/carrier/15550100201 &park")
        for channel in channels:
            switch.wait(channel, "CHANNEL_ANSWER")
        assert switch.api("fsctl shutdown") == "+OK\n"
        frames = switch.wire.to_the_end()
        for frame in frames:
            switch._take(frame)
        assert frames[-1].kind == "text/disconnect-notice"
        assert {str(switch.first(channel, "CHANNEL_HANGUP")["Hangup-Cause"]) for channel in channels} == {
            "SYSTEM_SHUTDOWN"
        }
        assert [each["Event-Name"] for each in switch.events].count("SHUTDOWN") == 1
        assert process.process.wait(10) == 0
        switch.close()
    written = {path.name: json.loads(path.read_bytes())["variables"] for path in tmp_path.iterdir()}
    assert {name: cdr["hangup_cause"] for name, cdr in written.items()} == {
        f"{channel}.cdr.json": "SYSTEM_SHUTDOWN" for channel in channels
    }


def test_killed_and_started_again_it_is_another_core_on_the_same_port_and_lists(tmp_path: Path) -> None:
    far_end, cores, port = tmp_path / "far-end.jsonl", [], "0"
    began = time.time()
    for number in ("15550100201", "15550100486"):
        with launch(["--port", port, "--far-end", str(far_end), "--gateways", "carrier"]) as process:
            port = str(process.port)
            switch = Switch.login(process.host, process.port, "ClueCon", "CHANNEL_PROGRESS CHANNEL_HANGUP")
            assert "0 total" in switch.api("show channels count")
            switch.bgapi("originate sofia/gateway/missing/1 &park")
            switch.bgapi("originate loopback/9012/default &park")
            switch.bgapi(f"originate {{origination_uuid=u{number}}}sofia/gateway/carrier/{number} &park")
            seen = switch.wait(f"u{number}", "CHANNEL_HANGUP" if number.endswith("486") else "CHANNEL_PROGRESS")
            cores.append(str(seen["Core-UUID"]))
            process.process.kill()
            process.process.wait(10)
            switch.close()
    assert len(set(cores)) == 2
    lines = [json.loads(line) for line in far_end.read_bytes().splitlines()]
    assert [(line["number"], line["uuid"]) for line in lines] == [
        (number, f"u{number}") for number in ("15550100201", "15550100486")
    ]
    assert all(began <= line["at"] <= time.time() for line in lines)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StandInNotStarted, match="did not start"):
        launch(["--port", str(taken.getsockname()[1])])


def test_help_documents_the_numbers_and_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for digits, name in BY_DIGITS.items():
        assert f"``{digits}``" in text
        assert name in BY_NAME
    for words in USAGE.partition("standin_fault ")[2].strip().split("|"):
        assert words.split()[0] in text
    assert "not FreeSWITCH" in text
