"""How far a long command is: one line on a terminal, gone when the command is done; nothing in a pipe or a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from callengine.cli.output import fit, width_of

QUIET_S: Final = 0.5
"""A command that is done by then shows nothing."""
_EVERY_S: Final = 0.2


class Progress:
    """A context manager around the work; ``at`` is called as often as there is something new.

    ``what`` says what is done, as in ``replaying capture.esl``; ``unit`` what is counted.
    """

    def __init__(self, what: str, unit: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._unit, self._clock = what, unit, clock
        self._shows = sys.stderr.isatty()
        self._next = clock() + QUIET_S
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("")

    def at(self, done: int, total: int | None = None) -> None:
        """``done`` of ``total`` are done; without a total nobody knows of how many."""
        share = f" ({100 * done // total} %)" if total else ""
        of = f" of {total:,}" if total else ""
        self.say(f"{done:,}{of} {self._unit}".rstrip() + share)

    def say(self, text: str) -> None:
        """Where it is, in words."""
        if self._shows and (now := self._clock()) >= self._next:
            self._next = now + _EVERY_S
            self._write(f"{self._what}: {text}")

    def say_now(self, text: str) -> None:
        """Likewise, of a step that may take long and tells no more until it is done."""
        if self._shows:
            self._write(f"{self._what}: {text}")

    def _write(self, line: str) -> None:
        if not (line or self._width):
            return
        sys.stderr.write(f"\r{fit(line, self._width) if width_of(line) < self._width else line}")
        if not line:
            sys.stderr.write("\r")
        sys.stderr.flush()
        self._width = width_of(line)
