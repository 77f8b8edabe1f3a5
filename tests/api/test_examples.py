"""Every example in docs/operations.md does what it says, as it is printed: on a daemon, with the stand-ins around it.

The page is written from the code, so these are also the examples of ``/openapi.json`` and ``/docs``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from callengine.api.describe import describe, described
from callengine.api.examples import EXAMPLES
from callengine.standin.launch import launch
from tests.acceptance.daemon import Daemon
from tests.acceptance.surroundings import Surroundings

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
FIRST = ("create_campaign", "create_lead")
"""What others speak of."""
LIVE = "hang_up bridge transfer hold unhold send_dtmf start_recording".split()
RECORDED_LIVE = "stop_recording pause_recording resume_recording".split()
SHELL = shutil.which("bash") or shutil.which("sh") or ""


class Printed(NamedTuple):
    """The examples of one operation."""

    operation: str
    curl: str
    python: str


def printed() -> list[Printed]:
    found = []
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        if blocks := re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            (name,) = re.findall(r'<a id="(\w+)">', section)
            assert [language for language, _ in blocks] == ["sh", "python"], name
            found.append(Printed(name, blocks[0][1], blocks[1][1]))
    return sorted(found, key=lambda one: one.operation not in FIRST)


def test_the_page_is_up_to_date() -> None:
    assert describe() == PAGE, "run: python -m callengine.api.describe > docs/operations.md"


def test_every_operation_has_its_examples() -> None:
    operations = {o["operationId"] for methods in described()["paths"].values() for o in methods.values()}
    assert {one.operation for one in printed()} == operations
    assert set(EXAMPLES) <= operations


class Rig:
    """A daemon with a call that is over, recorded and analysed, and an endpoint that was told of it."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.endpoint_id = daemon.ask("GET", "/v1/webhooks/endpoints")["data"][0]["id"]
        self.call = self.place("15550201", record=True)
        time.sleep(1.5)
        self.order(self.call, "hangup")
        self.until(lambda: self.shown(self.call)["analysis_status"] in {"completed", "completed_without_quotes"})
        told = f"/v1/webhooks/endpoints/{self.endpoint_id}/deliveries?status=delivered"
        self.event_id = self.until(lambda: daemon.ask("GET", told)["data"])[0]["event_id"]

    def until(self, what: Callable[[], Any], timeout_s: float = 40.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            assert time.monotonic() < deadline, self.daemon.said()[-3000:]
            time.sleep(0.1)
        return found

    def shown(self, call_id: str) -> dict[str, Any]:
        return dict(self.daemon.ask("GET", f"/v1/calls/{call_id}"))

    def order(self, call_id: str, what: str) -> None:
        self.daemon.ask("POST", f"/v1/calls/{call_id}/{what}", {})

    def place(self, number: str, **more: Any) -> str:
        asked = {"destination": number, "gateway": "carrier", "on_answer": {"type": "park"}, **more}
        call_id = str(self.daemon.ask("POST", "/v1/calls", asked)["id"])
        self.until(lambda: self.shown(call_id)["status"] == "answered")
        return call_id

    def environ(self, operation: str) -> dict[str, str]:
        """The surroundings that the example reads, and what it is about made ready."""
        call_id = self.call
        if operation in LIVE + RECORDED_LIVE:
            call_id = self.place("15550201")
        if operation in RECORDED_LIVE:
            self.order(call_id, "recording/start")
            self.until(lambda: self.shown(call_id)["recordings"])
        if operation == "resume_recording":
            self.order(call_id, "recording/pause")
        if operation == "unhold":
            self.order(call_id, "hold")
        endpoint_id = self.endpoint_id
        if operation == "delete_endpoint":
            made = self.daemon.ask("POST", "/v1/webhooks/endpoints", {"url": "https://crm.example.com/other"})
            endpoint_id = made["id"]
        return {
            "PATH": os.environ["PATH"],
            "URL": self.daemon.url,
            "KEY": self.daemon.key,
            "CALL_ID": call_id,
            "ENDPOINT_ID": endpoint_id,
            "EVENT_ID": self.event_id,
            "RECORDING_URL": self.shown(self.call)["recording_url"],
        }

    def run(self, command: list[str], operation: str) -> str:
        """What it prints; it has to end well."""
        done = subprocess.run(
            command, env=self.environ(operation), cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (operation, done.stdout, done.stderr)
        return done.stdout

    def run_endless(self, command: list[str], operation: str) -> str:
        """What it prints of a call that is placed meanwhile, up to its answer."""
        environ = self.environ(operation)
        with subprocess.Popen(command, env=environ, cwd=self.folder, stdout=subprocess.PIPE, text=True) as process:
            try:
                time.sleep(2)
                self.place("15550200")
                assert process.stdout is not None
                said = ""
                while "call.answered" not in said:
                    said += (line := process.stdout.readline())
                    assert line, said
                return said
            finally:
                process.kill()


@pytest.fixture(scope="module", params=["curl", "python"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Rig]]:
    """One for each language, since an example that makes something makes it once."""
    if request.param == "curl" and (shutil.which("curl") is None or not SHELL):
        pytest.skip("curl is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    state, recordings = folder / "state", folder / "recordings"
    state.mkdir()
    recordings.mkdir()
    switched = launch(["--seed", "3", "--time-scale", "10", "--recordings", str(recordings)])
    with switched as switch, Surroundings(folder, latency_ms=10) as around:
        configuration = f"""
{around.settings()}
[esl]
host = "{switch.host}"
port = {switch.port}
[recordings]
directories = ["{recordings}"]
[originate]
queues = ["sales@default"]
[originate.gateways.carrier]
[originate.agents.desk]
dial_string = "user/{{agent}}"
"""
        daemon = Daemon(state, configuration, around.environ())
        daemon.start()
        try:
            around.register(daemon)
            yield request.param, Rig(daemon, folder)
        finally:
            daemon.stop()


@pytest.mark.parametrize("example", printed(), ids=lambda example: example.operation)
def test_as_it_is_printed(rig: tuple[str, Rig], example: Printed) -> None:
    language, house = rig
    if language == "curl":
        command = [SHELL, "-euc", example.curl]
    else:
        command = [sys.executable, "-W", "error", "-c", example.python]
    endless = example.operation in EXAMPLES and EXAMPLES[example.operation].endless
    said = (house.run_endless if endless else house.run)(command, example.operation)
    if example.operation == "get_recording":
        with wave.open(str(house.folder / "call.wav")) as recording:
            assert recording.getnframes() > 0
    elif example.operation == "delete_endpoint":
        assert "crm.example.com/other" in said
    else:
        assert said.strip()
    expected = {"get_call": house.call, "edit_call": "RENEWED", "get_call_analysis": "completed", "livez": "alive"}
    assert expected.get(example.operation, "") in said
