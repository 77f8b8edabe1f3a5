"""The whole daemon, killed where the database does not take what it knows: nothing that it was told is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon, free_port
from tests.acceptance.switches import hang_up
from tests.chaos.databases import locked

_GATEWAY = 'dial_string = "sofia/gateway/far/{destination}"'


@pytest.fixture
def switch() -> Iterator[StandInProcess]:
    """A stand-in switch."""
    with launch(["--seed", "3"]) as process:
        yield process


@pytest.fixture
def daemon(switch: StandInProcess, tmp_path: Path) -> Iterator[Daemon]:
    """One on SQLite, beside it."""
    configuration = f"""
[esl]
host = "{switch.host}"
port = {switch.port}
backoff_min_s = 0.1
[database]
busy_timeout_ms = 200
[originate.gateways.far]
{_GATEWAY}
"""
    made = Daemon(tmp_path, configuration)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def until(daemon: Daemon, call_id: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (call := daemon.ask("GET", f"/v1/calls/{call_id}"))["status"] != status:
        assert time.monotonic() < deadline, call
        time.sleep(0.05)
    return dict(call)


def place(daemon: Daemon) -> str:
    body = {"destination": "15550201", "on_answer": {"type": "park"}}
    return str(daemon.ask("POST", "/v1/calls", body)["id"])


def segments(daemon: Daemon) -> list[Path]:
    return sorted((daemon.state / "spool").glob("*.spool"))


def test_ends_that_no_database_took_are_told_after_kill_9(daemon: Daemon, switch: StandInProcess) -> None:
    """Two calls end while the database is locked and the daemon is killed before it is free; the switch forgot them."""
    daemon.start()
    ended, lives = [place(daemon), place(daemon)], place(daemon)
    for call_id in (*ended, lives):
        until(daemon, call_id, "answered")
    with locked(daemon.state / "callengine.db", 600):
        hang_up(switch, ended)
        deadline = time.monotonic() + 10
        while daemon.metrics().get('callengine_calls_total{direction="outbound",status="completed"}', 0) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert daemon.metrics()["callengine_spool_writing"] == 1
        assert daemon.metrics()["callengine_spool_skipped_events"] == 0
        daemon.kill()
    daemon.start()
    for call_id in ended:
        call = until(daemon, call_id, "completed")
        assert (call["end_source"], call["hangup_cause"]) == ("event", "NORMAL_CLEARING")
        assert call["end_time"] is not None
        names = [entry["name"] for entry in daemon.ask("GET", f"/v1/calls/{call_id}/events")["data"]]
        assert (names.count("ended"), names.count("hung_up"), names.count("answered")) == (1, 1, 1)
    assert daemon.ask("GET", f"/v1/calls/{lives}")["status"] == "answered"
    assert daemon.stop() == 0
    assert segments(daemon) == []


def test_a_second_daemon_on_the_same_folder_leaves_the_spool_alone(daemon: Daemon) -> None:
    daemon.start()
    call_id = place(daemon)
    until(daemon, call_id, "answered")
    found = {path: path.stat().st_ino for path in segments(daemon)}
    assert found
    env = {**os.environ, **daemon._env, "CALLENGINE_HTTP__PORT": str(free_port())}
    second = subprocess.Popen([sys.executable, "-m", "callengine", "run"], env=env, stderr=subprocess.PIPE)
    time.sleep(3)
    assert second.poll() is None
    second.terminate()
    second.communicate(timeout=30)
    daemon.ask("POST", f"/v1/calls/{call_id}/hangup", {})
    until(daemon, call_id, "completed")
    assert daemon.metrics()["callengine_spool_skipped_events"] == 0
    assert daemon.stop() == 0
    assert segments(daemon) == []
