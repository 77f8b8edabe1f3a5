"""Which call the present work is about, so that every line logged meanwhile can say so, whoever writes it.

Kept for each greenlet by itself: gevent gives each a context of its own, which begins empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_call_id: ContextVar[str] = ContextVar("call_id", default="")


@contextmanager
def about(call_id: str) -> Iterator[None]:
    """While the body is at work on that call."""
    token = _call_id.set(call_id)
    try:
        yield
    finally:
        _call_id.reset(token)


def call_at_work() -> str:
    """The id of that call; empty where the work is about none, or about many."""
    return _call_id.get()
