"""The writer: one greenlet that gathers what is dirty, one native thread that commits it. Handing over never waits.

The row of a call is written whole, the last state wins, and what belongs to one call (row, timeline, outbox) is always
committed together. A database that is away, locked or full loses nothing: a group is tried again until it is committed.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, TypeVar, cast

import gevent
import peewee
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from callengine.calls.call import Call
from callengine.calls.leg import Note
from callengine.calls.machine import Noted, Published
from callengine.calls.record import CallRecord
from callengine.errors import LeaseHeld, StoreUnavailable
from callengine.store import faults
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.group import Again, Committer, Entry, Group, Guard, Job, Result
from callengine.store.refused import Refused
from callengine.threads import Threads

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_ENTRIES: Final = 1000
_MAX_JOBS: Final = 1000
# Some 110 MB; a quarter of an hour at 200 events a second. Beyond it events wait in the spool, on the disk alone.
_MAX_ROWS: Final = 200_000
# Two groups: one that is being committed, and the next.
_ENOUGH_ROWS: Final = 20_000
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 2.0
_IDLE_LOOK_S: Final = 5.0
_SILENCE_S: Final = 5.0
# Of the interval. Each commit writes a page or two of each index, however little it has; where much comes, what is
# written a second time within the interval is written once.
_GATHERED: Final = 0.4
_GATHERED_BUSY: Final = 0.9
_BUSY_ENTRIES: Final = 400
# While single calls are waited for, what is under way must be over soon: so many, or a quarter of what waits.
_WANTED_ENTRIES: Final = 32
_WANTED_PART: Final = 4
_WANTED_FOR_S: Final = 1.0
_ABANDONED: Final = "another engine has the switch"


class Writer:
    """``run`` is to be supervised (``once``: it ends after ``stop``); ``start`` runs it without a supervisor.

    ``on_state(ok, reason)`` tells when the database stops or resumes taking writes, ``on_commit(seconds, rows)`` each
    commit, ``on_refused(call_id, error)`` a row that no database would take. On the hub: they must not wait.
    ``recordings``, ``analyses``: see ``Committer``.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_state: Callable[[bool, str | None], None] | None = None,
        on_commit: Callable[[float, int], None] | None = None,
        on_refused: Callable[[str, str], None] | None = None,
        now_us: Callable[[], int] = clock_us,
        clock: Callable[[], float] = time.monotonic,
        max_rows: int = _MAX_ROWS,
        recordings: bool = False,
        analyses: bool = False,
        on_published: Callable[[], None] = lambda: None,
    ) -> None:
        self._interval_s = store.settings.commit_interval_ms / 1000
        self._on_state, self._on_commit, self._on_refused = on_state, on_commit, on_refused
        self._now_us, self._clock = now_us, clock
        self.on_published = on_published
        """Called on the hub when something may have come into the outbox, or be said of a recording; must not wait."""
        self.on_set_aside: Callable[[Refused, str], None] = lambda rows, error: None
        """Called on the hub with all that the database would not take of a call, and the error; must not wait."""
        self._committer = Committer(store, looks_at_recordings=recordings, analyses_calls=analyses)
        # With Postgres the thread has little to do itself, and Postgres would wait for that.
        self._pool_class = ThreadPool if store.kind == "postgres" else Threads
        self._thread: ThreadPool | None = None
        self._running: AsyncResult[Any] | None = None
        self._dirty: dict[str, Entry] = {}
        self._jobs: deque[Job] = deque()
        self._ahead: deque[Job] = deque()
        self._group: Group | None = None
        self._first: Group | None = None
        self._attempted: Group | None = None
        self._waiters: list[tuple[int, Event]] = []
        self._wanted: list[tuple[Entry, Event]] = []
        self._wanted_s = float("-inf")
        self._alone = False
        self._on_lost: Callable[[LeaseHeld], None] = lambda error: None
        self._on_again: Callable[[Call, Call, list[Note]], None] = lambda earlier, again, notes: None
        self._number = 0
        self._upto = 0
        self._abandoned = False
        self._rows = 0
        self._failures = 0
        self._last_entries = 0
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._stopping = False
        self._stopped = Event()
        self._work = Event()
        self._urgent = Event()
        self._committed_at = time.monotonic()
        self.max_rows = max_rows
        self.reason: str | None = None
        """Why the database takes no writes at the moment; None while it does."""
        self.commits = 0
        self.refused = 0
        """Calls that were set aside since no database would take them."""
        self.dropped_notes = 0
        """Entries of timelines that were dropped since far too many rows waited."""

    # -- what is handed to it; none of it waits ----------------------------------------------------------------------

    def put(self, call: Call, record: CallRecord | None = None) -> None:
        """Mark a call's row dirty; the last state wins. Without ``record`` it is derived in the thread."""
        if self._abandoned:
            return
        entry = self._entry(call.id)
        if entry.call is None:
            self._rows += 1
        entry.call, entry.record = call, record

    def note(self, noted: Noted) -> None:
        """Append to a call's timeline."""
        if self._abandoned:
            return
        if self._rows >= 2 * self.max_rows:
            if not self.dropped_notes:
                log.error("%d rows wait for the database: timelines are no longer kept for now", self._rows)
            self.dropped_notes += 1
            return
        self._entry(noted.call_id).notes.append(noted.note)
        self._rows += 1

    def publish(self, published: Published) -> None:
        """Put a milestone into the outbox, in the transaction of the call's row."""
        if self._abandoned:
            return
        self._entry(published.call_id).published.append(published)
        self._rows += 1

    def _entry(self, call_id: str) -> Entry:
        entry = self._dirty.get(call_id)
        if entry is None:
            self._number += 1
            entry = self._dirty[call_id] = Entry(self._number, call_id, self._clock())
            if not self._work.is_set():
                self._work.set()
        return entry

    # -- what waits for it -------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> None:
        """Returns when all that was put before is committed. Raises StoreUnavailable if that takes longer, or if it is
        not going to be.
        """
        if self._abandoned:
            raise StoreUnavailable(_ABANDONED)
        if not self._dirty and self._group is None:
            return
        done = Event()
        self._waiters.append((self._number, done))
        self._wait_for(done, timeout_s)

    def flush_call(self, call_id: str, timeout_s: float) -> None:
        """The same of what was put of one call, which goes ahead of the others'."""
        if self._abandoned:
            raise StoreUnavailable(_ABANDONED)
        entry = self._dirty.get(call_id)
        if entry is None and self._group is not None:
            entry = next((each for each in self._group.entries if each.call_id == call_id), None)
        if entry is None:
            return
        done = Event()
        self._wanted.append((entry, done))
        self._wanted_s = self._clock()
        self._wait_for(done, timeout_s)

    def _wait_for(self, done: Event, timeout_s: float) -> None:
        self._hurry()
        if not done.wait(timeout_s):
            self._waiters = [(number, event) for number, event in self._waiters if event is not done]
            self._wanted = [(entry, event) for entry, event in self._wanted if event is not done]
            raise StoreUnavailable(self.reason or "it has not committed in time")
        if self._abandoned:
            raise StoreUnavailable(_ABANDONED)

    def execute(self, fn: Callable[[peewee.Database], T], timeout_s: float, *, ahead: bool = False) -> T:
        """The result of ``fn(db)``, run in the next transaction behind all that was put before, and committed.

        ``ahead``: in the very next transaction, whatever else waits, and however long that has failed; for what changes
        no call and tells nothing. Raises what ``fn`` raises (then nothing of it is kept), and StoreUnavailable. ``fn``
        runs in the writer's thread, again if the commit failed: it must change nothing but the database.
        """
        jobs = self._ahead if ahead else self._jobs
        if len(jobs) >= _MAX_JOBS:
            raise StoreUnavailable("too many writes wait for it")
        if self._stopped.is_set():
            raise StoreUnavailable("nothing is written any more")
        job = Job(fn, self._number, Event())
        jobs.append(job)
        self._hurry()
        if not job.done.wait(timeout_s):
            job.given_up = True
            raise StoreUnavailable(self.reason or "it has not committed in time")
        if job.error is not None:
            raise job.error
        return cast(T, job.value)

    def _hurry(self) -> None:
        self._urgent.set()
        self._work.set()

    def mark(self) -> int:
        """Stands for all that was handed over up to now; see ``committed``."""
        return self._number

    def committed(self, mark: int) -> bool:
        """Whether everything that ``mark`` stands for is committed. Never after ``abandon``: that was given up."""
        if self._abandoned:
            return False
        return self._upto >= mark or (not self._dirty and self._group is None)

    # -- what can be seen of it --------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Rows that wait to be committed, also those that are being committed."""
        return self._rows

    @property
    def full(self) -> bool:
        """So much waits that nothing should be added that can wait elsewhere.

        Of a database that takes writes that is much less than memory is bounded by: it has enough to do, and who adds
        more now only keeps the processor from the thread that commits, whose priority is lower (with SQLite).
        """
        return self._rows >= self.max_rows or (self._rows >= _ENOUGH_ROWS and self.reason is None)

    @property
    def last_commit_age_s(self) -> float:
        """Since the last commit."""
        return time.monotonic() - self._committed_at

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest of what waits has waited; 0 where nothing does."""
        oldest = next(iter(self._group.entries), None) if self._group is not None else None
        return self._age_s(oldest or next(iter(self._dirty.values()), None))

    def _age_s(self, entry: Entry | None) -> float:
        return 0.0 if entry is None else self._clock() - entry.since_s

    @property
    def data_as_of(self) -> int:
        """The moment (µs, our clock) up to which the store has everything."""
        # From an age: a clock that is set meanwhile is right again at once.
        return self._now_us() - int(self.oldest_age_s * 1_000_000)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a greenlet of its own."""
        self._greenlet = gevent.spawn(self.run)

    def run(self) -> None:
        """Commits until ``stop``. May be called again after it was killed: what was being committed is not lost."""
        if self._thread is None:
            self._thread = self._pool_class(1)
        while (group := self._next()) is not None:
            result = self._attempt(group)
            if result.reason is None:
                self._committed(group, result)
            elif result.lost is not None:
                self._lost(group, result.lost)
            else:
                self._failed(group, result.reason)
                self._pause()
        self._thread.spawn(self._committer.close).wait(1.0)
        self._thread.kill()
        self._thread = None
        self._stopped.set()

    def _next(self) -> Group | None:
        """What is to be attempted now; None when there is nothing more, for good."""
        while True:
            if self._attempted is not None:
                return self._attempted
            self._take_ahead()
            if self._first is not None or self._group is not None:
                return self._first or self._group
            if self._dirty or self._jobs:
                self._gather()
                if not self._ahead:
                    self._take()
            elif self._stopping:
                return None
            else:
                self._work.clear()
                self._work.wait(_IDLE_LOOK_S)

    def stop(self, timeout_s: float) -> bool:
        """Commit what waits, then end. False if that was not done in time: what is left is lost with the process."""
        self._stopping = True
        self._hurry()
        if self._stopped.wait(timeout_s):
            return True
        log.error(
            "the writer did not finish within %g s: %d rows are not committed (%s)", timeout_s, self._rows, self.reason
        )
        return False

    def guard(self, guard: Guard, on_lost: Callable[[LeaseHeld], None]) -> None:
        """From now on calls are written only while ``guard`` says that they are ours.

        Once it does not, they are abandoned, and ``on_lost(error)`` is called, on the hub; it must not wait.
        """
        self._committer.guard = guard
        self._on_lost = on_lost

    def rejoin_with(self, on_again: Callable[[Call, Call, list[Note]], None]) -> None:
        """From now on a call whose channel is that of another one in the store is not refused: ``on_again(earlier,
        again, notes)`` is called, on the hub, to make one of both. ``earlier`` is the one in the store, ``notes`` are
        those of ``again``; nothing of it was written, and nothing more is under its id. It must not wait.
        """
        self._committer.rejoins = True
        self._on_again = on_again

    def abandon(self) -> None:
        """Write nothing more of calls: these rows are another engine's now. What is executed goes on."""
        self._abandoned = True
        self._committer.abandon()
        self._dirty.clear()
        self._rows = 0
        if self._group is not None and self._group is not self._attempted:
            self._group.entries.clear()
        waiting = [event for _, event in self._waiters] + [event for _, event in self._wanted]
        self._waiters, self._wanted = [], []
        for event in waiting:
            event.set()

    def _gather(self) -> None:
        """Let what comes with the first come along; not if somebody waits, or if it has waited for the last commit."""
        if self._stopping or self._jobs or self._waiters or self._wanted:
            return
        left_s = self._left_s()
        if left_s > 0:
            self._urgent.clear()
            self._urgent.wait(left_s)

    def _left_s(self) -> float:
        """How long the oldest of what waits may do so yet."""
        share = _GATHERED_BUSY if self._last_entries > _BUSY_ENTRIES else _GATHERED
        return self._interval_s * share - self.oldest_age_s

    def _take(self) -> None:
        dirty = self._dirty
        keys = {e.call_id: None for e, _ in islice(self._wanted, _MAX_ENTRIES) if dirty.get(e.call_id) is e}
        due = self._jobs or self._waiters or self._left_s() <= 0
        # By itself, but not twice where others are due.
        self._alone = bool(keys) and not (due and self._alone)
        if not self._alone:
            limit = _MAX_ENTRIES
            if self._clock() - self._wanted_s < _WANTED_FOR_S:
                limit = min(limit, max(_WANTED_ENTRIES, len(dirty) // _WANTED_PART))
            keys.update(dict.fromkeys(islice(dirty, limit)))
        entries = [dirty.pop(key) for key in keys]
        upto = next(iter(dirty.values())).number - 1 if dirty else self._number
        jobs: list[Job] = []
        while self._jobs and self._jobs[0].mark <= upto and len(jobs) < _MAX_JOBS:
            job = self._jobs.popleft()
            if not job.given_up:
                jobs.append(job)
        now_us = self._now_us()
        complete_us = now_us - int(self._age_s(next(iter(self._dirty.values()), None)) * 1_000_000)
        self._group = Group(entries, jobs, now_us, complete_us, upto)

    def _take_ahead(self) -> None:
        jobs = [job for job in self._ahead if not job.given_up]
        self._ahead.clear()
        if self._first is not None:
            self._first.jobs += jobs
        elif jobs:
            self._first = Group([], jobs, self._now_us(), self.data_as_of, self._upto, ahead=True)

    def _attempt(self, group: Group) -> Result:
        assert self._thread is not None
        if self._running is None:
            self._attempted = group
            self._running = self._thread.spawn(self._committer.commit, group)
        while not self._running.wait(_SILENCE_S) and not self._running.ready():
            # It will end by itself, by the bounds of its connection; until then it is to be known.
            self._tell_failure(faults.TIMED_OUT)
        running, self._running = self._running, None
        self._attempted = None
        return cast(Result, running.get())

    def _committed(self, group: Group, result: Result) -> None:
        self._put_away(group)
        self._upto = max(self._upto, group.upto)
        if not group.ahead:
            self._last_entries = len(group.entries)
        size = sum(entry.size for entry in group.entries)
        if not self._abandoned:
            self._rows -= size
        self._committed_at = time.monotonic()
        self.commits += 1
        self._release(group)
        self._tell_unwritten(group, result)
        if self._group is None:  # else what goes ahead was taken, and the rest has yet to be
            self._failures = 0
            if self.reason is not None:
                log.warning("the database takes writes again; %d rows wait", self._rows)
                self._tell(None)
        if self._on_commit is not None:
            self._on_commit(result.seconds, size)
        told = any(e.published or (e.call is not None and e.call.recordings) for e in group.entries)
        if told or (group.jobs and not group.ahead):
            self.on_published()

    def _release(self, group: Group) -> None:
        """Whoever waits for its commit."""
        for job in group.jobs:
            job.done.set()
        due = [event for number, event in self._waiters if number <= group.upto]
        self._waiters = [(number, event) for number, event in self._waiters if number > group.upto]
        if self._wanted:
            written = set(map(id, group.entries))
            due += [event for entry, event in self._wanted if id(entry) in written]
            self._wanted = [wanted for wanted in self._wanted if id(wanted[0]) not in written]
        for event in due:
            event.set()

    def _tell_unwritten(self, group: Group, result: Result) -> None:
        for call_id, error in result.refused:
            self.refused += 1
            log.error("the database refuses call %s (%s); it is set aside", call_id, error, extra={"call_id": call_id})
            if self._on_refused is not None:
                self._on_refused(call_id, error)
            self._set_aside(next(entry for entry in group.entries if entry.call_id == call_id), error)
        for again in result.again:
            self._again(again)

    def _again(self, again: Again) -> None:
        """What came in meanwhile under the same id belongs to it."""
        entry, call = again.entry, again.entry.call
        notes = entry.notes
        if (later := self._dirty.pop(entry.call_id, None)) is not None:
            self._rows -= later.size
            call, notes = later.call or call, notes + later.notes
        assert call is not None
        log.warning(
            "channel %s of call %s lives again", call.fs_uuid, again.earlier.id, extra={"call_id": again.earlier.id}
        )
        self._on_again(again.earlier, call, [n for n in notes if (n.name, n.at_us, n.leg) not in again.noted])

    def _put_away(self, group: Group) -> None:
        if group.ahead:
            self._first = None
        else:
            self._group = None

    def _lost(self, group: Group, error: LeaseHeld) -> None:
        """The rows are not ours to write any more; who waits for something else is served all the same."""
        was_known, rows = self._abandoned, self._rows
        self.abandon()
        group.entries.clear()
        self._settle_jobs(group)
        if not was_known:
            log.error("another engine (%s) has %s now: %d rows of ours are not written", error.holder, error.node, rows)
            self._on_lost(error)

    def _set_aside(self, entry: Entry, error: str) -> None:
        rows = Refused(
            call_id=entry.call_id, call=entry.call, notes=tuple(entry.notes), published=tuple(entry.published)
        )
        self.on_set_aside(rows, error)

    def _failed(self, group: Group, reason: str) -> None:
        self._failures += 1
        self._tell_failure(reason)
        if self._abandoned:
            group.entries.clear()
        self._settle_jobs(group)

    def _tell_failure(self, reason: str) -> None:
        if reason != self.reason:
            log.error("the database takes no writes: %s; %d rows wait, nothing is lost", reason, self._rows)
            self._tell(reason)

    def _settle_jobs(self, group: Group) -> None:
        """After a failed attempt: who got an answer has it, who gave up is forgotten, the others are tried again."""
        for job in group.jobs:
            if job.error is not None:
                job.done.set()
        group.jobs = [job for job in group.jobs if job.error is None and not job.given_up]

    def _tell(self, reason: str | None) -> None:
        self.reason = reason
        if self._on_state is not None:
            self._on_state(reason is None, reason)

    def _pause(self) -> None:
        bound = min(_BACKOFF_MIN_S * 2 ** min(self._failures - 1, 10), _BACKOFF_MAX_S)
        gevent.sleep(random.uniform(bound / 2, bound))  # noqa: S311  jitter, not a secret
