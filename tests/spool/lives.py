"""Lives of an engine one after another: the real book, tracker, intake and spool, on a store that survives them.

The store commits when it is told to, all or some of what is dirty; what it has is encoded and decoded as the real one's
rows are. Time stands still within a life.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import gevent

from callengine.calls.book import Book, Rules
from callengine.calls.call import Call
from callengine.calls.facts import Fact, Source
from callengine.calls.leg import Note
from callengine.calls.machine import Noted, Published
from callengine.calls.record import CallRecord, record_of
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.sieve import Sieve
from callengine.esl.wire import EVENT_JSON, Framer
from callengine.metrics import Metrics
from callengine.spool.replay import Replay, Replayed
from callengine.spool.segments import Spool
from callengine.store.rows import decode_state, encode_json
from callengine.tracker import Tracker
from tests.calls import streams

NODE = "n1"
TRANSLATOR = Translator()


def bodies_of(name: str) -> list[bytes]:
    """The JSON events of a trace."""
    return [f.body for f in Framer().feed(streams.stream(name)) if f.content_type == EVENT_JSON]


class Kept:
    """Rows, timelines and outbox. What is dirty dies with the engine."""

    full = False

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.notes: dict[str, list[Note]] = {}
        self.outbox: dict[tuple[str, int], tuple[str, bytes]] = {}
        self.writes = 0
        self._calls: dict[str, Call] = {}
        self._noted: dict[str, list[Note]] = {}
        self._published: dict[str, list[Published]] = {}

    def put(self, call: Call, record: CallRecord | None = None) -> None:
        self._calls[call.id] = call

    def note(self, noted: Noted) -> None:
        self._noted.setdefault(noted.call_id, []).append(noted.note)

    def publish(self, published: Published) -> None:
        self._published.setdefault(published.call_id, []).append(published)

    def commit(self, which: Callable[[str], bool] = lambda call_id: True) -> None:
        """Commit what is dirty of these calls: each call's row, timeline and outbox together."""
        for call_id in list({**self._calls, **self._noted, **self._published}):
            if which(call_id):
                self._commit(call_id)

    def _commit(self, call_id: str) -> None:
        self.writes += 1
        call = self._calls.pop(call_id, None)
        if call is not None:
            self.states[call_id] = encode_json(call)
        self.notes.setdefault(call_id, []).extend(self._noted.pop(call_id, []))
        for published in self._published.pop(call_id, []):
            key = (call_id, published.seq)
            assert key not in self.outbox, f"told twice: {key}"
            self.outbox[key] = (published.event.value, encode_json(published.record))

    def crash(self) -> None:
        for dirty in (self._calls, self._noted, self._published):
            dirty.clear()

    # -- what a replay asks

    def live(self) -> list[Call]:
        return [call for state in self.states.values() if not (call := decode_state(state)).over]

    def calls_of_channels(self, node: str, fs_uuids: Collection[str]) -> list[Call]:
        calls = map(decode_state, self.states.values())
        return [call for call in calls if call.node == node and call.own.uuid in fs_uuids]

    def clock_notes(self, call_ids: Collection[str]) -> set[tuple[str, str, int]]:
        return {
            (call_id, note.name, note.at_us)
            for call_id in call_ids
            for note in self.notes.get(call_id, ())
            if note.source is Source.CLOCK
        }

    # -- for comparisons

    def told(self) -> dict[str, object]:
        """All there is, by call."""
        return {
            call_id: (
                encode_json(record_of(decode_state(state))),
                self.notes.get(call_id, []),
                [(seq, *told) for (of, seq), told in sorted(self.outbox.items()) if of == call_id],
            )
            for call_id, state in self.states.items()
        }


class Life:
    """From a start to a crash: ``begin`` restores and replays, ``take`` is what the socket and we ourselves bring."""

    def __init__(self, store: Kept, folder: Path, *, segment_bytes: int = 1 << 16, node: str = NODE) -> None:
        self.now_s, self.now_us = 1000.0, 1_795_343_615_000_000
        self.store = store
        self.spool = Spool(
            folder,
            node=node,
            switch="127.0.0.1:8021",
            max_bytes=1 << 30,
            segment_bytes=segment_bytes,
            reserve_bytes=0,
            clock=lambda: self.now_s,
            now_us=lambda: self.now_us,
        )
        self.spool.open()
        self.poison: list[tuple[bytes, str]] = []
        self.book = Book(node, Rules(default_tenant="t"))
        self.sieve = Sieve(TRANSLATOR)
        self.intake = IntakeQueue(disk=self.spool, spill_bytes=1 << 20)
        self.tracker = Tracker(
            self.book,
            self.intake,
            TRANSLATOR,
            store,
            Metrics(),
            on_poison=lambda body, reason: self.poison.append((body, reason)),
            on_taken=self.spool.keep_fact,
            clock=lambda: self.now_s,
        )
        self.replay = Replay(
            self.spool,
            self.tracker,
            TRANSLATOR,
            store,
            clock=lambda: self.now_s,
            now_us=lambda: self.now_us,
        )

    def begin(self) -> Replayed:
        for call in self.store.live():
            self.book.restore(call, self.now_s)
        return self.replay.run(self.book.node)

    def take(self, bodies: Iterable[bytes | Fact]) -> None:
        """Each by itself, applied at once."""
        for body in bodies:
            if not isinstance(body, bytes):
                self.tracker.take(body)
                continue
            assert self.intake.put_many(self.sieve([body]))
            for each in self.intake.get_batch(1, 0):
                self.tracker._one(each)

    @property
    def awaits_destroy(self) -> bool:
        """Whether a channel has ended and not been destroyed: a segment lingers for longer than that takes."""
        return bool(self.sieve._ended)

    def receive(self, bodies: list[bytes]) -> None:
        """On disk and in the intake, not applied."""
        assert self.intake.put_many(self.sieve(bodies))

    def end(self) -> None:
        """The quiet after the stream: what was held back is told, and committed."""
        for after_s in (1.5, 3.0, 8.0):
            self.tracker._settle(self.book.tick(self.now_s + after_s))
        self.store.commit()

    def crash(self) -> None:
        self.spool.close()
        self.store.crash()

    def tend(self, *, last: bool = True) -> None:
        worker = gevent.spawn(self.spool.tend, self.intake.accepted, lambda: 0, lambda mark: True, last=last)
        worker.join(5)
        worker.get(block=False)
