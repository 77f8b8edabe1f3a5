"""The store's clock; whoever works by it takes it as a parameter, so that a test can pass its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_STEP_US: Final = 1_000_000


def clock_us() -> int:
    """Our clock, µs since the epoch."""
    return time.time_ns() // 1000


class SetBack:
    """Notices that our clock was set back: what was to be due by it would then wait for as much longer.

    ``monotonic`` is in seconds; what it has of ``now_us`` moves slowly where a clock is only corrected.
    """

    def __init__(self, now_us: Callable[[], int] = clock_us, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now_us, self._monotonic = now_us, monotonic
        self._offset_us = self._offset()

    def _offset(self) -> int:
        return self._now_us() - int(self._monotonic() * 1_000_000)

    def by_us(self) -> int:
        """By how much since the last call; 0 where it was not, or by less than a second."""
        before_us, self._offset_us = self._offset_us, self._offset()
        back_us = before_us - self._offset_us
        return back_us if back_us >= _STEP_US else 0
