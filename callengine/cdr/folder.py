"""A directory that CDRs come to: which files are new there, and up to where all are done with.

``look`` blocks and belongs into a native thread; all else is quick. A file is known by name, size and time of change:
the switch writes in place, and over a file of the same name. What is done with is remembered by that, and across
restarts by the *mark*: the time of change up to which everything is.
"""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from callengine.errors import CallengineError

_SUFFIX: Final = ".json"
_MAX_SEEN: Final = 200_000
_UNCHANGED_NS: Final = 2_000_000_000
_FULL_LOOK_S: Final = 30.0


class Unusable(CallengineError):
    """The file cannot be read, and never will as it is; the message says why."""


class Found(NamedTuple):
    """A file as it was found; ``mtime_ns`` is the file system's stamp of its last change."""

    mtime_ns: int
    name: str
    size: int


class Folder:
    """One directory. ``floor_ns``: files that have not changed since then are not looked at.

    Not to be used by two threads at once.
    """

    def __init__(self, directory: Path, *, floor_ns: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.floor_ns = floor_ns
        self.problem: str | None = None
        """Why the directory could not be listed the last time; None where it could."""
        self.took_s = 0.0
        """How long the last look took."""
        self.cut = False
        """Whether the last look found more than it was to return."""
        self._clock = clock
        self._seen: dict[str, Found] = {}
        self._in_hand: dict[str, Found] = {}
        self._newest_ns = floor_ns
        self._changed_ns = -1
        self._settled = False
        self._looked_s = float("-inf")

    @property
    def in_hand(self) -> int:
        """How many files were found and are not done with."""
        return len(self._in_hand)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest of these changed last."""
        return min((found.mtime_ns for found in self._in_hand.values()), default=None)

    @property
    def mark_ns(self) -> int:
        """All files that changed up to then are done with."""
        oldest = self.oldest_ns
        return self._newest_ns if oldest is None else min(oldest - 1, self._newest_ns)

    def look(self, limit: int) -> list[Found]:
        """Files that are new or changed, the oldest first, and at most ``limit``; they are in hand from now on.

        A directory that is as it was is not listed again, but for every 30 seconds: a file that was written over does
        not change it.
        """
        began = self._clock()
        try:
            changed_ns = os.stat(self.directory).st_mtime_ns
            if changed_ns == self._changed_ns and self._settled and began - self._looked_s < _FULL_LOOK_S:
                return []
            # Within its clock's tick a directory can change again and look the same.
            self._settled = abs(time.time_ns() - changed_ns) > _UNCHANGED_NS
            found = self._list(limit + 1)
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
            self._changed_ns = -1
            return []
        self.problem = None
        self._changed_ns, self._looked_s = changed_ns, began
        self.took_s = self._clock() - began
        self.cut = len(found) > limit
        if self.cut:
            self._changed_ns = -1
        for each in found[:limit]:
            self._in_hand[each.name] = each
        return found[:limit]

    def list_all(self) -> list[Found]:
        """All files that are not older than ``floor_ns``, the oldest first; none is in hand. Blocks. Raises OSError."""
        return sorted(self._files())

    def _list(self, limit: int) -> list[Found]:
        still: dict[str, Found] = {}

        def fresh() -> Iterator[Found]:
            for found in self._files():
                if self._seen.get(found.name) == found:
                    still[found.name] = found
                elif self._in_hand.get(found.name) != found:
                    yield found

        result = heapq.nsmallest(limit, fresh())
        self._seen = still
        self._bound_seen()
        return result

    def _files(self) -> Iterator[Found]:
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if not entry.name.endswith(_SUFFIX) or entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode) and status.st_mtime_ns > self.floor_ns:
                    yield Found(status.st_mtime_ns, entry.name, status.st_size)

    def _bound_seen(self) -> None:
        """Where too many are remembered, the older half is told by its time alone."""
        if len(self._seen) > _MAX_SEEN:
            kept = heapq.nlargest(_MAX_SEEN // 2, self._seen.values())
            self.floor_ns = max(self.floor_ns, min(kept[-1].mtime_ns - 1, self.mark_ns))
            self._seen = {found.name: found for found in kept}

    def read(self, found: Found, max_bytes: int) -> bytes:
        """The file's bytes. Blocks. Raises Unusable, FileNotFoundError, and OSError where a later try may do."""
        descriptor = os.open(self.directory / found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unusable("it is no regular file")
            if status.st_size > max_bytes:
                raise Unusable(f"it has {status.st_size} bytes, more than {max_bytes}")
            parts, left = [], max_bytes + 1
            while left > 0 and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

    def finish(self, found: Found) -> None:
        """The file is done with."""
        if self._in_hand.get(found.name) == found:
            del self._in_hand[found.name]
        self._seen[found.name] = found
        self._newest_ns = max(self._newest_ns, found.mtime_ns)

    def put_back(self, found: Found) -> None:
        """The file is to be found again by the next look."""
        if self._in_hand.get(found.name) == found:
            del self._in_hand[found.name]
        self._changed_ns = -1

    def put_back_all_but(self, kept: Collection[Found]) -> None:
        """The same of all that is in hand, but for these."""
        for found in list(self._in_hand.values()):
            if found not in kept:
                self.put_back(found)

    def delete(self, found: Found) -> None:
        """Deletes the file if it is the one that was found. Blocks. Raises OSError."""
        path = self.directory / found.name
        try:
            status = os.stat(path, follow_symlinks=False)
            if (status.st_mtime_ns, status.st_size) == (found.mtime_ns, found.size):
                os.unlink(path)
        except FileNotFoundError:
            return
