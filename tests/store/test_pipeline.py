"""A group's statements go to Postgres one behind another."""

from __future__ import annotations

from typing import Any, cast

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from callengine.store import sql
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


def test_nothing_changes_on_sqlite(sqlite_store: Store) -> None:
    db, cursor = opened(sqlite_store)
    with transaction(db), sql.pipelined(db):
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    discard(db)
