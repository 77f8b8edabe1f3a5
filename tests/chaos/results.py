"""The rows of the table: appended to a file, one JSON object a line, and printed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import orjson

from callengine.cli.output import table

_COLUMNS: Final = ("calls", "lost", "wrong", "stuck", "doubled", "webhooks_missing")


def commit() -> str:
    """The commit of this tree, with a + where it was changed since; empty outside a repository."""
    root = Path(__file__).resolve().parents[2]
    words = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds one."""
    with path.open("ab") as file:
        file.write(orjson.dumps(row) + b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All of them."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def shown(rows: list[dict[str, Any]]) -> str:
    """As a table."""
    head = ("FAULT", "TIMES", *(name.upper().replace("_", " ") for name in _COLUMNS), "SWITCH", "SEED", "COMMIT")
    return table(
        head,
        (
            [row["fault"], row["times"], *(row[name] for name in _COLUMNS), row["switch"], row["seed"], row["commit"]]
            for row in rows
        ),
    )
