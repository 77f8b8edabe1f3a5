"""SIGHUP: the settings are read again, and what can take effect without a restart does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from gevent.event import Event

from callengine.config.reload import Changes, reload
from callengine.config.settings import Settings
from callengine.errors import ConfigurationError
from callengine.metrics import Metrics
from callengine.notify import Notifier
from callengine.threads import in_thread

log = logging.getLogger(__name__)

OUTCOMES: Final = ("applied", "unchanged", "refused")


class Reloader:
    """``ask`` from a signal's handler; ``run`` is to be supervised.

    ``read`` reads the settings, and raises ConfigurationError; it runs in a native thread. ``hand_on(changed)`` tells
    those who cannot read a setting each time that they need it, by the names of what was changed; it must not fail.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        metrics: Metrics,
        notifier: Notifier,
        hand_on: Callable[[frozenset[str]], None],
    ) -> None:
        self._settings, self._read = settings, read
        self._notifier, self._hand_on = notifier, hand_on
        self._asked = Event()
        self.counts = dict.fromkeys(OUTCOMES, 0)
        metrics.gauge(
            "callengine_reloads",
            "Times since the start that the settings were read again, by what came of it.",
            lambda: [((outcome,), float(n)) for outcome, n in self.counts.items()],
            ("outcome",),
        )

    def ask(self) -> None:
        """Read them again soon. Never waits."""
        self._asked.set()

    def run(self) -> None:
        """Until it is killed."""
        while True:
            self._asked.wait()
            self._asked.clear()
            self.once()

    def once(self) -> str:
        """Reads them now. Returns what came of it, one of ``OUTCOMES``."""
        self._notifier.reloading()
        try:
            changes = reload(self._settings, in_thread(self._read))
        except ConfigurationError as error:
            for problem in error.problems:
                log.error("settings: %s", problem)
            log.error("the settings were not read again: they stay as they were")
            outcome = "refused"
        else:
            outcome = self._apply(changes)
        finally:
            self._notifier.reloaded()
        self.counts[outcome] += 1
        return outcome

    def _apply(self, changes: Changes) -> str:
        self._hand_on(frozenset(changes.applied))
        if changes.needs_restart:
            log.warning("settings that were changed and need a restart: %s", ", ".join(changes.needs_restart))
        log.info("the settings were read again; changed: %s", ", ".join(changes.applied) or "none")
        return "applied" if changes.applied else "unchanged"
