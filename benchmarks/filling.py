"""A store with as many calls as are wanted, in bulk: rows as the engine writes them, in one process, past the engine.

Real rows (of ``rows.call_row``) are the pattern; what differs between calls (ids, numbers, times, disposition) is put
in by position. SQLite gets them by ``executemany``, Postgres by COPY. The campaign ``CAMPAIGN`` has nine of ten.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import peewee

from callengine.calls.call import Call
from callengine.calls.ids import call_id_of
from callengine.calls.leg import Leg
from callengine.calls.record import record_of
from callengine.config.sections import Database
from callengine.store import numbers, rows, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store, open_database, transaction
from pydantic import SecretStr

CAMPAIGN: Final = "spring"
NODE: Final = "filled"
_CHUNK: Final = 20_000
_SPACING_US: Final = 100_000
"""Between calls: ten a second."""
_DISPOSITIONS: Final = (None, None, None, "sale", "callback", "not_interested", "wrong_number")
_COLUMNS: Final = (*rows._COLUMNS, "disposition", "disposition_by")


def opened(folder: Path, url: str | None = None) -> Store:
    """A migrated store: SQLite in ``folder``, or what is at ``url``."""
    return open_database(Database(url=SecretStr(url or f"sqlite:///{folder / 'calls.db'}")), folder)


def fill(store: Store, count: int, *, first: int = 0, tenant: str = "default") -> str:
    """Adds calls ``first`` to ``first + count``, the latest of which was a minute ago; the tenant's id."""
    tenant_id = Accounts(store, store).ensure_tenant(tenant).id
    db = store.connection(readonly=False)
    db.connect()
    try:
        with transaction(db):
            now_us = time.time_ns() // 1000
            packed = rows.id_for(store.kind)(tenant_id)
            rows.CAMPAIGNS.run(db, [(packed, CAMPAIGN, now_us), (packed, "autumn", now_us)])
        for chunk in _chunks(tenant_id, first, count, store.kind):
            with transaction(db):
                _insert(db, chunk)
                numbers.make_batch(db, most=_CHUNK)
        _settle(db)
    finally:
        db.close()
    return tenant_id


def _insert(db: peewee.Database, chunk: list[tuple[Any, ...]]) -> None:
    names = ", ".join(_COLUMNS)
    cursor = cast(Any, db).cursor()
    if sql.is_postgres(db):
        with cursor.copy(f"COPY call ({names}) FROM STDIN") as copy:
            for row in chunk:
                copy.write_row(row)
        return
    cursor.executemany(f"INSERT INTO call ({names}) VALUES ({', '.join('?' * len(_COLUMNS))})", chunk)


def _settle(db: peewee.Database) -> None:
    if sql.is_postgres(db):
        raw: Any = cast(Any, db).connection()
        before, raw.autocommit = raw.autocommit, True
        raw.execute("VACUUM ANALYZE call, call_number, call_number_recent")
        raw.autocommit = before
    else:
        sql.query(db, "PRAGMA wal_checkpoint(TRUNCATE)")


def _chunks(tenant_id: str, first: int, count: int, kind: str) -> Iterator[list[tuple[Any, ...]]]:
    pack = rows.id_for(kind)
    kinds = [_pattern(tenant_id, pack, how) for how in ("completed", "failed", "agent")]
    at = {name: _COLUMNS.index(name) for name in ("id", "fs_uuid", "dial_us", "ring_us", "answer_us", "end_us")}
    dial, agent_at = at["dial_us"], _COLUMNS.index("agent_connect_us")
    campaign, callee = _COLUMNS.index("campaign_id"), _COLUMNS.index("callee_number")
    disposition = _COLUMNS.index("disposition")
    dice = random.Random(first)
    begin_us = time.time_ns() // 1000 - 60_000_000 - (first + count) * _SPACING_US
    chunk: list[tuple[Any, ...]] = []
    for serial in range(first, first + count):
        row = list(kinds[(0, 0, 1, 1, 2)[dice.randrange(5)]])
        created_us = begin_us + serial * _SPACING_US + dice.randrange(_SPACING_US)
        fs_uuid = f"{serial:08x}-{dice.getrandbits(16):04x}-4000-8000-{dice.getrandbits(48):012x}"
        row[at["id"]] = pack(call_id_of(NODE, fs_uuid, created_us))
        row[at["fs_uuid"]] = fs_uuid
        shift = created_us - row[dial]
        for place in (dial, at["ring_us"], at["answer_us"], agent_at, at["end_us"]):
            if row[place] is not None:
                row[place] += shift
        row[campaign] = "autumn" if serial % 10 == 0 else CAMPAIGN
        row[callee] = f"+49170{serial % 10_000_000:07}"
        row[disposition] = _DISPOSITIONS[dice.randrange(len(_DISPOSITIONS))]
        row[disposition + 1] = "agent" if row[disposition] else None
        chunk.append(tuple(row))
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _pattern(tenant_id: str, pack: Any, how: str) -> tuple[Any, ...]:
    start = 1_700_000_000_000_000
    uuid = "00000000-0000-4000-8000-000000000000"
    leg = Leg(
        uuid=uuid,
        core_uuid="0fe0a1c2-3d4e-4f50-8a9b-0c1d2e3f4a5b",
        direction="outbound",
        first_created_us=start,
        created_us=start,
        progress_us=start + 1_500_000,
        answered_us=0 if how == "failed" else start + 6_300_000,
        hangup_us=start + 21_000_000,
        hangup_cause="USER_BUSY" if how == "failed" else "NORMAL_CLEARING",
        caller_number="+4930123456",
        caller_name="Spring",
        callee_number="+491700000000",
        gateway="carrier",
        sip_call_id=f"{uuid}@198.51.100.7",
        over=True,
    )
    call = Call(
        id=call_id_of(NODE, uuid, start),
        node=NODE,
        own=leg,
        tenant_id=tenant_id,
        campaign=CAMPAIGN,
        lead="lead-1",
        seq=4,
    )
    record = record_of(call)
    if how == "agent":
        connected_us = start + 8_000_000
        record.agent_id, record.agent_connect_us = "kim", connected_us
        agent_leg = "00000000-0000-4000-8000-000000000001"
        times = {"connect_us": connected_us, "disconnect_us": record.end_us}
        record.agents = [{"agent_id": "kim", "leg": agent_leg, **times}]
    return (*rows.call_row(call, record, pack), None, None)
