"""Dependencies point inward, and one module knows header names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "calls": ROOT / "callengine" / "calls",
    "esl": ROOT / "callengine" / "esl",
    "store": ROOT / "callengine" / "store",
    "originate": ROOT / "callengine" / "originate",
    "cdr": ROOT / "callengine" / "cdr",
    "recordings": ROOT / "callengine" / "recordings",
    "spool": ROOT / "callengine" / "spool",
    "standin": ROOT / "callengine" / "standin",
    "webhooks": ROOT / "callengine" / "webhooks",
    "doctor": ROOT / "callengine" / "doctor",
    "ai": ROOT / "ai",
    "api": ROOT / "api",
    "config": ROOT / "config",
}
# Room -> what of ours it may import (besides itself and callengine.errors).
ALLOWED = {
    "calls": set(),
    "config": set(),
    "standin": set(),
    "esl": {"calls"},
    "store": {"calls", "config", "threads"},
    "api": {"calls", "config"},
    "originate": {"about", "spans", "calls", "config", "esl", "store", "metrics"},
    "recordings": {"about", "calls", "config", "store", "metrics", "threads"},
    "cdr": {"calls", "config", "store", "metrics", "quarantine", "esl", "tracker", "engine", "supervise", "threads"},
    "spool": {"calls", "esl", "store", "metrics", "quarantine", "tracker"},
    "webhooks": {"about", "spans", "calls", "config", "store", "metrics", "threads"},
    "doctor": {"calls", "config", "esl", "store", "webhooks", "ai"},
    "ai": {"about", "spans", "calls", "config", "store", "metrics", "recordings", "threads"},
}
PURE = [
    *ROOMS["calls"].glob("*.py"),
    ROOMS["esl"] / "wire.py",
    ROOMS["esl"] / "headers.py",
    ROOMS["esl"] / "jsons.py",
    ROOMS["esl"] / "commands.py",
]
IO_MODULES = {"gevent", "socket", "greenswitch", "peewee", "flask", "time", "os", "threading", "subprocess", "logging"}


def imports(path: Path) -> set[str]:
    """Dotted names of every module imported anywhere in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_inward_only(room: str) -> None:
    for path in ROOMS[room].rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "callengine" or len(parts) < 2:
                continue
            assert parts[1] in ALLOWED[room] | {room, "errors", "__version__"}, f"{path} imports {name}"


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.name)
def test_the_pure_modules_do_no_io(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IO_MODULES


def test_one_module_names_event_headers() -> None:
    """Strings with the shape of a channel's header stand in esl.headers alone; the stand-in speaks for the switch."""
    telling = ("Caller-Channel-", "Unique-ID", "variable_sip", "Event-Date-Timestamp", "Hangup-Cause")
    for path in (ROOT / "callengine").rglob("*.py"):
        if path.name == "headers.py" or "standin" in path.parts:
            continue
        strings = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        assert not [s for s in strings if s.startswith(telling)], path


def test_the_api_touches_no_socket() -> None:
    """Only its server module does, which serves HTTP."""
    for path in ROOMS["api"].rglob("*.py"):
        if path.name != "server.py":
            assert not {n.split(".")[0] for n in imports(path)} & {"gevent", "socket", "greenswitch"}, path
