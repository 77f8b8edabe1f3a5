"""What an earlier life left in the spool is told to the book again, before anything else is.

Facts are joins: one that is in the book already changes nothing. So each call that a segment speaks of is put back
first as it was last committed, ended ones too; then what had been committed adds no row, no timeline entry and no
event, and what had not been is told as it would have been then.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import gevent

from callengine.calls.call import Call
from callengine.calls.facts import CommandIssued, Fact
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator
from callengine.quarantine import segments_aside
from callengine.spool import frames, kept
from callengine.spool.frames import Beginning
from callengine.spool.segments import Spool
from callengine.store.clock import clock_us
from callengine.tracker import Tracker

log = logging.getLogger(__name__)

_TURN_S: Final = 0.002
_WAIT_S: Final = 0.01
# Any channel that an event names, in whichever header, may be the one of a call that is concerned. What is looked for
# begins with the first hyphen, since an event has far fewer of these than quotation marks.
_UUID: Final = re.compile(
    rb'-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"(?<="([0-9a-fA-F]{8}-.{27})")', re.DOTALL
)


class Past(Protocol):
    """What is asked of the store (``store.reads.Reads``); StoreUnavailable."""

    def calls_of_channels(self, node: str, fs_uuids: Collection[str]) -> list[Call]:
        """The calls whose own channels these are."""

    def clock_notes(self, call_ids: Collection[str]) -> set[tuple[str, str, int]]:
        """What our clock stamped in their timelines."""


class Record(NamedTuple):
    """One body of a segment, when it came by our clock (µs), and the fact that it states, if any; ``reason`` where it
    cannot be read.
    """

    body: bytes
    at_us: int
    fact: Fact | None
    reason: str = ""


class Read(NamedTuple):
    """A segment as it was found. ``damaged``: bytes in its middle that are no batch; a cut at its end damages none."""

    beginning: Beginning | None
    node: str
    records: list[Record]
    channels: set[str]
    damaged: int


class Replayed(NamedTuple):
    """What was done: segments and records that were applied, calls that were put back for that."""

    segments: int
    records: int
    restored: int


class Again(NamedTuple):
    """What came of a segment that was set aside and tried again: why some of it (or all) is still not applied, if that
    is so, and the channels that it speaks of.
    """

    reason: str | None
    channels: set[str]


class Replay:
    """Tells the book what the spool still has. ``run`` may be called again after StoreUnavailable.

    ``on_set_aside()`` is called for each segment that is set aside, or will be once the rest of it is committed.
    """

    def __init__(
        self,
        spool: Spool,
        tracker: Tracker,
        translator: Translator,
        past: Past,
        *,
        full: Callable[[], bool] = lambda: False,
        on_set_aside: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self._spool = spool
        self._aside = segments_aside(spool.directory)
        self._on_set_aside = on_set_aside
        self._tracker = tracker
        self._translator = translator
        self._past = past
        self._full = full
        self._clock = clock
        self._now_us = now_us

    def run(self, node: str) -> Replayed:
        """Replay all segments of ``node`` in order; set those aside that are another's. Raises StoreUnavailable."""
        segments = records = restored = 0
        asked: set[str] = set()
        for path in self._spool.left_behind:
            found = self._read(path)
            reason = self._unusable(found, node)
            if reason or isinstance(found, str):
                self._note(path, reason, found)
                self._spool.put_aside(path, reason)
                continue
            restored += self._apply(node, found, asked)
            if found.damaged:
                log.error("%d bytes in the middle of segment %s cannot be read", found.damaged, path.name)
                self._note(path, _damage(found), found)
            self._spool.replayed(path, damaged=found.damaged > 0)
            segments, records = segments + 1, records + len(found.records)
        if segments:
            log.info("%d records of an earlier life were read again; %d calls put back for that", records, restored)
        return Replayed(segments, records, restored)

    def again(self, path: Path, node: str) -> Again:
        """Replay one that was set aside, where it lies. Everything that was put to the store before has to be
        committed. Raises StoreUnavailable.
        """
        found = self._read(path)
        reason = self._unusable(found, node)
        if reason or isinstance(found, str):
            return Again(reason, set())
        self._apply(node, found, set())
        return Again(_damage(found) if found.damaged else None, found.channels)

    def _read(self, path: Path) -> Read | str:
        return gevent.get_hub().threadpool.apply(_read, (path, self._translator))

    def _apply(self, node: str, found: Read, asked: set[str]) -> int:
        """How many calls were put back for that. ``asked``: the channels whose calls were put back before."""
        restored = self._restore(node, found.channels - asked)
        asked |= found.channels
        known = self._noted(found.records)
        for record in found.records:
            self._again(record, known)
        return restored

    def _note(self, path: Path, reason: str, found: Read | str) -> None:
        """Why it is set aside, for ``callengine quarantine``."""
        self._on_set_aside()
        whose = "" if isinstance(found, str) else found.node
        note = {"kind": "segment", "at": self._now_us() / 1_000_000, "reason": reason, "node": whose}
        gevent.get_hub().threadpool.apply(self._aside.annotate, (path.stem, note))

    def _unusable(self, found: Read | str, node: str) -> str:
        return found if isinstance(found, str) else self._foreign(found, node)

    def _foreign(self, found: Read, node: str) -> str:
        if found.beginning is None:
            return "" if not found.damaged else "it has no readable beginning"
        if found.node:
            return "" if found.node == node else f"it is of the switch {found.node}, not of {node}"
        same = found.beginning.switch == self._spool.switch
        return "" if same else f"it is of the switch at {found.beginning.switch}"

    def _restore(self, node: str, channels: set[str]) -> int:
        book = self._tracker.book
        wanted = {uuid for uuid in channels if book.call_of(uuid) is None}
        calls = self._past.calls_of_channels(node, wanted) if wanted else []
        now = self._clock()
        for call in calls:
            book.restore(call, now)
            self._turn()
        return len(calls)

    def _noted(self, records: list[Record]) -> set[tuple[str, str, int]]:
        """Commands leave nothing in a call but an entry of its timeline: which of them are there."""
        calls = (self._tracker.book.call_of(r.fact.uuid) for r in records if isinstance(r.fact, CommandIssued))
        ids = {call.id for call in calls if call is not None}
        return self._past.clock_notes(ids) if ids else set()

    def _again(self, record: Record, known: set[tuple[str, str, int]]) -> None:
        while self._full():
            gevent.sleep(_WAIT_S)
        fact = record.fact
        if isinstance(fact, CommandIssued):
            call = self._tracker.book.call_of(fact.uuid)
            if call is not None and (call.id, fact.command, fact.at_us) in known:
                return
        # When it came, by the book's clock: what was to be waited for from then on is due as it would have been.
        now = self._clock() - max(0, self._now_us() - record.at_us) / 1_000_000
        self._tracker.again(record.body, now, fact, record.reason)
        self._turn()

    _turn_began_s = 0.0

    def _turn(self) -> None:
        if self._clock() - self._turn_began_s > _TURN_S:
            gevent.sleep(0)
            self._turn_began_s = self._clock()


def _damage(found: Read) -> str:
    return f"{found.damaged} bytes in its middle cannot be read; what is around them was applied"


def _read(path: Path, translator: Translator) -> Read | str:
    """In a native thread. What cannot be read is told by its reason: an error that is raised there would be printed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    begun = frames.beginning_of(data)
    if begun is None:
        # A file that was cut within its very beginning has nothing in it.
        return Read(None, "", [], set(), frames.damage(data, 0, 0))
    beginning, at = begun
    node, records = beginning.node, []
    channels: set[str] = set()
    named: set[bytes] = set()
    for frame in frames.frames(data, at, beginning.seed):
        if frame.kind == frames.NODE and frame.bodies:
            node = frame.bodies[0].decode("utf-8", "replace")
            continue
        for body in frame.bodies:
            record = _record(frame, body, translator)
            records.append(record)
            named.update(_UUID.findall(body))
            if (uuid := getattr(record.fact, "uuid", "")) != "":
                channels.add(uuid)
    channels.update(uuid.decode() for uuid in named)
    return Read(beginning, node, records, channels, frames.damage(data, at, beginning.seed))


def _record(frame: frames.Frame, body: bytes, translator: Translator) -> Record:
    try:
        fact = kept.decode(body) if frame.kind == frames.FACTS else translator.json(body)
    except MalformedEvent as error:
        return Record(body, frame.at_us, None, str(error))
    return Record(body, frame.at_us, fact)
