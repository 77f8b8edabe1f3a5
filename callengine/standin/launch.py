"""Starting the stand-in as a process of its own, and stopping it."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from callengine.errors import CallengineError

_STOP_TIMEOUT_S = 5.0


class StandInNotStarted(CallengineError):
    """The process ended, or did not say its address in time. The message holds what it said instead."""


@dataclass(slots=True)
class StandInProcess:
    """A running stand-in; a context manager that ends it."""

    process: subprocess.Popen[str]
    host: str
    port: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM (its calls end with SYSTEM_SHUTDOWN), and SIGKILL if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def launch(arguments: Sequence[str] = (), *, timeout_s: float = 15.0) -> StandInProcess:
    """Start ``python -m callengine.standin`` with these arguments and wait till it listens.

    Raises ``StandInNotStarted``.
    """
    command = [sys.executable, "-m", "callengine.standin", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    line = _first_line(process, time.monotonic() + timeout_s)
    host, found, port = line.strip().rpartition(" ")[2].rpartition(":")
    if not found or not port.isdigit():
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
        raise StandInNotStarted(f"the stand-in switch did not start: {line.strip() or 'it said nothing'}")
    return StandInProcess(process, host, int(port))


def _first_line(process: subprocess.Popen[str], deadline: float) -> str:
    out = process.stdout
    if out is None:
        return ""
    ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
    return out.readline() if ready else ""
