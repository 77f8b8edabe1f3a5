"""Databases that can be taken away from a daemon: a Postgres of its own, and a lock on a SQLite file."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from tests.postgres import Cluster

_CONNECT_S: Final = 10
_LOCK_S: Final = 60
_ANSWER_S: Final = 10.0
# In WAL mode too this takes the one write lock; readers go on. It ends with its time, or with whoever started it.
_HOLDER: Final = f"""
import select, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout={_LOCK_S})
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
select.select([sys.stdin], [], [], float(sys.argv[2]))
database.rollback()
"""


class PostgresUnderTest:
    """A Postgres of one's own, which keeps its data through all that is done to it; a context manager.

    Raises ``tests.postgres.NoPostgres`` where there is none to be had. All methods return once it is so.
    """

    def __init__(self) -> None:
        self._cluster = Cluster(durable=True)
        self.url = self._cluster.url()

    def __enter__(self) -> Self:
        try:
            self._cluster.start()
        except BaseException:
            self._cluster.delete()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cluster.delete()

    def stop(self) -> None:
        """The fast way: its connections are told and closed, and all is written."""
        self.thaw()
        self._cluster.stop()

    def stop_hard(self) -> None:
        """kill -9 of all its processes. The next start recovers from what was on the disk."""
        self._cluster.kill()

    def start(self) -> None:
        """Again, on the same port and data; nothing where it runs."""
        if not self._cluster.running:
            self._cluster.start()

    def restart(self) -> None:
        """``stop``, ``start``."""
        self.stop()
        self.start()

    def terminate_all(self) -> int:
        """Ends all connections to all its databases but the one that asks for it. Returns how many there were."""
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        others = "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        with psycopg.connect(self.url, autocommit=True, connect_timeout=_CONNECT_S) as connection:
            row = connection.execute(f"{ended} {others}").fetchone()
        return int(row[0]) if row else 0

    def freeze(self) -> None:
        """All its processes stand still: the kernel takes connections, and nobody says anything on any."""
        self._cluster.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on."""
        self._cluster.signal_all(signal.SIGCONT)


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Another process holds the write lock of a SQLite file: from before the body is entered until it is left, but no
    longer than ``seconds``. Raises TimeoutError where the lock is not to be had within a minute."""
    words = [sys.executable, "-c", _HOLDER, str(path), str(seconds)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            readable, _, _ = select.select([holder.stdout], [], [], _LOCK_S + _ANSWER_S)
            if not readable or holder.stdout.readline() != b"held\n":
                raise TimeoutError(f"{path} could not be locked")
            yield
            holder.stdin.close()
            holder.wait(_ANSWER_S)
        finally:
            holder.kill()
