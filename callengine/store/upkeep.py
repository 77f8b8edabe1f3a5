"""What the store needs done from time to time, in the background: small transactions through the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import gevent

from callengine.config.sections import Webhooks
from callengine.errors import StoreError
from callengine.store import idempotency
from callengine.store.accounts import Accounts
from callengine.store.clock import clock_us
from callengine.store.entities import Executes
from callengine.store.pruning import Pruner

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
_TIMEOUT_S: Final = 10.0


class Upkeep:
    """``run`` is to be supervised; ``once`` does it all one time."""

    def __init__(
        self,
        executor: Executes,
        accounts: Accounts,
        now_us: Callable[[], int] = clock_us,
        webhooks: Webhooks | None = None,
    ) -> None:
        self._executor = executor
        self._accounts = accounts
        self._now_us = now_us
        self._pruner = Pruner(executor, webhooks or Webhooks(), now_us)

    def run(self) -> None:
        """Every minute, until it is killed. A database that is away is left for the next time."""
        while True:
            gevent.sleep(EVERY_S)
            try:
                self.once()
            except StoreError as error:
                log.debug("upkeep was left for later: %s", error)

    def once(self) -> None:
        """Writes down when keys were used, forgets old Idempotency-Keys, and what was told long ago.

        Raises StoreUnavailable.
        """
        self._accounts.record_uses()
        now_us = self._now_us()
        self._executor.execute(lambda db: idempotency.prune(db, now_us), _TIMEOUT_S)
        self._pruner.once()
