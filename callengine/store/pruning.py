"""What was told long ago is forgotten: events, deliveries and their attempts, in chunks along their positions.

An event stays as long as a delivery of it does: what is pending still needs it, and a dead letter may be replayed. What
stays is passed over once, not at every look: each walk goes on where the last one ended.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gevent
import peewee

from callengine.config.sections import Webhooks as Settings
from callengine.store import sql
from callengine.store.entities import Executes

_DAY_US: Final = 24 * 3600 * 1_000_000
_CHUNK: Final = 1000
_CHUNKS: Final = 200
_TIMEOUT_S: Final = 10.0
DISABLED: Final = "the endpoint was disabled for too long"

_DELIVERIES: Final = (
    "SELECT event_position, created_us FROM delivery /*delivery_of_event*/ WHERE event_position > ?"
    " ORDER BY event_position LIMIT ?"
)
_EVENTS: Final = "SELECT position, created_us FROM outbox WHERE position > ? ORDER BY position LIMIT ?"
_RANGE: Final = "event_position > ? AND event_position <= ?"
_ORPHAN: Final = "NOT EXISTS (SELECT 1 FROM endpoint AS e WHERE e.id = delivery.endpoint_id)"
_DISABLED: Final = (
    "UPDATE delivery /*delivery_of_event*/ SET status = 'dead', ended_us = ?, last_error = ?"
    f" WHERE {_RANGE} AND status = 'pending'"
    " AND EXISTS (SELECT 1 FROM endpoint AS e WHERE e.id = delivery.endpoint_id AND NOT e.enabled)"
)
_UNHEARD: Final = (
    "DELETE FROM outbox WHERE position > ? AND position <= ?"
    " AND NOT EXISTS (SELECT 1 FROM delivery AS d /*delivery_of_event*/ WHERE d.event_position = outbox.position)"
)


class Pruner:
    """``once`` prunes what is due, up to 200,000 rows of a kind; the rest waits for the next time."""

    def __init__(self, executor: Executes, settings: Settings, now_us: Callable[[], int]) -> None:
        self._executor = executor
        self._kept_us = settings.keep_days * _DAY_US
        self._dead_kept_us = settings.dead_keep_days * _DAY_US
        self._now_us = now_us
        self._delivered = 0
        self._dead = 0
        self._events = 0

    def once(self) -> None:
        """Raises StoreUnavailable."""
        now_us = self._now_us()
        old_us, oldest_us = now_us - self._kept_us, now_us - self._dead_kept_us
        self._dead, _ = self._walk(self._dead, lambda db, at: dead_chunk(db, at, oldest_us))
        self._delivered, done = self._walk(self._delivered, lambda db, at: delivered_chunk(db, at, old_us, now_us))
        if done:  # else events would be passed over as needed whose deliveries are about to go
            self._events, _ = self._walk(self._events, lambda db, at: events_chunk(db, at, old_us))

    def _walk(self, at: int, chunk: Callable[[peewee.Database, int], int]) -> tuple[int, bool]:
        """Up to which position it came, and whether that is as far as there is."""
        for _ in range(_CHUNKS):
            upto = self._executor.execute(lambda db, at=at: chunk(db, at), _TIMEOUT_S)  # type: ignore[misc]
            if upto == at:
                return at, True
            at = upto
            gevent.sleep(0)
        return at, False


def delivered_chunk(db: peewee.Database, after: int, before_us: int, now_us: int, limit: int = _CHUNK) -> int:
    """Forgets what was delivered, and gives up what a disabled endpoint did not take. Returns the position reached."""
    upto = _upto(db, _DELIVERIES, after, before_us, limit)
    if upto > after:
        sql.run(db, _DISABLED, (now_us, DISABLED, after, upto))
        _forget(db, f"(status = 'delivered' OR {_ORPHAN})", after, upto)
    return upto


def dead_chunk(db: peewee.Database, after: int, before_us: int, limit: int = _CHUNK) -> int:
    """Forgets all that is over, dead letters too, and events that only they needed."""
    upto = _upto(db, _DELIVERIES, after, before_us, limit)
    if upto > after:
        _forget(db, f"(status <> 'pending' OR {_ORPHAN})", after, upto)
        sql.run(db, _UNHEARD, (after, upto))
    return upto


def events_chunk(db: peewee.Database, after: int, before_us: int, limit: int = _CHUNK) -> int:
    """Forgets events of which no delivery is left."""
    upto = _upto(db, _EVENTS, after, before_us, limit)
    if upto > after:
        sql.run(db, _UNHEARD, (after, upto))
    return upto


def _upto(db: peewee.Database, text: str, after: int, before_us: int, limit: int) -> int:
    upto = after
    for position, created_us in sql.run(db, text, (after, limit)).fetchall():
        if created_us >= before_us:
            break
        upto = position
    return upto


def _forget(db: peewee.Database, which: str, after: int, upto: int) -> None:
    chosen = f"SELECT endpoint_id, event_position FROM delivery /*delivery_of_event*/ WHERE {_RANGE} AND {which}"
    sql.run(db, f"DELETE FROM attempt WHERE (endpoint_id, event_position) IN ({chosen})", (after, upto))
    sql.run(db, f"DELETE FROM delivery /*delivery_of_event*/ WHERE {_RANGE} AND {which}", (after, upto))
