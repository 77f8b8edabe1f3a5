"""One call that is waited for goes ahead of the others, and keeps nobody from being written."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from callengine.errors import StoreUnavailable
from callengine.store.database import Store
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import T0, TENANT, a_call, changed

PATIENT_MS = 60_000


@pytest.fixture
def patient(store: Store) -> Iterator[Writer]:
    """One that gathers for most of a minute."""
    store.settings = store.settings.model_copy(update={"commit_interval_ms": PATIENT_MS})
    made = Writer(store)
    made.start()
    yield made
    made.stop(10)


def test_it_alone_is_written_at_once(patient: Writer, reads: Reads) -> None:
    calls = [a_call() for _ in range(3)]
    for call in calls:
        patient.put(call)
    patient.flush_call(calls[1].id, 5)
    assert [reads.call(TENANT, call.id) is not None for call in calls] == [False, True, False]
    patient.put(changed(calls[1], progress_us=T0 + 1, seq=1))
    patient.flush_call(calls[1].id, 5)
    found = reads.call(TENANT, calls[1].id)
    assert found is not None
    assert found.ring_us == T0 + 1


def test_what_has_nothing_to_be_written_is_not_waited_for(patient: Writer) -> None:
    patient.put(a_call())
    patient.flush_call(a_call().id, 0.0)
    assert patient.depth == 1


def test_what_is_older_is_not_taken_for_committed(patient: Writer) -> None:
    """The spool forgets by it."""
    first, second = a_call(), a_call()
    patient.put(first)
    before = patient.mark()
    patient.put(second)
    patient.flush_call(second.id, 5)
    assert not patient.committed(before)
    patient.flush(5)
    assert patient.committed(before)


def test_who_asks_without_end_holds_nobody_up(store: Store, reads: Reads) -> None:
    store.settings = store.settings.model_copy(update={"commit_interval_ms": 100})
    writer, asked, other = Writer(store), a_call(), a_call()
    writer.start()
    writer.put(other)
    with gevent.Timeout(10):
        seq = 0
        while reads.call(TENANT, other.id) is None:
            seq += 1
            writer.put(changed(asked, seq=seq))
            writer.flush_call(asked.id, 5)
    assert writer.stop(5)


def test_while_calls_are_waited_for_commits_are_small(store: Store) -> None:
    """Who comes next waits for the one that is under way."""
    sizes: list[int] = []
    writer = Writer(store, on_commit=lambda seconds, rows: sizes.append(rows))
    calls = [a_call() for _ in range(500)]
    for call in calls:
        writer.put(call)
    asked = gevent.spawn(writer.flush_call, calls[-1].id, 5)
    gevent.sleep(0)
    writer.start()
    asked.get(timeout=5)
    writer.flush(5)
    assert sum(sizes) == 500
    assert sizes[0] == 1
    assert max(sizes) <= 500 / 4
    assert writer.stop(5)


def test_nobody_waits_for_what_is_given_up(patient: Writer) -> None:
    call = a_call()
    patient.put(call)
    asked = gevent.spawn(patient.flush_call, call.id, 5)
    patient.abandon()
    gevent.sleep(0)
    with pytest.raises(StoreUnavailable):
        asked.get(timeout=1)
    with pytest.raises(StoreUnavailable):
        patient.flush_call(call.id, 1)


def test_a_database_that_is_away_is_told_in_time(store: Store) -> None:
    writer, call = Writer(store), a_call()
    writer.put(call)  # nobody writes it
    with pytest.raises(StoreUnavailable):
        writer.flush_call(call.id, 0.01)
    assert not writer._wanted
