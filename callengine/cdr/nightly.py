"""The audit once a day, beside the daemon's work: in a native thread, and at half of its pace.

Where it could not be made at its hour (the database was away, the daemon was down), it is made once that has been over
for a while: by then what came meanwhile is committed. It goes on from where the last one ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import gevent

from callengine.cdr.audit import Audit, Audited
from callengine.cdr.marks import Marks
from callengine.cdr.reading import CdrReader
from callengine.config.settings import Settings
from callengine.errors import StoreError
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.threads import Threads, in_thread

log = logging.getLogger(__name__)

_LOOK_S = 30.0
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
# What has just ended may not be committed, or not be written, yet.
_SETTLED_S = 600.0
_SETTLED_US = int(_SETTLED_S * 1_000_000)
_MOST_DAYS = 7
_MARKS = "audit-marks.json"
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at_s = 0.0
        """When the last audit ended, since the epoch; 0: there was none."""
        self._settings, self._store, self._reader = settings, store, reader
        self._node, self._now_us, self._clock = node, now_us, clock
        self._last: Audited | None = None
        self._threads = Threads(1)
        self._marks = Marks(settings.state.directory, _MARKS)
        self._upto: dict[str, int] | None = None
        """By switch: up to when it was compared (µs), None until that was read."""
        self._done_day = self._today()
        self._not_before_s = clock() + _SETTLED_S

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
            if self.look():
                try:
                    self.once()
                except (StoreError, OSError) as error:
                    log.error("the CDRs could not be compared with the calls, which is tried again: %s", error)

    def look(self) -> bool:
        """Whether it is to be made now: today's is not made, and nothing stood in the way for a while. Blocks."""
        node = self._node()
        if node and self._upto is None:
            self._upto = in_thread(self._marks.load, self._threads)
            if node in self._upto:
                # An earlier life may have ended before it could make today's.
                self._done_day = self._day(self._upto[node] + _SETTLED_US)
        return self.due and self._clock() >= self._not_before_s

    @property
    def due(self) -> bool:
        """Whether today's is still to be made."""
        return bool(self._node()) and self._today() != self._done_day

    def _today(self) -> int:
        return self._day(self._now_us())

    def _day(self, at_us: int) -> int:
        return (at_us - self._settings.cdr.audit_hour * _HOUR_US) // _DAY_US

    def _since_us(self, until_us: int) -> int:
        """From where the last one ended; not a week back, and at least a day where nobody knows."""
        upto_us = (self._upto or {}).get(self._node(), 0)
        if not 0 < upto_us < until_us:
            return until_us - _DAY_US
        return max(upto_us, until_us - _MOST_DAYS * _DAY_US)

    def once(self) -> Audited:
        """Compares what ended since the last one. Raises StoreUnavailable and OSError; then it is still to be made."""
        self._not_before_s = self._clock() + _SETTLED_S
        node, day = self._node(), self._today()
        until_us = self._now_us() - _SETTLED_US
        found = self._audited(node, until_us)
        self._done_day = day
        self._upto = (self._upto or {}) | {node: until_us}
        in_thread(lambda: self._marks.save(self._upto or {}), self._threads)
        self._last, self.at_s = found, self._now_us() / 1e6
        _tell(found)
        return found

    def _audited(self, node: str, until_us: int) -> Audited:
        chosen = self._settings.cdr
        audit = Audit(
            self._store,
            self._reader,
            chosen.directories,
            self._since_us(until_us),
            until_us,
            node=node,
            switchname=chosen.switchname,
            others=not self._settings.tracking.own_only,
            max_bytes=chosen.max_bytes,
        )
        steps = audit.steps()
        while True:
            began = time.monotonic()
            if in_thread(lambda: _step(steps), self._threads):
                break
            gevent.sleep(time.monotonic() - began)
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
