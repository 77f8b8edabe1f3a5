"""What follows a call, put together for the daemon: its recordings, their analysis, and who is told of it.

``start`` reads as the list of what runs, ``stop`` as the list of what ends. All of it works off rows of the database
and goes on after a restart where it was; ``nudge`` only says that it need not wait for its next look.
"""

from __future__ import annotations

import logging
from typing import Final

from callengine.ai.counts import Counts
from callengine.ai.files import RecordingFiles
from callengine.ai.sdk import Sdk, load
from callengine.ai.worker import Analyst
from callengine.config.settings import Settings
from callengine.engine import Engine
from callengine.errors import BucketError
from callengine.metrics import Metrics
from callengine.recordings.keeper import WORKERS, Keeper
from callengine.recordings.paths import Folders
from callengine.recordings.reading import Reading
from callengine.recordings.retention import Retention
from callengine.recordings.s3 import Bucket
from callengine.recordings.serving import Serving
from callengine.recordings.signing import signer_of
from callengine.recordings.sweep import Sweep
from callengine.spans import Record
from callengine.store.database import Store
from callengine.store.deliveries import Deliveries
from callengine.store.lease import Lease
from callengine.store.writer import Writer
from callengine.supervise import Supervisor
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import Sender
from callengine.webhooks.service import Webhooks
from callengine.webhooks.telemetry import Telemetry
from callengine.webhooks.worker import Deliverer, Storage

log = logging.getLogger(__name__)

_STOP_ANALYSES_S: Final = 8.0
_STOP_DELIVERIES_S: Final = 5.0


class Archive:
    """Where recordings are: the folders, the bucket if there is one, and how they are served. Blocks when it is made.

    Raises ConfigurationError.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self.folders = Folders(settings.recordings.directories, settings.recordings.path_map)
        self.bucket = Bucket(settings.s3) if settings.recordings.storage == "s3" else None
        if self.bucket is not None:
            try:
                self.bucket.check()
            except BucketError as error:
                # Calls are tracked all the same; recordings stay on the disk and are uploaded when it answers.
                log.error("the bucket cannot be used at the moment: %s", error)
        self._reading = Reading(self.folders)
        self.serving = Serving(store, signer_of(settings), self.folders, self._reading, self.bucket)

    def close(self) -> None:
        """Ends its threads and connections."""
        self._reading.close()
        if self.bucket is not None:
            self.bucket.close()


class FollowUp:
    """Everything that follows a call. Without ``recordings.directories`` none is looked at, and none analysed."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        writer: Writer,
        engine: Engine,
        archive: Archive,
        metrics: Metrics,
        on_span: Record | None = None,
    ) -> None:
        self._settings = settings
        self._on_span = on_span
        self._engine = engine
        self._deliver(store, writer, archive, metrics)
        self.keeper: Keeper | None = None
        self.analyst: Analyst | None = None
        self.analyses: Counts | None = None
        self._sdk: Sdk | None = None
        if not settings.recordings.directories:
            return
        self.keeper = Keeper(
            writer,
            store,
            archive.folders,
            settings,
            self._node,
            metrics,
            bucket=archive.bucket,
            on_done=lambda _call_id: self._recording_done(),
        )
        self.sweep = Sweep(
            writer,
            store,
            archive.folders,
            settings,
            self._node,
            metrics,
            analyses=settings.ai.enabled,
            on_found=self.keeper.nudge,
        )
        self.retention = Retention(
            writer, store, archive.folders, settings, node=self._node, metrics=metrics, bucket=archive.bucket
        )
        if settings.ai.enabled:
            self.analyses = Counts(metrics)
            self._sdk = load(settings.ai.sdk, settings.ai.api_key.get_secret_value(), settings.ai.base_url)
            self.analyst = Analyst(
                writer,
                store,
                self._sdk,
                settings.ai,
                RecordingFiles(archive.folders, archive.bucket),
                self.analyses,
                node=self._node,
                holder=engine.holder.name,
                on_span=on_span,
            )

    def _deliver(self, store: Store, writer: Writer, archive: Archive, metrics: Metrics) -> None:
        settings, telemetry = self._settings.webhooks, Telemetry(metrics)
        guard = Guard(settings.allow_networks, allow_http=settings.allow_http)
        sender = Sender(guard, timeout_s=settings.timeout_s)
        self.deliverer = Deliverer(
            Storage(Deliveries(store), writer, Lease(writer), self._engine.holder),
            sender,
            settings,
            url_of=archive.serving.url,
            probed=bool(self._settings.recordings.directories),
            on_attempt=telemetry.on_attempt,
            on_crash=lambda name, _error: metrics.crashed(name),
            on_span=self._on_span,
        )
        telemetry.watch(self.deliverer)
        self.webhooks = Webhooks(store, writer, settings, guard, sender, on_change=self.deliverer.nudge)

    def _node(self) -> str:
        """Our switch, once its lease is held: until then another engine may be at work on its rows."""
        return self._engine.node if self._engine.opened else ""

    def _recording_done(self) -> None:
        if self.analyst is not None:
            self.analyst.nudge()

    def nudge(self) -> None:
        """Something was committed. Never waits."""
        self.deliverer.nudge()
        if self.keeper is not None:
            self.keeper.nudge()

    def start(self, supervisor: Supervisor) -> None:
        """Spawn everything; returns at once."""
        supervisor.spawn("webhooks", self.deliverer.run, once=True)
        if self.keeper is not None:
            for number in range(WORKERS):
                supervisor.spawn(f"keeper-{number}", self.keeper.run)
            supervisor.spawn("sweep", self.sweep.run)
            supervisor.spawn("retention", self.retention.run)
        if self.analyst is not None:
            for number in range(self._settings.ai.workers):
                supervisor.spawn(f"analyst-{number}", self.analyst.run_worker)
            supervisor.spawn("analyses", self.analyst.run_upkeep)

    def stop(self) -> None:
        """Give up what is under way, cleanly; before the writer stops."""
        self.deliverer.stop(_STOP_DELIVERIES_S)
        if self.analyst is not None:
            self.analyst.stop(_STOP_ANALYSES_S)
        if self._sdk is not None:
            self._sdk.close()
