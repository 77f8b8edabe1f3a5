"""What is read of the store: calls, their timelines, campaigns, leads; always with the tenant whose they have to be.

Calls are read with plain SQL into tuples, faster than models by far. Each method runs off the hub; StoreUnavailable.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec
import peewee

from callengine.calls.call import Call
from callengine.calls.facts import Source
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.store import counted, numbers, rows, schema, sql
from callengine.store.database import Store
from callengine.store.entities import Campaign, Lead, campaign_from

log = logging.getLogger(__name__)

T = TypeVar("T")

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EQUAL: Final = ("campaign_id", "lead_id", "agent_id", "status", "direction", "disposition")
_LIVE_STATUSES: Final = frozenset({"dialing", "ringing", "answered", "agent_connected"})
_MAX_TIMELINE: Final = 10_000
_CHUNK: Final = 500
_TIMEOUT_S: Final = 10.0
_RESTART_TIMEOUT_S: Final = 60.0


def is_uuid(text: str) -> bool:
    """Whether ``text`` can be an id of ours at all: a UUID with hyphens."""
    return _UUID.fullmatch(text) is not None


class Reads:
    """The reads. ``page`` counts from 1; totals are exact; a page past the end is empty, with the total."""

    def __init__(self, store: Store, timeout_s: float = _TIMEOUT_S) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._pack = rows.id_for(store.kind)
        self._data_as_of: int | None = None
        columns = rows.columns_for(store.kind)
        self._one = store.sql(f"SELECT {columns} FROM call WHERE tenant_id = ? AND id = ?")
        self._columns = rows.columns_for(store.kind, "call.")
        self._dialled = schema.DIALLED[store.kind]
        cast = "::text" if store.kind == "postgres" else ""
        self._timeline = store.sql(
            "SELECT e.name, e.at_us, e.leg, e.source, e.detail FROM call JOIN call_event AS e ON e.call_id = call.id"
            f" WHERE call.tenant_id = ? AND call.id = ? ORDER BY e.n LIMIT {_MAX_TIMELINE}"
        )
        # The empty text keeps SQLite off the index of (node, fs_uuid), which leads through all calls there ever were.
        self._live = store.sql(f"SELECT id{cast}, state FROM call WHERE live AND node || '' = ?")

    @property
    def data_as_of(self) -> int | None:
        """Up to when the store had everything (µs, the engines' clock) at the last ``check``; None before the first."""
        return self._data_as_of

    def check(self) -> None:
        """Raises StoreUnavailable where the database cannot be read; else brings ``data_as_of`` up to date."""
        # The slowest of the engines at work; one that gave its lease back is not waited for.
        text = (
            "SELECT coalesce(min(CASE WHEN lease.expires_us > 0 THEN data_as_of_us END), max(data_as_of_us))"
            " FROM engine LEFT JOIN lease ON lease.node = engine.node"
        )
        self._data_as_of = self._store.run(lambda db: sql.query(db, text).fetchone()[0], self._timeout_s)

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None:
        """The call of that id, if it is the tenant's."""
        return self.shown_call(tenant_id, call_id, rows.record_of_fields)

    def shown_call(self, tenant_id: str, call_id: str, shown: Callable[..., T]) -> T | None:
        """What ``shown`` makes of it; see ``calls``."""
        if not is_uuid(call_id):
            return None
        row = self._store.run(lambda db: self._row(db, tenant_id, call_id), self._timeout_s)
        return None if row is None else shown(*rows.fields_from(row))

    def record(self, db: peewee.Database, tenant_id: str, call_id: str) -> CallRecord | None:
        """The same as ``call`` on the connection at hand, for use within a transaction."""
        row = self._row(db, tenant_id, call_id)
        return None if row is None else rows.record_from(row)

    def _row(self, db: peewee.Database, tenant_id: str, call_id: str) -> Any:
        return sql.query(db, self._one, (self._pack(tenant_id), self._pack(call_id))).fetchone()

    def calls(
        self,
        tenant_id: str,
        filters: Mapping[str, str | int],
        page: int,
        page_size: int,
        shown: Callable[..., T] = cast(Any, rows.record_of_fields),  # noqa: B008
    ) -> tuple[list[T], int]:
        """A page of calls and the total, of one moment: by dial time descending (null first), then id descending.

        ``shown`` makes of each call what is returned, from the values of its ``CallRecord`` in their order: a record of
        each would cost as much again. It runs in the thread, so that two hundred do not hold the hub.

        ``filters``: ``campaign_id``, ``lead_id``, ``agent_id``, ``status``, ``direction``, ``disposition`` (equal to),
        ``dialed_after_us`` (from then on), ``dialed_before_us`` (before it), ``number`` (the caller's or the callee's,
        as ``calls.numbers.comparable`` has it).
        """
        if "number" in filters:
            return self._of_number(tenant_id, filters, (page_size, _offset(page, page_size)), shown)
        if counted.is_counted(filters):
            return self._store.run(
                lambda db: self._counted(db, tenant_id, filters, page, page_size, shown), self._timeout_s
            )
        where, values = self._where(tenant_id, filters)
        text = self._store.sql(
            f"WITH total AS (SELECT count(*) AS n FROM call WHERE {where}),"
            # First which, then what: the rows that a deep page passes over are not read.
            f" page AS (SELECT id FROM call WHERE {where} ORDER BY {self._dialled.order} LIMIT ? OFFSET ?)"
            f" SELECT total.n, {self._columns} FROM total LEFT JOIN (page JOIN call ON call.id = page.id) ON TRUE"
            f" ORDER BY {self._dialled.order}"
        )
        bounds = (page_size, _offset(page, page_size))

        def read(db: peewee.Database) -> tuple[list[T], int]:
            found = sql.query(db, text, (*values, *values, *bounds)).fetchall()
            return [shown(*rows.fields_from(row[1:])) for row in found if row[1] is not None], found[0][0]

        return self._store.run(read, self._timeout_s)

    def _of_number(
        self, tenant_id: str, filters: Mapping[str, str | int], bounds: tuple[int, int], shown: Callable[..., T]
    ) -> tuple[list[T], int]:
        """The same by way of the numbers. ``bounds``: limit and offset."""
        packed = self._pack(tenant_id)
        found, values = numbers.found(self._store.kind, packed, filters)
        if others := numbers.others(filters):
            where, more = self._where(tenant_id, others)
            found = (
                f"SELECT dialled_us, call_id FROM ({found}) AS n CROSS JOIN call WHERE call.id = n.call_id AND {where}"
            )
            values += more
        text = self._store.sql(
            f"WITH found AS ({found}), total AS (SELECT count(*) AS n FROM found),"
            " page AS (SELECT call_id FROM found ORDER BY dialled_us DESC, call_id DESC LIMIT ? OFFSET ?)"
            f" SELECT total.n, {self._columns} FROM total LEFT JOIN"
            " (page JOIN call ON call.id = page.call_id AND call.tenant_id = ?) ON TRUE"
            f" ORDER BY {self._dialled.order}"
        )

        def read(db: peewee.Database) -> tuple[list[T], int]:
            rows_ = sql.query(db, text, (*values, *bounds, packed)).fetchall()
            return [shown(*rows.fields_from(row[1:])) for row in rows_ if row[1] is not None], rows_[0][0]

        return self._store.run(read, self._timeout_s)

    def _counted(
        self,
        db: peewee.Database,
        tenant_id: str,
        filters: Mapping[str, str | int],
        page: int,
        page_size: int,
        shown: Callable[..., T],
    ) -> tuple[list[T], int]:
        """The same by way of the counters."""
        with db.transaction():
            place = counted.place(db, self._pack(tenant_id), filters, _offset(page, page_size))
            if place.skip >= place.total:
                return [], place.total
            where, values = self._where(tenant_id, filters)
            if "status" in filters:
                where += " AND NOT live"
            if place.before_us is not None:
                where += f" AND {self._dialled.before}"
                values.append(place.before_us)
            text = (
                f"WITH page AS (SELECT id FROM call /*{counted.index_for(filters)}*/ WHERE {where}"
                f" ORDER BY {self._dialled.order} LIMIT ? OFFSET ?)"
                f" SELECT {self._columns} FROM page JOIN call ON call.id = page.id ORDER BY {self._dialled.order}"
            )
            found = sql.run(db, text, (*values, page_size, place.skip)).fetchall()
        return [shown(*rows.fields_from(row)) for row in found], place.total

    def _where(self, tenant_id: str, filters: Mapping[str, str | int]) -> tuple[str, list[Any]]:
        parts, values = ["tenant_id = ?"], [self._pack(tenant_id)]
        for name, value in filters.items():
            if name in _EQUAL:
                parts.append(f"{name} = ?")
                values.append(value)
                if name == "status" and value in _LIVE_STATUSES:
                    parts.append("live")
            elif name == "dialed_after_us":
                parts.append(self._dialled.from_then)
                values.append(value)
            elif name == "dialed_before_us":
                parts.append(self._dialled.before)
                values.append(value)
            else:
                raise ValueError(f"there is no filter {name!r}")
        return " AND ".join(parts), values

    def timeline(self, tenant_id: str, call_id: str) -> list[Note]:
        """What happened to a call, in order. Empty where there is no such call of the tenant's."""
        if not is_uuid(call_id):
            return []
        key = (self._pack(tenant_id), self._pack(call_id))
        found = self._store.run(lambda db: sql.query(db, self._timeline, key).fetchall(), self._timeout_s)
        return in_order([rows.note_from(row) for row in found])

    # -- for a restart -----------------------------------------------------------------------------------------------

    def live_calls(self, node: str) -> list[Call]:
        """The calls of a switch that are not over, as they were last written."""

        def read(db: peewee.Database) -> tuple[list[Call], list[tuple[str, str]]]:
            calls, unreadable = [], []
            for call_id, state in sorted(sql.query(db, self._live, (node,)).fetchall()):
                try:
                    calls.append(rows.decode_state(state))
                except msgspec.MsgspecError as error:
                    unreadable.append((schema.text_of(call_id), str(error)))
            return calls, unreadable

        calls, unreadable = self._store.run(read, _RESTART_TIMEOUT_S)
        for call_id, error in unreadable:
            log.error("call %s cannot be restored: %s", call_id, error)
        return calls

    def calls_of_channels(self, node: str, fs_uuids: Collection[str]) -> list[Call]:
        """The calls whose own channels are among these, also those that are long over. One that cannot be read is not
        there, and logged.
        """

        def read(db: peewee.Database) -> tuple[list[Call], list[str]]:
            calls, errors = [], []
            uuids = list(fs_uuids)
            for at in range(0, len(uuids), _CHUNK):
                chunk = uuids[at : at + _CHUNK]
                marks = ", ".join("?" * len(chunk))
                text = f"SELECT state FROM call WHERE node = ? AND fs_uuid IN ({marks})"
                for (state,) in sql.run(db, text, (node, *chunk)).fetchall():
                    try:
                        calls.append(rows.decode_state(state))
                    except msgspec.MsgspecError as error:
                        errors.append(str(error))
            return calls, errors

        calls, errors = self._store.run(read, _RESTART_TIMEOUT_S)
        for error in errors:
            log.error("a call cannot be restored: %s", error)
        return calls

    def clock_notes(self, call_ids: Collection[str]) -> set[tuple[str, str, int]]:
        """What our own clock stamped in the timelines of these calls: (call id, name, µs)."""

        def read(db: peewee.Database) -> set[tuple[str, str, int]]:
            found = set()
            ids = list(call_ids)
            for at in range(0, len(ids), _CHUNK):
                chunk = [self._pack(call_id) for call_id in ids[at : at + _CHUNK]]
                marks = ", ".join("?" * len(chunk))
                text = f"SELECT call_id, name, at_us FROM call_event WHERE source = 'clock' AND call_id IN ({marks})"
                rows_ = sql.run(db, text, chunk).fetchall()
                found |= {(schema.text_of(call_id), name, at_us) for call_id, name, at_us in rows_}
            return found

        return self._store.run(read, _RESTART_TIMEOUT_S)

    # -- campaigns and leads -----------------------------------------------------------------------------------------

    def campaign(self, tenant_id: str, campaign_id: str) -> Campaign | None:
        """The campaign of that id, if it is the tenant's."""
        model = schema.Campaign
        query = _campaigns(tenant_id).where(model.id == campaign_id)
        return next(iter(self._all(query, campaign_from)), None)

    def campaigns(self, tenant_id: str, page: int, page_size: int) -> tuple[list[Campaign], int]:
        """The tenant's campaigns, the latest first."""
        model = schema.Campaign
        return self._page(_campaigns(tenant_id), (model.created_us.desc(), model.id), campaign_from, page, page_size)

    def lead(self, tenant_id: str, lead_id: str) -> Lead | None:
        """The lead of that id, if it is the tenant's."""
        return next(iter(self._all(_leads(tenant_id).where(schema.Lead.id == lead_id), Lead)), None)

    def leads(self, tenant_id: str, campaign_id: str | None, page: int, page_size: int) -> tuple[list[Lead], int]:
        """The tenant's leads, or those of one campaign, the latest first."""
        model = schema.Lead
        query = _leads(tenant_id)
        if campaign_id is not None:
            query = query.where(model.campaign_id == campaign_id)
        return self._page(query, (model.created_us.desc(), model.id), Lead, page, page_size)

    def _all(self, query: Any, kind: Callable[..., Any]) -> list[Any]:
        return self._store.run(lambda db: [kind(**row) for row in query.dicts().execute(db)], self._timeout_s)

    def _page(
        self, query: Any, order: Any, kind: Callable[..., Any], page: int, page_size: int
    ) -> tuple[list[Any], int]:
        wanted = query.order_by(*order).limit(page_size).offset(_offset(page, page_size))

        def read(db: peewee.Database) -> tuple[list[Any], int]:
            total = query.columns(peewee.fn.count(peewee.SQL("*"))).tuples().execute(db)[0][0]
            return [kind(**row) for row in wanted.dicts().execute(db)], total

        return self._store.run(read, self._timeout_s)


def _campaigns(tenant_id: str) -> Any:
    model = schema.Campaign
    columns = (model.id, model.name, model.created_us, model.goal, model.dispositions, model.record)
    return model.select(*columns).where(model.tenant_id == tenant_id)


def _leads(tenant_id: str) -> Any:
    model = schema.Lead
    columns = (model.id, model.campaign_id, model.name, model.phone_number, model.created_us)
    return model.select(*columns).where(model.tenant_id == tenant_id)


def _offset(page: int, page_size: int) -> int:
    return min((page - 1) * page_size, schema.MAX_INT)


def in_order(notes: list[Note]) -> list[Note]:
    """By the switch's stamps. What our own clock stamped keeps its place behind what was known before it, since the two
    clocks are never compared.
    """
    keyed: list[tuple[int, int, Note]] = []
    before = 0
    for n, note in enumerate(notes):
        if note.source is not Source.CLOCK:
            before = note.at_us
        keyed.append((before, n, note))
    return [note for _, _, note in sorted(keyed, key=lambda item: item[:2])]
