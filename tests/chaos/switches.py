"""The switch of a run: a FreeSWITCH that somebody else starts and kills by command, or a stand-in of our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import gevent

from callengine.errors import EslError
from callengine.esl.client import EslClient
from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import free_port
from tests.chaos.options import Options

_COMMAND_S: Final = 120.0
_QUIET_S: Final = 30.0


class FarCall(NamedTuple):
    """A call as the far end saw it arrive."""

    number: str
    at_s: float


class Switch:
    """What faults do to it, and what is known of it.

    ``deaths``: when it was killed or told to stop, from and until, our clock.
    """

    def __init__(self, options: Options, folder: Path) -> None:
        self.deaths: list[tuple[float, float]] = []
        self._process: StandInProcess | None = None
        if options.real:
            assert options.cdr is not None
            assert options.far_end is not None
            self.options = options
            self.cdr, self._far_end = options.cdr, options.far_end
            self.recordings = options.recordings or folder / "recordings"
        else:
            self.cdr, self._far_end, self.recordings = folder / "cdr", folder / "far-end.jsonl", folder / "recordings"
            self.cdr.mkdir()
            self._far_end.touch()
            self.options = replace(options, port=free_port())
            self._launch()
        self.recordings.mkdir(exist_ok=True)
        self._began = time.time()
        self._offset = self._far_end.stat().st_size if self._far_end.exists() else 0

    def _launch(self) -> None:
        o = self.options
        words = ["--port", str(o.port), "--cdr", str(self.cdr), "--recordings", str(self.recordings)]
        words += ["--seed", str(o.seed), "--heartbeat", str(o.heartbeat_s), "--far-end", str(self._far_end)]
        words += ["--gateways", f"{o.gateway},{o.agents_gateway}"]
        self._process = launch(words)

    def close(self) -> None:
        """Ends a stand-in."""
        if self._process is not None:
            self._process.stop()

    # -- asked and told ------------------------------------------------------------------------------------------------

    def api(self, command: str) -> str:
        """The answer to an API command, over a connection of its own. Raises EslError."""
        client = EslClient(self.options.host, self.options.port, self.options.password)
        client.connect()
        try:
            return client.api(command)
        finally:
            client.stop()

    def clear(self) -> None:
        """Hangs up whatever lives, and empties the folder of CDRs."""
        self.api("hupall")
        until = time.monotonic() + _QUIET_S
        while time.monotonic() < until and not self.api("show channels count").strip().startswith("0"):
            gevent.sleep(0.2)
        for path in self.cdr.iterdir():
            if path.is_file():
                path.unlink()

    def arrived(self, tag: str) -> list[FarCall]:
        """What the far end saw of the run with that tag. What rang since an earlier run is not of this one."""
        calls = []
        with self._far_end.open() as file:
            file.seek(self._offset)
            for line in file:
                entry: dict[str, Any] = json.loads(line)
                number = str(entry["number"])
                if number[1:4] == tag and len(number) == len("1") + len(tag) + 9:
                    call = FarCall(number, float(entry["t"] if "t" in entry else entry["at"]))
                    calls += [call] if call.at_s >= self._began else []
        return calls

    # -- what is done to it --------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """kill -9."""
        began = time.time()
        if self._process is not None:
            self._process.process.send_signal(signal.SIGKILL)
            self._process.process.wait(10)
        else:
            self._run(self.options.switch_kill)
        self.deaths.append((began, time.time()))

    def shut_down(self) -> None:
        """As its operator does it: calls are hung up, then it ends."""
        began = time.time()
        with suppress(EslError):  # it may be gone before it has answered
            self.api("fsctl shutdown")
        if self._process is not None:
            self._process.process.wait(30)
        else:
            until = time.monotonic() + _QUIET_S
            while time.monotonic() < until and self._listens():
                gevent.sleep(0.2)
        self.deaths.append((began, time.time()))

    def _listens(self) -> bool:
        try:
            self.api("status")
        except EslError:
            return False
        return True

    def start(self) -> None:
        """Again, after its death; returns when it listens."""
        if self._process is not None:
            self._launch()
        else:
            self._run(self.options.switch_start)

    def reload_socket(self) -> None:
        """``reload mod_event_socket``: every connection ends, calls live on."""
        with suppress(EslError):  # the connection that asks for it ends with the others
            self.api("reload mod_event_socket" if self._process is None else "standin_fault reload")

    @staticmethod
    def _run(command: str) -> None:
        with open(os.devnull, "r+b") as null:
            subprocess.run(command, shell=True, stdin=null, stdout=null, stderr=null, timeout=_COMMAND_S, check=True)
