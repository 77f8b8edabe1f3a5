"""One group of writes and how it is committed: what runs in the writer's native thread, and touches no hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import peewee

import callengine
from callengine.calls.call import Call
from callengine.calls.leg import Note
from callengine.calls.machine import Published
from callengine.calls.record import CallRecord
from callengine.errors import StoreUnavailable
from callengine.store import analyses, faults, outbox, rows, sql
from callengine.store.database import Store, discard, transaction

_MAX_COUNTERS: Final = 100_000
_MAX_CAMPAIGNS: Final = 10_000
_MAX_DELICATE: Final = 10_000
_MARK_EVERY_US: Final = 1_000_000
_BUSY_TIMEOUT_S: Final = 1.0
_JOB_ATTEMPTS: Final = 3

UNKNOWN: Final = "the connection broke during the commit; whether it took effect is unknown"


@dataclass(slots=True, eq=False)
class Entry:
    """All that waits to be written of one call. ``number`` orders them; the rows are made once, in the thread."""

    number: int
    call_id: str
    since_us: int
    call: Call | None = None
    record: CallRecord | None = None
    notes: list[Note] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    row: rows.Row | None = None
    event_rows: list[rows.Row] | None = None
    outbox_rows: list[rows.Row] | None = None

    @property
    def size(self) -> int:
        """In rows."""
        return (self.call is not None) + len(self.notes) + len(self.published)


@dataclass(slots=True, eq=False)
class Job:
    """A function to run in a transaction. ``error`` and ``value`` are set in the thread, ``given_up`` on the hub."""

    fn: Callable[[peewee.Database], Any]
    mark: int
    value: Any = None
    error: Exception | None = None
    attempts: int = 0
    given_up: bool = False


@dataclass(slots=True, eq=False)
class Group:
    """What is committed together. ``complete_us``: when it is, the store has everything up to then."""

    entries: list[Entry]
    jobs: list[Job]
    taken_us: int
    complete_us: int
    upto: int


@dataclass(slots=True, frozen=True)
class Result:
    """What came of an attempt. ``reason`` is None where it was committed. ``refused``: (call id, the error's name)."""

    reason: str | None
    seconds: float
    refused: tuple[tuple[str, str], ...] = ()


class Committer:
    """Owns the write connection. Each method runs in the writer's one thread.

    ``looks_at_recordings``: those that calls tell of get a row, to be looked at; ``analyses_calls``: so do such calls.
    """

    def __init__(self, store: Store, *, looks_at_recordings: bool = False, analyses_calls: bool = False) -> None:
        self._store = store
        self._recordings = looks_at_recordings
        self._analyses = analyses_calls
        self._db: peewee.Database | None = None
        self._pack = rows.id_for(store.kind)
        self._counters: dict[str, int] = {}
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
            self._number(db, group.entries)
            try:
                refused = self._attempt(db, group, careful=False)
            except Exception as error:
                if not faults.refuses_row(error):
                    raise
                refused = self._attempt(db, group, careful=True)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing may be lost and the writer has to go on
            return Result(self._failed(group, error), time.perf_counter() - started)
        return Result(None, time.perf_counter() - started, tuple(refused))

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
        with transaction(db):
            if group.jobs or any(entry.published for entry in group.entries):
                # Before any row: two engines that wait for each other's would be a deadlock.
                outbox.lock(db)
            bulk = [] if careful else [e for e in group.entries if e.call_id not in self._delicate]
            self._write(db, bulk, group.taken_us)
            if len(bulk) < len(group.entries):
                done = set(map(id, bulk))
                refused = self._write_each(db, (e for e in group.entries if id(e) not in done), group.taken_us)
            self._mark(db, group)
            for job in group.jobs:
                self._run(db, job)
            self._committing = True
        self._committing = False
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
                    entry.row = rows.call_row(call, entry.record, self._pack)
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

    def _mark(self, db: peewee.Database, group: Group) -> None:
        """Up to when the store has everything of our switches, for those who only read."""
        for entry in group.entries:
            if entry.call is not None:
                self._marked_us.setdefault(entry.call.node, 0)
        due = [n for n, marked_us in self._marked_us.items() if group.taken_us - marked_us >= _MARK_EVERY_US]
        rows.ENGINES.run(db, [(node, callengine.__version__, group.complete_us) for node in due])
        self._marked_us.update(dict.fromkeys(due, group.taken_us))

    def _run(self, db: peewee.Database, job: Job) -> None:
        """A job's error is its caller's alone, unless it tells that the connection is gone."""
        if job.given_up or job.attempts >= _JOB_ATTEMPTS:
            job.error = job.error or StoreUnavailable("it failed each time that this was tried")
            return
        job.attempts += 1
        job.error = None
        try:
            with db.savepoint():
                job.value = job.fn(db)
        except Exception as error:
            if faults.disconnects(error):
                raise
            reason = faults.away(error)
            job.error = error if reason is None else StoreUnavailable(reason)

    # -- the timeline's numbers --------------------------------------------------------------------------------------

    def _number(self, db: peewee.Database, entries: Sequence[Entry]) -> None:
        """Numbers each note once: a repeated attempt, even after a commit of unknown outcome, adds none twice."""
        fresh = [e for e in entries if e.notes and e.event_rows is None]
        unknown = [e.call_id for e in fresh if e.call_id not in self._counters]
        while self._counters and len(self._counters) + len(unknown) > _MAX_COUNTERS:
            del self._counters[next(iter(self._counters))]
        unknown = [e.call_id for e in fresh if e.call_id not in self._counters]
        if unknown:
            self._counters.update(dict.fromkeys(unknown, 0) | self._last_numbers(db, unknown))
        for entry in fresh:
            n = self._counters[entry.call_id]
            packed = self._pack(entry.call_id)
            entry.event_rows = [rows.event_row(packed, n + i, note) for i, note in enumerate(entry.notes, 1)]
            self._counters[entry.call_id] = n + len(entry.notes)

    def _last_numbers(self, db: peewee.Database, call_ids: Sequence[str]) -> dict[str, int]:
        if self._store.kind == "postgres":
            text = (
                "SELECT call_id::text, max(n) FROM call_event WHERE call_id = ANY(%s::uuid[]) AND n < %s"
                " GROUP BY call_id"
            )
            return dict(sql.query(db, text, (list(call_ids), rows.FIRST_OUTSIDE_NOTE)).fetchall())
        text = "SELECT max(n) FROM call_event WHERE call_id = ? AND n < ?"
        keys = [(i, (self._pack(i), rows.FIRST_OUTSIDE_NOTE)) for i in call_ids]
        return {i: sql.query(db, text, key).fetchone()[0] or 0 for i, key in keys}


def _cleaned(entry: Entry, pack: Callable[[str], Any]) -> Entry:
    """A copy that any database can hold; what it was stays in memory as it is."""
    call = None if entry.call is None else rows.cleaned_struct(entry.call)
    return Entry(
        number=entry.number,
        call_id=entry.call_id,
        since_us=entry.since_us,
        call=call,
        notes=entry.notes,
        published=[p._replace(record=rows.cleaned_struct(p.record)) for p in entry.published],
        row=None if call is None else rows.cleaned(rows.call_row(call, None, pack)),
        event_rows=None if entry.event_rows is None else [rows.cleaned(row) for row in entry.event_rows],
    )
