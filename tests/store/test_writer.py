"""The writer: what it is handed is committed, once, together, and never at the hub's cost."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import gevent
import msgspec
import peewee
import pytest

from callengine.calls.call import Call, EventName
from callengine.calls.record import record_of
from callengine.errors import StoreUnavailable
from callengine.store import rows, schema, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.refused import Refused
from callengine.store.writer import Writer
from tests.store.build import OTHER, T0, TENANT, a_call, changed, ended, noted, published


def outbox(store: Store) -> list[tuple[str, int, str]]:
    text = "SELECT call_id, seq, event FROM outbox ORDER BY position"
    found = store.run(lambda db: sql.query(db, text).fetchall(), 5)
    return [(schema.text_of(call_id), seq, event) for call_id, seq, event in found]


def test_the_last_state_wins(writer: Writer, reads: Reads) -> None:
    call = a_call()
    last = ended(changed(call, progress_us=T0 + 5), seq=2)
    for state in (call, changed(call, progress_us=T0 + 5, seq=1), last):
        writer.put(state)
    writer.flush(5)
    assert reads.call(TENANT, call.id) == record_of(last)
    writer.put(reopened := changed(last, over=False, seq=3))
    writer.flush(5)
    assert reads.call(TENANT, call.id) == record_of(reopened)


def test_a_stale_state_never_overwrites_a_newer_one(store: Store, reads: Reads) -> None:
    call = a_call()
    newer, stale = ended(call, seq=5), changed(call, progress_us=T0 + 1, seq=4)
    for state in (newer, stale):
        writer = Writer(store)
        writer.start()
        writer.put(state)
        assert writer.stop(5)
    assert reads.call(TENANT, call.id) == record_of(newer)


def test_a_state_of_equal_count_is_written(writer: Writer, reads: Reads) -> None:
    call = a_call(seq=3)
    for state in (call, with_name := changed(call, caller_name="later")):
        writer.put(state)
        writer.flush(5)
    assert reads.call(TENANT, call.id) == record_of(with_name)


def test_what_people_and_the_analysis_set_stands(writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    Edits(writer, reads).edit_call(TENANT, call.id, {"disposition": "sale", "notes": "call back"})
    writer.execute(lambda db: sql.query(db, "UPDATE call SET ai_summary = 's', analysis_status = 'done'"), 5)
    writer.put(ended(call, seq=9))
    writer.flush(5)
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert (found.status, found.disposition, found.disposition_by, found.notes) == (
        "failed",
        "sale",
        "agent",
        "call back",
    )
    assert (found.ai_summary, found.analysis_status) == ("s", "done")


def test_a_record_that_is_given_is_the_one_written(writer: Writer, reads: Reads) -> None:
    call = a_call()
    record = record_of(call)
    record.queue = "support"
    writer.put(call, record)
    writer.flush(5)
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert found.queue == "support"


def test_a_campaign_first_seen_on_a_call_is_made(writer: Writer, reads: Reads) -> None:
    Edits(writer, reads).create_campaign(TENANT, "known", "Known")
    for campaign in ("new", "known", None, "new"):
        writer.put(a_call(campaign=campaign))
    writer.flush(5)
    campaigns = reads.campaigns(TENANT, 1, 10)[0]
    assert {c.id: c.name for c in campaigns} == {"new": None, "known": "Known"}


def test_a_call_that_may_still_change_hands_makes_no_campaign(writer: Writer, reads: Reads) -> None:
    held = msgspec.structs.replace(a_call(campaign="theirs"), held=True)
    writer.put(held)
    writer.flush(5)
    assert reads.campaigns(TENANT, 1, 10) == ([], 0)
    writer.put(msgspec.structs.replace(held, held=False, tenant_id=OTHER))
    writer.flush(5)
    assert reads.campaigns(TENANT, 1, 10) == ([], 0)
    assert [c.id for c in reads.campaigns(OTHER, 1, 10)[0]] == ["theirs"]
    assert reads.call(TENANT, held.id) is None
    assert reads.call(OTHER, held.id) is not None


def test_timeline_and_outbox_are_committed_with_the_call(writer: Writer, store: Store, reads: Reads) -> None:
    call = a_call(seq=2)
    writer.put(call)
    writer.note(noted(call, "created"))
    writer.publish(published(call, EventName.DIALING, 1))
    writer.publish(published(call, EventName.RINGING, 2))
    assert writer.depth == 4
    writer.flush(5)
    assert (writer.depth, writer.commits) == (0, 1)
    assert outbox(store) == [(call.id, 1, "call.dialing"), (call.id, 2, "call.ringing")]
    assert [note.name for note in reads.timeline(TENANT, call.id)] == ["created"]
    payload = store.run(lambda db: sql.query(db, "SELECT payload FROM outbox ORDER BY seq").fetchone()[0], 5)
    assert rows.decode_record(payload) == published(call, EventName.DIALING, 1).record


def test_the_timeline_goes_on_where_an_earlier_engine_left_it(store: Store, reads: Reads) -> None:
    call = a_call()
    for name in ("created", "rang", "answered"):
        writer = Writer(store)
        writer.start()
        writer.put(call)
        writer.note(noted(call, name))
        assert writer.stop(5)
    assert [note.name for note in reads.timeline(TENANT, call.id)] == ["created", "rang", "answered"]


def test_more_than_one_group_is_written_in_order(store: Store, reads: Reads) -> None:
    calls = [a_call(T0 + n) for n in range(4500)]
    writer = Writer(store)
    for call in calls:
        writer.put(call)
        writer.note(noted(call, "created"))
    writer.start()
    seen = writer.execute(lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 30)
    assert seen == 4500
    assert writer.commits == 5
    assert reads.calls(TENANT, {}, 1, 1)[1] == 4500
    writer.stop(5)


# -- work inside a transaction ---------------------------------------------------------------------------------------


def test_work_sees_what_was_put_before_it(writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    assert writer.execute(lambda db: reads.record(db, TENANT, call.id), 5) == record_of(call)


def test_an_error_of_the_work_is_its_callers_alone(writer: Writer, store: Store, reads: Reads) -> None:
    call = a_call()

    def half(db: peewee.Database) -> None:
        sql.query(db, "INSERT INTO engine (node, version, data_as_of_us) VALUES ('half', '1', 1)")
        raise LookupError("half way")

    def broken(db: peewee.Database) -> None:
        sql.query(db, "SELECT nonsense FROM nowhere")

    writer.put(call)
    writer.note(noted(call, "created"))
    failing: list[Any] = [gevent.spawn(_error_of, writer, fn) for fn in (half, broken)]
    fine: Any = gevent.spawn(writer.execute, lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 5)
    gevent.joinall([*failing, fine], timeout=10)
    assert [type(g.value) for g in failing] == [
        LookupError,
        peewee.ProgrammingError if store.kind == "postgres" else peewee.OperationalError,
    ]
    assert fine.value == 1
    assert reads.call(TENANT, call.id) is not None
    count = store.run(lambda db: sql.query(db, "SELECT count(*) FROM engine WHERE node = 'half'").fetchone()[0], 5)
    assert count == 0
    assert writer.reason is None


def _error_of(writer: Writer, fn: object) -> BaseException | None:
    try:
        writer.execute(fn, 5)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001
        return error
    return None


def test_work_that_is_given_up_is_not_done_later(store: Store) -> None:
    writer = Writer(store)
    with pytest.raises(StoreUnavailable):
        writer.execute(lambda db: sql.query(db, "INSERT INTO engine VALUES ('late', '1', 1)"), 0.01)
    writer.start()
    assert writer.stop(5)
    assert store.run(lambda db: sql.query(db, "SELECT count(*) FROM engine").fetchone()[0], 5) == 0


def test_too_much_work_is_refused(store: Store) -> None:
    writer = Writer(store)
    waiting = [gevent.spawn(_error_of, writer, lambda db: None) for _ in range(1000)]
    gevent.sleep(0)
    with pytest.raises(StoreUnavailable, match="too many"):
        writer.execute(lambda db: None, 5)
    writer.start()
    gevent.joinall(waiting, timeout=20)
    assert {g.value for g in waiting} == {None}
    writer.stop(5)


# -- time ------------------------------------------------------------------------------------------------------------


def test_a_change_is_committed_within_the_interval_though_nobody_waits(writer: Writer, reads: Reads) -> None:
    for _ in range(3):
        call = a_call()
        writer.put(call)
        started = time.monotonic()
        while writer.depth and time.monotonic() - started < 5:
            gevent.sleep(0.001)
        # The interval is 100 ms; the rest is for a machine that is busy with other tests.
        assert time.monotonic() - started < 0.5
        assert reads.call(TENANT, call.id) is not None


def test_it_is_full_sooner_while_the_database_takes_what_it_has(store: Store) -> None:
    """One that is away is no reason to wait before memory is: its bound is far above."""
    writer, notes = Writer(store), [noted(a_call(), "held") for _ in range(20_000)]
    for note in notes[:-1]:
        writer.note(note)
    assert not writer.full
    writer.note(notes[-1])
    assert writer.full
    writer.reason = "it is away"
    assert not writer.full


def test_who_waits_is_not_kept_waiting_for_the_interval(store: Store) -> None:
    store.settings = store.settings.model_copy(update={"commit_interval_ms": 60_000})
    writer = Writer(store)
    writer.start()
    writer.put(a_call())
    gevent.sleep(0.05)
    assert writer.depth == 1
    started = time.monotonic()
    writer.flush(5)
    assert writer.execute(lambda db: 7, 5) == 7
    assert time.monotonic() - started < 2
    assert writer.stop(5)


def test_data_as_of_is_the_moment_of_the_oldest_that_waits(store: Store) -> None:
    now, clock = [1000], [0.0]
    writer = Writer(store, now_us=lambda: now[0], clock=lambda: clock[0])
    assert writer.data_as_of == 1000
    writer.put(a_call())
    now[0], clock[0] = 3000, 0.002
    writer.put(a_call())
    assert (writer.data_as_of, writer.oldest_age_s) == (1000, 0.002)
    for set_us in (3_600_000_000, -3_600_000_000):  # what was put before such a step is as old as it was
        now[0] += set_us
        assert (writer.data_as_of, writer.oldest_age_s) == (now[0] - 2000, 0.002)
    writer.start()
    writer.flush(5)
    assert (writer.data_as_of, writer.oldest_age_s) == (3000, 0.0)
    assert writer.last_commit_age_s < 5
    writer.stop(5)


def test_each_commit_is_told(store: Store) -> None:
    commits: list[tuple[float, int]] = []
    writer = Writer(store, on_commit=lambda seconds, size: commits.append((seconds, size)))
    writer.start()
    call = a_call()
    writer.put(call)
    writer.note(noted(call, "created"))
    writer.flush(5)
    writer.stop(5)
    assert [size for _, size in commits] == [2]
    assert 0 < commits[0][0] < 5


def test_flushing_and_stopping_with_nothing_to_do(store: Store) -> None:
    writer = Writer(store)
    writer.flush(0.01)
    writer.start()
    assert writer.stop(5)


def test_stop_commits_what_waits(store: Store, reads: Reads) -> None:
    writer = Writer(store)
    writer.start()
    calls = [a_call() for _ in range(3000)]
    for call in calls:
        writer.put(call)
    assert writer.stop(20)
    assert reads.calls(TENANT, {}, 1, 1)[1] == 3000


def test_a_writer_that_was_killed_goes_on_when_run_again(store: Store, reads: Reads) -> None:
    writer = Writer(store)
    for round_ in range(5):
        greenlet = gevent.spawn(writer.run)
        for _ in range(400):
            writer.put(a_call())
        gevent.sleep(0.002 * round_)
        greenlet.kill()
    writer.start()
    writer.flush(10)
    assert reads.calls(TENANT, {}, 1, 1)[1] == 2000
    writer.stop(5)


# -- rows that no database takes -------------------------------------------------------------------------------------


def test_what_a_database_cannot_hold_is_cleaned(writer: Writer, reads: Reads) -> None:
    call = a_call(caller_name="a\0b\ud800c", sip_status="9" * 40, caller_number="\0")
    writer.put(call)
    writer.note(noted(call, "created", detail="x\0y\udfff"))
    writer.publish(published(call, EventName.DIALING, 1))
    good = a_call()
    writer.put(good)
    writer.flush(5)
    found = reads.call(TENANT, call.id)
    assert found is not None
    assert (found.caller_name, found.caller_number) == ("ab?c", "")
    assert [note.detail for note in reads.timeline(TENANT, call.id)] == ["xy?"]
    assert reads.call(TENANT, good.id) == record_of(good)
    assert writer.refused == 0
    writer.put(later := ended(call))
    writer.flush(5)
    found = reads.call(TENANT, later.id)
    assert found is not None
    assert found.status == "failed"


def test_a_job_that_took_the_transaction_with_it_leaves_nothing_half_done(sqlite_store: Store) -> None:
    writer, reads, call = Writer(sqlite_store), Reads(sqlite_store), a_call()
    seen: list[bool] = []

    def full(db: Any) -> None:
        db.connection().execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    def behind(db: Any) -> None:
        seen.append(bool(sql.run(db, "SELECT 1 FROM call").fetchone()))

    writer.put(call)
    jobs = [gevent.spawn(writer.execute, fn, 20) for fn in (full, behind)]
    gevent.sleep(0)
    writer.start()
    gevent.joinall(jobs, timeout=20)
    assert isinstance(jobs[0].exception, StoreUnavailable)
    assert jobs[1].successful()
    assert seen == [True]
    assert reads.call(TENANT, call.id) is not None
    assert writer.stop(5)


def test_a_call_that_we_can_make_no_row_of_stops_nothing(
    store: Store, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good, real = a_call(), a_call(), rows.call_row

    def made(call: Call, *rest: Any) -> rows.Row:
        if call.id == bad.id:
            raise AttributeError("a mistake of ours")
        return real(call, *rest)

    monkeypatch.setattr(rows, "call_row", made)
    aside: list[Refused] = []
    writer = Writer(store)
    writer.on_set_aside = lambda refused, error: aside.append(refused)
    writer.start()
    writer.put(bad)
    writer.put(good)
    writer.flush(5)
    assert reads.call(TENANT, good.id) is not None
    assert [refused.call for refused in aside] == [bad]
    assert writer.stop(5)


def test_a_call_that_is_refused_stops_nothing_behind_it(store: Store, reads: Reads) -> None:
    told: list[tuple[str, str]] = []
    writer = Writer(store, on_refused=lambda call_id, error: told.append((call_id, error)))
    writer.start()
    first = a_call(T0)
    twin = a_call(T0 + 5000, uuid=first.fs_uuid)
    nobodys = a_call(tenant_id="nobody")
    good = [a_call() for _ in range(5)]
    for call in (first, good[0], twin, good[1], nobodys, *good[2:]):
        writer.put(call)
        writer.note(noted(call, "created"))
    writer.flush(5)
    assert {call_id for call_id, _ in told} == {twin.id, nobodys.id}
    assert writer.refused == 2
    assert {c.id for c in reads.calls(TENANT, {}, 1, 25)[0]} == {first.id, *(c.id for c in good)}
    assert len(reads.timeline(TENANT, good[0].id)) == 1
    writer.put(ended(first))
    writer.put(twin)
    writer.flush(5)
    found = reads.call(TENANT, first.id)
    assert found is not None
    assert found.status == "failed"
    assert writer.reason is None
    writer.stop(5)


# -- accounts and calls in one file ----------------------------------------------------------------------------------


def test_another_process_can_write_beside_it(writer: Writer, store: Store) -> None:
    """A command makes a key while the daemon works."""
    aside = Accounts(store, store)
    for n in range(20):
        writer.put(a_call())
        assert aside.ensure_tenant(f"t{n}").name == f"t{n}"
    writer.flush(5)
    assert len(aside.tenants()) == 20
