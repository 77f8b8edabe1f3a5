"""An event of a call that the book does not know of: a recording that is ready, an analysis. One transaction each.

For the function of an ``Executes.execute``: everything happens on the connection at hand, and is committed with
whatever else that function changes.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peewee

from callengine.calls.call import EventName
from callengine.calls.ids import event_id_of
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.errors import NoSuchCall
from callengine.store import outbox, rows, sql


def tell(
    db: peewee.Database,
    call_id: str,
    event: EventName,
    key: str,
    now_us: int,
    *,
    changes: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    note: Note | None = None,
) -> bool:
    """Changes columns of the call that are not the book's, puts the event into the outbox, notes it in the timeline.

    ``changes``: by the names of ``rows.SIDE_FIELDS``. ``key`` makes the event's id: with a key that was told before,
    the changes are made and nothing is told. Returns whether it was told. Raises NoSuchCall.
    """
    pack = rows.id_for(sql.kind_of(db))
    event_id = pack(event_id_of(call_id, key))
    outbox.lock(db)
    told = sql.run(db, "SELECT 1 FROM outbox WHERE id = ?", (event_id,)).fetchone() is not None
    change(db, call_id, changes or {}, count=not told)
    if told:
        return False
    record = record_by_id(db, call_id)
    body = rows.encode_json(_without_side(record)).decode()
    names = ", ".join(rows.SIDE_FIELDS)
    sql.run(
        db,
        f"INSERT INTO outbox (id, call_id, tenant_id, seq, event, payload, created_us, detail, {names})"
        f" SELECT ?, id, tenant_id, seq + side_seq, ?, ?, ?, ?, {names} FROM call WHERE id = ?",
        (event_id, event.value, body, now_us, _json(detail), pack(call_id)),
    )
    outbox.deliver(db, [event_id])
    if note is not None:
        add_note(db, call_id, note)
    return True


def change(db: peewee.Database, call_id: str, changes: Mapping[str, Any], *, count: bool = False) -> None:
    """Sets columns of the call that are not the book's; ``count``: an event will tell of it. Raises NoSuchCall."""
    if unknown := set(changes).difference(rows.SIDE_FIELDS):
        raise ValueError(f"not to be changed from outside: {', '.join(sorted(unknown))}")
    pack = rows.id_for(sql.kind_of(db))
    parts = [*(f"{name} = ?" for name in changes), f"side_seq = side_seq + {int(count)}"]
    values = [_json(value) if name == "files" else value for name, value in changes.items()]
    text = f"UPDATE call SET {', '.join(parts)} WHERE id = ?"
    if not sql.run(db, text, (*values, pack(call_id))).rowcount:
        raise NoSuchCall


def add_note(db: peewee.Database, call_id: str, note: Note) -> None:
    """An entry for the call's timeline, behind all that the book noted. The call's row is to be locked already."""
    pack = rows.id_for(sql.kind_of(db))
    packed = pack(call_id)
    text = "SELECT max(n) FROM call_event WHERE call_id = ? AND n >= ?"
    last = sql.run(db, text, (packed, rows.FIRST_OUTSIDE_NOTE)).fetchone()[0]
    rows.EVENTS.run(db, [rows.event_row(packed, (last or rows.FIRST_OUTSIDE_NOTE) + 1, note)])


def record_by_id(db: peewee.Database, call_id: str) -> CallRecord:
    """The call as it stands, whoever's it is. Raises NoSuchCall."""
    kind = sql.kind_of(db)
    text = f"SELECT {rows.columns_for(kind)} FROM call WHERE id = ?"
    row = sql.run(db, text, (rows.id_for(kind)(call_id),)).fetchone()
    if row is None:
        raise NoSuchCall
    return rows.record_from(row)


def _without_side(record: CallRecord) -> CallRecord:
    """As the book has it; the rest stands in columns of its own, as with the book's events."""
    fresh = CallRecord(id=record.id, tenant_id=record.tenant_id, node=record.node, fs_uuid=record.fs_uuid)
    for name in rows.FIELDS:
        if name not in rows.SIDE_FIELDS:
            setattr(fresh, name, getattr(record, name))
    return fresh


def _json(value: Any) -> str | None:
    return None if value is None else rows.encode_json(value).decode()
