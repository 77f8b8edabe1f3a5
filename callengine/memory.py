"""After a burst its memory is given back, once it is quiet: the C library keeps what was freed between things that
stayed (bodies of events are most of it), and SQLite the pages that a burst of writes touched.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import gevent
import peewee

from callengine.errors import StoreError
from callengine.store import sql
from callengine.store.writer import Writer
from callengine.threads import Threads, in_thread

EVERY_S: Final = 1.0
_SHRINK_TIMEOUT_S: Final = 10.0


def trim() -> bool:
    """Give back what the C library holds in reserve (malloc_trim(3), of glibc alone); whether there was anything.

    Takes up to some milliseconds, without the interpreter.
    """
    found = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found is not None and bool(found(0))


class Memory:
    """``run`` is to be supervised. ``done()`` is how far it is and what is kept: quiet is where that stands still.

    ``writer`` is that of an SQLite store, else None.
    """

    def __init__(self, done: Callable[[], object], writer: Writer | None, every_s: float = EVERY_S) -> None:
        self._done = done
        self._writer = writer
        self._every_s = every_s
        self.given_back = 0
        """How often that was done: once after each burst, and once after its calls left the book."""

    def run(self) -> None:
        """Until it is killed."""
        threads = Threads(1)
        seen, owed = self._done(), False
        try:
            while True:
                gevent.sleep(self._every_s)
                done = self._done()
                if done != seen:
                    seen, owed = done, True
                elif owed and (self._writer is None or not self._writer.depth):
                    owed = False
                    self._give_back(threads)
        finally:
            threads.kill()

    def _give_back(self, threads: Threads) -> None:
        if self._writer is not None:
            with suppress(StoreError):  # told by whoever has something to write
                self._writer.execute(_shrink, _SHRINK_TIMEOUT_S, ahead=True)
        in_thread(trim, threads)
        self.given_back += 1


def _shrink(db: peewee.Database) -> None:
    """Of the connection that writes (https://sqlite.org/pragma.html#pragma_shrink_memory)."""
    sql.run(db, "PRAGMA shrink_memory")
