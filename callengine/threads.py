"""Work that blocks, off the hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

T = TypeVar("T")

_NICE: Final = 10
_own: Any = monkey.get_original("_thread", "_local")()


class Threads(ThreadPool):
    """gevent's pool, of threads that give way to the hub's: what they do can wait, and the switch is not to.

    Half of how late the hub is under a mixed load on one core. On Linux alone a thread has a priority of its own.
    """

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As gevent's."""
        return super().spawn(_giving_way, func, *args, **kwargs)


def _giving_way(func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    if not hasattr(_own, "begun"):
        _own.begun = True
        if sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    return func(*args, **kwargs)


def give_way() -> None:
    """The threads of each hub's own pool do so as well; to be called before one is needed."""
    gevent.config.threadpool = cast(Any, Threads)


def in_thread(work: Callable[[], T], pool: ThreadPool | None = None) -> T:
    """What ``work`` returns or raises, from a native thread (of the hub's own pool); the hub goes on meanwhile."""

    def caught() -> tuple[T | None, BaseException | None]:
        # Raised in the pool itself, it would be printed as well.
        try:
            return work(), None
        except BaseException as error:  # noqa: BLE001  handed on to who asked
            return None, error

    # Not by its truth: a pool with no thread at work counts as empty.
    value, error = (gevent.get_hub().threadpool if pool is None else pool).apply(caught)
    if error is not None:
        raise error
    return cast(T, value)


def within(timeout_s: float, threads: Threads, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises. Raises TimeoutError where it, or what it has to wait for, takes too long; then
    it is left to end by itself, and keeps its thread until then.
    """
    timeout = gevent.Timeout(timeout_s)
    with timeout:
        try:
            return in_thread(work, threads)
        except gevent.Timeout as error:
            if error is not timeout:
                raise
            raise TimeoutError(f"no answer from the disk within {timeout_s:g} s") from None
