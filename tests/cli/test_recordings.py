"""``callengine tenant recordings``, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callengine.calls.call import Call
from callengine.cli.exits import FAILED, NOT_FOUND, OK, Failed
from callengine.cli.parser import Commands, Parser
from callengine.cli.recordings import register_below
from callengine.config.sections import Database
from callengine.store.clock import clock_us
from callengine.store.database import open_database
from callengine.store.sql import run as run_sql
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import House

Run = Callable[..., int]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    state = tmp_path / "state"
    monkeypatch.setenv("CALLENGINE_STATE__DIRECTORY", str(state))
    monkeypatch.setenv("CALLENGINE_RECORDINGS__DIRECTORIES", json.dumps([str(tmp_path / "rec")]))
    monkeypatch.setenv("CALLENGINE_RECORDINGS__PATH_MAP", json.dumps({"/switch": str(tmp_path / "rec")}))
    store = open_database(Database(url=f"sqlite:///{state}/callengine.db"), state)
    made = House(store, tmp_path / "rec")
    made.now_us = clock_us() - 10 * 86_400_000_000
    yield made
    made.close()
    store.close()


@pytest.fixture
def command(tmp_path: Path) -> Run:
    (tmp_path / "empty.toml").touch()

    def run(*arguments: str) -> int:
        parser = Parser("callengine", description="x")
        register_below(Commands(parser).group("tenant", "whose"))
        args = parser.parse_args(
            ["tenant", "recordings", "default", "--config", str(tmp_path / "empty.toml"), *arguments]
        )
        code: int = args.handler(args)
        return code

    return run


def kept(house: House) -> Call:
    """A recording that was ready ten days ago."""
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    house.settle()
    house.writer.execute(lambda db: run_sql(db, "UPDATE analysis SET due = ?", (False,)), 10)
    return call


def test_the_rule_is_set_and_shown(house: House, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    rules = {
        (): {"keep_days": None, "own_rule": False},
        ("--keep-days", "90"): {"keep_days": 90, "own_rule": True},
        ("--keep-for-ever",): {"keep_days": None, "own_rule": True},
        ("--default",): {"keep_days": None, "own_rule": False},
    }
    for arguments, shown in rules.items():
        assert command(*arguments, "--json") == OK
        assert json.loads(capsys.readouterr().out) == {"tenant": "default"} | shown
        assert command() == OK  # it was kept
        assert ("the tenant's own rule" in capsys.readouterr().out) is shown["own_rule"]


def test_a_dry_run_changes_nothing(house: House, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    call = kept(house)
    assert command("--keep-days", "9", "--delete", "--dry-run", "--json") == OK
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["call_id"], entry["recording_id"], entry["bytes"]) == (call.id, house.row(call).id, 64_044)
    assert (entry["age_days"], entry["deleted"], entry["problem"]) == (10, False, None)
    assert house.path("a.wav").exists()
    assert command("--json") == OK
    assert json.loads(capsys.readouterr().out)["own_rule"] is False
    assert command("--keep-days", "11", "--delete", "--dry-run", "--json") == OK
    assert json.loads(capsys.readouterr().out) == []


def test_delete_says_what_it_deleted(house: House, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    call = kept(house)
    assert command("--keep-days", "9", "--delete") == OK
    printed = capsys.readouterr()
    assert house.row(call).id in printed.out
    assert printed.err == "callengine: 1 recordings deleted, 64044 bytes\n"
    assert (house.row(call).status, house.path("a.wav").exists()) == ("deleted", False)
    assert command("--delete", "--json") == OK
    assert json.loads(capsys.readouterr().out) == []


def test_a_file_on_another_machine_is_left(house: House, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    call = kept(house)
    house.path("a.wav").unlink()
    assert command("--keep-days", "9", "--delete", "--json") == FAILED
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["deleted"], entry["problem"]) == (False, "its file is not on this machine")
    assert house.row(call).status == "ready"


def test_what_is_not_understood(house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("callengine", description="x")
    register_below(Commands(parser).group("tenant", "whose"))
    for arguments in (["--keep-days", "0"], ["--keep-days", "9", "--default"], ["--keep-days", "x"]):
        with pytest.raises(SystemExit):
            parser.parse_args(["tenant", "recordings", "default", *arguments])
    args = parser.parse_args(["tenant", "recordings", "default", "--dry-run"])
    with pytest.raises(SystemExit):
        args.handler(args)
    (tmp_path / "empty.toml").touch()
    args = parser.parse_args(["tenant", "recordings", "nobody", "--config", str(tmp_path / "empty.toml")])
    with pytest.raises(Failed) as failed:
        args.handler(args)
    assert failed.value.code == NOT_FOUND
