"""The outbox: events of calls, each committed with the change that it tells of, in the order of ``position``.

An event's number within its call is taken here, under the lock of the call's row: the milestones of the book and what
is told from outside (``tell``) share one sequence without a gap. The deliveries to endpoints are made in the same
transaction, so that nobody who is registered can miss one.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import peewee

from callengine.calls.call import EVENT_BITS
from callengine.calls.record import StoredEvent
from callengine.store import rows, sql
from callengine.store.database import Store

log = logging.getLogger(__name__)

_OWN: Final = ("id", "call_id", "tenant_id", "seq", "event", "payload", "created_us")
_SIDE: Final = rows.SIDE_FIELDS
_NAMES: Final = ", ".join((*_OWN, *_SIDE))
_FROM_CALL: Final = ", ".join(f"call.{name}" for name in _SIDE)
_CHUNK: Final = 200
# "callengo": held from the first outbox row of a transaction to its end, so that positions grow in the order in which
# they become visible, also where several engines write. SQLite has one writer anyway.
_LOCK: Final = "SELECT pg_advisory_xact_lock(7161686773126329199)"

_SQLITE: Final = (
    f"INSERT INTO outbox ({_NAMES}) SELECT ?, call.id, ?, ? + call.side_seq, ?, ?, ?, {_FROM_CALL}"
    " FROM call WHERE call.id = ? ON CONFLICT (id) DO NOTHING"
)
_POSTGRES: Final = (
    f"INSERT INTO outbox ({_NAMES}) SELECT r.id, r.call_id, r.tenant_id, r.seq + call.side_seq, r.event, r.payload,"
    f" r.created_us, {_FROM_CALL} FROM json_populate_recordset(NULL::outbox, %s::json) AS r"
    " JOIN call ON call.id = r.call_id ORDER BY r.seq ON CONFLICT (id) DO NOTHING"
)

_BIT: Final = "CASE o.event " + " ".join(f"WHEN '{name.value}' THEN {bit}" for name, bit in EVENT_BITS.items()) + " END"
_DELIVERIES: Final = (
    "INSERT INTO delivery (endpoint_id, event_position, event_id, call_id, tenant_id, event, seq, status, attempts,"
    " next_us, created_us) SELECT e.id, o.position, o.id, o.call_id, o.tenant_id, o.event, o.seq, 'pending', 0,"
    " o.created_us, o.created_us FROM outbox AS o JOIN endpoint AS e ON e.tenant_id = o.tenant_id"
    f" WHERE e.enabled AND (e.events & {_BIT}) <> 0 AND {{which}}"
    # Where there is none, nothing else is looked at; a look before it would be waited for in the midst of a pipeline.
    " AND EXISTS (SELECT 1 FROM endpoint AS any_e WHERE any_e.enabled) ON CONFLICT DO NOTHING"
)
_OF_ONE: Final = _DELIVERIES.format(which="o.id = ?")
_OF_NEW: Final = _DELIVERIES.format(which="o.position > ?")
_OF_MANY: Final = _DELIVERIES.format(which="o.id = ANY(%s::uuid[])")
_LAST: Final = "SELECT coalesce(max(position), 0) FROM outbox"

COLUMNS: Final = "position, id, call_id, tenant_id, seq, event, payload, created_us, detail, " + ", ".join(_SIDE)
"""What ``rows.event_from`` reads."""


def lock(db: peewee.Database) -> None:
    """To be taken before a transaction touches any row; see ``_LOCK``. The writer does so."""
    if sql.is_postgres(db):
        sql.query(db, _LOCK)


def add_milestones(db: peewee.Database, batch: Sequence[rows.Row]) -> None:
    """Adds rows of ``rows.outbox_row``, whose calls are written already, and their deliveries; repeated, nothing.

    Under ``lock``.
    """
    if not batch:
        return
    cursor = cast(Any, db).cursor()
    if sql.is_postgres(db):
        for start in range(0, len(batch), _CHUNK):
            chunk = [dict(zip(_OWN, row, strict=True)) for row in batch[start : start + _CHUNK]]
            cursor.execute(_POSTGRES, (rows.encode_json(chunk).decode(),))
        deliver(db, [row[0] for row in batch])
        return
    last = sql.query(db, _LAST).fetchone()[0]
    cursor.executemany(
        _SQLITE,
        [(event, tenant, seq, name, body, at, call) for event, call, tenant, seq, name, body, at in batch],
    )
    # What was there has its deliveries; what is new is behind it, since there is one writer, and no position comes
    # twice (AUTOINCREMENT). One statement: one for each event takes twice the time.
    sql.query(db, _OF_NEW, (last,))


def deliver(db: peewee.Database, event_ids: Sequence[Any]) -> None:
    """Makes the deliveries of events that are in the outbox. ``event_ids`` are as the driver wants them."""
    if sql.is_postgres(db):
        sql.query(db, _OF_MANY, (list(event_ids),))
    else:
        cast(Any, db).cursor().executemany(_OF_ONE, [(event_id,) for event_id in event_ids])


class Page(list[StoredEvent]):
    """Events in their order, without those that cannot be read: these must stop nothing behind them.

    ``upto`` is the position of the last that was looked at; ``more``: as many were looked at as were asked for.
    """

    def __init__(self, events: Iterable[StoredEvent], upto: int, more: bool) -> None:
        super().__init__(events)
        self.upto = upto
        self.more = more


def event_from(row: Sequence[Any]) -> StoredEvent | None:
    """The event of a row of ``COLUMNS``; None, and a word in the log, where it cannot be read."""
    try:
        return rows.event_from(row)
    except Exception as error:  # noqa: BLE001  whatever is wrong with it, it is wrong with this row alone
        log.error("event %s of the outbox cannot be read: %s", row[0], type(error).__name__)
        return None


class OutboxReads:
    """What is read of the outbox. Each method runs off the hub; StoreUnavailable."""

    def __init__(self, store: Store, timeout_s: float = 10.0) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._pack = rows.id_for(store.kind)
        self._after = store.sql(f"SELECT {COLUMNS} FROM outbox WHERE position > ? ORDER BY position LIMIT ?")
        self._of_tenant = store.sql(
            f"SELECT {COLUMNS} FROM outbox WHERE position > ? AND position <= ? AND tenant_id = ?"
            " ORDER BY position LIMIT ?"
        )
        self._position = store.sql("SELECT position FROM outbox WHERE tenant_id = ? AND id = ? AND created_us >= ?")

    def after(self, position: int, limit: int) -> Page:
        """The next events, of all tenants."""
        found = self._store.run(lambda db: sql.query(db, self._after, (position, limit)).fetchall(), self._timeout_s)
        return _page(found, position, limit)

    def of_tenant(self, tenant_id: str, after: int, upto: int, limit: int) -> Page:
        """The next events of a tenant with ``after < position <= upto``."""
        values = (after, upto, self._pack(tenant_id), limit)
        found = self._store.run(lambda db: sql.query(db, self._of_tenant, values).fetchall(), self._timeout_s)
        return _page(found, after, limit)

    def last_position(self) -> int:
        """That of the newest event; 0 where there is none."""
        return int(self._store.run(lambda db: sql.query(db, _LAST).fetchone()[0], self._timeout_s))

    def position_of(self, tenant_id: str, event_id: str, since_us: int = 0) -> int | None:
        """Where a tenant's event stands; None where it is not, or no longer, there, or was told before ``since_us``."""
        key = (self._pack(tenant_id), self._pack(event_id), since_us)
        row = self._store.run(lambda db: sql.query(db, self._position, key).fetchone(), self._timeout_s)
        return None if row is None else int(row[0])


def _page(found: Sequence[Sequence[Any]], after: int, limit: int) -> Page:
    events = (event for row in found if (event := event_from(row)) is not None)
    return Page(events, found[-1][0] if found else after, len(found) == limit)
