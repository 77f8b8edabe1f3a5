"""Idempotency-Keys on real databases: however often and by how many it is asked, there is one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from callengine.calls.call import Call
from callengine.calls.machine import Noted
from callengine.calls.record import CallRecord
from callengine.errors import IdempotencyConflict, IdempotencyInProgress, NotAllowed, QueueFull, StoreUnavailable
from callengine.originate.control import Control
from callengine.originate.originator import Originator
from callengine.store import idempotency
from callengine.store.database import Store
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.originate.fakes import OTHER_TENANT, REQUEST, TENANT, Key, Rig

DAY_S = 24 * 3600


class StoreRig(Rig):
    """With a real store behind it."""

    def __init__(self, store: Store, changes: dict[str, Any] | None = None) -> None:
        super().__init__(changes)
        self.writer = Writer(store)  # type: ignore[assignment]
        self.writer.start()  # type: ignore[attr-defined]
        self.reads = Reads(store)
        self.originator = Originator(self, self.settings, self.counts)
        self.control = Control(self, self.originator, self.settings, self.reads)

    def _settle(self, changed: Any, effects: Any) -> None:
        changed = list(changed)
        for call in changed:
            assert isinstance(call, Call)
            self.writer.put(call)  # type: ignore[attr-defined]
        for effect in effects:
            if isinstance(effect, Noted):
                self.writer.note(effect)  # type: ignore[attr-defined]
        super()._settle(changed, effects)

    def calls(self) -> int:
        return self.reads.calls(TENANT, {}, 1, 1)[1] + self.reads.calls(OTHER_TENANT, {}, 1, 1)[1]

    def place(self, key: str, fingerprint: str = "f1", tenant: str = TENANT, **changes: Any) -> CallRecord:
        return self.control.originate(tenant, {**REQUEST, **changes}, Key(key, fingerprint))


@pytest.fixture
def rig(store: Store) -> Iterator[StoreRig]:
    """Nothing here may hang."""
    with gevent.Timeout(30, AssertionError("it hung")):
        made = StoreRig(store)
        yield made
        made.writer.stop(10)  # type: ignore[attr-defined]


def test_twenty_workers_and_one_lead_are_one_call(rig: StoreRig) -> None:
    workers = [gevent.spawn(rig.place, "lead-1", lead_id="1") for _ in range(20)]
    gevent.joinall(workers)
    placed = [worker.value for worker in workers if worker.successful()]
    others = [type(worker.exception) for worker in workers if not worker.successful()]
    assert len({record.id for record in placed}) == 1
    assert set(others) <= {IdempotencyInProgress}
    again = rig.place("lead-1", lead_id="1")
    rig.work()
    assert again == placed[0]
    assert rig.calls() == len(rig.originates()) == 1


def test_two_engines_and_one_key_are_one_call(rig: StoreRig, store: Store) -> None:
    """They share a database, and know nothing of each other."""
    other = StoreRig(store)
    workers = [gevent.spawn(engine.place, "k") for engine in (rig, other) * 5]
    gevent.joinall(workers)
    placed = {worker.value.id for worker in workers if worker.successful()}
    assert len(placed) == 1
    assert {type(w.exception) for w in workers if not w.successful()} <= {IdempotencyInProgress}
    assert rig.calls() == 1
    other.writer.stop(10)  # type: ignore[attr-defined]


def test_the_first_answer_is_given_again_as_it_was(rig: StoreRig) -> None:
    first = rig.place("k")
    rig.work()
    rig.create(first.id)
    rig.answer(first.id)
    rig.control.hangup(TENANT, first.id)
    assert rig.place("k") == first
    assert (first.status, first.dial_us) == ("dialing", None)


def test_another_request_with_the_same_key(rig: StoreRig) -> None:
    rig.place("k")
    with pytest.raises(IdempotencyConflict):
        rig.place("k", "f2")
    assert rig.calls() == 1


def test_a_key_is_a_tenants_own(rig: StoreRig) -> None:
    assert rig.place("k").id != rig.place("k", tenant=OTHER_TENANT).id


def test_what_was_refused_keeps_no_key(rig: StoreRig) -> None:
    with pytest.raises(NotAllowed):
        rig.place("k", gateway="other")
    for _ in range(5):
        rig.control.originate(TENANT, REQUEST)
    with pytest.raises(QueueFull):
        rig.place("k", "f2")
    rig.work()
    assert rig.place("k", "f3").live
    assert rig.calls() == 6


def test_the_call_and_its_key_are_committed_together(rig: StoreRig) -> None:
    record = rig.place("k")
    assert rig.reads.call(TENANT, record.id) == record
    assert [note.name for note in rig.reads.timeline(TENANT, record.id)] == ["queued"]


def test_a_commit_that_fails_leaves_neither_call_nor_key(rig: StoreRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("it is away")

    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "answer", fail)
        with pytest.raises(StoreUnavailable):
            rig.place("k")
    rig.work()
    assert rig.originates() == []
    (failed,) = rig.book.calls
    assert rig.reason(failed) == "not_committed"
    again = rig.place("k")
    assert again.id != failed
    rig.work()
    assert len(rig.originates()) == 1


def test_an_engine_that_died_after_its_claim_has_sent_nothing_and_blocks_nobody_for_long(rig: StoreRig) -> None:
    rig.writer.execute(lambda db: idempotency.claim(db, TENANT, "k", "f1", rig.now_us()), 5)
    rig.now += 59
    with pytest.raises(IdempotencyInProgress):
        rig.place("k")
    rig.now += 2
    assert rig.place("k").live
    rig.now += 120
    assert rig.place("k").live
    assert rig.calls() == 1


def test_a_claim_of_a_clock_that_was_set_back_blocks_nobody(rig: StoreRig) -> None:
    rig.writer.execute(lambda db: idempotency.claim(db, TENANT, "k", "f1", rig.now_us() + 3_600_000_000), 5)
    assert rig.place("k").live
    assert rig.calls() == 1


def test_a_key_is_kept_for_a_day(rig: StoreRig) -> None:
    first = rig.place("k")
    rig.now += DAY_S - 1
    assert rig.place("k") == first
    rig.now += 2
    assert rig.place("k").id != first.id


def test_without_a_key_each_request_is_a_call(rig: StoreRig) -> None:
    ids = {rig.control.originate(TENANT, REQUEST).id for _ in range(3)}
    assert len(ids) == rig.calls() == 3


def test_a_cancelled_call_is_committed_as_such(rig: StoreRig) -> None:
    record = rig.control.originate(TENANT, REQUEST)
    rig.control.hangup(TENANT, record.id)
    stored = rig.reads.call(TENANT, record.id)
    assert stored is not None
    assert (stored.failure_reason, stored.live) == ("cancelled", False)
