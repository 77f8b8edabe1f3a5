"""Reading files of recordings off the hub: a few native threads of their own open them and read them in pieces.

A disk that hangs (NFS) stops these threads, and whoever wants a recording; nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

import gevent
from gevent.threadpool import ThreadPool

from callengine.errors import RecordingUnreadable
from callengine.recordings.paths import Folders

T = TypeVar("T")

THREADS: Final = 4
OPEN_TIMEOUT_S: Final = 10.0


class OpenFile:
    """An open regular file. ``size`` in bytes, ``modified_s`` since the epoch, both as of when it was opened."""

    def __init__(self, descriptor: int, status: os.stat_result, threads: ThreadPool) -> None:
        self.size = status.st_size
        self.modified_s = status.st_mtime
        self._stream = os.fdopen(descriptor, "rb", buffering=0)
        self._threads = threads

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset`` on; fewer only where the file ends. Raises ``OSError``.

        Waits for as long as the disk takes: the caller sets the bound.
        """
        return run_in(self._threads, lambda: self._read(offset, length))

    def _read(self, offset: int, length: int) -> bytes:
        parts = []
        while length and (part := os.pread(self._stream.fileno(), length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Gives the descriptor back; again is no error. A read that goes on meanwhile ends by itself."""
        self._stream.close()


class Reading:
    """Opens the files of recordings below the configured directories."""

    def __init__(self, folders: Folders, threads: int = THREADS) -> None:
        self._folders = folders
        self._threads = ThreadPool(threads)

    def open(self, path: Path | str) -> OpenFile:
        """Opens the file at ``path`` (ours). Raises the ``RecordingError`` tree, also where the disk takes too long."""
        timeout = gevent.Timeout(OPEN_TIMEOUT_S)
        with timeout:
            try:
                return run_in(self._threads, lambda: self._open(path))
            except gevent.Timeout as error:
                if error is not timeout:
                    raise
                raise RecordingUnreadable(path, f"no answer from the disk within {OPEN_TIMEOUT_S:g} s") from None

    def _open(self, path: Path | str) -> OpenFile:
        return OpenFile(*self._folders.open(path), self._threads)

    def close(self) -> None:
        """Lets the threads end, those that are at work not awaited."""
        if not len(self._threads):
            self._threads.kill()


def run_in(threads: ThreadPool, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises in a native thread. An error is handed over as a value: one that is raised in a
    pool's thread is also printed on standard error."""

    def outcome() -> tuple[T | None, BaseException | None]:
        try:
            return work(), None
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            return None, error

    value, error = cast(tuple[T, BaseException | None], threads.spawn(outcome).get())
    if error is not None:
        raise error
    return value
