"""The bounded queue between the reader of the event socket and whoever works on the events.

The reader must never wait: FreeSWITCH holds the lock of all its listeners while it gives up on a slow one, so a reader
that stops freezes every client of that switch. So a full queue refuses what comes, says so, and stays closed until
`reopen`: what it holds is then always an unbroken beginning of the stream; a new connection makes good the break.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from gevent.event import Event

MAX_EVENTS = 100_000
MAX_BYTES = 256 * 1024 * 1024


class IntakeQueue:
    """Event bodies in the order in which they came, for one consumer.

    Bounded by ``max_events`` and by ``max_bytes`` of bodies. For the gauges: ``len``, `bytes`, `high_water_events`,
    `high_water_bytes`, `oldest_age_s`, and the counters `accepted`, `refused` (events) and `overflows`.
    """

    def __init__(
        self,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.bytes = 0
        self.high_water_events = 0
        self.high_water_bytes = 0
        self.accepted = 0
        self.refused = 0
        self.overflows = 0
        self.overflowed = False
        self._clock = clock
        self._bodies: deque[bytes] = deque()
        # One entry a put, not one an event: when it came, and how many of it are still here.
        self._arrivals: deque[tuple[float, int]] = deque()
        self._filled = Event()

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest event has been waiting, 0 if none is."""
        return self._clock() - self._arrivals[0][0] if self._arrivals else 0.0

    @property
    def has_room(self) -> bool:
        """Whether less than half of either bound is taken."""
        return len(self._bodies) * 2 < self.max_events and self.bytes * 2 < self.max_bytes

    def put_many(self, bodies: list[bytes]) -> bool:
        """Take all of ``bodies``, or none and return False. Never waits."""
        if not bodies:
            return not self.overflowed
        size = sum(map(len, bodies))
        events = len(self._bodies) + len(bodies)
        if self.overflowed or events > self.max_events or self.bytes + size > self.max_bytes:
            self.overflows += not self.overflowed
            self.overflowed = True
            self.refused += len(bodies)
            return False
        self._bodies.extend(bodies)
        self._arrivals.append((self._clock(), len(bodies)))
        self.accepted += len(bodies)
        self.bytes += size
        self.high_water_events = max(self.high_water_events, events)
        self.high_water_bytes = max(self.high_water_bytes, self.bytes)
        self._filled.set()
        return True

    def get_batch(self, max_events: int, timeout_s: float) -> list[bytes]:
        """Take up to ``max_events`` events; wait for the first for ``timeout_s`` at most, then return an empty list."""
        if not self._bodies:
            self._filled.clear()
            self._filled.wait(timeout_s)
        taken = min(max_events, len(self._bodies))
        batch = [self._bodies.popleft() for _ in range(taken)]
        self.bytes -= sum(map(len, batch))
        self._forget_arrivals(taken)
        return batch

    def forget_before(self, at_s: float) -> None:
        """Drop what came before ``at_s`` (by ``clock``): nobody is going to work on it."""
        while self._arrivals and self._arrivals[0][0] < at_s:
            _, count = self._arrivals.popleft()
            for _ in range(count):
                self.bytes -= len(self._bodies.popleft())

    def reopen(self) -> None:
        """Accept again after an overflow: a new connection begins, and with it an unbroken stream."""
        self.overflowed = False

    def _forget_arrivals(self, taken: int) -> None:
        while taken:
            arrived, count = self._arrivals[0]
            if count > taken:
                self._arrivals[0] = (arrived, count - taken)
                return
            self._arrivals.popleft()
            taken -= count
