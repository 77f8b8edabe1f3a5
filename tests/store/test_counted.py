"""The counters are what a count would say, whatever is done to calls; pages found through them are the plain ones."""

from __future__ import annotations

import random
from typing import Any

import peewee
import pytest

from callengine.calls.call import Call
from callengine.store import counted, migrate, rows, schema, sql
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.build import OTHER, T0, TENANT, a_call, changed, ended

_DAY_US = 86_400_000_000
_CODES = (None, "sale", "callback")


def _counters(db: peewee.Database) -> list[tuple[Any, ...]]:
    text = "SELECT tenant_id, campaign_id, span, bucket, status, disposition, n FROM call_count WHERE n <> 0"
    return sorted(tuple(map(str, row)) for row in sql.query(db, text).fetchall())


def _counted_by_hand(db: peewee.Database) -> list[tuple[Any, ...]]:
    found = []
    for span in counted.SPANS:
        text = (
            f"SELECT tenant_id, campaign_id, {span}, coalesce(dial_us, {schema.MAX_INT}) / {span * 1_000_000},"
            " status, coalesce(disposition, ''), count(*)"
            " FROM call WHERE campaign_id IS NOT NULL AND NOT live GROUP BY 1, 2, 3, 4, 5, 6"
        )
        found += [tuple(map(str, row)) for row in sql.query(db, text).fetchall()]
    return sorted(found)


def _holds(store: Store) -> None:
    kept, real = store.run(_counters, 10), store.run(_counted_by_hand, 10)
    assert kept == real
    assert all(int(row[-1]) >= 0 for row in kept)


class _Random:
    """Does anything to calls that anybody does."""

    def __init__(self, store: Store, writer: Writer, seed: int) -> None:
        self._store = store
        self._writer = writer
        self._edits = Edits(writer, Reads(store))
        self._dice = random.Random(seed)
        self.calls: list[Call] = []

    def step(self) -> None:
        dice = self._dice
        if len(self.calls) < 10 or dice.random() < 0.4:
            self.calls.append(self._begun())
            self._writer.put(self.calls[-1])
            return
        at = dice.randrange(len(self.calls))
        call = self.calls[at]
        what = dice.choice(("ring", "end", "end", "answer", "edit", "move", "delete", "dial", "side", "reopen"))
        if what == "edit":
            self._writer.flush(10)
            self._edits.edit_call(call.tenant_id, call.id, {"disposition": dice.choice(_CODES)})
        elif what == "delete":
            self._run("DELETE FROM call WHERE id = ?", call)
            self.calls.pop(at)
        elif what in ("move", "dial", "reopen"):
            values = {"move": ("campaign_id", dice.choice((None, "autumn"))), "dial": ("dial_us", T0 + at)}
            name, value = values.get(what, ("live", True))
            self._run(f"UPDATE call SET {name} = ? WHERE id = ?", call, value)
        elif what == "side":
            self._run("UPDATE call SET ai_summary = ? WHERE id = ?", call, "said")
        elif not call.over:
            self.calls[at] = self._later(call, what)
            self._writer.put(self.calls[at])

    def _begun(self) -> Call:
        dice = self._dice
        dial_us = T0 + dice.randrange(4) * _DAY_US + dice.randrange(6) * 300_000_000 + dice.randrange(1000)
        tenant = dice.choice((TENANT, TENANT, TENANT, OTHER))
        return a_call(dial_us, tenant_id=tenant, campaign=dice.choice(("spring", "spring", "autumn", None)))

    def _later(self, call: Call, what: str) -> Call:
        if what == "ring":
            return changed(call, progress_us=call.own.created_us + 1, seq=call.seq + 1)
        if what == "answer":
            return changed(call, answered_us=call.own.created_us + 2, seq=call.seq + 1)
        return ended(call, seq=call.seq + 1)

    def _run(self, text: str, call: Call, *values: Any) -> None:
        self._writer.flush(10)
        packed = rows.id_for(self._store.kind)(call.id)
        self._writer.execute(lambda db: sql.run(db, text, (*values, packed)), 10)


@pytest.mark.parametrize("seed", range(3))
def test_the_counters_are_what_a_count_would_say(store: Store, writer: Writer, seed: int) -> None:
    at_work = _Random(store, writer, seed)
    for _ in range(4):
        for _ in range(60):
            at_work.step()
        writer.flush(10)
        _holds(store)
    assert len(store.run(_counters, 10)) > 10


def test_a_job_that_fails_leaves_the_counters_alone(store: Store, writer: Writer) -> None:
    writer.put(ended(a_call(campaign="spring")))
    writer.flush(10)

    def fails(db: peewee.Database) -> None:
        sql.run(db, "DELETE FROM call")
        raise LookupError

    with pytest.raises(LookupError):
        writer.execute(fails, 10)
    _holds(store)
    assert store.run(_counters, 10)


@pytest.mark.parametrize("filters", [{}, {"status": "completed"}, {"status": "failed"}, {"status": "ringing"}])
@pytest.mark.parametrize("code", [None, "sale", "never"])
def test_pages_are_those_of_plain_sql(
    store: Store, writer: Writer, filters: dict[str, str], code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "_SHORT", 3)
    at_work = _Random(store, writer, 7)
    for _ in range(200):
        at_work.step()
    writer.flush(10)
    not_dialled = [a_call(0, campaign="spring") for _ in range(9)]
    for call in not_dialled:
        writer.put(call)
    writer.flush(10)
    reads = Reads(store)
    wanted = {**filters, "campaign_id": "spring", **({"disposition": code} if code else {})}
    for size in (1, 7, 200):
        pages = [reads.calls(TENANT, wanted, page, size) for page in range(1, 12)]
        with monkeypatch.context() as plain:
            plain.setattr(counted, "is_counted", lambda filters: False)
            assert pages == [reads.calls(TENANT, wanted, page, size) for page in range(1, 12)]
    if not filters and code is None:
        assert pages[0][1] > 30


def test_the_last_page_of_many_ten_minutes(store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_SHORT", 5)
    calls = [ended(a_call(T0 + n * 200_000_000, campaign="spring")) for n in range(300)]
    for call in calls:
        writer.put(call)
    writer.flush(10)
    reads = Reads(store)
    oldest_first = [call.id for call in calls]
    for page in (1, 2, 17, 60, 61):
        records, total = reads.calls(TENANT, {"campaign_id": "spring", "status": "failed"}, page, 5)
        assert total == 300
        assert [r.id for r in records] == oldest_first[::-1][(page - 1) * 5 : page * 5]


def test_what_was_there_before_is_counted_by_the_migration(store: Store, writer: Writer) -> None:
    at_work = _Random(store, writer, 3)
    for _ in range(80):
        at_work.step()
    writer.flush(10)

    def before(db: peewee.Database) -> None:
        if sql.is_postgres(db):
            sql.query(db, "DROP FUNCTION call_counted CASCADE")
        else:
            for name in ("more", "less", "anew"):
                sql.query(db, f"DROP TRIGGER call_counted_{name}")
        sql.query(db, "DROP TABLE call_count")
        for index in ("call_of_status", "call_of_disposition", "call_live_of_campaign"):
            sql.query(db, f"DROP INDEX {index}")
        sql.query(db, "DELETE FROM schema_migration WHERE name = '0003_counters'")

    def again(db: peewee.Database) -> list[str]:
        return migrate.upgrade(db)

    store.execute(before, 30)
    db = store.connection(readonly=False)
    db.connect()
    try:
        assert again(db) == ["0003_counters"]
    finally:
        db.close()
    _holds(store)
