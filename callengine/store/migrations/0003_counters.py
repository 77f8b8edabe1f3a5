"""How many calls of a campaign are over, by their dial time, status and disposition; kept by triggers.

Triggers, so that whoever writes of calls keeps them, in the same transaction: the engine, who sets a disposition, who
deletes. What is live is not counted, so that a call is counted once in its life, not at each of its steps.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants

from __future__ import annotations

from importlib import import_module
from typing import Any

import peewee

from callengine.store import counted, sql

_FIRST = import_module("callengine.store.migrations.0001_initial")

_TABLE = """
    CREATE TABLE call_count (
        tenant_id {id} NOT NULL,
        campaign_id {key} NOT NULL,
        span {int} NOT NULL,
        bucket {int} NOT NULL,
        status {key} NOT NULL,
        disposition {key} NOT NULL,
        n {int} NOT NULL,
        PRIMARY KEY (tenant_id, campaign_id, span, bucket, status, disposition)
    ) {clustered}
"""
_POSTGRES_ROOM = "ALTER TABLE call_count SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)"
# A live call changes in none of them at its steps.
_INDEXES = (
    "CREATE INDEX call_of_status ON call (tenant_id, campaign_id, status, {newest}) WHERE NOT live",
    "CREATE INDEX call_live_of_campaign ON call (tenant_id, campaign_id, {newest}) WHERE live",
    """
    CREATE INDEX call_of_disposition ON call (tenant_id, campaign_id, disposition, {newest})
        WHERE disposition IS NOT NULL
    """,
)
_COUNTED = "tenant_id, campaign_id, span, bucket, status, disposition"


def _key(row: str, span: int | None) -> str:
    """The key under which a row is counted. ``span`` None: that of a row ``s``."""
    seconds, us = ("s.span", "(s.span * 1000000)") if span is None else (span, span * 1_000_000)
    bucket = f"coalesce({row}dial_us, {counted.NOT_DIALLED_US}) / {us}"
    return f"{row}tenant_id, {row}campaign_id, {seconds}, {bucket}, {row}status, coalesce({row}disposition, '')"


def _more(span: int) -> str:
    return f"""
        INSERT INTO call_count ({_COUNTED}, n) SELECT {_key("NEW.", span)}, 1
            WHERE NEW.campaign_id IS NOT NULL AND NOT NEW.live
            ON CONFLICT ({_COUNTED}) DO UPDATE SET n = n + 1;
    """


def _less(span: int) -> str:
    return f"""
        UPDATE call_count SET n = n - 1 WHERE NOT OLD.live AND ({_COUNTED}) = ({_key("OLD.", span)});
    """


_COLUMNS = ("tenant_id", "campaign_id", "dial_us", "live", "status", "disposition")
_MORE = "".join(map(_more, counted.SPANS))
_LESS = "".join(map(_less, counted.SPANS))
_CHANGED = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _COLUMNS)
_SQLITE = (
    f"CREATE TRIGGER call_counted_more AFTER INSERT ON call WHEN NOT NEW.live BEGIN {_MORE} END",
    f"CREATE TRIGGER call_counted_less AFTER DELETE ON call WHEN NOT OLD.live BEGIN {_LESS} END",
    f"""
    CREATE TRIGGER call_counted_anew AFTER UPDATE OF {", ".join(_COLUMNS)} ON call
        WHEN NOT (OLD.live AND NEW.live) AND ({_CHANGED}) BEGIN {_LESS} {_MORE} END
    """,
)

# By statement, not by row: a row that is counted a hundred times in a transaction would have as many versions. In the
# order of the key, so that two who count at once wait for each other in one direction.
_SPANS = ", ".join(f"({span}::bigint)" for span in counted.SPANS)
_POSTGRES_FUNCTION = f"""
    CREATE FUNCTION call_counted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO call_count AS c ({_COUNTED}, n)
                SELECT {_key("r.", None)}, count(*) FROM after_it r, (VALUES {_SPANS}) AS s (span)
                WHERE r.campaign_id IS NOT NULL AND NOT r.live GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
                ON CONFLICT ({_COUNTED}) DO UPDATE SET n = c.n + excluded.n;
        ELSIF TG_OP = 'DELETE' THEN
            INSERT INTO call_count AS c ({_COUNTED}, n)
                SELECT {_key("r.", None)}, -count(*) FROM before_it r, (VALUES {_SPANS}) AS s (span)
                WHERE r.campaign_id IS NOT NULL AND NOT r.live GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
                ON CONFLICT ({_COUNTED}) DO UPDATE SET n = c.n + excluded.n;
        ELSE
            INSERT INTO call_count AS c ({_COUNTED}, n)
                SELECT {_key("r.", None)}, sum(r.d)
                FROM (SELECT -1 AS d, o.* FROM before_it o UNION ALL SELECT 1, n.* FROM after_it n) r,
                    (VALUES {_SPANS}) AS s (span)
                WHERE r.campaign_id IS NOT NULL AND NOT r.live
                GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(r.d) <> 0 ORDER BY 1, 2, 3, 4, 5, 6
                ON CONFLICT ({_COUNTED}) DO UPDATE SET n = c.n + excluded.n;
        END IF;
        RETURN NULL;
    END $$
"""
_EACH = "FOR EACH STATEMENT EXECUTE FUNCTION call_counted()"
_POSTGRES = (
    _POSTGRES_ROOM,
    _POSTGRES_FUNCTION,
    f"CREATE TRIGGER call_counted_more AFTER INSERT ON call REFERENCING NEW TABLE AS after_it {_EACH}",
    f"CREATE TRIGGER call_counted_less AFTER DELETE ON call REFERENCING OLD TABLE AS before_it {_EACH}",
    f"""
    CREATE TRIGGER call_counted_anew AFTER UPDATE ON call
        REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it {_EACH}
    """,
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Add the counters, and count what is there."""
    sqlite = isinstance(db, peewee.SqliteDatabase)
    types = _FIRST._SQLITE if sqlite else _FIRST._POSTGRES
    sql.query(db, _TABLE.format(**types))
    if not sqlite:
        # Of an engine of the version before, at work meanwhile, no call must end between the count and the triggers.
        sql.query(db, "LOCK TABLE call IN SHARE ROW EXCLUSIVE MODE")
    for span in counted.SPANS:
        sql.query(
            db,
            f"INSERT INTO call_count ({_COUNTED}, n) SELECT {_key('', span)}, count(*) FROM call"
            " WHERE campaign_id IS NOT NULL AND NOT live GROUP BY 1, 2, 3, 4, 5, 6",
        )
    for statement in _INDEXES:
        sql.query(db, statement.format(**types))
    for statement in _SQLITE if sqlite else _POSTGRES:
        sql.query(db, statement)
