"""A daemon that is given one of everything that cannot be handled, in the middle of calls: each is set aside, listed
and tried again, and the next call works.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from callengine.cli.set_aside import KINDS, collect
from callengine.config.settings import load
from callengine.esl.client import EslClient
from callengine.quarantine import Quarantine
from callengine.standin.gemini.launch import launch as launch_gemini
from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon
from tests.cdr.house import T, cdr
from tests.engine.fakes import event, headers
from tests.recordings.audio import tone, write_wav

KEY = "a-key-of-nobody"


class Rig:
    """The daemon, the switch, and somebody else on the switch's event socket."""

    def __init__(self, daemon: Daemon, switch: StandInProcess, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.other = EslClient(switch.host, switch.port, "ClueCon")
        self.other.connect()

    def until(self, what: Callable[[], Any], timeout_s: float = 40.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            assert time.monotonic() < deadline, (self.daemon.said()[-3000:], self.entries())
            time.sleep(0.1)
        return found

    def place(self) -> str:
        body = {"destination": "15550201", "on_answer": {"type": "park"}}
        call_id = str(self.daemon.ask("POST", "/v1/calls", body)["id"])
        self.until(lambda: self.call(call_id)["status"] == "answered")
        return call_id

    def call(self, call_id: str) -> dict[str, Any]:
        return dict(self.daemon.ask("GET", f"/v1/calls/{call_id}"))

    def others(self, fs_uuid: str) -> dict[str, Any] | None:
        return next((call for call in self.daemon.calls() if call["fs_uuid"] == fs_uuid), None)

    def record(self, fs_uuid: str) -> Path:
        """A recording of a second and a half; the switch says that it was stopped."""
        path = self.folder / "recordings" / f"{fs_uuid}.wav"
        assert self.other.api(f"uuid_record {fs_uuid} start {path}").startswith("+OK")
        time.sleep(1.5)
        assert self.other.api(f"uuid_record {fs_uuid} stop {path}").startswith("+OK")
        return path

    def entries(self) -> dict[str, dict[str, Any]]:
        """What is listed, by kind; of one kind the last. As the command does, but for its process."""
        settings = load(self.daemon.state / "callengine.toml", {"CALLENGINE_STATE__DIRECTORY": str(self.daemon.state)})
        return {entry["kind"]: entry for entry in collect(settings, frozenset(KINDS), 0).entries}

    def poison(self) -> dict[str, float]:
        metrics = self.daemon.metrics()
        return {kind: metrics[f'callengine_poison_total{{kind="{kind}"}}'] for kind in KINDS}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    state = tmp_path / "state"
    for folder in (state / "spool", tmp_path / "cdr", tmp_path / "recordings"):
        folder.mkdir(parents=True)
    (state / "spool" / "000000000001.spool").write_bytes(b"no segment of ours")
    arguments = ["--seed", "3", "--cdr", str(tmp_path / "cdr"), "--recordings", str(tmp_path / "recordings")]
    with launch(arguments) as switch, launch_gemini(["--key", KEY, "--latency-ms", "10"]) as gemini:
        configuration = f"""
[esl]
host = "{switch.host}"
port = {switch.port}
[cdr]
directories = ["{tmp_path / "cdr"}"]
poll_s = 0.2
[recordings]
directories = ["{tmp_path / "recordings"}"]
[ai]
enabled = true
api_key = "{KEY}"
base_url = "{gemini.base_url}"
model = "gemini-e400"
min_audio_s = 1
[originate.gateways.far]
dial_string = "sofia/gateway/far/{{destination}}"
"""
        daemon = Daemon(state, configuration)
        daemon.start()
        made = Rig(daemon, switch, tmp_path)
        yield made
        made.other.close()
        daemon.kill()


def refuse(rig: Rig, fs_uuid: str, *, on: bool) -> None:
    """Has the database refuse the row of one call."""
    when = f"WHEN NEW.fs_uuid = '{fs_uuid}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    text = f"CREATE TRIGGER refuses BEFORE INSERT ON call {when}" if on else "DROP TRIGGER refuses"
    database = sqlite3.connect(rig.daemon.state / "callengine.db", timeout=20)
    database.execute(text)
    database.commit()
    database.close()


def test_one_of_everything_in_the_middle_of_calls(rig: Rig) -> None:
    first = rig.place()
    channel = rig.call(first)["fs_uuid"]
    # An event that cannot be read, and a record that cannot.
    bad = [("Unique-ID", channel), ("Caller-Channel-Created-Time", "yesterday")]
    rig.other.send("sendevent CHANNEL_ANSWER", bad)
    (rig.folder / "cdr" / "bad.cdr.json").write_bytes(b'{"variables": ')
    # A call whose row the database refuses, from its beginning to its end.
    refused = str(uuid4())
    refuse(rig, refused, on=True)
    rig.other.api(f"originate {{origination_uuid={refused}}}sofia/gateway/carrier/15550100201 &park")
    rig.other.api(f"uuid_kill {refused}")
    # A recording that is nothing but a header, and an analysis that is turned down.
    second = rig.place()
    rig.record(rig.call(second)["fs_uuid"])
    rig.other.api("standin_fault header_only on")
    silent = rig.record(channel)
    rig.daemon.ask("POST", f"/v1/calls/{second}/hangup", {})
    rig.until(lambda: all(rig.poison().values()))
    assert rig.others(refused) is None
    entries = rig.until(lambda: found if set(found := rig.entries()) == set(KINDS) else None)
    assert entries["recording"]["call_id"] == first
    assert (entries["job"]["call_id"], entries["job"]["retry"]) == (second, f"callengine analyze {second}")
    assert all(entries[kind]["hopeless"] for kind in ("event", "cdr"))

    # What could be handled by now is.
    refuse(rig, refused, on=False)
    write_wav(silent, tone(2.0))
    at_us = int(time.time() * 1e6)
    held = event("CHANNEL_HOLD", headers(channel, at_us) | {"Caller-Channel-Created-Time": "0"})
    told_late = str(uuid4())
    kept = Quarantine(rig.daemon.state / "quarantine")
    assert kept.write(held, "an older version could not", "event", time.time())
    assert kept.write(cdr(told_late, at=at_us / 1e6 - T / 1e6 - 60), "an older version could not", "cdr", time.time())
    rig.daemon.command("quarantine", "retry", "--all", check=False)
    rig.daemon.command("quarantine", "retry", entries["job"]["id"])
    ended = rig.until(lambda: rig.others(refused))
    assert (ended["status"], ended["hangup_cause"]) == ("completed", "NORMAL_CLEARING")
    rig.until(lambda: rig.call(first)["has_recording"] and rig.call(first)["recordings"][-1]["status"] == "ready")
    rig.until(lambda: "held" in [e["name"] for e in rig.daemon.ask("GET", f"/v1/calls/{first}/events")["data"]])
    rig.until(lambda: rig.others(told_late))
    rig.until(lambda: rig.poison()["job"] == 2)
    left = rig.until(lambda: found if set(found := rig.entries()) == {"event", "cdr", "segment", "job"} else None)
    assert "no readable beginning" in left["segment"]["reason"]
    assert not any(entry["waiting"] for entry in left.values())

    # And the next call works.
    third = rig.place()
    for call_id in (first, third):
        rig.daemon.ask("POST", f"/v1/calls/{call_id}/hangup", {})
        rig.until(lambda call_id=call_id: rig.call(call_id)["status"] == "completed")
    assert rig.daemon.stop() == 0
    assert "Traceback" not in rig.daemon.said()
