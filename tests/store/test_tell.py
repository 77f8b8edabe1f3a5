"""Two sides tell of a call: the book, and what is learned later. One sequence, one outbox, every endpoint."""

from __future__ import annotations

import random
from typing import Any

import gevent
import msgspec
import pytest
from gevent import monkey

from callengine.calls.call import EVENT_BITS, Call, EventName, Recording
from callengine.calls.facts import Source
from callengine.calls.ids import event_id_of, recording_id_of
from callengine.calls.leg import Note
from callengine.calls.record import record_of
from callengine.calls.view import show_event
from callengine.errors import NoSuchCall
from callengine.store import schema, sql, tell
from callengine.store.database import Store
from callengine.store.outbox import OutboxReads
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import OTHER, T0, TENANT, a_call, ended, noted, published

FILE = {
    "id": "3f0e6f7e-1f0b-5b51-9d3e-000000000001",
    "leg": "x",
    "path": "/r/a.wav",
    "status": "ready",
    "reason": None,
    "duration_ms": 4000,
    "bytes": 64044,
    "sha256": "ab",
    "channels": 1,
    "storage": "disk",
}
ALL = sum(EVENT_BITS.values())


def ready(writer: Writer, call: Call, key: str = "recording:1:2") -> bool:
    note = Note("recording_ready", T0, None, Source.CLOCK, FILE["id"])  # type: ignore[arg-type]
    return writer.execute(
        lambda db: tell.tell(
            db,
            call.id,
            EventName.RECORDING_READY,
            key,
            T0,
            changes={"files": [FILE]},
            detail={"recording": FILE},
            note=note,
        ),
        5,
    )


def endpoint(writer: Writer, number: int, *, tenant_id: str = TENANT, events: int = ALL, enabled: bool = True) -> str:
    endpoint_id = f"00000000-0000-7000-8000-00000000000{number}"

    def add(db: object) -> None:
        tenant = {"id": tenant_id, "name": tenant_id, "created_us": T0}
        schema.Tenant.insert(tenant).on_conflict(action="IGNORE").execute(db)
        schema.Endpoint.insert(
            id=endpoint_id,
            tenant_id=tenant_id,
            url="https://example.com/",
            events=events,
            enabled=enabled,
            secret="whsec_x",
            failures=0,
            retry_us=0,
            created_us=T0,
        ).execute(db)

    writer.execute(add, 5)
    return endpoint_id


def deliveries(store: Store) -> list[tuple[str, str, int]]:
    query = schema.Delivery.select(schema.Delivery.endpoint_id, schema.Delivery.event, schema.Delivery.seq)
    ordered = query.order_by(schema.Delivery.endpoint_id, schema.Delivery.event_position).tuples()
    return store.run(lambda db: list(ordered.execute(db)), 5)


def recordings(store: Store) -> list[dict[str, Any]]:
    return store.run(lambda db: list(schema.Recording.select().dicts().execute(db)), 5)


def test_the_two_sides_share_one_sequence(writer: Writer, store: Store, reads: Reads) -> None:
    call = a_call(seq=1)
    writer.put(call)
    writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(5)
    assert ready(writer, call)
    over = ended(call, seq=2)
    writer.put(over)
    writer.publish(published(over, EventName.ENDED, 2))
    writer.flush(5)
    told = OutboxReads(store).after(0, 10)
    assert [(e.seq, e.event) for e in told] == [(1, "call.dialing"), (2, "call.recording_ready"), (3, "call.ended")]
    assert [e.record.seq for e in told] == [1, 2, 3]
    assert [e.record.status for e in told] == ["dialing", "dialing", "completed" if over.own.answered_us else "failed"]
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert (found.seq, found.live) == (3, False)
    assert [e.id for e in told] == [event_id_of(call.id, key) for key in ("1", "recording:1:2", "2")]


def test_an_event_carries_what_was_set_by_then_and_no_more(writer: Writer, store: Store) -> None:
    call = a_call(seq=1)
    writer.put(call)
    writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(5)
    ready(writer, call)
    writer.execute(lambda db: tell.change(db, call.id, {"disposition": "sold", "disposition_by": "agent"}), 5)
    over = ended(call, seq=2)
    writer.put(over)
    writer.publish(published(over, EventName.ENDED, 2))
    writer.flush(5)
    first, second, third = OutboxReads(store).after(0, 10)
    assert (first.record.files, first.record.disposition) == ((), None)
    assert (second.record.files, second.record.disposition) == ((FILE,), None)
    assert (third.record.files, third.record.disposition) == ((FILE,), "sold")
    body = show_event(second, lambda recording_id: f"https://x/{recording_id}", probed=True)
    assert body["type"] == "call.recording_ready"
    assert body["data"]["recording"]["url"] == body["data"]["call"]["recording_url"] == f"https://x/{FILE['id']}"
    assert show_event(first, lambda _: "https://x/", probed=True)["data"]["call"]["recording_url"] is None


def test_the_same_key_is_told_once(writer: Writer, store: Store, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    writer.flush(5)
    assert ready(writer, call)
    assert not ready(writer, call)
    assert ready(writer, call, "recording:1:3")
    assert [e.seq for e in OutboxReads(store).after(0, 10)] == [1, 2]
    assert [note.name for note in reads.timeline(TENANT, call.id)] == ["recording_ready"] * 2


def test_the_timeline_goes_on_after_a_restart_whatever_was_noted_from_outside(store: Store, reads: Reads) -> None:
    call = a_call()
    for name in ("created", "rang"):
        writer = Writer(store)
        writer.start()
        writer.put(call)
        writer.note(noted(call, name))
        writer.flush(5)
        ready(writer, call, name)
        assert writer.stop(5)
    found = [note.name for note in reads.timeline(TENANT, call.id)]
    assert sorted(found) == ["created", "rang", "recording_ready", "recording_ready"]


def test_a_call_that_is_not_there_is_told_nothing(writer: Writer, store: Store) -> None:
    with pytest.raises(NoSuchCall):
        ready(writer, a_call())
    assert OutboxReads(store).last_position() == 0


def test_what_is_the_books_cannot_be_changed_from_outside(writer: Writer) -> None:
    call = a_call()
    writer.put(call)
    writer.flush(5)
    with pytest.raises(ValueError, match="status"):
        writer.execute(lambda db: tell.change(db, call.id, {"status": "completed"}), 5)


def test_a_later_state_of_the_book_leaves_what_was_told_outside(writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    writer.flush(5)
    ready(writer, call)
    writer.put(ended(call))
    writer.flush(5)
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert (found.files, found.live, found.seq) == ((FILE,), False, 1)


def test_each_endpoint_gets_what_it_asked_for(writer: Writer, store: Store) -> None:
    everything = endpoint(writer, 1)
    ends = endpoint(writer, 2, events=EVENT_BITS[EventName.ENDED])
    endpoint(writer, 3, enabled=False)
    endpoint(writer, 4, tenant_id=OTHER)
    call = a_call(seq=2)
    writer.put(call)
    for seq, event in enumerate((EventName.DIALING, EventName.ENDED), 1):
        writer.publish(published(call, event, seq))
    writer.flush(5)
    ready(writer, call)
    assert deliveries(store) == [
        (everything, "call.dialing", 1),
        (everything, "call.ended", 2),
        (everything, "call.recording_ready", 3),
        (ends, "call.ended", 2),
    ]


def test_a_milestone_written_again_is_delivered_once(writer: Writer, store: Store) -> None:
    endpoint(writer, 1)
    call = a_call(seq=1)
    for _ in range(2):
        writer.put(call)
        writer.publish(published(call, EventName.DIALING, 1))
        writer.flush(5)
    assert [(event, seq) for _, event, seq in deliveries(store)] == [("call.dialing", 1)]
    assert [e.seq for e in OutboxReads(store).after(0, 10)] == [1]


def test_a_recording_is_to_be_looked_at_from_the_commit_that_tells_of_it(store: Store) -> None:
    writer = Writer(store, recordings=True, analyses=True)
    writer.start()
    going = Recording(path="/r/a.wav", leg="x", started_us=T0)
    call = a_call(recordings=(going,))
    writer.put(msgspec.structs.replace(call, held=True))
    writer.flush(5)
    assert recordings(store) == []
    writer.put(call)
    writer.flush(5)
    (row,) = recordings(store)
    assert (row["id"], row["status"]) == (recording_id_of(call.id, "x", "/r/a.wav"), "open")
    (analysis,) = store.run(lambda db: list(schema.Analysis.select().dicts().execute(db)), 5)
    assert (analysis["call_id"], analysis["status"], analysis["due"]) == (call.id, "pending", True)
    stopped = msgspec.structs.replace(going, stopped_us=T0 + 5, duration_ms=1)
    writer.put(msgspec.structs.replace(call, recordings=(stopped,)))
    writer.flush(5)
    writer.execute(lambda db: schema.Recording.update(status="ready").execute(db), 5)
    writer.put(msgspec.structs.replace(call, recordings=(stopped,), seq=1))
    writer.flush(5)
    (row,) = recordings(store)
    assert (row["status"], row["stopped_us"]) == ("ready", T0 + 5)
    again = msgspec.structs.replace(stopped, stopped_us=T0 + 9, duration_ms=9)
    writer.put(msgspec.structs.replace(call, recordings=(again,), seq=1))
    writer.flush(5)
    (row,) = recordings(store)
    assert (row["status"], row["claimed_ms"], row["attempts"]) == ("stopped", 9, 0)
    assert writer.stop(5)


@pytest.mark.parametrize("second_by_the_book", [False, True])
def test_who_tells_second_waits_until_the_first_is_committed(postgres_store: Store, second_by_the_book: bool) -> None:
    """Else the second's position could be seen before the first's, which is less: whoever reads on would miss that."""
    outbox = OutboxReads(postgres_store)
    first, second = Writer(postgres_store), Writer(postgres_store)
    first.start()
    second.start()
    one, other = a_call(), a_call()
    for call in (one, other):
        first.put(call)
    first.flush(5)
    told, go_on = (monkey.get_original("threading", "Event")() for _ in range(2))

    def tell_and_stay(db: Any) -> None:
        tell.tell(db, one.id, EventName.RECORDING_READY, "1", T0)
        told.set()
        assert go_on.wait(10), "in a native thread"

    def later() -> None:
        if second_by_the_book:
            second.put(other)
            second.publish(published(other, EventName.DIALING, 1))
            second.flush(10)
        else:
            second.execute(lambda db: tell.tell(db, other.id, EventName.RECORDING_READY, "1", T0), 10)

    holding = gevent.spawn(first.execute, tell_and_stay, 10)
    try:
        with gevent.Timeout(10):
            while not told.is_set():
                gevent.sleep(0.005)
        waiting = gevent.spawn(later)
        gevent.sleep(0.3)
        assert not waiting.ready()
        assert outbox.last_position() == 0
    finally:
        go_on.set()
    gevent.joinall([holding, waiting], timeout=15, raise_error=True)
    assert [event.call_id for event in outbox.after(0, 10)] == [one.id, other.id]
    for writer in (first, second):
        assert writer.stop(5)


def test_two_engines_and_a_thousand_events_leave_no_gap(postgres_store: Store) -> None:
    """One engine's book and another's findings tell of the same calls at once; positions show up in their order."""
    book, other = Writer(postgres_store), Writer(postgres_store)
    book.start()
    other.start()
    calls = [a_call() for _ in range(20)]
    for call in calls:
        book.put(call)
    book.flush(5)
    seen: list[int] = []
    outbox = OutboxReads(postgres_store)

    def watch() -> None:
        while len(seen) < 400:
            seen.extend(e.position for e in outbox.after(seen[-1] if seen else 0, 1000))
            gevent.sleep(0.002)

    def milestones() -> None:
        for seq in range(1, 11):
            for call in random.sample(calls, len(calls)):
                book.put(msgspec.structs.replace(call, seq=seq))
                book.publish(published(call, EventName.RINGING, seq))
            book.flush(5)

    def findings() -> None:
        for n in range(10):
            for call in random.sample(calls, len(calls)):
                ready(other, call, f"recording:{n}")

    work = [gevent.spawn(watch), gevent.spawn(milestones), gevent.spawn(findings)]
    gevent.joinall(work, timeout=60, raise_error=True)
    assert len(seen) == 400
    events = outbox.after(0, 1000)
    assert [e.position for e in events] == seen
    for call in calls:
        assert [e.seq for e in events if e.call_id == call.id] == list(range(1, 21))
    text = "SELECT DISTINCT seq + side_seq FROM call"
    assert postgres_store.run(lambda db: sql.query(db, text).fetchall(), 5) == [(20,)]
    assert record_of(calls[0]).files == ()
    for writer in (book, other):
        assert writer.stop(5)
