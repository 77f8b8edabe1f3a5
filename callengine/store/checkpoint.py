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
            cast(Any, self._db).connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except Exception:  # noqa: BLE001  whatever it is, the writer meets it as well, and tells it
            if self._db is not None:
                discard(self._db)
                self._db = None
        else:
            self.done += 1
