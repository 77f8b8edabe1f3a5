"""Metrics of CDRs. Every label has a closed set of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prometheus_client import Counter, Histogram

from callengine.metrics import Metrics

_POST_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)


class Waiting(Protocol):
    """What waits to be taken in."""

    @property
    def files(self) -> int: ...
    @property
    def oldest_s(self) -> float: ...


class Counts:
    """The counters of this room in the engine's metrics; one for each ``Metrics``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._taken = Counter(
            "callengine_cdrs",
            "CDRs by where they came from (folder, inbox), and what became of them.",
            ["source", "result"],
            registry=metrics.registry,
        )
        self.posts = Histogram(
            "callengine_cdr_post_seconds",
            "How long it took to put a posted CDR on the disk.",
            buckets=_POST_SECONDS,
            registry=metrics.registry,
        )

    def taken(self, source: str, result: str) -> None:
        """Count one."""
        self._taken.labels(source, result).inc()

    def set_aside(self) -> None:
        """Count one that could not be handled."""
        self._metrics.poison.labels("cdr").inc()

    def gauges(self, waiting: Waiting) -> None:
        """What is read off the intake."""
        self._metrics.gauge("callengine_cdrs_waiting", "CDRs found and not done with.", lambda: float(waiting.files))
        self._metrics.gauge(
            "callengine_cdrs_oldest_seconds", "How long ago the oldest of these was written.", lambda: waiting.oldest_s
        )

    def inbox(self, refused: Callable[[], int]) -> None:
        """What is read off the inbox."""
        self._metrics.gauge(
            "callengine_cdr_posts_refused", "Posted CDRs refused since the start.", lambda: float(refused())
        )

    def audit(self, found: Callable[[], dict[str, int]], at_s: Callable[[], float]) -> None:
        """What the last audit found."""
        self._metrics.gauge(
            "callengine_audit_calls",
            "Calls by what the last audit found of them: compared, missing, extra, different.",
            lambda: [((kind,), float(n)) for kind, n in found().items()],
            ("found",),
        )
        self._metrics.gauge(
            "callengine_audit_time_seconds", "When the last audit was made, since the epoch; 0: not yet.", at_s
        )
