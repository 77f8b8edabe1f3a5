"""Prometheus metrics. Every label has a closed set of values; what is outside it counts as ``other``."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, cast

import gevent
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import callengine
from callengine.calls.call import EventName
from callengine.calls.causes import CAUSES
from callengine.calls.machine import Effect, Published, Refused, Unattributed
from callengine.calls.record import CallRecord
from callengine.esl.sieve import COMPILED
from callengine.outcomes import gateway_label, outcome_of, result_of
from callengine.quarantine import KINDS
from callengine.tallies import Spread, Tally

disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 45, 60)
_TALK_SECONDS = (5, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200)
_FAST_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ORIGINATE_RESULTS = frozenset({"sent", "queue_timeout", "cancelled", "unreachable", "refused", "queue_full"})
_FAMILIES_A_TURN = 8
_NUMBER = re.compile(r"-[0-9]+$")
_GATEWAY = re.compile(r"(?:\[[^\]]*\])?sofia/gateway/([^/{}]+)/")


class Gauge(NamedTuple):
    """Read when scraped: ``read`` returns pairs of label values and value; without labels, one with an empty tuple."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]


class _Gauges(Collector):
    def __init__(self) -> None:
        self.gauges: list[Gauge] = []

    def collect(self) -> Iterator[Metric]:
        for gauge in self.gauges:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for values, value in gauge.read():
                family.add_metric(values, value)
            yield family


class Metrics:
    """All of the engine's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges = _Gauges()
        self.registry.register(self._gauges)
        r = self.registry
        self.calls = Tally("callengine_calls", "Calls that ended.", ("direction", "status"), registry=r)
        self.hangups = Tally("callengine_hangups", "Ended calls by hangup cause.", ("cause",), registry=r)
        self.originates = Counter("callengine_originates", "What became of originates.", ["result"], registry=r)
        for result in sorted(_ORIGINATE_RESULTS):
            self.originates.labels(result)
        where = ("direction", "gateway")
        self.outcomes = Tally(
            "callengine_call_outcomes",
            "Calls that ended, by gateway and by what became of them.",
            (*where, "outcome"),
            registry=r,
        )
        self.originated_calls = Tally(
            "callengine_originated_calls",
            "Calls placed by callengine that ended: answered, or by what ended them unanswered.",
            ("gateway", "result"),
            registry=r,
        )
        self.pdd = Spread(
            "callengine_pdd_seconds", "Post-dial delay: from dial to ring.", where, buckets=_SECONDS, registry=r
        )
        self.ring = Spread("callengine_ring_seconds", "From ring to answer.", buckets=_SECONDS, registry=r)
        self.talk = Spread(
            "callengine_talk_seconds", "From answer to hangup.", where, buckets=_TALK_SECONDS, registry=r
        )
        self.events = Tally("callengine_events", "Facts taken in.", ("fact",), registry=r)
        self.published = Tally("callengine_published", "Milestones told.", ("event",), registry=r)
        self.corrections = Tally("callengine_corrections", "Calls corrected after their end was told.", registry=r)
        self.refused = Tally("callengine_refused_transitions", "Refused transitions.", ("name",), registry=r)
        self.unattributed = Tally("callengine_unattributed", "Unusable names on calls.", ("what",), registry=r)
        self.poison = Counter("callengine_poison", "What could not be handled and was set aside.", ["kind"], registry=r)
        for kind in KINDS:
            self.poison.labels(kind)
        self.crashes = Counter(
            "callengine_greenlet_crashes", "Greenlets that died and were restarted.", ["greenlet"], registry=r
        )
        self.lag = Histogram(
            "callengine_event_lag_seconds",
            "How long an event waited for the tracker.",
            buckets=_FAST_SECONDS,
            registry=r,
        )
        self.commit = Histogram(
            "callengine_commit_seconds", "How long a group of writes took to commit.", buckets=_FAST_SECONDS, registry=r
        )
        self.hub = Histogram(
            "callengine_hub_lateness_seconds",
            "How much later than it asked a greenlet runs that sleeps for 50 ms.",
            buckets=_FAST_SECONDS,
            registry=r,
        )
        self.reconciled = Counter(
            "callengine_reconciled", "What comparing with the switch found.", ["found"], registry=r
        )
        self.recordings = Counter(
            "callengine_recordings", "Looks at recordings, by what came of them.", ["result"], registry=r
        )
        self.recording_probe = Histogram(
            "callengine_recording_probe_seconds",
            "How long the look at one recording's file took.",
            buckets=_FAST_SECONDS,
            registry=r,
        )
        self.recording_differences = Counter(
            "callengine_recording_differences",
            "Ready recordings whose length is more than 20 ms off what the switch claimed.",
            registry=r,
        )
        self.recordings_swept = Counter(
            "callengine_recordings_swept", "Files of recordings that nothing told of.", ["found"], registry=r
        )
        self.recordings_deleted = Counter(
            "callengine_recordings_deleted", "Recordings deleted since they were kept long enough.", registry=r
        )
        self.recordings_deleted_bytes = Counter("callengine_recordings_deleted_bytes", "The same in bytes.", registry=r)
        self.gauge(
            "callengine_build_info",
            "Version of callengine and of Python; what reads the event socket: C, or Python where that was not built.",
            lambda: [((callengine.__version__, platform.python_version(), "C" if COMPILED else "Python"), 1.0)],
            ("version", "python", "sieve"),
        )
        ProcessCollector(registry=r)
        self.on_ended: Callable[[CallRecord], None] | None = None
        """Told of each call whose end is told. Must not wait."""
        self._gateways: Mapping[str, str] = {}

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002  Prometheus' own word
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]] | Callable[[], float],
        labels: tuple[str, ...] = (),
    ) -> None:
        """Add a gauge that is read when scraped; without labels ``read`` returns its value."""

        def rows() -> Iterable[tuple[tuple[str, ...], float]]:
            got = read()
            return [((), float(got))] if isinstance(got, int | float) else got

        self._gauges.gauges.append(Gauge(name, help, labels, rows))

    def count(self, effects: Iterable[Effect]) -> None:
        """Count what a fact brought about."""
        for effect in effects:
            if isinstance(effect, Published):
                self.published_one(effect)
            elif isinstance(effect, Refused):
                self.refused.counts[effect.refusal.name] += 1
            elif isinstance(effect, Unattributed):
                self.unattributed.counts[effect.what] += 1

    def published_one(self, effect: Published) -> None:
        """Count a milestone that was told."""
        event = effect.event
        self.published.counts[event] += 1
        if event is EventName.ENDED:
            self._ended(effect.record)
        elif event is EventName.CORRECTED:
            self.corrections.counts[()] += 1

    def originated(self, result: str) -> None:
        """Count what became of one originate."""
        self.originates.labels(result if result in _ORIGINATE_RESULTS else "other").inc()

    def crashed(self, greenlet: str) -> None:
        """Count the death of one, by what it does: those that do the same are numbered."""
        self.crashes.labels(_NUMBER.sub("", greenlet)).inc()

    def watch_for_crashes(self, greenlets: Iterable[str]) -> None:
        """Have a series for each before it dies: the first of a series that begins with 1 is no increase."""
        for name in greenlets:
            self.crashes.labels(_NUMBER.sub("", name))

    def name_gateways(self, dial_strings: Mapping[str, str]) -> None:
        """The configured gateways and their dial strings: calls through others count as ``other``."""
        known = {found[1]: name for name, text in dial_strings.items() if (found := _GATEWAY.match(text))}
        self._gateways = {**known, **{name: name for name in dial_strings}}

    def _ended(self, record: CallRecord) -> None:
        direction, cause = record.direction, record.hangup_cause
        self.calls.counts[direction, record.status] += 1
        self.hangups.counts["none" if cause is None else cause if cause in CAUSES else "other"] += 1
        gateway = gateway_label(record.gateway, self._gateways)
        self.outcomes.counts[direction, gateway, outcome_of(record)] += 1
        if record.queued_us is not None:
            self.originated_calls.counts[gateway, result_of(record)] += 1
        dial_us, ring_us, answer_us, end_us = record.dial_us, record.ring_us, record.answer_us, record.end_us
        if dial_us is not None and ring_us is not None and ring_us >= dial_us:
            self.pdd.observe((ring_us - dial_us) / 1_000_000, (direction, gateway))
        if answer_us is not None:
            if ring_us is not None and answer_us >= ring_us:
                self.ring.observe((answer_us - ring_us) / 1_000_000)
            if end_us is not None and end_us >= answer_us:
                self.talk.observe((end_us - answer_us) / 1_000_000, (direction, gateway))
        if self.on_ended is not None:
            self.on_ended(record)

    def render(self) -> bytes:
        """The exposition in Prometheus' text format. Gives way now and then: all of it takes some milliseconds."""
        told = []
        for number, family in enumerate(self.registry.collect(), 1):
            told.append(generate_latest(cast(CollectorRegistry, _Alone(family))))
            if number % _FAMILIES_A_TURN == 0:
                gevent.sleep(0)
        return b"".join(told)


class _Alone(Collector):
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """For the exposition."""
        return (self._family,)
