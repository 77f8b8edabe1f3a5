"""Streams into the book: poison harms nothing else, order and repetition do not matter, its invariants hold."""

from __future__ import annotations

import gzip
import io
import random
from functools import cache
from typing import Any

from callengine.calls.book import Book
from callengine.calls.call import Call
from callengine.calls.facts import (
    CallQueued,
    ChannelFact,
    CommandIssued,
    Fact,
    JobAnswered,
    LegGone,
    OriginateAbandoned,
    OriginateSent,
)
from callengine.calls.record import CallRecord, record_of
from callengine.calls.view import show
from callengine.errors import MalformedEvent, MalformedStream
from callengine.esl.headers import Translator
from callengine.replay import replay_stream
from tests.fuzz import corpus, events, hostile
from tests.fuzz.hostile import Pairs
from tests.fuzz.running import Parts
from tests.fuzz.watching import NODE, PATIENT, SEVERAL, SINGLE, TENANT, Watched, told

_TRANSLATOR = Translator()
_STORED = 0.1


def fact_of(body: bytes) -> Fact | None:
    """The fact in an event; None where there is none, or where it is set aside."""
    try:
        return _TRANSLATOR.json(body)
    except MalformedEvent:
        return None


def _some(bodies: tuple[bytes, ...], dice: random.Random, most: int) -> list[bytes]:
    start = dice.randrange(len(bodies))
    return list(bodies) if len(bodies) <= most else list(bodies[start : start + most])


class AfterPoison:
    """Changed events of one trace in between those of another one, whose rows are as if they had been alone."""

    name = "after-poison"
    share = 3

    def make(self, dice: random.Random) -> Parts:
        bodies = _some(corpus.bodies(dice.choice(corpus.JSON)), dice, 60)
        changed = [events.changed_event(b, dice) if dice.random() < 0.4 else b for b in bodies]
        return tuple(hostile.rearranged(changed, lambda: events.changed_event(dice.choice(bodies), dice), dice))

    def check(self, parts: Parts, dice: random.Random) -> None:
        bad = [fact for body in parts if (fact := fact_of(body)) is not None]
        good_name = dice.choice(_others(bad))
        good = [fact for body in corpus.bodies(good_name) if (fact := fact_of(body)) is not None]
        ours = _of_ours(bad, dice) if dice.random() < 0.3 else []
        story = _shuffled_together(_shuffled_together(bad, ours, dice), good, dice)
        watched = Watched(dice.choice((SINGLE, SINGLE, SEVERAL)), timing=dice.choice((None, PATIENT)))
        single = watched.book.rules.single
        now = 0.0
        for fact in story:
            watched.apply(fact, now)
            now += dice.choice((0.0, 0.0, 0.02, 0.5)) if len(story) < 200 else 0.01
        watched._look(watched.book.release(), None)
        expected = _alone(good_name)
        found = told(watched.calls.values())
        for uuid, row in expected.items() if single else ():
            assert uuid in found, f"the good call {uuid} of {good_name} is missing"
            assert found[uuid] == row, f"{good_name}: " + _difference(found[uuid], row)
        if dice.random() < _STORED:
            watched.store_all()
        if watched.book.timing is not PATIENT and not ours:
            watched.drain(now)


def _others(bad: list[Fact]) -> list[str]:
    """The traces that have no channel in common with those facts."""
    mentioned = {text for fact in bad for text in _texts(fact)}
    return [name for name in corpus.JSON if not mentioned & _channels(name)]


def _texts(fact: Fact) -> set[str]:
    return {found for name in fact.__struct_fields__ if isinstance(found := getattr(fact, name), str)}


@cache
def _channels(name: str) -> frozenset[str]:
    facts = [fact_of(body) for body in corpus.bodies(name)]
    return frozenset(fact.uuid for fact in facts if isinstance(fact, ChannelFact))


@cache
def _alone(name: str) -> dict[str, CallRecord]:
    """The rows of a trace by itself, all of it in one moment."""
    book, calls = Book(NODE, SINGLE, timing=PATIENT), dict[str, Call]()
    for body in corpus.bodies(name):
        fact = fact_of(body)
        if fact is not None:
            calls |= book.apply(fact, 0.0).changed
    calls |= book.release().changed
    return told(calls.values())


def _of_ours(bad: list[Fact], dice: random.Random) -> list[Fact]:
    """What we ourselves say of some of these channels: that we originate them, command them, find them gone."""
    uuids = sorted({fact.uuid for fact in bad if isinstance(fact, ChannelFact)}) or ["A"]
    jobs = sorted({fact.job_uuid for fact in bad if isinstance(fact, JobAnswered)}) or ["J"]
    made: list[Fact] = []
    for n in range(dice.choice((1, 2, 4))):
        uuid, other, at_us = dice.choice(uuids), dice.choice([*uuids, None, None]), 1_795_343_615_000_000 + n
        queued = CallQueued(
            uuid=uuid,
            call_id=f"00000000-0000-7000-8000-{n:012d}",
            job_uuid=dice.choice(jobs),
            tenant_id=TENANT,
            at_us=at_us,
            agent="1001" if other else None,
            agent_leg=other if other != uuid else None,
        )
        said: list[Fact] = [
            OriginateSent(uuid=uuid, at_us=at_us),
            OriginateAbandoned(uuid=uuid, at_us=at_us, reason="cancelled"),
            CommandIssued(uuid=uuid, at_us=at_us, command="hangup"),
            LegGone(uuid=uuid, at_us=at_us, after_us=dice.choice((0, at_us)), before_us=dice.choice((0, at_us))),
            LegGone(uuid=dice.choice(uuids)),
        ]
        made += [queued, *dice.sample(said, k=dice.randrange(len(said) + 1))]
    return made


def _shuffled_together(bad: list[Fact], good: list[Fact], dice: random.Random) -> list[Fact]:
    """Both in their own order."""
    turns = [True] * len(bad) + [False] * len(good)
    dice.shuffle(turns)
    bads, goods = iter(bad), iter(good)
    return [next(bads) if turn else next(goods) for turn in turns]


class InAnyOrder:
    """Changed in a way that a switch could have said: in whatever order, twice, and however cut, the same rows."""

    name = "any-order"
    share = 3

    def make(self, dice: random.Random) -> Parts:
        bodies = _some(corpus.bodies(dice.choice(corpus.JSON)), dice, 80)
        if dice.random() < 0.3:
            bodies += _some(corpus.bodies(dice.choice(corpus.JSON)), dice, 40)
        left_out = dice.choice((0.0, 0.0, 0.1, 0.4))
        bodies = [body for body in bodies if dice.random() >= left_out]
        change = _everywhere(dice)
        return tuple(hostile.dump(change(corpus.members(body))) for body in bodies)

    def check(self, parts: Parts, dice: random.Random) -> None:
        facts = [fact for body in parts if (fact := fact_of(body)) is not None]
        expected = _rows(facts)
        assert _rows([fact for fact in facts for _ in range(2)]) == expected, "doubled, it is told otherwise"
        mixed = facts + dice.sample(facts, k=len(facts) // 3)
        dice.shuffle(mixed)
        found = _rows(mixed)
        assert found.keys() == expected.keys()
        for uuid, row in expected.items():
            assert found[uuid] == row, _difference(found[uuid], row)


def _difference(one: CallRecord, other: CallRecord) -> str:
    a, b = show(one), show(other)
    return "told otherwise: " + "; ".join(f"{k}: {a[k]!r} for {b[k]!r}" for k in a if a[k] != b[k])


def _rows(facts: list[Fact]) -> dict[str, CallRecord]:
    watched = Watched(timing=PATIENT)
    for fact in facts:
        watched.apply(fact, 0.0)
    watched._look(watched.book.release(), None)
    return told(watched.calls.values())


def _everywhere(dice: random.Random) -> Any:
    """One header, or all stamps, changed in the same way in all events."""
    name = dice.choice(events.READ)
    sayable = [text for text in hostile.TEXTS if len(text) < 6000]
    text, shift_us = dice.choice(sayable), dice.choice((0, 0, 1, -1_795_000_000_000_000, 10**15, 7_000_000_000))
    stamps = [n for n in events.READ if n.endswith(("-Time", "-Timestamp"))]
    drops = dice.random() < 0.5
    essential = ("Event-Name", "Unique-ID", "Event-Date-Timestamp", "Caller-Channel-Created-Time")
    # What tells channels apart, or tells what a channel is, changes the story itself: the same in any order, though.
    touched = name if name not in (*essential, *stamps) else ""

    def change(members: Pairs) -> Pairs:
        changed: Pairs = []
        for key, known in members:
            if key in stamps and shift_us and isinstance(known, str) and known.strip("0"):
                changed.append((key, str(int(known) + shift_us)))
            elif key != touched:
                changed.append((key, known))
            elif not drops:
                changed.append((key, text))
        return changed

    return change


class WholeStreams:
    """``replay`` of a changed stream, gzipped or not: what came before the fault is told, and nothing else raised."""

    name = "whole-streams"
    share = 2

    def make(self, dice: random.Random) -> Parts:
        forms = corpus.PLAIN if dice.random() < 0.3 else corpus.JSON
        kind = b"text/event-plain" if forms is corpus.PLAIN else b"text/event-json"
        bodies = _some(corpus.bodies(dice.choice(forms)), dice, 60)
        parts = [hostile.framed(body, kind) for body in bodies]
        for _ in range(dice.choice((0, 1, 2))):
            at = dice.randrange(len(parts))
            parts[at] = dice.choice(
                (
                    hostile.change_bytes(parts[at], dice),
                    hostile.change_frame(bodies[at], dice),
                    hostile.framed(hostile.change_bytes(bodies[at], dice, times=3), kind),
                )
            )
        return tuple(hostile.rearranged(parts, lambda: dice.choice(hostile.PIECES), dice))

    def check(self, parts: Parts, dice: random.Random) -> None:
        stream = b"".join(parts)
        if dice.random() < 0.3:
            stream = gzip.compress(stream, 1)
            if dice.random() < 0.5:
                stream = hostile.change_bytes(stream, dice)
        try:
            replayed = replay_stream(io.BufferedReader(io.BytesIO(stream)), "a stream")
        except MalformedStream:
            return
        for call in replayed.calls:
            show(record_of(call))
        assert (replayed.fault is not None) == replayed.truncated
        assert len(replayed.poison) <= replayed.events
