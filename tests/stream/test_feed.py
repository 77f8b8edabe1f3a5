"""The feed over an outbox in memory: who gets what, and who has to go."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

from callengine.calls.view import show_event
from callengine.errors import StoreUnavailable, TooManyReaders
from callengine.stream import HEARTBEAT_S, KEY_LOOK_S, Bounds, Feed, Reader, add_gauges
from tests.stream.reading import OTHER, TENANT, Blocks, Clock, FakeOutbox, drained, ids, parse


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(outbox: FakeOutbox, clock: Clock) -> Feed:
    return make(outbox, clock)


def make(outbox: FakeOutbox, clock: Clock, **more: Any) -> Feed:
    return Feed(outbox, more.pop("bounds", None), clock=clock, wait=clock.wait, now_us=lambda: 0, **more)


def settle(feed: Feed) -> None:
    """What the feed's greenlet does until it waits."""
    for _ in range(10_000):
        if not feed.turn():
            return
    raise AssertionError("the feed reads on and on")


def joined(feed: Feed, **filters: Any) -> Reader:
    """A reader that waits for what comes."""
    reader = feed.open(TENANT, filters)
    assert drained(reader) == []
    return reader


def test_the_first_bytes_come_at_once_and_hint_at_the_pause(feed: Feed) -> None:
    reader = feed.open(TENANT, {})
    assert next(reader) == b"retry: 3000\n: callengine\n\n"
    with pytest.raises(Blocks):
        next(reader)


def test_an_event_is_told_as_a_webhook_tells_it(outbox: FakeOutbox, clock: Clock) -> None:
    feed = make(outbox, clock, url_of=lambda recording_id: f"https://x/{recording_id}", probed=True)
    reader = joined(feed)
    files = [{"id": "r", "leg": "f", "status": "ready", "duration_ms": 5, "bytes": 1, "path": "/secret"}]
    row = outbox.add(event="call.recording_ready", files=files, caller_name='new\nline "ü"  ')
    settle(feed)
    (message,) = drained(reader)
    assert (message.event, message.id) == ("call.recording_ready", row.id)
    assert message.data == show_event(row, lambda recording_id: f"https://x/{recording_id}", probed=True)
    assert message.data["data"]["call"]["recording_url"] == "https://x/r"
    assert "/secret" not in str(message.data)


def test_without_an_id_it_begins_now(feed: Feed, outbox: FakeOutbox) -> None:
    outbox.add()
    reader = feed.open(TENANT, {})
    first = outbox.add()  # committed before the reader's first step, but after its coming
    assert ids(drained(reader)) == []
    second = outbox.add()
    settle(feed)
    assert ids(drained(reader)) == [first.id, second.id]


def test_with_an_id_it_goes_on_right_behind_it(feed: Feed, outbox: FakeOutbox) -> None:
    rows = [outbox.add(TENANT if n % 3 else OTHER) for n in range(700)]
    mine = [row for row in rows if row.tenant_id == TENANT]
    reader = feed.open(TENANT, {}, mine[9].id)
    assert ids(drained(reader)) == [row.id for row in mine[10:]]
    more = [outbox.add() for _ in range(3)]
    settle(feed)
    assert ids(drained(reader)) == [row.id for row in more]


def test_who_is_behind_the_feed_reads_up_to_it_first(feed: Feed, outbox: FakeOutbox) -> None:
    first = outbox.add()
    ahead = joined(feed)
    between = [outbox.add() for _ in range(5)]
    settle(feed)
    late = feed.open(TENANT, {}, first.id)
    live = outbox.add()
    settle(feed)
    assert ids(drained(late)) == [*(row.id for row in between), live.id]
    assert ids(drained(ahead)) == [*(row.id for row in between), live.id]
    last = outbox.add()
    settle(feed)
    assert ids(drained(late)) == ids(drained(ahead)) == [last.id]


def test_a_reader_that_knows_more_than_the_feed_is_told_nothing_twice(feed: Feed, outbox: FakeOutbox) -> None:
    slow = joined(feed)
    known = [outbox.add() for _ in range(3)]  # the feed has not read them yet
    fresh = feed.open(TENANT, {}, known[-1].id)
    assert drained(fresh) == []
    new = outbox.add()
    settle(feed)
    assert ids(drained(fresh)) == [new.id]
    assert ids(drained(slow)) == [*(row.id for row in known), new.id]


def test_an_id_that_is_not_there_is_told_of(feed: Feed, outbox: FakeOutbox) -> None:
    foreign = outbox.add(OTHER)
    outbox.add()
    for unknown in (foreign.id, "00000000-0000-0000-0000-000000000000"):
        reader = feed.open(TENANT, {}, unknown)
        (reset,) = drained(reader)
        assert (reset.event, reset.id, reset.data["last_event_id"]) == ("reset", None, unknown)
        new = outbox.add()
        settle(feed)
        assert ids(drained(reader)) == [new.id]
        reader.close()


@pytest.mark.parametrize("count", [3, 450])
def test_what_cannot_be_read_stops_nothing_behind_it(feed: Feed, outbox: FakeOutbox, count: int) -> None:
    """More than a page of them, and at the end as well: whoever looks goes on behind them."""
    first = outbox.add()
    live = joined(feed)

    def add_unreadable() -> None:
        outbox.unreadable.update(outbox.add().position for _ in range(count))

    add_unreadable()
    good = outbox.add()
    settle(feed)
    assert ids(drained(live)) == [good.id]
    assert ids(drained(feed.open(TENANT, {}, first.id))) == [good.id]
    add_unreadable()
    settle(feed)
    reads = outbox.reads
    settle(feed)
    assert outbox.reads == reads + 1, "they are not read again and again"
    late = feed.open(TENANT, {}, first.id)
    assert ids(drained(late)) == [good.id]
    last = outbox.add()
    settle(feed)
    assert ids(drained(live)) == ids(drained(late)) == [last.id]


def test_tenants_see_their_own(feed: Feed, outbox: FakeOutbox) -> None:
    mine, theirs = joined(feed), feed.open(OTHER, {})
    assert drained(theirs) == []
    rows = [outbox.add(TENANT), outbox.add(OTHER), outbox.add(TENANT), outbox.add("nobody's")]
    settle(feed)
    assert ids(drained(mine)) == [rows[0].id, rows[2].id]
    assert ids(drained(theirs)) == [rows[1].id]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"events": frozenset({"call.ended", "call.analyzed"})}, [1, 3]),
        ({"campaign_id": "spring"}, [0, 1]),
        ({"lead_id": "l"}, [2]),
        ({"agent_id": "1001"}, [1]),
        ({"call_id": "01a203e5-0000-7000-8000-0000000000aa"}, [3]),
        ({"campaign_id": "spring", "events": frozenset({"call.ended"})}, [1]),
    ],
)
def test_filters(feed: Feed, outbox: FakeOutbox, filters: dict[str, Any], expected: list[int]) -> None:
    start = outbox.add()

    def add() -> list[str]:
        return [
            outbox.add(campaign_id="spring").id,
            outbox.add(event="call.ended", campaign_id="spring", agent_id="1001").id,
            outbox.add(lead_id="l").id,
            outbox.add(event="call.analyzed", id="01a203e5-0000-7000-8000-0000000000aa").id,
        ]

    stored = add()
    reader = feed.open(TENANT, filters, start.id)
    assert ids(drained(reader)) == [stored[n] for n in expected]
    live = add()
    settle(feed)
    assert ids(drained(reader)) == [live[n] for n in expected]


def test_an_event_is_rendered_once_for_all(feed: Feed, outbox: FakeOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [joined(feed) for _ in range(3)]
    rendered = []
    real = feed.render
    monkeypatch.setattr(feed, "render", lambda event: rendered.append(event.id) or real(event))
    row = outbox.add()
    outbox.add(OTHER)
    settle(feed)
    assert rendered == [row.id]
    assert all(ids(drained(reader)) == [row.id] for reader in readers)


def test_one_that_cannot_be_shown_stops_nothing(
    feed: Feed, outbox: FakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    start = outbox.add()
    reader = joined(feed)
    bad = outbox.add(sip_status=1 << 70)
    good = outbox.add()
    with caplog.at_level(logging.ERROR):
        settle(feed)
        assert ids(drained(reader)) == [good.id]
        assert ids(drained(feed.open(TENANT, {}, start.id))) == [good.id]
    assert bad.id in caplog.text


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("events", "size"), [(50, 10), (10_000, 3000)])
def test_a_slow_reader_is_dropped_with_a_word_and_can_come_back(
    outbox: FakeOutbox, clock: Clock, events: int, size: int
) -> None:
    feed = make(outbox, clock, bounds=Bounds(queue_events=events, queue_bytes=100_000))
    slow, quick = joined(feed), joined(feed)
    read = []
    rows = []
    for _ in range(60):
        rows.append(outbox.add(size=size))
        settle(feed)
        read += ids(drained(quick))
    assert feed.dropped == 1
    (word,) = drained(slow)  # what waited is let go: memory is bounded
    assert (word.event, word.id, word.data["reason"]) == ("dropped", None, "slow")
    with pytest.raises(StopIteration):
        next(slow)
    assert feed.readers == 1
    assert read == [row.id for row in rows]
    assert ids(drained(feed.open(TENANT, {}, rows[0].id))) == [row.id for row in rows[1:]]


def test_places_are_bounded_in_all_and_by_tenant(outbox: FakeOutbox, clock: Clock) -> None:
    feed = make(outbox, clock, bounds=Bounds.of(4))
    mine = [feed.open(TENANT, {}) for _ in range(2)]
    with pytest.raises(TooManyReaders) as refused:
        feed.open(TENANT, {})
    assert refused.value.status == 503
    assert refused.value.retry_after_s
    theirs = [feed.open(OTHER, {}), feed.open("third", {})]
    with pytest.raises(TooManyReaders):
        feed.open("fourth", {})
    assert (feed.readers, feed.turned_away) == (4, 2)
    for reader in (*mine, *theirs, mine[0]):
        reader.close()  # also those that were never read from, and twice
    assert feed.readers == 0
    assert feed.open(TENANT, {})


def test_a_database_that_is_away_takes_no_place(feed: Feed, outbox: FakeOutbox) -> None:
    outbox.away = True
    with pytest.raises(StoreUnavailable):
        feed.open(TENANT, {})
    assert feed.readers == 0


def test_pieces_are_bounded(feed: Feed, outbox: FakeOutbox) -> None:
    start = outbox.add()
    rows = [outbox.add(size=size) for size in (200_000, 10, 10, 70_000)]
    reader = feed.open(TENANT, {}, start.id)
    pieces = [next(reader)]
    with pytest.raises(Blocks):
        while True:
            pieces.append(next(reader))
    assert max(map(len, pieces)) == 65_536
    messages, _ = parse(b"".join(pieces))
    assert ids(messages) == [row.id for row in rows]


# -- time --------------------------------------------------------------------------------------------------------------


def test_silence_is_filled_with_heartbeats(feed: Feed, outbox: FakeOutbox, clock: Clock) -> None:
    reader = joined(feed)
    clock.blocks = False
    began = clock.now
    for n in (1, 2, 3):
        assert next(reader).startswith(b":")
        assert clock.now == began + n * HEARTBEAT_S
    clock.now += HEARTBEAT_S - 1
    outbox.add()
    settle(feed)
    began = clock.now
    assert b"call.ringing" in next(reader)
    assert next(reader).startswith(b":")
    assert clock.now == began + HEARTBEAT_S


def test_a_revoked_key_ends_the_stream_within_a_minute(feed: Feed, outbox: FakeOutbox, clock: Clock) -> None:
    answers: list[bool | Exception] = [True, StoreUnavailable("away"), False]
    asked: list[float] = []

    def still_admitted() -> bool:
        asked.append(clock.now)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = feed.open(TENANT, {}, None, still_admitted)
    clock.blocks = False
    began = clock.now
    raw = b""
    for piece in reader:
        raw += piece
    messages, _ = parse(raw)
    assert (messages[-1].event, messages[-1].data["reason"]) == ("dropped", "key")
    assert [round(at - began) for at in asked] == [20, 40, 60] == [round(KEY_LOOK_S * n) for n in (1, 2, 3)]
    assert feed.readers == 0


def test_a_busy_stream_looks_at_its_key_too(feed: Feed, outbox: FakeOutbox, clock: Clock) -> None:
    reader = feed.open(TENANT, {}, None, lambda: False)
    assert drained(reader) == []
    for _ in range(100):
        outbox.add()
        settle(feed)
        clock.now += 1
        if b"event: dropped" in next(reader):
            break
    assert clock.now == 100 + KEY_LOOK_S
    assert feed.readers == 0


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_the_feed_outlives_the_database(feed: Feed, outbox: FakeOutbox, caplog: pytest.LogCaptureFixture) -> None:
    reader = joined(feed)
    rows = [outbox.add()]
    outbox.away = True
    with caplog.at_level(logging.INFO):
        assert not feed.turn()
        assert not feed.turn()
        assert drained(reader) == []
        outbox.away = False
        rows.append(outbox.add())
        settle(feed)
    assert ids(drained(reader)) == [row.id for row in rows]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_reader_that_cannot_catch_up_is_let_go(feed: Feed, outbox: FakeOutbox) -> None:
    start = outbox.add()
    for _ in range(150):
        outbox.add()
    reader = feed.open(TENANT, {}, start.id)
    raw = next(reader) + next(reader)
    outbox.away = True
    messages, _ = parse(raw + b"".join(reader))
    assert (messages[-1].event, messages[-1].data["reason"]) == ("dropped", "database")
    assert ids(messages[:-1]) == [row.id for row in outbox.rows[1:101]]  # what was read is sent, in order


def test_closing_ends_all_with_a_word(feed: Feed, outbox: FakeOutbox) -> None:
    readers = [joined(feed), feed.open(OTHER, {})]
    feed.close()
    for reader in readers:
        assert drained(reader)[-1].data["reason"] == "stopping"
    assert feed.readers == 0
    with pytest.raises(TooManyReaders):
        feed.open(TENANT, {})


def test_nobody_reads_nothing_is_read(feed: Feed, outbox: FakeOutbox) -> None:
    reader = joined(feed)
    running = gevent.spawn(feed.run)
    gevent.sleep(0)
    reader.close()
    gevent.sleep(0.01)
    outbox.add()
    reads = outbox.reads
    feed.nudge()
    gevent.sleep(0.01)
    assert outbox.reads == reads
    running.kill()


def test_the_first_reader_does_not_make_it_read_what_was_long_ago(feed: Feed, outbox: FakeOutbox) -> None:
    for _ in range(5000):
        outbox.add(OTHER)
    reader = joined(feed)
    row = outbox.add()
    outbox.reads = 0
    settle(feed)
    assert outbox.reads == 1
    assert ids(drained(reader)) == [row.id]


def test_a_nudge_is_enough(outbox: FakeOutbox) -> None:
    feed = Feed(outbox, now_us=lambda: 1_795_343_600_500_000)
    running = gevent.spawn(feed.run)
    reader = feed.open(TENANT, {})
    with gevent.Timeout(0.9):  # less than it looks by itself
        next(reader)
        waiting = gevent.spawn(lambda: next(reader))
        gevent.sleep(0.01)
        row = outbox.add()
        feed.nudge()
        messages, _ = parse(waiting.get())
    assert ids(messages) == [row.id]
    gauges: dict[str, float] = {}
    add_gauges(feed, lambda name, _help, read: gauges.update({name: read()}))
    assert gauges == {
        "callengine_stream_readers": 1,
        "callengine_stream_dropped": 0,
        "callengine_stream_turned_away": 0,
        "callengine_stream_events": 1,
        "callengine_stream_lag_seconds": 0.5,
    }
    running.kill()
