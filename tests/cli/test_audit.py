"""``callengine audit``, in this process: what it compares, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callengine.cli import audit
from callengine.cli.exits import FAILED, OK, UNAVAILABLE, USAGE, Failed
from callengine.cli.parser import Commands, Parser
from callengine.config.sections import Database
from callengine.store.database import open_database
from tests.cdr.house import House, cdr, uuid

Run = Callable[..., tuple[int, str]]
A, B = uuid(1), uuid(2)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CALLENGINE_CONFIG", str(tmp_path / "empty.toml"))
    monkeypatch.setenv("CALLENGINE_STATE__DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def house(state: Path) -> Iterator[House]:
    store = open_database(Database(url=f"sqlite:///{state}/callengine.db"), state)
    made = House(store, state)
    made.write(A, cdr(A))
    made.settle()
    yield made
    made.close()
    store.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def _run(*arguments: str) -> tuple[int, str]:
        parser = Parser("callengine", description="test")
        audit.register(Commands(parser))
        args = parser.parse_args(["audit", *arguments])
        code: int = args.handler(args)
        return code, capsys.readouterr().out

    return _run


def test_all_is_well(run: Run, house: House) -> None:
    assert run("--cdr", str(house.folder)) == (OK, "")
    code, out = run("--cdr", str(house.folder), "--json")
    shown: dict[str, Any] = json.loads(out)
    assert code == OK
    assert (shown["records"], shown["compared"], shown["from"]) == (1, 1, "2026-11-22T10:33:25.000Z")


def test_what_is_not_is_listed_and_told_by_the_exit_code(run: Run, house: House) -> None:
    house.write(B, cdr(B))
    house.write(A, cdr(A, hangup_cause="USER\x1b[31m_BUSY"))
    house.write("bad", b"{")
    code, out = run("--cdr", str(house.folder))
    assert code == FAILED
    assert out.splitlines() == [
        f"missing    {B}",
        f"different  {A}  hangup_cause: ours NORMAL_CLEARING, the CDR's USER\ufffd[31m_BUSY",
        "unreadable bad.cdr.json",
    ]
    code, out = run("--cdr", str(house.folder), "--json")
    shown = json.loads(out)
    assert code == FAILED
    assert (shown["missing"], shown["extra"], shown["unreadable"]) == ([B], [], ["bad.cdr.json"])
    assert shown["different"][0]["field"] == "hangup_cause"


def test_the_time_and_the_switch_can_be_named(run: Run, house: House) -> None:
    house.write(B, cdr(B, at=86_400.0))
    folder = ("--cdr", str(house.folder))
    assert run(*folder)[0] == FAILED
    assert run(*folder, "--until", "2026-11-23")[0] == OK
    assert run(*folder, "--since", "2026-11-23T00:00Z")[1].startswith("missing")
    assert run(*folder, "--until", "2026-11-23", "--node", "fs1")[0] == OK


def test_a_node_that_no_call_has_is_a_mistake(run: Run, house: House, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--cdr", str(house.folder), "--node", "other")
    assert ended.value.code == USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "no call has the node 'other'; there are: fs1 (see" in told.err


def test_the_folders_of_the_settings(run: Run, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == USAGE
    monkeypatch.setenv("CALLENGINE_CDR__DIRECTORIES", json.dumps([str(house.folder)]))
    assert run()[0] == OK


def test_what_is_not_there(run: Run, state: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no database") as failed:
        run("--cdr", str(tmp_path))
    assert failed.value.code == UNAVAILABLE


def test_a_folder_that_is_not_there(run: Run, house: House) -> None:
    with pytest.raises(Failed, match="cannot be read") as failed:
        run("--cdr", str(house.folder / "none"))
    assert failed.value.code == UNAVAILABLE
