"""When a call may be sent: a rate and a number of slots, for the engine and for each gateway; until then it waits.

Pure; ``now`` is seconds of any monotonic clock. Calls wait in one line for each gateway, and of those at the heads the
oldest that may go goes first: a gateway that is full or slow holds up nobody else's calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from callengine.errors import QueueFull

P = TypeVar("P")

_MIN_RETRY_AFTER_S = 1.0
_MAX_RETRY_AFTER_S = 60.0
# A greenlet may wake late; what it slept through it may make up for, up to this.
_BURST_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Originates a second and calls at once; None: no limit of its own."""

    max_per_second: float | None = None
    max_concurrent: int | None = None


class Rate:
    """A token bucket that holds a twentieth of a second's worth of originates, and one at least."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._depth = max(1.0, (per_second or 0.0) * _BURST_S)
        self._tokens = self._depth
        self._at: float | None = None

    def wait_s(self, now: float) -> float:
        """How long until one may be sent; 0 where it may be now."""
        if self._per_second is None:
            return 0.0
        self._refill(now)
        # Sums of fractions fall short of one by a hair; without slack the wait for that hair would never end.
        return max(0.0, (1.0 - 1e-9 - self._tokens) / self._per_second)

    def spend(self, now: float) -> None:
        """One was sent."""
        if self._per_second is not None:
            self._refill(now)
            self._tokens -= 1.0

    def _refill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._tokens = min(self._depth, self._tokens + (now - self._at) * (self._per_second or 0.0))
        if self._at is None or now > self._at:
            self._at = now


class _Line(Generic[P]):
    """The calls that wait for one gateway, and the slots that are taken at it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rate = Rate(limits.max_per_second)
        self.max_concurrent = limits.max_concurrent
        self.taken = 0
        self.waiting: deque[Waiting[P]] = deque()

    def limit(self, limits: Limits) -> None:
        """Other limits; what is taken and what waits stays."""
        if self.limits != limits:
            self.limits = limits
            self.rate = Rate(limits.max_per_second)
            self.max_concurrent = limits.max_concurrent

    def is_due(self, now: float) -> bool:
        """Whether somebody waits whom there is a slot for; who has waited too long is left to ``overdue``."""
        return bool(self.waiting) and self.has_slot and self.waiting[0].deadline > now

    @property
    def has_slot(self) -> bool:
        return self.max_concurrent is None or self.taken < self.max_concurrent


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[P]):
    """A call in line. ``number`` orders all lines, ``deadline`` is when it has waited too long."""

    call_id: str
    gateway: str
    number: int
    deadline: float
    payload: P


class Pacer(Generic[P]):
    """Lines, slots and rates. A slot is known by its call, so that it comes back once, however often that is said."""

    def __init__(self, limits: Limits, gateways: Mapping[str, Limits], *, queue_max: int) -> None:
        self._engine: _Line[P] = _Line(limits)
        self._lines: dict[str, _Line[P]] = {name: _Line(own) for name, own in gateways.items()}
        self._queue_max = queue_max
        self._per_second = limits.max_per_second
        self._holders: dict[str, str] = {}
        self._in_line: dict[str, Waiting[P]] = {}
        self._reserved = 0
        self._number = 0

    def reconfigure(self, limits: Limits, gateways: Mapping[str, Limits], *, queue_max: int) -> None:
        """Other limits, for what waits and what is to come. A gateway that is no longer named has none of its own."""
        self._engine.limit(limits)
        for name in {*self._lines, *gateways}:
            own = gateways.get(name, Limits())
            if (line := self._lines.get(name)) is not None:
                line.limit(own)
            else:
                self._lines[name] = _Line(own)
        self._queue_max, self._per_second = queue_max, limits.max_per_second

    def cut(self, latest: float) -> None:
        """Nobody waits beyond ``latest``: of two in a line, the first is the first that has waited too long."""
        for line in self._lines.values():
            line.waiting = deque(w if w.deadline <= latest else replace(w, deadline=latest) for w in line.waiting)
            self._in_line.update({entry.call_id: entry for entry in line.waiting})

    @property
    def queued(self) -> int:
        """Calls that wait, also those that are being committed."""
        return len(self._in_line) + self._reserved

    @property
    def in_flight(self) -> int:
        """Slots that are taken."""
        return len(self._holders)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._in_line

    # -- the line -------------------------------------------------------------------------------------------------

    def reserve(self) -> None:
        """Keep a place for a call that is not committed yet; raises QueueFull. `enter` or `give_up` takes it back."""
        if self.queued >= self._queue_max:
            rate = self._per_second or self.queued
            raise QueueFull(min(max(self.queued / rate, _MIN_RETRY_AFTER_S), _MAX_RETRY_AFTER_S))
        self._reserved += 1

    def give_up(self) -> None:
        """The reserved place is not needed."""
        self._reserved -= 1

    def enter(self, call_id: str, gateway: str, deadline: float, payload: P) -> None:
        """Take the reserved place: the call is in line now."""
        self._reserved -= 1
        self._number += 1
        entry = Waiting(call_id, gateway, self._number, deadline, payload)
        self._in_line[call_id] = entry
        self._line(gateway).waiting.append(entry)

    def leave(self, call_id: str) -> bool:
        """Take a call out of line; whether it was there."""
        entry = self._in_line.pop(call_id, None)
        if entry is None:
            return False
        self._line(entry.gateway).waiting.remove(entry)
        return True

    def everybody(self) -> list[str]:
        """All calls in line."""
        return list(self._in_line)

    def overdue(self, now: float) -> list[Waiting[P]]:
        """Take out of line whoever has waited too long."""
        found: list[Waiting[P]] = []
        for line in self._lines.values():
            while line.waiting and line.waiting[0].deadline <= now:
                entry = line.waiting.popleft()
                del self._in_line[entry.call_id]
                found.append(entry)
        return found

    # -- whose turn it is -----------------------------------------------------------------------------------------

    def next(self, now: float) -> Waiting[P] | None:
        """Take out of line the oldest call that may be sent now; its slot is taken and its turn spent."""
        if not self._engine.has_slot or self._engine.rate.wait_s(now) > 0:
            return None
        able = [line for line in self._lines.values() if line.is_due(now) and not line.rate.wait_s(now)]
        if not able:
            return None
        line = min(able, key=lambda each: each.waiting[0].number)
        entry = line.waiting.popleft()
        del self._in_line[entry.call_id]
        self._engine.rate.spend(now)
        line.rate.spend(now)
        self.occupy(entry.call_id, entry.gateway)
        return entry

    def wait_s(self, now: float) -> float | None:
        """How long until `next` or `overdue` may find something; None where only a slot or a new call changes that."""
        waits: list[float] = []
        for line in self._lines.values():
            if not line.waiting:
                continue
            waits.append(max(0.0, line.waiting[0].deadline - now))
            if line.has_slot and self._engine.has_slot:
                waits.append(max(line.rate.wait_s(now), self._engine.rate.wait_s(now)))
        return min(waits, default=None)

    def spend(self, now: float) -> None:
        """Something else was originated, outside all lines; it counts for the rate."""
        self._engine.rate.spend(now)

    # -- slots ----------------------------------------------------------------------------------------------------

    def occupy(self, call_id: str, gateway: str) -> None:
        """A slot is taken, also beyond the limit where the call is there already."""
        if call_id not in self._holders:
            self._holders[call_id] = gateway
            self._engine.taken += 1
            self._line(gateway).taken += 1

    def release(self, call_id: str) -> bool:
        """The call's slot comes back; whether it had one."""
        gateway = self._holders.pop(call_id, None)
        if gateway is None:
            return False
        self._engine.taken -= 1
        self._line(gateway).taken -= 1
        return True

    def _line(self, gateway: str) -> _Line[P]:
        line = self._lines.get(gateway)
        if line is None:
            # Calls from before a restart may name a gateway that is no longer configured.
            line = self._lines[gateway] = _Line(Limits())
        return line
