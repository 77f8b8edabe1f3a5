"""A database that is locked, away, or killed under the writer: nothing is lost, nobody is held up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import gevent
import peewee
import pytest

from callengine.calls.call import EventName
from callengine.calls.record import record_of
from callengine.errors import StoreUnavailable
from callengine.store import group, sql
from callengine.store.database import Store
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.away import terminate_others
from tests.store.build import T0, TENANT, a_call, changed, ended, noted, published

Away = Callable[[], AbstractContextManager[None]]


@contextmanager
def ticking() -> Iterator[list[float]]:
    """How late a greenlet is that wants to run every millisecond, in seconds."""
    late: list[float] = []

    def tick() -> None:
        while True:
            wanted = time.perf_counter() + 0.001
            gevent.sleep(0.001)
            late.append(time.perf_counter() - wanted)

    ticker = gevent.spawn(tick)
    yield late
    ticker.kill()


def wait_until(condition: Callable[[], Any], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.005)


def states(writer_args: dict[str, Any], told: list[tuple[bool, str | None]]) -> dict[str, Any]:
    return {**writer_args, "on_state": lambda ok, reason: told.append((ok, reason))}


def test_a_locked_database_holds_up_nobody_and_loses_nothing(store: Store, reads: Reads, database_locked: Away) -> None:
    store.settings = store.settings.model_copy(update={"busy_timeout_ms": 200})
    told: list[tuple[bool, str | None]] = []
    writer = Writer(store, **states({}, told))
    writer.start()
    known = a_call(T0 - 1)
    writer.put(known)
    writer.flush(5)
    calls = [a_call(T0 + n) for n in range(50)]
    with database_locked(), ticking() as late:
        for call in calls:
            writer.put(call)
            writer.note(noted(call, "created"))
        gevent.sleep(0.5)
        for call in calls:
            writer.put(ended(call, seq=1))
            writer.note(noted(call, "ended"))
            writer.publish(published(call, EventName.ENDED, 1))
        with pytest.raises(StoreUnavailable):
            writer.flush(0.2)
        with pytest.raises(StoreUnavailable):
            writer.execute(lambda db: sql.query(db, "INSERT INTO engine VALUES ('late', '1', 1)"), 0.2)
        assert reads.call(TENANT, known.id) is not None
        if store.kind == "sqlite":
            wait_until(lambda: told)
            assert told == [(False, "it is locked by another process")]
        assert writer.depth > 0
    writer.flush(20)
    # A blocked hub would be late by the whole busy timeout; this bound leaves room for a machine under load.
    assert max(late) < 0.15
    assert writer.reason is None
    assert reads.calls(TENANT, {"status": "failed"}, 1, 1)[1] == 50
    assert [note.name for note in reads.timeline(TENANT, calls[7].id)] == ["created", "ended"]
    assert writer.execute(lambda db: sql.query(db, "SELECT count(*) FROM outbox").fetchone()[0], 5) == 50
    text = "SELECT count(*) FROM engine WHERE node = 'late'"
    assert writer.execute(lambda db: sql.query(db, text).fetchone()[0], 5) == 0
    if store.kind == "sqlite":
        assert told == [(False, "it is locked by another process"), (True, None)]
    writer.stop(5)


def test_work_that_is_given_up_while_it_waits_for_a_lock_is_not_done(store: Store, database_locked: Away) -> None:
    writer = Writer(store)
    writer.start()
    text = "INSERT INTO engine VALUES ('late', '1', 1)"
    with database_locked():
        writer.put(a_call())
        with pytest.raises(StoreUnavailable):
            writer.execute(lambda db: sql.query(db, text), 0.2)
    writer.flush(10)
    count = "SELECT count(*) FROM engine WHERE node = 'late'"
    assert writer.execute(lambda db: sql.query(db, count).fetchone()[0], 5) == 0
    writer.stop(5)


def test_a_database_that_is_away_gets_everything_when_it_is_back(
    store: Store, reads: Reads, database_away: Away
) -> None:
    told: list[tuple[bool, str | None]] = []
    writer = Writer(store, **states({}, told))
    calls = [a_call(T0 + n) for n in range(10)]
    with database_away():
        writer.start()
        for call in calls:
            writer.put(call)
            writer.note(noted(call, "created"))
        wait_until(lambda: told)
        assert told[0][0] is False
        assert writer.reason is not None
        last = [changed(call, progress_us=call.own.created_us + 5, seq=1) for call in calls]
        for call in last:
            writer.put(call)
        assert writer.data_as_of < time.time_ns() // 1000
        assert not writer.stop(0.05)
    wait_until(lambda: writer.depth == 0, 20)
    assert told[-1] == (True, None)
    assert [reads.call(TENANT, call.id) for call in last] == [record_of(call) for call in last]


def test_terminated_connections_lose_nothing(postgres_store: Store) -> None:
    store, reads = postgres_store, Reads(postgres_store)
    writer = Writer(store)
    writer.start()
    calls = []
    for n in range(300):
        call = a_call(T0 + n)
        calls.append(call)
        writer.put(call)
        writer.note(noted(call, "created"))
        writer.publish(published(call, EventName.DIALING, 1))
        if n % 50 == 25:
            store.execute(terminate_others, 5)
        gevent.sleep(0.001)
    writer.flush(20)
    assert reads.calls(TENANT, {}, 1, 1)[1] == 300
    for table in ("call_event", "outbox"):
        text = f"SELECT count(*) FROM {table}"
        assert store.execute(lambda db, text=text: sql.query(db, text).fetchone()[0], 5) == 300  # type: ignore[misc]
    writer.stop(5)


class _Unlucky(group.Committer):
    """Commits, and then learns that the connection broke: the outcome is not known to it."""

    failures = 2

    def _attempt(self, db: peewee.Database, work: group.Group, *, careful: bool) -> list[tuple[str, str]]:
        refused = super()._attempt(db, work, careful=careful)
        if self.failures:
            self.failures -= 1
            self._committing = True
            raise peewee.InterfaceError("the connection was reset")
        return refused


def test_a_commit_of_unknown_outcome_is_repeated_and_adds_nothing_twice(store: Store, reads: Reads) -> None:
    writer = Writer(store)
    writer._committer = _Unlucky(store)
    writer.start()
    call = a_call(seq=1)
    writer.put(call)
    for name in ("created", "rang"):
        writer.note(noted(call, name))
    writer.publish(published(call, EventName.DIALING, 1))
    with pytest.raises(StoreUnavailable, match="unknown"):
        writer.execute(lambda db: 1, 5)
    writer.flush(5)
    writer.note(noted(call, "answered"))
    writer.flush(5)
    assert [note.name for note in reads.timeline(TENANT, call.id)] == ["created", "rang", "answered"]
    assert writer.execute(lambda db: sql.query(db, "SELECT count(*) FROM outbox").fetchone()[0], 5) == 1
    writer.stop(5)


def test_work_whose_transaction_was_rolled_back_is_tried_again(postgres_store: Store) -> None:
    store = postgres_store
    writer = Writer(store)
    writer.start()
    attempts = []

    def work(db: peewee.Database) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            store_pid = sql.query(db, "SELECT pg_backend_pid()").fetchone()[0]
            with store_connection(store) as other:
                sql.query(other, "SELECT pg_terminate_backend(%s)", (store_pid,))
        return int(sql.query(db, "SELECT 7").fetchone()[0])

    assert writer.execute(work, 10) == 7
    assert len(attempts) == 2
    writer.stop(5)


@contextmanager
def store_connection(store: Store) -> Iterator[peewee.Database]:
    db = store.connection(readonly=False)
    db.connect()
    yield db
    db.close()


def test_a_server_that_stopped_answering_is_known_and_then_left(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callengine.store.writer._SILENCE_S", 0.2)
    monkeypatch.setattr("callengine.store.postgres._SILENCE_S", 1.0)
    told: list[tuple[bool, str | None]] = []
    writer = Writer(postgres_store, **states({}, told))
    writer.start()
    backend = writer.execute(lambda db: int(sql.query(db, "SELECT pg_backend_pid()").fetchone()[0]), 5)
    os.kill(backend, signal.SIGSTOP)
    try:
        with ticking() as late:
            writer.put(call := a_call())
            wait_until(lambda: told)
            assert told == [(False, "it did not answer in time")]
            writer.flush(10)
        assert max(late) < 0.15
        assert told == [(False, "it did not answer in time"), (True, None)]
        assert Reads(postgres_store).call(TENANT, call.id) == record_of(call)
    finally:
        os.kill(backend, signal.SIGCONT)
    writer.stop(5)


class _SmallDisk(Store):
    """A disk with room for so many pages more."""

    full = True

    def connection(self, *, readonly: bool, busy_timeout_s: float | None = None) -> peewee.Database:
        db = super().connection(readonly=readonly, busy_timeout_s=busy_timeout_s)
        if self.full and not readonly:
            cast(Any, db)._pragmas.append(("max_page_count", 1))  # SQLite takes the present size then
        return db


def test_a_full_disk_loses_nothing(sqlite_store: Store) -> None:
    store = _SmallDisk(sqlite_store.settings)
    told: list[tuple[bool, str | None]] = []
    writer = Writer(store, **states({}, told))
    writer.start()
    calls = [a_call(T0 + n) for n in range(300)]
    for call in calls:
        writer.put(call)
    wait_until(lambda: told)
    assert told == [(False, "the disk is full")]
    with pytest.raises(StoreUnavailable, match="disk is full"):
        writer.flush(0.1)
    store.full = False
    writer.flush(10)
    assert told[-1] == (True, None)
    assert Reads(store).calls(TENANT, {}, 1, 1)[1] == 300
    assert writer.refused == 0
    writer.stop(5)
    store.close()


def test_far_too_much_drops_timelines_first_and_says_so(store: Store, reads: Reads) -> None:
    writer = Writer(store, max_rows=10)
    calls = [a_call(T0 + n) for n in range(10)]
    for call in calls:
        writer.put(call)
        for name in ("created", "rang", "answered"):
            writer.note(noted(call, name))
        writer.publish(published(call, EventName.DIALING, 1))
    full = [writer.full]
    assert writer.dropped_notes > 0
    writer.start()
    writer.flush(5)
    full.append(writer.full)
    assert full == [True, False]
    assert reads.calls(TENANT, {}, 1, 1)[1] == 10
    assert writer.execute(lambda db: sql.query(db, "SELECT count(*) FROM outbox").fetchone()[0], 5) == 10
    writer.stop(5)


_WRITES = """
import callengine.patched
import sys
from pathlib import Path
from pydantic import SecretStr
from callengine.calls.call import EventName
from callengine.config.sections import Database
from callengine.store.database import open_database
from callengine.store.writer import Writer
from tests.store.build import T0, a_call, changed, noted, published
store = open_database(Database(url=SecretStr(sys.argv[1])), Path(sys.argv[2]))
writer = Writer(store)
writer.start()
for n in range(1_000_000):
    call = a_call(T0 + n, seq=1)
    writer.put(call)
    writer.note(noted(call, "created"))
    writer.publish(published(call, EventName.DIALING, 1))
    if n % 7 == 0:
        writer.flush(10)
        print(n + 1, flush=True)
"""


def test_a_kill_loses_nothing_that_was_flushed_and_halves_nothing(store: Store, reads: Reads, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITES, store.settings.url.get_secret_value(), str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as child:
        assert child.stdout is not None
        flushed = 0
        for line in child.stdout:
            flushed = int(line)
            if flushed > 150:
                break
        child.send_signal(signal.SIGKILL)
        for line in child.stdout:
            flushed = int(line)
        child.wait(10)
    total = reads.calls(TENANT, {}, 1, 1)[1]
    assert total >= flushed > 150
    for table in ("call_event", "outbox"):
        text = f"SELECT count(*), count(DISTINCT call_id) FROM {table} WHERE call_id IN (SELECT id FROM call)"
        assert store.run(lambda db, text=text: tuple(sql.query(db, text).fetchone()), 5) == (total, total)  # type: ignore[misc]
        text = f"SELECT count(*) FROM {table}"
        assert store.run(lambda db, text=text: sql.query(db, text).fetchone()[0], 5) == total  # type: ignore[misc]
