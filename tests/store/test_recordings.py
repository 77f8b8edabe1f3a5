"""Rows of recordings: changes that hold against a repetition, a later stop, and each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import msgspec
import pytest

from callengine.calls.call import Call, EventName, Recording
from callengine.calls.ids import recording_id_of
from callengine.errors import NoSuchCall
from callengine.store import recordings, tell
from callengine.store.database import Store
from callengine.store.outbox import OutboxReads
from callengine.store.recordings import Found
from callengine.store.sql import run as run_sql
from callengine.store.writer import Writer
from tests.store.build import T0, TENANT, a_call, ended, published

NOW_US = 5_000_000
READY = Found(bytes=44_044, sha256="ab" * 32, duration_ms=2750, channels=1, loudness_cb=-2000)


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store, recordings=True, now_us=lambda: NOW_US)
    made.start()
    yield made
    made.stop(10)


def put(writer: Writer, *, live: bool = False, call: Call | None = None, **more: Any) -> Call:
    """A call with one recording that is stopped, unless ``more`` says otherwise."""
    call = a_call() if call is None else call
    said = {"path": "/rec/a.wav", "leg": call.own.uuid, "started_us": T0, "stopped_us": T0 + 9, "duration_ms": 2750}
    made = Recording(**(said | more))
    call = msgspec.structs.replace(call, recordings=(*(r for r in call.recordings if r.path != made.path), made))
    call = call if live else ended(call)
    writer.put(call)
    writer.flush(10)
    return call


def stopped(store: Store, now_us: int = NOW_US, node: str = "sw1") -> list[recordings.Recording]:
    return store.run(lambda db: recordings.stopped(db, node, now_us, 100), 10)


def finish(writer: Writer, row: recordings.Recording, found: Found = READY) -> bool:
    return writer.execute(lambda db: recordings.finish(db, row, found, NOW_US + 1), 10)


def test_which_are_due(store: Store, writer: Writer) -> None:
    call = put(writer)
    over = put(writer, stopped_us=0)
    put(writer, stopped_us=0, live=True)
    put(writer, call=a_call(node="sw2"))
    (row,) = stopped(store)
    assert (row.call_id, row.tenant_id, row.leg, row.path) == (call.id, TENANT, call.own.uuid, "/rec/a.wav")
    assert (row.status, row.attempts, row.claimed_ms, row.discarded) == ("stopped", 0, 2750, False)
    assert row.id == recording_id_of(call.id, call.own.uuid, "/rec/a.wav")
    assert store.run(lambda db: recordings.find(db, row.id), 10) == row
    late = store.run(lambda db: recordings.abandoned(db, "sw1", NOW_US, 100), 10)
    assert [(row.call_id, row.status) for row in late] == [(over.id, "open")]
    assert store.run(lambda db: recordings.waiting(db, "sw1"), 10) == 1
    assert stopped(store, NOW_US - 1) == []


def test_what_is_asked_every_second_is_read_off_an_index(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    run = recordings.sql.run
    monkeypatch.setattr(
        recordings.sql, "run", lambda db, text, values: asked.append((text, values)) or run(db, text, values)
    )
    sqlite_store.run(lambda db: recordings.stopped(db, "sw1", 1, 1), 10)
    sqlite_store.run(lambda db: recordings.abandoned(db, "sw1", 1, 1), 10)
    sqlite_store.run(lambda db: recordings.waiting(db, "sw1"), 10)
    sqlite_store.run(lambda db: recordings.expired(db, TENANT, 1, (0, TENANT), 1, "sw1"), 10)

    def plan(text: str, values: Any) -> str:
        steps = sqlite_store.run(lambda db: run(db, f"EXPLAIN QUERY PLAN {text}", values).fetchall(), 10)
        return " ".join(str(step[3]) for step in steps)

    plans = [plan(*one) for one in asked]
    assert len(plans) == 4
    for found, index in zip(plans, ("stopped", "open", "stopped", "kept"), strict=True):
        assert f"USING INDEX recording_{index}" in found.replace("COVERING ", "")
        assert "SCAN" not in found


def test_a_postponed_one_keeps_what_was_seen(store: Store, writer: Writer) -> None:
    put(writer)
    (row,) = stopped(store)
    assert writer.execute(lambda db: recordings.postpone(db, row, NOW_US + 10, 44, "cd" * 32), 10)
    assert stopped(store) == []
    (later,) = stopped(store, NOW_US + 10)
    assert (later.attempts, later.bytes, later.sha256) == (1, 44, "cd" * 32)
    # Who looked at the row as it was before has nothing to say any more.
    assert not writer.execute(lambda db: recordings.postpone(db, row, 0), 10)
    assert not finish(writer, row)
    assert finish(writer, later)


def test_a_stop_meanwhile_makes_it_another_row(store: Store, writer: Writer) -> None:
    call = put(writer, live=True)
    (row,) = stopped(store)
    call = put(writer, call=call, stopped_us=T0 + 99, duration_ms=5000)
    assert not finish(writer, row)
    (anew,) = stopped(store)
    assert (anew.id, anew.stopped_us, anew.claimed_ms) == (row.id, T0 + 99, 5000)
    assert finish(writer, anew)
    assert not finish(writer, anew)
    assert len(OutboxReads(store).after(0, 10)) == 1


def test_ready_and_failed_are_told_in_the_calls_own_sequence(store: Store, writer: Writer) -> None:
    call = a_call(seq=2)
    writer.publish(published(call, EventName.DIALING, 1))
    writer.publish(published(call, EventName.ENDED, 2))
    call = put(writer, call=call)
    (row,) = stopped(store)
    finish(writer, row, Found(reason="missing"))
    (lost,) = store.run(lambda db: recordings.lost(db, "sw1", 0, None, 10), 10)
    assert store.run(lambda db: recordings.lost(db, "sw1", 0, lost.id, 10), 10) == []
    assert store.run(lambda db: recordings.lost(db, "sw1", NOW_US + 2, None, 10), 10) == []
    assert writer.execute(lambda db: recordings.revive(db, lost, NOW_US), 10)
    (row,) = stopped(store)
    finish(writer, row)
    events = OutboxReads(store).after(0, 10)
    assert [(event.event, event.seq) for event in events] == [
        ("call.dialing", 1),
        ("call.ended", 2),
        ("call.recording_failed", 3),
        ("call.recording_ready", 4),
    ]
    assert [file["status"] for event in events for file in event.record.files] == ["failed", "ready"]


def test_of_no_call(store: Store, writer: Writer) -> None:
    put(writer)
    (row,) = stopped(store)
    writer.execute(lambda db: run_sql(db, "DELETE FROM call"), 10)
    with pytest.raises(NoSuchCall):
        finish(writer, row)
    assert [found.id for found in stopped(store)] == [row.id]


def test_two_at_once_lose_neither_file(store: Store, writer: Writer) -> None:
    call = put(writer, path="/rec/0.wav")
    for n in range(1, 8):
        call = put(writer, call=call, path=f"/rec/{n}.wav")
    rows = stopped(store)
    # Two connections: the daemon's writer, and commands, which have none.
    executors = (writer.execute, store.execute)
    jobs = [
        gevent.spawn(executors[n % 2], lambda db, row=row: recordings.finish(db, row, READY, NOW_US), 20)
        for n, row in enumerate(rows)
    ]
    gevent.joinall(jobs, timeout=30, raise_error=True)
    record = store.run(lambda db: tell.record_by_id(db, call.id), 10)
    assert sorted(file["path"] for file in record.files) == [f"/rec/{n}.wav" for n in range(8)]
    assert [event.seq for event in OutboxReads(store).after(0, 100)] == list(range(1, 9))


def test_calls_are_found_by_their_id_and_by_their_channel(store: Store, writer: Writer) -> None:
    one, two = put(writer), put(writer, live=True)
    elsewhere = put(writer, call=a_call(node="sw2"))
    wanted = [one.id, two.own.uuid, elsewhere.id, elsewhere.own.uuid, a_call().id]
    found = store.run(lambda db: recordings.calls_named(db, "sw1", wanted), 10)
    assert {uuid: (call.id, call.live) for uuid, call in found.items()} == {
        one.id: (one.id, False),
        two.own.uuid: (two.id, True),
    }


def test_a_found_file_is_adopted_once(store: Store, writer: Writer) -> None:
    call = put(writer)
    named = store.run(lambda db: recordings.calls_named(db, "sw1", [call.id]), 10)[call.id]

    def adopt(path: str) -> bool:
        return writer.execute(lambda db: recordings.adopt(db, "sw1", named, path, 7, analyses=True), 10)

    assert [adopt("/rec/b.wav"), adopt("/rec/b.wav"), adopt("/rec/a.wav")] == [True, False, False]
    rows = store.run(lambda db: recordings.of_call(db, call.id), 10)
    assert sorted((row.path, row.stopped_us) for row in rows) == [("/rec/a.wav", T0 + 9), ("/rec/b.wav", None)]
    # The stop that comes after all is that of the same recording.
    put(writer, call=call, path="/rec/b.wav", stopped_us=T0 + 20)
    rows = store.run(lambda db: recordings.of_call(db, call.id), 10)
    assert sorted((row.path, row.stopped_us) for row in rows) == [("/rec/a.wav", T0 + 9), ("/rec/b.wav", T0 + 20)]


def test_what_is_forgotten_is_said_once(store: Store, writer: Writer) -> None:
    call = put(writer)
    finish(writer, stopped(store)[0])
    (row,) = store.run(lambda db: recordings.expired(db, TENANT, NOW_US + 2, None, 10, "sw1"), 10)
    for node, before_us in (("sw2", NOW_US + 2), (None, NOW_US + 1)):
        assert store.run(lambda db, n=node, b=before_us: recordings.expired(db, TENANT, b, None, 10, n), 10) == []
    forget = [writer.execute(lambda db: recordings.forget(db, row, 9), 10) for _ in range(2)]
    assert forget == [True, False]
    record = store.run(lambda db: tell.record_by_id(db, call.id), 10)
    assert [file["status"] for file in record.files] == ["deleted"]
    names = run_names(store, call)
    assert names == ["recording_ready", "recording_deleted"]


def run_names(store: Store, call: Call) -> list[str]:
    """The names in the timeline, in order."""
    text = "SELECT e.name FROM call_event AS e JOIN call ON call.id = e.call_id WHERE call.fs_uuid = ? ORDER BY e.n"
    return [name for (name,) in store.run(lambda db: run_sql(db, text, (call.own.uuid,)).fetchall(), 10)]
