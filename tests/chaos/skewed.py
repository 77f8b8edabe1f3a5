"""The daemon with a wall clock that can be moved, while everybody else keeps the machine's.

    python -m tests.chaos.skewed OFFSET_FILE run …

runs ``callengine run …`` with ``time.time`` and ``time.time_ns`` off by as many seconds as the file says at that moment
(``set_offset``). Monotonic clocks, timers and the stamps of files stay true. ``datetime.now`` and ``gmtime()`` are left
alone: nothing of callengine's asks them (a test sees to it), and its libraries do so for headers and log lines only.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path
from typing import Final

_SECONDS: Final = struct.Struct("<d")


def set_offset(path: Path, seconds: float) -> None:
    """From now on the clock is off by so much; makes the file where there is none."""
    with path.open("r+b" if path.exists() else "w+b", buffering=0) as file:
        file.write(_SECONDS.pack(seconds))


def install(path: Path) -> None:
    """Moves this process's clock. Before anything else is imported, so that nobody has taken the true functions."""
    if path.stat().st_size < _SECONDS.size:
        set_offset(path, 0.0)
    with path.open("rb") as file:
        shown = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    true_s, true_ns = time.time, time.time_ns

    def moved_s() -> float:
        offset_s: float = _SECONDS.unpack_from(shown)[0]
        return true_s() + offset_s

    def moved_ns() -> int:
        return true_ns() + int(_SECONDS.unpack_from(shown)[0] * 1_000_000_000)

    time.time, time.time_ns = moved_s, moved_ns


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: python -m tests.chaos.skewed OFFSET_FILE COMMAND …")
    install(Path(sys.argv[1]))
    sys.argv[:] = ["callengine", *sys.argv[2:]]
    runpy.run_module("callengine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
