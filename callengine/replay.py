"""A recorded event socket stream, applied to an empty book with the very code that the daemon runs."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from callengine.calls.book import Book, Outcome, Timing
from callengine.calls.call import Call
from callengine.calls.facts import Fact
from callengine.calls.machine import Effect, Rules
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator
from callengine.esl.wire import Framer

_CHUNK = 1 << 20


class Poison(NamedTuple):
    """An event that could not be read: where in the stream (its number, from 1) and why."""

    number: int
    reason: str


class Replayed(NamedTuple):
    """What a stream told. ``calls`` in the order in which they first appeared."""

    calls: list[Call]
    effects: list[Effect]
    poison: list[Poison]
    events: int
    refusals: int


def facts_in(chunks: Iterable[bytes], translator: Translator, poison: list[Poison]) -> Iterator[Fact]:
    """The facts in a byte stream as FreeSWITCH sent it, JSON or plain. Raises MalformedStream where it is no event stream."""
    framer = Framer()
    number = 0
    for chunk in chunks:
        for frame in framer.feed(chunk):
            if not frame.content_type.startswith("text/event-"):
                continue
            number += 1
            read = translator.json if frame.content_type == "text/event-json" else translator.plain
            try:
                fact = read(frame.body)
            except MalformedEvent as error:
                poison.append(Poison(number, str(error)))
                continue
            if fact is not None:
                yield fact


def replay(
    facts: Iterable[Fact], node: str, *, rules: Rules | None = None, timing: Timing | None = None
) -> tuple[list[Call], list[Effect]]:
    """Apply facts to an empty book; its clock is the switch's own, as far as the facts carry it."""
    book = Book(node, rules or Rules(default_tenant="default"), timing=timing)
    seen: dict[str, Call] = {}
    effects: list[Effect] = []

    def take(outcome: Outcome) -> None:
        seen.update(outcome.changed)
        effects.extend(outcome.effects)

    now = 0.0
    for fact in facts:
        now = max(now, fact.at_us / 1_000_000)
        take(book.tick(now))
        take(book.apply(fact, now))
    take(book.release())
    return list(seen.values()), effects


def replay_file(path: Path, node: str = "replay", translator: Translator | None = None) -> Replayed:
    """Replay one file; a name that ends in ``.gz`` is unpacked."""
    poison: list[Poison] = []
    count = 0

    def counted(facts: Iterator[Fact]) -> Iterator[Fact]:
        nonlocal count
        for fact in facts:
            count += 1
            yield fact

    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        chunks = iter(lambda: file.read(_CHUNK), b"")
        calls, effects = replay(counted(facts_in(chunks, translator or Translator(), poison)), node)
    refusals = sum(type(e).__name__ == "Refused" for e in effects)
    return Replayed(calls, effects, poison, count, refusals)
