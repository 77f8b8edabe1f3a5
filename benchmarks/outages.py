"""Taking a database away from a running daemon, each kind in its own ways; for ``bench_outage``.

Each way is a context manager: the database is away inside it, and back after it. Each database is private to the run.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.chaos.databases import PostgresUnderTest, locked

_MOST_S: Final = 3600.0
# About 1.5 ms of SQLite's machine for each row.
_SLOW_SQLITE: Final = """
CREATE TRIGGER outage_slow BEFORE INSERT ON call_event BEGIN
  SELECT count(*) FROM
    (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) SELECT x FROM c);
END
"""
_SLOW_POSTGRES: Final = """
CREATE FUNCTION outage_slow() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END';
CREATE TRIGGER outage_slow BEFORE INSERT ON call_event FOR EACH ROW EXECUTE FUNCTION outage_slow()
"""

Way = Callable[[float], AbstractContextManager[None]]
"""Given how long it is going to be away, in seconds."""


class Postgres:
    """The ways of a server."""

    def __init__(self, server: PostgresUnderTest) -> None:
        self._server = server
        self.url = server.url

    @contextmanager
    def hanging(self, _seconds: float = 0.0) -> Iterator[None]:
        """All its processes are stopped: connections are taken by the kernel, and nothing is answered."""
        self._server.freeze()
        try:
            yield
        finally:
            self._server.thaw()

    @contextmanager
    def down(self, _seconds: float = 0.0) -> Iterator[None]:
        """Stopped at once; connections are refused."""
        self._server.stop_hard()
        try:
            yield
        finally:
            self._server.start()

    @contextmanager
    def hanging_then_down(self, seconds: float) -> Iterator[None]:
        """Half of each."""
        with self.hanging():
            time.sleep(seconds / 2)
        with self.down():
            yield

    @contextmanager
    def slow(self, _seconds: float = 0.0) -> Iterator[None]:
        """Each entry of a timeline takes 4 ms."""
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(_SLOW_POSTGRES)
        try:
            yield
        finally:
            with psycopg.connect(self.url, autocommit=True) as db:
                db.execute("DROP FUNCTION outage_slow CASCADE")

    @contextmanager
    def locked(self, _seconds: float = 0.0) -> Iterator[None]:
        """Somebody holds a lock on the table of the calls, readers are let through."""
        with psycopg.connect(self.url) as db:
            db.execute("LOCK TABLE call IN EXCLUSIVE MODE")
            yield


class Sqlite:
    """The file of a daemon."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def locked(self, _seconds: float = 0.0) -> Iterator[None]:
        """Another process has begun to write, and does not end."""
        with locked(self._path, _MOST_S):
            yield

    @contextmanager
    def slow(self, _seconds: float = 0.0) -> Iterator[None]:
        """Each entry of a timeline takes a millisecond or two more."""
        self._execute(_SLOW_SQLITE)
        try:
            yield
        finally:
            self._execute("DROP TRIGGER outage_slow")

    def _execute(self, text: str) -> None:
        db = sqlite3.connect(self._path, timeout=120, isolation_level=None)
        try:
            db.execute(text)
        finally:
            db.close()

    @contextmanager
    def disk_full(self, _seconds: float = 0.0) -> Iterator[None]:
        """Not a byte is left on its file system, and what others free meanwhile is taken as well."""
        ballast, over = self._path.with_name("ballast"), threading.Event()

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                while not over.is_set():
                    for size in (1 << 20, 4096):
                        with suppress(OSError):
                            while not over.is_set():
                                file.write(b"\0" * size)
                    over.wait(0.1)

        filling = threading.Thread(target=fill)
        filling.start()
        try:
            yield
        finally:
            over.set()
            filling.join()
            ballast.unlink()


@contextmanager
def not_at_all(_seconds: float = 0.0) -> Iterator[None]:
    """The same, and nothing is taken away: to compare with."""
    yield


def ways_of(database: Any) -> dict[str, Way]:
    """By name."""
    if isinstance(database, Postgres):
        return {
            "hangs": database.hanging,
            "down": database.down,
            "both": database.hanging_then_down,
            "locked": database.locked,
            "slow": database.slow,
            "nothing": not_at_all,
        }
    return {"locked": database.locked, "slow": database.slow, "full": database.disk_full, "nothing": not_at_all}
