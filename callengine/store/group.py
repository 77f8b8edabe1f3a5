"""One group of writes and how it is committed: what runs in the writer's native thread, and touches no hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec
import peewee
from gevent.event import Event

import callengine
from callengine.calls.call import Call
from callengine.calls.leg import Note
from callengine.calls.machine import Published
from callengine.calls.record import CallRecord
from callengine.errors import LeaseHeld, StoreUnavailable
from callengine.store import analyses, faults, outbox, rows, sql
from callengine.store.database import Store, discard, transaction
from callengine.store.schema import text_of

replace = msgspec.structs.replace

_MAX_COUNTERS: Final = 100_000
_MAX_CAMPAIGNS: Final = 10_000
_MAX_DELICATE: Final = 10_000
_MARK_EVERY_US: Final = 1_000_000
_BUSY_TIMEOUT_S: Final = 1.0
_JOB_ATTEMPTS: Final = 3
_CHUNK: Final = 500

UNKNOWN: Final = "the connection broke during the commit; whether it took effect is unknown"


class Guard(Protocol):
    """What tells whether rows are still ours to write (``lease.Fence``). Called in the thread."""

    def check(self, db: peewee.Database) -> None:
        """Raises LeaseHeld where they are another's; else they are ours until the transaction ends."""

    def committed(self) -> None:
        """That transaction was committed."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """All that waits to be written of one call. ``number`` orders them; the rows are made once, in the thread."""

    number: int
    call_id: str
    since_s: float
    call: Call | None = None
    record: CallRecord | None = None
    notes: list[Note] = []
    published: list[Published] = []
    row: rows.Row | None = None
    event_rows: list[rows.Row] | None = None
    outbox_rows: list[rows.Row] | None = None

    @property
    def size(self) -> int:
        """In rows."""
        return (self.call is not None) + len(self.notes) + len(self.published)


@dataclass(slots=True, eq=False)
class Job:
    """A function to run in a transaction. ``error`` and ``value`` are set in the thread, ``given_up`` on the hub.

    ``done`` is the hub's, to tell who waits.
    """

    fn: Callable[[peewee.Database], Any]
    mark: int
    done: Event
    value: Any = None
    error: Exception | None = None
    attempts: int = 0
    given_up: bool = False


@dataclass(slots=True, eq=False)
class Group:
    """What is committed together. ``complete_us``: when it is, the store has everything up to then.

    ``ahead``: jobs alone, which change nothing that a reader is told of, and wait for nobody.
    """

    entries: list[Entry]
    jobs: list[Job]
    taken_us: int
    complete_us: int
    upto: int
    ahead: bool = False


class Unmakeable(ValueError):
    """Of what is known of a call no row can be made: a mistake of ours, for which no other call is to wait."""


class Again(NamedTuple):
    """A call that was not written, since the store has one of its channel already, which the book had forgotten.

    ``earlier`` is that one, ``noted`` what stands in its timeline: (name, µs, leg).
    """

    entry: Entry
    earlier: Call
    noted: set[tuple[str, int, str]]


@dataclass(slots=True, frozen=True)
class Result:
    """What came of an attempt. ``reason`` is None where it was committed. ``refused``: (call id, the error's name).

    ``again``: calls that are not written as they are. ``lost``: the rows are another engine's to write now.
    """

    reason: str | None
    seconds: float
    refused: tuple[tuple[str, str], ...] = ()
    again: tuple[Again, ...] = ()
    lost: LeaseHeld | None = None


class Committer:
    """Owns the write connection. Each method runs in the writer's one thread.

    ``looks_at_recordings``: those that calls tell of get a row, to be looked at; ``analyses_calls``: so do such calls.
    ``guard``, once it is set, is checked in each transaction that writes of calls. ``rejoins``: somebody makes one call
    of those of ``Result.again``; else they are refused, or dropped as stale.
    """

    def __init__(self, store: Store, *, looks_at_recordings: bool = False, analyses_calls: bool = False) -> None:
        self._store = store
        self._recordings = looks_at_recordings
        self._analyses = analyses_calls
        self.guard: Guard | None = None
        self.rejoins = False
        self._again: dict[str, Again] = {}
        self._db: peewee.Database | None = None
        self._pack = rows.id_for(store.kind)
        self._counters: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._campaigns: set[tuple[str, str]] = set()
        self._delicate: dict[str, None] = {}
        self._marked_us: dict[str, int] = {}
        self._committing = False

    def commit(self, group: Group) -> Result:
        """One attempt. A failed one leaves nothing behind and may be repeated; all of it is idempotent but the jobs."""
        started = time.perf_counter()
        self._committing = False
        try:
            db = self._connected()
            self._again.clear()
            self._number(db, group.entries)
            try:
                refused = self._attempt(db, group, careful=False)
            except Exception as error:
                if not faults.refuses_row(error):
                    raise
                refused = self._attempt(db, group, careful=True)
        except LeaseHeld as error:
            # Nothing is wrong with the connection, and jobs that ran are to run again without what was to come before.
            self._committing = False
            self._failed(group, error)
            return Result(str(error), time.perf_counter() - started, lost=error)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing may be lost and the writer has to go on
            return Result(self._failed(group, error), time.perf_counter() - started)
        return Result(None, time.perf_counter() - started, tuple(refused), tuple(self._again.values()))

    def close(self) -> None:
        """Gives the connection back."""
        if self._db is not None:
            discard(self._db)
            self._db = None

    def _connected(self) -> peewee.Database:
        if self._db is None:
            timeout_s = min(_BUSY_TIMEOUT_S, self._store.settings.busy_timeout_ms / 1000)
            db = self._store.connection(readonly=False, busy_timeout_s=timeout_s)
            db.connect()
            self._db = db
        return self._db

    def _failed(self, group: Group, error: Exception) -> str:
        unknown = self._committing
        self._campaigns.clear()
        for job in group.jobs:
            job.value = None
            job.error = StoreUnavailable(UNKNOWN) if unknown else None
        self.close()
        if isinstance(error, StoreUnavailable):
            return str(error)
        return faults.away(error) or f"it answers with {type(faults.driver_error(error)).__name__}"

    # -- the transaction ---------------------------------------------------------------------------------------------

    def _attempt(self, db: peewee.Database, group: Group, *, careful: bool) -> list[tuple[str, str]]:
        refused: list[tuple[str, str]] = []
        marks = self._marks(group)
        guard = self.guard if group.entries or marks else None
        with self._store.turn(_BUSY_TIMEOUT_S), transaction(db):
            if (group.jobs and not group.ahead) or any(entry.published for entry in group.entries):
                # Before any row: two engines that wait for each other's would be a deadlock.
                outbox.lock(db)
            if guard is not None:
                guard.check(db)
            entries = [e for e in group.entries if e.call_id not in self._again] if self._again else group.entries
            bulk = [] if careful else [e for e in entries if e.call_id not in self._delicate]
            if bulk:
                with sql.pipelined(db):
                    self._write(db, bulk, group.taken_us)
            if len(bulk) < len(entries):
                done = set(map(id, bulk))
                refused = self._write_each(db, (e for e in entries if id(e) not in done), group.taken_us)
            rows.ENGINES.run(db, marks)
            for job in group.jobs:
                self._run(db, job)
            self._committing = True
        self._committing = False
        if self.rejoins:
            self._remember_written(group.entries)
        self._marked_us.update(dict.fromkeys((mark[0] for mark in marks), group.taken_us))
        if guard is not None:
            guard.committed()
        return refused

    def _write(self, db: peewee.Database, entries: Sequence[Entry], now_us: int) -> None:
        calls: list[rows.Row] = []
        events: list[rows.Row] = []
        milestones: list[rows.Row] = []
        recorded: list[Call] = []
        campaigns: set[tuple[str, str]] = set()
        for entry in entries:
            if (call := entry.call) is not None:
                if entry.row is None:
                    entry.row = _row_of(call, entry.record, self._pack)
                calls.append(entry.row)
                # Held: whose it is may still change, and a campaign must not be left behind with another tenant.
                if not call.held:
                    if call.campaign is not None:
                        campaigns.add((call.tenant_id, call.campaign))
                    if call.recordings and self._recordings:
                        recorded.append(call)
            if entry.event_rows:
                events += entry.event_rows
            if entry.published:
                if entry.outbox_rows is None:
                    entry.outbox_rows = [rows.outbox_row(p, now_us, self._pack) for p in entry.published]
                milestones += entry.outbox_rows
        campaigns -= self._campaigns
        found = [(self._pack(tenant), campaign, now_us) for tenant, campaign in sorted(campaigns)]
        rows.CAMPAIGNS.run(db, found)
        rows.CALLS.run(db, calls)
        rows.EVENTS.run(db, events)
        if recorded:
            claims = [rows.recording_row(c, r, now_us, self._pack) for c in recorded for r in c.recordings]
            rows.RECORDINGS.run(db, claims)
            if self._analyses:
                rows.ANALYSES.run(db, [rows.analysis_row(c, now_us, self._pack) for c in recorded])
                analyses.mark_pending(db, [c.id for c in recorded])
        outbox.add_milestones(db, milestones)
        self._remember(campaigns)

    def _write_each(self, db: peewee.Database, entries: Iterable[Entry], now_us: int) -> list[tuple[str, str]]:
        """Each entry by itself: as it is, else cleaned, else set aside, so that it stops nothing behind it."""
        refused = []
        for entry in entries:
            for attempt in (entry, None):
                try:
                    with db.savepoint():
                        self._write(db, (attempt or _cleaned(entry, self._pack),), now_us)
                    break
                except Exception as error:
                    if not faults.refuses_row(error):
                        raise
                    if self._has_earlier(db, entry):
                        break
                    if len(self._delicate) >= _MAX_DELICATE:
                        del self._delicate[next(iter(self._delicate))]
                    self._delicate[entry.call_id] = None
                    if attempt is None:
                        refused.append((entry.call_id, type(faults.driver_error(error)).__name__))
        return refused

    def _remember(self, campaigns: set[tuple[str, str]]) -> None:
        """For the next groups; forgotten again where this one fails."""
        if len(self._campaigns) > _MAX_CAMPAIGNS:
            self._campaigns.clear()
        self._campaigns |= campaigns

    def _marks(self, group: Group) -> list[rows.Row]:
        """Up to when the store has everything of our switches, for those who only read; where it is due to be said."""
        for entry in group.entries:
            if entry.call is not None:
                self._marked_us.setdefault(entry.call.node, 0)
        due = [n for n, marked_us in self._marked_us.items() if abs(group.taken_us - marked_us) >= _MARK_EVERY_US]
        return [(node, callengine.__version__, group.complete_us) for node in due]

    def abandon(self) -> None:
        """The rows are another engine's; so is what is said of them. May be called in any thread."""
        self._marked_us = {}

    def _run(self, db: peewee.Database, job: Job) -> None:
        """A job's error is its caller's alone, unless the connection is gone, or with it all that was done before."""
        if job.given_up or job.attempts >= _JOB_ATTEMPTS:
            job.error = job.error or StoreUnavailable("it failed each time that this was tried")
            return
        job.attempts += 1
        job.error = None
        try:
            with db.savepoint():
                job.value = job.fn(db)
        except Exception as error:
            if faults.disconnects(error) or _was_rolled_back(db):
                raise
            reason = faults.away(error)
            job.error = error if reason is None else StoreUnavailable(reason)

    # -- the timeline's numbers --------------------------------------------------------------------------------------

    def _number(self, db: peewee.Database, entries: Sequence[Entry]) -> None:
        """Numbers each note once: a repeated attempt, even after a commit of unknown outcome, adds none twice."""
        fresh = [e for e in entries if e.notes and e.event_rows is None]
        for entry in fresh:
            if entry.call is not None and self._written.get(entry.call_id, 0) > entry.call.seq:
                self._has_earlier(db, entry)
        unknown = [e.call_id for e in fresh if e.call_id not in self._counters]
        while self._counters and len(self._counters) + len(unknown) > _MAX_COUNTERS:
            del self._counters[next(iter(self._counters))]
        unknown = [e.call_id for e in fresh if e.call_id not in self._counters]
        if unknown:
            last = self._last_numbers(db, unknown)
            # Behind what is there: a call that goes on; or one that the book forgot, and began anew.
            for entry in fresh:
                if last.get(entry.call_id) and entry.call is not None and self._is_stale(db, entry.call):
                    self._has_earlier(db, entry)
            self._counters.update({i: last.get(i, 0) for i in unknown if i not in self._again})
        for entry in fresh:
            if entry.call_id in self._again:
                continue
            n = self._counters[entry.call_id]
            packed = self._pack(entry.call_id)
            entry.event_rows = [rows.event_row(packed, n + i, note) for i, note in enumerate(entry.notes, 1)]
            self._counters[entry.call_id] = n + len(entry.notes)

    def _last_numbers(self, db: peewee.Database, call_ids: Iterable[str]) -> dict[str, int]:
        """Of calls that have a timeline. Ids grow with the time of a call's beginning, so most are beyond all there."""
        newest = sql.query(db, "SELECT call_id FROM call_event ORDER BY call_id DESC LIMIT 1").fetchone()
        upto = "" if newest is None else text_of(newest[0])
        call_ids = [i for i in call_ids if i <= upto]
        if not call_ids:
            return {}
        if self._store.kind == "postgres":
            text = (
                "SELECT call_id::text, max(n) FROM call_event WHERE call_id = ANY(%s::uuid[]) AND n < %s"
                " GROUP BY call_id"
            )
            return dict(sql.query(db, text, (list(call_ids), rows.FIRST_OUTSIDE_NOTE)).fetchall())
        found: dict[str, int] = {}
        for start in range(0, len(call_ids), _CHUNK):
            chunk = {self._pack(i): i for i in call_ids[start : start + _CHUNK]}
            marks = ", ".join("?" * len(chunk))
            text = f"SELECT call_id, max(n) FROM call_event WHERE call_id IN ({marks}) AND n < ? GROUP BY call_id"  # noqa: S608
            found |= {chunk[i]: n for i, n in sql.query(db, text, (*chunk, rows.FIRST_OUTSIDE_NOTE)).fetchall()}
        return found

    # -- calls that the book had forgotten ---------------------------------------------------------------------------

    def _remember_written(self, entries: Sequence[Entry]) -> None:
        self._written.update({e.call_id: e.call.seq for e in entries if e.call is not None})
        while len(self._written) > _MAX_COUNTERS:
            del self._written[next(iter(self._written))]

    def _is_stale(self, db: peewee.Database, call: Call) -> bool:
        if not self.rejoins:
            return False
        found = sql.run(db, "SELECT seq FROM call WHERE id = ?", (self._pack(call.id),)).fetchone()
        return found is not None and found[0] > call.seq

    def _has_earlier(self, db: peewee.Database, entry: Entry) -> bool:
        """Whether the store has another call of the entry's channel, or the same from before; then it is in ``_again``.

        The entry has to be one that is new to the store.
        """
        if not self.rejoins or entry.call is None:
            return False
        text = "SELECT state FROM call WHERE node = ? AND fs_uuid = ?"
        found = sql.run(db, text, (entry.call.node, entry.call.fs_uuid)).fetchone()
        if found is None:
            return False
        try:
            earlier = rows.decode_state(found[0])
        except msgspec.MsgspecError:
            return False
        if earlier.id == entry.call_id and earlier.seq <= entry.call.seq:
            return False  # its own row, which is refused for another reason
        text = "SELECT name, at_us, leg FROM call_event WHERE call_id = ? AND n < ?"
        noted = sql.run(db, text, (self._pack(earlier.id), rows.FIRST_OUTSIDE_NOTE)).fetchall()
        self._again[entry.call_id] = Again(entry, earlier, {tuple(row) for row in noted})
        return True


def _was_rolled_back(db: peewee.Database) -> bool:
    """SQLite does so by itself, on a full disk for one; what follows would be committed alone."""
    return isinstance(db, peewee.SqliteDatabase) and not cast(Any, db).connection().in_transaction


def _row_of(call: Call, record: CallRecord | None, pack: Callable[[str], Any]) -> rows.Row:
    try:
        return rows.call_row(call, record, pack)
    except Exception as error:
        raise Unmakeable(type(error).__name__) from error


def _cleaned(entry: Entry, pack: Callable[[str], Any]) -> Entry:
    """A copy that any database can hold; what it was stays in memory as it is."""
    call = None if entry.call is None else rows.cleaned_struct(entry.call)
    return Entry(
        number=entry.number,
        call_id=entry.call_id,
        since_s=entry.since_s,
        call=call,
        notes=entry.notes,
        published=[replace(p, record=rows.cleaned_struct(p.record)) for p in entry.published],
        row=None if call is None else rows.cleaned(_row_of(call, None, pack)),
        event_rows=None if entry.event_rows is None else [rows.cleaned(row) for row in entry.event_rows],
    )
