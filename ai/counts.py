"""What of the analyses is counted and measured. Every label has a closed set of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Histogram

from callengine.metrics import Metrics
from callengine.store.analyses import FINAL, WAITING, Status

PUT_OFF: Final = ("transient", "quota", "unusable")

_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Counts:
    """Counters and gauges of the analyses, in the registry of ``metrics``; to be made once."""

    def __init__(self, metrics: Metrics) -> None:
        r = metrics.registry
        self.results = Counter("callengine_analyses", "Analyses that ended, by status.", ["status"], registry=r)
        self.put_off = Counter("callengine_analyses_put_off", "Attempts to be repeated.", ["why"], registry=r)
        self.tokens = Counter("callengine_analysis_tokens", "Tokens paid.", ["kind"], registry=r)
        self.cost = Counter(
            "callengine_analysis_cost_usd", "What they cost, by the prices of the settings.", registry=r
        )
        self.dropped = Counter(
            "callengine_analysis_dropped_statements", "Statements dropped since no quote bears them.", registry=r
        )
        self.seconds = Histogram(
            "callengine_analysis_seconds", "How long asking took, uploads included.", buckets=_SECONDS, registry=r
        )
        self.set_aside = metrics.poison.labels("job")
        for status in sorted(FINAL):
            self.results.labels(status.value)
        for why in PUT_OFF:
            self.put_off.labels(why)
        self.running = 0
        """How many are being asked about at this moment."""
        self.budget_used = 0.0
        """Of the tenant that is nearest to its daily bound, the share that is spent."""
        self._waiting: Mapping[str, tuple[int, int]] = {}
        self._now_us = 0
        metrics.gauge(
            "callengine_analyses_waiting",
            "Analyses of ended calls that are not done.",
            lambda: [((status.value,), float(self._of(status)[0])) for status in sorted(WAITING)],
            ("status",),
        )
        metrics.gauge("callengine_analyses_running", "Questions to Gemini under way.", lambda: float(self.running))
        metrics.gauge(
            "callengine_analysis_budget_used_ratio",
            "The share of its daily bound that the tenant nearest to it has spent on analyses; 0: none is bounded.",
            lambda: self.budget_used,
        )
        metrics.gauge(
            "callengine_analyses_oldest_seconds", "How long the oldest that could go on has waited.", self._oldest_s
        )

    @property
    def waiting(self) -> int:
        """Analyses of ended calls that are not done, as they were last counted."""
        return sum(number for number, _ in self._waiting.values())

    def saw(self, waiting: Mapping[str, tuple[int, int]], now_us: int) -> None:
        """What ``store.analyses.waiting`` found."""
        self._waiting, self._now_us = waiting, now_us

    def paid(self, input_tokens: int, output_tokens: int, micros: int) -> None:
        """Count what one answer cost."""
        self.tokens.labels("input").inc(input_tokens)
        self.tokens.labels("output").inc(output_tokens)
        self.cost.inc(micros / 1_000_000)

    def _of(self, status: Status) -> tuple[int, int]:
        return self._waiting.get(status.value, (0, self._now_us))

    def _oldest_s(self) -> float:
        return max((self._now_us - self._of(status)[1] for status in WAITING - {Status.PARKED}), default=0) / 1_000_000
