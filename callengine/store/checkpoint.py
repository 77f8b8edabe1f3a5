"""SQLite's checkpoints, apart from the commits: the log goes into the database file while the writer goes on.

Within a commit a checkpoint makes it, and whoever waits for it, wait for the disk (20 to 60 ms instead of 3).
"""

from __future__ import annotations

from typing import Any, Final, cast

import gevent
import peewee

from callengine.store.database import Store, discard
from callengine.threads import Threads

EVERY_S: Final = 0.5
_SLOW_S: Final = 30.0
_LONG_PAGES: Final = 4000
_FEW_PAGES: Final = 200
_TIMES: Final = 3
_TURN_S: Final = 0.2


class Checkpoints:
    """``run`` is to be supervised; it returns at once where there is no SQLite. One that fails is left for the next."""

    def __init__(self, store: Store, every_s: float = EVERY_S) -> None:
        self._store = store
        self._every_s = every_s
        self._db: peewee.Database | None = None
        self.done = 0
        """How many were made."""

    def run(self) -> None:
        """Twice a second, in a native thread, until it is killed."""
        if self._store.path is None:
            return
        thread = Threads(1)
        try:
            while True:
                gevent.sleep(self._every_s)
                made = thread.spawn(self.once)
                while not made.ready():
                    # No second one beside it; a disk that hangs is told by whoever writes.
                    made.wait(_SLOW_S)
        finally:
            thread.kill()

    def once(self) -> None:
        """One that waits for nobody (https://sqlite.org/pragma.html#pragma_wal_checkpoint). In the thread."""
        try:
            if self._db is None:
                self._db = self._store.connection(readonly=False)
                self._db.connect()
            self._checkpoint(cast(Any, self._db).connection())
        except Exception:  # noqa: BLE001  whatever it is, the writer meets it as well, and tells it
            if self._db is not None:
                discard(self._db)
                self._db = None
        else:
            self.done += 1

    def _checkpoint(self, connection: Any) -> None:
        before = 0
        for _ in range(_TIMES):
            log = self._passive(connection)
            if log < _LONG_PAGES:
                return
            if log - before < _FEW_PAGES:
                break
            before = log
        # Of a log that goes on meanwhile a little is always left. Only one that is all in the file begins anew, in the
        # place of the old: else it grows until a commit does all of this by itself, and takes new memory for each page.
        with self._store.turn(_TURN_S) as held:
            if held:
                self._passive(connection)

    @staticmethod
    def _passive(connection: Any) -> int:
        """How many pages are in the log."""
        return int(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
