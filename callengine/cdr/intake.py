"""Taking CDRs in: from the directories that the switch writes to, and from the inbox of posted ones.

One greenlet does it all: it looks (in a native thread), reads a batch (there, too), hands what it says to the engine,
waits for the commit of what came of it, and only then counts the files as done with. A crash at any point has them read
again, which changes nothing.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import gevent
from gevent.event import Event

from callengine.calls.facts import LegReported
from callengine.cdr.counts import Counts
from callengine.cdr.folder import Folder, Found, Unusable
from callengine.cdr.inbox import Inbox
from callengine.cdr.marks import Marks
from callengine.cdr.reading import Cdr, CdrReader
from callengine.cdr.reporter import Told
from callengine.config.sections import Cdr as CdrSettings
from callengine.errors import MalformedEvent, StoreError
from callengine.quarantine import Quarantine
from callengine.store.faults import Trouble
from callengine.threads import Threads, in_thread

log = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER, INBOX = "folder", "inbox"
_BATCH_FILES: Final = 256
_LOOK_FILES: Final = 50_000
_SHARE: Final = 20
"""A look may take that part of the time: where it takes long, the next comes later."""
_STILL_S: Final = 3.0
_WAITS_S: Final = 60.0
_OLD_NS: Final = 120_000_000_000
_MARGIN_NS: Final = 60_000_000_000
_DAY_NS: Final = 86_400_000_000_000
_SAVE_EVERY_S: Final = 5.0
_CATCH_UP_S: Final = 20.0
_CLOSED_S: Final = 0.2
_AWAY_S: Final = 1.0
_FLUSH_S: Final = 30.0
_CLOSE_S: Final = 2.0
# These are no fault of the file's: it is read once we can open files again.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Engine(Protocol):
    """What takes them."""

    @property
    def opened(self) -> bool:
        """Whether the book is open; before that nothing can be taken in."""

    def report(self, reports: Sequence[LegReported], *, backlog: bool = False) -> list[Told]:
        """See ``Reporter.report``."""

    def placed(self, fact: LegReported) -> bool:
        """Whether the fact's channel has found its place."""

    def owes(self, fact: LegReported) -> bool:
        """Whether something of its call may still wait, for a moment, to be told."""

    def flush(self, timeout_s: float) -> None:
        """Returns once what came of it is committed. Raises StoreUnavailable."""


class _Read(NamedTuple):
    """A file that was read: what it says, or why it says nothing."""

    found: Found
    body: bytes
    cdr: Cdr | None
    reason: str | None
    retry: bool = False
    ours: bool = False


class _Source:
    """A directory, and how what lies in it is treated."""

    def __init__(self, kind: str, folder: Folder, *, deletes: bool) -> None:
        self.kind, self.folder, self.deletes = kind, folder, deletes
        self.queue: list[Found] = []
        self.again_s = float("-inf")
        self.stills: dict[str, tuple[float, Found]] = {}
        """Files that say nothing, by name: as they were last, and since when they are so."""
        self.waiting: list[tuple[float, Found, LegReported]] = []
        self.told_problem: str | None = None


class CdrIntake:
    """``run`` is to be supervised. ``nudge`` says that there is something new; ``catch_up`` waits for what is there."""

    def __init__(
        self,
        settings: CdrSettings,
        state: Path,
        engine: Engine,
        reader: CdrReader,
        counts: Counts,
        *,
        inbox: Inbox | None = None,
        quarantine: Quarantine | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._engine, self._reader, self._counts = settings, engine, reader, counts
        self._inbox = inbox
        self._quarantine = quarantine or Quarantine(state / "quarantine")
        self._now_ns, self._clock = now_ns, clock
        self._marks = Marks(state)
        self._state = state
        self._sources: list[_Source] = []
        self._threads = Threads(1)
        self._nudged = Event()
        self._forced = False
        self._begun = self._finished = 0
        self._trouble = Trouble(log, "CDRs cannot be opened for now")
        self._saved: dict[str, int] = {}
        self._save_s = 0.0
        if inbox is not None:
            inbox.on_new = self.nudge
        counts.gauges(self)

    # -- what is asked of it -----------------------------------------------------------------------------------------

    @property
    def inbox(self) -> Path:
        """The folder in which posted records wait, and those that are tried again."""
        return self._inbox.directory if self._inbox is not None else self._state / "cdr-inbox"

    @property
    def watches(self) -> bool:
        """Whether there is a directory to watch."""
        return bool(self._settings.directories)

    @property
    def files(self) -> int:
        """How many files were found and are not done with."""
        return sum(source.folder.in_hand for source in self._sources)

    @property
    def oldest_s(self) -> float:
        """How long ago the oldest of these was written; 0 where there is none."""
        stamps = [at for source in self._sources if (at := source.folder.oldest_ns) is not None]
        return max(0.0, (self._now_ns() - min(stamps)) / 1e9) if stamps else 0.0

    def nudge(self) -> None:
        """Look at once. Never waits."""
        self._nudged.set()

    def catch_up(self, done: Callable[[], bool]) -> None:
        """Returns when all that lies there now was taken in, and ``cdr.grace_s`` have passed; sooner if ``done()``."""
        goal = self._begun + 1
        until = self._clock() + _CATCH_UP_S
        while self._finished < goal and self._clock() < until and not done():
            self._force()
            gevent.sleep(0.02)
        until = self._clock() + self._settings.grace_s
        while self._clock() < until and not done():
            self._force()
            gevent.sleep(0.1)

    def _force(self) -> None:
        """Look at once, also where looking takes long."""
        self._forced = True
        self.nudge()

    # -- life --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is killed."""
        self._forget_turn()
        while True:
            if not self._engine.opened:
                gevent.sleep(_CLOSED_S)
                continue
            self._nudged.clear()
            try:
                self.once()
            except StoreError as error:
                log.warning("CDRs wait for the database: %s", error)
                self._forget_turn()
                gevent.sleep(_AWAY_S)
                continue
            if not any(source.folder.cut for source in self._sources):
                self._nudged.wait(self._settings.poll_s)

    def once(self) -> None:
        """Looks at every directory that is due, and takes in what is new there. Raises StoreUnavailable."""
        if not self._sources:
            self._open()
        self._begun = turn = self._begun + 1
        forced, self._forced = self._forced, False
        complete = True
        for source in self._sources:
            if forced or self._clock() >= source.again_s:
                self._look(source)
            complete &= not source.folder.cut
            while source.queue:
                batch, source.queue = source.queue[:_BATCH_FILES], source.queue[_BATCH_FILES:]
                self._take(source, batch)
            self._settle_waiting(source)
        if complete and (forced or turn == 1):
            self._finished = max(self._finished, turn)
        self._save()

    def close(self) -> None:
        """Keeps up to where all is done; for the end, after ``run`` was killed."""
        if self._sources:
            # A directory that hangs must not keep us.
            with suppress(gevent.Timeout), gevent.Timeout(_CLOSE_S):
                self._save(now=True)
        self._threads.kill()

    def _open(self) -> None:
        marks = self._in_thread(self._marks.load)
        floor_ns = max(0, self._now_ns() - self._settings.since_days * _DAY_NS)
        sources = []
        for directory in dict.fromkeys(self._settings.directories):
            # Of the future: our clock was set back, and what is written from now on is older than the mark.
            mark_ns = mark if (mark := marks.get(str(directory), 0)) <= self._now_ns() else 0
            folder = Folder(directory, floor_ns=max(floor_ns, mark_ns - _MARGIN_NS), clock=self._clock)
            sources.append(_Source(FOLDER, folder, deletes=self._settings.after == "delete"))
        # What was set aside and is to be tried again comes to the inbox too, whether records are posted or not.
        sources.append(_Source(INBOX, Folder(self.inbox, clock=self._clock), deletes=True))
        self._saved = marks
        self._sources = sources

    def _forget_turn(self) -> None:
        """What was found and not done with is found again."""
        for source in self._sources:
            source.folder.put_back_all_but({found for _, found, _ in source.waiting})
            source.queue = []
            source.again_s = float("-inf")

    def _in_thread(self, work: Callable[[], T]) -> T:
        return in_thread(work, self._threads)

    # -- one directory -----------------------------------------------------------------------------------------------

    def _look(self, source: _Source) -> None:
        folder = source.folder
        source.queue = self._in_thread(lambda: folder.look(_LOOK_FILES))
        source.again_s = self._clock() + min(_SHARE * folder.took_s, 60.0)
        if folder.problem != source.told_problem:
            source.told_problem = folder.problem
            if folder.problem is not None and not (source.kind == INBOX and self._inbox is None):
                log.error("CDRs cannot be looked for in %s: %s", folder.directory, folder.problem)

    def _take(self, source: _Source, batch: list[Found]) -> None:
        """Files that lie there, to rows that are committed. Raises StoreUnavailable."""
        read = self._in_thread(lambda: [self._read(source, found) for found in batch])
        taken = [each for each in read if each.cdr is not None and self._is_ours(source, each)]
        reports = [each.cdr.fact for each in taken if each.cdr is not None]
        if reports:
            self._trouble.over()
            told = self._engine.report(reports, backlog=batch[-1].mtime_ns < self._now_ns() - _OLD_NS)
            self._engine.flush(_FLUSH_S)
        else:
            told = []
        ends: list[Found] = []
        until = self._clock() + _WAITS_S
        for each, fact, result in zip(taken, reports, told, strict=True):
            if result is Told.WAITING or (source.deletes and self._engine.owes(fact)):
                source.waiting.append((until, each.found, fact))
                continue
            self._counts.taken(source.kind, result.value)
            if result is Told.FAILED:
                self._set_aside(source, each, "it could not be applied")
            else:
                ends.append(each.found)
        for each in read:
            if each.cdr is None:
                self._unreadable(source, each)
        self._finish(source, ends)

    def _is_ours(self, source: _Source, read: _Read) -> bool:
        wanted = self._settings.switchname
        if read.cdr is None or not wanted or read.cdr.switchname == wanted:
            return True
        self._counts.taken(source.kind, "foreign")
        # Another engine's, perhaps: it is not ours to delete.
        source.folder.finish(read.found)
        return False

    def _read(self, source: _Source, found: Found) -> _Read:
        """In a thread."""
        try:
            body = source.folder.read(found, self._settings.max_bytes)
        except FileNotFoundError:
            return _Read(found, b"", None, None)
        except Unusable as error:
            return _Read(found, b"", None, str(error))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return _Read(found, b"", None, reason, retry=True, ours=error.errno in _OURS)
        try:
            return _Read(found, b"", self._reader.read(body), None)
        except MalformedEvent as error:
            return _Read(found, body, None, str(error))

    def _unreadable(self, source: _Source, read: _Read) -> None:
        """Gone, half written, or bad: it is looked at again until it has stopped growing, then set aside."""
        found = read.found
        if read.reason is None:
            source.stills.pop(found.name, None)
            source.folder.finish(found)
            return
        if read.ours:
            self._trouble.met(Unusable(read.reason))
            source.folder.put_back(found)
            return
        now = self._clock()
        since, as_it_was = source.stills.get(found.name, (now, None))
        if as_it_was != found:
            since = now
        if now - since < _STILL_S and (source.kind == FOLDER or read.retry):
            source.stills[found.name] = (since, found)
            source.folder.put_back(found)
            return
        source.stills.pop(found.name, None)
        self._counts.taken(source.kind, "unreadable")
        self._set_aside(source, read, read.reason)

    def _set_aside(self, source: _Source, read: _Read, reason: str) -> None:
        found = read.found
        log.error("%s: the CDR is set aside: %s", found.name, reason)
        self._counts.set_aside()
        if self._in_thread(lambda: self._keep(source.folder, read, reason)):
            self._finish(source, [found])
        else:  # its bytes are nowhere else: it stays where it is
            source.folder.finish(found)

    def _keep(self, folder: Folder, read: _Read, reason: str) -> bool:
        """In a thread."""
        try:
            body = read.body or folder.read(read.found, self._settings.max_bytes)
        except (Unusable, OSError):
            return False
        return self._quarantine.write(body, reason, "cdr", self._now_ns() / 1e9)

    def _finish(self, source: _Source, ends: Sequence[Found]) -> None:
        if source.deletes and ends:
            self._in_thread(lambda: [self._delete(source.folder, found) for found in ends])
        for found in ends:
            source.folder.finish(found)
            source.stills.pop(found.name, None)
            if source.kind == INBOX and self._inbox is not None:
                self._inbox.taken(found.size)

    @staticmethod
    def _delete(folder: Folder, found: Found) -> None:
        try:
            folder.delete(found)
        except OSError as error:
            log.warning("%s: the CDR cannot be deleted: %s", found.name, error.strerror)

    def _settle_waiting(self, source: _Source) -> None:
        """Legs whose call was not known: done with once it is, or once the book has given them up.

        And what must not be deleted before all that it brought about is told: were we killed, nobody else would know.
        """
        now = self._clock()
        still: list[tuple[float, Found, LegReported]] = []
        ends: list[Found] = []
        results: list[str] = []
        for until, found, fact in source.waiting:
            if source.deletes and self._engine.owes(fact):
                still.append((until, found, fact))
            elif self._engine.placed(fact):
                results.append(Told.TAKEN.value)
                ends.append(found)
            elif now >= until:
                results.append("without_call")
                ends.append(found)
            else:
                still.append((until, found, fact))
        if ends:
            self._engine.flush(_FLUSH_S)
        for result in results:
            self._counts.taken(source.kind, result)
        source.waiting = still
        self._finish(source, ends)

    # -- across restarts ---------------------------------------------------------------------------------------------

    def _save(self, *, now: bool = False) -> None:
        """Keeps the marks on the disk, now and then."""
        if not now and self._clock() - self._save_s < _SAVE_EVERY_S:
            return
        now_ns = self._now_ns()
        # A stamp in the future would hide what is written until then.
        marks = {str(s.folder.directory): min(s.folder.mark_ns, now_ns) for s in self._sources if s.kind == FOLDER}
        if marks != self._saved and self._in_thread(lambda: self._marks.save(marks)):
            self._saved = marks
        self._save_s = self._clock()
