"""The whole daemon, told to read its settings again and to go: within bounds, whatever is away and whoever stays."""

from __future__ import annotations

import http.client
import json
import signal
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon
from tests.acceptance.switches import hang_up
from tests.chaos.databases import locked

_BODY = {"destination": "15550201", "on_answer": {"type": "park"}}


def configuration(switch: StandInProcess, more: str = "") -> str:
    return f"""
[esl]
host = "{switch.host}"
port = {switch.port}
backoff_min_s = 0.1
[database]
busy_timeout_ms = 200
[originate]
max_per_second = 50
{more}
[originate.gateways.far]
dial_string = "sofia/gateway/far/{{destination}}"
"""


@pytest.fixture
def switch() -> Iterator[StandInProcess]:
    """A stand-in switch."""
    with launch(["--seed", "3"]) as process:
        yield process


@pytest.fixture
def daemon(switch: StandInProcess, tmp_path: Path) -> Iterator[Daemon]:
    """One on SQLite, beside it."""
    made = Daemon(tmp_path, configuration(switch))
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def until_metric(daemon: Daemon, name: str, value: float) -> None:
    deadline = time.monotonic() + 20
    while daemon.metrics().get(name) != value:
        assert time.monotonic() < deadline, daemon.said()[-2000:]
        time.sleep(0.05)


def until_status(daemon: Daemon, calls: list[str], status: str) -> None:
    deadline = time.monotonic() + 20
    while any((shown := daemon.ask("GET", f"/v1/calls/{c}"))["status"] != status for c in calls):
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)


def test_settings_are_read_again(daemon: Daemon, switch: StandInProcess) -> None:
    assert daemon.process is not None
    call = daemon.ask("POST", "/v1/calls", _BODY)
    path = daemon.state / "callengine.toml"
    path.write_text(configuration(switch, "enabled = false\nqueue_max = 7"))
    daemon.process.send_signal(signal.SIGHUP)
    until_metric(daemon, 'callengine_reloads{outcome="applied"}', 1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        daemon.ask("POST", "/v1/calls", _BODY)
    assert refused.value.code == 400
    assert "originate.enabled" in json.loads(refused.value.read())["detail"]
    path.write_text("[originate]\nenabled = perhaps\n")
    daemon.process.send_signal(signal.SIGHUP)
    until_metric(daemon, 'callengine_reloads{outcome="refused"}', 1)
    assert f"{path}:2" in daemon.said()
    path.write_text(configuration(switch).replace("busy_timeout_ms = 200", "busy_timeout_ms = 300"))
    daemon.process.send_signal(signal.SIGHUP)
    until_metric(daemon, 'callengine_reloads{outcome="applied"}', 2)
    assert "need a restart: database.busy_timeout_ms" in daemon.said()
    assert daemon.ask("POST", "/v1/calls", _BODY)["id"] != call["id"]
    assert daemon.stop() == 0


def test_it_goes_within_bounds_though_the_database_is_away_and_clients_stay(
    daemon: Daemon, switch: StandInProcess
) -> None:
    assert daemon.process is not None
    calls = [daemon.ask("POST", "/v1/calls", _BODY)["id"] for _ in range(3)]
    where = urlsplit(daemon.url)
    staying = http.client.HTTPConnection(where.netloc, timeout=30)
    staying.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {daemon.key}"})
    stream = staying.getresponse()
    assert stream.status == 200
    until_status(daemon, calls, "answered")
    with locked(daemon.state / "callengine.db", 600):
        hang_up(switch, calls)
        until_metric(daemon, 'callengine_calls_total{direction="outbound",status="completed"}', 3)
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            daemon.process.send_signal(number)
        assert daemon.process.wait(timeout=40) == 0
        assert time.monotonic() - began < 35
    assert "Traceback" not in daemon.said()
    assert list((daemon.state / "spool").glob("*.spool"))
    staying.close()
    daemon.start()
    until_status(daemon, calls, "completed")
    assert {daemon.ask("GET", f"/v1/calls/{c}")["end_source"] for c in calls} == {"event"}
    assert daemon.stop() == 0
