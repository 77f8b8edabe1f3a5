"""What is read, in which order, by whom, and what happens when the database is slow or away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import gevent
import peewee
import pytest
from gevent import monkey

from callengine.calls.call import Call, Recording
from callengine.calls.facts import Source
from callengine.calls.record import CallRecord, record_of
from callengine.errors import StoreUnavailable
from callengine.store import cdrs, sql
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.away import terminate_others
from tests.store.build import OTHER, T0, TENANT, a_call, changed, ended, noted


def put(writer: Writer, calls: Sequence[Call]) -> None:
    for call in calls:
        writer.put(call)
    writer.flush(10)


def ids(records: Sequence[CallRecord | Call]) -> list[str]:
    return [record.id for record in records]


def test_what_is_read_is_what_was_derived(writer: Writer, reads: Reads) -> None:
    recording = Recording(path="/rec/ä.wav", leg="x", started_us=T0, stopped_us=T0 + 5, duration_ms=2000)
    call = ended(
        a_call(campaign="spring", lead="L-1", recordings=(recording,), caller_name="Łódź ☎"), answered_us=T0 + 9
    )
    put(writer, [call])
    assert reads.call(TENANT, call.id) == record_of(call)
    assert reads.calls(TENANT, {}, 1, 25) == ([record_of(call)], 1)
    assert reads.call(TENANT, call.id.upper()) == record_of(call)


def test_foreign_and_missing_and_impossible_ids_are_nothing(writer: Writer, reads: Reads) -> None:
    call = a_call(tenant_id=OTHER)
    put(writer, [call])
    writer.note(noted(call, "created"))
    writer.flush(5)
    for call_id in (
        call.id,
        a_call().id,
        "",
        "x",
        call.id[:-1],
        "{" + call.id + "}",
        call.id.replace("-", ""),
        call.id + "\n",
    ):
        assert reads.call(TENANT, call_id) is None
        assert reads.timeline(TENANT, call_id) == []
    assert reads.calls(TENANT, {}, 1, 25) == ([], 0)
    assert reads.call(OTHER, call.id) is not None


def test_calls_with_one_dial_time_are_paged_each_exactly_once(writer: Writer, reads: Reads) -> None:
    calls = [a_call(T0, campaign="c") for _ in range(1000)]
    put(writer, calls)
    found: list[str] = []
    page = 1
    while True:
        records, total = reads.calls(TENANT, {"campaign_id": "c"}, page, 7)
        assert total == 1000
        if not records:
            break
        found += ids(records)
        page += 1
    assert found == sorted(ids(calls), reverse=True)
    assert page == 144


def test_what_is_not_dialled_comes_first_then_the_latest(writer: Writer, reads: Reads) -> None:
    waiting = [changed(a_call(T0 + n), first_created_us=0, created_us=0) for n in range(3)]
    dialled = [a_call(T0 + 10 * n) for n in (5, 1, 3)]
    put(writer, [*dialled, *waiting])
    expected = sorted(ids(waiting), reverse=True) + [c.id for c in sorted(dialled, key=lambda c: -c.own.created_us)]
    records, total = reads.calls(TENANT, {}, 1, 25)
    assert ids(records) == expected
    assert total == 6
    assert ids(reads.calls(TENANT, {}, 2, 4)[0]) == expected[4:]


def test_a_page_past_the_end_is_empty_with_the_total(writer: Writer, reads: Reads) -> None:
    put(writer, [a_call()])
    for page in (2, 10**6, 10**30):
        assert reads.calls(TENANT, {}, page, 200) == ([], 1)


def test_each_filter_picks_its_calls(writer: Writer, reads: Reads) -> None:
    plain = a_call(T0)
    inbound = a_call(T0 + 1, direction="inbound", campaign="a", lead="l")
    over = ended(a_call(T0 + 2, campaign="a"))
    unsent = changed(a_call(T0 + 3), first_created_us=0, created_us=0)
    ringing = changed(a_call(T0 + 4), progress_us=T0 + 9)
    put(writer, [plain, inbound, over, unsent, ringing])
    Edits(writer, reads).edit_call(TENANT, over.id, {"disposition": "sale"})
    for filters, expected in (
        ({}, [unsent, ringing, over, inbound, plain]),
        ({"campaign_id": "a"}, [over, inbound]),
        ({"campaign_id": "a", "direction": "inbound"}, [inbound]),
        ({"lead_id": "l"}, [inbound]),
        ({"agent_id": "nobody"}, []),
        ({"status": "dialing"}, [unsent, inbound, plain]),
        ({"status": "ringing"}, [ringing]),
        ({"status": "failed"}, [over]),
        ({"disposition": "sale"}, [over]),
        ({"disposition": "never heard of"}, []),
        ({"dialed_after_us": T0 + 2}, [ringing, over]),
        ({"dialed_before_us": T0 + 2}, [inbound, plain]),
        ({"dialed_after_us": T0 + 1, "dialed_before_us": T0 + 2}, [inbound]),
    ):
        records, total = reads.calls(TENANT, filters, 1, 25)
        assert (filters, ids(records), total) == (filters, ids(expected), len(expected))


def test_a_filter_that_does_not_exist_is_an_error_not_a_query(reads: Reads) -> None:
    with pytest.raises(ValueError, match="no filter"):
        reads.calls(TENANT, {"1 = 1 OR node": "x"}, 1, 25)


def test_hostile_values_are_only_values(writer: Writer, reads: Reads) -> None:
    put(writer, [a_call(campaign="c")])
    for value in ("' OR 1=1 --", "%", "?", "%s", "c' ", "\\"):
        assert reads.calls(TENANT, {"campaign_id": value, "disposition": value}, 1, 25) == ([], 0)


def test_the_timeline_is_in_order(writer: Writer, reads: Reads) -> None:
    call = a_call()
    writer.put(call)
    for name, at_us, source in (
        ("queued", T0 + 900, Source.CLOCK),
        ("originate_sent", T0 + 950, Source.CLOCK),
        ("created", T0, Source.EVENT),
        ("answered", T0 + 50, Source.EVENT),
        ("rang", T0 + 20, Source.EVENT),
        ("hangup_asked", T0 + 1, Source.CLOCK),
        ("ended", T0 + 99, Source.CDR),
    ):
        writer.note(noted(call, name, at_us, source, "why" if name == "ended" else None))
    writer.flush(5)
    timeline = reads.timeline(TENANT, call.id)
    assert [note.name for note in timeline] == [
        "queued",
        "originate_sent",
        "created",
        "rang",
        "hangup_asked",
        "answered",
        "ended",
    ]
    assert timeline[-1] == noted(call, "ended", T0 + 99, Source.CDR, "why").note


def test_live_calls_of_a_switch_come_back_whole(writer: Writer, reads: Reads) -> None:
    live = changed(a_call(T0, campaign="c"), answered_us=T0 + 5)
    put(writer, [live, ended(a_call(T0 + 1)), a_call(T0 + 2, node="sw2")])
    assert reads.live_calls("sw1") == [live]
    assert reads.live_calls("sw3") == []


def test_a_state_that_cannot_be_read_does_not_stop_the_others(writer: Writer, reads: Reads) -> None:
    calls = [a_call(T0), a_call(T0 + 1)]
    put(writer, calls)

    def spoil(db: peewee.Database) -> None:
        sql.query(db, "UPDATE call SET state = '{\"id\": 7}' WHERE dial_us = " + str(T0))

    writer.execute(spoil, 5)
    assert reads.live_calls("sw1") == [calls[1]]


def test_the_nodes_that_calls_name_are_found_by_steps(writer: Writer, reads: Reads, store: Store) -> None:
    assert store.run(cdrs.nodes, 5) == []
    put(writer, [a_call(T0 + n, node=node) for n, node in enumerate(("sw2", "sw1", "sw2", "é", "sw1"))])
    assert sorted(store.run(cdrs.nodes, 5)) == ["sw1", "sw2", "é"]


def test_campaigns_and_leads_are_paged(writer: Writer, reads: Reads) -> None:
    clock = iter(range(100, 200))
    edits = Edits(writer, reads, now_us=lambda: next(clock))
    for name in ("b", "a", "ü"):
        edits.create_campaign(TENANT, name, f"campaign {name}")
    edits.create_campaign(OTHER, "a", None)
    found, total = reads.campaigns(TENANT, 1, 2)
    assert ([c.id for c in found], total) == (["ü", "a"], 3)
    assert [c.id for c in reads.campaigns(TENANT, 2, 2)[0]] == ["b"]
    assert reads.campaigns(TENANT, 3, 2) == ([], 3)
    campaign = reads.campaign(TENANT, "a")
    assert campaign is not None
    assert (campaign.name, campaign.created_us) == ("campaign a", 101)
    assert reads.campaign(OTHER, "b") is None
    edits.create_lead(TENANT, "l1", "a", "Ada", "+49301")
    edits.create_lead(TENANT, "l2", None, None, None)
    assert [lead.id for lead in reads.leads(TENANT, None, 1, 10)[0]] == ["l2", "l1"]
    assert [lead.phone_number for lead in reads.leads(TENANT, "a", 1, 10)[0]] == ["+49301"]
    assert reads.lead(OTHER, "l1") is None
    assert reads.lead(TENANT, "l1") == reads.leads(TENANT, "a", 1, 10)[0][0]


def test_campaigns_of_one_moment_are_in_the_order_of_their_ids(writer: Writer, reads: Reads) -> None:
    edits = Edits(writer, reads, now_us=lambda: 7)
    for name in ("b", "Z", "a", "_"):
        edits.create_campaign(TENANT, name, None)
    assert [c.id for c in reads.campaigns(TENANT, 1, 10)[0]] == ["Z", "_", "a", "b"]


def test_data_as_of_tells_up_to_when_the_engines_wrote(writer: Writer, reads: Reads) -> None:
    before = time.time_ns() // 1000
    put(writer, [a_call()])
    reads.check()
    assert before <= (reads.data_as_of or 0) <= time.time_ns() // 1000


def test_data_as_of_is_not_known_before_an_engine_wrote(reads: Reads) -> None:
    reads.check()
    assert reads.data_as_of is None


# -- slow, away, crowded ------------------------------------------------------------------------------------------


def _endless(db: peewee.Database) -> object:
    if isinstance(db, peewee.SqliteDatabase):
        return sql.query(
            db, "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
        ).fetchone()
    return sql.query(db, "SELECT pg_sleep(20)").fetchone()


def test_a_slow_query_is_given_up_and_the_hub_goes_on(store: Store) -> None:
    ticks: list[int] = []

    def tick() -> None:
        while True:
            ticks.append(1)
            gevent.sleep(0.01)

    ticker = gevent.spawn(tick)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="in time"):
        store.run(_endless, 0.3)
    assert time.monotonic() - started < 2
    ticker.kill()
    assert len(ticks) > 10
    assert store.failures == 1


def test_an_abandoned_query_of_sqlite_ends_by_itself(sqlite_store: Store) -> None:
    with pytest.raises(StoreUnavailable):
        sqlite_store.run(_endless, 0.2)
    gevent.sleep(0.3)
    assert sqlite_store.reading == 0


def test_reads_are_bounded_and_the_rest_waits_its_turn(store: Store) -> None:
    seen: list[int] = []
    gate = monkey.get_original("_thread", "allocate_lock")()
    gate.acquire()

    def read(db: peewee.Database) -> int:
        seen.append(store.reading)
        with gate:
            pass
        return int(sql.query(db, "SELECT 1").fetchone()[0])

    size = store.settings.pool_size
    greenlets = [gevent.spawn(store.run, read, 5) for _ in range(2 * size)]
    gevent.sleep(0.1)
    assert (store.reading, store.waiting) == (size, size)
    with pytest.raises(StoreUnavailable, match="too many"):
        store.run(read, 0.01)
    gate.release()
    gevent.joinall(greenlets, timeout=5)
    assert [greenlet.value for greenlet in greenlets] == [1] * (2 * size)
    assert max(seen) <= size
    assert store.reading == 0


def test_an_error_of_the_reader_is_its_own(store: Store) -> None:
    with pytest.raises(LookupError):
        store.run(_raises, 5)
    with pytest.raises(peewee.PeeweeException):
        store.run(lambda db: sql.query(db, "SELECT nonsense FROM nowhere"), 5)
    assert store.run(lambda db: sql.query(db, "SELECT 1").fetchone()[0], 5) == 1
    assert store.failures == 0


def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises((peewee.PeeweeException, StoreUnavailable)):
        store.run(lambda db: sql.query(db, "INSERT INTO engine (node, version, data_as_of_us) VALUES ('x', '1', 1)"), 5)


def test_a_thread_of_a_foreign_web_server_can_read(writer: Writer, store: Store, reads: Reads) -> None:
    call = a_call()
    put(writer, [call])
    found: list[object] = []

    def in_thread() -> None:
        found.append(reads.call(TENANT, call.id))
        try:
            store.run(_endless if store.kind == "sqlite" else _raises, 0.2)
        except (StoreUnavailable, LookupError) as error:
            found.append(type(error))

    gevent.get_hub().threadpool.apply(in_thread)
    assert found == [record_of(call), StoreUnavailable if store.kind == "sqlite" else LookupError]


def _raises(db: peewee.Database) -> None:
    raise LookupError


def test_terminated_connections_are_replaced(postgres_store: Store) -> None:
    one = lambda db: sql.query(db, "SELECT 1").fetchone()[0]  # noqa: E731
    gevent.joinall([gevent.spawn(postgres_store.run, one, 5) for _ in range(6)])
    assert postgres_store.execute(terminate_others, 5) >= 1
    assert [postgres_store.run(one, 5) for _ in range(8)] == [1] * 8


def test_a_database_that_vanished_is_unavailable_and_comes_back(
    reads: Reads, database_away: Callable[[], AbstractContextManager[None]]
) -> None:
    assert reads.calls(TENANT, {}, 1, 1) == ([], 0)
    with database_away(), pytest.raises(StoreUnavailable):
        reads.calls(TENANT, {}, 1, 1)
    assert reads.calls(TENANT, {}, 1, 1) == ([], 0)
