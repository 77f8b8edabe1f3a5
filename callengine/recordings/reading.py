"""Reading files of recordings off the hub: a few native threads of their own open them and read them in pieces.

A disk that hangs (NFS) stops these threads, and whoever wants a recording; nothing else.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from callengine.errors import RecordingUnreadable
from callengine.recordings.paths import Folders
from callengine.threads import Threads, in_thread, within

THREADS: Final = 4
OPEN_TIMEOUT_S: Final = 10.0
HASH_TIMEOUT_S: Final = 30.0
"""For the first look at a file after the start, which hashes it; an hour of stereo (115 MB) takes 0.3 s."""


class OpenFile:
    """An open regular file. ``size`` in bytes, ``modified_s`` since the epoch, both as of when it was opened.

    One that is ``fixed`` must not be written to while it is read: who is let hear the old content is not let hear the
    new one.
    """

    def __init__(self, descriptor: int, status: os.stat_result, threads: Threads, *, fixed: bool = False) -> None:
        self.size = status.st_size
        self.modified_s = status.st_mtime
        self._as_opened = (status.st_size, status.st_mtime_ns) if fixed else None
        self._stream = os.fdopen(descriptor, "rb", buffering=0)
        self._threads = threads

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset`` on; fewer only where the file ends. Raises ``OSError``.

        Waits for as long as the disk takes: the caller sets the bound.
        """
        return in_thread(lambda: self._read(offset, length), self._threads)

    def _read(self, offset: int, length: int) -> bytes:
        parts = []
        while length and (part := os.pread(self._stream.fileno(), length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        if self._as_opened is not None:
            now = os.fstat(self._stream.fileno())
            if (now.st_size, now.st_mtime_ns) != self._as_opened:
                raise OSError(errno.ESTALE, "it was changed while it was read")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Gives the descriptor back; again is no error. A read that goes on meanwhile ends by itself."""
        self._stream.close()


class Reading:
    """Opens the files of recordings below the configured directories."""

    def __init__(self, folders: Folders, threads: int = THREADS) -> None:
        self._folders = folders
        self._threads = Threads(threads)
        # Of its own, and one: who asks for parts of a long file does not have it hashed as often, nor others wait.
        self._hashing = Threads(1)

    def open(self, path: Path | str, sha256: str | None = None) -> OpenFile:
        """Opens the file at ``path`` (ours), if its content is that of ``sha256`` (None: whatever it is).

        Raises the ``RecordingError`` tree, also where the disk takes too long.
        """
        try:
            return self._within(OPEN_TIMEOUT_S, self._threads, path, sha256, hashing=False)
        except BlockingIOError:
            return self._within(HASH_TIMEOUT_S, self._hashing, path, sha256, hashing=True)

    def _within(
        self, timeout_s: float, threads: Threads, path: Path | str, sha256: str | None, *, hashing: bool
    ) -> OpenFile:
        def work() -> OpenFile:
            descriptor, status = self._folders.open_same(path, sha256, hashing=hashing)
            return OpenFile(descriptor, status, self._threads, fixed=sha256 is not None)

        try:
            return within(timeout_s, threads, work)
        except TimeoutError as error:
            raise RecordingUnreadable(path, str(error)) from None

    def close(self) -> None:
        """Lets the threads end, those that are at work not awaited."""
        for threads in (self._threads, self._hashing):
            if not len(threads):
                threads.kill()
