"""Checkpoints beside the writer: the log goes into the database file, and no commit is made to wait for that."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.calls.call import EventName
from callengine.store import checkpoint
from callengine.store.checkpoint import Checkpoints
from callengine.store.database import Store
from callengine.store.writer import Writer
from tests.store.build import a_call, published


def commit(writer: Writer) -> None:
    """Something is written."""
    call = a_call()
    writer.put(call)
    writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(5)


def test_what_is_committed_gets_into_the_file(sqlite_store: Store) -> None:
    assert sqlite_store.path is not None
    log = Path(f"{sqlite_store.path}-wal")
    writer = Writer(sqlite_store)
    writer.start()
    before = sqlite_store.path.read_bytes()
    commit(writer)
    assert sqlite_store.path.read_bytes() == before
    assert log.stat().st_size
    made = Checkpoints(sqlite_store, every_s=0.01)
    running = gevent.spawn(made.run)
    with gevent.Timeout(5):
        while sqlite_store.path.read_bytes() == before:
            gevent.sleep(0.01)
    running.kill()
    assert made.done
    assert writer.stop(5)


def test_a_log_to_which_more_is_added_meanwhile_begins_anew(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_LONG_PAGES", 1)
    monkeypatch.setattr(checkpoint, "_FEW_PAGES", 1)
    writer = Writer(sqlite_store)
    writer.start()
    for _ in range(10):
        commit(writer)
    passive, pages = Checkpoints._passive, []
    reader = sqlite3.connect(f"file:{sqlite_store.path}?mode=ro", uri=True, isolation_level=None)

    def while_it_goes_on(connection: Any) -> int:
        """A reader of before stands for commits of meanwhile: what came after it cannot get into the file."""
        with sqlite_store.turn(0) as free:
            pass
        if not free:
            reader.close()
        elif not pages:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM call").fetchone()
            commit(writer)
        pages.append(passive(connection))
        return pages[-1]

    monkeypatch.setattr(Checkpoints, "_passive", staticmethod(while_it_goes_on))
    made = Checkpoints(sqlite_store)
    made.once()
    assert made.done == 1
    commit(writer)
    monkeypatch.undo()
    with sqlite3.connect(sqlite_store.path) as db:
        assert passive(db) < pages[0] / 2
    assert writer.stop(5)


def test_nobody_waits_for_a_turn_for_ever(sqlite_store: Store) -> None:
    writer = Writer(sqlite_store)
    writer.start()
    with sqlite_store.turn(0) as held, gevent.Timeout(10):
        assert held
        commit(writer)
        Checkpoints(sqlite_store).once()
    assert writer.stop(5)


def test_one_that_fails_is_made_again(sqlite_store: Store) -> None:
    assert sqlite_store.path is not None
    made, path = Checkpoints(sqlite_store), sqlite_store.path
    sqlite_store.path = path.with_name("gone")
    made.once()
    assert (made.done, made._db) == (0, None)
    sqlite_store.path = path
    made.once()
    assert made.done == 1


def test_postgres_makes_its_own(store: Store) -> None:
    if store.path is not None:
        pytest.skip("this is SQLite")
    made = Checkpoints(store)
    with gevent.Timeout(5):
        made.run()
    assert made.done == 0
