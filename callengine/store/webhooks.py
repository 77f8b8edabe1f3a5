"""Endpoints, and the log of what they were told: what the API and the command ask for, always of one tenant.

Secrets leave this file in two ways only: to whoever signs, and once to whoever made them.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import heapq
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import peewee

from callengine.calls.call import EVENT_BITS, EventName
from callengine.errors import NoSuchDelivery, NoSuchEndpoint, TooManyEndpoints
from callengine.store import rows, sql
from callengine.store.database import Store
from callengine.store.entities import Executes
from callengine.store.reads import is_uuid
from callengine.store.schema import MAX_INT, text_of

_TIMEOUT_S: Final = 5.0
_READ_S: Final = 10.0
_CHUNK: Final = 1000
MAX_ATTEMPTS_SHOWN: Final = 200
_ENDPOINT: Final = (
    "id, url, description, events, enabled, disabled_reason, failures, failing_since_us, retry_us,"
    " old_secret_until_us, created_us"
)
_DELIVERY: Final = (
    "d.endpoint_id, d.event_id, d.call_id, d.event, d.seq, d.status, d.attempts, d.next_us, d.last_status,"
    " d.last_error, d.created_us, d.ended_us"
)
# Waiting for an endpoint that failed as a whole is no failure of the delivery's own.
_AGAIN: Final = (
    "UPDATE delivery SET status = 'pending', attempts = 0, next_us = ?, ended_us = NULL"
    " WHERE endpoint_id = ? AND event_position = ?"
)
# Pages up to here are merged from the endpoints' own orders; further behind, sorting all of it costs no more.
_MERGED: Final = 2000
_INDEXES: Final = {"pending": "/*delivery_waiting*/", "dead": "/*delivery_dead*/"}
_FRESH: Final = "failures = 0, failing_since_us = NULL, retry_us = 0"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant wants to be told; without its secrets. ``old_secret_until_us``: two sign until then."""

    id: str
    url: str
    description: str | None
    events: tuple[str, ...]
    enabled: bool
    disabled_reason: str | None
    failures: int
    failing_since_us: int | None
    retry_us: int
    old_secret_until_us: int | None
    created_us: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint. ``next_us``: where it is pending, it is not tried before."""

    endpoint_id: str
    event_id: str
    call_id: str
    event: str
    seq: int
    status: str
    attempts: int
    next_us: int
    last_status: int | None
    last_error: str | None
    created_us: int
    ended_us: int | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: what was answered, or what went wrong."""

    n: int
    at_us: int
    duration_ms: int
    status: int | None
    error: str | None
    response: str | None


def mask_of(events: Collection[str]) -> int:
    """A set of events as endpoints are stored with."""
    return sum(EVENT_BITS[EventName(name)] for name in set(events))


def events_of(mask: int) -> tuple[str, ...]:
    """The names in a mask, in the order of ``EventName``."""
    return tuple(name.value for name, bit in EVENT_BITS.items() if mask & bit)


class EndpointStore:
    """All methods raise StoreUnavailable; those that name an endpoint raise NoSuchEndpoint."""

    def __init__(self, store: Store, executor: Executes) -> None:
        self._store = store
        self._executor = executor
        self._pack = rows.id_for(store.kind)

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def add(self, tenant_id: str, endpoint: Endpoint, secret: str, most: int) -> Endpoint:
        """Raises TooManyEndpoints."""

        def insert(db: peewee.Database) -> Endpoint:
            packed = self._pack(tenant_id)
            # The tenant's row is held, so that two at once are counted one after the other.
            hold = "UPDATE tenant SET name = name WHERE id = ?"
            sql.run(db, hold, (packed,))
            if sql.run(db, "SELECT count(*) FROM endpoint WHERE tenant_id = ?", (packed,)).fetchone()[0] >= most:
                raise TooManyEndpoints(most)
            sql.run(
                db,
                "INSERT INTO endpoint (id, tenant_id, url, description, events, enabled, secret, failures, retry_us,"
                " created_us) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?)",
                (
                    self._pack(endpoint.id),
                    packed,
                    endpoint.url,
                    endpoint.description,
                    mask_of(endpoint.events),
                    endpoint.enabled,
                    secret,
                    endpoint.created_us,
                ),
            )
            return endpoint

        return self._executor.execute(insert, _TIMEOUT_S)

    def get(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """One of the tenant's."""
        return self._store.run(lambda db: self._one(db, tenant_id, endpoint_id), _READ_S)

    def page(self, tenant_id: str, page: int, page_size: int) -> tuple[list[Endpoint], int]:
        """The tenant's, the oldest first, and how many there are."""

        def read(db: peewee.Database) -> tuple[list[Endpoint], int]:
            packed = self._pack(tenant_id)
            total = sql.run(db, "SELECT count(*) FROM endpoint WHERE tenant_id = ?", (packed,)).fetchone()[0]
            text = f"SELECT {_ENDPOINT} FROM endpoint WHERE tenant_id = ? ORDER BY created_us, id LIMIT ? OFFSET ?"
            found = sql.run(db, text, (packed, page_size, _offset(page, page_size))).fetchall()
            return [_endpoint(row) for row in found], total

        return self._store.run(read, _READ_S)

    def change(self, tenant_id: str, endpoint_id: str, changes: Mapping[str, Any]) -> Endpoint:
        """Sets ``url``, ``events``, ``description``, ``enabled``. With a new URL, or enabled again, it is tried."""

        def edit(db: peewee.Database) -> Endpoint:
            before = self._one(db, tenant_id, endpoint_id)
            values = dict(changes)
            if "events" in values:
                values["events"] = mask_of(values["events"])
            parts = [f"{name} = ?" for name in values]
            if "enabled" in values:
                parts.append("disabled_reason = NULL")
            if ("url" in values and values["url"] != before.url) or (values.get("enabled") and not before.enabled):
                parts.append(_FRESH)
            if parts:
                text = f"UPDATE endpoint SET {', '.join(parts)} WHERE id = ?"
                sql.run(db, text, (*values.values(), self._pack(endpoint_id)))
            return self._one(db, tenant_id, endpoint_id)

        return self._executor.execute(edit, _TIMEOUT_S)

    def remove(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """The endpoint as it was. What of its log cannot go within seconds goes with the upkeep."""
        packed = self._pack(endpoint_id) if is_uuid(endpoint_id) else None

        def delete(db: peewee.Database) -> Endpoint:
            before = self._one(db, tenant_id, endpoint_id)
            sql.run(db, "DELETE FROM endpoint WHERE id = ?", (packed,))
            return before

        before = self._executor.execute(delete, _TIMEOUT_S)
        deadline = time.monotonic() + _TIMEOUT_S
        while self._executor.execute(lambda db: _forget(db, packed), _TIMEOUT_S) and time.monotonic() < deadline:
            pass
        return before

    def replace_secret(self, tenant_id: str, endpoint_id: str, secret: str, until_us: int | None) -> Endpoint:
        """The secret of before signs beside it until ``until_us``; None: from now on it does not."""

        def rotate(db: peewee.Database) -> Endpoint:
            self._one(db, tenant_id, endpoint_id)
            old = "NULL" if until_us is None else "secret"
            text = f"UPDATE endpoint SET old_secret = {old}, old_secret_until_us = ?, secret = ? WHERE id = ?"
            sql.run(db, text, (until_us, secret, self._pack(endpoint_id)))
            return self._one(db, tenant_id, endpoint_id)

        return self._executor.execute(rotate, _TIMEOUT_S)

    def secrets(self, tenant_id: str, endpoint_id: str, now_us: int) -> tuple[str, tuple[str, ...]]:
        """The URL and the secrets that sign now, the newer first."""

        def read(db: peewee.Database) -> tuple[str, tuple[str, ...]]:
            self._one(db, tenant_id, endpoint_id)
            text = (
                "SELECT url, secret, CASE WHEN old_secret_until_us > ? THEN old_secret END FROM endpoint WHERE id = ?"
            )
            url, secret, old = sql.run(db, text, (now_us, self._pack(endpoint_id))).fetchone()
            return url, (secret,) if old is None else (secret, old)

        return self._store.run(read, _READ_S)

    def _one(self, db: peewee.Database, tenant_id: str, endpoint_id: str) -> Endpoint:
        if not is_uuid(endpoint_id):
            raise NoSuchEndpoint
        text = f"SELECT {_ENDPOINT} FROM endpoint WHERE tenant_id = ? AND id = ?"
        row = sql.run(db, text, (self._pack(tenant_id), self._pack(endpoint_id))).fetchone()
        if row is None:
            raise NoSuchEndpoint
        return _endpoint(row)

    # -- the log -----------------------------------------------------------------------------------------------------

    def deliveries(
        self, tenant_id: str, filters: Mapping[str, str], page: int, page_size: int
    ) -> tuple[list[Delivery], int]:
        """The newest events first. ``filters``: ``endpoint_id``, ``status``, ``event``, ``call_id`` (equal to)."""

        def read(db: peewee.Database) -> tuple[list[Delivery], int]:
            where, values = self._where(db, tenant_id, filters)
            index = "/*delivery_of_call*/" if "call_id" in filters else _INDEXES.get(filters.get("status", ""), "")
            total = sql.run(db, f"SELECT count(*) FROM delivery AS d {index} WHERE {where}", values).fetchone()[0]
            offset = _offset(page, page_size)
            if offset >= total:
                return [], total
            if not filters.keys() & {"endpoint_id", "call_id"} and offset + page_size <= _MERGED:
                which, more = self._conditions(filters)
                found = _merged(db, self._pack(tenant_id), index, which, more, page_size, offset)
            else:
                text = (
                    f"SELECT {_DELIVERY} FROM delivery AS d {index} WHERE {where}"
                    " ORDER BY d.event_position DESC, d.endpoint_id LIMIT ? OFFSET ?"
                )
                found = sql.run(db, text, (*values, page_size, offset)).fetchall()
            return [_delivery(row) for row in found], total

        return self._store.run(read, _READ_S)

    def _where(self, db: peewee.Database, tenant_id: str, filters: Mapping[str, str]) -> tuple[str, list[Any]]:
        given = dict(filters)
        endpoint_id = given.pop("endpoint_id", None)
        if endpoint_id is not None:
            self._one(db, tenant_id, endpoint_id)
            parts, values = ["d.endpoint_id = ?"], [self._pack(endpoint_id)]
        else:
            parts = ["d.endpoint_id IN (SELECT e.id FROM endpoint AS e WHERE e.tenant_id = ?)"]
            values = [self._pack(tenant_id)]
        more, given_values = self._conditions(given)
        return " AND ".join([*parts, *more]), [*values, *given_values]

    def _conditions(self, given: Mapping[str, str]) -> tuple[list[str], list[Any]]:
        """Of all but ``endpoint_id``."""
        parts: list[str] = []
        values: list[Any] = []
        for name, value in given.items():
            if name == "call_id":
                parts.append("d.call_id = ?")
                values.append(self._pack(value))
            elif name == "status" and value in {"pending", "delivered", "dead"}:
                # Written out, so that the index of what is dead, or pending, can be seen to fit.
                parts.append(f"d.status = '{value}'")
            elif name == "event":
                parts.append("d.event = ?")
                values.append(value)
            else:
                raise ValueError(f"there is no filter {name!r}")
        return parts, values

    def delivery(self, tenant_id: str, endpoint_id: str, event_id: str) -> tuple[Delivery, list[Attempt]]:
        """One delivery with its attempts, the latest 200 of them in order. Raises NoSuchDelivery."""

        def read(db: peewee.Database) -> tuple[Delivery, list[Attempt]]:
            position = self._position(db, tenant_id, endpoint_id, event_id)
            key = (self._pack(endpoint_id), position)
            found = sql.run(
                db, f"SELECT {_DELIVERY} FROM delivery AS d WHERE d.endpoint_id = ? AND d.event_position = ?", key
            ).fetchone()
            text = (
                "SELECT n, at_us, duration_ms, status, error, response FROM attempt"
                " WHERE endpoint_id = ? AND event_position = ? ORDER BY n DESC LIMIT ?"
            )
            attempts = sql.run(db, text, (*key, MAX_ATTEMPTS_SHOWN)).fetchall()
            return _delivery(found), [_attempt(row) for row in reversed(attempts)]

        return self._store.run(read, _READ_S)

    def _position(self, db: peewee.Database, tenant_id: str, endpoint_id: str, event_id: str) -> int:
        self._one(db, tenant_id, endpoint_id)
        if not is_uuid(event_id):
            raise NoSuchDelivery
        text = (
            "SELECT d.event_position FROM outbox AS o JOIN delivery AS d ON d.event_position = o.position"
            " WHERE o.id = ? AND d.endpoint_id = ?"
        )
        row = sql.run(db, text, (self._pack(event_id), self._pack(endpoint_id))).fetchone()
        if row is None:
            raise NoSuchDelivery
        return int(row[0])

    def replay(self, tenant_id: str, endpoint_id: str, event_id: str, now_us: int) -> Delivery:
        """Sends it again, whatever became of it, with a fresh schedule. Raises NoSuchDelivery."""

        def again(db: peewee.Database) -> None:
            position = self._position(db, tenant_id, endpoint_id, event_id)
            packed = self._pack(endpoint_id)
            sql.run(db, _AGAIN, (now_us, packed, position))
            sql.run(db, f"UPDATE endpoint SET {_FRESH} WHERE id = ?", (packed,))

        self._executor.execute(again, _TIMEOUT_S)
        return self.delivery(tenant_id, endpoint_id, event_id)[0]

    def replay_dead(self, tenant_id: str, endpoint_id: str, since_us: int, now_us: int) -> int:
        """Sends dead letters of events since then again, up to 1000 in order. Returns how many."""

        def again(db: peewee.Database) -> int:
            self._one(db, tenant_id, endpoint_id)
            packed = self._pack(endpoint_id)
            text = (
                "SELECT event_position FROM delivery /*delivery_dead*/ WHERE endpoint_id = ? AND status = 'dead'"
                " AND created_us >= ?"
                " ORDER BY event_position LIMIT ?"
            )
            found: Sequence[Any] = sql.run(db, text, (packed, since_us, _CHUNK)).fetchall()
            for (position,) in found:
                sql.run(db, _AGAIN, (now_us, packed, position))
            if found:
                sql.run(db, f"UPDATE endpoint SET {_FRESH} WHERE id = ?", (packed,))
            return len(found)

        return self._executor.execute(again, _TIMEOUT_S)


def _merged(
    db: peewee.Database, tenant_id: Any, index: str, which: Sequence[str], values: Sequence[Any], size: int, offset: int
) -> Sequence[Any]:
    """A page of all of a tenant's endpoints: each one's rows come off the index in order, and only those needed."""
    of_one = (
        f"SELECT {{}} FROM delivery AS d {index} WHERE {' AND '.join(['d.endpoint_id = {}', *which])}"
        " ORDER BY d.event_position DESC LIMIT ?"
    )
    if sql.is_postgres(db):
        rows_of_one = of_one.format(f"{_DELIVERY}, d.event_position", "e.id")
        text = (
            f"SELECT d.* FROM endpoint AS e CROSS JOIN LATERAL ({rows_of_one})"
            " AS d WHERE e.tenant_id = ? ORDER BY d.event_position DESC, d.endpoint_id LIMIT ? OFFSET ?"
        )
        found = sql.run(db, text, (*values, offset + size, tenant_id, size, offset)).fetchall()
        return [row[:-1] for row in found]
    endpoints = sql.run(db, "SELECT id FROM endpoint WHERE tenant_id = ?", (tenant_id,)).fetchall()
    keys = of_one.format("-d.event_position, d.endpoint_id", "?")
    # SQLite finds the rows as they are asked for, so that each endpoint is read as far as the page goes.
    walks = [sql.run(db, keys, (endpoint_id, *values, offset + size)) for (endpoint_id,) in endpoints]
    page = list(islice(heapq.merge(*walks), offset, offset + size))
    one = f"SELECT {_DELIVERY} FROM delivery AS d WHERE d.endpoint_id = ? AND d.event_position = ?"
    return [sql.run(db, one, (endpoint_id, -position)).fetchone() for position, endpoint_id in page]


def _forget(db: peewee.Database, packed: Any) -> bool:
    """Deletes some of the log of an endpoint that is gone; whether there may be more."""
    text = "SELECT event_position FROM delivery WHERE endpoint_id = ? ORDER BY event_position LIMIT 1 OFFSET ?"
    last = sql.run(db, text, (packed, _CHUNK)).fetchone()
    upto = MAX_INT if last is None else last[0]
    for table in ("attempt", "delivery"):
        sql.run(db, f"DELETE FROM {table} WHERE endpoint_id = ? AND event_position <= ?", (packed, upto))
    return last is not None


def _offset(page: int, page_size: int) -> int:
    return min((page - 1) * page_size, MAX_INT)


def _endpoint(row: Sequence[Any]) -> Endpoint:
    return Endpoint(
        id=text_of(row[0]),
        url=row[1],
        description=row[2],
        events=events_of(row[3]),
        enabled=bool(row[4]),
        disabled_reason=row[5],
        failures=row[6],
        failing_since_us=row[7],
        retry_us=row[8],
        old_secret_until_us=row[9],
        created_us=row[10],
    )


def _delivery(row: Sequence[Any]) -> Delivery:
    names = Delivery.__struct_fields__
    ids = (text_of(value) for value in row[:3])
    return Delivery(**dict(zip(names, (*ids, *row[3:]), strict=True)))


def _attempt(row: Sequence[Any]) -> Attempt:
    return Attempt(**dict(zip(Attempt.__struct_fields__, row, strict=True)))
