"""How long recordings are kept: per tenant, in days since they were found ready (or found to hold something that is not
to be played). Then the file goes, as its row says.

First the file, then the row: what is killed in between is done again, and a file that is gone already is no obstacle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import gevent
import peewee

from callengine.config.settings import Settings
from callengine.errors import BucketError, StoreError
from callengine.metrics import Metrics
from callengine.recordings.paths import Folders
from callengine.recordings.removal import remove
from callengine.store import recordings, schema
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import Executes, Tenant
from callengine.store.recordings import Recording
from callengine.threads import Threads, within

log = logging.getLogger(__name__)

EVERY_S: Final = 3600.0
DAY_US: Final = 86_400_000_000
GRACE_DAYS: Final = 7
"""So much longer a recording is kept at most because its call is still to be analysed."""
_PAGE: Final = 50
_PAUSE_S: Final = 0.2
_TIMEOUT_S: Final = 30.0


class Deletes(Protocol):
    """What is needed of the S3-compatible store (``s3.Bucket``)."""

    def delete(self, key: str) -> None:
        """Deletes an object; none there is no error. Raises BucketError."""


class Doomed(NamedTuple):
    """A recording that was kept long enough. ``problem``: why it could not be deleted."""

    tenant: str
    row: Recording
    age_s: int
    problem: str | None = None

    def shown(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "tenant": self.tenant,
            "call_id": self.row.call_id,
            "recording_id": self.row.id,
            "storage": self.row.storage,
            "bytes": self.row.bytes,
            "duration_ms": self.row.duration_ms,
            "age_days": self.age_s // 86_400,
            "problem": self.problem,
        }


class Retention:
    """``run`` is to be supervised, in a daemon; ``due`` and ``delete`` are for commands too.

    ``node`` names the switch whose files lie here. Without it whoever asks may not see all disks: a file that is not
    there is then left to the engine of its switch.
    """

    def __init__(
        self,
        executor: Executes,
        store: Store,
        folders: Folders,
        settings: Settings,
        *,
        node: Callable[[], str] | None = None,
        metrics: Metrics | None = None,
        bucket: Deletes | None = None,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self._executor, self._store, self._folders = executor, store, folders
        self._settings = settings.recordings
        self._analyses = settings.ai.enabled
        self._node, self._metrics, self._bucket, self._now_us = node, metrics, bucket, now_us
        self._threads = Threads(1)

    def run(self) -> None:
        """Once an hour, until it is killed; in small steps, with pauses between them."""
        while True:
            try:
                for _ in self.once():
                    pass
            except StoreError as error:
                log.debug("old recordings are left for later: %s", error)
            gevent.sleep(EVERY_S)

    def once(self, pause_s: float = _PAUSE_S) -> Iterator[Doomed]:
        """Deletes all that is due, of all tenants, as it is asked for one after the other: after years without a rule
        that may be millions. Raises StoreUnavailable."""
        if self._node is not None and not self._node():
            return
        for tenant in self._tenants():
            for doomed in self.due(tenant):
                yield self.delete(doomed)
                gevent.sleep(pause_s)

    def keep_days(self, tenant: Tenant) -> int:
        """How many days the tenant's recordings are kept; 0: for ever."""
        return self._settings.keep_days if tenant.recordings_days is None else tenant.recordings_days

    def due(self, tenant: Tenant) -> Iterator[Doomed]:
        """What has been kept long enough, the oldest first; nothing is changed. Raises StoreUnavailable."""
        days = self.keep_days(tenant)
        if not days:
            return
        now_us = self._now_us()
        node = self._node() if self._node is not None else None
        after: tuple[int, str] | None = None
        while True:
            page = self._page(tenant.id, now_us - days * DAY_US, after, node)
            for row in page:
                yield Doomed(tenant.name, row, max(0, now_us - (row.looked_us or now_us)) // 1_000_000)
            if len(page) < _PAGE:
                return
            after = (page[-1].looked_us or 0, page[-1].id)

    def _page(self, tenant_id: str, before_us: int, after: tuple[int, str] | None, node: str | None) -> list[Recording]:
        since_us = before_us - GRACE_DAYS * DAY_US if self._analyses else None
        return self._store.run(
            lambda db: recordings.expired(db, tenant_id, before_us, after, _PAGE, node, analyses_since_us=since_us),
            _TIMEOUT_S,
        )

    def delete(self, doomed: Doomed) -> Doomed:
        """Deletes the file and says so; with ``problem`` where that was not possible. Raises StoreUnavailable."""
        row = doomed.row
        problem = self._remove(row)
        if problem is not None:
            log.warning("recording %s of %s is kept longer than it should be: %s", row.id, doomed.tenant, problem)
            return doomed._replace(problem=problem)
        now_us = self._now_us()
        if not self._executor.execute(lambda db: recordings.forget(db, row, now_us), _TIMEOUT_S):
            return doomed._replace(problem="it was changed meanwhile")
        log.info(
            "recording %s of call %s of %s was deleted: %d bytes, %d days old",
            row.id,
            row.call_id,
            doomed.tenant,
            row.bytes or 0,
            doomed.age_s // 86_400,
        )
        if self._metrics is not None:
            self._metrics.recordings_deleted.inc()
            self._metrics.recordings_deleted_bytes.inc(row.bytes or 0)
        return doomed

    def _remove(self, row: Recording) -> str | None:
        """Deletes the file wherever it is. Returns why it could not."""
        in_bucket = row.storage == "s3"
        if in_bucket:
            if self._bucket is None or row.object_key is None:
                return "it is in a bucket that is not configured any more"
            try:
                self._bucket.delete(row.object_key)
            except BucketError as error:
                return str(error)
        try:
            removed = within(_TIMEOUT_S, self._threads, lambda: remove(self._folders, row.path, row.sha256))
        except TimeoutError as error:
            return str(error)
        if in_bucket:  # and here only where it was kept too
            return None if removed.missing else removed.problem
        if removed.missing and self._node is None:
            return "its file is not on this machine"
        return removed.problem

    def _tenants(self) -> list[Tenant]:
        def read(db: peewee.Database) -> list[Tenant]:
            query = schema.Tenant.select().order_by(schema.Tenant.name).dicts()
            return [Tenant(**row) for row in query.execute(db)]

        return self._store.run(read, _TIMEOUT_S)
