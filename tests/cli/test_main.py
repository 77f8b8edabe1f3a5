"""The command line as a newcomer meets it: help, mistakes, and how fast it answers."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from callengine import __version__
from callengine.cli.exits import CONFIGURATION, UNAVAILABLE
from callengine.cli.main import build_parser
from callengine.cli.parser import Parser
from tests.cli.commands import ROOT, environment, lines, run

COMMANDS = {
    "analyze",
    "audit",
    "api",
    "call events",
    "call hangup",
    "call list",
    "call originate",
    "call show",
    "campaign create",
    "campaign list",
    "campaign update",
    "check-config",
    "completion",
    "demo",
    "doctor",
    "key create",
    "key list",
    "key revoke",
    "migrate run",
    "migrate status",
    "quarantine drop",
    "quarantine list",
    "quarantine retry",
    "quarantine show",
    "replay",
    "run",
    "tenant create",
    "tenant list",
    "tenant numbers",
    "tenant recordings",
    "tenant set",
    "tenant show",
    "webhook create",
    "webhook delete",
    "webhook deliveries",
    "webhook list",
    "webhook replay",
    "webhook rotate",
    "webhook test",
    "webhook update",
}
HEAVY = {"gevent", "pydantic", "flask", "peewee", "msgspec", "orjson", "greenswitch", "prometheus_client", "psycopg"}
# What a library may take functions from that gevent replaces.
PATCHED = {"socket", "ssl", "select", "selectors", "threading", "subprocess", "queue", "signal", "logging"}


def parsers(parser: Parser, name: str = "") -> dict[str, Parser]:
    """Every command that does something, by its full name."""
    found: dict[str, Parser] = {}
    for action in parser._actions:
        if action.choices and isinstance(action.choices, dict):
            for word, below in action.choices.items():
                found |= parsers(below, f"{name} {word}".strip())
    return found or {name: parser}


def test_these_commands() -> None:
    assert set(parsers(build_parser())) == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_each(name: str) -> None:
    text = parsers(build_parser())[name].format_help()
    assert f"usage: callengine {name}" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_help(tmp_path: Path) -> None:
    done = run("--help", state=tmp_path)
    assert done.returncode == 0
    assert b"callengine demo" in done.stdout
    assert b"exit codes" in done.stdout
    assert done.stderr == b""


def test_version(tmp_path: Path) -> None:
    assert run("--version", state=tmp_path).stdout.decode() == f"callengine {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["no-such"], "no-such"),
        (["run", "--no-such"], "--no-such"),
        (["key", "create", "--scope", "calls:read"], "--tenant"),
        (["key", "create", "--ten", "x", "--scope", "calls:read"], "--ten"),  # options are not abbreviated
        (["demo", "--port", "70000"], "65535"),
        (["demo", "--seconds", "-1"], "above 0"),
        (["replay"], "FILE"),
        (["call", "list", "--page", "0"], "from 1"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], word: str, tmp_path: Path) -> None:
    done = run(*arguments, state=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    (line,) = lines(done.stderr)
    assert line.startswith("callengine")
    assert word in line
    assert "--help" in line


def test_a_taken_port_is_no_fault_of_the_settings(tmp_path: Path) -> None:
    """It may be free a moment later: of this exit code systemd starts the daemon again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in ("run", "api"):  # the first makes the database of the second
            done = run(command, state=tmp_path, CALLENGINE_HTTP__PORT=port)
            told = lines(done.stderr)[-1]
            assert done.returncode == UNAVAILABLE, told
            assert f"127.0.0.1:{port}: Address already in use" in told
            assert f"ss -ltnp 'sport = :{port}'" in told


def test_an_address_that_may_not_be_had_is_one_of_the_settings(tmp_path: Path) -> None:
    done = run("run", state=tmp_path, CALLENGINE_HTTP__HOST="::1%no-such")
    assert done.returncode == CONFIGURATION
    assert "::1%no-such" in lines(done.stderr)[-1]


@pytest.mark.parametrize("arguments", [[], ["tenant"], ["call"]])
def test_a_command_is_missing(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, state=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"usage: callengine" in done.stderr


def loaded_after(statement: str, tmp_path: Path) -> set[str]:
    """The modules that a fresh interpreter has after ``statement``."""
    code = f"import sys\nfrom callengine.cli import main\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, timeout=60, check=True
    )
    return set(done.stderr.decode().split())


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    statement = "try: main.main(['demo', '--help'])\nexcept SystemExit: pass"
    assert not loaded_after(statement, tmp_path) & HEAVY


def test_replay_loads_little(tmp_path: Path) -> None:
    (tmp_path / "empty.esl").touch()
    statement = f"main.main(['replay', {str(tmp_path / 'empty.esl')!r}])"
    loaded = loaded_after("import os; del os.environ['CALLENGINE_CONFIG']\n" + statement, tmp_path)
    assert "msgspec" in loaded
    assert not loaded & (HEAVY - {"msgspec", "orjson"})


@pytest.mark.parametrize("command", ["run", "api"])
def test_patching_comes_first(command: str, tmp_path: Path) -> None:
    """Up to ``import callengine.patched`` nothing is loaded that gevent would have to patch."""
    loaded = loaded_after(f"main.build_parser().parse_args([{command!r}])", tmp_path)
    assert not loaded & (PATCHED | HEAVY)


def test_no_traceback_when_the_reader_goes_away(tmp_path: Path) -> None:
    trace = ROOT / "tests" / "traces" / "load_slice.json.esl.gz"
    line = f"{sys.executable} -m callengine replay --json {trace} | head -c 100"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment(tmp_path), capture_output=True, timeout=60, check=False
    )
    assert len(done.stdout) == 100
    assert done.stderr == b""
    assert done.returncode == 141
