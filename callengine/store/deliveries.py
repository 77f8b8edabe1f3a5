"""What the deliverer reads and writes. Every query is a walk along an index, as long as what it returns.

A delivery is a *head* where no earlier one of its call to the same endpoint is pending; only heads are sent. Those
behind a head that failed wait with it (their ``next_us`` is its), so that the index of what is due holds what can go.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
import peewee

from callengine.calls.record import StoredEvent
from callengine.store import outbox, rows, sql
from callengine.store.database import Store
from callengine.store.schema import text_of

CHUNK: Final = 1000
_COUNTED: Final = 100_000
_NO_EARLIER: Final = (
    "NOT EXISTS (SELECT 1 FROM delivery AS p /*delivery_pending*/ WHERE p.endpoint_id = d.endpoint_id"
    " AND p.call_id = d.call_id AND p.status = 'pending' AND p.event_position < d.event_position)"
)
_DUE: Final = (
    "SELECT e.id FROM endpoint AS e WHERE e.enabled AND e.retry_us <= ? AND EXISTS"
    " (SELECT 1 FROM delivery AS d /*delivery_due*/ WHERE d.endpoint_id = e.id AND d.status = 'pending'"
    " AND d.next_us <= ?)"
)
_EVENT: Final = ", ".join(f"o.{name.strip()}" for name in outbox.COLUMNS.split(","))
_HEADS: Final = (
    f"SELECT d.event_position, d.event_id, d.call_id, d.attempts, d.created_us, {_EVENT} FROM (SELECT * FROM delivery"
    f" AS d /*delivery_due*/ WHERE d.endpoint_id = ? AND d.status = 'pending' AND d.next_us <= ? AND {_NO_EARLIER}"
    " ORDER BY d.next_us, d.event_position LIMIT ?) AS d LEFT JOIN outbox AS o ON o.position = d.event_position"
    " ORDER BY d.next_us, d.event_position"
)
_ANY_DUE: Final = (
    "SELECT 1 FROM delivery /*delivery_due*/ WHERE endpoint_id = ? AND status = 'pending' AND next_us <= ? LIMIT 1"
)
_TARGET: Final = (
    "SELECT url, secret, CASE WHEN old_secret_until_us > ? THEN old_secret END, failures, failing_since_us, retry_us,"
    " tenant_id FROM endpoint WHERE id = ? AND enabled"
)
_DONE: Final = (
    "UPDATE delivery SET status = ?, attempts = ?, next_us = ?, last_status = ?, last_error = ?, ended_us = ?"
    " WHERE endpoint_id = ? AND event_position = ? AND status = 'pending'"
)
_BEHIND: Final = (
    "UPDATE delivery /*delivery_pending*/ SET next_us = ? WHERE endpoint_id = ? AND call_id = ? AND event_position > ?"
    " AND status = 'pending'"
)
_ATTEMPT: Final = (
    "INSERT INTO attempt (endpoint_id, event_position, n, at_us, duration_ms, status, error, response)"
    " SELECT d.endpoint_id, d.event_position, (SELECT coalesce(max(a.n), 0) + 1 FROM attempt AS a"
    " WHERE a.endpoint_id = d.endpoint_id AND a.event_position = d.event_position), ?, ?, ?, ?, ?"
    " FROM delivery AS d WHERE d.endpoint_id = ? AND d.event_position = ?"
)
# Only where it still is what was called: whoever changed it meanwhile meant it to be tried anew.
_HEALTH: Final = (
    "UPDATE endpoint SET failures = ?, failing_since_us = ?, retry_us = ?, enabled = ?, disabled_reason = ?"
    " WHERE id = ? AND url = ? AND enabled"
)
_UNWELL: Final = (
    "SELECT count(CASE WHEN enabled AND retry_us > 0 THEN 1 END), count(CASE WHEN disabled_reason IS NOT NULL THEN 1"
    " END) FROM endpoint"
)
_FORWARD: Final = (
    "UPDATE delivery /*delivery_due*/ SET next_us = ? WHERE endpoint_id = ? AND status = 'pending' AND next_us > ?"
)
_SETTLE: Final = (
    "UPDATE delivery /*delivery_due*/ SET next_us = (SELECT h.next_us FROM delivery AS h /*delivery_pending*/"
    " WHERE h.endpoint_id = delivery.endpoint_id AND h.call_id = delivery.call_id AND h.status = 'pending'"
    " ORDER BY h.event_position LIMIT 1)"
    " WHERE endpoint_id = ? AND status = 'pending' AND next_us <= ?"
)
_EXPIRED: Final = (
    "SELECT d.event_position, d.created_us FROM (SELECT endpoint_id, event_position FROM delivery"
    " /*delivery_waiting*/ WHERE endpoint_id = ? AND status = 'pending' ORDER BY event_position LIMIT ?) AS w"
    " JOIN delivery AS d ON d.endpoint_id = w.endpoint_id AND d.event_position = w.event_position"
)
_EXPIRE: Final = (
    "UPDATE delivery SET status = 'dead', ended_us = ?, last_error = ? WHERE endpoint_id = ? AND event_position = ?"
    " AND status = 'pending'"
)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The next delivery of a call. ``event`` None: what was to be told is no longer kept, or cannot be read."""

    position: int
    event_id: str
    call_id: str
    attempts: int
    created_us: int
    event: StoredEvent | None


class Callee(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it is called. Its secrets, the newer first, are shown by nothing."""

    id: str
    tenant_id: str
    url: str
    secrets: tuple[str, ...]
    failures: int
    failing_since_us: int | None
    retry_us: int

    def __repr__(self) -> str:
        return f"Callee({self.id})"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt, as it is written down. ``status``: ``pending`` (again), ``delivered`` or ``dead``.

    ``tried`` False: nothing was sent, and the log of attempts has nothing of it.
    """

    position: int
    call_id: str
    status: str
    attempts: int
    next_us: int
    at_us: int
    duration_ms: int
    http_status: int | None
    error: str | None
    response: str | None
    ended_us: int | None
    tried: bool = True


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written of an endpoint. ``forward_us``: it answers again, and all that waits is due now."""

    url: str
    failures: int
    failing_since_us: int | None
    retry_us: int
    disabled_reason: str | None
    forward_us: int | None


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is, counted up to 100,000 of each kind.

    ``oldest_us``: when the first was made that waits for an enabled endpoint. ``paused`` and ``disabled`` count the
    endpoints that fail as a whole, and those that we disabled ourselves.
    """

    pending: int = 0
    dead: int = 0
    oldest_us: int | None = None
    paused: int = 0
    disabled: int = 0


class Deliveries:
    """The reads. Each runs off the hub; StoreUnavailable."""

    def __init__(self, store: Store, timeout_s: float = 10.0) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._pack = rows.id_for(store.kind)

    def due(self, now_us: int) -> list[str]:
        """The ids of endpoints that have something to be sent by now."""
        found = self._store.run(lambda db: sql.run(db, _DUE, (now_us, now_us)).fetchall(), self._timeout_s)
        return [text_of(row[0]) for row in found]

    def work(self, endpoint_id: str, now_us: int, limit: int) -> tuple[Callee | None, list[Head], bool]:
        """The endpoint as it is now (None: disabled or deleted), and its heads that are due, what waited longest first.

        The last says whether there are no heads, though something is due: what is behind heads that wait.
        """

        def read(db: peewee.Database) -> tuple[Any, list[Any], bool]:
            packed = self._pack(endpoint_id)
            callee = sql.run(db, _TARGET, (now_us, packed)).fetchone()
            if callee is None or callee[5] > now_us:
                return callee, [], False
            # Paused: one probe alone.
            heads = sql.run(db, _HEADS, (packed, now_us, 1 if callee[5] else limit)).fetchall()
            return callee, heads, not heads and sql.run(db, _ANY_DUE, (packed, now_us)).fetchone() is not None

        callee, heads, blocked = self._store.run(read, self._timeout_s)
        if callee is None:
            return None, [], False
        url, secret, old, failures, since_us, retry_us, tenant_id = callee
        secrets = (secret,) if old is None else (secret, old)
        return (
            Callee(
                id=endpoint_id,
                tenant_id=text_of(tenant_id),
                url=url,
                secrets=secrets,
                failures=failures,
                failing_since_us=since_us,
                retry_us=retry_us,
            ),
            [_head(row) for row in heads],
            blocked,
        )

    def census(self) -> Census:
        """How much waits, how much is dead, and how many endpoints are not well."""

        def read(db: peewee.Database) -> Census:
            def count(status: str, index: str) -> int:
                some = f"SELECT event_position FROM delivery /*{index}*/ WHERE status = '{status}' LIMIT {_COUNTED}"
                return int(sql.run(db, f"SELECT count(*) FROM ({some}) AS counted").fetchone()[0])

            first = (
                "SELECT min(d.event_position) FROM delivery AS d /*delivery_waiting*/"
                " WHERE d.endpoint_id = e.id AND d.status = 'pending'"
            )
            made = f"SELECT o.created_us FROM delivery AS o WHERE o.endpoint_id = e.id AND o.event_position = ({first})"
            text = f"SELECT min(f.us) FROM (SELECT ({made}) AS us FROM endpoint AS e WHERE e.enabled) AS f"
            oldest_us = sql.run(db, text).fetchone()[0]
            paused, disabled = sql.run(db, _UNWELL).fetchone()
            return Census(
                pending=count("pending", "delivery_waiting"),
                dead=count("dead", "delivery_dead"),
                oldest_us=oldest_us,
                paused=paused,
                disabled=disabled,
            )

        return self._store.run(read, self._timeout_s)


def _head(row: Sequence[Any]) -> Head:
    position, event_id, call_id, attempts, created_us, *event = row
    found = None if event[0] is None else outbox.event_from(event)
    return Head(
        position=position,
        event_id=text_of(event_id),
        call_id=text_of(call_id),
        attempts=attempts,
        created_us=created_us,
        event=found,
    )


# -- writes, for the function of an ``Executes.execute`` ---------------------------------------------------------------


def write(db: peewee.Database, endpoint_id: str, done: Sequence[Done], state: State | None) -> None:
    """Writes down what came of attempts. What was delivered meanwhile by another stays delivered."""
    packed = rows.packed(db, endpoint_id)
    _many(
        db,
        _DONE,
        [(d.status, d.attempts, d.next_us, d.http_status, d.error, d.ended_us, packed, d.position) for d in done],
    )
    _many(
        db,
        _ATTEMPT,
        [(d.at_us, d.duration_ms, d.http_status, d.error, d.response, packed, d.position) for d in done if d.tried],
    )
    behind = [(d.next_us, packed, rows.packed(db, d.call_id), d.position) for d in done if d.status != "delivered"]
    _many(db, _BEHIND, behind)
    if state is not None:
        if state.forward_us is not None:
            sql.run(db, _FORWARD, (state.forward_us, packed, state.forward_us))
        values = (state.failures, state.failing_since_us, state.retry_us, state.disabled_reason is None)
        sql.run(db, _HEALTH, (*values, state.disabled_reason, packed, state.url))


def settle(db: peewee.Database, endpoint_id: str, now_us: int) -> None:
    """Nothing of what is due can go: let it wait for the head of its call."""
    sql.run(db, _SETTLE, (rows.packed(db, endpoint_id), now_us))


def expire(db: peewee.Database, endpoint_id: str, before_us: int, now_us: int, reason: str) -> int:
    """Gives up some of what has waited since before ``before_us``. Returns how many; as many as 1000."""
    packed = rows.packed(db, endpoint_id)
    found = sql.run(db, _EXPIRED, (packed, CHUNK)).fetchall()
    expired = [(now_us, reason, packed, position) for position, created_us in found if created_us < before_us]
    _many(db, _EXPIRE, expired)
    return len(expired)


def _many(db: peewee.Database, text: str, batch: Sequence[Sequence[Any]]) -> None:
    if batch:
        styled = text.replace("?", "%s") if sql.is_postgres(db) else sql.indexed(text)
        cast(Any, db).cursor().executemany(styled, batch)
