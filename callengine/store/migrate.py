"""Bringing the schema up to date: peewee's own runner, under a lock, since two of them at once would crash one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import peewee
from gevent import monkey
from playhouse.migrations import Migration, Runner

from callengine.errors import SchemaTooNew, StoreUnavailable
from callengine.store import sql

DIRECTORY: Final = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S: Final = 60.0
_ADVISORY_KEY: Final = 0x63616C6C656E67  # "calleng"
_POLL_S: Final = 0.05

# This runs in a native thread, where the patched ones would make a hub of their own.
_sleep = monkey.get_original("time", "sleep")


def _runner(db: peewee.Database, directory: Path) -> Any:
    return Runner(db, directory=str(directory))


def known(directory: Path = DIRECTORY) -> list[str]:
    """The names of the migrations that this callengine has, in order."""
    return [migration.name for migration in Migration.load_directory(str(directory))]


def pending(db: peewee.Database, directory: Path = DIRECTORY) -> list[str]:
    """What is still to be applied. Raises SchemaTooNew where there is something applied that we do not know."""
    ours = known(directory)
    applied = set(_runner(db, directory).applied())
    foreign = sorted(applied.difference(ours))
    if foreign:
        raise SchemaTooNew(foreign[-1], ours[-1])
    return [name for name in ours if name not in applied]


def upgrade(db: peewee.Database, directory: Path = DIRECTORY, begins: Callable[[str], None] | None = None) -> list[str]:
    """Applies what is pending, each migration in a transaction of its own. Returns the names.

    ``begins`` is told the name of each before it is applied.

    On SQLite the caller holds ``file_lock``. Raises SchemaTooNew, and StoreUnavailable where another holds the lock for
    too long.
    """
    if not pending(db, directory):
        return []
    with nullcontext() if isinstance(db, peewee.SqliteDatabase) else _advisory_lock(db):
        if not pending(db, directory):
            return []
        done = []
        for name in pending(db, directory):
            if begins is not None:
                begins(name)
            done += _runner(db, directory).up(name)
        return done


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """One process at a time; from before the connection, since two that make a file's journal at once fail as well."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _flock(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(db: peewee.Database) -> Iterator[None]:
    sql.query(db, f"SET lock_timeout = '{int(LOCK_TIMEOUT_S * 1000)}ms'")
    sql.query(db, "SET statement_timeout = 0")
    sql.query(db, "SELECT pg_advisory_lock(%s)", (_ADVISORY_KEY,))
    try:
        yield
    finally:
        sql.query(db, "SELECT pg_advisory_unlock(%s)", (_ADVISORY_KEY,))


def _flock(descriptor: int) -> None:
    for _ in range(int(LOCK_TIMEOUT_S / _POLL_S)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _sleep(_POLL_S)
        else:
            return
    raise StoreUnavailable("another process has been migrating it for too long")
