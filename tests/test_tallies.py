"""What a scrape shows of the counters that the hub keeps: the same as prometheus_client's own."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from callengine.calls.call import EventName
from callengine.tallies import Spread, Tally

# Without the moments of creation, as the engine has it.
disable_created_metrics()  # type: ignore[no-untyped-call]


def test_a_tally_is_shown_as_a_counter_is() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("told", "Told.", ("event", "node"), registry=ours)
    counter = Counter("told", "Told.", ["event", "node"], registry=theirs)
    for event, node in [(EventName.ENDED, "a"), (EventName.ENDED, "a"), (EventName.RINGING, 'b"\n\\')]:
        tally.counts[event, node] += 1
        counter.labels(event, node).inc()
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_tally_without_labels_is_there_from_the_beginning() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("corrections", "Corrected.", registry=ours)
    counter = Counter("corrections", "Corrected.", registry=theirs)
    assert generate_latest(ours) == generate_latest(theirs)
    tally.counts[()] += 1
    counter.inc()
    assert generate_latest(ours) == generate_latest(theirs)


def test_keys_that_are_always_shown() -> None:
    registry = CollectorRegistry()
    Tally("poison", "Poison.", ("kind",), registry=registry, always=("event", "cdr"))
    assert registry.get_sample_value("poison_total", {"kind": "cdr"}) == 0


@pytest.mark.parametrize("values", [[], [0.0], [0.1], [0.10001, 7, 1e9], [5, 5, 5]])
def test_a_spread_is_shown_as_a_histogram_is(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread = Spread("ring_seconds", "Ring.", buckets=(0.1, 0.25, 1, 5), registry=ours)
    histogram = Histogram("ring_seconds", "Ring.", buckets=(0.1, 0.25, 1, 5), registry=theirs)
    for value in values:
        spread.observe(value)
        histogram.observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
    list(text_string_to_metric_families(generate_latest(ours).decode()))


def test_a_spread_with_labels() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread = Spread("talk_seconds", "Talk.", ("direction", "gateway"), buckets=(1, 5), registry=ours)
    histogram = Histogram("talk_seconds", "Talk.", ["direction", "gateway"], buckets=(1, 5), registry=theirs)
    assert generate_latest(ours) == generate_latest(theirs)
    for direction, gateway, value in [("inbound", "a", 3.0), ("outbound", "b", 0.5), ("inbound", "a", 9.0)]:
        spread.observe(value, (direction, gateway))
        histogram.labels(direction, gateway).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
