"""Lines, rates and slots, on a clock that the tests turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.errors import QueueFull
from callengine.originate.pacing import Limits, Pacer, Rate

NEVER = 1e9


def pacer(
    per_second: float | None = None, concurrent: int | None = None, queue_max: int = 100, **gateways: Limits
) -> Pacer[None]:
    return Pacer(Limits(per_second, concurrent), gateways or {"a": Limits()}, queue_max=queue_max)


def enter(line: Pacer[None], call_id: str, gateway: str = "a", deadline: float = NEVER) -> None:
    line.reserve()
    line.enter(call_id, gateway, deadline, None)


def sent(line: Pacer[None], now: float) -> list[str]:
    found = []
    while (entry := line.next(now)) is not None:
        found.append(entry.call_id)
    return found


def test_the_rate_lets_one_go_at_once_and_the_next_in_its_time() -> None:
    line = pacer(per_second=10)
    for name in "xyz":
        enter(line, name)
    assert sent(line, 0.0) == ["x"]
    assert line.wait_s(0.0) == pytest.approx(0.1)
    assert sent(line, 0.09) == []
    assert sent(line, 0.1) == ["y"]
    assert sent(line, 10.0) == ["z"]


@given(rate=st.floats(0.5, 500), steps=st.lists(st.floats(0, 0.5), max_size=60))
def test_no_second_ever_has_more_than_the_rate_and_its_burst(rate: float, steps: list[float]) -> None:
    bucket, now, times = Rate(rate), 0.0, []
    for step in steps:
        now += step
        while not bucket.wait_s(now):
            bucket.spend(now)
            times.append(now)
    burst = max(1.0, rate * 0.05)
    for at in times:
        assert sum(at <= other < at + 1 for other in times) <= rate + burst + 1


@given(rate=st.floats(0.1, 10_000), start=st.floats(0, 1e7))
def test_who_waits_as_long_as_told_may_go(rate: float, start: float) -> None:
    bucket = Rate(rate)
    now = start
    for _ in range(20):
        tries = 0
        while (wait := bucket.wait_s(now)) > 0:
            now += max(wait, 1e-6)
            tries += 1
            assert tries < 5
        bucket.spend(now)


def test_slots_hold_back_and_come_back() -> None:
    line = pacer(concurrent=2)
    for name in "xyz":
        enter(line, name)
    assert sent(line, 0.0) == ["x", "y"]
    assert line.wait_s(0.0) == NEVER
    assert line.release("x")
    assert sent(line, 0.0) == ["z"]
    assert line.in_flight == 2


def test_a_slot_comes_back_once_however_often_it_is_said() -> None:
    line = pacer(concurrent=1)
    enter(line, "x")
    assert sent(line, 0.0) == ["x"]
    assert [line.release("x"), line.release("x"), line.release("never")] == [True, False, False]
    assert line.in_flight == 0
    for name in "yz":
        enter(line, name)
    assert sent(line, 0.0) == ["y"]


def test_a_gateway_that_is_full_holds_up_nobody_else() -> None:
    line = pacer(a=Limits(None, 1), b=Limits())
    for name, gateway in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")):
        enter(line, name, gateway)
    assert sent(line, 0.0) == ["a1", "b1", "b2"]
    line.release("a1")
    assert sent(line, 0.0) == ["a2"]


def test_a_gateway_that_is_slow_holds_up_nobody_else() -> None:
    line = pacer(a=Limits(1, None), b=Limits(10, None))
    for name, gateway in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
        enter(line, name, gateway)
    assert sent(line, 0.0) == ["a1", "b1"]
    assert line.wait_s(0.0) == pytest.approx(0.1)
    assert sent(line, 0.1) == ["b2"]
    assert line.wait_s(0.1) == pytest.approx(0.9)


def test_the_engines_rate_is_shared_in_the_order_of_arrival() -> None:
    line = pacer(per_second=1, a=Limits(), b=Limits())
    for name, gateway in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")):
        enter(line, name, gateway)
    assert [sent(line, float(second))[0] for second in range(4)] == ["a1", "b1", "a2", "b2"]


def test_a_full_queue_says_when_to_come_back() -> None:
    line = pacer(per_second=2, queue_max=6)
    for number in range(5):
        enter(line, str(number))
    line.reserve()
    with pytest.raises(QueueFull) as full:
        line.reserve()
    assert full.value.retry_after_s == 3.0
    line.give_up()
    line.reserve()


def test_whoever_waits_too_long_leaves_without_a_slot() -> None:
    line = pacer(concurrent=1)
    for name, deadline in (("x", 10.0), ("y", 10.0), ("z", 20.0)):
        enter(line, name, deadline=deadline)
    assert sent(line, 0.0) == ["x"]
    assert line.overdue(9.9) == []
    assert [entry.call_id for entry in line.overdue(10.0)] == ["y"]
    assert (line.queued, line.in_flight) == (1, 1)


def test_leaving_the_line() -> None:
    line = pacer(concurrent=1)
    for name in "xyz":
        enter(line, name)
    assert line.leave("y")
    assert not line.leave("y")
    assert sent(line, 0.0) == ["x"]
    assert not line.leave("x")
    assert line.everybody() == ["z"]
    assert "z" in line


def test_calls_of_before_take_slots_beyond_the_limit() -> None:
    line = pacer(concurrent=1)
    for name in ("old1", "old2", "old1"):
        line.occupy(name, "no longer configured")
    assert line.in_flight == 2
    enter(line, "new")
    assert sent(line, 0.0) == []
    line.release("old1")
    line.release("old2")
    assert sent(line, 0.0) == ["new"]


@given(st.lists(st.tuples(st.sampled_from("enter next release leave overdue".split()), st.integers(0, 9))))
def test_whatever_happens_the_counts_agree(steps: list[tuple[str, int]]) -> None:
    line = pacer(per_second=None, concurrent=3, a=Limits(None, 2), b=Limits())
    inside: set[str] = set()
    holding: set[str] = set()
    for number, (step, who) in enumerate(steps):
        name, gateway = f"c{who}", "ab"[who % 2]
        if step == "enter" and name not in inside | holding:
            enter(line, name, gateway, deadline=number + 10)
            inside.add(name)
        elif step == "next" and (entry := line.next(number)) is not None:
            inside.remove(entry.call_id)
            holding.add(entry.call_id)
            assert len(holding) <= 3
        elif step == "release":
            assert line.release(name) is (name in holding)
            holding.discard(name)
        elif step == "leave":
            assert line.leave(name) is (name in inside)
            inside.discard(name)
        elif step == "overdue":
            inside -= {entry.call_id for entry in line.overdue(number)}
        assert (line.queued, line.in_flight) == (len(inside), len(holding))
        assert sum("ab"[int(call[1]) % 2] == "a" for call in holding) <= 2
    for name in holding | inside:
        line.release(name)
        line.leave(name)
    assert (line.queued, line.in_flight) == (0, 0)
    for name, gateway in zip("vwxyz", "aaabb", strict=True):
        enter(line, name, gateway)
    assert sent(line, len(steps)) == ["v", "w", "y"]  # each gateway has all its slots again


# -- other limits while it runs --------------------------------------------------------------------------------------


def test_other_limits_hold_for_what_waits_and_what_is_to_come() -> None:
    pacer: Pacer[str] = Pacer(Limits(None, 10), {"a": Limits(None, 1)}, queue_max=2)
    for call in ("one", "two"):
        pacer.reserve()
        pacer.enter(call, "a", 100.0, call)
    first = pacer.next(0.0)
    assert first is not None
    assert pacer.next(0.0) is None  # one at a time
    with pytest.raises(QueueFull):
        pacer.reserve()
        pacer.reserve()
    pacer.reconfigure(Limits(None, 10), {"a": Limits(None, 2), "b": Limits(1.0, None)}, queue_max=10)
    second = pacer.next(0.0)
    assert second is not None
    assert second.call_id == "two"
    for call in ("three", "four"):
        pacer.reserve()
        pacer.enter(call, "b", 100.0, call)
    assert pacer.next(0.0) is not None
    assert pacer.next(0.0) is None  # a second later
    pacer.reconfigure(Limits(None, 10), {}, queue_max=10)
    assert pacer.next(0.0) is not None  # a gateway that is not there any more has no limits of its own
    assert pacer.in_flight == 4
    for call in ("one", "two", "three", "four"):
        assert pacer.release(call)
    assert pacer.in_flight == 0


def test_who_has_waited_too_long_is_not_sent() -> None:
    """Several send, and one of them looks after who is overdue: after a long stop any of them may wake first."""
    line = pacer()
    enter(line, "late", deadline=30.0)
    enter(line, "later", deadline=61.0)
    assert sent(line, 60.0) == []
    assert [entry.call_id for entry in line.overdue(60.0)] == ["late"]
    assert sent(line, 60.0) == ["later"]


def test_a_shorter_timeout_holds_for_who_waits() -> None:
    line = pacer(concurrent=0)
    enter(line, "patient", deadline=600.0)
    line.cut(40.0)
    enter(line, "next", deadline=41.0)
    assert [entry.call_id for entry in line.overdue(40.0)] == ["patient"]
    assert line.leave("next")
    assert line.queued == 0
