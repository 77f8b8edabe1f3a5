"""The queue behind the reader: bounded in events and bytes, never waiting, never with a gap."""

from __future__ import annotations

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.esl.intake import IntakeQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_order_batches_and_gauges() -> None:
    clock = Clock()
    intake = IntakeQueue(max_events=10, max_bytes=100, clock=clock)
    assert intake.oldest_age_s == 0
    assert intake.put_many([b"a", b"bb"])
    clock.now = 2.0
    assert intake.put_many([b"ccc"])
    clock.now = 5.0
    assert (len(intake), intake.bytes, intake.oldest_age_s) == (3, 6, 5.0)
    assert intake.get_batch(1, 0) == [b"a"]
    assert (len(intake), intake.bytes, intake.oldest_age_s) == (2, 5, 5.0)
    assert intake.get_batch(1, 0) == [b"bb"]
    assert intake.oldest_age_s == 3.0
    assert intake.get_batch(5, 0) == [b"ccc"]
    assert (len(intake), intake.bytes, intake.oldest_age_s) == (0, 0, 0)
    assert (intake.high_water_events, intake.high_water_bytes, intake.accepted) == (3, 6, 3)


@pytest.mark.parametrize(("max_events", "max_bytes"), [(3, 1000), (1000, 6)])
def test_a_full_queue_refuses_until_it_is_reopened(max_events: int, max_bytes: int) -> None:
    intake = IntakeQueue(max_events=max_events, max_bytes=max_bytes)
    assert intake.put_many([b"1x", b"2x", b"3x"])
    assert not intake.has_room
    assert not intake.put_many([b"4x", b"5x"])
    assert intake.get_batch(2, 0) == [b"1x", b"2x"]
    # There would be room, but what comes now does not follow on what is there.
    assert intake.has_room
    assert not intake.put_many([b"6x"])
    assert not intake.put_many([])
    assert (intake.overflowed, intake.overflows, intake.refused) == (True, 1, 3)
    intake.reopen()
    assert intake.put_many([b"7x"])
    assert intake.get_batch(9, 0) == [b"3x", b"7x"]
    assert (intake.overflowed, intake.overflows, intake.refused, intake.accepted) == (False, 1, 3, 4)


def test_a_waiting_consumer_is_woken_and_an_idle_one_comes_back_empty() -> None:
    intake = IntakeQueue()
    assert intake.get_batch(10, 0.01) == []
    consumer = gevent.spawn(intake.get_batch, 10, 5)
    gevent.sleep(0.01)
    intake.put_many([b"a"])
    intake.put_many([b"b"])
    assert consumer.get(timeout=1) == [b"a", b"b"]
    # One that has been filled before still waits when it is empty.
    consumer = gevent.spawn(intake.get_batch, 10, 5)
    gevent.sleep(0.01)
    assert not consumer.ready()
    intake.put_many([b"c"])
    assert consumer.get(timeout=1) == [b"c"]
    assert intake.get_batch(10, 0.01) == []


@given(st.lists(st.one_of(st.lists(st.binary(max_size=5), max_size=6), st.integers(1, 8), st.none()), max_size=60))
def test_what_comes_out_is_what_was_accepted(steps: list[list[bytes] | int | None]) -> None:
    intake = IntakeQueue(max_events=12, max_bytes=30)
    model: list[bytes] = []
    for step in steps:
        if isinstance(step, list):
            if intake.put_many(step):
                model += step
        elif step is None:
            intake.reopen()
        else:
            assert intake.get_batch(step, 0) == model[:step]
            model = model[step:]
        assert len(intake) == len(model) <= 12
        assert intake.bytes == sum(map(len, model)) <= 30
        assert (intake.oldest_age_s > 0) is bool(model)
