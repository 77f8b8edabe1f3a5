"""What was set aside in the database itself: recordings and analyses that failed, deliveries that are dead. Only reads.

Their rows are the call's own; nothing is kept elsewhere.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import peewee

from callengine.store import rows, sql
from callengine.store.analyses import Status
from callengine.store.schema import text_of

GONE_WRONG: Final = (Status.FAILED, Status.UNSUPPORTED)
"""How an analysis ends that could not be made; what is skipped was not to be made."""

_AT_ONCE: Final = 400


class Failed(NamedTuple):
    """A recording or an analysis. ``id`` is the recording's, or the call's; ``detail``: the path, or the model."""

    id: str
    call_id: str
    node: str
    at_us: int
    bytes: int | None
    reason: str
    detail: str | None


class Dead(NamedTuple):
    """How many deliveries of an endpoint are dead letters."""

    tenant: str
    endpoint_id: str
    letters: int


def recordings(db: peewee.Database, since_us: int, limit: int) -> list[Failed]:
    """Recordings that failed since then, the newest first. What the switch discarded is as it was meant to be."""
    return _recordings(db, "r.looked_us >= ? ORDER BY r.looked_us DESC LIMIT ?", (since_us, limit))


def recording(db: peewee.Database, recording_id: str) -> Failed | None:
    """The one of that id, if it failed."""
    return next(iter(_recordings(db, "r.id = ?", (rows.packed(db, recording_id),))), None)


def _recordings(db: peewee.Database, rest: str, values: Sequence[Any]) -> list[Failed]:
    text = (
        "SELECT r.id, r.call_id, r.node, r.looked_us, r.bytes, r.reason, r.path FROM recording AS r"
        f" WHERE r.status = 'failed' AND r.reason <> 'discarded' AND {rest}"
    )
    return [_failed(row) for row in sql.run(db, text, values).fetchall()]


def jobs(db: peewee.Database, since_us: int, limit: int) -> list[Failed]:
    """Analyses that failed since then, the newest first."""
    return _jobs(db, "a.done_us >= ? ORDER BY a.done_us DESC LIMIT ?", (since_us, limit))


def job(db: peewee.Database, call_id: str) -> Failed | None:
    """The one of that call, if it failed."""
    return next(iter(_jobs(db, "a.call_id = ?", (rows.packed(db, call_id),))), None)


def _jobs(db: peewee.Database, rest: str, values: Sequence[Any]) -> list[Failed]:
    marks = ", ".join("?" * len(GONE_WRONG))
    # By the tenants, since that is what the index begins with.
    text = (
        "SELECT a.call_id, a.call_id, a.node, a.done_us, NULL, a.status, a.error, a.model FROM analysis AS a"
        f" WHERE a.tenant_id IN (SELECT id FROM tenant) AND NOT a.due AND a.status IN ({marks}) AND {rest}"
    )
    found = sql.run(db, text, (*(status.value for status in GONE_WRONG), *values)).fetchall()
    return [_failed((*row[:5], ": ".join(filter(None, row[5:7])), row[7])) for row in found]


def _failed(row: Sequence[Any]) -> Failed:
    failed_id, call_id, node, at_us, size, reason, detail = row
    return Failed(text_of(failed_id), text_of(call_id), node, at_us or 0, size, reason or "", detail)


def counts(db: peewee.Database, since_us: int) -> dict[str, int]:
    """How many recordings and analyses failed since then, by kind."""
    marks = ", ".join("?" * len(GONE_WRONG))
    found = sql.run(
        db,
        "SELECT (SELECT count(*) FROM recording WHERE node IN (SELECT node FROM engine) AND status = 'failed'"
        " AND looked_us >= ? AND reason <> 'discarded'), (SELECT count(*) FROM analysis WHERE tenant_id IN"
        f" (SELECT id FROM tenant) AND done_us >= ? AND NOT due AND status IN ({marks}))",
        (since_us, since_us, *(status.value for status in GONE_WRONG)),
    ).fetchone()
    return {"recording": int(found[0]), "job": int(found[1])}


def dead(db: peewee.Database) -> list[Dead]:
    """Dead letters, by endpoint."""
    text = (
        "SELECT t.name, d.endpoint_id, d.n FROM (SELECT endpoint_id, count(*) AS n FROM delivery /*delivery_dead*/"
        " WHERE status = 'dead' GROUP BY endpoint_id) AS d JOIN endpoint AS e ON e.id = d.endpoint_id"
        " JOIN tenant AS t ON t.id = e.tenant_id ORDER BY t.name, d.endpoint_id"
    )
    return [Dead(name, text_of(endpoint_id), int(n)) for name, endpoint_id, n in sql.run(db, text).fetchall()]


def calls_of(db: peewee.Database, fs_uuids: Collection[str]) -> dict[tuple[str, str], str]:
    """The ids of the calls whose own channels these are, by node and channel. A node is one of those there are."""
    found: dict[tuple[str, str], str] = {}
    wanted = sorted(fs_uuids)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        text = (
            "SELECT node, fs_uuid, id FROM call WHERE node IN (SELECT node FROM engine)"
            f" AND fs_uuid IN ({', '.join('?' * len(some))})"
        )
        for node, fs_uuid, call_id in sql.run(db, text, some).fetchall():
            found[(node, fs_uuid)] = text_of(call_id)
    return found
