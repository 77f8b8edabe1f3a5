"""A page far into a campaign, and its exact total, from the counters that the database keeps (migration 0003).

The days tell the total and in which day a page begins, the ten minutes of that day where in it; from there it is a
short way through an index. Counted are calls that are over, by campaign, dial time, status and disposition; what is
live is few, and counted each time.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import peewee

from callengine.store import schema, sql

SPANS: Final = (600, 86_400)
"""In seconds: what is counted together."""
NOT_DIALLED_US: Final = schema.MAX_INT
"""Calls without a dial time come first, as if they were dialled at the end of time."""
OVER: Final = frozenset({"completed", "failed"})
_FILTERS: Final = frozenset({"campaign_id", "status", "disposition"})
_SHORT: Final = 1_000
"""So many rows are passed over sooner than they are counted."""
_US: Final = 1_000_000


class Place(NamedTuple):
    """Where a page begins: behind ``skip`` of the calls that were dialled before ``before_us`` (None: of all)."""

    total: int
    before_us: int | None
    skip: int


def is_counted(filters: Mapping[str, str | int]) -> bool:
    """Whether the counters know how many calls these filters leave."""
    return (
        "campaign_id" in filters
        and filters.keys() <= _FILTERS
        and filters.get("status", "completed") in OVER
        and filters.get("disposition") != ""
    )


def index_for(filters: Mapping[str, str | int]) -> str:
    """The index that has what these filters leave in its order, or, with both, nearly so."""
    if "disposition" in filters:
        return "call_of_disposition"
    return "call_of_status" if "status" in filters else "call_of_campaign"


def place(db: peewee.Database, tenant_id: Any, filters: Mapping[str, str | int], offset: int) -> Place:
    """Where the page with that offset begins. ``tenant_id`` as the driver wants it; in a transaction of one moment."""
    minutes, day = SPANS
    days = _buckets(db, tenant_id, filters, day)
    total = sum(n for _, n in days)
    if offset < _SHORT or offset >= total:
        return Place(total, None, offset)
    bucket, skip = _reached(days, offset)
    if skip >= _SHORT:
        begin, end = bucket * day // minutes, ((bucket + 1) * day - 1) // minutes
        bucket, skip = _reached(_buckets(db, tenant_id, filters, minutes, begin, end), skip)
        return Place(total, _end_us(bucket, minutes), skip)
    return Place(total, _end_us(bucket, day), skip)


def _end_us(bucket: int, span: int) -> int | None:
    end_us = (bucket + 1) * span * _US
    return None if end_us > NOT_DIALLED_US else end_us


def _reached(buckets: Iterable[tuple[int, int]], offset: int) -> tuple[int, int]:
    """The bucket into which the offset falls, and how far."""
    at = 0
    for bucket, n in buckets:
        at = bucket
        if offset < n:
            break
        offset -= n
    return at, offset


def _buckets(
    db: peewee.Database,
    tenant_id: Any,
    filters: Mapping[str, str | int],
    span: int,
    first: int = 0,
    last: int = schema.MAX_INT,
) -> list[tuple[int, int]]:
    """Buckets and how many calls are in each, the newest first."""
    found = _over(db, tenant_id, filters, span, first, last)
    if "status" in filters:
        return sorted(found.items(), reverse=True)
    for bucket, n in _live(db, tenant_id, filters, span, first, last):
        found[bucket] = found.get(bucket, 0) + n
    return sorted(found.items(), reverse=True)


def _over(
    db: peewee.Database, tenant_id: Any, filters: Mapping[str, str | int], span: int, first: int, last: int
) -> dict[int, int]:
    where = ["tenant_id = ?", "campaign_id = ?", "span = ?", "bucket BETWEEN ? AND ?"]
    values = [tenant_id, filters["campaign_id"], span, first, last]
    for name in ("status", "disposition"):
        if name in filters:
            where.append(f"{name} = ?")
            values.append(filters[name])
    text = f"SELECT bucket, sum(n) FROM call_count WHERE {' AND '.join(where)} GROUP BY bucket"
    return {bucket: int(n) for bucket, n in sql.run(db, text, values).fetchall()}


def _live(
    db: peewee.Database, tenant_id: Any, filters: Mapping[str, str | int], span: int, first: int, last: int
) -> Iterable[tuple[int, int]]:
    dialled = f"coalesce(dial_us, {NOT_DIALLED_US})"
    where = ["tenant_id = ?", "campaign_id = ?", "live"]
    values = [tenant_id, filters["campaign_id"]]
    if "disposition" in filters:
        where.append("disposition = ?")
        values.append(filters["disposition"])
    text = (
        f"SELECT {dialled} / {span * _US}, count(*) FROM call /*call_live_of_campaign*/ WHERE {' AND '.join(where)}"
        " GROUP BY 1"
    )
    return ((bucket, n) for bucket, n in sql.run(db, text, values).fetchall() if first <= bucket <= last)
