"""From the switch's claim to a recording that is ready, or that never will be: each is looked at, then told, once.

All that is known of a recording's way stands in its row: whatever is killed at whatever moment, the next look goes on
from there. Where files go to a bucket, a recording is ready only once it is there.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from callengine.about import about
from callengine.config.settings import Settings
from callengine.errors import BucketError, NoSuchCall, RecordingError, StoreError
from callengine.metrics import Metrics
from callengine.recordings import probe
from callengine.recordings.look import Failed, Good, Later, Same, Sight, Verdict, differs, gap_s, judge, look
from callengine.recordings.paths import Folders
from callengine.recordings.removal import remove
from callengine.store import recordings
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import Executes
from callengine.store.recordings import Found, Recording
from callengine.threads import Threads, within

log = logging.getLogger(__name__)

WORKERS: Final = 4
"""How many greenlets are to run ``Keeper.run``: uploads wait for the network."""
POLL_S: Final = 1.0
GRACE_S: Final = 10.0
"""So long after its call was first seen as over a stop is waited for, before the file is looked at without one."""
# One: on two cores, with a burst of recordings of half a minute, the hub is 1 ms late (p99; at most 2), with two
# threads 10 ms. One looks at 125 of them in a second, and at an hour of stereo in 0.7 s.
_THREADS: Final = 1
_BATCH: Final = 100
# Between a nudge and the read that follows: however often it is nudged, it reads 20 times a second at most.
_GATHER_S: Final = 0.05
_OPEN_EVERY_S: Final = 5.0
_LOOK_TIMEOUT_S: Final = 300.0
# Files that a look hangs at, each with a thread of its own; with more of them it is the disk, and all wait.
_MAX_HUNG: Final = 8
_UPLOAD_GAP_MAX_S: Final = 600.0
_LATER_S: Final = 3600.0
_TIMEOUT_S: Final = 10.0


class Bucket(Protocol):
    """What is needed of the S3-compatible store (``s3.Bucket``)."""

    def key(self, tenant_id: str, call_id: str, recording_id: str, at_us: int, ending: str) -> str:
        """The object's name."""

    def upload(self, descriptor: int, key: str, sha256: str, content_type: str) -> object:
        """Puts the file there, without holding up the hub. Raises BucketError."""


_CONTENT_TYPES: Final = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}


class Keeper:
    """``run`` is to be supervised, in ``WORKERS`` greenlets; ``nudge`` says that there may be something to do.

    ``node`` names the switch whose recordings are ours to look at, empty while that is not known. ``on_done(call_id)``
    is called on the hub, after the commit, for each recording that is ready or failed.
    """

    def __init__(
        self,
        executor: Executes,
        store: Store,
        folders: Folders,
        settings: Settings,
        node: Callable[[], str],
        metrics: Metrics,
        *,
        bucket: Bucket | None = None,
        on_done: Callable[[str], None] = lambda _call_id: None,
        now_us: Callable[[], int] = clock_us,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        probe.prepare()
        self._executor, self._store = executor, store
        self._folders = folders
        self._settings = settings.recordings
        self._node, self._metrics, self._bucket, self._on_done = node, metrics, bucket, on_done
        self._now_us, self._monotonic_s = now_us, monotonic_s
        self._threads = Threads(_THREADS)
        self._hung: dict[str, tuple[list[bool], Threads]] = {}
        self._nudged = Event()
        self._fresh = True
        self._refilling = BoundedSemaphore()
        self._due: deque[Recording] = deque()
        self._at_work: set[str] = set()
        self._read_at = self._opened_at = float("-inf")
        self._overdue_us: int | None = None
        self.waiting = 0
        """How many stopped recordings were neither ready nor failed, when last read."""
        metrics.gauge(
            "callengine_recordings_waiting", "Recordings that are to be looked at.", lambda: float(self.waiting)
        )
        metrics.gauge(
            "callengine_recordings_oldest_seconds",
            "How long the look at a recording is overdue, of the one that waits the longest.",
            lambda: self.oldest_s,
        )

    @property
    def oldest_s(self) -> float:
        """By how much the most overdue look is late; 0 where none is."""
        return 0.0 if self._overdue_us is None else max(0, self._now_us() - self._overdue_us) / 1_000_000

    def nudge(self) -> None:
        """A recording may have been stopped. Never waits."""
        self._fresh = True
        self._nudged.set()

    def run(self) -> None:
        """Looks at one after the other, until it is killed."""
        while True:
            self._nudged.clear()
            if not self.once():
                self._nudged.wait(POLL_S)
                gevent.sleep(_GATHER_S)

    def once(self) -> bool:
        """Deals with one recording; False where none is due, or the database is away."""
        try:
            row = self._next()
            if row is None:
                return False
            self._at_work.add(row.id)
            try:
                with about(row.call_id):
                    self._dealt_with(row)
            finally:
                self._at_work.discard(row.id)
        except StoreError as error:
            log.debug("recordings are left for later: %s", error)
            return False
        return True

    def _dealt_with(self, row: Recording) -> None:
        try:
            self._deal_with(row)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  one odd recording must not stop all others
            self._set_aside(row, error)

    def _set_aside(self, row: Recording, error: Exception) -> None:
        """What nobody expected; it may be over by the next look. Not its text: that may repeat what was sent."""
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.error("recording %s: %s in %s, line %s", row.id, type(error).__name__, at.name, at.lineno)
        self._metrics.recordings.labels("error").inc()
        self._postpone(row, Later(_UPLOAD_GAP_MAX_S, row.bytes, row.sha256))

    # -- which is next -----------------------------------------------------------------------------------------------

    def _next(self) -> Recording | None:
        with self._refilling:
            if not self._due and (self._fresh or self._monotonic_s() - self._read_at >= POLL_S):
                self._refill()
            return self._due.popleft() if self._due else None

    def _refill(self) -> None:
        node = self._node()
        if not node:
            return
        self._fresh = False
        self._read_at = self._monotonic_s()
        with_open = self._read_at - self._opened_at >= _OPEN_EVERY_S
        now_us = self._now_us()
        due, late, self.waiting = self._store.run(
            lambda db: (
                recordings.stopped(db, node, now_us, _BATCH),
                recordings.abandoned(db, node, now_us, _BATCH) if with_open else [],
                recordings.waiting(db, node),
            ),
            _TIMEOUT_S,
        )
        if with_open:
            self._opened_at = self._read_at
        self._overdue_us = due[0].next_us if due else None
        self._due.extend(row for row in (*due, *late) if row.id not in self._at_work)

    # -- one recording -----------------------------------------------------------------------------------------------

    def _deal_with(self, row: Recording) -> None:
        if row.status == "open" and not row.attempts:
            self._postpone(row, Later(GRACE_S))
            return
        verdict = Failed("discarded") if row.discarded else self._look(row)
        if isinstance(verdict, Good) and self._bucket is not None:
            verdict = self._upload(self._bucket, row, verdict)
        match verdict:
            case Later():
                self._metrics.recordings.labels("later").inc()
                self._postpone(row, verdict)
            case Failed(reason, size, sha256):
                self._finish(row, Found(reason=reason, bytes=size, sha256=sha256))
            case Same():
                self._finish(row, _as_before(row))
            case Good(size, sha256, found):
                ready = Found(
                    bytes=size,
                    sha256=sha256,
                    duration_ms=found.duration_ms,
                    channels=found.channels,
                    loudness_cb=found.loudness_cb,
                    storage="disk" if self._bucket is None else "s3",
                    object_key=None if self._bucket is None else self._key(self._bucket, row),
                )
                if self._finish(row, ready):
                    self._metrics.recording_differences.inc(differs(row, found))
                    if self._bucket is not None and not self._settings.keep_local:
                        self._drop_local(row, sha256)

    def _look(self, row: Recording) -> Verdict:
        if self._hangs(row):
            return Later(_UPLOAD_GAP_MAX_S)
        began, began_to_look, ended, threads = self._monotonic_s(), list[bool](), list[bool](), self._threads

        def seen() -> Sight:
            began_to_look.append(True)
            try:
                return look(self._folders, row.path)
            finally:
                ended.append(True)

        try:
            sight = within(_LOOK_TIMEOUT_S, threads, seen)
        except TimeoutError as error:
            log.error("recording %s: %s", row.id, error)
            if began_to_look and len(self._hung) < _MAX_HUNG:  # the others need not wait for this one
                self._hung[row.id] = ended, threads
                self._threads = Threads(_THREADS)
            return Later(gap_s(row.attempts))
        self._metrics.recording_probe.observe(max(0.0, self._monotonic_s() - began))
        if sight.error is not None:
            log.error("recording %s: %s while it was looked at", row.id, sight.error)
        return judge(row, sight, self._settings.wait_s)

    def _hangs(self, row: Recording) -> bool:
        """Whether an earlier look at it still has not come back."""
        for hung, (ended, threads) in list(self._hung.items()):
            if ended and not len(threads):
                del self._hung[hung]
                threads.kill()
        return row.id in self._hung

    def _postpone(self, row: Recording, later: Later) -> None:
        next_us = self._now_us() + int(later.gap_s * 1_000_000)
        self._executor.execute(lambda db: recordings.postpone(db, row, next_us, later.bytes, later.sha256), _TIMEOUT_S)

    def _finish(self, row: Recording, found: Found) -> bool:
        """Whether it was told; not where it was stopped anew meanwhile, which is looked at in its turn."""
        now_us = self._now_us()
        try:
            done = self._executor.execute(lambda db: recordings.finish(db, row, found, now_us), _TIMEOUT_S)
        except NoSuchCall:
            log.error("recording %s is of no call", row.id)
            self._postpone(row, Later(_LATER_S))
            return False
        if done:
            self._metrics.recordings.labels(found.reason or "ready").inc()
            if found.reason not in {None, "discarded"}:
                log.warning("recording %s of call %s failed: %s", row.id, row.call_id, found.reason)
                self._metrics.poison.labels("recording").inc()
            self._on_done(row.call_id)
        return done

    # -- the bucket --------------------------------------------------------------------------------------------------

    @staticmethod
    def _key(bucket: Bucket, row: Recording) -> str:
        """The object's name: the same whenever it is uploaded again, so not by a stop that may not be the last."""
        return bucket.key(row.tenant_id, row.call_id, row.id, row.created_us, _ending(row.path))

    def _upload(self, bucket: Bucket, row: Recording, good: Good) -> Good | Later:
        """Tried again for as long as it takes: the file stays where it is until then."""
        try:
            path = self._folders.ours(row.path)
            opened, _ = within(_LOOK_TIMEOUT_S, self._threads, lambda: self._folders.open(path))
        except (RecordingError, TimeoutError):
            return Later(gap_s(row.attempts), good.bytes, good.sha256)
        content_type = _CONTENT_TYPES.get(good.probed.format, "application/octet-stream")
        verdict: Good | Later = good
        try:
            bucket.upload(opened, self._key(bucket, row), good.sha256, content_type)
        except BucketError as error:
            log.warning("recording %s is not uploaded yet: %s", row.id, error)
            verdict = Later(min(2.0 ** min(row.attempts, 20), _UPLOAD_GAP_MAX_S), good.bytes, good.sha256)
        except Exception:
            os.close(opened)
            raise
        # Not where we are killed meanwhile: a thread still reads from it, and must not read another file instead.
        os.close(opened)
        return verdict

    def _drop_local(self, row: Recording, sha256: str) -> None:
        """Not done where we are killed just here: the sweep does it then."""
        try:
            problem = within(_LOOK_TIMEOUT_S, self._threads, lambda: remove(self._folders, row.path, sha256)).problem
        except TimeoutError as error:
            problem = str(error)
        if problem is not None:
            log.warning("recording %s is in the bucket, but its file stays: %s", row.id, problem)


def _as_before(row: Recording) -> Found:
    return Found(
        bytes=row.bytes,
        sha256=row.sha256,
        duration_ms=row.duration_ms,
        channels=row.channels,
        loudness_cb=row.loudness_cb,
        storage=row.storage or "s3",
        object_key=row.object_key,
    )


def _ending(path: str) -> str:
    """Of the file's name, if it is a usual one."""
    text = PurePosixPath(path).suffix[1:].lower()
    return text if text.isascii() and text.isalnum() and len(text) <= 8 else "bin"
