"""Plain SQL on peewee's connection, where peewee's query builder would cost more than the query."""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, cast

import msgspec
import peewee

_CHUNK: Final = 200
_INDEX: Final = re.compile(r"/\*(\w+)\*/")
_encode: Final = msgspec.json.Encoder().encode


class Insert:
    """An INSERT of many rows, built once. ``conflict`` is what follows ON CONFLICT.

    SQLite takes its rows one by one, with the statement compiled once. Postgres takes a chunk of them as one JSON
    parameter: a third of the processor time of binding each value, time that is spent with the interpreter held.
    """

    def __init__(self, table: str, columns: Sequence[str], conflict: str) -> None:
        self.columns = tuple(columns)
        names = ", ".join(columns)
        self.values = (
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(self.columns))}) ON CONFLICT {conflict}"
        )
        self.recordset = (
            f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, %s::json)"
            f" ON CONFLICT {conflict}"
        )

    def run(self, db: peewee.Database, batch: Sequence[Sequence[Any]]) -> None:
        """Inserts ``batch``; each row has a value for each column. Raises the driver's errors."""
        if not batch:
            return
        cursor = cast(Any, db).cursor()
        if isinstance(db, peewee.SqliteDatabase):
            cursor.executemany(self.values, batch)
            return
        for start in range(0, len(batch), _CHUNK):
            chunk = [dict(zip(self.columns, row, strict=True)) for row in batch[start : start + _CHUNK]]
            cursor.execute(self.recordset, (_encode(chunk).decode(),))


@contextmanager
def pipelined(db: peewee.Database) -> Iterator[None]:
    """Within it, Postgres is sent one statement after another without a wait for its answers; the end waits for all.

    A statement's error is the driver's own, and is raised by one of those behind it, or by the end. Whoever reads a
    result waits for it there, and for all before. Nothing changes on SQLite.
    """
    if not is_postgres(db):
        yield
        return
    raised: BaseException | None = None
    try:
        with cast(Any, db).connection().pipeline():
            try:
                yield
            except BaseException as error:  # noqa: BLE001  psycopg would log what its end then adds, with values of rows
                raised = error
    except Exception:
        if raised is None:
            raise
    if raised is not None:
        raise raised


def is_postgres(db: peewee.Database) -> bool:
    """Which of the two it is."""
    return not isinstance(db, peewee.SqliteDatabase)


def kind_of(db: peewee.Database) -> Literal["sqlite", "postgres"]:
    """The same as ``Store.kind`` has it."""
    return "postgres" if is_postgres(db) else "sqlite"


def run(db: peewee.Database, text: str, values: Sequence[Any] = ()) -> Any:
    """The cursor of one statement that is written with ``?``, on either database; peewee's errors. See ``indexed``."""
    return query(db, text.replace("?", "%s") if is_postgres(db) else indexed(text), values)


def indexed(text: str) -> str:
    """``text`` for SQLite, where ``/*name*/`` behind a table names the index that has to be used.

    SQLite has no figures on how full a partial index is, and takes the primary key; Postgres has, and takes the comment
    for one.
    """
    return _INDEX.sub(r"INDEXED BY \1", text)


def query(db: peewee.Database, text: str, values: Sequence[Any] = ()) -> Any:
    """The cursor of one statement; peewee's errors."""
    return cast(Any, db).execute_sql(text, values)
