"""A channel whose call the book forgot comes back: the store has its row, and the two become one."""

from __future__ import annotations

from typing import Any

import gevent

from callengine.calls.book import Book
from callengine.calls.call import Call, EventName
from callengine.calls.leg import Note
from callengine.calls.machine import Noted, Published, Rules
from callengine.calls.record import record_of
from callengine.store import sql
from callengine.store.database import Store
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.calls.build import Channel, us
from tests.store.build import TENANT, a_call, noted, published


class Engine:
    """A book that hands what it tells to a writer, as the tracker does."""

    def __init__(self, store: Store) -> None:
        self.writer, self.now = Writer(store), 0.0
        self.book = Book("sw1", Rules(default_tenant=TENANT))
        self.writer.rejoin_with(self._again)
        self.rejoined = 0
        self.writer.start()

    def _again(self, earlier: Call, again: Call, notes: list[Note]) -> None:
        self.rejoined += 1
        self.book.rejoin(earlier, again, notes, self.now)

    def take(self, *facts: Any) -> None:
        for fact in facts:
            self.now = max(self.now, (fact.at_us - us(0)) / 1_000_000)
            self._hand_on(self.book.apply(fact, self.now))

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        self._hand_on(self.book.tick(self.now))

    def commit(self) -> None:
        """Also what comes of that."""
        for _ in range(3):
            self.writer.flush(10)
            gevent.sleep(0)
            self._hand_on(self.book.tick(self.now))

    def _hand_on(self, out: Any) -> None:
        for call in out.changed.values():
            self.writer.put(call)
        for effect in out.effects:
            if isinstance(effect, Noted):
                self.writer.note(effect)
            elif isinstance(effect, Published):
                self.writer.publish(effect)


def told(store: Store) -> list[tuple[int, str]]:
    text = "SELECT seq, event FROM outbox ORDER BY position"
    return [tuple(row) for row in store.run(lambda db: sql.query(db, text).fetchall(), 5)]


def test_a_uuid_that_lives_again_is_the_same_row(store: Store, reads: Reads) -> None:
    engine = Engine(store)
    one, other = Channel(at=1.0), Channel("B", 400)
    two = one.again(300)
    engine.take(one.created(), one.rang(2), one.ended(3, "USER_BUSY"))
    engine.commit()
    (first,) = reads.calls_of_channels("sw1", ["A"])
    engine.pass_s(100)
    assert engine.book.call_of("A") is None
    engine.take(two.created(), two.rang(301), other.created())
    engine.commit()
    assert (engine.rejoined, engine.writer.refused, engine.writer.depth) == (1, 0, 0)
    engine.take(two.answered(305), two.hung_up(310), two.ended(310))
    engine.pass_s(5)
    engine.commit()
    (last,) = reads.calls_of_channels("sw1", ["A"])
    assert last.id == first.id
    record = reads.call(TENANT, first.id)
    assert record is not None
    assert record == record_of(last)
    assert [record.dial_us, record.ring_us, record.answer_us, record.end_us] == [us(s) for s in (1, 301, 305, 310)]
    assert reads.calls(TENANT, {}, 1, 1)[1] == 2
    names = [note.name for note in reads.timeline(TENANT, first.id)]
    assert names == ["created", "rang", "ended", "created", "rang", "answered", "hung_up", "ended"]
    events = told(store)
    assert [seq for seq, name in events if name != "call.dialing" or seq > 1] == sorted(
        seq for seq, name in events if name != "call.dialing" or seq > 1
    )
    assert [name for _, name in events].count("call.dialing") == 2  # of A and of B
    assert "call.corrected" in [name for _, name in events]
    assert engine.writer.stop(5)


def test_one_that_was_given_up_and_is_alive_is_reopened(store: Store, reads: Reads) -> None:
    engine = Engine(store)
    one = Channel(at=1.0)
    engine.take(one.created(), one.answered(2), one.gone(before=10, after=5))
    engine.pass_s(5)
    engine.commit()
    engine.pass_s(100)
    engine.take(one.listed(200))
    engine.commit()
    assert engine.rejoined == 1
    (found,) = reads.calls_of_channels("sw1", ["A"])
    assert not found.over
    assert [note.name for note in reads.timeline(TENANT, found.id)] == ["created", "answered", "gone"]
    engine.take(one.ended(205))
    engine.pass_s(5)
    engine.commit()
    record = reads.call(TENANT, found.id)
    assert record is not None
    assert (record.status, record.end_us) == ("completed", us(205))
    assert engine.writer.stop(5)


def test_a_call_that_goes_on_after_a_restart_is_none_of_these(store: Store, reads: Reads) -> None:
    call = a_call(seq=2)
    for name in ("created", "rang"):
        writer, seen = Writer(store), []
        writer.rejoin_with(lambda earlier, again, notes: seen.append(again))  # noqa: B023
        writer.start()
        writer.put(call)
        writer.note(noted(call, name))
        writer.publish(published(call, EventName.DIALING, 2))
        assert writer.stop(5)
        assert seen == []
    assert [note.name for note in reads.timeline(TENANT, call.id)] == ["created", "rang"]
