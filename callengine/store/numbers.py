"""Which calls have a number: the newest in a short table, which is read whole, all others in batches, each an index.

The database keeps both (migration 0004). A call costs one row at the end of the short table; thousands at a time are
moved into a batch, sorted by number. A search reads the short table and looks into each batch once, in the same moment.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import gevent
import peewee

from callengine.store import schema, sql
from callengine.store.database import Kind
from callengine.store.entities import Executes

LEAST: Final = 8_000
"""So many calls are worth a batch; a search reads up to so many more, and a batch of those at the least."""
_MOST: Final = 10_000
_ROUNDS: Final = 200
_TIMEOUT_S: Final = 10.0
_NOT_DIALLED_US: Final = schema.MAX_INT
_OWN: Final = frozenset({"number", "dialed_after_us", "dialed_before_us"})
# Batch by batch, each an index by itself. SQLite takes a CROSS JOIN in its order; Postgres a subquery with OFFSET.
_IN_BATCHES: Final[dict[Kind, str]] = {
    "sqlite": "call_number_batch AS b CROSS JOIN call_number AS n"
    " WHERE n.batch = b.batch AND n.tenant_id = ? AND n.number = ?",
    "postgres": "call_number_batch AS b CROSS JOIN LATERAL (SELECT dialled_us, call_id FROM call_number"
    " WHERE batch = b.batch AND tenant_id = ? AND number = ? OFFSET 0) AS n WHERE TRUE",
}
_BATCH: Final = "INSERT INTO call_number_batch (batch, first_us, last_us) VALUES (?, ?, ?)"
_ENTRIES: Final = (
    "INSERT INTO call_number (batch, tenant_id, number, dialled_us, call_id)"
    " SELECT batch, tenant_id, number, dialled_us, call_id FROM"
    " (SELECT CAST(? AS bigint) AS batch, tenant_id, caller AS number, dialled_us, call_id FROM {moved}"
    " UNION ALL SELECT CAST(? AS bigint), tenant_id, callee, dialled_us, call_id FROM {moved}"
    " WHERE callee <> coalesce(caller, '')) AS n"
    " WHERE length(number) BETWEEN 1 AND 64 ORDER BY 1, 2, 3, 4, 5"
)
_MOVED: Final = "FROM call_number_recent WHERE dialled_us <= ?"


# -- reading -------------------------------------------------------------------------------------------------------


def others(filters: Mapping[str, str | int]) -> dict[str, str | int]:
    """The filters that the numbers' tables do not answer."""
    return {name: value for name, value in filters.items() if name not in _OWN}


def found(kind: Kind, tenant_id: Any, filters: Mapping[str, str | int]) -> tuple[str, list[Any]]:
    """The query, with ``?``, for the tenant's calls with ``filters["number"]``, dialled when it is asked for: their
    ``dialled_us`` (what was not dialled yet as the newest) and ``call_id``, each call once. And its values.
    """
    number = filters["number"]
    bounds, of_bounds, batches, of_batches = [""], [], [""], []
    if (after_us := filters.get("dialed_after_us")) is not None:
        bounds.append("dialled_us >= ?")
        batches.append("b.last_us >= ?")
        of_bounds.append(after_us)
        of_batches.append(after_us)
    if (before_us := filters.get("dialed_before_us")) is not None:
        bounds.append("dialled_us < ?")
        batches.append("b.first_us < ?")
        of_bounds.append(before_us)
        of_batches.append(before_us)
    if of_bounds:
        bounds.append(f"dialled_us < {_NOT_DIALLED_US}")
    when, which = " AND ".join(bounds), " AND ".join(batches)
    text = (
        "SELECT dialled_us, call_id FROM call_number_recent"
        f" WHERE tenant_id = ? AND (caller = ? OR callee = ?){when}"
        f" UNION ALL SELECT dialled_us, call_id FROM {_IN_BATCHES[kind]}{which}{when}"
    )
    return text, [tenant_id, number, number, *of_bounds, tenant_id, number, *of_batches, *of_bounds]


# -- keeping -------------------------------------------------------------------------------------------------------


def settle(executor: Executes) -> None:
    """Moves what is recent into batches, as long as there is enough of it. Raises StoreUnavailable."""
    for _ in range(_ROUNDS):
        if not executor.execute(make_batch, _TIMEOUT_S):
            return
        gevent.sleep(0)


def make_batch(db: peewee.Database, least: int = LEAST, most: int = _MOST) -> int:
    """Makes a batch of the oldest calls that were dialled, if there are ``least``; how many it was."""
    text = f"SELECT dialled_us FROM call_number_recent WHERE dialled_us < {_NOT_DIALLED_US} ORDER BY 1 LIMIT ?"
    times: Sequence[tuple[int]] = sql.run(db, text, (most,)).fetchall()
    if not times or len(times) < least:
        return 0
    first_us, last_us = times[0][0], times[-1][0]
    batch = sql.run(db, "SELECT coalesce(max(batch), 0) + 1 FROM call_number_batch").fetchone()[0]
    sql.run(db, _BATCH, (batch, first_us, last_us))
    if sql.is_postgres(db):
        # In one statement: another engine may add to them meanwhile.
        text = f"WITH moved AS (DELETE {_MOVED} RETURNING *) {_ENTRIES.format(moved='moved')}"
        sql.run(db, text, (last_us, batch, batch))
    else:
        moved = f"(SELECT * {_MOVED})"
        sql.run(db, _ENTRIES.format(moved=moved), (batch, last_us, batch, last_us))
        sql.run(db, f"DELETE {_MOVED}", (last_us,))
    return len(times)
