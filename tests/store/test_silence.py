"""Nobody waits for a database that has stopped answering, but for one that asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import monkey

from callengine.errors import StoreUnavailable
from callengine.store.database import Store
from callengine.store.silence import Silence

_Semaphore = monkey.get_original("threading", "Semaphore")


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def silent(clock: Clock) -> Silence:
    silence = Silence(clock, patience_s=0.02)
    began = silence.enter(10)
    assert began is not None
    clock.s += 5
    silence.leave(began, answered=False)
    assert silence.lasts
    return silence


def test_one_asks_and_the_others_are_told_at_once(clock: Clock) -> None:
    silence = silent(clock)
    asking = silence.enter(10)
    assert asking is not None
    assert silence.enter(10) is None
    assert silence.enter(0.0) is None
    clock.s += 5
    silence.leave(asking, answered=False)
    assert silence.enter(10) is not None


def test_an_answer_ends_it_for_all(clock: Clock) -> None:
    silence = silent(clock)
    asking = silence.enter(10)
    assert asking is not None
    waiting = gevent.spawn(silence.enter, 10)
    gevent.sleep(0)
    silence.leave(asking, answered=True)
    assert waiting.get(timeout=1) is not None
    assert not silence.lasts
    assert None not in [silence.enter(10) for _ in range(5)]


def test_what_fails_beside_others_that_are_answered_is_no_silence(clock: Clock) -> None:
    """A query that is slow by itself, say."""
    silence = Silence(clock)
    slow, quick = silence.enter(10), silence.enter(10)
    assert slow is not None
    assert quick is not None
    clock.s += 1
    silence.leave(quick, answered=True)
    clock.s += 4
    silence.leave(slow, answered=False)
    assert not silence.lasts


def test_what_fails_at_once_is_no_silence(clock: Clock) -> None:
    """Connections that are refused cost nobody anything."""
    silence = Silence(clock)
    for _ in range(100):
        began = silence.enter(10)
        assert began is not None
        clock.s += 0.01
        silence.leave(began, answered=False)
    assert not silence.lasts


@pytest.fixture
def hanging(store: Store) -> Iterator[threading.Semaphore]:
    """Each read waits for one of these."""
    answers = _Semaphore(0)
    yield answers
    for _ in range(100):
        answers.release()


def test_a_store_that_hangs_holds_up_nobody_and_comes_back(store: Store, hanging: threading.Semaphore) -> None:
    read = lambda db: hanging.acquire(timeout=20)  # noqa: E731
    first = gevent.spawn(store.run, read, 1.0)
    first.join(3)
    assert isinstance(first.exception, StoreUnavailable)
    asking = gevent.spawn(store.run, read, 5.0)
    gevent.sleep(0)
    began = time.monotonic()
    others = [gevent.spawn(store.run, read, 5.0) for _ in range(100)]
    gevent.joinall(others, timeout=3)
    assert time.monotonic() - began < 1.0
    assert all(isinstance(other.exception, StoreUnavailable) for other in others)
    assert store.reading == 2
    # The first one's answer comes late; nobody waits for it, but it says that the database is back.
    hanging.release()
    hanging.release()
    assert asking.get(timeout=3) is True
    for _ in range(5):
        hanging.release()
    assert [store.run(read, 2.0) for _ in range(5)] == [True] * 5
