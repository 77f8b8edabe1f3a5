"""One engine holds a switch, or a role: a row by its name, which its holder renews and another takes over once it is
left alone.

Clocks are set, by hand and by NTP; so nobody compares one with another's. Who waits for a lease watches its row, and
takes it once it has stood still for as long as a lease lasts, by the own monotonic clock. Who holds it checks that in
each transaction that writes of the switch (``Fence``): an engine that was stopped, or cut off, and taken over meanwhile
writes nothing more, however late it wakes up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import peewee

from callengine.errors import LeaseHeld
from callengine.store import sql
from callengine.store.entities import Executes
from callengine.store.writer import Writer

TTL_S: Final = 15.0
_TIMEOUT_S: Final = 5.0
# Of its duration: between two looks that lie further apart, the holder may have been kept from renewing it as we were.
_WATCHED: Final = 2 / 3

T = TypeVar("T")


class _Seen(NamedTuple):
    """The row of a lease."""

    holder: str
    epoch: int
    expires_us: int


class _Watch(NamedTuple):
    """What was seen of a lease, since when it stands so, and when it was looked at last."""

    seen: _Seen
    since_s: float
    looked_s: float


class Fence:
    """A lease as its holder has it. ``check`` belongs into each transaction that writes what only the holder may.

    Its methods run in the thread of the connection at hand. ``clock`` is monotonic, ``wall_s`` the wall clock, both in
    seconds.
    """

    def __init__(
        self,
        node: str,
        holder: str,
        epoch: int,
        ttl_s: float = TTL_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.node = node
        self.holder = holder
        self.epoch = epoch
        self._ttl_s = ttl_s
        self._clock, self._wall_s = clock, wall_s
        self._renewed_s = self._asked_s = clock()
        self._renews = True

    def check(self, db: peewee.Database) -> None:
        """Raises LeaseHeld where another holds it. Until the transaction ends nobody can take it.

        It is renewed where that is due: after an outage, say, before anything else is written.
        """
        if self._renews and self._clock() - self._renewed_s >= self._ttl_s / 3:
            self.renew(db)
            return
        # SQLite lets nobody else write meanwhile; Postgres has others wait for the end of this transaction.
        share = " FOR SHARE" if sql.is_postgres(db) else ""
        row = sql.run(db, f"SELECT holder, epoch FROM lease WHERE node = ?{share}", (self.node,)).fetchone()  # noqa: S608
        if row is None:
            self.renew(db)
        elif tuple(row) != (self.holder, self.epoch):
            raise LeaseHeld(self.node, row[0])

    def renew(self, db: peewee.Database) -> None:
        """Keeps it for another while, also one that has expired and that nobody took. Raises LeaseHeld."""
        self._asked_s = self._clock()
        expires_us = _expiry_us(self._wall_s(), self._ttl_s)
        ours = (self.node, self.holder, self.epoch)
        text = "UPDATE lease SET expires_us = ? WHERE node = ? AND holder = ? AND epoch = ?"
        if sql.run(db, text, (expires_us, *ours)).rowcount:
            return
        # No row at all: the database is not the one that it was, restored perhaps; then it is nobody's.
        text = "INSERT INTO lease (node, holder, epoch, expires_us) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        if not sql.run(db, text, (*ours, expires_us)).rowcount:
            found = sql.run(db, "SELECT holder FROM lease WHERE node = ?", (self.node,)).fetchone()
            raise LeaseHeld(self.node, found[0] if found else "")

    @property
    def lapsed(self) -> bool:
        """It was not renewed for as long as it lasts: another may have taken it, and whoever asks is not told yet."""
        return self._clock() - self._renewed_s >= self._ttl_s

    def let_go(self) -> None:
        """It is about to be given back: what is written behind that must not take it again."""
        self._renews = False

    def committed(self) -> None:
        """The transaction of the last ``check`` or ``renew`` was committed."""
        self._renewed_s = self._asked_s


class Lease:
    """Leases: of switches by their node, and of roles that only one engine has."""

    def __init__(
        self,
        executor: Executes,
        ttl_s: float = TTL_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._executor = executor
        self._ttl_s = ttl_s
        self._clock, self._wall_s = clock, wall_s
        self._watched: dict[str, _Watch] = {}
        self.renew_every_s = ttl_s / 3

    def hold(self, node: str, holder: str, dead: frozenset[str] = frozenset()) -> Fence:
        """Takes the lease, or keeps it. Its epoch grows whenever it changes hands.

        ``dead`` are holders that are known to be gone: what they held is taken at once, like what was given back.
        Raises LeaseHeld while another's has not been watched standing still for long enough (so that it has to be
        called again and again, by one greenlet), and StoreUnavailable.
        """
        began_s = self._clock()

        def take(db: peewee.Database) -> tuple[int | None, _Seen]:
            return self._take(db, node, holder, dead, began_s)

        epoch, seen = self._first(take)
        if epoch is not None:
            self._watched.pop(node, None)
            return Fence(node, holder, epoch, self._ttl_s, clock=self._clock, wall_s=self._wall_s)
        # It stands so since it was looked at, which may be some time after that was asked for.
        self._watched[node] = self._watch(node, seen, self._clock())
        raise LeaseHeld(node, seen.holder)

    def _take(
        self, db: peewee.Database, node: str, holder: str, dead: frozenset[str], now_s: float
    ) -> tuple[int | None, _Seen]:
        """The epoch in which it is ours, None where it is not, and the row as it was."""
        expires_us = _expiry_us(self._wall_s(), self._ttl_s)
        text = "INSERT INTO lease (node, holder, epoch, expires_us) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING"
        sql.run(db, text, (node, holder, expires_us))
        text = "SELECT holder, epoch, expires_us FROM lease WHERE node = ?"
        seen = _Seen(*sql.run(db, text, (node,)).fetchone())
        if seen.holder == holder:
            epoch = seen.epoch
        elif seen.holder in dead or not seen.expires_us or self._stood_still(node, seen, now_s):
            epoch = seen.epoch + 1
        else:
            return None, seen
        # As it was seen and no other: it may have been renewed, or taken by a third, in the meantime.
        text = (
            "UPDATE lease SET holder = ?, epoch = ?, expires_us = ?"
            " WHERE node = ? AND holder = ? AND epoch = ? AND expires_us = ?"
        )
        done = sql.run(db, text, (holder, epoch, expires_us, node, *seen)).rowcount
        return (epoch if done else None), seen

    def _watch(self, node: str, seen: _Seen, now_s: float) -> _Watch:
        known = self._watched.get(node)
        if known is None or known.seen != seen or now_s - known.looked_s > self._ttl_s * _WATCHED:
            return _Watch(seen, now_s, now_s)
        return known._replace(looked_s=now_s)

    def _stood_still(self, node: str, seen: _Seen, now_s: float) -> bool:
        return now_s - self._watch(node, seen, now_s).since_s >= self._ttl_s

    def renew(self, fence: Fence) -> None:
        """Keeps it for another while. Raises LeaseHeld where it was lost to another, and StoreUnavailable."""
        self._first(fence.renew)
        fence.committed()

    def _first(self, fn: Callable[[peewee.Database], T]) -> T:
        """Whatever else waits to be written: a lease that is renewed behind a long backlog is lost."""
        if isinstance(self._executor, Writer):
            return self._executor.execute(fn, _TIMEOUT_S, ahead=True)
        return self._executor.execute(fn, _TIMEOUT_S)

    def release(self, node: str, holder: str) -> None:
        """Gives it back, if it is still ours. Raises StoreUnavailable."""
        text = "UPDATE lease SET expires_us = 0 WHERE node = ? AND holder = ?"
        self._executor.execute(lambda db: sql.run(db, text, (node, holder)), _TIMEOUT_S)


def _expiry_us(now_s: float, ttl_s: float) -> int:
    """At least 1: 0 stands for a lease that was given back."""
    return max(int((now_s + ttl_s) * 1_000_000), 1)
