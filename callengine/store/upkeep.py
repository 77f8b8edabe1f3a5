"""What the store needs done from time to time, in the background: small transactions through the writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import gevent

from callengine.config.sections import Webhooks
from callengine.errors import StoreError
from callengine.store import idempotency, numbers, setback
from callengine.store.accounts import Accounts
from callengine.store.clock import SetBack, clock_us
from callengine.store.entities import Executes
from callengine.store.pruning import Pruner

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0
LOOK_S: Final = 0.1
"""How often the clock is looked at. What was wrong for a moment between two looks is not noticed."""
_TIMEOUT_S: Final = 10.0


class Upkeep:
    """``run`` is to be supervised; ``once`` does it all one time."""

    def __init__(
        self,
        executor: Executes,
        accounts: Accounts,
        now_us: Callable[[], int] = clock_us,
        webhooks: Webhooks | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._accounts = accounts
        self._now_us = now_us
        self._monotonic = monotonic
        self._pruner = Pruner(executor, webhooks or Webhooks(), now_us)
        self._set_back = SetBack(now_us, monotonic)
        self._back_us = 0
        self._looked = False

    def run(self) -> None:
        """Every minute, the clock ten times a second, until it is killed. A database that is away is left for later."""
        due_s = self._monotonic() + EVERY_S
        while True:
            gevent.sleep(LOOK_S)
            try:
                self.look_at_clock()
                if self._monotonic() >= due_s:
                    due_s = self._monotonic() + EVERY_S
                    self.once()
            except StoreError as error:
                log.debug("upkeep was left for later: %s", error)

    def look_at_clock(self) -> None:
        """What is due by a clock that was set back is due earlier. Raises StoreUnavailable; then that is still to do.

        Also where it was set back in an earlier life, or between two: the newest events are of the future then.
        """
        self._note(self._set_back.by_us())
        if not self._looked:
            self._note(self._executor.execute(lambda db: setback.ahead_us(db, self._now_us()), _TIMEOUT_S))
            self._looked = True
        if self._back_us:
            setback.bring_forward(self._executor, self._now_us(), self._back_us)
            self._back_us = 0

    def _note(self, back_us: int) -> None:
        if back_us:
            log.warning("the clock was set back by %.0f s: what is due by it is done earlier", back_us / 1_000_000)
            self._back_us += back_us

    def once(self) -> None:
        """Writes down when keys were used, sorts calls by number, forgets old Idempotency-Keys and old events.

        Raises StoreUnavailable.
        """
        self._accounts.record_uses()
        now_us = self._now_us()
        self._executor.execute(lambda db: idempotency.prune(db, now_us), _TIMEOUT_S)
        numbers.settle(self._executor)
        self._pruner.once()
