"""A recorded event socket stream, applied to an empty book with the very code that the daemon runs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from callengine.calls.book import Book, Outcome, Timing
from callengine.calls.call import Call
from callengine.calls.facts import Fact, LegGone
from callengine.calls.machine import Effect, Refused, Rules
from callengine.errors import MalformedEvent, MalformedStream
from callengine.esl.headers import Translator
from callengine.esl.wire import EVENT_JSON, EVENT_PLAIN, Framer

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_LONGEST_STEP_US: Final = 3600 * 1_000_000


class Poison(NamedTuple):
    """An event that could not be read: where in the stream (its number, from 1) and why."""

    number: int
    reason: str


class Replayed(NamedTuple):
    """What a stream told. ``calls`` in the order in which they first appeared; ``events`` counts all that were read.

    ``truncated`` tells of a stream that does not end where an event does, or cannot be read to its end: what came
    before that is told. ``fault`` names the place and the reason then.
    """

    calls: list[Call]
    effects: list[Effect]
    poison: list[Poison]
    events: int
    refusals: int
    truncated: bool = False
    fault: str | None = None


class _Stream:
    """The facts in a byte stream as FreeSWITCH sent it, JSON or plain, and what could not be read of it.

    ``events`` counts what was read, ``poison`` are single events set aside; ``fault`` says where the stream broke off.
    """

    def __init__(self, translator: Translator) -> None:
        self.events = 0
        self.poison: list[Poison] = []
        self.fault: str | None = None
        self._translator = translator

    def facts(self, chunks: Iterable[bytes]) -> Iterator[Fact]:
        """The facts, as far as the stream can be read. Raises MalformedStream where not even its beginning can."""
        framer = Framer()
        read = 0
        try:
            for chunk in chunks:
                read += len(chunk)
                for frame in framer.feed(chunk):
                    if frame.content_type in (EVENT_JSON, EVENT_PLAIN):
                        fact = self._fact(frame.content_type, frame.body)
                        if fact is not None:
                            yield fact
            if framer.eof():
                self.fault = f"ends inside a frame, {framer.pending_bytes} bytes after its beginning, at byte {read}"
        except (MalformedStream, OSError, EOFError, zlib.error) as error:
            self.fault = f"cannot be read on behind event {self.events}: {error}"
        if not self.events and (self.fault or not read):
            raise MalformedStream(self.fault or "is empty")

    def _fact(self, content_type: str, body: bytes) -> Fact | None:
        self.events += 1
        read = self._translator.json if content_type == EVENT_JSON else self._translator.plain
        try:
            return read(body)
        except MalformedEvent as error:
            self.poison.append(Poison(self.events, str(error)))
            return None


class _Clock:
    """The clock of a stream, in seconds: its stamps, forward only, and never by more than an hour at a time.

    The wire is not monotonic, and one stamp gone wrong must not stop the clock for good.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._at_us = 0

    def move(self, at_us: int) -> float:
        """The time at a fact with that stamp, 0 for none."""
        step = at_us - self._at_us
        if at_us and not 0 >= step >= -_LONGEST_STEP_US:
            if step > 0 and self._at_us:
                self.now += min(step, _LONGEST_STEP_US) / 1_000_000
            self._at_us = at_us
        return self.now


def facts_in(chunks: Iterable[bytes], translator: Translator, poison: list[Poison]) -> Iterator[Fact]:
    """The facts in a byte stream; unreadable ones are added to ``poison``. Raises MalformedStream where it is none."""
    stream = _Stream(translator)
    stream.poison = poison
    yield from stream.facts(chunks)


def replay(
    facts: Iterable[Fact], node: str, *, rules: Rules | None = None, timing: Timing | None = None
) -> tuple[list[Call], list[Effect]]:
    """Apply facts to an empty book; its clock is the switch's own, as far as the facts carry it.

    There is no switch to ask for the end of a channel that hung up and said no more: it is taken for gone.
    """
    book = Book(node, rules or Rules(default_tenant="default"), timing=timing)
    seen: dict[str, Call] = {}
    effects: list[Effect] = []
    clock = _Clock()

    def take(outcome: Outcome) -> None:
        seen.update(outcome.changed)
        effects.extend(outcome.effects)
        for uuid in outcome.suspects:
            leg = book.leg(uuid)
            if leg is not None and leg.hanging_up:
                take(book.apply(LegGone(uuid=uuid, at_us=leg.hung_up_at_us), clock.now))

    for fact in facts:
        now = clock.move(fact.at_us)
        take(book.tick(now))
        take(book.apply(fact, now))
    take(book.tick(clock.now + book.timing.hangup_grace_s))
    take(book.release())
    return list(seen.values()), effects


def _chunks(
    file: BufferedReader | gzip.GzipFile, raw: BufferedReader, at: Callable[[int], None] | None
) -> Iterator[bytes]:
    read = 0
    while chunk := file.read1(_CHUNK):
        read += len(chunk)
        if at is not None:
            at(raw.tell() if raw.seekable() else read)
        yield chunk


def replay_file(
    path: Path, node: str = "replay", translator: Translator | None = None, at: Callable[[int], None] | None = None
) -> Replayed:
    """Replay one file, as `replay_stream` does; raises OSError for one that cannot be opened."""
    with path.open("rb") as file:
        return replay_stream(file, str(path), node, translator, at)


def replay_stream(
    raw: BufferedReader,
    name: str,
    node: str = "replay",
    translator: Translator | None = None,
    at: Callable[[int], None] | None = None,
) -> Replayed:
    """Replay an open file or a pipe, also gzipped; ``at`` is told how many of its bytes are read, packed ones included.

    Raises MalformedStream, with its ``name``, for one that is empty or no event stream.
    """
    stream = _Stream(translator or Translator())
    packed = raw.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
    file = gzip.GzipFile(fileobj=raw) if packed else raw
    try:
        calls, effects = replay(stream.facts(_chunks(file, raw, at)), node)
    except MalformedStream as error:
        raise MalformedStream(f"{name}: {error}") from None
    refusals = sum(isinstance(effect, Refused) for effect in effects)
    fault = f"{name}: {stream.fault}" if stream.fault else None
    return Replayed(calls, effects, stream.poison, stream.events, refusals, fault is not None, fault)
