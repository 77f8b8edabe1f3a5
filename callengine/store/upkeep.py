"""What the store needs done from time to time, in the background: small transactions through the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import gevent
import peewee

from callengine.errors import StoreError
from callengine.store import idempotency
from callengine.store.accounts import Accounts
from callengine.store.clock import clock_us
from callengine.store.entities import Executes
from callengine.store.schema import Outbox

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
OUTBOX_KEPT_US: Final = 7 * 24 * 3600 * 1_000_000
_CHUNK: Final = 1000
_TIMEOUT_S: Final = 10.0


class Upkeep:
    """``run`` is to be supervised; ``once`` does it all one time."""

    def __init__(self, executor: Executes, accounts: Accounts, now_us: Callable[[], int] = clock_us) -> None:
        self._executor = executor
        self._accounts = accounts
        self._now_us = now_us

    def run(self) -> None:
        """Every minute, until it is killed. A database that is away is left for the next time."""
        while True:
            gevent.sleep(EVERY_S)
            try:
                self.once()
            except StoreError as error:
                log.debug("upkeep was left for later: %s", error)

    def once(self) -> None:
        """Writes down when keys were used, forgets old Idempotency-Keys, and milestones that were told long ago.

        Raises StoreUnavailable.
        """
        self._accounts.record_uses()
        now_us = self._now_us()
        self._executor.execute(lambda db: idempotency.prune(db, now_us), _TIMEOUT_S)
        before_us = now_us - OUTBOX_KEPT_US
        while self._executor.execute(lambda db: prune_outbox(db, before_us), _TIMEOUT_S) == _CHUNK:
            gevent.sleep(0)


def prune_outbox(db: peewee.Database, before_us: int, limit: int = _CHUNK) -> int:
    """Deletes the oldest milestones, as far as they are from before ``before_us``. Returns how many."""
    oldest = Outbox.select(Outbox.position, Outbox.created_us).order_by(Outbox.position).limit(limit).tuples()
    due = [position for position, created_us in oldest.execute(db) if created_us < before_us]
    if due:
        Outbox.delete().where(Outbox.position.in_(due)).execute(db)
    return len(due)
