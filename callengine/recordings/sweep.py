"""From time to time: files below ``recordings.directories`` that no event told of, and lost ones that turned up.

A file is a call's recording if its name holds the call's id or its channel's UUID, as ours do and most dialplans' do.
It counts once nobody has written to it for a minute, by our monotonic clock: file systems have clocks of their own.
"""

from __future__ import annotations

import heapq
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import gevent

from callengine.config.settings import Settings
from callengine.errors import RecordingError, RecordingOutside, StoreError
from callengine.metrics import Metrics
from callengine.recordings.paths import Folders
from callengine.recordings.removal import remove
from callengine.store import recordings
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import Executes
from callengine.store.recordings import Named, Recording
from callengine.threads import Threads, within

log = logging.getLogger(__name__)

WALK_EVERY_S: Final = 600.0
SETTLE_S: Final = 60.0
_TURN_EVERY_S: Final = 5.0
_BATCH: Final = 500
_MAX_PENDING: Final = 10_000
_MAX_KNOWN: Final = 200_000
_TIMEOUT_S: Final = 30.0
_WALK_TIMEOUT_S: Final = 600.0
_DISK_TIMEOUT_S: Final = 120.0
_DAY_US: Final = 86_400_000_000
_AUDIO: Final = frozenset({".wav", ".mp3", ".ogg", ".opus", ".flac", ".au"})
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class _File(NamedTuple):
    """``seen_s``: since when it looks like that, by the monotonic clock."""

    path: str
    size: int
    mtime_ns: int
    seen_s: float

    @property
    def uuids(self) -> list[str]:
        return [found.lower() for found in _UUID.findall(PurePosixPath(self.path).name)]


class _Walked(NamedTuple):
    """Audio files with a UUID in their name that are new, or changed; those known already; how many have none.

    ``rest_after``: there are more such files than one walk takes, the next ones from behind this path. ``cut``: there
    is more than a walk looks at.
    """

    files: list[_File]
    known: dict[str, int]
    nameless: int
    rest_after: str | None
    cut: bool


class Sweep:
    """``run`` is to be supervised. ``on_found()`` is called when there is something new for the keeper.

    ``analyses``: calls whose recording is found are to be analysed. ``unknown`` counts the audio files of no call.
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
        analyses: bool = False,
        on_found: Callable[[], None] = lambda: None,
        now_us: Callable[[], int] = clock_us,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor, self._store, self._folders = executor, store, folders
        self._settings = settings.recordings
        self._node, self._metrics, self._analyses, self._on_found = node, metrics, analyses, on_found
        self._now_us, self._monotonic_s = now_us, monotonic_s
        self._threads = Threads(1)
        self._walked_at = float("-inf")
        self._pending: dict[str, _File] = {}
        self._known: dict[str, int] = {}
        self._strangers: set[str] = set()
        self._nameless = 0
        self._rest_after: str | None = None
        self._incomplete = False
        self._lost_after: str | None = None
        metrics.gauge(
            "callengine_recordings_unknown",
            "Audio files below recordings.directories of the last days that belong to no call.",
            lambda: float(self.unknown),
        )
        metrics.gauge(
            "callengine_recordings_walk_incomplete",
            "1 where the last walk below recordings.directories did not get to all that is there, else 0.",
            lambda: float(self._incomplete),
        )

    @property
    def unknown(self) -> int:
        """How many audio files of the last days belong to no call."""
        return self._nameless + len(self._strangers)

    def run(self) -> None:
        """At once, then every now and then, until it is killed. What is away is left for the next time."""
        while True:
            try:
                self.once()
            except (StoreError, TimeoutError) as error:
                log.debug("the sweep goes on later: %s", error)
            gevent.sleep(_TURN_EVERY_S)

    def once(self) -> None:
        """One turn, with bounded work. Raises StoreUnavailable."""
        node = self._node()
        if not node:
            return
        now_s = self._monotonic_s()
        if now_s - self._walked_at >= WALK_EVERY_S:
            self._walked_at = now_s
            self._lost_after = None
            self._take(within(_WALK_TIMEOUT_S, self._threads, self._walk), now_s)
            self._find_lost(node)
        elif self._lost_after is not None:
            self._find_lost(node)
        settled = [file for file in self._pending.values() if now_s - file.seen_s >= SETTLE_S][:_BATCH]
        if settled:
            self._attribute(node, within(_DISK_TIMEOUT_S, self._threads, lambda: self._look_again(settled, now_s)))

    # -- what lies there ---------------------------------------------------------------------------------------------

    def _walk(self) -> _Walked:
        """In a thread. Days are so long that it does not matter whose clock they are measured by."""
        newer_than_s = (self._now_us() - self._settings.sweep_days * _DAY_US) / 1_000_000
        known: dict[str, int] = {}
        nameless = 0
        cut: list[bool] = []

        def new() -> Iterator[_File]:
            nonlocal nameless
            for path, status in self._folders.walk(newer_than_s, on_limit=lambda: cut.append(True)):
                if path.suffix.lower() not in _AUDIO:
                    continue
                text = str(path)
                if not _UUID.search(path.name):
                    nameless += 1
                elif self._known.get(text) == status.st_mtime_ns:
                    known[text] = status.st_mtime_ns
                else:
                    yield _File(text, status.st_size, status.st_mtime_ns, 0.0)

        # Those that do not fit into what is known come up again at each walk, and must not keep out the others: each
        # walk goes on behind the last one's end, in the order of the paths, and from the beginning behind the last.
        after = self._rest_after or ""
        found = heapq.nsmallest(_MAX_PENDING + 1, new(), key=lambda file: (file.path <= after, file.path))
        more = len(found) > _MAX_PENDING
        found = found[:_MAX_PENDING]
        return _Walked(found, known, nameless, found[-1].path if more else None, bool(cut))

    def _take(self, walked: _Walked, now_s: float) -> None:
        before = self._pending
        self._pending = {file.path: _since(before.get(file.path), file, now_s) for file in walked.files}
        self._known = walked.known
        self._strangers.intersection_update(walked.known)
        self._nameless = walked.nameless
        self._rest_after = walked.rest_after
        self._incomplete = walked.cut or walked.rest_after is not None

    def _look_again(self, files: Sequence[_File], now_s: float) -> list[_File]:
        """In a thread: each as it looks now; those that are gone, or that we may not read, are left out."""
        found = []
        for file in files:
            try:
                descriptor, status = self._folders.open(file.path)
            except RecordingError:
                self._pending.pop(file.path, None)
                continue
            os.close(descriptor)
            found.append(_since(file, _File(file.path, status.st_size, status.st_mtime_ns, 0.0), now_s))
        return found

    # -- whose it is -------------------------------------------------------------------------------------------------

    def _attribute(self, node: str, files: Sequence[_File]) -> None:
        settled = []
        for file in files:
            if file.seen_s == self._pending[file.path].seen_s:
                settled.append(file)
            else:
                self._pending[file.path] = file
        uuids = {uuid for file in settled for uuid in file.uuids}
        named = self._store.run(lambda db: recordings.calls_named(db, node, uuids), _TIMEOUT_S)
        calls = {call.id: call for call in named.values()}
        rows = self._store.run(lambda db: {c: recordings.of_call(db, c) for c in calls}, _TIMEOUT_S)
        for file in settled:
            call = next((named[uuid] for uuid in file.uuids if uuid in named), None)
            if call is None:
                self._strangers.add(file.path)
                self._settle(file)
                continue
            row = self._row_of(file.path, rows[call.id])
            if row is not None:
                self._leftover(row)
                self._settle(file)
            elif call.live:
                self._pending[file.path] = file._replace(seen_s=self._monotonic_s())
            else:
                self._adopt(node, call, file)
                self._settle(file)

    def _row_of(self, path: str, rows: Sequence[Recording]) -> Recording | None:
        for row in rows:
            try:
                if str(self._folders.ours(row.path)) == path:
                    return row
            except RecordingOutside:
                continue
        return None

    def _settle(self, file: _File) -> None:
        """It need not be looked at again unless it changes."""
        self._pending.pop(file.path, None)
        if len(self._known) < _MAX_KNOWN:
            self._known[file.path] = file.mtime_ns

    def _adopt(self, node: str, call: Named, file: _File) -> None:
        path = theirs(self._folders, self._settings.path_map, file.path)
        now_us = self._now_us()
        analyses = self._analyses
        if self._executor.execute(
            lambda db: recordings.adopt(db, node, call, path, now_us, analyses=analyses), _TIMEOUT_S
        ):
            log.warning(
                "a recording of call %s was found that nothing had told of", call.id, extra={"call_id": call.id}
            )
            self._metrics.recordings_swept.labels("adopted").inc()
            self._on_found()

    def _leftover(self, row: Recording) -> None:
        """What is in the bucket, and was to be deleted here when we were killed."""
        wanted = row.status == "ready" and row.storage == "s3" and not self._settings.keep_local
        if (
            wanted
            and within(_DISK_TIMEOUT_S, self._threads, lambda: remove(self._folders, row.path, row.sha256)).bytes
            is not None
        ):
            log.info("the file of recording %s is in the bucket, and was deleted here", row.id)
            self._metrics.recordings_swept.labels("leftover").inc()

    # -- what was missing --------------------------------------------------------------------------------------------

    def _find_lost(self, node: str) -> None:
        """A page of the recordings that failed since their file could not be had: perhaps it can now."""
        since_us = self._now_us() - self._settings.sweep_days * _DAY_US
        after = self._lost_after
        rows = self._store.run(lambda db: recordings.lost(db, node, since_us, after, _BATCH), _TIMEOUT_S)
        self._lost_after = rows[-1].id if len(rows) == _BATCH else None
        there = within(_DISK_TIMEOUT_S, self._threads, lambda: [row for row in rows if self._is_there(row)])
        for row in there:
            self._revive(row)

    def _is_there(self, row: Recording) -> bool:
        try:
            descriptor, status = self._folders.open(self._folders.ours(row.path))
        except RecordingError:
            return False
        os.close(descriptor)
        return status.st_size > 0

    def _revive(self, row: Recording) -> None:
        now_us = self._now_us()
        if self._executor.execute(lambda db: recordings.revive(db, row, now_us), _TIMEOUT_S):
            log.info("the file of recording %s has turned up", row.id)
            self._metrics.recordings_swept.labels("revived").inc()
            self._on_found()


def _since(before: _File | None, now: _File, now_s: float) -> _File:
    """``now``, with the moment since which it has looked like that."""
    same = before is not None and before[1:3] == now[1:3]
    return now._replace(seen_s=before.seen_s if same and before is not None else now_s)


def theirs(folders: Folders, path_map: Mapping[str, Path], path: str) -> str:
    """The switch's name of a file of ours, by the longest entry of ``recordings.path_map`` that leads there."""
    ours = PurePosixPath(path)
    for theirs_root, our_root in sorted(path_map.items(), key=lambda item: -len(item[1].parts)):
        if ours.is_relative_to(our_root):
            named = str(PurePosixPath(theirs_root) / ours.relative_to(our_root))
            if str(folders.ours(named)) == path:
                return named
    return path
