"""Events that memory has no room for wait on the disk, in order, and none is lost on the way."""

from __future__ import annotations

import random
from pathlib import Path

import gevent
import pytest

from callengine.calls.facts import CommandIssued
from callengine.esl.intake import IntakeQueue
from callengine.spool.segments import Spool
from tests.engine.test_tracker import whole_call
from tests.spool.lives import Kept, Life


class Rig:
    def __init__(self, folder: Path, *, segment_bytes: int = 2000, max_bytes: int = 1 << 20, events: int = 10) -> None:
        self.now_s = 100.0
        self.spool = Spool(
            folder, max_bytes=max_bytes, segment_bytes=segment_bytes, reserve_bytes=0, clock=lambda: self.now_s
        )
        self.spool.open()
        self.intake = IntakeQueue(
            max_events=20, disk=self.spool, spill_events=events, spill_bytes=10_000, clock=lambda: self.now_s
        )
        self.number = 0
        self.taken: list[int] = []

    def put(self, count: int) -> bool:
        """Numbered events, one after another."""
        bodies = [b"%d %s" % (self.number + i, b"x" * 50) for i in range(count)]
        done = self.intake.put_many(bodies)
        self.number += count if done else 0
        return done

    def get(self, count: int = 7) -> int:
        batch = self.intake.get_batch(count, 0)
        self.taken += [int(body.split()[0]) for body in batch]
        return len(batch)

    def drain(self) -> None:
        while len(self.intake):
            self.get()


def test_what_is_beyond_the_bound_of_memory_is_read_back_in_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    dice = random.Random(1)
    for _ in range(400):
        assert rig.put(dice.randint(1, 9))
        rig.spool.keep_fact(CommandIssued(uuid="u", at_us=1, command="hold"))  # lies between them, and is none
        if dice.random() < 0.4:
            rig.get(dice.randint(1, 12))
        assert rig.intake.bytes <= 10_000 + 60 * 40
    assert rig.intake.spilled > 100
    assert rig.intake.accepted == rig.number
    assert len(rig.intake) == rig.number - len(rig.taken)
    rig.drain()
    assert rig.taken == list(range(rig.number))
    assert (len(rig.intake), rig.intake.spilled, rig.intake.bytes, rig.intake.unreadable) == (0, 0, 0, 0)
    assert rig.put(1)
    assert rig.intake.spilled == 0


def test_what_comes_while_it_is_read_back_stays_behind_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, segment_bytes=1 << 16)
    while rig.intake.spilled < 50:
        rig.put(3)
    busy = gevent.spawn(lambda: [rig.put(2) or gevent.sleep(0) for _ in range(100)])
    while not busy.dead or len(rig.intake):
        rig.get()
    assert rig.taken == list(range(rig.number))


def test_with_the_disk_full_too_nothing_that_was_accepted_is_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_bytes=20_000)
    while rig.put(3):
        pass
    assert rig.intake.overflowed
    assert rig.intake.overflows == 1
    assert not rig.intake.has_room
    accepted = rig.number
    rig.intake.reopen()
    rig.drain()
    assert rig.taken == list(range(accepted))
    rig.now_s += 1.1
    assert rig.put(3)


def test_without_the_disk_memory_is_the_bound(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.spool.close()
    while rig.put(3):
        pass
    assert rig.number == 18
    assert not rig.intake.has_room


def test_a_backlog_on_the_disk_keeps_nobody_from_connecting(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put(20)
    assert rig.intake.spilled
    assert rig.intake.has_room


def test_what_cannot_be_read_back_is_counted_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    rig.put(10)
    rig.put(30)
    rig.put(30)
    (first, second) = sorted(tmp_path.glob("*.spool"))[:2]
    assert second.exists()
    first.unlink()
    rig.drain()
    assert "cannot be read back" in caplog.text
    assert rig.intake.unreadable == 30
    assert rig.taken == [*range(10), *range(40, 70)]
    assert rig.intake.accepted == rig.number
    assert rig.intake.forgotten == 30


def test_what_nobody_works_on_is_forgotten_on_the_disk_as_well(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for _ in range(10):
        rig.put(5)
        rig.now_s += 6.0
    before = len(rig.intake)
    rig.intake.forget_before(rig.now_s - 10)
    assert 0 < len(rig.intake) < before
    assert rig.intake.forgotten == before - len(rig.intake)
    rig.drain()
    assert rig.taken[-1] == rig.number - 1


def test_what_waits_when_the_spool_is_opened_is_written_then(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1 << 20, reserve_bytes=0)
    intake = IntakeQueue(disk=spool)
    intake.put_many([b"one", b"two"])
    assert spool.bytes == 0
    spool.open()
    intake.keep_waiting()
    assert b"onetwo" in next(tmp_path.glob("*.spool")).read_bytes()


def test_a_store_that_takes_nothing_more_stops_neither_the_reader_nor_the_end(tmp_path: Path) -> None:
    """The tracker stops taking; what comes meanwhile is on the disk, memory is bounded, and all of it is told then."""
    store = Kept()
    life = Life(store, tmp_path, segment_bytes=1 << 18)
    calls = 3000
    store.full = True
    worker = gevent.spawn(life.tracker.run)
    for number in range(calls):
        life.receive(whole_call(f"u{number}"))
    gevent.sleep(0.01)
    assert (life.tracker.applied, len(life.intake)) == (0, 4 * calls)
    assert life.intake.bytes <= 2_000_000
    assert life.tracker.done == 0
    store.full = False
    with gevent.Timeout(30):
        while life.tracker.behind:
            life.now_s += 0.1
            gevent.sleep(0.01)
    worker.kill()
    assert life.tracker.done == life.intake.accepted == 4 * calls
    store.commit()
    assert len(store.states) == calls
    assert len(store.outbox) == 3 * calls
    life.tend()
    assert (life.spool.segments, life.spool.bytes) == (0, 0)
