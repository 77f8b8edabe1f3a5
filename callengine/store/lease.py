"""One engine holds a switch: a row by node, which its holder renews and another takes over once it has expired."""

from __future__ import annotations

from typing import Final

import peewee

from callengine.errors import LeaseHeld
from callengine.store.entities import Executes
from callengine.store.schema import Lease as Row

TTL_S: Final = 15.0
_TIMEOUT_S: Final = 5.0


class Lease:
    """``now_s`` is the wall clock, seconds since the epoch; engines on several hosts need clocks that agree."""

    def __init__(self, executor: Executes, ttl_s: float = TTL_S) -> None:
        self._executor = executor
        self._ttl_s = ttl_s
        self.renew_every_s = ttl_s / 3

    def acquire(
        self, node: str, holder: str, now_s: float, core_uuid: str | None = None, dead: str | None = None
    ) -> int:
        """Takes the lease, or keeps it. Returns its epoch, which grows when it changes hands.

        ``dead`` is a holder that is known to be gone: what it held is taken at once.
        Raises LeaseHeld while another holder's has not expired, and StoreUnavailable.
        """
        now_us = int(now_s * 1_000_000)
        expires_us = now_us + int(self._ttl_s * 1_000_000)

        def take(db: peewee.Database) -> tuple[str, int]:
            Row.insert(node=node, holder=holder, core_uuid=core_uuid, epoch=1, expires_us=expires_us).on_conflict(
                conflict_target=[Row.node],
                update={
                    Row.epoch: peewee.Case(None, ((Row.holder == holder, Row.epoch),), Row.epoch + 1),
                    Row.core_uuid: peewee.fn.coalesce(peewee.EXCLUDED.core_uuid, Row.core_uuid),
                    Row.holder: peewee.EXCLUDED.holder,
                    Row.expires_us: peewee.EXCLUDED.expires_us,
                },
                # An expiry further away than a lease can last was written before a clock was set back.
                where=(Row.holder == holder)
                | (Row.holder == (dead or holder))
                | (Row.expires_us <= now_us)
                | (Row.expires_us > now_us + 2 * int(self._ttl_s * 1_000_000)),
            ).execute(db)
            row = Row.select(Row.holder, Row.epoch).where(Row.node == node).tuples().execute(db)[0]
            return row[0], row[1]

        found, epoch = self._executor.execute(take, _TIMEOUT_S)
        if found != holder:
            raise LeaseHeld(node, found)
        return epoch

    def renew(self, node: str, holder: str, now_s: float, core_uuid: str | None = None) -> int:
        """Keeps it for another while. Raises LeaseHeld where it was lost to another, and StoreUnavailable."""
        return self.acquire(node, holder, now_s, core_uuid)

    def release(self, node: str, holder: str) -> None:
        """Gives it back, if it is still ours. Raises StoreUnavailable."""
        query = Row.update(expires_us=0).where((Row.node == node) & (Row.holder == holder))
        self._executor.execute(lambda db: query.execute(db), _TIMEOUT_S)
