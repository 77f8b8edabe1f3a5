"""CDRs into the book: the calls that they are about are brought back from the store first, where they have left it.

The store is asked only for channels that the book does not know, many at once, and only after everything that the book
knew of them was committed: what is brought back is then the last that was known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import gevent
import peewee

from callengine.calls.book import Book
from callengine.calls.call import Call
from callengine.calls.facts import LegReported
from callengine.calls.leg import parent_of
from callengine.errors import StoreUnavailable
from callengine.store import cdrs
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.tracker import Tracker

log = logging.getLogger(__name__)

T = TypeVar("T")

_DRAIN_S: Final = 10.0
_TURN_S: Final = 0.002
_STORE_TIMEOUT_S: Final = 30.0
_MAX_LINGERING: Final = 20_000
# Long enough for a leg's record that comes right behind, and for who hung up.
_LINGER_S: Final = 5.0
_LOOK_S: Final = 0.05


class Writer(Protocol):
    """What is needed of the store's writer."""

    @property
    def full(self) -> bool:
        """So much waits to be committed that nothing should be added that can wait."""

    def flush(self, timeout_s: float) -> None:
        """Returns once all that was put before is committed. Raises StoreUnavailable."""


class Told(StrEnum):
    """What became of one CDR."""

    TAKEN = "taken"
    WAITING = "waiting"
    """It is a leg's, and the call that the leg was made for is not known (yet)."""
    TOO_OLD = "too_old"
    FAILED = "failed"


class Reporter:
    """Hands CDRs to the tracker. ``max_age_us``: of records that ended longer ago no call is made."""

    def __init__(
        self,
        tracker: Tracker,
        store: Store,
        writer: Writer,
        *,
        max_age_us: int,
        opened: Callable[[], bool] = lambda: True,
        now_us: Callable[[], int] = clock_us,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker, self._store, self._writer = tracker, store, writer
        self._max_age_us, self._opened = max_age_us, opened
        self._now_us, self._clock = now_us, clock

    @property
    def opened(self) -> bool:
        """Whether the book is open; before that nothing can be taken in."""
        return self._opened()

    def flush(self, timeout_s: float) -> None:
        """Returns once what came of it is committed. Raises StoreUnavailable."""
        self._writer.flush(timeout_s)

    @property
    def _book(self) -> Book:
        return self._tracker.book

    def report(self, reports: Sequence[LegReported], *, backlog: bool = False) -> list[Told]:
        """Applies CDRs; what became of each, in their order. To be called by one greenlet.

        ``backlog``: they are old, so that nothing more is expected of their calls, which then leave the book soon.
        Raises StoreUnavailable; then none of them was applied.
        """
        self._make_room()
        self._drain()
        unknown = {fact.uuid for fact in reports if not self._book.concerned(fact.uuid)}
        restored = self._restore([fact for fact in reports if fact.uuid in unknown])
        told = [self._take(fact) for fact in self._in_turns(reports)]
        if backlog:
            when = self._clock() + _LINGER_S
            for uuid in (*restored, *unknown):
                self._book.hasten(uuid, when)
        return told

    def placed(self, fact: LegReported) -> bool:
        """Whether the fact's channel has found its place."""
        return self._book.concerned(fact.uuid) or self._book.knows(fact.uuid)

    def owes(self, fact: LegReported) -> bool:
        """Whether something of its call may still wait, for a moment, to be told."""
        return self._book.owes(fact.uuid)

    def _take(self, fact: LegReported) -> Told:
        too_old = fact.hangup_us < self._now_us() - self._max_age_us
        if too_old and not self._book.concerned(fact.uuid) and not self._serves(fact):
            return Told.TOO_OLD
        try:
            # Not by way of the spool: until its call is committed, the record lies where it was found.
            self._tracker.apply(fact)
        except Exception:
            log.exception("the CDR of channel %s could not be applied", fact.uuid)
            return Told.FAILED
        return Told.TAKEN if self.placed(fact) else Told.WAITING

    def _serves(self, fact: LegReported) -> bool:
        parent = parent_of(fact)
        return parent is not None and self._book.concerned(parent)

    def _restore(self, reports: Iterable[LegReported]) -> list[str]:
        """Brings back the calls of these channels, of those they were made for, and of those they were bridged to."""
        wanted: set[str] = set()
        for fact in reports:
            others = (other for _, other in fact.bridges)
            wanted.update(uuid for uuid in (fact.uuid, parent_of(fact), *others) if uuid)
        wanted = {uuid for uuid in wanted if not self._book.concerned(uuid)}
        if not wanted:
            return []
        node, now = self._book.node, self._clock()
        calls = self._calls(node, wanted)
        for call in self._in_turns(calls):
            self._book.restore(call, now)
        return [call.own.uuid for call in calls]

    def _calls(self, node: str, wanted: Collection[str]) -> list[Call]:
        self._writer.flush(_STORE_TIMEOUT_S)

        def read(db: peewee.Database) -> list[Call]:
            return cdrs.calls_of_channels(db, node, wanted)

        return self._store.run(read, _STORE_TIMEOUT_S)

    def _in_turns(self, items: Iterable[T]) -> Iterator[T]:
        """One after the other, with room for everybody else every few milliseconds."""
        began = time.monotonic()
        for item in items:
            yield item
            if time.monotonic() - began > _TURN_S:
                gevent.sleep(_TURN_S)
                began = time.monotonic()

    def _make_room(self) -> None:
        """What is restored leaves the book again by and by; more of it waits for that."""
        until = self._clock() + _STORE_TIMEOUT_S
        while self._writer.full or self._book.sizes()["farewells"] > _MAX_LINGERING:
            if self._clock() >= until:
                raise StoreUnavailable("too much waits to be committed")
            gevent.sleep(_LOOK_S)

    def _drain(self) -> None:
        """Let the events go first that have arrived so far; bounded, since more keep coming."""
        goal = self._tracker.applied + self._tracker.behind
        until = self._clock() + _DRAIN_S
        while self._tracker.applied < goal and self._clock() < until:
            gevent.sleep(0.005)
