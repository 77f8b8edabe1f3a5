"""A group's statements go to Postgres one behind another."""

from __future__ import annotations

from typing import Any, cast

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from callengine.store import postgres, sql
from callengine.store.database import Store, discard, transaction


def opened(store: Store) -> tuple[Any, Any]:
    db = store.connection(readonly=False)
    db.connect()
    return db, cast(Any, db).cursor()


def test_what_is_sent_is_not_waited_for_until_the_end(postgres_store: Store) -> None:
    db, cursor = opened(postgres_store)
    with transaction(db):
        with sql.pipelined(db):
            cursor.execute("SELECT 1")
            assert cursor.statusmessage is None
        assert cursor.statusmessage == "SELECT 1"
    discard(db)


def test_the_first_error_is_raised_by_the_end_and_the_connection_is_good_for_another_try(postgres_store: Store) -> None:
    db, cursor = opened(postgres_store)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation), transaction(db), sql.pipelined(db):
        cursor.execute("SELECT %s::uuid", ("no id",))
        cursor.execute("SELECT 1 / 0")
    assert db.connection().info.transaction_status == TransactionStatus.IDLE
    with transaction(db), sql.pipelined(db):
        cursor.execute("SELECT 2")
    assert cursor.fetchone() == (2,)
    discard(db)


def test_what_fails_on_our_side_is_raised_as_it_is(postgres_store: Store) -> None:
    db, cursor = opened(postgres_store)
    with pytest.raises(KeyError), transaction(db), sql.pipelined(db):
        cursor.execute("CREATE TABLE half (n int)")
        raise KeyError
    with pytest.raises(psycopg.errors.UndefinedTable):
        cursor.execute("SELECT n FROM half")
    discard(db)


def attempt(db: Any, cursor: Any, divisor: int) -> None:
    """A group whose first statement may fail, and which is then tried anew, one by one."""
    try:
        with transaction(db), sql.pipelined(db):
            cursor.execute("SELECT 1 / %s::int", (divisor,))
            cursor.execute("SELECT %s::int + 1", (1,))
    except psycopg.errors.DivisionByZero:
        with transaction(db):
            cursor.execute("SELECT %s::int + 1", (1,))
    assert cursor.fetchone() == (2,)


def test_what_was_not_prepared_behind_an_error_is_not_taken_for_prepared(postgres_store: Store) -> None:
    for before in range(6):
        for between in range(6):
            db, cursor = opened(postgres_store)
            for divisor in (*[1] * before, 0, *[1] * between, 0, 1):
                attempt(db, cursor, divisor)
            discard(db)


def test_what_both_sides_find_is_raised_and_not_logged(postgres_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    db, cursor = opened(postgres_store)
    with pytest.raises(KeyError), transaction(db), sql.pipelined(db):
        cursor.execute("SELECT %s::uuid", ("a caller's name",))
        raise KeyError
    assert not caplog.records
    discard(db)


def test_a_pipeline_may_take_longer_than_one_statement(postgres_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_SILENCE_S", 0.5)
    db, cursor = opened(postgres_store)
    with transaction(db), sql.pipelined(db):
        for _ in range(3):
            cursor.execute("SELECT pg_sleep(0.3)")
    assert cursor.statusmessage == "SELECT 1"
    with pytest.raises(psycopg.OperationalError):
        cursor.execute("SELECT pg_sleep(2)")
    discard(db)


def test_nothing_changes_on_sqlite(sqlite_store: Store) -> None:
    db, cursor = opened(sqlite_store)
    with transaction(db), sql.pipelined(db):
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    discard(db)
