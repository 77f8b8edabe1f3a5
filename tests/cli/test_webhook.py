"""``callengine webhook``, on SQLite, and once on Postgres."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from callengine.config.sections import Database
from callengine.webhooks.signature import key_of
from tests.cli.commands import lines, run

NOBODY = "0191f0a6-7c7a-7d31-a4f3-3a5e5f3f2b10"
OPEN = {"CALLENGINE_WEBHOOKS__ALLOW_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    assert run("tenant", "create", "acme", state=tmp_path).returncode == 0
    return tmp_path


def create(state: Path, *more: str, url: str = "http://127.0.0.1:9/") -> dict[str, object]:
    done = run("webhook", "create", "--tenant", "acme", "--url", url, "--json", *more, state=state, **OPEN)
    assert done.returncode == 0, done.stderr
    made: dict[str, object] = json.loads(done.stdout)
    return made


def test_the_secret_alone_is_printed_once(state: Path) -> None:
    done = run("webhook", "create", "--tenant", "acme", "--url", "http://127.0.0.1:9/", state=state, **OPEN)
    (secret,) = lines(done.stdout)
    assert key_of(secret)
    assert done.stderr == b""
    listed = run("webhook", "list", "--tenant", "acme", "--json", state=state).stdout
    assert secret.encode() not in listed
    (endpoint,) = json.loads(listed)
    rotated = run("webhook", "rotate", endpoint["id"], "--tenant", "acme", "--overlap", "60", state=state)
    (new,) = lines(rotated.stdout)
    assert new != secret
    (endpoint,) = json.loads(run("webhook", "list", "--tenant", "acme", "--json", state=state).stdout)
    assert endpoint["old_secret_until"] is not None


def test_urls_that_are_refused(state: Path) -> None:
    for url in ("http://example.com/", "https://127.0.0.1/", "https://[::1]/", "https://user@example.com/", "x"):
        done = run("webhook", "create", "--tenant", "acme", "--url", url, state=state)
        assert (done.returncode, done.stdout) == (1, b""), url
        assert len(lines(done.stderr)) == 1


def test_change_and_delete(state: Path) -> None:
    made = create(state, "--event", "call.ended", "--description", "crm \x1b[31m")
    assert made["events"] == ["call.ended"]
    endpoint = str(made["id"])
    assert b"\x1b" not in run("webhook", "list", "--tenant", "acme", state=state).stdout
    done = run("webhook", "update", endpoint, "--tenant", "acme", "--no-enabled", "--json", state=state)
    assert json.loads(done.stdout)["enabled"] is False
    assert run("webhook", "update", endpoint, "--tenant", "acme", state=state).returncode == 2
    bad = run("webhook", "update", endpoint, "--tenant", "acme", "--event", "call.nothing", state=state)
    assert bad.returncode == 1
    assert run("webhook", "delete", endpoint, "--tenant", "acme", state=state).returncode == 0
    assert json.loads(run("webhook", "list", "--tenant", "acme", "--json", state=state).stdout) == []


def test_what_is_not_there(state: Path) -> None:
    run("tenant", "create", "other", state=state)
    endpoint = str(create(state)["id"])
    for arguments in (
        ["delete", NOBODY, "--tenant", "acme"],
        ["delete", endpoint, "--tenant", "other"],
        ["delete", "x", "--tenant", "acme"],
        ["rotate", NOBODY, "--tenant", "acme"],
        ["test", NOBODY, "--tenant", "acme"],
        ["replay", NOBODY, "--tenant", "acme"],
        ["replay", endpoint, "--event-id", NOBODY, "--tenant", "acme"],
        ["deliveries", NOBODY, "--tenant", "acme"],
        ["list", "--tenant", "nobody"],
    ):
        done = run("webhook", *arguments, state=state)
        assert done.returncode == 3, arguments
        assert len(lines(done.stderr)) == 1


def test_a_test_says_what_came_back(state: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = str(create(state, url=f"http://127.0.0.1:{port}/")["id"])
    done = run("webhook", "test", endpoint, "--tenant", "acme", "--json", state=state, **OPEN)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "the connection was refused"
    closed = run("webhook", "test", endpoint, "--tenant", "acme", "--json", state=state)
    assert "not public" in json.loads(closed.stdout)["error"]


def test_the_log_and_replay_where_there_is_nothing(state: Path) -> None:
    endpoint = str(create(state)["id"])
    done = run("webhook", "deliveries", endpoint, "--tenant", "acme", "--status", "dead", "--json", state=state)
    assert json.loads(done.stdout) == []
    done = run("webhook", "deliveries", "--tenant", "acme", "--event", "call.over", state=state)
    assert done.returncode == 2
    assert b"must be one of call.dialing, " in done.stderr
    assert run("webhook", "deliveries", "--tenant", "acme", "--event", "call.ended", state=state).returncode == 0
    since = ("--since", "2026-11-22T00:00:00Z")
    done = run("webhook", "replay", endpoint, "--tenant", "acme", *since, "--json", state=state)
    assert json.loads(done.stdout) == {"replayed": 0, "complete": True}
    assert run("webhook", "replay", endpoint, "--tenant", "acme", "--since", "now", state=state).returncode == 2


def test_without_a_database(tmp_path: Path) -> None:
    assert run("webhook", "list", "--tenant", "acme", state=tmp_path).returncode == 4
    assert not (tmp_path / "callengine.db").exists()


def test_on_postgres(postgres_settings: Database, tmp_path: Path) -> None:
    url = {"CALLENGINE_DATABASE__URL": postgres_settings.url.get_secret_value(), **OPEN}
    assert run("migrate", "run", state=tmp_path, **url).returncode == 0
    assert run("tenant", "create", "acme", state=tmp_path, **url).returncode == 0
    done = run("webhook", "create", "--tenant", "acme", "--url", "http://127.0.0.1:9/", state=tmp_path, **url)
    assert key_of(lines(done.stdout)[0])
    (entry,) = json.loads(run("webhook", "list", "--tenant", "acme", "--json", state=tmp_path, **url).stdout)
    assert entry["enabled"] is True
