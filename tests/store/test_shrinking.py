"""The pages that a burst of writes touched are given back with the rest (``callengine.memory``)."""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import peewee
import pytest

from callengine.memory import Memory
from callengine.store import sql
from callengine.store.database import Store
from callengine.store.writer import Writer

_STATM = Path("/proc/self/statm")


def rss_mb() -> float:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill(db: peewee.Database) -> None:
    sql.run(db, "CREATE TABLE filler (x BLOB)")
    for _ in range(10_000):
        sql.run(db, "INSERT INTO filler VALUES (zeroblob(3000))")


@pytest.mark.skipif(not _STATM.exists(), reason="its memory is read from /proc")
@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="malloc_trim is glibc's")
def test_the_cache_of_the_connection_that_writes_is_given_back(sqlite_store: Store) -> None:
    writer = Writer(sqlite_store)
    writer.start()
    done = [0]
    memory = Memory(lambda: done[0], writer, every_s=0.02)
    worker = gevent.spawn(memory.run)
    gevent.sleep(0)
    writer.execute(fill, 30)
    full_mb = rss_mb()
    done[0] += 1
    with gevent.Timeout(10):
        while not memory.given_back:
            gevent.sleep(0.01)
    assert rss_mb() < full_mb - 20
    writer.execute(lambda db: sql.run(db, "DROP TABLE filler"), 30)
    worker.kill()
    writer.stop(10)
