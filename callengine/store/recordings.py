"""Recordings: rows of what the switch said that it records, and what was found when they were looked at.

Each function works on the connection at hand: reads for ``Store.run``, changes for ``Executes.execute``. A change says
what it found the row as, and does nothing where somebody changed it meanwhile, so that each may be repeated.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import peewee

from callengine.calls.call import EventName
from callengine.calls.facts import Source
from callengine.calls.ids import recording_id_of
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.errors import NoSuchCall, NoSuchTenant
from callengine.store import analysed, outbox, rows, schema, sql, tell
from callengine.store import analyses as analyses_of
from callengine.store.entities import Tenant
from callengine.store.schema import text_of


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``recording``; see ``schema.Recording``."""

    id: str
    call_id: str
    tenant_id: str
    node: str
    leg: str
    path: str
    started_us: int | None = None
    stopped_us: int | None = None
    claimed_ms: int | None = None
    discarded: bool = False
    status: str
    reason: str | None = None
    attempts: int = 0
    next_us: int
    storage: str | None = None
    object_key: str | None = None
    bytes: int | None = None
    duration_ms: int | None = None
    channels: int | None = None
    sha256: str | None = None
    loudness_cb: int | None = None
    created_us: int
    looked_us: int | None = None
    deleted_us: int | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What came of looking at a file: ``reason`` is None where it is ready, else why it never will be."""

    reason: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    duration_ms: int | None = None
    channels: int | None = None
    loudness_cb: int | None = None
    storage: str = "disk"
    object_key: str | None = None


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a file's name speaks of."""

    id: str
    tenant_id: str
    fs_uuid: str
    live: bool


LOST: Final = ("missing", "not_permitted")
"""Reasons of a failure that a file undoes which turns up later."""

_NAMES: Final = Recording.__struct_fields__
_COLUMNS: Final = ", ".join(f"r.{name}" for name in _NAMES)
_IDS: Final = tuple(_NAMES.index(name) for name in ("id", "call_id", "tenant_id"))
_DISCARDED_AT: Final = _NAMES.index("discarded")
# An update repeats what the row was read as: another stop, another look, another engine make it another row.
_UNCHANGED: Final = "id = ? AND status = ? AND coalesce(stopped_us, 0) = ? AND attempts = ?"
_BATCH: Final = 500
# As the partial index has it, word by word: SQLite would not see by itself that one of them is in the list. All that
# are ready have a hash; of those that failed, those whose file was there.
_KEPT: Final = "r.status IN ('ready', 'failed') AND r.sha256 IS NOT NULL"


def _row(values: Sequence[Any]) -> Recording:
    row = list(values)
    for at in _IDS:
        row[at] = text_of(row[at])
    row[_DISCARDED_AT] = bool(row[_DISCARDED_AT])
    return Recording(**dict(zip(_NAMES, row, strict=True)))


def _select(db: peewee.Database, rest: str, values: Sequence[Any]) -> list[Recording]:
    return [_row(row) for row in sql.run(db, f"SELECT {_COLUMNS} FROM recording AS r {rest}", values).fetchall()]


def _unchanged(db: peewee.Database, row: Recording) -> tuple[Any, ...]:
    return (rows.packed(db, row.id), row.status, row.stopped_us or 0, row.attempts)


# -- which are to be looked at --------------------------------------------------------------------------------------


def find(db: peewee.Database, recording_id: str) -> Recording | None:
    """The recording of that id, whoever's it is."""
    return next(iter(_select(db, "WHERE r.id = ?", (rows.packed(db, recording_id),))), None)


def of_call(db: peewee.Database, call_id: str) -> list[Recording]:
    """All recordings of a call, in order of time."""
    return _select(db, "WHERE r.call_id = ? ORDER BY r.started_us, r.id", (rows.packed(db, call_id),))


def stopped(db: peewee.Database, node: str, now_us: int, limit: int) -> list[Recording]:
    """Those that the switch says it stopped, and whose time has come, the longest due first."""
    where = "WHERE r.node = ? AND r.status = 'stopped' AND r.next_us <= ? ORDER BY r.next_us LIMIT ?"
    return _select(db, where, (node, now_us, limit))


def abandoned(db: peewee.Database, node: str, now_us: int, limit: int) -> list[Recording]:
    """Those that were started and not stopped, though their call is over."""
    where = (
        "JOIN call ON call.id = r.call_id WHERE r.node = ? AND r.status = 'open' AND r.next_us <= ?"
        " AND NOT call.live ORDER BY r.next_us LIMIT ?"
    )
    return _select(db, where, (node, now_us, limit))


def waiting(db: peewee.Database, node: str) -> int:
    """How many are stopped and not yet ready or failed."""
    text = "SELECT count(*) FROM recording WHERE node = ? AND status = 'stopped'"
    return int(sql.run(db, text, (node,)).fetchone()[0])


def postpone(
    db: peewee.Database, row: Recording, next_us: int, size: int | None = None, sha256: str | None = None
) -> bool:
    """Another look at ``next_us``. ``size`` and ``sha256`` are what this look saw, for the next one to compare with."""
    text = f"UPDATE recording SET attempts = ?, next_us = ?, bytes = ?, sha256 = ? WHERE {_UNCHANGED}"
    values = (row.attempts + 1, next_us, size, sha256, *_unchanged(db, row))
    return bool(sql.run(db, text, values).rowcount)


# -- what was found -------------------------------------------------------------------------------------------------


def finish(db: peewee.Database, row: Recording, found: Found, now_us: int) -> bool:
    """Ready or failed: the row, the call's files, the event and the timeline, all at once.

    A ready one is told again where it has another content, or was told as failed in between; not where only another
    stop was learned of. A failed one is told again after each stop. What a failed one is known to hold stays in its
    row, and is not told. Returns whether anything was changed. Raises NoSuchCall.
    """
    outbox.lock(db)  # as ``tell`` does, before any row of a call
    status = "ready" if found.reason is None else "failed"
    changes = msgspec.structs.asdict(found) | {"status": status, "looked_us": now_us, "deleted_us": None}
    text = f"UPDATE recording SET {', '.join(f'{name} = ?' for name in changes)} WHERE {_UNCHANGED}"
    record = _locked(db, row.call_id)  # before the recording's row, as the writer does
    if not sql.run(db, text, (*changes.values(), *_unchanged(db, row))).rowcount:
        return False
    if status == "failed":
        found = msgspec.structs.replace(found, bytes=None, sha256=None)
    file = _file(row, found, status)
    changes = {"files": _with(record.files, file)}
    if _is_told(record.files, file):
        tell.change(db, row.call_id, changes)
    else:
        key = f"recording:{row.id}:{row.stopped_us or 0}"
        tell.tell(
            db,
            row.call_id,
            EventName.RECORDING_READY if status == "ready" else EventName.RECORDING_FAILED,
            f"{key}:{found.sha256}" if status == "ready" else f"{key}:failed",
            now_us,
            changes=changes,
            detail={"recording": _told(row, found, status)},
            note=_note(row, f"recording_{status}", now_us, found.reason),
        )
    if status == "ready":
        analysed.recording_ready(db, row.call_id, now_us)
    return True


def _is_told(files: Sequence[dict[str, Any]], file: dict[str, Any]) -> bool:
    """Whether the last that was told of it is that it is ready, with just this content."""
    names = ("id", "status", "sha256")
    return file["status"] == "ready" and any(all(old.get(n) == file[n] for n in names) for old in files)


def _locked(db: peewee.Database, call_id: str) -> CallRecord:
    """The call, which nobody else changes until the transaction ends. Raises NoSuchCall."""
    if sql.is_postgres(db):
        sql.run(db, "SELECT 1 FROM call WHERE id = ? FOR UPDATE", (rows.packed(db, call_id),)).fetchone()
    return tell.record_by_id(db, call_id)


def _file(row: Recording, found: Found, status: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "leg": row.leg,
        "path": row.path,
        "status": status,
        "reason": found.reason,
        "duration_ms": found.duration_ms,
        "bytes": found.bytes,
        "sha256": found.sha256,
        "channels": found.channels,
        "storage": found.storage,
    }


def _told(row: Recording, found: Found, status: str) -> dict[str, Any]:
    """As ``calls.view`` shows a recording; the path is nobody's business."""
    return {
        "id": row.id,
        "leg": row.leg,
        "start_us": row.started_us,
        "stop_us": row.stopped_us,
        "duration_ms": found.duration_ms,
        "discarded": row.discarded,
        "status": status,
        "reason": found.reason,
        "bytes": found.bytes,
        "channels": found.channels,
        "sha256": found.sha256,
    }


def _with(files: Sequence[dict[str, Any]], file: dict[str, Any]) -> list[dict[str, Any]]:
    """``files`` with ``file`` in the place that it had, or else at the end."""
    if not any(other["id"] == file["id"] for other in files):
        return [*files, file]
    return [file if other["id"] == file["id"] else other for other in files]


def _note(row: Recording, name: str, now_us: int, reason: str | None) -> Note:
    return Note(name, now_us, row.leg, Source.CLOCK, row.id if reason is None else f"{row.id} {reason}")


# -- what nobody told of --------------------------------------------------------------------------------------------


def calls_named(db: peewee.Database, node: str, uuids: Collection[str]) -> dict[str, Named]:
    """The calls of a switch whose id, or whose channel's, is one of ``uuids``, by that one."""
    found: dict[str, Named] = {}
    wanted = sorted(uuids)
    for start in range(0, len(wanted), _BATCH):
        chunk = wanted[start : start + _BATCH]
        marks = ", ".join("?" * len(chunk))
        for column, values in (("id", [rows.packed(db, u) for u in chunk]), ("fs_uuid", chunk)):
            text = f"SELECT id, tenant_id, fs_uuid, live FROM call WHERE node = ? AND {column} IN ({marks})"
            for call_id, tenant_id, fs_uuid, live in sql.run(db, text, (node, *values)).fetchall():
                call = Named(id=text_of(call_id), tenant_id=text_of(tenant_id), fs_uuid=fs_uuid, live=bool(live))
                found[call.id if column == "id" else fs_uuid] = call
    return found


def adopt(db: peewee.Database, node: str, call: Named, path: str, now_us: int, *, analyses: bool) -> bool:
    """Makes a file that nothing told of a recording of ``call``, to be looked at. Whether it was none yet."""
    outbox.lock(db)  # before any row of a call: it may be changed below
    if any(row.path == path for row in of_call(db, call.id)):
        return False
    recording_id = recording_id_of(call.id, call.fs_uuid, path)
    packed, tenant = rows.packed(db, call.id), rows.packed(db, call.tenant_id)
    claim = (None, None, None, False, "stopped", 0, now_us, now_us)
    rows.RECORDINGS.run(db, [(rows.packed(db, recording_id), packed, tenant, node, call.fs_uuid, path, *claim)])
    if analyses:
        rows.ANALYSES.run(db, [(packed, tenant, node, "pending", True, 1, 0, 0, now_us, 0, 0, now_us)])
        analyses_of.mark_pending(db, [call.id])
    return True


def lost(db: peewee.Database, node: str, since_us: int, after: str | None, limit: int) -> list[Recording]:
    """Those that failed for one of ``LOST`` since then, by id, from behind ``after``."""
    marks = ", ".join("?" * len(LOST))
    where = f"WHERE r.node = ? AND r.status = 'failed' AND r.looked_us >= ? AND r.reason IN ({marks})"
    values: list[Any] = [node, since_us, *LOST]
    if after is not None:
        where += " AND r.id > ?"
        values.append(rows.packed(db, after))
    return _select(db, f"{where} ORDER BY r.id LIMIT ?", (*values, limit))


def revive(db: peewee.Database, row: Recording, now_us: int) -> bool:
    """Has a failed one looked at again."""
    text = (
        "UPDATE recording SET status = 'stopped', attempts = 0, next_us = ?, bytes = NULL, sha256 = NULL"
        f" WHERE {_UNCHANGED}"
    )
    return bool(sql.run(db, text, (now_us, *_unchanged(db, row))).rowcount)


# -- what is kept long enough ---------------------------------------------------------------------------------------


def expired(
    db: peewee.Database,
    tenant_id: str,
    before_us: int,
    after: tuple[int, str] | None,
    limit: int,
    node: str | None,
    *,
    analyses_since_us: int | None = None,
) -> list[Recording]:
    """A tenant's that were found ready before then, in that order, from behind ``after`` = (looked_us, id). And those
    that failed though there is something in their file, which may be speech all the same.

    Without those whose call is still to be analysed, if it has waited for that since ``analyses_since_us`` or later
    (None: with those too); only a ``node``'s where one is given.
    """
    where = f"WHERE r.tenant_id = ? AND {_KEPT} AND r.looked_us < ?"
    values: list[Any] = [rows.packed(db, tenant_id), before_us]
    if analyses_since_us is not None:
        where += (
            " AND NOT EXISTS (SELECT 1 FROM analysis AS a WHERE a.call_id = r.call_id AND a.due AND a.created_us >= ?)"
        )
        values.append(analyses_since_us)
    if node is not None:
        where += " AND r.node = ?"
        values.append(node)
    if after is not None:
        where += " AND (r.looked_us, r.id) > (?, ?)"
        values += [after[0], rows.packed(db, after[1])]
    return _select(db, f"{where} ORDER BY r.looked_us, r.id LIMIT ?", (*values, limit))


def forget(db: peewee.Database, row: Recording, now_us: int) -> bool:
    """The file of one was deleted: the row, the call's files and the timeline say so."""
    try:
        record = _locked(db, row.call_id)
    except NoSuchCall:
        record = None
    text = f"UPDATE recording SET status = 'deleted', deleted_us = ?, object_key = NULL WHERE {_UNCHANGED}"
    if not sql.run(db, text, (now_us, *_unchanged(db, row))).rowcount:
        return False
    if record is None:
        return True
    files = [file | {"status": "deleted"} if file["id"] == row.id else file for file in record.files]
    tell.change(db, row.call_id, {"files": files})
    tell.add_note(db, row.call_id, _note(row, "recording_deleted", now_us, None))
    return True


def rule(db: peewee.Database, tenant: str) -> Tenant:
    """The tenant, with how long its recordings are kept. Raises NoSuchTenant."""
    for found in schema.Tenant.select().where(schema.Tenant.name == tenant).dicts().execute(db):
        return Tenant(**found)
    raise NoSuchTenant


def keep(db: peewee.Database, tenant: str, days: int | None) -> None:
    """A tenant's recordings are kept for so many days from now on; 0: for ever, None: as the settings say.

    Raises NoSuchTenant.
    """
    if not schema.Tenant.update(recordings_days=days).where(schema.Tenant.name == tenant).execute(db):
        raise NoSuchTenant
