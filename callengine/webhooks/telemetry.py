"""The metrics of webhooks."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from callengine.metrics import Metrics
from callengine.webhooks.sender import Reply
from callengine.webhooks.worker import Deliverer

_RESULTS = ("delivered", "failed", "dead", "postponed")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)


class Telemetry:
    """Counts attempts; ``on_attempt`` is what a ``Deliverer`` is made with."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._attempts = Counter(
            "callengine_webhook_attempts",
            "Attempts to deliver: delivered, failed (tried again later), dead (given up), postponed (not tried).",
            ["result"],
            registry=metrics.registry,
        )
        self._of = {result: self._attempts.labels(result) for result in _RESULTS}
        self._seconds = Histogram(
            "callengine_webhook_attempt_seconds",
            "How long attempts took, until the answer or the failure.",
            buckets=_SECONDS,
            registry=metrics.registry,
        )

    def on_attempt(self, result: str, reply: Reply) -> None:
        """``result``: ``delivered``, ``failed``, ``dead``, or ``postponed``: nothing was tried, which took no time."""
        self._of[result].inc()
        if result != "postponed":
            self._seconds.observe(reply.duration_s)

    def watch(self, deliverer: Deliverer) -> None:
        """Adds what is read off the deliverer when the metrics are scraped."""

        gauge = self._metrics.gauge
        counted = "as counted every 30 s by the process that delivers, up to 100,000."
        gauge("callengine_webhook_pending", f"Deliveries that wait, {counted}", lambda: float(deliverer.census.pending))
        gauge("callengine_webhook_dead", f"Dead letters, {counted}", lambda: float(deliverer.census.dead))
        gauge(
            "callengine_webhook_oldest_seconds",
            "How long the oldest delivery to an enabled endpoint has waited, as looked at every 30 s.",
            lambda: deliverer.oldest_s,
        )
        gauge(
            "callengine_webhook_endpoints_at_work",
            "Endpoints that are being delivered to.",
            lambda: float(deliverer.at_work),
        )
        gauge(
            "callengine_webhook_deliverer",
            "1 where this process is the one that delivers.",
            lambda: float(deliverer.holds),
        )
