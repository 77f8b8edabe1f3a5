"""A database that has stopped answering: one read at a time finds out when it is back, and nobody else waits for it.

Else each request would hold a thread, and its place in the server, for as long as a read may take; and whoever asks
would learn after seconds what is known already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gevent.event import Event

_LONG_S: Final = 1.0
# A database that answers does so within this, and those that came beside the one read go on.
_PATIENCE_S: Final = 0.25


class Silence:
    """``enter`` before a read, ``leave`` after it, both on the hub. ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience_s: float = _PATIENCE_S) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._answered_s = clock()
        self._broken = Event()
        self._broken.set()
        self._asking = False

    @property
    def lasts(self) -> bool:
        """A read has failed that took long, and none was answered since it began."""
        return not self._broken.is_set()

    def enter(self, timeout_s: float) -> float | None:
        """When it began, for ``leave``; None where there is no point in asking now."""
        if self.lasts and self._asking and not self._broken.wait(min(self._patience_s, timeout_s)):
            return None
        self._asking = True
        return self._clock()

    def leave(self, began_s: float, *, answered: bool) -> None:
        """A read has ended; ``answered``: the database said something, were it an error."""
        now_s = self._clock()
        if answered:
            self.answered()
        elif now_s - began_s >= _LONG_S and self._answered_s <= began_s:
            self._broken.clear()
        if self.lasts:
            self._asking = False

    def answered(self) -> None:
        """It did, if late."""
        self._answered_s = self._clock()
        self._broken.set()
