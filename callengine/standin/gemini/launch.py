"""Starting the stand-in for Gemini as a process of its own, and stopping it."""

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


class GeminiNotStarted(CallengineError):
    """The process ended, or did not say its address in time. The message holds what it said instead."""


@dataclass(slots=True)
class GeminiProcess:
    """A running stand-in; a context manager that ends it. ``base_url`` is what ``ai.base_url`` is to be set to."""

    process: subprocess.Popen[str]
    base_url: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, upon which it removes what was uploaded; SIGKILL if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def launch(arguments: Sequence[str] = (), *, timeout_s: float = 15.0) -> GeminiProcess:
    """Start ``python -m callengine.standin.gemini`` with these arguments and wait till it listens.

    Raises ``GeminiNotStarted``.
    """
    command = [sys.executable, "-m", "callengine.standin.gemini", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    line = _first_line(process, time.monotonic() + timeout_s)
    base_url = line.strip().rpartition(" ")[2]
    if not base_url.startswith("http://"):
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
        raise GeminiNotStarted(f"the stand-in for Gemini did not start: {line.strip() or 'it said nothing'}")
    return GeminiProcess(process, base_url)


def _first_line(process: subprocess.Popen[str], deadline: float) -> str:
    out = process.stdout
    if out is None:
        return ""
    ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
    return out.readline() if ready else ""
