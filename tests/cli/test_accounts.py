"""``callengine tenant``, ``key``, ``campaign`` and ``migrate``, on SQLite."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from callengine.config.sections import Database
from callengine.store.accounts import Accounts
from callengine.store.database import open_database
from tests.cli.commands import command, environment, lines, run

KEY = re.compile(r"ce_[0-9a-f]+_[A-Za-z0-9_-]{40,}")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    assert run("tenant", "create", "acme", state=tmp_path).returncode == 0
    return tmp_path


def accounts(state: Path) -> Accounts:
    store = open_database(Database(url=f"sqlite:///{state}/callengine.db"), state)
    return Accounts(store, store)


def test_key_create_prints_the_key_alone(state: Path) -> None:
    scopes = ("--scope", "calls:read", "--scope", "calls:write")
    done = run("key", "create", "--tenant", "acme", *scopes, "--name", "crm", state=state)
    assert done.returncode == 0
    assert done.stderr == b""  # nobody sits there: no hints
    (key,) = lines(done.stdout)
    assert KEY.fullmatch(key)
    found = accounts(state).find_key(key)
    assert found is not None
    assert found.scopes == ("calls:read", "calls:write")
    assert key.encode() not in (state / "callengine.db").read_bytes()


@pytest.mark.parametrize(
    ("tenant", "scope", "code"), [("nobody", "calls:read", 3), ("acme", "calls:all", 1), ("acme", "", 1)]
)
def test_no_key_then(tenant: str, scope: str, code: int, state: Path) -> None:
    done = run("key", "create", "--tenant", tenant, "--scope", scope, state=state)
    assert (done.returncode, done.stdout) == (code, b"")
    assert len(lines(done.stderr)) == 1


def test_list_and_revoke(state: Path) -> None:
    key = run("key", "create", "--tenant", "acme", "--scope", "calls:read", state=state).stdout.decode().strip()
    secret = key.split("_", 2)[2]
    listed = run("key", "list", "--tenant", "acme", "--json", state=state)
    assert secret.encode() not in listed.stdout
    (entry,) = json.loads(listed.stdout)
    assert entry["prefix"] == key.split("_")[1]
    assert entry["revoked_time"] is None
    assert run("key", "revoke", entry["prefix"], state=state).returncode == 0
    assert accounts(state).find_key(key) is None
    assert run("key", "revoke", entry["prefix"], state=state).returncode == 3
    assert entry["prefix"].encode() in run("key", "list", "--tenant", "acme", state=state).stdout


def test_a_whole_key_can_be_revoked(state: Path) -> None:
    key = run("key", "create", "--tenant", "acme", "--scope", "calls:read", state=state).stdout.decode().strip()
    assert run("key", "revoke", key, state=state).returncode == 0
    assert accounts(state).find_key(key) is None


def test_tenants_and_numbers(state: Path) -> None:
    again = run("tenant", "create", "acme", state=state)
    assert (again.returncode, len(lines(again.stderr))) == (1, 1)
    done = run("tenant", "numbers", "acme", "--add", "+3725550101", "--add", "+3725550100", state=state)
    assert lines(done.stdout) == ["+3725550100", "+3725550101"]
    taken = run("tenant", "numbers", "acme", "--add", "+3725550100", state=state)
    assert taken.returncode == 1
    assert b"+3725550100" in taken.stderr
    assert run("tenant", "numbers", "acme", "--remove", "+3725550100", state=state).returncode == 0
    assert run("tenant", "numbers", "acme", "--remove", "+3725550100", state=state).returncode == 3
    (tenant,) = json.loads(run("tenant", "list", "--json", state=state).stdout)
    assert (tenant["name"], tenant["numbers"]) == ("acme", ["+3725550101"])
    assert run("tenant", "numbers", "nobody", state=state).returncode == 3
    assert b"acme" in run("tenant", "list", state=state).stdout


def test_a_tenants_own_rules(state: Path) -> None:
    done = run("tenant", "set", "acme", "--record", "all", "--ai-daily-spend", "12.5", "--json", state=state)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["record"], shown["ai_daily_spend_usd"], shown["recordings_days"]) == ("all", 12.5, None)
    assert json.loads(run("tenant", "show", "acme", "--json", state=state).stdout) == shown
    assert json.loads(run("tenant", "list", "--json", state=state).stdout) == [shown]
    assert accounts(state).tenant("acme").ai_daily_spend_micros == 12_500_000
    more = run("tenant", "set", "acme", "--record", "default", "--recordings-days", "90", state=state)
    assert [line.split() for line in lines(more.stdout)][-3:] == [
        ["record", "default"],
        ["recordings_days", "90"],
        ["ai_daily_spend_usd", "12.5"],
    ]
    listed = lines(run("tenant", "list", state=state).stdout)
    assert listed[0].split("  ")[-1].strip() == "AI USD A DAY"
    assert listed[1].split()[-3:] == ["-", "90", "12.5"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["acme"], 2),
        (["nobody", "--record", "all"], 3),
        (["acme", "--record", "some"], 2),
        (["acme", "--ai-daily-spend", "-1"], 2),
        (["acme", "--ai-daily-spend", "1e3"], 2),
        (["acme", "--ai-daily-spend", "0.0000001"], 2),
        (["acme", "--recordings-days", "soon"], 2),
        (["acme", "--recordings-days", "99999"], 1),
    ],
)
def test_rules_that_cannot_be_meant(options: list[str], code: int, state: Path) -> None:
    done = run("tenant", "set", *options, state=state)
    assert (done.returncode, done.stdout) == (code, b"")
    assert len(lines(done.stderr)) == 1


def test_a_campaigns_settings(state: Path) -> None:
    options = ("--goal", "Renew it", "--disposition", "YES", "--disposition", "no, later", "--record", "all")
    done = run("campaign", "create", "c", "--tenant", "acme", "--name", "default", *options, "--json", state=state)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert list(made.values())[:5] == ["c", "default", "Renew it", ["YES", "no, later"], "all"]

    def update(*changes: str) -> dict[str, object]:
        done = run("campaign", "update", "c", "--tenant", "acme", *changes, "--json", state=state)
        assert done.returncode == 0, done.stderr
        shown: dict[str, object] = json.loads(done.stdout)
        return shown

    assert update("--disposition", "MAYBE") == {**made, "dispositions": ["MAYBE"]}
    cleared = {"name": None, "goal": None, "dispositions": None, "record": None}
    assert update("--any-disposition", "--name", "", "--goal", "", "--record", "default") == {**made, **cleared}
    for changes, code in (
        (["c", "--tenant", "acme"], 2),
        (["c", "--tenant", "acme", "--disposition", "A", "--any-disposition"], 2),
        (["c", "--tenant", "acme", "--disposition", "A", "--disposition", "A"], 1),
        (["c", "--tenant", "nobody", "--record", "all"], 3),
        (["none", "--tenant", "acme", "--record", "all"], 3),
    ):
        done = run("campaign", "update", *changes, state=state)
        assert (done.returncode, len(lines(done.stderr))) == (code, 1), changes


def test_campaigns(state: Path) -> None:
    created = run("campaign", "create", "spring", "--tenant", "acme", "--name", "Spring \x1b[31m", state=state)
    assert created.returncode == 0
    assert run("campaign", "create", "spring", "--tenant", "acme", state=state).returncode == 1
    assert run("campaign", "create", "x\n", "--tenant", "acme", state=state).returncode == 2
    (campaign,) = json.loads(run("campaign", "list", "--tenant", "acme", "--json", state=state).stdout)
    assert campaign["id"] == "spring"
    shown = run("campaign", "list", "--tenant", "acme", state=state).stdout
    assert b"spring" in shown
    assert b"\x1b" not in shown  # what a name holds does not reach the terminal


def test_several_at_once(state: Path) -> None:
    """Each waits for the other's transaction instead of failing."""
    environ = environment(state)
    making = ("key", "create", "--tenant", "acme", "--scope", "calls:read")
    running = [subprocess.Popen(command(*making), env=environ, stdout=subprocess.PIPE) for _ in range(4)]
    keys = [process.communicate(timeout=60)[0].decode().strip() for process in running]
    assert all(KEY.fullmatch(key) for key in keys)
    assert len(accounts(state).keys("acme")) == 4


def test_migrate(tmp_path: Path) -> None:
    fresh = run("migrate", "status", "--json", state=tmp_path)
    assert fresh.returncode == 1
    assert json.loads(fresh.stdout)["pending"] == json.loads(fresh.stdout)["known"] != []
    assert not (tmp_path / "callengine.db").exists()  # looking changes nothing
    assert run("migrate", "run", state=tmp_path).returncode == 0
    done = run("migrate", "status", state=tmp_path)
    assert done.returncode == 0
    assert all(line.startswith("applied") for line in lines(done.stdout))
    assert json.loads(run("migrate", "run", "--json", state=tmp_path).stdout)["applied"] == []


def test_only_tenant_create_makes_a_database(tmp_path: Path) -> None:
    for arguments in (
        ["tenant", "list"],
        ["key", "create", "--tenant", "x", "--scope", "calls:read"],
        ["key", "revoke", "x"],
        ["campaign", "list", "--tenant", "x"],
    ):
        done = run(*arguments, state=tmp_path)
        assert done.returncode == 4, arguments
        assert f"sqlite:///{tmp_path}/callengine.db" in lines(done.stderr)[0]
    assert not (tmp_path / "callengine.db").exists()


def test_the_database_is_away(tmp_path: Path) -> None:
    nowhere = "postgresql://anna:hunter2@127.0.0.1:1/calls"
    for arguments in (["tenant", "list"], ["migrate", "status"]):
        done = run(*arguments, state=tmp_path, CALLENGINE_DATABASE__URL=nowhere)
        assert done.returncode == 4, arguments
        assert len(lines(done.stderr)) == 1
        assert b"hunter2" not in done.stderr


def test_on_postgres(postgres_settings: Database, tmp_path: Path) -> None:
    url = {"CALLENGINE_DATABASE__URL": postgres_settings.url.get_secret_value()}
    assert run("migrate", "run", state=tmp_path, **url).returncode == 0
    assert run("migrate", "status", state=tmp_path, **url).returncode == 0
    assert run("tenant", "create", "acme", state=tmp_path, **url).returncode == 0
    done = run("key", "create", "--tenant", "acme", "--scope", "calls:read", state=tmp_path, **url)
    assert KEY.fullmatch(done.stdout.decode().strip())
    (entry,) = json.loads(run("key", "list", "--tenant", "acme", "--json", state=tmp_path, **url).stdout)
    assert entry["scopes"] == ["calls:read"]
