"""The files of the spool. ``keep`` is one write a batch and never waits; everything else is ``tend``'s, off the reader.

A segment goes once the tracker has applied all that is in it and the writer has committed whatever came of that. There
is no fsync: the page cache outlives the process, kill -9 included, but not the machine.

The spool is bounded by ``max_bytes``, and leaves ``reserve_bytes`` of the disk to the database. Where it cannot write,
it says so and goes on trying. What is in it stays: it tells of calls that ended, and nothing else does, while the
newest events are mostly of calls that live, which the switch tells of again.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from gevent import get_hub

from callengine.calls.facts import Fact
from callengine.esl.intake import Place as Lying
from callengine.spool import frames, kept
from callengine.spool.frames import EVENTS, FACTS, NODE, Beginning
from callengine.store.clock import clock_us

log = logging.getLogger(__name__)

SUFFIX: Final = ".spool"
ASIDE: Final = "aside"
_SEGMENT_BYTES: Final = 16 << 20
_SEGMENT_S: Final = 5.0
# A fact that came before the channel was described waits in the book, for milliseconds as a rule.
_LINGER_S: Final = 5.0
_RESERVE_BYTES: Final = 64 << 20
_RETRY_S: Final = 1.0
_MAX_ASIDE: Final = 100


class Place(NamedTuple):
    """Where a batch lies."""

    path: Path
    start: int
    end: int
    seed: int


class _Segment:
    __slots__ = ("closed", "damaged", "mark", "marked_s", "path", "size", "upto")

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self.size = size
        self.upto = 0
        self.closed = False
        self.damaged = False
        self.mark: int | None = None
        self.marked_s = 0.0


class Spool:
    """One a process and a state directory: only who holds the directory's lock may ``open`` it.

    ``switch`` is the event socket's address, for segments from before the switch told its name. For the metrics:
    ``bytes``, ``segments``, ``reason``, ``skipped``, ``set_aside``, `oldest_age_s`, `left_behind`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        node: str = "",
        switch: str = "",
        max_bytes: int,
        segment_bytes: int = _SEGMENT_BYTES,
        segment_s: float = _SEGMENT_S,
        linger_s: float = _LINGER_S,
        reserve_bytes: int = _RESERVE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self.directory = directory
        self.node = node
        self.switch = switch
        self.max_bytes = max_bytes
        self.bytes = 0
        self.reason: str | None = None
        """Why nothing is written at the moment; None while it is."""
        self.skipped = 0
        """Events and facts that were not written, since the start."""
        self.set_aside = 0
        self._segment_bytes = min(segment_bytes, max_bytes // 8)
        self._segment_s = segment_s
        self._linger_s = linger_s
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._now_us = now_us
        self._segments: list[_Segment] = []
        self._left: list[_Segment] = []
        self._current: _Segment | None = None
        self._opened_s = 0.0
        self._seed = 0
        self._fd = -1
        self._number = 0
        self._retry_s = 0.0
        self._usable = False

    # -- what can be seen of it --------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it was opened."""
        return self._usable

    @property
    def segments(self) -> int:
        """How many files there are."""
        return len(self._segments) + len(self._left)

    @property
    def left_behind(self) -> list[Path]:
        """The segments of an earlier life that are not replayed yet, the oldest first."""
        return [segment.path for segment in self._left]

    @property
    def has_room(self) -> bool:
        """Whether it takes what comes, and less than half of its bound is taken."""
        return self._usable and self.reason is None and self.bytes * 2 < self.max_bytes

    @property
    def status(self) -> str:
        """In a few words, for people."""
        return "off" if not self._usable else self.reason or "ok"

    # -- life --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin. What lies there is of an earlier life, see `left_behind`. A folder that cannot be used is said."""
        if self._usable:
            return
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(path for path in self.directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal())
            self._left = [_Segment(path, path.stat().st_size) for path in found]
            aside = [path for path in self.directory.glob(f"{ASIDE}/*{SUFFIX}") if path.stem.isdecimal()]
        except OSError as error:
            log.error("the spool %s cannot be used: %s", self.directory, error.strerror)
            return
        # Nor those of segments that were set aside: the next one would take their place there.
        self._number = max((int(path.stem) for path in (*found, *aside)), default=0)
        self.bytes = sum(segment.size for segment in self._left)
        self._usable = True

    def name_node(self, node: str) -> None:
        """The switch told its name."""
        if node != self.node:
            self.node = node
            if self._current is not None:
                self._append(NODE, [node.encode("utf-8", "replace")])

    def close(self) -> None:
        """End the current segment; what comes from now on is not kept."""
        self._end_segment()
        self._usable = False

    # -- writing: on the hub, one write a batch ----------------------------------------------------------------------

    def keep(self, bodies: Sequence[bytes], upto: int) -> Place | None:
        """Write events down; ``upto``: the number of the last of them, see `tend`. None where that cannot be done."""
        place = self._append(EVENTS, bodies)
        if place is not None and self._current is not None:
            self._current.upto = upto
        return place

    def keep_fact(self, fact: Fact) -> None:
        """Write a fact of ours down, if it exists nowhere else."""
        body = kept.encode(fact) if self._usable else None
        if body is not None:
            self._append(FACTS, [body])

    def _append(self, kind: int, bodies: Sequence[bytes]) -> Place | None:
        if not self._usable or (self.reason is not None and self._clock() < self._retry_s):
            self.skipped += len(bodies)
            return None
        try:
            segment = self._segment()
            place = self._write(segment, frames.encode(kind, bodies, self._seed, self._now_us()))
        except OSError as error:
            self._failed(error.strerror or type(error).__name__, len(bodies))
            return None
        if self.reason is not None:
            log.warning("the spool is written again; %d events were not", self.skipped)
            self.reason = None
        return place

    def _segment(self) -> _Segment:
        """The segment to write to; OSError."""
        segment = self._current
        if segment is not None and (
            segment.size >= self._segment_bytes or self._clock() - self._opened_s >= self._segment_s
        ):
            self._end_segment()
            segment = None
        if segment is None:
            segment = self._begin_segment()
        return segment

    def _begin_segment(self) -> _Segment:
        # With some way to go before it is written again, lest it is turned on and off with every segment.
        bound = self.max_bytes if self.reason is None else self.max_bytes * 9 // 10
        if self.bytes + self._segment_bytes > bound:
            raise OSError(0, f"it holds {self.bytes} bytes, as much as it may")
        disk = os.statvfs(self.directory)
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes:
            raise OSError(0, "the disk is all but full")
        self._number += 1
        path = self.directory / f"{self._number:012d}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._seed = secrets.randbits(32)
        self._opened_s = self._clock()
        segment = self._current = _Segment(path)
        self._segments.append(segment)
        beginning = Beginning(node=self.node, switch=self.switch, at_us=self._now_us(), seed=self._seed)
        self._write(segment, frames.begin(beginning))
        return segment

    def _write(self, segment: _Segment, data: bytes) -> Place:
        start = segment.size
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]
        segment.size += len(data)
        self.bytes += len(data)
        return Place(segment.path, start, segment.size, self._seed)

    def _failed(self, reason: str, count: int) -> None:
        """Leave the file as it was before, and try again in a while."""
        segment = self._current
        if segment is not None:
            with suppress(OSError):
                os.ftruncate(self._fd, segment.size)
            self._end_segment()
            if not segment.size:
                self._segments.remove(segment)
                with suppress(OSError):
                    segment.path.unlink()
        if self.reason is None:
            log.error("the spool is not written for now (%s): what comes meanwhile is lost if we are killed", reason)
        self.reason = reason
        self.skipped += count
        self._retry_s = self._clock() + _RETRY_S

    def _end_segment(self) -> None:
        if self._current is not None:
            self._current.closed = True
            self._current = None
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    # -- reading back: in a native thread ----------------------------------------------------------------------------

    @staticmethod
    def fetch(place: Lying, max_bytes: int) -> tuple[list[bytes], int]:
        """The events of the first batches of ``place``, about ``max_bytes`` of them, and where the next begins.

        Blocks: for a thread. OSError.
        """
        found: list[frames.Frame] = []
        fd = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for size in (min(max_bytes, place.end - place.start), place.end - place.start):
                data = os.pread(fd, size, place.start)
                found = [frame for frame in frames.frames(data, 0, place.seed) if frame.whole]
                if found:
                    break
        finally:
            os.close(fd)
        bodies = [body for frame in found if frame.kind == EVENTS for body in frame.bodies]
        return bodies, place.start + found[-1].end if found else place.end

    # -- tidying up: in a greenlet of its own ------------------------------------------------------------------------

    def tend(self, done: int, mark: Callable[[], int], committed: Callable[[int], bool], *, last: bool = False) -> None:
        """Remove what is not needed any longer.

        ``done``: the number of events that were applied. ``mark`` stands for all that was handed to the writer up to
        now, ``committed`` tells whether that is committed. ``last``: nothing more is going to come.
        """
        current = self._current
        if current is not None and (last or self._clock() - self._opened_s >= self._segment_s):
            self._end_segment()
        now = self._clock()
        # Each from when it was applied, not one after the other: where much comes they would never all go.
        for segment in self._segments:
            if not segment.closed or segment.upto > done:
                break
            if segment.mark is None:
                segment.mark, segment.marked_s = mark(), now
        while self._segments:
            segment = self._segments[0]
            if segment.mark is None:
                return
            if (now - segment.marked_s < self._linger_s and not last) or not committed(segment.mark):
                return
            self._remove(segment)

    def replayed(self, path: Path, *, damaged: bool) -> None:
        """A segment of an earlier life was applied: it goes when that is committed, aside where it is ``damaged``."""
        segment = next(segment for segment in self._left if segment.path == path)
        self._left.remove(segment)
        segment.closed, segment.damaged = True, damaged
        # Before those of this life: what is applied first is committed first.
        at = sum(1 for other in self._segments if other.path < path)
        self._segments.insert(at, segment)

    def put_aside(self, path: Path, reason: str) -> None:
        """A segment that is none of ours, or not to be read, is kept for people to look at."""
        segment = next(segment for segment in self._left if segment.path == path)
        log.error("the segment %s of the spool is set aside: %s", path.name, reason)
        if not self._move(segment):
            return
        self._left.remove(segment)

    def _remove(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        if segment.damaged:
            self._move(segment)
            return
        self.bytes -= segment.size
        error = get_hub().threadpool.apply(_unlink, (segment.path,))
        if error is not None:
            log.error("%s cannot be deleted: %s", segment.path, error)

    def _move(self, segment: _Segment) -> bool:
        error = get_hub().threadpool.apply(_set_aside, (segment.path,))
        if error is not None:
            log.error("%s cannot be set aside: %s", segment.path, error)
            return False
        self.set_aside += 1
        self.bytes -= segment.size
        return True


def _unlink(path: Path) -> str | None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _set_aside(path: Path) -> str | None:
    """Bounded: the oldest that was set aside gives way."""
    folder = path.parent / ASIDE
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in sorted(folder.glob(f"*{SUFFIX}"))[: -_MAX_ASIDE + 1]:
            for file in folder.glob(f"{old.stem}.*"):  # its note and its mark too, see ``quarantine.Shelf``
                file.unlink(missing_ok=True)
        path.replace(folder / path.name)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None
