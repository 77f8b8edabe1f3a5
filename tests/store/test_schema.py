"""The schema: what the migrations make, who may make it, and what it is good for."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import peewee
import pytest
from pydantic import SecretStr

from callengine.config.sections import Database
from callengine.errors import SchemaTooNew, StoreUnavailable
from callengine.store import migrate, schema, sql
from callengine.store.database import Store, open_database
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.databases import PostgresServer
from tests.store.build import T0, TENANT, a_call, ended

_OPENER = """
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from pydantic import SecretStr
from callengine.config.sections import Database
from callengine.store.database import open_database
print("ready", flush=True)
sys.stdin.readline()
open_database(Database(url=SecretStr(sys.argv[1])), Path(sys.argv[2])).close()
"""


def test_the_models_are_the_tables(store: Store) -> None:
    def tables(db: peewee.Database) -> dict[str, dict[str, bool]]:
        return {
            model._meta.table_name: {column.name: column.null for column in db.get_columns(model._meta.table_name)}
            for model in schema.MODELS
        }

    for model in schema.MODELS:
        expected = {field.column_name: field.null for field in model._meta.sorted_fields}
        assert store.run(tables, 5)[model._meta.table_name] == expected


def test_opening_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    def applied(db: peewee.Database) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = sql.query(
            db, "SELECT name, applied FROM schema_migration ORDER BY name"
        ).fetchall()
        return rows

    before = store.run(applied, 5)
    open_database(store.settings, tmp_path).close()
    assert store.run(applied, 5) == before
    assert [name for name, _ in before] == migrate.known()


def test_a_newer_schema_is_not_touched(store: Store, tmp_path: Path) -> None:
    text = "INSERT INTO schema_migration (name, applied) VALUES ('9999_from_the_future', '2030-01-01 00:00:00')"
    store.execute(lambda db: sql.query(db, text), 5)
    for migrate_schema in (True, False):
        with pytest.raises(SchemaTooNew, match="9999_from_the_future"):
            open_database(store.settings, tmp_path, migrate_schema=migrate_schema)


def test_without_migrating_an_old_schema_is_refused(database_settings: Database, tmp_path: Path) -> None:
    if not database_settings.is_postgres:
        path = tmp_path / "state" / "calls.db"
        path.parent.mkdir()
        path.touch()
    with pytest.raises(StoreUnavailable, match="callengine migrate"):
        open_database(database_settings, tmp_path, migrate_schema=False)


def test_processes_that_start_together_migrate_once(database_settings: Database, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPENER, database_settings.url.get_secret_value(), str(tmp_path)]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    store = open_database(database_settings, tmp_path)
    assert Reads(store).calls(TENANT, {}, 1, 10) == ([], 0)
    store.close()


def test_a_file_is_for_its_owner_only(sqlite_settings: Database, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_database(sqlite_settings, tmp_path)
    finally:
        os.umask(old)
    assert store.path is not None
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    store.execute(lambda db: sql.query(db, "DELETE FROM engine"), 5)
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.iterdir()} == {0o600}
    store.close()


def test_a_relative_file_lies_in_the_state_folder(tmp_path: Path) -> None:
    store = open_database(Database(url=SecretStr("sqlite:///calls.db")), tmp_path)
    assert store.path == tmp_path / "calls.db"
    store.close()


def test_what_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "calls.db").write_bytes(b"this is a text file, and quite a long one as such files go" * 20)
    with pytest.raises(StoreUnavailable, match="no SQLite database"):
        open_database(Database(url=SecretStr("sqlite:///calls.db")), tmp_path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://postgres@127.0.0.1:{port}/nowhere", "no database of that name"),
        ("postgresql://nobody@127.0.0.1:{port}/postgres", "rejects the user"),
        ("postgresql://postgres@127.0.0.1:1/postgres", "nothing accepts connections"),
        ("postgresql://postgres@no-such-host.invalid/postgres", "does not resolve"),
    ],
)
def test_a_server_that_refuses_is_told_apart(
    postgres_server: PostgresServer, tmp_path: Path, url: str, reason: str
) -> None:
    with pytest.raises(StoreUnavailable, match=reason):
        open_database(Database(url=SecretStr(url.format(port=postgres_server.port))), tmp_path)


def test_a_server_that_swallows_packets_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="in time"):
            open_database(Database(url=SecretStr(url)), tmp_path)
        assert 1.5 < time.monotonic() - started < 6


def test_an_unreachable_server_is_said_so_without_the_password(tmp_path: Path) -> None:
    for url in ("postgresql://u:hunter2@127.0.0.1:1/x", "postgresql://u:hunter2@127.0.0.1:1/x?nonsense=hunter2"):
        with pytest.raises(StoreUnavailable) as caught:
            open_database(Database(url=SecretStr(url)), tmp_path)
        assert "hunter2" not in repr(caught.value)
        assert caught.value.__cause__ is None or "hunter2" not in repr(caught.value.__cause__)


def test_what_is_asked_often_is_read_off_its_index(
    store: Store, writer: Writer, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1000):
        call = a_call(T0 + n, campaign=f"c{n % 20}", lead=f"l{n}")
        writer.put(call if n % 100 == 0 else ended(call))
    writer.flush(10)
    writer.execute(lambda db: sql.query(db, "ANALYZE call"), 10)
    asked: list[tuple[str, Sequence[object]]] = []
    query = sql.query

    def spy(db: peewee.Database, text: str, values: Sequence[object] = ()) -> object:
        asked.append((text, values))
        return query(db, text, values)

    def plan() -> str:
        text, values = asked.pop()
        asked.clear()
        prefix = "EXPLAIN" if store.kind == "postgres" else "EXPLAIN QUERY PLAN"

        def explain(db: peewee.Database) -> str:
            if store.kind == "postgres":  # a table as small as this would otherwise just be looked through
                query(db, "SET enable_seqscan = off")
                query(db, "SET enable_bitmapscan = off")
            return "\n".join(str(row[-1]) for row in query(db, f"{prefix} {text}", values).fetchall())

        return store.run(explain, 5)

    monkeypatch.setattr(sql, "query", spy)
    assert len(reads.calls(TENANT, {"campaign_id": "c7"}, 2, 7)[0]) == 7
    assert "call_of_campaign" in plan()
    assert len(reads.calls(TENANT, {"campaign_id": "c7", "status": "failed"}, 2, 7)[0]) == 7
    assert "call_of_status" in plan()
    assert len(reads.calls(TENANT, {}, 9, 7)[0]) == 7
    assert "call_of_tenant" in plan()
    assert reads.calls(TENANT, {"lead_id": "l7"}, 1, 7)[1] == 1
    assert "call_of_lead" in plan()
    assert reads.calls(TENANT, {"status": "dialing"}, 1, 7)[1] == 10
    assert "call_live" in plan()
    assert len(reads.live_calls("sw1")) == 10
    assert "call_live" in plan()
