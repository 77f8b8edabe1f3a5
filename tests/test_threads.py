"""Threads that work beside the hub's."""

from __future__ import annotations

import os
import sys

import gevent
import pytest

from callengine.threads import Threads, in_thread


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux a thread has a priority of its own")
def test_they_give_way_to_the_hub_and_it_does_not_to_them() -> None:
    pool, before = Threads(2), os.getpriority(os.PRIO_PROCESS, 0)
    found = [in_thread(lambda: os.getpriority(os.PRIO_PROCESS, 0), pool) for _ in range(3)]
    assert all(one > before for one in found)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    pool.kill()


def test_what_is_raised_is_raised_to_who_asked() -> None:
    pool = Threads(1)
    with gevent.Timeout(5), pytest.raises(KeyError):
        in_thread(lambda: {}["nothing"], pool)
    pool.kill()
