"""Work in native threads that is waited for within a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent

from callengine.threads import Threads

T = TypeVar("T")


def within(timeout_s: float, threads: Threads, work: Callable[[], T]) -> T:
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


def run_in(threads: Threads, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises in a native thread. An error is handed over as a value: one that is raised in a
    pool's thread is also printed on standard error."""

    def outcome() -> tuple[T | None, BaseException | None]:
        try:
            return work(), None
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            return None, error

    value, error = cast(tuple[T, BaseException | None], threads.spawn(outcome).get())
    if error is not None:
        raise error
    return value
