"""Work that blocks, off the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent
from gevent.threadpool import ThreadPool

T = TypeVar("T")


def in_thread(work: Callable[[], T], pool: ThreadPool | None = None) -> T:
    """What ``work`` returns or raises, from a native thread (of the hub's own pool); the hub goes on meanwhile."""

    def caught() -> tuple[T | None, Exception | None]:
        # Raised in the pool itself, it would be printed as well.
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001  handed on to who asked
            return None, error

    value, error = (pool or gevent.get_hub().threadpool).apply(caught)
    if error is not None:
        raise error
    return cast(T, value)
