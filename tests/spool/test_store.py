"""On a real database: what was committed is not touched by a replay, and the writer's marks say what is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import peewee
import pytest

from callengine.calls.book import Book, Rules
from callengine.calls.facts import CommandIssued
from callengine.esl.intake import IntakeQueue
from callengine.metrics import Metrics
from callengine.spool.replay import Replay
from callengine.spool.segments import Spool
from callengine.store import schema, sql
from callengine.store.database import Store
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.tracker import Tracker
from tests.spool.lives import TRANSLATOR, bodies_of
from tests.store.away import locked
from tests.store.build import T0, TENANT, a_call

NODE = "n1"
NAMES = ("f_bridge_app_sip.json", "f3_uuid_bridge.json", "g_uuid_record.json", "o_failover_forked.json")


class Life:
    def __init__(self, store: Store, folder: Path) -> None:
        self.writer, self.reads = Writer(store, recordings=True), Reads(store)
        self.writer.start()
        self.spool = Spool(folder, node=NODE, max_bytes=1 << 30, reserve_bytes=0)
        self.spool.open()
        self.book = Book(NODE, Rules(default_tenant=TENANT))
        self.intake = IntakeQueue(disk=self.spool)
        self.tracker = Tracker(
            self.book, self.intake, TRANSLATOR, self.writer, Metrics(), on_taken=self.spool.keep_fact
        )
        for call in self.reads.live_calls(NODE):
            self.book.restore(call, time.monotonic())
        self.replayed = Replay(self.spool, self.tracker, TRANSLATOR, self.reads).run(NODE)

    def take(self, bodies: list[bytes]) -> None:
        assert self.intake.put_many(bodies)
        for body in self.intake.get_batch(len(bodies), 0):
            self.tracker._one(body)

    def settle(self) -> None:
        """All is told that waits, and committed."""
        self.tracker._settle(self.book.tick(time.monotonic() + 2))
        self.writer.flush(10)

    def end(self) -> None:
        self.spool.close()
        assert self.writer.stop(10)


def tables(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables but what the writer says of itself."""

    def read(db: peewee.Database) -> dict[str, list[Any]]:
        return {
            model._meta.table_name: sorted(map(repr, model.select().tuples().execute(db)))  # type: ignore[attr-defined]
            for model in schema.MODELS
            if model is not schema.Engine
        }

    return store.run(read, 10)


def endpoint(store: Store) -> None:
    """One that wants everything."""

    def make(db: peewee.Database) -> None:
        schema.Tenant.insert(id=TENANT, name="t", created_us=0).execute(db)
        schema.Endpoint.insert(
            id=TENANT,
            tenant_id=TENANT,
            url="https://example.com/",
            events=0xFFFF,
            enabled=True,
            secret="s",
            failures=0,
            retry_us=0,
            created_us=0,
        ).execute(db)

    store.execute(make, 10)


@pytest.mark.parametrize("name", NAMES)
def test_a_replay_of_what_was_committed_changes_no_row(name: str, store: Store, tmp_path: Path) -> None:
    endpoint(store)
    first = Life(store, tmp_path / "spool")
    first.take(bodies_of(name))
    own = next(iter(first.book.calls.values())).own.uuid
    for _ in range(2):
        first.tracker.take(CommandIssued(uuid=own, at_us=T0, command="hold"))
    first.settle()
    first.end()
    before = tables(store)
    assert before["call"]
    assert before["outbox"]
    assert before["delivery"]
    for _ in range(2):
        second = Life(store, tmp_path / "spool")
        assert second.replayed.records == len(bodies_of(name)) + 2
        second.settle()
        second.end()
        assert tables(store) == before


def test_what_was_not_committed_is_there_after_the_replay(store: Store, tmp_path: Path) -> None:
    """Half of it was; the other half comes behind it."""
    bodies = bodies_of("f3_uuid_bridge.json")
    whole = Life(store, tmp_path / "whole")
    whole.take(bodies)
    whole.settle()
    whole.end()
    expected = tables(store)
    store.execute(lambda db: [model.delete().execute(db) for model in reversed(schema.MODELS)], 10)
    first = Life(store, tmp_path / "spool")
    first.take(bodies[:12])
    first.writer.flush(10)
    first.writer.abandon()
    first.take(bodies[12:])
    first.spool.close()
    second = Life(store, tmp_path / "spool")
    second.settle()
    second.end()
    found = tables(store)
    for name in ("call", "call_event"):
        assert found[name] == expected[name]
    assert len(found["outbox"]) == len(expected["outbox"])


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    """A writer at work."""
    made = Writer(store)
    made.start()
    yield made
    made.stop(10)


def test_a_mark_is_committed_with_all_that_came_before_it(store: Store, writer: Writer) -> None:
    assert writer.committed(writer.mark())
    with locked(store):
        call = a_call()
        writer.put(call)
        first = writer.mark()
        gevent.sleep(0.3)
        assert not writer.committed(first)
        writer.put(a_call())
        second = writer.mark()
        assert not writer.committed(second)
    writer.flush(10)
    assert writer.committed(first)
    assert writer.committed(second)
    rows = store.run(lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 5)
    assert rows == 2


def test_what_is_put_while_an_older_group_is_committed_is_not_covered(store: Store, writer: Writer) -> None:
    marks = []
    for _ in range(50):
        writer.put(a_call())
        marks.append(writer.mark())
        if marks and writer.committed(marks[-1]):
            found = store.run(lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 5)
            assert found >= len(marks)
        gevent.sleep(0.01)
    writer.flush(10)
    assert all(map(writer.committed, marks))


def test_after_giving_up_nothing_counts_as_committed(store: Store, writer: Writer) -> None:
    """The rows went; who removes what they came from would lose them."""
    with locked(store):
        writer.put(a_call())
        mark = writer.mark()
        gevent.sleep(0.2)
        writer.put(a_call())
        writer.abandon()
        writer.put(a_call())
        assert not writer.committed(mark)
    gevent.sleep(0.3)
    assert not writer.committed(mark)
    rows = store.run(lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 5)
    assert rows <= 1
