"""Long work says how far it is, to somebody who sits there and to nobody else, and leaves nothing of it behind."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from callengine.cli import progress
from callengine.cli.main import main
from tests.cli.commands import ROOT, command, environment, run

TRACE = ROOT / "tests" / "traces" / "load_slice.json.esl.gz"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(text: str) -> str:
    """The last line as a terminal shows it in the end."""
    line = ""
    for part in text.rpartition("\n")[2].split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_it_is_slow_to_speak_and_does_not_chatter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.Progress("counting", "things", clock=lambda: now[0]) as shown:
        shown.at(1, 1000)
        assert terminal.getvalue() == ""
        now[0] = progress.QUIET_S
        shown.at(2, 1000)
        shown.at(3, 1000)
        assert screen(terminal.getvalue()) == "counting: 2 of 1,000 things (0 %)"
        now[0] += 1
        shown.at(500, 1000)
        assert screen(terminal.getvalue()) == "counting: 500 of 1,000 things (50 %)"
        now[0] += 1
        shown.at(7)
        assert screen(terminal.getvalue()) == "counting: 7 things"
    assert screen(terminal.getvalue()) == ""
    assert "\n" not in terminal.getvalue()


def test_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setattr("sys.stderr", pipe := io.StringIO())
    with progress.Progress("counting") as shown:
        shown.at(1)
        shown.say_now("x")
    assert pipe.getvalue() == ""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database, and a folder with a CDR; a terminal to which things are said at once."""
    state = tmp_path / "state"
    assert run("tenant", "create", "acme", state=state).returncode == 0
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    monkeypatch.setenv("CALLENGINE_CONFIG", str(state / "empty.toml"))
    monkeypatch.setenv("CALLENGINE_STATE__DIRECTORY", str(state))
    (tmp_path / "cdr").mkdir()
    record = {"variables": {"uuid": "x"}}
    (tmp_path / "cdr" / "x.cdr.json").write_text(json.dumps(record))
    return tmp_path


def test_replay_and_audit_tell(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, told in (
        (["replay", str(TRACE)], f"replaying {TRACE}: "),
        (["audit", "--cdr", str(place / "cdr")], "auditing: 0 records"),
    ):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        main(words)
        assert f"\r{told}" in terminal.getvalue()
        assert "\r" not in capsys.readouterr().out
        assert told not in screen(terminal.getvalue())


def test_a_migration_is_named_while_it_is_applied_on_a_terminal_alone(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    done = subprocess.run(
        command("migrate", "run"),
        env=environment(tmp_path / "one"),
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    said = os.read(controller, 65536).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "\rmigrating: 0001_initial" in said
    assert done.stdout.decode().splitlines()[0] == "applied  0001_initial"
    piped = run("migrate", "run", state=tmp_path / "two")
    assert b"migrating" not in piped.stderr
    assert b"\r" not in piped.stderr
