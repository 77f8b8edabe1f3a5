"""Taking a database away, each kind in its own ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peewee
import psycopg

from callengine.store import sql
from callengine.store.database import Store
from tests.chaos.databases import locked as file_locked

_MOST_S = 600.0
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def terminate_others(db: peewee.Database) -> int:
    """Ends all other connections to this Postgres database; how many there were."""
    count: int = sql.query(db, f"SELECT count(pg_terminate_backend(pid)) {_OTHERS}").fetchone()[0]
    return count


@contextmanager
def away(store: Store) -> Iterator[None]:
    """Nobody can open the database, and nobody has it open."""
    if store.path is not None:
        hidden = store.path.with_suffix(".hidden")
        store.close()
        store.path.rename(hidden)
        yield
        hidden.rename(store.path)
        return
    url = store.settings.url.get_secret_value()
    head, _, name = url.rpartition("/")
    with psycopg.connect(f"{head}/postgres", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Another process holds what a writer needs: SQLite's write lock, or the table in Postgres."""
    if store.path is not None:
        with file_locked(store.path, _MOST_S):
            yield
        return
    with psycopg.connect(store.settings.url.get_secret_value()) as connection:
        connection.execute("LOCK TABLE call IN EXCLUSIVE MODE")
        yield
