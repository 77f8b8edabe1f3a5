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


@dataclass
class Running:
    """A stand-in that runs; a context manager that ends it."""

    process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, upon which it tidies up, and SIGKILL if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class StandInProcess(Running):
    """The stand-in switch. Its calls end with SYSTEM_SHUTDOWN when it is stopped."""

    host: str
    port: int


def started(module: str, arguments: Sequence[str], timeout_s: float) -> tuple[subprocess.Popen[str], str]:
    """``python -m MODULE ARGUMENTS``, and the last word of the first line that it prints: where it listens.

    An empty word where it said nothing in time. Raises nothing: the caller knows what an address looks like.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    line = _first_line(process, time.monotonic() + timeout_s)
    return process, line.strip().rpartition(" ")[2]


def give_up(process: subprocess.Popen[str]) -> None:
    """Ends one that did not start."""
    process.kill()
    process.wait(_STOP_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()


def launch(arguments: Sequence[str] = (), *, timeout_s: float = 15.0) -> StandInProcess:
    """Start ``python -m callengine.standin`` with these arguments and wait till it listens.

    Raises ``StandInNotStarted``.
    """
    process, word = started("callengine.standin", arguments, timeout_s)
    host, found, port = word.rpartition(":")
    if not found or not port.isdigit():
        give_up(process)
        raise StandInNotStarted(f"the stand-in switch did not start: {word or 'it said nothing'}")
    return StandInProcess(process, host, int(port))


def _first_line(process: subprocess.Popen[str], deadline: float) -> str:
    out = process.stdout
    if out is None:
        return ""
    ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
    return out.readline() if ready else ""
