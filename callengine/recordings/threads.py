"""Work in native threads that is waited for within a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

from callengine.recordings.reading import run_in

T = TypeVar("T")


def within(timeout_s: float, threads: ThreadPool, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises. Raises TimeoutError where it, or what it has to wait for, takes too long; then
    it is left to end by itself, and keeps its thread until then.
    """
    timeout = gevent.Timeout(timeout_s)
    with timeout:
        try:
            return run_in(threads, work)
        except gevent.Timeout as error:
            if error is not timeout:
                raise
            raise TimeoutError(f"no answer from the disk within {timeout_s:g} s") from None
