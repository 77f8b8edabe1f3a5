"""Which calls are recorded: what the campaign says, else the tenant, else the settings. Kept in memory for seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from callengine.errors import StoreError
from callengine.store.entities import RecordRules
from callengine.store.faults import Trouble

log = logging.getLogger(__name__)

REFRESH_S: Final = 5.0
_OF_SETTING: Final = {"never": "never", "answer": "originated", "all": "all"}


def rule_of(start: str) -> str:
    """The rule that the setting ``recordings.start`` stands for."""
    return _OF_SETTING[start]


class Rulebook:
    """``read`` is ``Accounts.record_rules``; ``start`` the setting ``recordings.start``; ``monotonic`` in seconds."""

    def __init__(
        self, read: Callable[[], RecordRules], start: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._default = rule_of(start)
        self._monotonic = monotonic
        self._rules: RecordRules | None = None
        self._read_at = 0.0
        self._trouble = Trouble(log, "the rules for recording could not be read again")

    def set_default(self, start: str) -> None:
        """The setting was changed."""
        self._default = rule_of(start)

    @property
    def known(self) -> bool:
        """Whether the rules were ever read."""
        return self._rules is not None

    def refresh(self) -> None:
        """Reads the rules again where they are older than ``REFRESH_S``; waits for that.

        Raises StoreUnavailable where they were never read; else the old ones count until they can be.
        """
        now = self._monotonic()
        if self._rules is not None and now - self._read_at < REFRESH_S:
            return
        self._read_at = now
        try:
            self._rules = self._read()
        except StoreError as error:
            if self._rules is None:
                raise
            self._trouble.met(error)
        else:
            self._trouble.over()

    def of(self, tenant_id: str, campaign: str | None) -> str:
        """``never``, ``originated`` or ``all``, by what was read last. Never waits."""
        rules = self._rules
        if rules is None:
            return self._default
        if campaign is not None and (own := rules.campaigns.get((tenant_id, campaign))) is not None:
            return own
        return rules.tenants.get(tenant_id, self._default)
