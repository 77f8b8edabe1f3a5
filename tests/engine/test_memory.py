"""What a burst took is given back once nothing more comes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from callengine.errors import StoreUnavailable
from callengine.memory import Memory
from callengine.store.writer import Writer


class Rig:
    """A memory that looks every 10 ms, and how many events were applied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writer: Writer | None = None) -> None:
        self.trims, self.done = 0, 0
        monkeypatch.setattr("callengine.memory.trim", self._trim)
        self.memory = Memory(lambda: self.done, writer, every_s=0.01)
        self._worker = gevent.spawn(self.memory.run)
        gevent.sleep(0.005)

    def _trim(self) -> bool:
        self.trims += 1
        return True

    def wait(self, true: Callable[[], bool]) -> bool:
        with gevent.Timeout(5, False):
            while not true():
                gevent.sleep(0.005)
        return true()

    def stop(self) -> None:
        self._worker.kill()


def test_once_after_each_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    gevent.sleep(0.05)
    assert rig.memory.given_back == 0  # nothing has come yet
    for burst in (1, 2):
        rig.done += 1000
        assert rig.wait(lambda n=burst: rig.memory.given_back == n)  # type: ignore[misc]
        gevent.sleep(0.05)
        assert (rig.memory.given_back, rig.trims) == (burst, burst)
    rig.stop()


def test_not_while_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)

    def burst() -> None:
        while True:
            rig.done += 1
            gevent.sleep(0.001)

    bursting = gevent.spawn(burst)
    gevent.sleep(0.1)
    assert rig.trims == 0
    bursting.kill()
    assert rig.wait(lambda: rig.trims == 1)
    rig.stop()


class _Writer:
    """Holds ``depth`` rows; ``execute`` is refused where ``away``."""

    depth = 1
    away = False

    def __init__(self) -> None:
        self.executed = 0

    def execute(self, fn: object, timeout_s: float, *, ahead: bool = False) -> None:
        self.executed += 1
        if self.away:
            raise StoreUnavailable("the database is away")


def test_not_before_all_is_committed_and_also_where_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = _Writer()
    rig = Rig(monkeypatch, writer)  # type: ignore[arg-type]
    rig.done += 1
    gevent.sleep(0.05)
    assert (writer.executed, rig.trims) == (0, 0)
    writer.away = True
    writer.depth = 0
    assert rig.wait(lambda: rig.trims == 1)
    assert writer.executed == 1
    rig.stop()


_BURST = """
import os
from callengine.memory import trim

def rss_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

gone, stays = [], []
for n in range(20_000):
    gone.append(bytes(5000))
    if n % 100 == 99:
        stays.append(bytes(5000))
full_mb = rss_mb()
del gone
freed_mb = rss_mb()
trim()
print(full_mb, freed_mb, rss_mb())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="its memory is read from /proc")
@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="malloc_trim is glibc's")
def test_what_lies_below_something_that_stays_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _BURST], capture_output=True, text=True, timeout=60, check=True)
    full_mb, freed_mb, trimmed_mb = map(float, done.stdout.split())
    assert freed_mb > full_mb - 20  # the C library keeps it
    assert trimmed_mb < full_mb - 80
