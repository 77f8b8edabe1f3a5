"""What originating and call control need of the rest, and no more: tests hand in their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from callengine.calls.book import Book
from callengine.calls.facts import Fact
from callengine.calls.record import CallRecord

T = TypeVar("T")


class Commands(Protocol):
    """The event socket. Raises ``EslError``: ``EslDisconnected`` where there is none, ``CommandTimedOut``."""

    @property
    def ready(self) -> bool:
        """Whether commands can be sent at this moment."""

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        """What the command printed, ``-ERR …`` included."""

    def bgapi(self, command: str, job_uuid: str, *, timeout_s: float | None = None) -> object:
        """Returns once the switch has taken the command on; its result comes as an event."""


class Commits(Protocol):
    """The writer of the store. Raises ``StoreUnavailable``."""

    def flush(self, timeout_s: float) -> None:
        """Returns when all that was changed before is committed."""

    def execute(self, fn: Callable[[Any], T], timeout_s: float) -> T:
        """The result of ``fn(database)``, committed together with what was changed before, or after it."""


class Switchboard(Protocol):
    """One engine: its book, its switch, its writer and its clocks."""

    @property
    def book(self) -> Book: ...
    @property
    def link(self) -> Commands: ...
    @property
    def writer(self) -> Commits: ...
    @property
    def opened(self) -> bool:
        """Whether the book is this switch's, and ours to write: calls may be accepted."""

    @property
    def ready(self) -> bool:
        """Whether the switch can be asked: connected, and the book compared with it."""

    @property
    def holds(self) -> bool:
        """Whether the switch is surely still this engine's: calls may be placed."""

    def take(self, fact: Fact) -> None:
        """Apply a fact. Never waits."""

    def now_us(self) -> int:
        """Our clock, µs since the epoch."""

    def monotonic(self) -> float:
        """Our monotonic clock, in seconds."""


class CallReader(Protocol):
    """The store's reads. Raises ``StoreUnavailable``."""

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None:
        """The call, if it is the tenant's."""


class Counts(Protocol):
    """The metrics. ``result`` is one of sent, refused, queue_timeout, queue_full, cancelled, unreachable."""

    def originated(self, result: str) -> None: ...

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002  the metrics' own word
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]] | Callable[[], float],
    ) -> None: ...


class RequestKey(Protocol):
    """An Idempotency-Key and the fingerprint of the request that it came with."""

    @property
    def key(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
