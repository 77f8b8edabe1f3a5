"""The room put together for the daemon: what it starts and stops is all here."""

from __future__ import annotations

import logging
from pathlib import Path

from callengine.cdr.counts import Counts
from callengine.cdr.inbox import Inbox
from callengine.cdr.intake import CdrIntake
from callengine.cdr.nightly import NightlyAudit
from callengine.cdr.reading import CdrReader
from callengine.cdr.reporter import Reporter
from callengine.config.settings import Settings
from callengine.engine import Engine
from callengine.errors import ConfigurationError
from callengine.metrics import Metrics
from callengine.store.database import Store
from callengine.store.writer import Writer
from callengine.supervise import Supervisor

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000


class Cdrs:
    """CDRs of one engine. ``inbox`` is what ``POST /fs/cdr`` puts into, None where that is off.

    Raises ConfigurationError where the inbox cannot be made.
    """

    def __init__(self, settings: Settings, engine: Engine, store: Store, writer: Writer, metrics: Metrics) -> None:
        chosen, state = settings.cdr, settings.state.directory
        counts = Counts(metrics)
        reader = CdrReader(engine.variables)
        self._engine = engine
        self.inbox: Inbox | None = None
        if chosen.http_secret.get_secret_value():
            self.inbox = Inbox(
                state / "cdr-inbox",
                max_files=chosen.inbox_max_files,
                max_bytes=chosen.inbox_max_bytes,
                on_put=counts.posts.observe,
            )
            try:
                self.inbox.prepare()
            except OSError as error:
                raise ConfigurationError(
                    [f"state.directory: {self.inbox.directory} cannot be used ({error.strerror})"]
                ) from None
            counts.inbox(lambda inbox=self.inbox: inbox.refused)  # type: ignore[misc]
        reporter = Reporter(
            engine.tracker,
            store,
            writer,
            max_age_us=chosen.since_days * _DAY_US,
            opened=lambda: engine.opened,
        )
        self.intake = CdrIntake(chosen, state, reporter, reader, counts, inbox=self.inbox, quarantine=engine.quarantine)
        self.audit: NightlyAudit | None = None
        if chosen.directories and chosen.audit:
            self.audit = NightlyAudit(settings, store, reader, lambda: engine.node)
            counts.audit(self.audit.found, lambda audit=self.audit: audit.at_s)  # type: ignore[misc]

    @property
    def configured(self) -> bool:
        """Whether there is anything that CDRs could come from."""
        return self.inbox is not None or self.audit is not None or self.intake.watches

    @property
    def retried_to(self) -> Path | None:
        """The folder in which CDRs are taken in that were set aside; None where none are taken in at all."""
        return self.intake.inbox if self.configured else None

    def start(self, supervisor: Supervisor) -> None:
        """Spawns what is configured. To be called before the engine starts: its first comparison waits for CDRs."""
        if self.configured:
            self._engine.before_closing = self.intake.catch_up
            supervisor.spawn("cdr", self.intake.run)
        if self.audit is not None:
            supervisor.spawn("audit", self.audit.run)

    def close(self) -> None:
        """For the end, once the supervisor has stopped and before the store closes."""
        self.intake.close()
        if self.inbox is not None:
            self.inbox.close()
