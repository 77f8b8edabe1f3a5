"""``python -m tests.side_by_side``: all tests, room by room, as two processes at a time. What ``make test`` runs.

Most of the time a test waits for a process, and one pytest uses a third of a core. Each room is a pytest of its own: it
has its own Postgres and its own gevent hub (which is why this is no plugin: those that share tests out patch nothing
before they import). Rooms that take long begin first. The output of a room is printed once it has ended.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
# The longest first; whatever is not named here comes after them.
LONG: Final = ("chaos", "spool", "store", "engine", "ai", "cli", "api", "security", "standin", "cdr", "quarantine")
_ROOM_S: Final = 1200
_NO_TESTS: Final = 5
_COUNT: Final = re.compile(r"(\d+) (passed|failed|error|skipped|xfailed|xpassed|deselected)")


class Done(NamedTuple):
    """A room that was run."""

    name: str
    code: int
    said: str
    took_s: float


def rooms() -> list[list[str]]:
    """What each pytest is given: a folder below this one, or, together, the files that lie here."""
    folders = sorted(path.name for path in HERE.iterdir() if path.is_dir() and any(path.glob("test_*.py")))
    first = [name for name in LONG if name in folders]
    rest = [name for name in folders if name not in first]
    return [[f"tests/{name}"] for name in first + rest] + [sorted(f"tests/{p.name}" for p in HERE.glob("test_*.py"))]


def run(room: list[str]) -> Done:
    """One of them, to its end."""
    name, began = (room[0] if len(room) == 1 else "tests"), time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", *room]
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ROOM_S
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return Done(name, 1, f"{said}\n{name} did not end within {_ROOM_S} s\n", _ROOM_S)
    code = 0 if done.returncode == _NO_TESTS else done.returncode
    return Done(name, code, done.stdout + done.stderr, time.monotonic() - began)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=2, help="processes at a time (default %(default)s)")
    at_once = parser.parse_args(argv).at_once
    began, counts, failed = time.monotonic(), Counter[str](), []
    with ThreadPoolExecutor(at_once) as pool:
        for future in as_completed([pool.submit(run, room) for room in rooms()]):
            done = future.result()
            last = done.said.rstrip().rpartition("\n")[2]
            counts.update({word: int(number) for number, word in _COUNT.findall(last)})
            if done.code:
                failed.append(done.name)
                _say(done.said)
            _say(f"{done.name}: {last} [{done.took_s:.0f} s]\n")
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    _say(f"{told} in {time.monotonic() - began:.0f} s{'; failed: ' if failed else ''}{', '.join(failed)}\n")
    return 1 if failed or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
