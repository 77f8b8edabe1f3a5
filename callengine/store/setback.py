"""What becomes of rows that are due at some time once the clock by which that was written was set back.

An hour's worth of webhooks would wait for an hour. So all that is still to come is due earlier, by as much as the clock
was set back: what was written before the clock was wrong is then tried a little early, which does no harm.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import logging
from typing import Any, Final

import peewee

from callengine.store import sql
from callengine.store.entities import Executes

log = logging.getLogger(__name__)

_CHUNK: Final = 1000
_TIMEOUT_S: Final = 10.0
_NEWEST: Final = 1000
# Two engines' clocks differ a little, and a commit takes a while.
_AHEAD_US: Final = 5_000_000
# No lease of an analysis lasts for so long (``analyses``).
_LONGEST_LEASE_US: Final = 3600 * 1_000_000

_EARLIER: Final = "CASE WHEN {0} - ? > ? THEN {0} - ? ELSE ? END"
_SMALL: Final = tuple(
    f"UPDATE {table} SET {column} = {_EARLIER.format(column)} WHERE {which} AND {column} > ?"
    for table, column, which in (
        ("endpoint", "retry_us", "enabled"),
        ("recording", "next_us", "status IN ('stopped', 'open')"),
        ("analysis", "next_us", "due"),
    )
)
_LEASES: Final = f"UPDATE analysis SET lease_us = {_EARLIER.format('lease_us')} WHERE due AND lease_us > ?"
_UPTO: Final = (
    "SELECT max(w.event_position) FROM (SELECT event_position FROM delivery /*delivery_waiting*/ WHERE endpoint_id = ?"
    " AND status = 'pending' AND event_position > ? ORDER BY event_position LIMIT ?) AS w"
)
_DELIVERIES: Final = (
    f"UPDATE delivery /*delivery_waiting*/ SET next_us = {_EARLIER.format('next_us')} WHERE endpoint_id = ?"
    " AND status = 'pending' AND event_position > ? AND event_position <= ? AND next_us > ?"
)
_NEWEST_EVENTS: Final = (
    "SELECT max(n.created_us) FROM (SELECT created_us FROM outbox ORDER BY position DESC LIMIT ?) AS n"
)


def ahead_us(db: peewee.Database, now_us: int) -> int:
    """By how much a clock that wrote the newest events was ahead of ours; 0 where it was not, or by little."""
    newest_us = sql.run(db, _NEWEST_EVENTS, (_NEWEST,)).fetchone()[0] or 0
    return newest_us - now_us if newest_us > now_us + _AHEAD_US else 0


def bring_forward(executor: Executes, now_us: int, by_us: int) -> None:
    """All that is to come is due ``by_us`` earlier, or now. Small transactions. Raises StoreUnavailable.

    May be repeated where it was cut off.
    """
    values = (by_us, now_us, by_us, now_us)

    def small(db: peewee.Database) -> list[Any]:
        for text in _SMALL:
            sql.run(db, text, (*values, now_us))
        sql.run(db, _LEASES, (*values, now_us + _LONGEST_LEASE_US))
        return [row[0] for row in sql.run(db, "SELECT id FROM endpoint").fetchall()]

    for endpoint in executor.execute(small, _TIMEOUT_S):
        _deliveries(executor, endpoint, now_us, values)


def _deliveries(executor: Executes, endpoint: Any, now_us: int, values: tuple[int, ...]) -> None:
    at = 0

    def chunk(db: peewee.Database) -> int:
        upto = sql.run(db, _UPTO, (endpoint, at, _CHUNK)).fetchone()[0]
        if upto is None:
            return 0
        sql.run(db, _DELIVERIES, (*values, endpoint, at, upto, now_us))
        return int(upto)

    while upto := executor.execute(chunk, _TIMEOUT_S):
        at = upto
