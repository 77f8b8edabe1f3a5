"""Counters and histograms for what happens with each event: plain numbers, counted on the hub alone.

``prometheus_client`` takes a lock for each increment, and gevent's are Python: of an event's processor time a tenth
went into them. These need none, since only the hub counts; a scrape reads them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter. ``counts[key] += 1`` counts; the key is the label's value, or a tuple of as many as there are labels.

    ``always``: keys that are shown from the beginning, with 0. Without labels the key is ``()``.
    """

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002  Prometheus' own word
        labels: Sequence[str] = (),
        *,
        registry: CollectorRegistry,
        always: Sequence[Hashable] = (),
    ) -> None:
        self.counts: defaultdict[Hashable, int] = defaultdict(int)
        self._name, self._help, self._labels = name, help, tuple(labels)
        for key in always if labels else ((),):
            self.counts[key] = 0
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for key, count in list(self.counts.items()):
            family.add_metric(_values(key), count)
        yield family


class Spread(Collector):
    """A histogram. ``buckets`` are upper bounds, ascending; +Inf is added. Keys are as those of ``Tally``."""

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002  Prometheus' own word
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._help, self._labels = name, help, tuple(labels)
        self._bounds = tuple(map(float, buckets))
        self._counts: dict[Hashable, list[int]] = {}
        self._sums: defaultdict[Hashable, float] = defaultdict(float)
        if not labels:
            self._row(())
        registry.register(self)

    def observe(self, value: float, key: Hashable = ()) -> None:
        """Count one value."""
        row = self._counts.get(key) or self._row(key)
        row[bisect_left(self._bounds, value)] += 1
        self._sums[key] += value

    def _row(self, key: Hashable) -> list[int]:
        row = self._counts[key] = [0] * (len(self._bounds) + 1)
        return row

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for key, counts in list(self._counts.items()):
            below, buckets = 0, []
            for bound, count in zip((*map(repr, self._bounds), "+Inf"), list(counts), strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(_values(key), buckets, self._sums[key])
        yield family


def _values(key: Hashable) -> list[str]:
    return [str(part) for part in key] if isinstance(key, tuple) else [str(key)]
