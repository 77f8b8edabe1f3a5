"""Ticks of 20 ms, and scripts that sleep, are poked and are cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest

from callengine.standin.clock import TICK_US, Clock, Script, Task


@pytest.fixture
def clock() -> Iterator[Clock]:
    running = Clock(seed=1, time_scale=10)
    running.start()
    yield running
    running.stop()


def test_stamps_lie_on_ticks(clock: Clock) -> None:
    first = clock.now_us()
    stamps = []
    for _ in range(20):
        gevent.sleep(0.007)
        stamps.append(clock.now_us() - first)
    assert stamps == sorted(stamps)
    assert all(abs(each - round(each / TICK_US) * TICK_US) < 100 for each in stamps)
    assert len(set(stamps)) < 20
    assert abs(clock.exact_us() - time.time_ns() // 1000) < 50_000


def test_never_early(clock: Clock) -> None:
    fired: list[float] = []
    begun = time.monotonic()
    clock.after(0.05, lambda: fired.append(time.monotonic() - begun))
    clock.after(0.0, lambda: fired.append(time.monotonic() - begun))
    cancelled = clock.after(0.01, fired.append, -1.0)
    cancelled.cancel()
    gevent.sleep(0.15)
    assert len(fired) == 2
    assert fired[1] >= 0.03


def test_soon_is_in_order_and_in_this_tick(clock: Clock) -> None:
    order: list[int] = []
    for number in range(5):
        clock.soon(order.append, number)
    gevent.sleep(0.01)
    assert order == [0, 1, 2, 3, 4]


def test_what_fails_stops_nothing_else(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    clock.soon(lambda: 1 / 0)
    clock.soon(order.append, "next")
    gevent.sleep(0.02)
    assert order == ["next"]
    assert "ZeroDivisionError" in caplog.text


def test_a_life_is_shorter_and_a_stamp_is_not(clock: Clock) -> None:
    assert clock.life(5.0) == 0.5
    assert Clock(seed=1).life(5.0) == 5.0
    with pytest.raises(ValueError, match="positive"):
        Clock(seed=1, time_scale=0)


def test_poked_out_of_its_sleep(clock: Clock) -> None:
    woken: list[bool] = []

    def script() -> Script:
        woken.append((yield None))
        woken.append((yield 0.02))
        woken.append((yield 60.0))

    task = Task(clock, script())
    gevent.sleep(0.01)
    task.poke()
    gevent.sleep(0.08)
    assert woken == [True, False]
    task.poke()
    gevent.sleep(0.01)
    assert woken == [True, False, True]
    assert task.done


def test_a_poke_while_it_runs_is_kept(clock: Clock) -> None:
    woken: list[bool] = []
    tasks: list[Task] = []

    def script() -> Script:
        tasks[0].poke()
        woken.append((yield None))

    tasks.append(Task(clock, script()))
    gevent.sleep(0.02)
    assert woken == [True]


def test_cancelled_where_it_stands(clock: Clock) -> None:
    steps: list[str] = []

    def script() -> Script:
        try:
            yield 60.0
            steps.append("on")
        finally:
            steps.append("closed")

    task = Task(clock, script())
    gevent.sleep(0.01)
    task.cancel()
    task.poke()
    gevent.sleep(0.01)
    assert steps == ["closed"]


def test_forgotten(clock: Clock) -> None:
    order: list[str] = []
    clock.after(0.03, order.append, "late")
    clock.soon(order.append, "soon")
    clock.forget()
    gevent.sleep(0.08)
    assert order == []
