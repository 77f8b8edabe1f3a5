"""Between the domain and the rows: inserts that are built once, and tuples. The writer and the reads share it.

The engine's columns are all fields of ``CallRecord`` up to ``seq``, and ``state``; those between them belong to people
and to the analysis, and no upsert of ours ever touches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
import peewee

from callengine.calls.call import Call, Recording
from callengine.calls.facts import Source
from callengine.calls.ids import event_key_of, recording_id_of
from callengine.calls.leg import Note
from callengine.calls.machine import Published
from callengine.calls.record import CallRecord, StoredEvent, record_of
from callengine.store import sql
from callengine.store.schema import text_of
from callengine.store.sql import Insert

FIELDS: Final = CallRecord.__struct_fields__
_ENGINE_FIELDS: Final = FIELDS[: FIELDS.index("seq") + 1]
_JSON_AT: Final = FIELDS.index("agents")
_SEQ_AT: Final = FIELDS.index("seq")
_FILES_AT: Final = FIELDS.index("files")
SIDE_FIELDS: Final = FIELDS[_SEQ_AT + 1 :]
"""What is set from outside the book: columns of ``call``, and copied into the outbox with each event."""
_BOOLS: Final = tuple(FIELDS.index(name) for name in ("live", "overlong", "has_recording"))
_LISTS: Final = tuple(range(_JSON_AT, _SEQ_AT))
_COLUMNS: Final = (*_ENGINE_FIELDS, "state")
_KEYS: Final = frozenset({"id", "node", "fs_uuid"})
_MAX_INT: Final = (1 << 63) - 1

encode_json: Final = msgspec.json.Encoder().encode
_decode_parts: Final = msgspec.json.Decoder(tuple[dict[str, Any], ...]).decode
decode_state: Final = msgspec.json.Decoder(Call).decode
decode_record: Final = msgspec.json.Decoder(CallRecord).decode
decode_json: Final = msgspec.json.Decoder().decode

FIRST_OUTSIDE_NOTE: Final = 1 << 40
"""The engine numbers a timeline's entries from 1; those from outside the book (``tell``) begin where it never comes."""

Row = tuple[Any, ...]
S = TypeVar("S", bound=msgspec.Struct)

_updates = ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS if c not in _KEYS)
# Not only what is greater: most changes of a call publish nothing, and leave the count as it is.
# A later state has a higher number; of two with the same, one that knows the end is not undone by one that does not.
_NOT_STALE: Final = (
    "excluded.seq > call.seq OR excluded.seq = call.seq AND (excluded.end_us IS NOT NULL OR call.end_us IS NULL)"
)
CALLS: Final = Insert("call", _COLUMNS, f"(id) DO UPDATE SET {_updates} WHERE {_NOT_STALE}")
CAMPAIGNS: Final = Insert("campaign", ("tenant_id", "id", "created_us"), "DO NOTHING")
EVENTS: Final = Insert("call_event", ("call_id", "n", "at_us", "name", "leg", "source", "detail"), "DO NOTHING")
# A recording that was stopped anew is looked at anew, whatever was found before.
RECORDINGS: Final = Insert(
    "recording",
    (
        "id",
        "call_id",
        "tenant_id",
        "node",
        "leg",
        "path",
        "started_us",
        "stopped_us",
        "claimed_ms",
        "discarded",
        "status",
        "attempts",
        "next_us",
        "created_us",
    ),
    "(id) DO UPDATE SET tenant_id = excluded.tenant_id, started_us = excluded.started_us,"
    " stopped_us = excluded.stopped_us, claimed_ms = excluded.claimed_ms, discarded = excluded.discarded,"
    " status = excluded.status, reason = NULL, attempts = 0, next_us = excluded.next_us"
    " WHERE coalesce(excluded.stopped_us, 0) > coalesce(recording.stopped_us, 0)",
)
ANALYSES: Final = Insert(
    "analysis",
    (
        "call_id",
        "tenant_id",
        "node",
        "status",
        "due",
        "run",
        "attempts",
        "unusable",
        "next_us",
        "lease_us",
        "spent_micros",
        "created_us",
    ),
    "DO NOTHING",
)
ENGINES: Final = Insert(
    "engine",
    ("node", "version", "data_as_of_us"),
    "(node) DO UPDATE SET version = excluded.version, data_as_of_us = excluded.data_as_of_us",
)


def id_for(kind: str) -> Callable[[str], Any]:
    """How an id is given to the driver: Postgres reads the text as a ``uuid``; SQLite gets its 16 bytes."""
    return _text if kind == "postgres" else _bytes


def packed(db: peewee.Database, value: str) -> Any:
    """The id, as the driver of the connection at hand wants it."""
    return id_for(sql.kind_of(db))(value)


def _text(value: str) -> str:
    return value


# A call's id is packed for each of its rows, one after another; a tenant's for all of them.
@lru_cache(maxsize=4096)
def _bytes(value: str) -> bytes:
    packed = bytes.fromhex(value.replace("-", ""))
    if len(packed) != 16:
        raise ValueError("an id has to be a UUID")
    return packed


def columns_for(kind: str, prefix: str = "") -> str:
    """The columns of ``CallRecord`` to select, in its order; Postgres writes its ids out itself, in C."""
    cast = "::text" if kind == "postgres" else ""
    special = {
        "id": f"{prefix}id{cast}",
        "tenant_id": f"{prefix}tenant_id{cast}",
        "seq": f"{prefix}seq + {prefix}side_seq",
    }
    return ", ".join(special.get(c, f"{prefix}{c}") for c in FIELDS)


def call_row(call: Call, record: CallRecord | None, pack: Callable[[str], Any]) -> Row:
    """The row of a call, for ``CALLS``."""
    values = msgspec.structs.astuple(record_of(call) if record is None else record)
    return (
        pack(values[0]),
        pack(values[1]),
        *values[2:_JSON_AT],
        *(encode_json(part).decode() if part else "[]" for part in values[_JSON_AT:_SEQ_AT]),
        values[_SEQ_AT],
        encode_json(call).decode(),
    )


def event_row(call_id: Any, n: int, note: Note) -> Row:
    """The row of a timeline's entry, for ``EVENTS``."""
    return (call_id, n, note.at_us, note.name, note.leg, note.source._value_, note.detail)


def recording_row(call: Call, recording: Recording, now_us: int, pack: Callable[[str], Any]) -> Row:
    """The row of a recording as the switch claims it, for ``RECORDINGS``."""
    return (
        pack(recording_id_of(call.id, recording.leg, recording.path)),
        pack(call.id),
        pack(call.tenant_id),
        call.node,
        recording.leg,
        recording.path,
        recording.started_us or None,
        recording.stopped_us or None,
        recording.duration_ms,
        recording.discarded,
        "stopped" if recording.stopped_us else "open",
        0,
        now_us,
        now_us,
    )


def analysis_row(call: Call, now_us: int, pack: Callable[[str], Any]) -> Row:
    """The row of an analysis that is to be made once the call and its recordings are done, for ``ANALYSES``."""
    return (pack(call.id), pack(call.tenant_id), call.node, "pending", True, 1, 0, 0, now_us, 0, 0, now_us)


def outbox_row(published: Published, now_us: int, pack: Callable[[str], Any]) -> Row:
    """The row of a milestone, for ``outbox.MILESTONES``."""
    call_id, seq, record = published.call_id, published.seq, published.record
    key = event_key_of(call_id, str(seq))
    return (
        key if pack is _bytes else text_of(key),
        pack(call_id),
        pack(record.tenant_id),
        seq,
        published.event._value_,
        encode_json(record).decode(),
        now_us,
    )


def cleaned(row: Row) -> Row:
    """``row`` without what a database cannot hold: NUL, lone surrogates, integers beyond 64 bits."""
    return tuple(_clean(value) for value in row)


def cleaned_struct(struct: S) -> S:
    """The same of a ``Call`` or a ``CallRecord``, in all its depth."""
    return msgspec.convert(_clean(msgspec.to_builtins(struct)), type(struct))


def _clean(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "").encode("utf-8", "replace").decode()
        case bool():
            return value
        case int():
            return value if -_MAX_INT <= value <= _MAX_INT else 0
        case dict():
            return {key: _clean(part) for key, part in value.items()}
        case list() | tuple():
            return [_clean(part) for part in value]
        case _:
            return value


def fields_from(row: Sequence[Any]) -> list[Any]:
    """The values of a ``CallRecord``, in its order, from a row of ``columns_for``."""
    values = list(row)
    values[0] = text_of(values[0])
    values[1] = text_of(values[1])
    for at in _BOOLS:
        values[at] = bool(values[at])
    for at in _LISTS:
        values[at] = () if values[at] == "[]" else _decode_parts(values[at])
    values[_FILES_AT] = () if values[_FILES_AT] is None else _decode_parts(values[_FILES_AT])
    return values


def record_of_fields(*values: Any) -> CallRecord:
    """The record of such values."""
    return CallRecord(**dict(zip(FIELDS, values, strict=True)))


def record_from(row: Sequence[Any]) -> CallRecord:
    """The record from a row of ``columns_for``."""
    return record_of_fields(*fields_from(row))


def event_from(row: Sequence[Any]) -> StoredEvent:
    """The event from a row of ``outbox.COLUMNS``: the record of then, with what had been set from outside by then."""
    position, event_id, call_id, tenant_id, seq, event, payload, created_us, detail, *side = row
    record = decode_record(payload)
    record.seq = seq
    found = dict(zip(SIDE_FIELDS, side, strict=True))
    found["files"] = () if found["files"] is None else _decode_parts(found["files"])
    for name, value in found.items():
        setattr(record, name, value)
    return StoredEvent(
        position=position,
        id=text_of(event_id),
        call_id=text_of(call_id),
        tenant_id=text_of(tenant_id),
        seq=seq,
        event=event,
        record=record,
        detail=None if detail is None else decode_json(detail),
        created_us=created_us,
    )


def note_from(row: Sequence[Any]) -> Note:
    """The timeline's entry from (name, at_us, leg, source, detail)."""
    name, at_us, leg, source, detail = row
    return Note(name, at_us, leg, Source(source), detail)
