"""The queue of analyses, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import peewee
import pytest

from callengine.calls.call import Call
from callengine.store import analyses, rows, sql
from callengine.store.analysed import NEVER, AnalysisReads, Wanted, again, recording_ready, select
from callengine.store.analyses import FINAL, WAITING, Job, Outcome, Status
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.ai.jobs import (
    MINUTE,
    NODE,
    NOW,
    SECOND,
    a_campaign,
    a_live_call,
    a_recorded_call,
    a_tenant,
    analysis_row,
    events_of,
)
from tests.store.build import OTHER, T0, TENANT, a_call, ended

HOLDER = f"host:1:aa@{NODE}"
RIVAL = "host:2:bb@sw2"
LEASE = MINUTE
DAY = NOW - NOW % (24 * 60 * MINUTE)


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store, recordings=True, analyses=True, now_us=lambda: T0)
    made.start()
    yield made
    made.stop(10)


@pytest.fixture
def do(writer: Writer) -> Callable[[Callable[[peewee.Database], Any]], Any]:
    return lambda fn: writer.execute(fn, 10)


Do = Callable[[Callable[[peewee.Database], Any]], Any]


def claimed(do: Do, call: Call, holder: str = HOLDER, now_us: int = NOW, node: str = NODE) -> Job | None:
    job: Job | None = do(lambda db: analyses.claim(db, call.id, holder, node, now_us, LEASE))
    return job


def sure(job: Job | None) -> Job:
    assert job is not None
    return job


def looked(do: Do, node: str = NODE, now_us: int = NOW) -> list[str]:
    found: list[str] = do(lambda db: analyses.candidates(db, node, now_us, 10))
    return found


def status_of(reads: Reads, call: Call, tenant_id: str = TENANT) -> str | None:
    record = reads.call(tenant_id, call.id)
    assert record is not None
    return record.analysis_status


def test_a_job_has_all_that_the_analysis_needs(store: Store, writer: Writer, do: Do, reads: Reads) -> None:
    a_tenant(writer, bound_micros=5)
    a_campaign(writer, "spring", "Sell routers", ["sold", "not sold"])
    call = a_recorded_call(
        writer, {"duration_ms": 1_000}, {"status": "failed"}, {"duration_ms": 2_000}, campaign="spring"
    )
    assert looked(do) == [call.id]
    job = sure(claimed(do, call))
    assert (job.call_id, job.run, job.attempts, job.unusable, job.bound_micros) == (call.id, 1, 0, 0, 5)
    assert [(r.duration_ms, r.storage, r.channels) for r in job.recordings] == [(1_000, "disk", 2), (2_000, "disk", 2)]
    assert (job.goal, job.dispositions) == ("Sell routers", ("sold", "not sold"))
    assert status_of(reads, call) == "running"
    assert looked(do) == []
    assert claimed(do, call, RIVAL) is None


def test_a_call_tells_that_its_analysis_waits_once(writer: Writer, do: Do, reads: Reads) -> None:
    call, done = a_recorded_call(writer), a_recorded_call(writer)
    do(lambda db: analyses.finish(db, sure(claimed_in(db, done)), Outcome(status=Status.COMPLETED), NOW))
    do(lambda db: analyses.mark_pending(db, [call.id, done.id]))
    assert (status_of(reads, call), status_of(reads, done)) == ("pending", "completed")


def test_of_many_who_claim_at_once_one_gets_it(store: Store, writer: Writer) -> None:
    call = a_recorded_call(writer)

    def claim(number: int) -> Job | None:
        holder = f"host:{number}:aa@{NODE}"
        return store.execute(lambda db: analyses.claim(db, call.id, holder, NODE, NOW, LEASE), 10)

    claims = [gevent.spawn(claim, number) for number in range(6)]
    gevent.joinall(claims, timeout=20)
    assert sum(one.get(block=False) is not None for one in claims) == 1


def test_nothing_is_claimed_before_the_call_and_its_recordings_are_done(writer: Writer, do: Do) -> None:
    live = a_live_call(writer)
    opened = a_recorded_call(writer, {}, {"status": "stopped"})
    later = a_recorded_call(writer)
    do(lambda db: sql.run(db, "UPDATE analysis SET next_us = ?", (NOW,)))
    assert looked(do, now_us=NOW - 1) == []
    assert looked(do) == [later.id]
    assert claimed(do, live) is None
    assert claimed(do, opened) is None
    writer.put(ended(live))
    do(lambda db: sql.run(db, "UPDATE recording SET status = 'failed' WHERE status IN ('open', 'stopped')"))
    assert set(looked(do)) == {live.id, opened.id, later.id}
    assert sure(claimed(do, live)).recordings == ()


def test_files_on_a_disk_are_for_their_node_and_those_in_the_bucket_for_all(writer: Writer, do: Do) -> None:
    here = a_recorded_call(writer)
    bucket = a_recorded_call(writer, {"storage": "s3", "object_key": "k"})
    mixed = a_recorded_call(writer, {"storage": "s3", "object_key": "k"}, {})
    nothing = a_recorded_call(writer, {"status": "failed"})
    assert set(looked(do)) == {here.id, bucket.id, mixed.id, nothing.id}
    assert looked(do, "sw2") == [bucket.id]
    assert claimed(do, here, RIVAL, node="sw2") is None
    assert claimed(do, mixed, RIVAL, node="sw2") is None
    assert sure(claimed(do, bucket, RIVAL, node="sw2")).recordings[0].object_key == "k"


def test_a_lease_is_renewed_or_lost_and_who_lost_it_writes_nothing(store: Store, writer: Writer, do: Do) -> None:
    call = a_recorded_call(writer, {"storage": "s3", "object_key": "k"})
    job = sure(claimed(do, call))
    assert do(lambda db: analyses.renew(db, job, NOW + LEASE // 2, LEASE))
    assert claimed(do, call, RIVAL, NOW + LEASE, "sw2") is None
    assert sure(claimed(do, call, RIVAL, NOW + 2 * LEASE, "sw2")).run == 1
    before = analysis_row(store, call.id)
    done = Outcome(status=Status.COMPLETED, changes={"ai_summary": "mine"})
    assert not do(lambda db: analyses.renew(db, job, NOW + 2 * LEASE, LEASE))
    assert not do(lambda db: analyses.finish(db, job, done, NOW))
    assert not do(lambda db: analyses.postpone(db, job, Status.RETRYING, NOW, attempts=1, unusable=0, error="x"))
    assert not do(lambda db: analyses.reserve(db, job, 5, None, NOW, DAY))
    assert not do(lambda db: analyses.began_upload(db, job, "files/ce-1"))
    do(lambda db: analyses.settle(db, job, 0, 7, (1, 1)))
    assert analysis_row(store, call.id) == before
    assert events_of(store, call.id) == []


def test_finishing_changes_row_and_call_and_tells_once(store: Store, writer: Writer, do: Do, reads: Reads) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    outcome = Outcome(
        status=Status.COMPLETED,
        changes={"ai_summary": "s", "ai_sentiment": "neutral", "ai_next_action": None, "disposition": "sold"},
        columns={"sdk": "google-genai", "model": "m", "prompt_version": "1", "audio_ms": 30_000, "statements": "[]"},
    )
    assert do(lambda db: analyses.reserve(db, job, 500, None, NOW, DAY))

    def finish(db: peewee.Database) -> Status | None:
        analyses.settle(db, job, 500, 70, (10, 20))
        return analyses.finish(db, job, outcome, NOW)

    assert do(finish) is Status.COMPLETED
    assert do(finish) is Status.COMPLETED  # a commit whose answer got lost: nothing is done twice
    later = Outcome(status=Status.COMPLETED)
    assert do(lambda db: analyses.finish(db, job, later, NOW + 1)) is None
    record = reads.call(TENANT, call.id)
    assert record is not None
    assert (record.ai_summary, record.ai_sentiment, record.ai_next_action) == ("s", "neutral", None)
    assert (record.disposition, record.disposition_by, record.analysis_status) == ("sold", "ai", "completed")
    row = analysis_row(store, call.id)
    assert (row["status"], bool(row["due"]), row["holder"], row["done_us"]) == ("completed", False, None, NOW)
    assert (row["cost_micros"], row["spent_micros"], row["input_tokens"], row["output_tokens"]) == (70, 70, 10, 20)
    ((event, seq, detail),) = events_of(store, call.id)
    assert (event, seq) == ("call.analyzed", 1)
    assert detail == {
        "analysis": {
            "status": "completed",
            "run": 1,
            "sdk": "google-genai",
            "model": "m",
            "prompt_version": "1",
            "audio_ms": 30_000,
            "input_tokens": 10,
            "output_tokens": 20,
            "cost_usd": 0.00007,
            "error": None,
        }
    }
    assert looked(do, now_us=NOW + 100 * MINUTE) == []


@pytest.mark.parametrize("moment", ["before the claim", "while it is asked", "after"])
def test_what_an_agent_set_stands(writer: Writer, do: Do, reads: Reads, moment: str) -> None:
    """DEFECTS 24."""
    call = a_recorded_call(writer)
    edits = Edits(writer, reads)
    if moment == "before the claim":
        edits.edit_call(TENANT, call.id, {"disposition": "agents"})
    job = sure(claimed(do, call))
    if moment == "while it is asked":
        edits.edit_call(TENANT, call.id, {"disposition": "agents"})
    outcome = Outcome(status=Status.COMPLETED, changes={"ai_summary": "s", "disposition": "models"})
    assert do(lambda db: analyses.finish(db, job, outcome, NOW))
    if moment == "after":
        edits.edit_call(TENANT, call.id, {"disposition": "agents"})
        do(lambda db: again(db, [call.id], NOW))
        assert do(lambda db: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
    record = reads.call(TENANT, call.id)
    assert record is not None
    assert (record.disposition, record.disposition_by, record.ai_summary) == ("agents", "agent", "s")


def claimed_in(db: peewee.Database, call: Call) -> Job | None:
    return analyses.claim(db, call.id, HOLDER, NODE, NOW, LEASE)


def test_what_the_analysis_set_it_may_change_and_take_back(writer: Writer, do: Do, reads: Reads) -> None:
    call = a_recorded_call(writer)
    for wanted in ("sold", "not sold", None):
        outcome = Outcome(status=Status.COMPLETED, changes={"disposition": wanted})
        assert do(lambda db, outcome=outcome: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
        record = reads.call(TENANT, call.id)
        assert record is not None
        assert (record.disposition, record.disposition_by) == (wanted, "ai" if wanted else None)
        do(lambda db: again(db, [call.id], NOW))


def test_a_postponed_job_waits(store: Store, writer: Writer, do: Do, reads: Reads) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    assert do(
        lambda db: analyses.postpone(
            db, job, Status.RETRYING, NOW + 5 * SECOND, attempts=1, unusable=1, error="Gemini answered 503"
        )
    )
    assert status_of(reads, call) == "retrying"
    assert looked(do, now_us=NOW + 4 * SECOND) == []
    later = sure(claimed(do, call, now_us=NOW + 5 * SECOND))
    assert (later.attempts, later.unusable, later.run) == (1, 1, 1)
    assert analysis_row(store, call.id)["error"] == "Gemini answered 503"


def test_a_daily_quota_parks_the_model(writer: Writer, do: Do) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    until = NOW + 4 * 60 * MINUTE
    do(
        lambda db: analyses.postpone(
            db, job, Status.PARKED, until, attempts=0, unusable=0, error="quota", asked=("google-genai", "m")
        )
    )
    assert do(lambda db: analyses.parked_until(db, "m", NOW)) == until
    assert do(lambda db: analyses.parked_until(db, "m", until)) is None
    assert do(lambda db: analyses.parked_until(db, "another", NOW)) is None


def test_the_spend_of_a_day_is_bounded_with_what_is_reserved(store: Store, writer: Writer, do: Do) -> None:
    a_tenant(writer)
    first, second, other = a_recorded_call(writer), a_recorded_call(writer), a_recorded_call(writer, tenant_id=OTHER)
    jobs = {call.id: sure(claimed(do, call)) for call in (first, second, other)}

    def reserve(call: Call, micros: int, now_us: int = NOW, day_us: int = DAY) -> bool:
        found: bool = do(lambda db: analyses.reserve(db, jobs[call.id], micros, 100, now_us, day_us))
        return found

    assert reserve(other, 100)
    assert reserve(first, 60)
    assert reserve(first, 60)  # the same again, as after a commit of unknown outcome
    assert not reserve(second, 41)
    assert reserve(second, 40)
    do(lambda db: analyses.settle(db, jobs[first.id], 60, 10, (1, 1)))
    assert do(lambda db: analyses.spent_since(db, TENANT, DAY)) == 50
    assert reserve(first, 50, NOW + 1)  # asked again: what was paid before counts too
    assert do(lambda db: analyses.spent_since(db, TENANT, DAY)) == 100
    do(lambda db: analyses.settle(db, jobs[first.id], 50, 20, (1, 1)))
    assert analysis_row(store, first.id)["spent_micros"] == 30
    tomorrow = DAY + 24 * 60 * MINUTE
    assert do(lambda db: analyses.spent_since(db, TENANT, tomorrow)) == 0
    assert reserve(first, 100, tomorrow, tomorrow)
    assert do(lambda db: analyses.spent_since(db, TENANT, tomorrow)) == 100


def test_uploads_are_named_until_they_are_gone(store: Store, writer: Writer, do: Do) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    for name in ("files/ce-1", "files/ce-2"):
        assert do(lambda db, name=name: analyses.began_upload(db, job, name))
    do(lambda db: analyses.ended_upload(db, call.id, "files/ce-1"))
    assert json.loads(analysis_row(store, call.id)["uploads"]) == ["files/ce-2"]
    assert do(lambda db: analyses.leftovers(db, NOW, 10)) == []  # it is being worked with
    assert do(lambda db: analyses.leftovers(db, NOW + LEASE, 10)) == [(call.id, "files/ce-2")]
    do(lambda db: analyses.ended_upload(db, call.id, "files/ce-2"))
    do(lambda db: analyses.ended_upload(db, call.id, "files/ce-2"))
    assert analysis_row(store, call.id)["uploads"] is None


def test_an_engine_takes_back_at_once_what_its_earlier_life_held(writer: Writer, do: Do, reads: Reads) -> None:
    ours, theirs = a_recorded_call(writer), a_recorded_call(writer, {"storage": "s3", "object_key": "k"})
    held = a_recorded_call(writer)
    sure(claimed(do, ours, f"host:0:00@{NODE}"))
    sure(claimed(do, theirs, RIVAL, node="sw2"))
    sure(claimed(do, held))
    assert do(lambda db: analyses.take_back(db, NODE, HOLDER)) == [ours.id]
    assert status_of(reads, ours) == "pending"
    assert looked(do) == [ours.id]


def test_what_waits_is_counted(writer: Writer, do: Do) -> None:
    a_live_call(writer)
    a_recorded_call(writer)
    running = a_recorded_call(writer)
    sure(claimed(do, running))
    assert do(lambda db: analyses.waiting(db, NOW)) == {"pending": (1, T0), "running": (1, T0)}


def test_the_statuses_are_a_closed_set() -> None:
    assert set(Status) == WAITING | FINAL
    assert not WAITING & FINAL


# -- reading it, and doing it again ------------------------------------------------------------------------------------


def test_an_analysis_is_read_by_its_tenant_alone(store: Store, writer: Writer, do: Do) -> None:
    reads = AnalysisReads(store)
    call = a_recorded_call(writer)
    plain = a_call()
    writer.put(plain)
    writer.flush(10)
    assert reads.analysis(OTHER, call.id) is None
    assert reads.analysis(TENANT, "no id") is None
    nothing = reads.analysis(TENANT, plain.id)
    assert nothing is not None
    assert (nothing.status, nothing.run, nothing.statements) == (None, None, None)
    waiting = reads.analysis(TENANT, call.id)
    assert waiting is not None
    assert (waiting.status, waiting.next_us, waiting.done_us) == ("pending", T0, None)
    columns = {"statements": '[{"text":"a","quote":"b"}]', "transcript": "[]", "model": "m"}
    outcome = Outcome(status=Status.COMPLETED, columns=columns)
    do(lambda db: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
    done = reads.analysis(TENANT, call.id)
    assert done is not None
    assert (done.statements, done.transcript, done.model) == ([{"text": "a", "quote": "b"}], [], "m")
    assert (done.next_us, done.done_us, done.created_us, done.spent_micros) == (None, NOW, T0, 0)


def test_calls_are_selected_by_what_is_wanted(store: Store, writer: Writer, do: Do) -> None:
    a_live_call(writer)
    a_recorded_call(writer, {"status": "failed"})
    call = a_recorded_call(writer, {"duration_ms": 1_500}, {"duration_ms": 2_000}, campaign="c")
    other = a_recorded_call(writer, tenant_id=OTHER)
    never = a_recorded_call(writer)
    do(lambda db: sql.run(db, "DELETE FROM analysis WHERE call_id = ?", (schema_id(db, never),)))

    def selected(limit: int = 10, **wanted: Any) -> dict[str, tuple[str | None, int]]:
        found = store.run(lambda db: select(db, Wanted(**wanted), limit), 10)
        return {one.call_id: (one.status, one.audio_ms) for one in found}

    everything = {call.id: ("pending", 3_500), other.id: ("pending", 30_000), never.id: (None, 30_000)}
    assert selected() == everything
    assert len(selected(limit=2)) == 2
    assert selected(tenant_id=TENANT, status="pending") == {call.id: ("pending", 3_500)}
    assert list(selected(campaign_id="c")) == [call.id]
    assert list(selected(status=NEVER)) == [never.id]
    assert list(selected(call_ids=(other.id, never.id), tenant_id=OTHER)) == [other.id]
    assert selected(since_us=T0, until_us=T0 + 1) == everything
    assert selected(since_us=T0 + 1) == selected(until_us=T0) == {}


def test_a_recording_that_came_late_is_analysed_but_nothing_is_paid_for_again(writer: Writer, do: Do) -> None:
    waiting = a_recorded_call(writer)
    ended_as = {status: a_recorded_call(writer) for status in FINAL}
    for status, call in ended_as.items():
        outcome = Outcome(status=status)
        do(lambda db, call=call, outcome=outcome: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
    for call in (waiting, a_call()):
        assert not do(lambda db, call=call: recording_ready(db, call.id, NOW))
    queued = {
        status for status, call in ended_as.items() if do(lambda db, call=call: recording_ready(db, call.id, NOW))
    }
    assert queued == {Status.SKIPPED_NO_RECORDING, Status.SKIPPED_TOO_SHORT, Status.SKIPPED_SILENT}
    assert set(looked(do)) == {waiting.id, *(ended_as[status].id for status in queued)}


@pytest.mark.parametrize("change", ["status = 'failed'", "sha256 = 'other'"])
def test_what_changed_while_nothing_was_found_to_send_is_looked_at_again(
    store: Store, writer: Writer, do: Do, reads: Reads, change: str
) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    do(lambda db: sql.run(db, f"UPDATE recording SET {change}"))
    for status in (Status.SKIPPED_SILENT, Status.SKIPPED_SILENT):  # the same twice: its answer got lost
        outcome = Outcome(status=status)
        assert do(lambda db, outcome=outcome: analyses.finish(db, job, outcome, NOW)) is Status.PENDING
    assert status_of(reads, call) == "pending"
    assert events_of(store, call.id) == []
    assert looked(do) == [call.id]


def test_what_is_told_of_another_recording_does_not_change_what_was_paid_for(writer: Writer, do: Do) -> None:
    call = a_recorded_call(writer)
    job = sure(claimed(do, call))
    do(lambda db: sql.run(db, "UPDATE recording SET status = 'failed'"))
    outcome = Outcome(status=Status.COMPLETED)
    assert do(lambda db: analyses.finish(db, job, outcome, NOW)) is Status.COMPLETED


def test_a_lease_from_before_a_clock_was_set_back_holds_nobody_up(writer: Writer, do: Do) -> None:
    call = a_recorded_call(writer)
    sure(claimed(do, call, now_us=NOW + 100 * 60 * MINUTE))
    assert looked(do) == [call.id]
    assert claimed(do, call) is not None


def schema_id(db: peewee.Database, call: Call) -> Any:
    return rows.packed(db, call.id)


def test_again_is_another_run_and_keeps_what_was_found(store: Store, writer: Writer, do: Do, reads: Reads) -> None:
    call, running, parked, never = (a_recorded_call(writer) for _ in range(4))
    outcome = Outcome(status=Status.COMPLETED, changes={"ai_summary": "s"}, columns={"statements": "[1]"})
    do(lambda db: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
    sure(claimed(do, running))
    job = sure(claimed(do, parked))
    do(lambda db: analyses.postpone(db, job, Status.PARKED, NOW + MINUTE, attempts=3, unusable=1, error="q"))
    do(lambda db: sql.run(db, "DELETE FROM analysis WHERE call_id = ?", (schema_id(db, never),)))
    ids = [call.id, running.id, parked.id, never.id, a_call().id]
    assert do(lambda db: again(db, ids, NOW)) == 3
    row = analysis_row(store, call.id)
    assert (row["run"], row["status"], row["statements"], row["input_tokens"]) == (2, "pending", "[1]", None)
    assert analysis_row(store, running.id)["status"] == "running"
    row = analysis_row(store, parked.id)
    assert (row["run"], row["attempts"], row["unusable"], row["next_us"], row["error"]) == (1, 0, 0, NOW, None)
    assert analysis_row(store, never.id)["run"] == 1
    assert status_of(reads, never) == "pending"
    record = reads.call(TENANT, call.id)
    assert record is not None
    assert (record.ai_summary, record.analysis_status) == ("s", "pending")
    assert set(looked(do)) == {call.id, parked.id, never.id}
    do(lambda db: analyses.finish(db, sure(claimed_in(db, call)), outcome, NOW))
    assert [seq for _, seq, _ in events_of(store, call.id)] == [1, 2]
