"""The audit once a day, beside the daemon's work: in a native thread, and at half of its pace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import gevent

from callengine.cdr.audit import Audit, Audited
from callengine.cdr.reading import CdrReader
from callengine.config.settings import Settings
from callengine.errors import StoreError
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.threads import Threads

log = logging.getLogger(__name__)

_LOOK_S = 30.0
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
# What has just ended may not be committed, or not be written, yet.
_SETTLED_US = 600_000_000
_SHOWN = 20


class NightlyAudit:
    """``run`` is to be supervised. ``node`` names the switch; nothing is compared while it is empty."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reader: CdrReader,
        node: Callable[[], str],
        *,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self.at_s = 0.0
        """When the last audit ended, since the epoch; 0: there was none."""
        self._settings, self._store, self._reader = settings, store, reader
        self._node, self._now_us = node, now_us
        self._last: Audited | None = None
        self._done_day = self._day()
        self._threads = Threads(1)

    def found(self) -> dict[str, int]:
        """How many calls of each kind the last audit found, for the metric."""
        last = self._last
        if last is None:
            return {}
        return {
            "compared": last.compared,
            "missing": last.missing_count,
            "extra": last.extra_count,
            "different": last.different_count,
            "unreadable": len(last.unreadable),
        }

    def run(self) -> None:
        """Once a day, at ``cdr.audit_hour``, until it is killed."""
        while True:
            gevent.sleep(_LOOK_S)
            if not self.due:
                continue
            try:
                self.once()
            except (StoreError, OSError) as error:
                log.error("the CDRs could not be compared with the calls: %s", error)

    @property
    def due(self) -> bool:
        """Whether today's is still to be made."""
        return bool(self._node()) and self._day() != self._done_day

    def _day(self) -> int:
        return (self._now_us() - self._settings.cdr.audit_hour * _HOUR_US) // _DAY_US

    def once(self) -> Audited:
        """Compares the last 24 hours. Raises StoreUnavailable and OSError."""
        self._done_day = self._day()
        until_us = self._now_us() - _SETTLED_US
        chosen = self._settings.cdr
        audit = Audit(
            self._store,
            self._reader,
            chosen.directories,
            until_us - _DAY_US,
            until_us,
            node=self._node(),
            switchname=chosen.switchname,
            others=not self._settings.tracking.own_only,
            max_bytes=chosen.max_bytes,
        )
        steps = audit.steps()
        while True:
            began = time.monotonic()
            if self._threads.apply(_step, (steps,)):
                break
            gevent.sleep(time.monotonic() - began)
        self._last, self.at_s = audit.found, self._now_us() / 1e6
        _tell(audit.found)
        return audit.found


def _step(steps: Iterator[None]) -> bool:
    """One step; True behind the last."""
    return next(steps, True) is True


def _tell(found: Audited) -> None:
    if found.clean:
        log.info("audit: %d calls are as their CDRs tell", found.compared)
        return
    log.error(
        "audit: %d calls compared with their CDRs, %d missing, %d extra, %d different, %d records unreadable;"
        " callengine audit lists them",
        found.compared,
        found.missing_count,
        found.extra_count,
        found.different_count,
        len(found.unreadable),
    )
    for uuid in found.missing[:_SHOWN]:
        log.error("audit: channel %s has a CDR and no row", uuid)
    for uuid in found.extra[:_SHOWN]:
        log.error("audit: channel %s has a row and no CDR", uuid)
    for different in found.different[:_SHOWN]:
        log.error(
            "audit: channel %s: %s is %r, the CDR says %r",
            different.fs_uuid,
            different.field,
            different.ours,
            different.theirs,
        )
