"""Calls by number: what the database keeps is what is in the calls, whatever is done to them, and pages are whole."""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

import gevent
import peewee
import pytest

from callengine.calls.call import Call
from callengine.calls.numbers import comparable, searched
from callengine.store import numbers, rows, schema, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store, transaction
from callengine.store.reads import Reads
from callengine.store.upkeep import Upkeep
from callengine.store.writer import Writer
from tests.store.build import OTHER, T0, TENANT, a_call, changed, ended

_NUMBERS = (
    "+49 30 1234",
    "4930-1234",
    "(4930)1.2/34",
    "++49301234",
    "1000",
    "anonymous",
    "*98#",
    "",
    "-",
    "7" * 65,
    None,
)


def _kept(db: peewee.Database) -> list[tuple[Any, ...]]:
    """Each number of each call as the tables have it, what is in a batch as being where the batch says."""
    text = (
        "SELECT n.tenant_id, n.number, n.dialled_us, n.call_id FROM call_number AS n"
        " JOIN call_number_batch AS b ON b.batch = n.batch AND n.dialled_us BETWEEN b.first_us AND b.last_us"
    )
    found = [tuple(row) for row in sql.query(db, text).fetchall()]
    text = "SELECT tenant_id, caller, callee, dialled_us, call_id FROM call_number_recent"
    for tenant, caller, callee, dialled_us, call_id in sql.query(db, text).fetchall():
        found += [(tenant, number, dialled_us, call_id) for number in {caller, callee} if _indexed(number)]
    return sorted((schema.text_of(t), n, at, schema.text_of(c)) for t, n, at, c in found)


def _real(db: peewee.Database) -> list[tuple[Any, ...]]:
    found = []
    text = "SELECT tenant_id, caller_number, callee_number, dial_us, id FROM call"
    for tenant, caller, callee, dial_us, call_id in sql.query(db, text).fetchall():
        bare = {comparable(number) for number in (caller, callee) if number is not None}
        at = schema.MAX_INT if dial_us is None else dial_us
        found += [(schema.text_of(tenant), n, at, schema.text_of(call_id)) for n in bare if _indexed(n)]
    return sorted(found)


def _indexed(number: str | None) -> bool:
    return number is not None and 0 < len(number) <= 64


class _Random:
    """Does anything to calls that changes their numbers, and makes batches of them meanwhile."""

    def __init__(self, store: Store, writer: Writer, seed: int) -> None:
        self._store, self._writer = store, writer
        self._dice = random.Random(seed)
        self.calls: list[Call] = []

    def step(self) -> None:
        dice = self._dice
        what = dice.choice(("new",) * 6 + ("over", "number", "dial", "move", "delete", "batch"))
        if what == "new" or len(self.calls) < 10:
            at_us = dice.choice((0, *(T0 + dice.randrange(1000) for _ in range(5))))
            caller, callee = dice.choice(_NUMBERS), dice.choice(_NUMBERS)
            tenant = dice.choice((TENANT, TENANT, OTHER))
            self.calls.append(a_call(at_us, tenant_id=tenant, caller_number=caller, callee_number=callee))
            self._writer.put(self.calls[-1])
            return
        at = dice.randrange(len(self.calls))
        if what == "over":
            self.calls[at] = ended(self.calls[at], T0 + 5000, seq=self.calls[at].seq + 1)
            self._writer.put(self.calls[at])
            return
        self._writer.flush(10)
        if what == "batch":
            self._writer.execute(lambda db: numbers.make_batch(db, 5, 12), 10)
        elif what == "delete":
            self._run("DELETE FROM call WHERE id = ?", self.calls.pop(at))
        elif what == "number":
            change = dice.choice(("caller_number", "callee_number"))
            self.calls[at] = changed(self.calls[at], **{change: dice.choice(_NUMBERS)}, seq=self.calls[at].seq + 1)
            self._writer.put(self.calls[at])
        elif what == "dial":
            self._run("UPDATE call SET dial_us = ? WHERE id = ?", self.calls[at], T0 + dice.randrange(2000))
        else:
            self._run("UPDATE call SET tenant_id = ? WHERE id = ?", self.calls[at], self._pack(OTHER))

    def _pack(self, text: str) -> Any:
        return rows.id_for(self._store.kind)(text)

    def _run(self, text: str, call: Call, *values: Any) -> None:
        self._writer.execute(lambda db: sql.run(db, text, (*values, self._pack(call.id))), 10)


def _holds(store: Store) -> None:
    kept, real = store.run(_kept, 10), store.run(_real, 10)
    assert kept == real


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_is_what_the_calls_have(store: Store, writer: Writer, seed: int) -> None:
    at_work = _Random(store, writer, seed)
    for _ in range(4):
        for _ in range(60):
            at_work.step()
        writer.flush(10)
        _holds(store)
    count = "SELECT count(*), (SELECT count(*) FROM call_number_recent) FROM call_number_batch"
    batches, recent = store.run(lambda db: sql.query(db, count).fetchone(), 10)
    assert batches > 2
    assert recent > 0


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"status": "dialing"},
        {"status": "failed"},
        {"dialed_after_us": T0 + 300},
        {"dialed_before_us": T0 + 600},
        {"dialed_after_us": T0 + 300, "dialed_before_us": T0 + 600, "direction": "outbound"},
        {"campaign_id": "nobody's"},
    ],
)
def test_pages_are_those_of_the_plain_list(store: Store, writer: Writer, more: dict[str, str | int]) -> None:
    at_work = _Random(store, writer, 11)
    for _ in range(300):
        at_work.step()
    writer.flush(10)
    reads = Reads(store)
    for tenant in (TENANT, OTHER):
        everything, _ = reads.calls(tenant, more, 1, 400)
        for number in ("49301234", "1000", "anonymous", "*98#", "0"):
            wanted = [
                r for r in everything if number in map(comparable, (r.caller_number or "", r.callee_number or ""))
            ]
            assert len({r.id for r in wanted}) == len(wanted)
            for size in (1, 7, 200):
                for page in (1, 2, 3, 60):
                    found = reads.calls(tenant, {**more, "number": number}, page, size)
                    assert found == (wanted[(page - 1) * size : page * size], len(wanted))
    assert number == "0"
    assert wanted == []


def test_a_call_within_its_own_number_is_one(store: Store, writer: Writer) -> None:
    writer.put(a_call(caller_number="+1000", callee_number="1000"))
    writer.flush(10)
    reads = Reads(store)
    assert reads.calls(TENANT, {"number": "1000"}, 1, 10)[1] == 1
    assert writer.execute(lambda db: numbers.make_batch(db, 1, 10), 10) == 1
    assert reads.calls(TENANT, {"number": "1000"}, 1, 10)[1] == 1


def test_what_is_not_dialled_is_in_no_batch(store: Store, writer: Writer) -> None:
    for dial_us in (0, T0, 0, T0 + 1):
        writer.put(a_call(dial_us, caller_number="1000"))
    writer.flush(10)
    assert writer.execute(lambda db: numbers.make_batch(db, 3, 10), 10) == 0
    assert writer.execute(lambda db: numbers.make_batch(db, 1, 10), 10) == 2
    assert writer.execute(lambda db: numbers.make_batch(db, 1, 10), 10) == 0
    found, total = Reads(store).calls(TENANT, {"number": "1000"}, 1, 10)
    assert (total, [r.dial_us for r in found]) == (4, [None, None, T0 + 1, T0])


def test_the_upkeep_makes_batches(store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers.make_batch, "__defaults__", (4, 10))
    for n in range(25):
        writer.put(a_call(T0 + n, caller_number="1000"))
    writer.flush(10)
    Upkeep(writer, Accounts(store, writer), now_us=lambda: T0).once()
    text = "SELECT first_us, last_us FROM call_number_batch ORDER BY batch"
    found = [tuple(row) for row in store.run(lambda db: sql.query(db, text).fetchall(), 10)]
    assert found == [(T0, T0 + 9), (T0 + 10, T0 + 19), (T0 + 20, T0 + 24)]
    _holds(store)


def test_a_group_that_fails_leaves_the_numbers_alone(store: Store, writer: Writer) -> None:
    writer.put(a_call(caller_number="1000"))
    writer.flush(10)

    def fails(db: peewee.Database) -> None:
        numbers.make_batch(db, 1, 10)
        sql.run(db, "DELETE FROM call")
        raise LookupError

    with pytest.raises(LookupError):
        writer.execute(fails, 10)
    _holds(store)
    assert store.run(_kept, 10)


def test_a_call_that_changes_while_it_is_put_into_a_batch_is_found_once(postgres_store: Store) -> None:
    """Another engine may be at that."""
    call_id = _committed(postgres_store, a_call(caller_number="1000", callee_number="2000")).id
    first, second = postgres_store.connection(readonly=False), postgres_store.connection(readonly=False)
    first.connect()
    second.connect()
    text = "UPDATE call SET caller_number = '3000', dial_us = dial_us + 7 WHERE id = ?"
    try:
        with transaction(first):
            assert numbers.make_batch(first, 1, 10) == 1
            change = gevent.get_hub().threadpool.spawn(sql.run, second, text, (call_id,))
            gevent.sleep(0.3)
            assert not change.ready()
        change.get(timeout=10)
    finally:
        first.close()
        second.close()
    _holds(postgres_store)
    for number, total in (("1000", 0), ("2000", 1), ("3000", 1)):
        assert Reads(postgres_store).calls(TENANT, {"number": number}, 1, 10)[1] == total


def _committed(store: Store, call: Call) -> Call:
    made = Writer(store)
    made.start()
    made.put(call)
    made.flush(10)
    made.stop(10)
    return call


@pytest.mark.parametrize("fill", [7, 200_000])
def test_what_was_there_before_is_found_after_the_migration(
    store: Store, writer: Writer, fill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = _Random(store, writer, 3)
    for _ in range(80):
        at_work.step()
    writer.flush(10)
    migration = import_module("callengine.store.migrations.0004_numbers")
    monkeypatch.setattr(migration, "_FILL", fill)
    before = store.run(_real, 10)

    def redone(db: peewee.Database) -> None:
        if sql.is_postgres(db):
            sql.query(db, "DROP FUNCTION call_numbered CASCADE")
        else:
            for name in ("more", "less", "anew"):
                sql.query(db, f"DROP TRIGGER call_number_{name}")
        for table in ("call_number", "call_number_batch", "call_number_recent"):
            sql.query(db, f"DROP TABLE {table}")
        migration.up(None, db)

    store.execute(redone, 30)
    assert store.run(_kept, 10) == before
    for _ in range(80):
        at_work.step()
    writer.flush(10)
    _holds(store)


def test_what_is_typed_is_compared_as_what_is_stored() -> None:
    assert {comparable(n) for n in ("+49 (30) 12-34", "4930/1234", "++4930.1234")} == {"49301234"}
    assert searched("\u202a+49\u00a030\u20111234\u202c") == "49301234"
    assert searched("0049301234") == "0049301234"
    assert searched(" +(-)/. ") == ""
