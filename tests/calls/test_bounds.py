"""Nothing grows without end, and no channel makes the facts of others dear."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.calls.agenda import Agenda
from callengine.calls.call import MAX_BRIDGES, MAX_PEERS, MAX_RECORDINGS
from callengine.calls.channels import MAX_BESIDE
from callengine.calls.facts import ChannelFact
from callengine.calls.waiting import Waiting
from tests.calls.build import Channel, Desk, leg, us

# -- everything leaves
# --------------------------------------------------------------------------------------------------


def story(n: int) -> list[ChannelFact]:
    """One of several kinds of calls, in the second ``n / 200``."""
    at, kind, uuid = n / 200, n % 8, f"A{n}"
    a = Channel(uuid, at)
    b = leg(f"B{n}", uuid, at + 0.1)
    b.variables["leg_agent"] = "bob"
    facts: list[ChannelFact]
    if kind == 0:
        facts = a.life(at, at, at + 1)
    elif kind in (1, 2):
        facts = [a.created(), b.created(), a.bridged(b.uuid, at + 1), b.ended(at + 2), a.ended(at + 2)]
        facts += [b.destroyed(at + 2), a.destroyed(at + 2)]
    elif kind == 3:  # the leg outlives the call
        facts = [a.created(), b.created(), a.ended(at + 1), b.ended(at + 90), b.destroyed(at + 90)]
    elif kind == 4:  # a leg whose parent never comes, and events of a channel that nobody created
        facts = [b.created(), b.ended(at + 1), a.answered(at + 1)]
    elif kind == 5:  # two calls that met, and part at different times
        c = Channel(f"C{n}", at)
        facts = [a.created(), c.created(), a.bridged(c.uuid, at + 1), a.ended(at + 2), c.ended(at + 70)]
    elif kind == 6:  # bridged to a channel that nobody describes; duplicates behind the end
        facts = [a.created(), a.bridged(f"X{n}", at + 1), a.ended(at + 2), a.destroyed(at + 2), a.ended(at + 2)]
    else:  # an agent's leg, rung first
        g = Channel(f"G{n}", at, "outbound")
        g.variables["leg_agent"] = "eve"
        b = leg(f"B{n}", g.uuid, at + 0.1)
        facts = [g.created(), b.created(), g.bridged(b.uuid, at + 1), b.ended(at + 2), g.ended(at + 3)]
    return facts


def test_20_000_calls_leave_nothing_behind() -> None:
    desk = Desk()
    for n in range(20_000):
        for fact in story(n):
            desk.book.apply(fact, max(desk.now, n / 200))
        desk.now = n / 200
        if n % 20 == 0:
            desk.book.tick(desk.now)
    for second in range(101, 400, 20):
        desk.book.tick(float(second))
    assert desk.book.sizes() == dict.fromkeys(desk.book.sizes(), 0)


def kept_at(rate: int) -> list[int]:
    """How many calls the book has in each second of 90, where ``rate`` begin and end in each."""
    desk, found = Desk(), []
    for second in range(90):
        for n in range(rate):
            channel = Channel(f"A{second}-{n}", second)
            desk.book.apply(channel.created(), float(second))
            desk.book.apply(channel.ended(second + 0.5), second + 0.5)
        for part in range(10):
            desk.book.tick(second + 0.5 + part / 20)
        found.append(len(desk.book.calls))
    return found


def test_a_call_stays_for_a_minute_after_its_end() -> None:
    kept = kept_at(20)
    assert kept[:60] == [20 * second for second in range(1, 61)]
    assert max(kept) <= 20 * 61


def test_and_less_where_very_many_end() -> None:
    kept = kept_at(600)
    assert 12_000 < max(kept) < 20_000  # a minute of them is 36,000
    assert max(abs(later - earlier) for earlier, later in itertools.pairwise(kept)) <= 600  # evenly, not all at once
    assert min(kept[30:]) >= 600 * 10


def test_in_any_order_too() -> None:
    dice = random.Random(7)
    desk = Desk()
    facts = [fact for n in range(2_000) for fact in story(n)]
    dice.shuffle(facts)
    for fact in facts:
        desk.book.apply(fact, 1.0)
    for second in range(60, 1200, 20):
        out = desk.book.tick(float(second))
        for uuid in out.suspects:
            desk.book.apply(Channel(uuid).gone(before=90), float(second))
    for second in (1300, 1400, 1500):
        desk.book.tick(float(second))
    assert desk.book.sizes() == dict.fromkeys(desk.book.sizes(), 0)


def test_calls_of_ours_leave_nothing_behind() -> None:
    desk = Desk()
    for n in range(1_000):
        a = Channel(f"A{n}", 1, "outbound")
        desk.originate(a.uuid, agent_leg=f"G{n}" if n % 2 else None)
        match n % 4:
            case 0:
                desk.take(a.created(), a.ended(2)).job("+OK", 2, a.uuid)
            case 1:
                desk.job("-ERR USER_BUSY", 2, a.uuid)
            case 2:
                desk.take(a.never_ran(2))
            case _:
                desk.take(a.created(), a.ended(2))
    for second in (10, 80, 150):
        desk.tick(second)
    assert desk.book.sizes() == dict.fromkeys(desk.book.sizes(), 0)


# -- strays
# ---------------------------------------------------------------------------------------------------------------


def test_what_nobody_describes_is_dropped_after_a_minute_and_counted() -> None:
    a = Channel()
    desk = Desk().take(a.answered(1), a.hung_up(2))
    desk.tick(60.9)
    assert desk.book.sizes()["stray_facts"] == 2
    desk.tick(61.1)
    assert desk.book.sizes()["stray_facts"] == 0
    assert desk.book.dropped_facts == 2


def test_strays_are_bounded_and_the_oldest_gives_way() -> None:
    desk = Desk(max_strays=100)
    for n in range(1_000):
        desk.book.apply(Channel(f"A{n}").answered(1), 1.0)
    assert desk.book.sizes()["strays"] == 100
    assert desk.book.dropped_facts == 900
    assert desk.take(Channel("A999").created()).shown("A999")["status"] == "answered"
    assert desk.take(Channel("A0").created()).shown("A0")["status"] == "dialing"


def test_the_facts_of_one_stray_are_bounded() -> None:
    a = Channel()
    desk = Desk(max_strays=1_000)
    for n in range(1_000):
        desk.book.apply(a.held(n), 1.0)
    assert desk.book.sizes()["stray_facts"] == 64
    assert desk.book.dropped_facts == 1_000 - 64


def test_so_are_the_facts_of_all_together() -> None:
    desk = Desk(max_strays=100)
    for n, k in itertools.product(range(90), range(20)):
        desk.book.apply(Channel(f"A{n}").held(k), 1.0)
    assert desk.book.sizes()["stray_facts"] <= 400


def test_children_of_a_parent_that_never_comes_leave_with_their_facts() -> None:
    desk = Desk()
    for n in range(100):
        desk.take(leg(f"B{n}", "A").created())
    assert desk.book.sizes()["parents"] == 1
    desk.tick(100)
    assert not any(desk.book.sizes().values())


def test_parents_in_a_circle_wait_in_vain() -> None:
    desk = Desk().take(leg("A", "B").created(), leg("B", "A").created())
    desk.tick(100)
    assert desk.roots() == set()
    assert not any(desk.book.sizes().values())


def test_a_chain_of_children_however_long_is_let_in_at_once() -> None:
    length = 5 * sys.getrecursionlimit()
    desk = Desk()
    for n in range(length, 0, -1):
        desk.book.apply(leg(f"L{n}", f"L{n - 1}").created(), 1.0)
    desk.book.apply(Channel("L0").created(), 1.0)
    assert desk.book.sizes()["strays"] == 0
    assert all(desk.book.knows(f"L{n}") for n in range(length))


def test_waiting_keeps_a_fact_once() -> None:
    waiting, a = Waiting(10), Channel()
    for _ in range(5):
        waiting.put(a.answered(1), 0.0)
    assert (len(waiting), waiting.facts, waiting.dropped) == (1, 1, 0)
    assert waiting.take("A") == [a.answered(1)]
    assert (len(waiting), waiting.facts) == (0, 0)


# -- one channel, many times
# ---------------------------------------------------------------------------------------------


def refusals(desk: Desk) -> set[str]:
    return set(desk.refused())


def test_bridges_of_one_call_are_bounded_and_the_rest_refused_by_name() -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(1))
    for n in range(1_000):
        desk.take(a.bridged("B", 2 + n), a.unbridged("B", 2.5 + n))
    assert (len(desk.call().bridges), len(desk.call().unbridges)) == (MAX_BRIDGES, MAX_BRIDGES)
    assert refusals(desk) == {"too_many_bridges"}
    assert desk.refused().count("too_many_bridges") == 2 * (1_000 - MAX_BRIDGES)
    assert desk.take(a.ended(2_000)).shown()["status"] == "completed"


def test_legs_of_one_call_are_bounded() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(1))
    for n in range(1_000):
        desk.take(a.bridged(f"B{n}", 2), leg(f"C{n}", "A").created())
    assert len(desk.call().peers) == MAX_PEERS
    assert refusals(desk) == {"too_many_legs"}
    assert desk.take(a.ended(3)).shown()["status"] == "completed"
    assert desk.book.sizes()["channels"] <= 2_000


def test_recordings_of_one_call_are_bounded() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.answered(1))
    for n in range(1_000):
        desk.take(a.started(f"/{n}.wav", 2))
    assert len(desk.call().recordings) == MAX_RECORDINGS
    assert refusals(desk) == {"too_many_recordings"}
    desk.take(a.stopped("/0.wav", 3))
    assert desk.shown()["has_recording"]


def test_calls_beside_one_channel_are_bounded() -> None:
    g = Channel("G", direction="outbound")
    g.variables["leg_agent"] = "bob"
    desk = Desk().take(g.created())
    for n in range(3 * MAX_BESIDE):
        a = Channel(f"A{n}", 2)
        desk.take(a.created(), a.answered(2), g.bridged(a.uuid, 3))
    assert refusals(desk) == {"too_many_legs"}
    assert desk.refused().count("too_many_legs") == 2 * MAX_BESIDE
    assert desk.shown("A0")["agent_id"] == "bob"


def test_those_that_are_over_make_room() -> None:
    g = Channel("G", direction="outbound")
    g.variables["leg_agent"] = "bob"
    desk = Desk().take(g.created())
    for n in range(3 * MAX_BESIDE):
        a = Channel(f"A{n}", 2)
        desk.take(a.created(), a.answered(2), g.bridged(a.uuid, 3), a.ended(4))
        assert desk.shown(a.uuid)["agent_id"] == "bob"
    assert desk.refused() == []


def seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


@pytest.mark.parametrize("hostile", ["bridges", "conference"])
def test_a_channel_that_is_bridged_10_000_times_does_not_make_each_fact_dearer(hostile: str) -> None:
    a, b = Channel(), leg("B", "A")
    desk = Desk().take(a.created(), b.created(), a.answered(1))
    if hostile == "bridges":
        facts: list[ChannelFact] = [a.bridged("B", 2 + n / 10) for n in range(10_000)]
    else:
        facts = [a.bridged(f"X{n}", 2 + n / 10) for n in range(10_000)]

    def apply(some: list[ChannelFact]) -> None:
        for fact in some:
            desk.book.apply(fact, 1.0)

    apply(facts[:2_000])
    early = min(seconds(lambda: apply(facts[2_000:3_000])) for _ in range(3))
    apply(facts[3_000:9_000])
    late = min(seconds(lambda: apply(facts[9_000:])) for _ in range(3))
    assert late < 5 * early + 0.05
    assert desk.book.sizes()["channels"] < 1_000


# -- the agenda
# ----------------------------------------------------------------------------------------------------------


def test_the_agenda_gives_each_key_once_and_in_time() -> None:
    agenda = Agenda()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        agenda.set(key, when)
    assert agenda.due(0.9) == []
    assert agenda.due(2.0) == ["a", "b"]
    assert agenda.due(9.0) == ["c"]
    assert len(agenda) == 0


def test_what_is_set_again_falls_due_then_only() -> None:
    agenda = Agenda()
    agenda.set("a", 1.0)
    agenda.set("a", 5.0)
    assert agenda.due(4.0) == []
    assert agenda.due(5.0) == ["a"]
    agenda.set("a", 9.0)
    agenda.set("a", 6.0)
    assert agenda.due(6.0) == ["a"]
    assert agenda.due(99.0) == []


def test_what_is_cancelled_never_falls_due() -> None:
    agenda = Agenda()
    agenda.set("a", 1.0)
    agenda.cancel("a")
    agenda.cancel("nobody")
    assert agenda.due(9.0) == []
    assert "a" not in agenda


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 50), st.booleans()), max_size=300))
def test_the_agenda_is_as_good_as_a_list(steps: list[tuple[str, int, bool]]) -> None:
    agenda, model = Agenda(), dict[str, float]()
    for now, (key, when, cancels) in enumerate(steps):
        if cancels:
            agenda.cancel(key)
            model.pop(key, None)
        else:
            agenda.set(key, now + when)
            model[key] = now + when
        expected = sorted((when, key) for key, when in model.items() if when <= now)
        assert agenda.due(now) == [key for _, key in expected]
        for _, key in expected:
            del model[key]
        assert len(agenda) == len(model)


def test_the_agendas_memory_is_that_of_its_keys() -> None:
    agenda = Agenda()
    for n in range(100_000):
        agenda.set(f"k{n % 10}", n)
    assert len(agenda._heap) < 100
    for n in range(100_000):
        agenda.set(f"k{n}", 1e9)
        agenda.cancel(f"k{n}")
    assert len(agenda._heap) < 100
    assert us(0) > 0


def test_what_was_changed_before_a_mistake_is_told_with_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    a, desk = Channel("A"), Desk()
    desk.take(a.created())
    fact = a.answered(2)
    a.bridged("B", 3)

    def broken(*_: object) -> None:
        raise LookupError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(desk.book, "_bridge", broken)
        with pytest.raises(LookupError):
            desk.take(a.bridged("B", 3))
    assert fact.answered_us
    assert desk.shown()["status"] == "dialing"
    desk.tick(4)
    assert desk.shown()["status"] == "answered"
    assert desk.told() == ["dialing", "answered"]
