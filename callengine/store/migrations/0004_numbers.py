"""Which calls have a number, the caller's or the callee's; kept by triggers. See ``callengine.store.numbers``.

An index on the numbers would cost each call a page of its own, since numbers are spread over all of it. So what is new
is only added at the end of ``call_number_recent``, and thousands of calls are moved into ``call_number`` at once: a
batch that lies together.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import peewee

from callengine.store import sql

_FIRST = import_module("callengine.store.migrations.0001_initial")

_FILL: Final = 200_000
_NOT_DIALLED_US: Final = 9_223_372_036_854_775_807
_TABLES = (
    """
    CREATE TABLE call_number (
        batch {int} NOT NULL,
        tenant_id {id} NOT NULL,
        number {key} NOT NULL,
        dialled_us {int} NOT NULL,
        call_id {id} NOT NULL,
        PRIMARY KEY (batch, tenant_id, number, dialled_us, call_id)
    ) {clustered}
    """,
    """
    CREATE TABLE call_number_batch (
        batch {int} NOT NULL PRIMARY KEY,
        first_us {int} NOT NULL,
        last_us {int} NOT NULL
    )
    """,
    """
    CREATE TABLE call_number_recent (
        call_id {id} NOT NULL PRIMARY KEY,
        tenant_id {id} NOT NULL,
        dialled_us {int} NOT NULL,
        caller {key},
        callee {key}
    ) {clustered}
    """,
)


def _of_sqlite(number: str) -> str:
    bare = number
    for separator in " -()./":
        bare = f"replace({bare}, '{separator}', '')"
    return f"ltrim(CASE WHEN {number} GLOB '*[ ()./-]*' THEN {bare} ELSE {number} END, '+')"


def _of_postgres(number: str) -> str:
    return f"ltrim(translate({number}, ' -()./', ''), '+')"


def _recent(sqlite: bool) -> str:
    bare = _of_sqlite if sqlite else _of_postgres
    return f"""
        INSERT INTO call_number_recent (call_id, tenant_id, dialled_us, caller, callee)
            VALUES (NEW.id, NEW.tenant_id, coalesce(NEW.dial_us, {_NOT_DIALLED_US}),
                {bare("NEW.caller_number")}, {bare("NEW.callee_number")})
            ON CONFLICT (call_id) DO UPDATE SET tenant_id = excluded.tenant_id, dialled_us = excluded.dialled_us,
                caller = excluded.caller, callee = excluded.callee;
    """


def _not_in_batch(sqlite: bool) -> str:
    bare = _of_sqlite if sqlite else _of_postgres
    return f"""
        DELETE FROM call_number WHERE
            batch IN (SELECT batch FROM call_number_batch WHERE OLD.dial_us BETWEEN first_us AND last_us)
            AND tenant_id = OLD.tenant_id AND number IN ({bare("OLD.caller_number")}, {bare("OLD.callee_number")})
            AND dialled_us = OLD.dial_us AND call_id = OLD.id;
    """


_NOT_RECENT = "DELETE FROM call_number_recent WHERE call_id = OLD.id;"
_COLUMNS = ("tenant_id", "dial_us", "caller_number", "callee_number")


def _changed(differs: str) -> str:
    return " OR ".join(f"OLD.{name} {differs} NEW.{name}" for name in _COLUMNS)


_SQLITE = (
    f"CREATE TRIGGER call_number_more AFTER INSERT ON call BEGIN {_recent(True)} END",
    f"CREATE TRIGGER call_number_less AFTER DELETE ON call BEGIN {_NOT_RECENT} {_not_in_batch(True)} END",
    f"""
    CREATE TRIGGER call_number_anew AFTER UPDATE OF {", ".join(_COLUMNS)} ON call
        WHEN {_changed("IS NOT")} BEGIN {_recent(True)} {_not_in_batch(True)} END
    """,
)
# What is recent comes first: there it waits for a batch that is being made, and what comes after it sees that batch.
_POSTGRES = (
    f"""
    CREATE FUNCTION call_numbered() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            {_NOT_RECENT}
        ELSE
            {_recent(False)}
        END IF;
        IF TG_OP <> 'INSERT' THEN
            {_not_in_batch(False)}
        END IF;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER call_number_more AFTER INSERT ON call FOR EACH ROW EXECUTE FUNCTION call_numbered()",
    "CREATE TRIGGER call_number_less AFTER DELETE ON call FOR EACH ROW EXECUTE FUNCTION call_numbered()",
    f"""
    CREATE TRIGGER call_number_anew AFTER UPDATE OF {", ".join(_COLUMNS)} ON call FOR EACH ROW
        WHEN ({_changed("IS DISTINCT FROM")}) EXECUTE FUNCTION call_numbered()
    """,
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Add the tables, fill them with what is there, and have them kept."""
    sqlite = isinstance(db, peewee.SqliteDatabase)
    types = _FIRST._SQLITE if sqlite else _FIRST._POSTGRES
    for statement in _TABLES:
        sql.query(db, statement.format(**types))
    if not sqlite:
        # Of an engine of the version before, at work meanwhile, no call must come between the filling and the triggers.
        sql.query(db, "LOCK TABLE call IN SHARE ROW EXCLUSIVE MODE")
    _fill(db, _of_sqlite if sqlite else _of_postgres)
    for statement in _SQLITE if sqlite else _POSTGRES:
        sql.query(db, statement)


def _fill(db: peewee.Database, bare: Any) -> None:
    """In batches of so many calls, by id, which is by time: sorting them all at once would take as much memory."""
    caller, callee = bare("caller_number"), bare("callee_number")
    values: list[Any]
    sql.query(
        db,
        "INSERT INTO call_number_recent (call_id, tenant_id, dialled_us, caller, callee)"
        f" SELECT id, tenant_id, {_NOT_DIALLED_US}, {caller}, {callee} FROM call WHERE dial_us IS NULL",
    )
    where, values, batch = "dial_us IS NOT NULL", [], 1
    while True:
        found = sql.run(db, f"SELECT id FROM call WHERE {where} ORDER BY id LIMIT 1 OFFSET {_FILL}", values).fetchone()
        here, of_here = (where, values) if found is None else (f"{where} AND id < ?", [*values, found[0]])
        times = sql.run(db, f"SELECT min(dial_us), max(dial_us) FROM call WHERE {here}", of_here).fetchone()
        if times[0] is not None:
            sql.run(db, "INSERT INTO call_number_batch VALUES (?, ?, ?)", (batch, *times))
            sql.run(
                db,
                "INSERT INTO call_number SELECT batch, tenant_id, number, dial_us, id FROM"
                f" (SELECT {batch} AS batch, tenant_id, {caller} AS number, dial_us, id FROM call WHERE {here}"
                f" UNION ALL SELECT {batch}, tenant_id, {callee}, dial_us, id FROM call WHERE {here}"
                f" AND {callee} <> coalesce({caller}, '')) AS n"
                " WHERE length(number) BETWEEN 1 AND 64 ORDER BY 1, 2, 3, 4, 5",
                (*of_here, *of_here),
            )
        if found is None:
            return
        where, values, batch = "dial_us IS NOT NULL AND id >= ?", [found[0]], batch + 1
