"""What was set aside is tried again, in the running daemon, once an operator asked for it (``callengine quarantine``).

Whatever is tried goes the way that it would have gone then: facts to the book, by way of the calls that they concern,
which are brought back from the store where they have left the book; rows to the writer. A fact is a join of what is
known, so that one that comes late moves no call backwards, and one that comes twice changes nothing. Only one thing
could be a wrong claim: that a channel lives which ended long ago. So the switch is asked before that is said; after a
whole segment of the spool it is asked behind it, since most of its channels end in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol, cast

import gevent
import peewee

from callengine.calls.call import Call
from callengine.calls.channels import ends_of
from callengine.calls.facts import (
    ChannelFact,
    CommandIssued,
    Fact,
    Heartbeat,
    JobAnswered,
    LegCreated,
    LegDescribed,
    LegGone,
    OriginateAbandoned,
    OriginateSent,
    SwitchShutdown,
)
from callengine.calls.leg import Leg, merge, parent_of
from callengine.calls.machine import Noted, Published
from callengine.calls.record import CallRecord
from callengine.errors import EslError, MalformedEvent, StoreError
from callengine.esl.commands import is_uuid
from callengine.esl.headers import Translator
from callengine.metrics import Metrics
from callengine.quarantine import KINDS, Entry, Quarantine, Shelf
from callengine.spool import kept
from callengine.spool.replay import Past, Replay
from callengine.store import cdrs, quarantined, refused
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.refused import Refused
from callengine.threads import in_thread
from callengine.tracker import Tracker

log = logging.getLogger(__name__)

_POLL_S: Final = 1.0
_AWAY_S: Final = 5.0
_COUNT_EVERY_S: Final = 15.0
_ASK_STORE_EVERY_S: Final = 300.0
_FLUSH_S: Final = 30.0
_DAY_US: Final = 86_400_000_000
COUNTED_DAYS: Final = 7
"""What failed in the database is counted for so long."""

NO_CALL: Final = "no call is known that its channel belongs to; if a CDR makes one, try it again then"
NO_JOB: Final = "the call of that job is not live any more, and what became of it is known otherwise"


class Writer(Protocol):
    """What is needed of the store's writer."""

    def put(self, call: Call, record: CallRecord | None = None) -> None: ...
    def note(self, noted: Noted) -> None: ...
    def publish(self, published: Published) -> None: ...
    def flush(self, timeout_s: float) -> None: ...


class Retries:
    """``run`` is to be supervised. ``refused`` is for the writer: it takes what the database refused.

    ``opened``: the book is open. ``lives(uuid)`` asks the switch for a channel, and raises EslError where it cannot;
    ``suspect(uuid)`` has it asked for one by and by. ``cdr_inbox`` is where CDRs are taken in, None where they are not.
    Of a channel that was created before ``max_age_us`` no call is made.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        segments: Shelf,
        tracker: Tracker,
        translator: Translator,
        replay: Replay,
        store: Store,
        writer: Writer,
        past: Past,
        metrics: Metrics,
        *,
        lives: Callable[[str], bool],
        suspect: Callable[[str], None],
        opened: Callable[[], bool] = lambda: True,
        cdr_inbox: Path | None = None,
        max_age_us: int = 30 * _DAY_US,
        now_us: Callable[[], int] = clock_us,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quarantine, self._segments = quarantine, segments
        self._tracker, self._translator, self._replay = tracker, translator, replay
        self._store, self._writer, self._past, self._metrics = store, writer, past, metrics
        self._lives, self._suspect, self._opened = lives, suspect, opened
        self._cdr_inbox, self._max_age_us = cdr_inbox, max_age_us
        self._now_us, self._clock = now_us, clock
        self._trying: Refused | None = None
        self._refusal: str | None = None
        self._waits_for = ""
        self._counts = dict.fromkeys(KINDS, 0)
        self._count_s = self._ask_s = float("-inf")
        metrics.gauge(
            "callengine_quarantined",
            f"What is set aside now; of recordings and jobs those that failed in the last {COUNTED_DAYS} days.",
            lambda: [((kind,), float(count)) for kind, count in self._counts.items()],
            ("kind",),
        )
        metrics.gauge(
            "callengine_quarantine_lost",
            "What could not even be set aside since the start: the folder is full, or the disk refuses.",
            lambda: float(quarantine.lost),
        )

    # -- what the database refuses -----------------------------------------------------------------------------------

    def refused(self, rows: Refused, error: str) -> None:
        """The database refuses all that is new of a call. On the hub; never waits."""
        if self._trying is not None and rows.call_id == self._trying.call_id:
            self._refusal = error
            if not _adds(rows, self._trying):
                return  # it lies there already
        self._metrics.poison.labels("row").inc()
        known = {"call_id": rows.call_id, "node": self._tracker.book.node}
        self._quarantine.keep(refused.encode(rows), _refuses(error), "row", **known)

    # -- life --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is killed."""
        in_thread(self._quarantine.tidy)
        while True:
            wait_s = _POLL_S
            self._count()
            if self._opened():
                try:
                    self.once()
                    self._waits_for = ""
                except (StoreError, EslError) as error:
                    if self._waits_for != str(error):
                        log.warning("what is to be tried again waits: %s", error)
                    self._waits_for = str(error)
                    wait_s = _AWAY_S
            gevent.sleep(wait_s)

    def once(self) -> int:
        """Tries all again that is marked; how many that were. Where StoreError or EslError is raised, they stay so."""
        found = in_thread(self._marked)
        for shelf, entry in found:
            reason = self._try(shelf, entry)
            if reason is None:
                log.info("%s was set aside, and is taken in now", entry.id)
            else:
                log.warning("%s was tried again, and stays set aside: %s", entry.id, reason)
            in_thread(lambda shelf=shelf, entry=entry, reason=reason: _put_away(shelf, entry, reason))  # type: ignore[misc]
        if found:
            self._count_s = float("-inf")
        return len(found)

    def _marked(self) -> list[tuple[Shelf, Entry]]:
        """In a thread."""
        found: list[tuple[Shelf, Entry]] = []
        for shelf in (self._segments, self._quarantine):
            try:
                found += [(shelf, entry) for entry in shelf.marked()]
            except OSError as error:
                log.warning("%s cannot be looked at: %s", shelf.directory, error.strerror)
        return sorted(found, key=lambda each: each[1].at_s or 0.0)

    def _try(self, shelf: Shelf, entry: Entry) -> str | None:
        """Why it is still not to be handled; None where it was."""
        node = self._tracker.book.node
        if entry.node and entry.node != node and entry.kind != "cdr":
            return f"it is of the switch {entry.node}, not of {node}"
        try:
            body = b"" if shelf is self._segments else in_thread(lambda: shelf.read(entry.id))
            match entry.kind:
                case "segment":
                    return self._segment(shelf, entry, node)
                case "cdr":
                    return self._cdr(shelf, entry)
                case "row":
                    return self._row(refused.decode(body))
                case _:
                    return self._event(kept.read(body, self._translator))
        except MalformedEvent as error:
            return str(error)
        except OSError as error:
            return f"it cannot be read: {error.strerror or type(error).__name__}"
        except (StoreError, EslError):
            raise
        except Exception as error:
            log.exception("%s was tried again", entry.id)
            return f"{type(error).__name__} while it was tried again"

    # -- events ------------------------------------------------------------------------------------------------------

    def _event(self, fact: Fact | None) -> str | None:
        book = self._tracker.book
        match fact:
            case None | Heartbeat() | SwitchShutdown():
                return None  # it tells of no call; and of the switch only how it was then
            case ChannelFact():
                reason = self._channel(fact)
            case JobAnswered():
                jobs = (call.origination.job_uuid for call in book.calls.values() if call.origination)
                reason = None if fact.job_uuid in jobs else NO_JOB
                if reason is None:
                    self._tracker.apply(fact)
            case CommandIssued() | OriginateSent() | OriginateAbandoned():
                reason = self._ours(fact)
            case _:
                reason = "it is nothing that is kept"
        if reason is None:
            self._writer.flush(_FLUSH_S)
        return reason

    def _ours(self, fact: CommandIssued | OriginateSent | OriginateAbandoned) -> str | None:
        self._bring_back({fact.uuid})
        call = self._tracker.book.call_of(fact.uuid)
        if call is None:
            return NO_CALL
        if isinstance(fact, CommandIssued):
            # That leaves nothing in a call but an entry of its timeline.
            self._writer.flush(_FLUSH_S)
            if (call.id, fact.command, fact.at_us) in self._past.clock_notes({call.id}):
                return None
        self._tracker.apply(fact)
        return None

    def _channel(self, fact: ChannelFact) -> str | None:
        book = self._tracker.book
        parent = parent_of(fact) if isinstance(fact, LegDescribed) else None
        others = {uuid for pair in ends_of(fact) for uuid in pair}
        self._bring_back({fact.uuid, *others, *([parent] if parent else [])})
        if not book.knows(fact.uuid) and not book.concerned(fact.uuid):
            if parent is not None and not book.knows(parent):
                return NO_CALL
            if parent is None and not isinstance(fact, LegCreated):
                return NO_CALL
            if parent is None and fact.at_us < self._now_us() - self._max_age_us:
                return "its channel is older than cdr.since_days: no call is made of it"
        leg = book.leg(fact.uuid) or Leg(uuid=fact.uuid)
        fresh = merge(leg, fact).leg
        begins = not fresh.over and (leg.over or not leg.created_us)
        if begins and not is_uuid(fact.uuid):
            return "the switch cannot be asked for a channel of that name, so nobody knows whether it lives"
        lives = not begins or self._lives(fact.uuid)
        self._tracker.apply(cast(Fact, fact))
        if not lives:
            # Both before anything else runs: what is committed is a call that is over, with bounds.
            before_us = self._tracker.switch_now_us()
            self._tracker.apply(LegGone(uuid=fact.uuid, at_us=before_us, before_us=before_us))
        return None if book.knows(fact.uuid) or book.concerned(fact.uuid) else NO_CALL

    def _bring_back(self, uuids: Collection[str]) -> None:
        """The calls of these channels, where they have left the book. Raises StoreUnavailable."""
        book = self._tracker.book
        wanted = {uuid for uuid in uuids if not book.concerned(uuid)}
        if wanted:
            self._writer.flush(_FLUSH_S)
            for call in self._stored(book.node, wanted):
                book.restore(call, self._clock())

    def _stored(self, node: str, uuids: Collection[str]) -> list[Call]:
        def read(db: peewee.Database) -> list[Call]:
            return cdrs.calls_of_channels(db, node, uuids)

        return self._store.run(read, _FLUSH_S)

    # -- the others --------------------------------------------------------------------------------------------------

    def _segment(self, shelf: Shelf, entry: Entry, node: str) -> str | None:
        path = shelf.path(entry.id)
        assert path is not None
        self._writer.flush(_FLUSH_S)
        reason, channels = self._replay.again(path, node)
        self._writer.flush(_FLUSH_S)
        for uuid in channels:
            leg = self._tracker.book.leg(uuid)
            if leg is not None and not leg.over:
                self._suspect(uuid)
        return reason

    def _cdr(self, shelf: Shelf, entry: Entry) -> str | None:
        """To where CDRs wait, whole from its first moment there."""
        if self._cdr_inbox is None:
            return "no CDRs are taken in: neither cdr.directories nor cdr.http_secret is set"
        path, inbox = shelf.path(entry.id), self._cdr_inbox
        assert path is not None

        def move() -> None:
            inbox.mkdir(mode=0o700, exist_ok=True)
            path.rename(inbox / f"{path.stem}.json")

        in_thread(move)
        return None

    def _row(self, rows: Refused) -> str | None:
        """What the book or the store knows of the call by now is never put behind what was refused then."""
        book, call = self._tracker.book, rows.call
        current = book.calls.get(rows.call_id)
        if current is None and call is not None:
            if call.node != book.node:
                return f"it is of the switch {call.node}, not of {book.node}"
            self._writer.flush(_FLUSH_S)
            stored = next(iter(self._stored(call.node, {call.own.uuid})), None)
            if stored is not None and stored.id != call.id:
                return f"its channel is that of call {stored.id}"
            if stored is None or (stored.seq, stored.over) < (call.seq, call.over):
                current = call if call.over else self._settled(call)
        notes = self._store.run(lambda db: refused.unknown_notes(db, rows), _FLUSH_S)
        self._trying = Refused(call_id=rows.call_id, call=current, notes=notes, published=rows.published)
        try:
            if current is not None:
                self._writer.put(current)
            for note in notes:
                self._writer.note(Noted(rows.call_id, note))
            for published in rows.published:
                self._writer.publish(published)
            self._writer.flush(_FLUSH_S)
            return None if self._refusal is None else _refuses(self._refusal)
        finally:
            self._trying = self._refusal = None

    def _settled(self, call: Call) -> Call:
        """A call that was live then, into the book: with bounds where the switch does not know it any more."""
        book, uuid = self._tracker.book, call.own.uuid
        lives = self._lives(uuid)
        book.restore(call, self._clock())
        if not lives:
            before_us = self._tracker.switch_now_us()
            self._tracker.apply(LegGone(uuid=uuid, at_us=before_us, before_us=before_us))
        return book.calls.get(call.id, call)

    # -- how much there is -------------------------------------------------------------------------------------------

    def _count(self) -> None:
        now = self._clock()
        if now - self._count_s < _COUNT_EVERY_S:
            return
        self._count_s = now
        try:
            found = in_thread(lambda: {**self._quarantine.counts(), **self._segments.counts()})
            self._counts |= {kind: found.get(kind, 0) for kind in ("event", "cdr", "row", "segment")}
            if now - self._ask_s >= _ASK_STORE_EVERY_S:
                self._ask_s = now
                since_us = self._now_us() - COUNTED_DAYS * _DAY_US
                self._counts |= self._store.run(lambda db: quarantined.counts(db, since_us), _FLUSH_S)
        except (OSError, StoreError) as error:
            log.debug("what is set aside could not be counted: %s", error)


def _adds(rows: Refused, tried: Refused) -> bool:
    """Whether the call went on while it was tried, so that the database refused more than what is set aside."""
    told = {published.seq for published in tried.published}
    return (
        (rows.call is not None and rows.call is not tried.call)
        or not set(rows.notes) <= set(tried.notes)
        or any(published.seq not in told for published in rows.published)
    )


def _refuses(error: str) -> str:
    return f"the database refuses it ({error})"


def _put_away(shelf: Shelf, entry: Entry, reason: str | None) -> None:
    """In a thread. What cannot be put away stays marked, and is tried again: that changes nothing."""
    try:
        if reason is None:
            shelf.remove(entry.id)
        else:
            shelf.refuse(entry, reason)
    except OSError as error:
        log.error("%s cannot be put away: %s", entry.id, error.strerror)
