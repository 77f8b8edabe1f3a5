"""The store's tests run on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from callengine.config.sections import Database
from callengine.store.database import Store, open_database
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.databases import (
    database_settings,
    postgres_server,
    postgres_settings,
    sqlite_settings,
    store,
)
from tests.store.away import away, locked

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    """A writer at work."""
    made = Writer(store)
    made.start()
    yield made
    made.stop(10)


@pytest.fixture
def reads(store: Store) -> Reads:
    """The reads."""
    return Reads(store)


@pytest.fixture
def sqlite_store(sqlite_settings: Database, tmp_path: Path) -> Iterator[Store]:
    """A migrated SQLite store."""
    opened = open_database(sqlite_settings, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def postgres_store(postgres_settings: Database, tmp_path: Path) -> Iterator[Store]:
    """A migrated Postgres store."""
    opened = open_database(postgres_settings, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def database_away(store: Store) -> Callable[[], AbstractContextManager[None]]:
    """Takes the store's database away for a while."""
    return lambda: away(store)


@pytest.fixture
def database_locked(store: Store) -> Callable[[], AbstractContextManager[None]]:
    """Lets another process hold its write lock for a while."""
    return lambda: locked(store)
