"""The inbox: posted CDRs on our own disk, until what they tell is committed.

The switch posts from the thread of the call that has just ended, and that thread waits: so a record is taken as soon as
it is safe on the disk, and what does not fit is refused at once. FreeSWITCH then writes it to its ``err-log-dir``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gevent.lock import BoundedSemaphore

from callengine.threads import Threads

log = logging.getLogger(__name__)

_THREADS: Final = 8
_MAX_WRITING: Final = 64
_TIMEOUT_S: Final = 1.0
_DRAFT: Final = ".tmp"


class Inbox:
    """``put`` keeps a record, bounded in files and bytes. ``on_put(seconds)`` is called for each that was kept."""

    def __init__(
        self,
        directory: Path,
        *,
        max_files: int,
        max_bytes: int,
        on_put: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.directory = directory
        self.files = 0
        self.bytes = 0
        self.refused = 0
        self.on_new: Callable[[], None] = lambda: None
        """Called once a record was kept."""
        self._max_files, self._max_bytes = max_files, max_bytes
        self._on_put, self._clock, self._timeout_s = on_put, clock, timeout_s
        self._threads = Threads(_THREADS)
        self._free = BoundedSemaphore(_THREADS)
        self._writing = 0
        self._number = 0
        self._reason: str | None = None

    def prepare(self) -> None:
        """Makes the folder, counts what waits in it, and removes what was never finished. Blocks. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = size = 0
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.name.endswith(_DRAFT):
                    os.unlink(entry.path)
                    continue
                files += 1
                size += entry.stat(follow_symlinks=False).st_size
        self.files, self.bytes = files, size

    def put(self, body: bytes) -> bool:
        """True once the record is on the disk; False, at once or within a second, where it is not known to be.

        Waits for native threads alone, never for the database.
        """
        size = len(body)
        if self.files >= self._max_files or self.bytes + size > self._max_bytes or self._writing >= _MAX_WRITING:
            return self._refuse("it is full")
        began = self._clock()
        self.files += 1
        self.bytes += size
        self._writing += 1
        self._number += 1
        if not self._free.acquire(timeout=self._timeout_s):
            self._ended(size, kept=False)
            return self._refuse("the disk does not answer")
        result = self._threads.spawn(self._write, f"{time.time_ns()}-{self._number}.json", body)
        result.rawlink(lambda done: self._written(size, kept=done.successful() and done.value is None))
        result.wait(max(self._timeout_s - (self._clock() - began), 0.0))
        if not result.ready():
            return self._refuse("the disk does not answer")
        problem = result.get()
        if problem is not None:
            return self._refuse(problem)
        self._reason = None
        self._on_put(self._clock() - began)
        self.on_new()
        return True

    def taken(self, size: int) -> None:
        """One of ``size`` bytes is no longer there."""
        self.files = max(0, self.files - 1)
        self.bytes = max(0, self.bytes - size)

    def close(self) -> None:
        """Ends its threads."""
        self._threads.kill()

    def _refuse(self, reason: str) -> bool:
        self.refused += 1
        if reason != self._reason:
            self._reason = reason
            log.error("posted CDRs are refused: %s (%d wait, %d bytes)", reason, self.files, self.bytes)
        return False

    def _written(self, size: int, *, kept: bool) -> None:
        self._free.release()
        self._ended(size, kept=kept)

    def _ended(self, size: int, *, kept: bool) -> None:
        self._writing -= 1
        if not kept:
            self.taken(size)

    def _write(self, name: str, body: bytes) -> str | None:
        """In a thread. None, or why it failed."""
        draft = self.directory / f".{name}{_DRAFT}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                left = memoryview(body)
                while left:
                    left = left[file.write(left) :]
                os.fsync(descriptor)
            os.rename(draft, self.directory / name)
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            return error.strerror or type(error).__name__
        return None
