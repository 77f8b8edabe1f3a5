"""Any interleaving of a stream's events, duplicated and delayed, ends in the same calls."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.calls.book import Timing
from callengine.calls.call import EventName
from callengine.calls.facts import ChannelFact, Fact
from callengine.calls.machine import Published
from callengine.calls.record import CallRecord, record_of
from callengine.replay import replay
from tests.calls import streams

# The clock of a replay jumps with the stamps, so that disorder looks like long waits.
PATIENT = Timing(retire_s=1e9, stray_s=1e9, silent_s=1e9, hangup_grace_s=1e9)
SMALL = [n for n in streams.names() if n not in {"load_slice.json", "h_bgapi_results.plain"}]


def rows(facts: Iterable[Fact], *, with_seq: bool = True) -> dict[str, CallRecord]:
    calls, _ = replay(facts, "n", timing=PATIENT)
    found = {}
    for call in calls:
        record = record_of(call)
        if not with_seq:
            record.seq = 0
        found[call.fs_uuid] = record
    return found


@pytest.mark.parametrize("name", streams.names())
def test_every_event_doubled(name: str) -> None:
    facts = streams.facts(name)
    doubled = [f for fact in facts for f in (fact, fact)]
    assert rows(doubled) == rows(facts)
    assert rows([*facts, *facts]) == rows(facts)


@pytest.mark.parametrize("name", streams.names())
def test_doubled_events_are_told_once(name: str) -> None:
    facts = streams.facts(name)
    _, effects = replay([f for fact in facts for f in (fact, fact)], "n")
    told = [(e.call_id, e.event) for e in effects if isinstance(e, Published) and e.event is not EventName.CORRECTED]
    assert len(told) == len(set(told))


def delayed(facts: tuple[Fact, ...], uuid: str) -> list[Fact]:
    """All events of one channel behind all others, in their own order."""
    mine = [f for f in facts if isinstance(f, ChannelFact) and f.uuid == uuid]
    return [f for f in facts if f not in mine] + mine


@pytest.mark.parametrize("name", SMALL)
def test_one_channel_delayed_past_the_others(name: str) -> None:
    facts = streams.facts(name)
    expected = rows(facts, with_seq=False)
    for uuid in dict.fromkeys(f.uuid for f in facts if isinstance(f, ChannelFact)):
        assert rows(delayed(facts, uuid), with_seq=False) == expected, uuid


@pytest.mark.parametrize("name", SMALL)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_order_with_duplicates(name: str, seed: int) -> None:
    """Shuffled wholly: as rows, without ``seq``, since a milestone may be told as a correction."""
    dice = random.Random(seed)
    facts = list(streams.facts(name))
    facts += dice.sample(facts, k=len(facts) // 2)
    dice.shuffle(facts)
    assert ids_out(rows(facts, with_seq=False)) == ids_out(rows(streams.facts(name), with_seq=False))


@pytest.mark.parametrize("name", SMALL)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_channels_interleaved_in_their_own_order(name: str, seed: int) -> None:
    """The order per channel kept, as the switch keeps it for SIP: everything is the same, what was told too."""
    dice = random.Random(seed)
    queues: dict[str, list[Fact]] = {}
    for fact in streams.facts(name):
        queues.setdefault(getattr(fact, "uuid", ""), []).append(fact)
    mixed: list[Fact] = []
    while queues:
        key = dice.choice(list(queues))
        mixed.append(queues[key].pop(0))
        if not queues[key]:
            del queues[key]
    assert ids_out(rows(mixed, with_seq=False)) == ids_out(rows(streams.facts(name), with_seq=False))


def ids_out(found: dict[str, CallRecord]) -> dict[str, CallRecord]:
    """The id of a UUID that lives twice is taken from the life seen first."""
    for record in found.values():
        record.id = ""
        for leg in record.legs:
            leg["call_id"] = leg["call_id"] and "a call"
    return found
