"""The stand-in as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys

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
