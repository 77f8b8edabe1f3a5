"""What is read of analyses, and how calls are queued to be analysed again."""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import peewee

from callengine.store import outbox, rows, sql, tell
from callengine.store.analyses import LATE, Status
from callengine.store.database import Store
from callengine.store.reads import is_uuid
from callengine.store.schema import text_of

NEVER: Final = "none"
"""As a filter: calls with a recording that were never analysed."""

_COLUMNS: Final = (
    "status",
    "due",
    "run",
    "sdk",
    "model",
    "prompt_version",
    "audio_ms",
    "input_tokens",
    "output_tokens",
    "spent_micros",
    "error",
    "statements",
    "transcript",
    "created_us",
    "next_us",
    "done_us",
)


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """A call's analysis as it stands; of a call that has none only ``call_id`` is known.

    ``spent_micros`` is what all its runs cost together, in millionths of a USD; the tokens are the last run's.
    ``next_us``: it is not tried before, and ``done_us``: when it was done; one of them is None.
    """

    call_id: str
    status: str | None = None
    run: int | None = None
    sdk: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    audio_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    spent_micros: int | None = None
    error: str | None = None
    statements: list[dict[str, Any]] | None = None
    transcript: list[dict[str, Any]] | None = None
    created_us: int | None = None
    next_us: int | None = None
    done_us: int | None = None


class AnalysisReads:
    """What the API reads. Each method runs off the hub; StoreUnavailable."""

    def __init__(self, store: Store, timeout_s: float = 10.0) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._pack = rows.id_for(store.kind)
        columns = ", ".join(f"a.{name}" for name in _COLUMNS)
        self._one = store.sql(
            f"SELECT {columns} FROM call LEFT JOIN analysis a ON a.call_id = call.id"
            " WHERE call.tenant_id = ? AND call.id = ?"
        )

    def analysis(self, tenant_id: str, call_id: str) -> Analysis | None:
        """The analysis of a call; None where the tenant has no such call."""
        if not is_uuid(call_id):
            return None
        key = (self._pack(tenant_id), self._pack(call_id))
        row = self._store.run(lambda db: sql.query(db, self._one, key).fetchone(), self._timeout_s)
        return None if row is None else _analysis(call_id, row)


def _analysis(call_id: str, row: Sequence[Any]) -> Analysis:
    found = dict(zip(_COLUMNS, row, strict=True))
    if found["status"] is None:
        return Analysis(call_id=call_id)
    due = found.pop("due")
    for name in ("statements", "transcript"):
        found[name] = None if found[name] is None else rows.decode_json(found[name])
    # While it is due, done_us is when something was last sent.
    found["done_us" if due else "next_us"] = None
    return Analysis(call_id=call_id, **found)


# -- again -----------------------------------------------------------------------------------------------------------


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls. ``call_ids`` alone, or any of the others; ``status``: a ``Status``, or ``NEVER``.

    ``since_us`` and ``until_us`` are about ``dial_us``: from the one on, before the other.
    """

    call_ids: tuple[str, ...] = ()
    tenant_id: str | None = None
    campaign_id: str | None = None
    status: str | None = None
    since_us: int | None = None
    until_us: int | None = None


class Selected(NamedTuple):
    """A call that has ended and has something playable. ``audio_ms``: of all that is."""

    call_id: str
    status: str | None
    audio_ms: int


def select(db: peewee.Database, wanted: Wanted, limit: int) -> list[Selected]:
    """The calls that can be analysed, the newest first. Only reads."""
    where, values = _where(db, wanted)
    text = (
        "SELECT call.id, a.status, (SELECT sum(r.duration_ms) FROM recording r WHERE r.call_id = call.id"
        " AND r.status = 'ready') AS audio_ms FROM call LEFT JOIN analysis a ON a.call_id = call.id"
        " WHERE NOT call.live AND EXISTS (SELECT 1 FROM recording r WHERE r.call_id = call.id AND r.status = 'ready')"
        f"{where} ORDER BY coalesce(call.dial_us, 0) DESC, call.id DESC LIMIT ?"
    )
    found = sql.run(db, text, (*values, limit)).fetchall()
    return [Selected(text_of(call_id), status, int(audio_ms or 0)) for call_id, status, audio_ms in found]


def _where(db: peewee.Database, wanted: Wanted) -> tuple[str, list[Any]]:
    pack = rows.id_for(sql.kind_of(db))
    parts: list[str] = []
    values: list[Any] = []
    if wanted.call_ids:
        parts.append(f"call.id IN ({', '.join('?' * len(wanted.call_ids))})")
        values += map(pack, wanted.call_ids)
    if wanted.tenant_id is not None:
        parts.append("call.tenant_id = ?")
        values.append(pack(wanted.tenant_id))
    if wanted.status == NEVER:
        parts.append("a.status IS NULL")
    elif wanted.status is not None:
        parts.append("a.status = ?")
        values.append(wanted.status)
    for text, value in (
        ("call.campaign_id = ?", wanted.campaign_id),
        ("call.dial_us >= ?", wanted.since_us),
        ("call.dial_us < ?", wanted.until_us),
    ):
        if value is not None:
            parts.append(text)
            values.append(value)
    return "".join(f" AND {part}" for part in parts), values


def again(db: peewee.Database, call_ids: Sequence[str], now_us: int) -> int:
    """Queues calls to be analysed anew; one that waits is due at once. Returns how many; those at work are left alone.

    What was found before stays until a later run finds something.
    """
    outbox.lock(db)  # before any row: a daemon that works on the same calls would make a deadlock of it
    return sum(_again(db, call_id, now_us) for call_id in call_ids)


def recording_ready(db: peewee.Database, call_id: str, now_us: int) -> bool:
    """For the transaction in which a recording turned ready: queues the call again if its analysis ended with nothing
    to send, since the file came late. Whatever else was found is not paid for again. Returns whether it did.
    """
    key = rows.packed(db, call_id)
    row = sql.run(db, "SELECT due, status FROM analysis WHERE call_id = ?", (key,)).fetchone()
    if row is None or row[0] or row[1] not in LATE:
        return False
    return _again(db, call_id, now_us)


def _again(db: peewee.Database, call_id: str, now_us: int) -> bool:
    key = rows.packed(db, call_id)
    owner = sql.run(db, "SELECT tenant_id, node FROM call WHERE id = ?", (key,)).fetchone()
    if owner is None:
        return False
    pending = Status.PENDING.value
    # As rows.analysis_row makes one, but for run: that one begins at 0 here, and is counted up below.
    made = (key, text_of(owner[0]) if sql.is_postgres(db) else owner[0], owner[1])
    rows.ANALYSES.run(db, [(*made, pending, False, 0, 0, 0, now_us, 0, 0, now_us)])
    queued = sql.run(
        db,
        "UPDATE analysis SET run = run + CASE WHEN due THEN 0 ELSE 1 END, due = ?, status = ?, attempts = 0,"
        " unusable = 0, next_us = ?, holder = NULL, lease_us = 0, error = NULL, input_tokens = NULL,"
        " output_tokens = NULL WHERE call_id = ? AND NOT (due AND lease_us > ?)",
        (True, pending, now_us, key, now_us),
    ).rowcount
    if queued:
        tell.change(db, call_id, {"analysis_status": pending})
    return bool(queued)
