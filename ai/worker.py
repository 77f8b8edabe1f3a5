"""The workers of the analysis: each claims a job, asks Gemini, and commits what stands.

Everything that lasts is in the job's row: a process that is killed leaves its jobs to be claimed again once their lease
is over, or as soon as it is back, and its uploads named there, to be deleted.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import gevent
import msgspec
import peewee
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from callengine.about import about
from callengine.ai import prompt, spend, triage
from callengine.ai.answer import Finding
from callengine.ai.asking import OVERTIME_S, Lost, Stopping, ask_of, read_off_hub, watched
from callengine.ai.counts import Counts
from callengine.ai.faults import AnalysisFault, QuotaExhausted, Transient, Unusable
from callengine.ai.files import Files
from callengine.ai.sdk import Answer, Sdk
from callengine.ai.triage import Plan
from callengine.ai.unexpected import unexpected
from callengine.config.sections import Ai
from callengine.errors import StoreError, StoreUnavailable
from callengine.spans import Record, Span
from callengine.store import analyses, rows
from callengine.store.analyses import Job, Outcome, Status
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import Executes
from callengine.store.quarantined import GONE_WRONG
from callengine.store.spending import nearest_bound

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_S: Final = 2.0
LEASE_S: Final = 60.0
LOOK_S: Final = 15.0
LEFTOVERS_EVERY_S: Final = 60.0
MAX_UNUSABLE: Final = 2
"""How often a useless answer is asked for anew."""

_BACKOFF_FACTOR: Final = 4
_UNUSABLE_PAUSE_S: Final = 2.0
_STORE_TIMEOUT_S: Final = 10.0
_COMMIT_S: Final = 900.0
_COMMIT_PAUSE_S: Final = 5.0
_LEFTOVERS_AT_ONCE: Final = 100


class _Paid(msgspec.Struct, frozen=True, kw_only=True):
    """What of the reserved is to be given back after a question, and what it came to."""

    reserved_micros: int
    micros: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Analyst:
    """``run_worker`` is to be supervised ``ai.workers`` times, ``run_upkeep`` once; ``nudge`` tells of new work.

    ``node()`` is the name of the switch that this engine holds, and empty as long as it holds none: then nothing is
    claimed. ``holder`` is unique to the process and has no ``@`` in it.
    """

    def __init__(
        self,
        executor: Executes,
        store: Store,
        sdk: Sdk,
        settings: Ai,
        files: Files,
        counts: Counts,
        *,
        node: Callable[[], str],
        holder: str,
        now_us: Callable[[], int] = clock_us,
        monotonic: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        on_span: Record | None = None,
    ) -> None:
        self._executor = executor
        self._store = store
        self._sdk = sdk
        self._settings = settings
        self._files = files
        self._counts = counts
        self._on_span = on_span
        self._node = node
        self._holder = holder.replace("@", "-")
        self._now_us, self._monotonic = now_us, monotonic
        self._lease_us = int(lease_s * 1_000_000)
        self._renew_every_s = lease_s / 3
        self._poll_s = poll_s
        self._price = spend.prices(settings)
        self._work = Event()
        self._taking = BoundedSemaphore(1)
        self._found: deque[str] = deque()
        self._paused_until_s = 0.0
        # Whatever the leases say: a clock that was set makes them look as if they had expired.
        self._at_work: set[str] = set()
        self._took_back_for = ""
        self._leftovers_at = -LEFTOVERS_EVERY_S
        self._stop = Event()
        self._busy = 0

    # -- life --------------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """A call ended, or one of its recordings is ready or failed. Never waits."""
        self._work.set()

    def run_worker(self) -> None:
        """Analyses until it is killed. A database that is away is left for the next look."""
        while True:
            if self._stop.is_set():
                gevent.sleep(self._poll_s)
                continue
            self._busy += 1
            try:
                worked = self.once()
            except StoreError as error:
                log.debug("the analysis waits: %s", error)
                worked = False
            finally:
                self._busy -= 1
            if not worked:
                self._work.wait(self._poll_s)

    def once(self) -> bool:
        """One job, if there is one. Raises StoreUnavailable."""
        job = self._take()
        if job is not None:
            try:
                with about(job.call_id):
                    self._analyse(job)
            finally:
                self._at_work.discard(job.call_id)
        return job is not None

    def run_upkeep(self) -> None:
        """Takes back what an earlier life of this engine held, deletes leftover uploads, looks at the queue."""
        while True:
            try:
                self.keep_up()
            except StoreError as error:
                log.debug("the upkeep of analyses was left for later: %s", error)
            gevent.sleep(LOOK_S)

    def keep_up(self) -> None:
        """All of that once. Raises StoreUnavailable."""
        node = self._node()
        if node and node != self._took_back_for:
            taken = self._execute(lambda db: analyses.take_back(db, node, self._name))
            self._took_back_for = node
            if taken:
                log.info("%d analyses that were cut off are taken up again", len(taken))
                self.nudge()
        now_us = self._now_us()
        self._counts.saw(self._read(lambda db: analyses.waiting(db, now_us)), now_us)
        bound, day_us = spend.bound_micros(self._settings, None), spend.day_start_us(now_us)
        self._counts.budget_used = self._read(lambda db: nearest_bound(db, day_us, bound))
        if node and time.monotonic() - self._leftovers_at >= LEFTOVERS_EVERY_S:
            self._leftovers_at = time.monotonic()
            self._delete_leftovers(now_us)

    def stop(self, timeout_s: float) -> bool:
        """Claims no more, stops what is asked and gives it back; before the writer stops. False if that took longer."""
        self._stop.set()
        self._work.set()
        until = time.monotonic() + timeout_s
        while self._busy and time.monotonic() < until:
            gevent.sleep(0.02)
        return not self._busy

    @property
    def _name(self) -> str:
        return f"{self._holder}@{self._node()}"

    # -- the queue ---------------------------------------------------------------------------------------------------

    def _take(self) -> Job | None:
        """The next job, claimed. One worker looks at a time, and what it finds is there for all."""
        with self._taking:
            # Whatever comes of this look: who was nudged waits for the next nudge, and does not look in a hot loop.
            self._work.clear()
            now_us, node = self._now_us(), self._node()
            if not node or self._stop.is_set() or self._monotonic() < self._paused_until_s:
                return None
            if not self._found:
                self._found.extend(self._read(lambda db: self._candidates(db, node, now_us)))
            while self._found:
                call_id = self._found.popleft()
                job = None if call_id in self._at_work else self._claimed(call_id, node, now_us)
                if job is not None:
                    self._at_work.add(call_id)
                    if self._found:
                        self._work.set()
                    return job
        return None

    def _claimed(self, call_id: str, node: str, now_us: int) -> Job | None:
        return self._execute(lambda db: analyses.claim(db, call_id, self._name, node, now_us, self._lease_us))

    def _candidates(self, db: peewee.Database, node: str, now_us: int) -> list[str]:
        if analyses.parked_until(db, self._settings.model, now_us) is not None:
            return []
        return analyses.candidates(db, node, now_us, 4 * self._settings.workers)

    def _analyse(self, job: Job) -> None:
        try:
            self._analysed(job)
        except Lost:
            log.warning("the analysis of call %s was taken over by another engine", job.call_id)
        except Stopping:
            self._execute(
                lambda db: analyses.postpone(
                    db,
                    job,
                    Status.PENDING,
                    self._now_us(),
                    attempts=job.attempts,
                    unusable=job.unusable,
                    error=None,
                )
            )
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  one call must not stop all others, again and again
            fault = unexpected(error)
            log.error("the analysis of call %s failed: %s", job.call_id, fault.reason)
            self._finish(job, Outcome(status=Status.FAILED, error=fault.reason))

    def _analysed(self, job: Job) -> None:
        status = triage.reason_to_skip(job, self._settings)
        if status is not None:
            self._finish(job, Outcome(status=status))
            return
        plan = triage.plan_of(job, self._settings)
        if not self._reserved(job, plan):
            self._finish(job, Outcome(status=Status.SKIPPED_OVER_BUDGET))
            return
        reply: Answer | None = None
        try:
            reply = self._asked(job, plan)
            found = read_off_hub(reply.text, plan)
        except AnalysisFault as fault:
            tokens = (reply.input_tokens, reply.output_tokens) if reply else (fault.input_tokens, fault.output_tokens)
            # Of what may have been paid for, what was reserved stays counted.
            self._failed(job, fault, _Paid(reserved_micros=0) if fault.unknown_cost else self._paid(plan, *tokens))
            return
        except StoreError:  # an upload's name could not be committed, so nothing was sent
            self._failed(job, Transient("the database did not answer"), self._paid(plan, 0, 0))
            return
        paid = self._paid(plan, reply.input_tokens, reply.output_tokens)
        self._counts.dropped.inc(found.dropped)
        self._finish(job, self._outcome(job, found, reply, plan), paid)

    # -- asking ------------------------------------------------------------------------------------------------------

    def _asked(self, job: Job, plan: Plan) -> Answer:
        """Raises AnalysisFault, Lost, Stopping, StoreUnavailable."""

        def ask() -> Answer:
            with self._files.ready(plan.recordings) as openers:
                return self._sdk.ask(ask_of(plan, openers, self._settings), _Uploads(self, job))

        self._counts.running += 1
        began, began_us = time.monotonic(), self._now_us()
        error: str | None = "given up"
        try:
            answer = watched(
                ask,
                stop=self._stop,
                within_s=self._settings.deadline_s + OVERTIME_S,
                look_every_s=self._renew_every_s,
                still_ours=lambda: self._renewed(job),
            )
            error = None
            return answer
        except AnalysisFault as fault:
            error = fault.reason
            raise
        finally:
            self._counts.running -= 1
            self._counts.seconds.observe(time.monotonic() - began)
            if self._on_span is not None:
                told = {"callengine.sdk": self._sdk.name, "gen_ai.request.model": self._settings.model}
                self._on_span(Span("analysis", began_us, self._now_us(), job.call_id, told, error=error))

    def _renewed(self, job: Job) -> bool:
        try:
            return self._execute(lambda db: analyses.renew(db, job, self._now_us(), self._lease_us))
        except StoreUnavailable:
            return True  # nobody else can claim it either; whether it was lost is seen when the result is committed

    # -- what came of it ---------------------------------------------------------------------------------------------

    def _outcome(self, job: Job, found: Finding, reply: Answer, plan: Plan) -> Outcome:
        columns = self._columns(plan, reply.model_version)
        if found.summary is None and job.call.ai_summary is not None:
            # What an earlier run found is better than nothing, and its quotes go with it.
            return Outcome(status=Status.UNSUPPORTED, columns=columns)
        done = Status.COMPLETED if plan.transcript else Status.COMPLETED_WITHOUT_QUOTES
        return Outcome(
            status=Status.UNSUPPORTED if found.summary is None else done,
            changes={
                "ai_summary": found.summary,
                "ai_sentiment": found.sentiment,
                "ai_next_action": found.next_action,
                "disposition": found.disposition,
            },
            columns={
                **columns,
                "statements": rows.encode_json(found.statements).decode(),
                "transcript": None if found.transcript is None else rows.encode_json(found.transcript).decode(),
            },
        )

    def _columns(self, plan: Plan, model: str = "") -> dict[str, Any]:
        return {
            "sdk": self._sdk.name,
            "model": "".join(c for c in model[:200] if c.isprintable()) or self._settings.model,
            "prompt_version": prompt.PROMPT_VERSION,
            "audio_ms": plan.about.audio_ms,
        }

    def _failed(self, job: Job, fault: AnalysisFault, paid: _Paid) -> None:
        """Tries again later, or never."""
        attempts, unusable = job.attempts, job.unusable
        match fault:
            case QuotaExhausted():
                self._found.clear()
                self._put_off(job, "quota", Status.PARKED, fault, fault.retry_after_s, attempts, unusable, paid)
                return
            case Transient():
                attempts += 1
                if attempts < self._settings.max_attempts:
                    pause_s = self._pause_s(fault, attempts)
                    self._put_off(job, "transient", Status.RETRYING, fault, pause_s, attempts, unusable, paid)
                    return
            case Unusable():
                unusable += 1
                if unusable <= MAX_UNUSABLE:
                    self._put_off(job, "unusable", Status.RETRYING, fault, _UNUSABLE_PAUSE_S, attempts, unusable, paid)
                    return
            case _:
                pass
        log.warning("the analysis of call %s failed: %s", job.call_id, fault.reason)
        columns = {"attempts": attempts, "unusable": unusable, "sdk": self._sdk.name, "model": self._settings.model}
        columns["prompt_version"] = prompt.PROMPT_VERSION
        self._finish(job, Outcome(status=Status.FAILED, error=fault.reason, columns=columns), paid)

    def _pause_s(self, fault: Transient, attempts: int) -> float:
        """As long as the answer asks, then everybody waits, since it is about the key; else longer each time."""
        if fault.retry_after_s is not None:
            self._paused_until_s = max(self._paused_until_s, self._monotonic() + fault.retry_after_s)
            return fault.retry_after_s + random.uniform(0, 1 + fault.retry_after_s / 10)  # noqa: S311  jitter
        grown = self._settings.backoff_min_s * _BACKOFF_FACTOR ** (attempts - 1)
        return min(float(grown), self._settings.backoff_max_s) * random.uniform(0.75, 1)  # noqa: S311  jitter

    def _put_off(
        self,
        job: Job,
        why: str,
        status: Status,
        fault: AnalysisFault,
        pause_s: float,
        attempts: int,
        unusable: int,
        paid: _Paid,
    ) -> None:
        log.info("the analysis of call %s is tried again in %.0f s: %s", job.call_id, pause_s, fault.reason)
        next_us = self._now_us() + int(pause_s * 1_000_000)
        asked = (self._sdk.name, self._settings.model)

        def commit(db: peewee.Database) -> bool:
            self._settle(db, job, paid)
            return analyses.postpone(
                db,
                job,
                status,
                next_us,
                attempts=attempts,
                unusable=unusable,
                error=fault.reason,
                asked=asked,
            )

        if self._commit(commit):
            self._counts.put_off.labels(why).inc()
            self._counts.paid(paid.input_tokens, paid.output_tokens, paid.micros)

    def _finish(self, job: Job, outcome: Outcome, paid: _Paid | None = None) -> None:
        now_us = self._now_us()

        def commit(db: peewee.Database) -> Status | None:
            if paid is not None:
                self._settle(db, job, paid)
            return analyses.finish(db, job, outcome, now_us)

        ended = self._commit(commit)
        if ended is None:
            raise Lost
        if ended is not outcome.status:
            self.nudge()  # a recording came late
            return
        self._counts.results.labels(outcome.status.value).inc()
        if outcome.status in GONE_WRONG:
            self._counts.set_aside.inc()
        if paid is not None:
            self._counts.paid(paid.input_tokens, paid.output_tokens, paid.micros)

    # -- money -------------------------------------------------------------------------------------------------------

    def _reserved(self, job: Job, plan: Plan) -> bool:
        now_us = self._now_us()
        bound = spend.bound_micros(self._settings, job.bound_micros)
        day_us = spend.day_start_us(now_us)
        return self._commit(lambda db: analyses.reserve(db, job, plan.most_micros, bound, now_us, day_us))

    def _paid(self, plan: Plan, input_tokens: int, output_tokens: int) -> _Paid:
        return _Paid(
            reserved_micros=plan.most_micros,
            micros=spend.cost_micros(input_tokens, output_tokens, self._price),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def _settle(self, db: peewee.Database, job: Job, paid: _Paid) -> None:
        tokens = (paid.input_tokens, paid.output_tokens)
        analyses.settle(db, job, paid.reserved_micros, paid.micros, tokens)

    # -- uploads -----------------------------------------------------------------------------------------------------

    def began_upload(self, job: Job, name: str) -> None:
        """Commits the name before the upload begins. Raises StoreUnavailable, and Lost where the job is another's."""
        if not self._execute(lambda db: analyses.began_upload(db, job, name)):
            raise Lost

    def ended_upload(self, call_id: str, name: str) -> None:
        """It was deleted. Where that cannot be noted, it is deleted again later, which does no harm."""
        try:
            self._execute(lambda db: analyses.ended_upload(db, call_id, name))
        except StoreUnavailable as error:
            log.debug("an upload's end was not noted: %s", error)

    def _delete_leftovers(self, now_us: int) -> None:
        for call_id, name in self._read(lambda db: analyses.leftovers(db, now_us, _LEFTOVERS_AT_ONCE)):
            try:
                self._sdk.delete(name)
            except AnalysisFault as fault:
                log.warning("a leftover upload could not be deleted: %s", fault.reason)
                if isinstance(fault, Transient):
                    return  # the others would fare alike
                continue
            self.ended_upload(call_id, name)

    # -- the store ---------------------------------------------------------------------------------------------------

    def _read(self, fn: Callable[[peewee.Database], T]) -> T:
        return self._store.run(fn, _STORE_TIMEOUT_S)

    def _execute(self, fn: Callable[[peewee.Database], T]) -> T:
        return self._executor.execute(fn, _STORE_TIMEOUT_S)

    def _commit(self, fn: Callable[[peewee.Database], T]) -> T:
        """What was paid for is held on to: a database that is away is waited for, for a quarter of an hour."""
        until = time.monotonic() + _COMMIT_S
        while True:
            try:
                return self._execute(fn)
            except StoreUnavailable as error:
                if self._stop.is_set() or time.monotonic() > until:
                    raise
                log.debug("the analysis waits for the database: %s", error)
                gevent.sleep(_COMMIT_PAUSE_S)


class _Uploads:
    """What the SDK tells its uploads to."""

    def __init__(self, analyst: Analyst, job: Job) -> None:
        self._analyst = analyst
        self._job = job

    def began(self, name: str) -> None:
        self._analyst.began_upload(self._job, name)

    def ended(self, name: str) -> None:
        self._analyst.ended_upload(self._job.call_id, name)
