"""Commands as users run them: in processes of their own, in a bare environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60


def environment(state: Path, **settings: str) -> dict[str, str]:
    """No setting but ``settings``; a state folder of one's own, and no file that the machine may have in /etc."""
    state.mkdir(parents=True, exist_ok=True)
    empty = state / "empty.toml"
    empty.touch()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CALLENGINE_")}
    return {
        **bare,
        "PYTHONPATH": str(ROOT),
        "CALLENGINE_CONFIG": str(empty),
        "CALLENGINE_STATE__DIRECTORY": str(state),
        "NO_COLOR": "1",
        **settings,
    }


def command(*arguments: str) -> list[str]:
    """The command line of ``callengine …``."""
    return [sys.executable, "-m", "callengine", *arguments]


def run(
    *arguments: str, state: Path, stdin: bytes | None = None, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(state, **settings),
        input=stdin if stdin is not None else b"",
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def lines(output: bytes) -> list[str]:
    """What was printed, by lines."""
    return output.decode().splitlines()
