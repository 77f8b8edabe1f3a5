"""The feed over the real outbox, on both databases: cut wherever it may be, every event comes once, and in order."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gevent
import peewee
import pytest

from callengine.calls.call import EventName
from callengine.store import sql
from callengine.store.database import Store
from callengine.store.outbox import OutboxReads
from callengine.store.tell import tell
from callengine.store.writer import Writer
from callengine.stream import Feed
from tests.store.build import OTHER, T0, TENANT, a_call, changed, ended, published
from tests.stream.reading import Message, ids, parse

NAMES = (EventName.DIALING, EventName.RINGING, EventName.ANSWERED, EventName.AGENT_CONNECTED, EventName.ENDED)
CALLS_EACH = 100


@pytest.fixture
def feed(store: Store) -> Iterator[Feed]:
    made = Feed(OutboxReads(store))
    running = gevent.spawn(made.run)
    with gevent.Timeout(120):
        yield made
    running.kill()


@pytest.fixture
def writer(store: Store, feed: Feed) -> Iterator[Writer]:
    made = Writer(store, on_published=feed.nudge)
    made.start()
    yield made
    made.stop(10)


def tell_all(writer: Writer, chance: random.Random) -> None:
    """The milestones of 200 calls of two tenants, each in its order, all mixed; now and then a pause."""
    waiting = {}
    for tenant in (TENANT, OTHER):
        for n in range(CALLS_EACH):
            call = a_call(T0 + n, tenant_id=tenant, campaign=f"c{n % 3}")
            waiting[call.id] = (call, list(enumerate(NAMES, 1)))
    while waiting:
        call, left = waiting[chance.choice(list(waiting))]
        seq, name = left.pop(0)
        now = changed(call, seq=seq) if left else ended(call, seq=seq)
        writer.put(now)
        writer.publish(published(now, name, seq))
        if not left:
            del waiting[call.id]
        if chance.random() < 0.05:
            gevent.sleep(0.002)


def stored(store: Store, tenant: str) -> list[str]:
    rows = OutboxReads(store).after(0, 10_000)
    assert [row.position for row in rows] == sorted(row.position for row in rows)
    return [row.id for row in rows if row.tenant_id == tenant]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_events_with_random_cuts(store: Store, feed: Feed, writer: Writer, seed: int) -> None:
    count = CALLS_EACH * len(NAMES)
    readers = []
    for n, tenant in enumerate((TENANT, OTHER)):
        # One that was read before: who has no id begins anew with each cut.
        start = a_call(tenant_id=tenant)
        writer.put(start)
        writer.publish(published(start, EventName.DIALING, 1))
        writer.flush(10)
        chance = random.Random(seed * 10 + n)
        readers.append(gevent.spawn(read_from, feed, tenant, stored(store, tenant)[0], count, chance))
    tell_all(writer, random.Random(seed))
    writer.flush(30)
    for tenant, reader in zip((TENANT, OTHER), readers, strict=True):
        seen = reader.get(timeout=60)
        assert ids(seen) == stored(store, tenant)[1:]
        assert len(seen) == count
        by_call: dict[str, list[int]] = {}
        for message in seen:
            assert message.data["id"] == message.id
            assert message.data["data"]["call"]["seq"] == message.data["seq"]
            by_call.setdefault(message.data["data"]["call"]["id"], []).append(message.data["seq"])
        assert all(numbers == [1, 2, 3, 4, 5] for numbers in by_call.values())
        assert len(by_call) == CALLS_EACH
    assert feed.readers == 0


def read_from(feed: Feed, tenant: str, event_id: str, count: int, chance: random.Random) -> list[Message]:
    """As a client whose connection breaks in the middle of anything, and which comes back each time."""
    seen: list[Message] = []
    while len(seen) < count:
        reader = feed.open(tenant, {}, seen[-1].id if seen else event_id)
        left, raw = chance.choice([60, 3_000, 40_000, 400_000]), b""
        while left > 0 and len(seen) + raw.count(b"\n\n") - 1 < count:
            piece = next(reader)
            raw += piece[:left]
            left -= len(piece)
        reader.close()
        messages, _ = parse(raw)
        assert all(message.id for message in messages), "neither reset nor dropped"
        seen += messages
        if chance.random() < 0.3:
            gevent.sleep(0.01)
    return seen


def test_what_is_told_from_outside_the_book_comes_in_line(store: Store, feed: Feed, writer: Writer) -> None:
    call = ended(a_call(seq=1))
    writer.put(call)
    writer.publish(published(call, EventName.ENDED, 1))
    writer.flush(10)
    reader = feed.open(TENANT, {"events": frozenset({"call.analyzed"})})
    next(reader)
    detail = {"analysis": {"status": "completed", "done_us": T0}}
    changes = {"ai_summary": "They agreed.", "analysis_status": "completed"}
    writer.execute(
        lambda db: tell(db, call.id, EventName.ANALYZED, "analysis 1", T0, changes=changes, detail=detail), 10
    )
    messages, _ = parse(next(reader))
    (message,) = messages
    assert message.data["seq"] == 2
    assert message.data["data"]["call"]["ai_summary"] == "They agreed."
    assert message.data["data"]["analysis"] == {"status": "completed", "done_time": "2026-11-22T10:33:20.000Z"}
    reader.close()


def test_an_event_that_was_pruned_is_told_of(store: Store, feed: Feed, writer: Writer) -> None:
    call = a_call()
    writer.put(call)
    writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(10)
    (old,) = stored(store, TENANT)

    def prune(db: peewee.Database) -> None:
        sql.run(db, "DELETE FROM outbox")

    writer.execute(prune, 10)
    reader = feed.open(TENANT, {}, old)
    messages, _ = parse(next(reader))
    assert [m.event for m in messages] == ["reset"]
    writer.put(changed(call, seq=2))
    writer.publish(published(call, EventName.RINGING, 2))
    messages, _ = parse(next(reader))
    assert [m.event for m in messages] == ["call.ringing"]
    reader.close()


def test_an_event_that_outlived_what_followed_is_as_good_as_gone(store: Store, writer: Writer) -> None:
    """A dead letter keeps its event for longer than those behind it: nothing may be left out unsaid."""
    call = a_call()
    for seq, event in enumerate(NAMES[:3], 1):
        call = changed(call, seq=seq)
        writer.put(call)
        writer.publish(published(call, event, seq))
    writer.flush(10)
    first, second, third = stored(store, TENANT)
    created_us = OutboxReads(store).after(0, 1)[0].created_us
    days = [2.9]
    feed = Feed(OutboxReads(store), keep_days=3, now_us=lambda: created_us + int(days[0] * 86_400_000_000))
    assert [m.id for m in beginning(feed, first)] == [second, third]
    days[0] = 3.0
    text = "DELETE FROM outbox WHERE position = (SELECT max(position) - 1 FROM outbox)"
    writer.execute(lambda db: sql.run(db, text), 10)
    assert [m.event for m in beginning(feed, first)] == ["reset"]


def beginning(feed: Feed, event_id: str) -> list[Message]:
    """What a reader gets that goes on behind an event, before anything new is told."""
    reader = feed.open(TENANT, {}, event_id)
    first = next(reader)
    messages, _ = parse(first)
    if not messages:
        messages, _ = parse(next(reader))
    reader.close()
    return messages


def test_a_row_that_cannot_be_read_ends_nothing(
    store: Store, feed: Feed, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    call = a_call()
    for seq, event in enumerate(NAMES, 1):
        call = changed(call, seq=seq)
        writer.put(call)
        writer.publish(published(call, event, seq))
    writer.flush(10)
    first, _, third, _, _ = stored(store, TENANT)
    for seq, broken in ((2, '{"id":1}'), (4, "hunter2"), (5, "[]")):
        writer.execute(lambda db, v=(broken, seq): sql.run(db, "UPDATE outbox SET payload = ? WHERE seq = ?", v), 10)  # type: ignore[misc]
    outbox = OutboxReads(store)
    page = outbox.after(0, 5)
    assert ([event.id for event in page], page.more) == ([first, third], True)
    assert page.upto == outbox.last_position()
    assert outbox.of_tenant(TENANT, 0, page.upto, 10).upto == page.upto
    assert outbox.after(page.upto, 5).upto == page.upto
    assert "hunter2" not in caplog.text
    assert "cannot be read" in caplog.text
    live = feed.open(TENANT, {})
    next(live)
    late = feed.open(TENANT, {}, first)
    next(late)
    assert ids(parse(next(late))[0]) == [third]
    writer.put(ended(call, seq=6))
    writer.publish(published(call, EventName.CORRECTED, 6))
    for reader in (live, late):
        assert [message.event for message in parse(next(reader))[0]] == ["call.corrected"]
        reader.close()


def test_another_process_writes(store: Store, feed: Feed) -> None:
    """Nobody nudges: it is looked for all the same."""
    other = Writer(store)
    other.start()
    call = a_call()
    reader = feed.open(TENANT, {})
    next(reader)
    other.put(call)
    other.publish(published(call, EventName.DIALING, 1))
    messages, _ = parse(next(reader))
    assert [m.event for m in messages] == ["call.dialing"]
    reader.close()
    other.stop(10)
