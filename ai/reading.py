"""Reading recordings from the hub without holding it: each touch of the disk happens in a native thread.

What is read goes out in pieces. A socket takes megabytes in one call, for which the hub would be held for milliseconds;
between two pieces, others get their turn.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from callengine.ai.faults import Permanent
from callengine.ai.sdk import Audio

PIECE_BYTES: Final = 128 * 1024


class Part:
    """A part of a recording, read while it is sent: iterating gives its bytes in pieces, and may be done again."""

    def __init__(self, reader: Reader, start: int, end: int) -> None:
        self._reader, self._start, self._end = reader, start, end

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        for at in range(self._start, self._end, PIECE_BYTES):
            yield self._reader.at(at, min(PIECE_BYTES, self._end - at))


class Reader(io.RawIOBase):
    """A recording as a file object whose ``read`` waits for a native thread; a context manager that closes it.

    It is exactly ``size_bytes`` long: what a file grew by is not read, and one that shrank raises Permanent, which an
    upload in parts would otherwise try to read for ever.
    """

    def __init__(self, pool: ThreadPool, audio: Audio) -> None:
        super().__init__()
        self._pool = pool
        self._at = 0
        self.size_bytes = audio.size_bytes
        self._file = _opened(pool, audio.open)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size_bytes}[whence]
        self._at = min(max(0, start + offset), self.size_bytes)
        return self._at

    def part(self, size: int) -> Part:
        """The next ``size`` bytes, or what is left; not yet read."""
        start, self._at = self._at, min(self._at + size, self.size_bytes)
        return Part(self, start, self._at)

    def read(self, size: int | None = -1) -> bytes:
        return b"".join(self.part(self.size_bytes if size is None or size < 0 else size))

    def at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from there on."""
        got: bytes = _result(self._pool.spawn(_tried, os.pread, self._file.fileno(), size, offset))
        if len(got) < size:
            raise Permanent("a recording is shorter than it was")
        return got

    def close(self) -> None:
        if not self.closed:
            # A thread may be in the middle of a read, after a kill: closing waits for it, and the hub must not.
            self._pool.spawn(_tried, self._file.close)
        super().close()


def _opened(pool: ThreadPool, opener: Callable[[], BinaryIO]) -> BinaryIO:
    pending: AsyncResult[Any] = pool.spawn(_tried, opener)
    try:
        file: BinaryIO = _result(pending)
    except (gevent.GreenletExit, gevent.Timeout):
        pending.rawlink(lambda late: gevent.spawn(_close_late, pool, late))
        raise
    return file


def _close_late(pool: ThreadPool, late: AsyncResult[Any]) -> None:
    """Whoever wanted the file was killed before it was open."""
    tried = late.get()
    if tried is not None and tried[0] is not None:
        pool.spawn(_tried, tried[0].close)


def _tried(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """Runs in the thread. An error that left it would be printed by the hub, file name and all."""
    try:
        return function(*arguments), None
    except Exception as error:  # noqa: BLE001  it is raised again where the result is waited for
        return None, error


def _result(pending: AsyncResult[Any]) -> Any:
    value, error = pending.get() or (None, None)
    if isinstance(error, OSError):
        raise Permanent(f"a recording cannot be read ({errno.errorcode.get(error.errno or 0, 'OSError')})")
    if error is not None:
        raise error
    return value
