"""No greenlet dies unseen, none restarts in a spin, and a stop is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event

from callengine.supervise import BACKOFF_MAX_S, EXIT_CODE, EndedEarly, Failure, Supervisor


class Clock:
    """Monotonic seconds that only pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds
        gevent.sleep(0)


class Watched:
    """A supervisor on that clock, and the crashes it told of."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.crashes: list[tuple[str, str]] = []
        self.supervisor = Supervisor(self._on_crash, clock=self.clock, sleep=self.clock.sleep)

    def _on_crash(self, name: str, error: BaseException) -> None:
        self.crashes.append((name, type(error).__name__))


@pytest.fixture
def watched() -> Iterator[Watched]:
    one = Watched()
    yield one
    one.supervisor.stop(1)


def crashing(watched: Watched, times: int, lasts_s: float, error: Callable[[], BaseException]) -> Callable[[], None]:
    """A body that dies ``times`` times, each after ``lasts_s``, and then goes on until it is stopped."""
    left = [times]

    def body() -> None:
        if left[0] == 0:
            Event().wait()
        left[0] -= 1
        watched.clock.now_s += lasts_s
        raise error()

    return body


def settle() -> None:
    for _ in range(50):
        gevent.sleep(0)


def test_a_crash_is_told_and_it_starts_again(watched: Watched) -> None:
    watched.supervisor.spawn("tracker", crashing(watched, 2, 1, ValueError))
    settle()
    assert watched.crashes == [("tracker", "ValueError")] * 2
    assert watched.supervisor.running == ("tracker",)
    assert not watched.supervisor.fatal.is_set()
    assert watched.clock.pauses == [0.2, 0.4]


def test_the_third_crash_within_a_minute_is_fatal(watched: Watched) -> None:
    watched.supervisor.spawn("tracker", crashing(watched, 9, 1, ValueError))
    assert watched.supervisor.fatal.wait(1)
    failure = watched.supervisor.failure
    assert failure is not None
    assert (failure.name, failure.exit_code) == ("tracker", EXIT_CODE) == ("tracker", 70)
    assert "crashed 3 times" in failure.reason
    settle()
    assert len(watched.crashes) == 3
    assert watched.supervisor.running == ()


def test_rare_crashes_are_never_fatal(watched: Watched) -> None:
    watched.supervisor.spawn("tracker", crashing(watched, 20, 40, ValueError))
    settle()
    assert len(watched.crashes) == 20
    assert not watched.supervisor.fatal.is_set()
    assert max(watched.clock.pauses) <= BACKOFF_MAX_S


def test_crashes_are_counted_for_each_greenlet_alone(watched: Watched) -> None:
    for name in ("one", "two"):
        watched.supervisor.spawn(name, crashing(watched, 2, 0, ValueError))
    settle()
    assert sorted(watched.crashes) == [("one", "ValueError")] * 2 + [("two", "ValueError")] * 2
    assert not watched.supervisor.fatal.is_set()


def test_a_timeout_that_escapes_is_a_crash(watched: Watched) -> None:
    watched.supervisor.spawn("link", crashing(watched, 1, 0, lambda: gevent.Timeout(5)))
    settle()
    assert watched.crashes == [("link", "Timeout")]
    assert watched.supervisor.running == ("link",)


def test_returning_early_is_a_crash(watched: Watched) -> None:
    watched.supervisor.spawn("writer", lambda: None)
    assert watched.supervisor.fatal.wait(1)
    assert watched.crashes == [("writer", EndedEarly.__name__)] * 3


def test_what_runs_once_may_return(watched: Watched) -> None:
    watched.supervisor.spawn("sweep", lambda: None, once=True)
    settle()
    assert watched.crashes == []
    assert watched.supervisor.running == ()
    watched.supervisor.spawn("sweep", lambda: None, once=True)


def test_giving_up_on_purpose_ends_without_a_crash(watched: Watched) -> None:
    watched.supervisor.spawn("lease", lambda: watched.supervisor.give_up("lease", "was taken by another engine"))
    assert watched.supervisor.fatal.wait(1)
    settle()
    assert watched.supervisor.failure == Failure("lease", "was taken by another engine", 70)
    assert watched.crashes == []
    assert watched.supervisor.running == ()


def test_being_killed_by_another_is_fatal_and_the_killer_does_not_hang(watched: Watched) -> None:
    victims: list[gevent.Greenlet[..., object]] = []

    def body() -> None:
        current = gevent.getcurrent()
        assert isinstance(current, gevent.Greenlet)
        victims.append(current)
        Event().wait()

    watched.supervisor.spawn("link", body)
    settle()
    victims[0].kill(timeout=1)
    assert victims[0].dead
    assert watched.crashes == [("link", EndedEarly.__name__)]
    assert watched.supervisor.failure is not None


def test_a_broken_counter_is_no_second_death() -> None:
    clock = Clock()

    def on_crash(name: str, error: BaseException) -> None:
        raise KeyError(name)

    supervisor = Supervisor(on_crash, clock=clock, sleep=clock.sleep)
    body = [ValueError()]

    def once_bad() -> None:
        if body:
            raise body.pop()
        Event().wait()

    supervisor.spawn("tracker", once_bad)
    settle()
    assert supervisor.running == ("tracker",)
    supervisor.stop(1)


def test_one_name_runs_once_at_a_time(watched: Watched) -> None:
    watched.supervisor.spawn("link", Event().wait)
    with pytest.raises(ValueError, match="link is running already"):
        watched.supervisor.spawn("link", Event().wait)


def test_stopping_goes_backwards_and_is_no_crash(watched: Watched) -> None:
    ended: list[str] = []

    def body(name: str) -> Callable[[], None]:
        def run() -> None:
            try:
                Event().wait()
            finally:
                ended.append(name)

        return run

    for name in ("writer", "tracker", "link"):
        watched.supervisor.spawn(name, body(name))
    settle()
    assert watched.supervisor.stop(1) == ()
    assert ended == ["link", "tracker", "writer"]
    assert watched.crashes == []
    with pytest.raises(RuntimeError, match="stopping"):
        watched.supervisor.spawn("late", Event().wait)


def test_stopping_is_bounded_and_names_who_is_stuck() -> None:
    supervisor = Supervisor()
    released = Event()

    def stubborn() -> None:
        while not released.is_set():
            try:
                released.wait()
            except gevent.GreenletExit:
                continue

    polite: list[bool] = []

    def well_behaved() -> None:
        try:
            Event().wait()
        finally:
            polite.append(True)

    supervisor.spawn("polite", well_behaved)
    supervisor.spawn("stubborn", stubborn)
    settle()
    began = time.monotonic()
    assert supervisor.stop(0.2) == ("stubborn",)
    assert time.monotonic() - began < 2
    assert polite == [True]
    released.set()
    settle()
    assert supervisor.running == ()


def test_a_pause_does_not_hold_up_the_stop() -> None:
    supervisor = Supervisor()
    supervisor.spawn("link", lambda: 1 / 0)
    gevent.sleep(0.01)
    assert supervisor.stop(1) == ()
    assert supervisor.failure is None
