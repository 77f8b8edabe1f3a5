"""The bounded queue between the reader of the event socket and whoever works on the events.

The reader must never wait: FreeSWITCH holds the lock of all its listeners while it gives up on a slow one, so a reader
that stops freezes every client of that switch. So a full queue refuses what comes, says so, and stays closed until
`reopen`: what it holds is then always an unbroken beginning of the stream; a new connection makes good the break.

Where there is a spool, all events are written to it before they are worked on, and those beyond a small bound are not
kept in memory as well but read back when it is their turn.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from gevent import get_hub
from gevent.event import Event

log = logging.getLogger(__name__)

MAX_EVENTS = 100_000
MAX_BYTES = 256 * 1024 * 1024
_SPILL_EVENTS = 20_000
_SPILL_BYTES = 32 * 1024 * 1024
_FETCH_BYTES = 1024 * 1024
_BATCH_EVENTS = 1000


class Place(Protocol):
    """Where a batch lies on the disk."""

    @property
    def path(self) -> Path:
        """In which file."""

    @property
    def start(self) -> int:
        """From where on."""

    @property
    def end(self) -> int:
        """Up to where."""

    @property
    def seed(self) -> int:
        """What its reader needs to know."""


class Disk(Protocol):
    """Who writes events down (``callengine.spool``)."""

    @property
    def has_room(self) -> bool:
        """Whether it takes what comes, and has much room left."""

    def keep(self, bodies: Sequence[bytes], upto: int) -> Place | None:
        """Write them down at once; None where that cannot be done. ``upto`` is the number of the last of them."""

    def fetch(self, place: Place, max_bytes: int) -> tuple[list[bytes], int]:
        """The first of the events there, and where those after them begin. Blocks. OSError."""


class _Spill:
    """Events of one file that are on the disk alone."""

    __slots__ = ("at_s", "count", "end", "last_s", "place", "start")

    def __init__(self, place: Place, count: int, at_s: float) -> None:
        self.place = place
        self.start, self.end = place.start, place.end
        self.count = count
        self.at_s = self.last_s = at_s


class IntakeQueue:
    """Event bodies in the order in which they came, for one consumer.

    Bounded by ``max_events`` and by ``max_bytes`` of bodies in memory; with a ``disk`` that takes them, by that.
    For the gauges: ``len``, `bytes` (in memory), `spilled` (events on the disk alone), `high_water_events`,
    `high_water_bytes`, `oldest_age_s`, and the counters `accepted`, `refused`, `forgotten`, `unreadable` (events) and
    `overflows`.
    """

    def __init__(
        self,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        disk: Disk | None = None,
        spill_events: int = _SPILL_EVENTS,
        spill_bytes: int = _SPILL_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.bytes = 0
        self.spilled = 0
        self.high_water_events = 0
        self.high_water_bytes = 0
        self.accepted = 0
        self.refused = 0
        self.forgotten = 0
        self.unreadable = 0
        self.overflows = 0
        self.overflowed = False
        self._disk = disk
        self._spill_events = min(spill_events, max_events)
        self._spill_bytes = min(spill_bytes, max_bytes)
        self._clock = clock
        self._bodies: deque[bytes] = deque()
        # One entry a put, not one an event: when it came, and how many of it are still here.
        self._arrivals: deque[tuple[float, int]] = deque()
        # Younger than all of the bodies: one entry a file.
        self._spills: deque[_Spill] = deque()
        self._filled = Event()

    def __len__(self) -> int:
        return len(self._bodies) + self.spilled

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest event has been waiting, 0 if none is."""
        if self._arrivals:
            return self._clock() - self._arrivals[0][0]
        return self._clock() - self._spills[0].at_s if self._spills else 0.0

    @property
    def has_room(self) -> bool:
        """Whether less than half of the bounds is taken."""
        if self._disk is not None and self._disk.has_room:
            return True
        return not self._spills and len(self._bodies) * 2 < self.max_events and self.bytes * 2 < self.max_bytes

    def put_many(self, bodies: list[bytes]) -> bool:
        """Take all of ``bodies``, or none and return False. Never waits."""
        if not bodies:
            return not self.overflowed
        size = sum(map(len, bodies))
        count = len(bodies)
        place = None
        if self._disk is not None and not self.overflowed:
            place = self._disk.keep(bodies, self.accepted + count)
        if place is not None and (
            self._spills or len(self._bodies) + count > self._spill_events or self.bytes + size > self._spill_bytes
        ):
            self._spill(place, count)
        elif not self._remember(bodies, size):
            self.overflows += not self.overflowed
            self.overflowed = True
            self.refused += count
            return False
        self.accepted += count
        self.high_water_events = max(self.high_water_events, len(self))
        self.high_water_bytes = max(self.high_water_bytes, self.bytes)
        self._filled.set()
        return True

    def _remember(self, bodies: list[bytes], size: int) -> bool:
        """Keep them in memory, where nothing older is on the disk alone."""
        full = len(self._bodies) + len(bodies) > self.max_events or self.bytes + size > self.max_bytes
        if self.overflowed or self._spills or full:
            return False
        self._bodies.extend(bodies)
        self._arrivals.append((self._clock(), len(bodies)))
        self.bytes += size
        return True

    def _spill(self, place: Place, count: int) -> None:
        now = self._clock()
        last = self._spills[-1] if self._spills else None
        if last is not None and last.place.path == place.path:
            last.end, last.last_s = place.end, now
            last.count += count
        else:
            self._spills.append(_Spill(place, count, now))
        self.spilled += count

    def keep_waiting(self) -> None:
        """Write down what has come already, for a disk that was not there then."""
        waiting = list(self._bodies)
        for at in range(0, len(waiting), _BATCH_EVENTS):
            if self._disk is not None:
                self._disk.keep(waiting[at : at + _BATCH_EVENTS], self.accepted)

    def get_batch(self, max_events: int, timeout_s: float) -> list[bytes]:
        """Take up to ``max_events`` events; wait for the first for ``timeout_s`` at most, then return an empty list."""
        if not self._bodies:
            if self._spills:
                self._fetch(self._spills[0])
            else:
                self._filled.clear()
                self._filled.wait(timeout_s)
        taken = min(max_events, len(self._bodies))
        batch = [self._bodies.popleft() for _ in range(taken)]
        self.bytes -= sum(map(len, batch))
        self._forget_arrivals(taken)
        return batch

    def _fetch(self, spill: _Spill) -> None:
        """Read the oldest events that are on the disk alone. Meanwhile more may come, and the connection may go."""
        assert self._disk is not None
        place = _Range(spill.place.path, spill.start, spill.end, spill.place.seed)
        found = get_hub().threadpool.apply(_fetched, (self._disk.fetch, place))
        if isinstance(found, OSError):
            log.error("%d events cannot be read back from %s: %s", spill.count, place.path, found.strerror)
            found = [], spill.end
        bodies, start = found
        if not self._spills or self._spills[0] is not spill:
            return  # forgotten meanwhile
        spill.start = start
        bodies = bodies[: spill.count]
        spill.count -= len(bodies)
        self.spilled -= len(bodies)
        self._bodies.extend(bodies)
        self.bytes += sum(map(len, bodies))
        if bodies:
            self._arrivals.append((spill.at_s, len(bodies)))
        if spill.start >= spill.end or not spill.count:
            self._spills.popleft()
            self.spilled -= spill.count
            self.unreadable += spill.count
            self.forgotten += spill.count

    def forget_before(self, at_s: float) -> None:
        """Drop what came before ``at_s`` (by ``clock``): nobody is going to work on it."""
        while self._arrivals and self._arrivals[0][0] < at_s:
            _, count = self._arrivals.popleft()
            self.forgotten += count
            for _ in range(count):
                self.bytes -= len(self._bodies.popleft())
        while not self._bodies and self._spills and self._spills[0].last_s < at_s:
            spill = self._spills.popleft()
            self.spilled -= spill.count
            self.forgotten += spill.count

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


class _Range(NamedTuple):
    path: Path
    start: int
    end: int
    seed: int


def _fetched(fetch: Callable[[Place, int], tuple[list[bytes], int]], place: Place) -> tuple[list[bytes], int] | OSError:
    """In the thread, where an error that is raised would be printed."""
    try:
        return fetch(place, _FETCH_BYTES)
    except OSError as error:
        return error
