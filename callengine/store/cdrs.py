"""Calls by their channels, for CDRs: to take them in, and to hold the rows against them. Queries only."""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import msgspec
import peewee

from callengine.calls.call import Call
from callengine.calls.facts import Source
from callengine.calls.record import CallRecord
from callengine.store import rows, sql
from callengine.store.schema import text_of

log = logging.getLogger(__name__)

_AT_ONCE: Final = 400
# An id begins with 48 bits of milliseconds since the epoch, and a call ends in the day of its beginning, or the next.
_LONGEST_MS: Final = 2 * 86_400_000
_EARLY_MS: Final = 86_400_000
_MAX_MS: Final = (1 << 48) - 1


def calls_of_channels(db: peewee.Database, node: str, fs_uuids: Collection[str]) -> list[Call]:
    """The calls whose own channels these are, also those that are long over. One that cannot be read is left out."""
    found = []
    for row in _of_channels(db, "state", node, fs_uuids):
        try:
            found.append(rows.decode_state(row[0]))
        except msgspec.MsgspecError as error:
            log.error("a call cannot be restored: %s", error)
    return found


def records_of_channels(db: peewee.Database, node: str, fs_uuids: Collection[str]) -> dict[str, CallRecord]:
    """The rows of these channels' calls, by the channel's UUID."""
    columns = rows.columns_for(sql.kind_of(db))
    found = (rows.record_from(row) for row in _of_channels(db, columns, node, fs_uuids))
    return {record.fs_uuid: record for record in found}


def _of_channels(db: peewee.Database, columns: str, node: str, fs_uuids: Collection[str]) -> Iterator[Sequence[Any]]:
    for some in _chunks(fs_uuids):
        marks = ", ".join("?" * len(some))
        yield from sql.run(
            db, f"SELECT {columns} FROM call WHERE node = ? AND fs_uuid IN ({marks})", (node, *some)
        ).fetchall()


def _chunks(values: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = list(values)
    return (ordered[at : at + _AT_ONCE] for at in range(0, len(ordered), _AT_ONCE))


def ended_channels(
    db: peewee.Database, node: str, since_us: int, until_us: int, after: str, limit: int
) -> list[tuple[str, str]]:
    """Id and channel of calls of a switch that ended from ``since_us`` to before ``until_us``, by id, behind ``after``
    (empty: from the first). Only those that had a channel whose end was stamped.

    Calls are found by the time in their ids: one that lasted for more than two days is not.
    """
    pack = rows.id_for(sql.kind_of(db))
    text = "::text" if sql.is_postgres(db) else ""
    first = after or _id_at(since_us // 1000 - _LONGEST_MS)
    found = sql.run(
        db,
        f"SELECT id{text}, fs_uuid FROM call WHERE id > ? AND id < ? AND node = ? AND NOT live"
        f" AND end_us >= ? AND end_us < ? AND end_source <> '{Source.CLOCK.value}' ORDER BY id LIMIT ?",
        (pack(first), pack(_id_at(until_us // 1000 + _EARLY_MS)), node, since_us, until_us, limit),
    ).fetchall()
    return [(text_of(call_id), fs_uuid) for call_id, fs_uuid in found]


def nodes(db: peewee.Database) -> list[str]:
    """The switches that calls name, sorted. Each is one step along an index, however many calls there are."""
    text = (
        "WITH RECURSIVE step(node) AS (SELECT min(node) FROM call UNION ALL"
        " SELECT (SELECT min(c.node) FROM call AS c WHERE c.node > step.node) FROM step WHERE step.node IS NOT NULL)"
        " SELECT node FROM step WHERE node IS NOT NULL ORDER BY node"
    )
    return [name for (name,) in sql.run(db, text).fetchall()]


def _id_at(ms: int) -> str:
    """The least UUID of version 7 at that millisecond."""
    value = min(max(ms, 0), _MAX_MS) << 80
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
