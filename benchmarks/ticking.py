"""``python ticking.py run``: the daemon, with a greenlet in it that wants to run every millisecond.

How late it comes each time, and the longest turn of any greenlet in processor time of the hub's thread, are appended to
the file TICKING names, a second's worth at a time: a line of JSON, ``{"at_s", "late_ms": [...], "turn_ms"}``.
"""

from __future__ import annotations

import callengine.patched  # noqa: F401

import json
import os
import sys
import time

import gevent
import greenlet

from callengine.cli.main import main


class _Turns:
    """The longest turn since it was last asked: unlike lateness, it tells nothing of others on the machine."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._since_s = time.thread_time()
        greenlet.settrace(self._switched)

    def _switched(self, event: str, parties: tuple[object, object]) -> None:
        now_s = time.thread_time()
        self._longest_s = max(self._longest_s, now_s - self._since_s)
        self._since_s = now_s

    def longest_ms(self) -> float:
        found, self._longest_s = self._longest_s, 0.0
        return found * 1000


def _tick(descriptor: int) -> None:
    turns = _Turns()
    while True:
        late_ms = []
        until_s = time.perf_counter() + 1
        while (began_s := time.perf_counter()) < until_s:
            gevent.sleep(0.001)
            late_ms.append(round((time.perf_counter() - began_s) * 1000 - 1, 3))
        line = {"at_s": time.monotonic(), "late_ms": late_ms, "turn_ms": turns.longest_ms()}
        os.write(descriptor, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    gevent.spawn(_tick, os.open(os.environ["TICKING"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    sys.exit(main(sys.argv[1:]))
