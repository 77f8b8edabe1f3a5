"""What is counted of calls: quality by gateway, in a number of series that no traffic makes grow."""

from __future__ import annotations

import itertools
import random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from callengine.calls.call import EventName
from callengine.calls.causes import CAUSES
from callengine.calls.machine import Effect, Published
from callengine.calls.record import CallRecord
from callengine.metrics import Metrics
from callengine.outcomes import DELIVERED, OUTCOMES, REASONS, gateway_label, outcome_of, result_of

T = 1_700_000_000_000_000
S = 1_000_000


def a_call(**more: object) -> CallRecord:
    known = {"id": "c", "tenant_id": "t", "node": "n", "fs_uuid": "u", "live": False, "status": "failed", "dial_us": T}
    return CallRecord(**{**known, **more})  # type: ignore[arg-type]


def ended(record: CallRecord) -> list[Effect]:
    return [Published(record.id, EventName.ENDED, 1, record)]


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        ({"answer_us": T + S, "hangup_cause": "NORMAL_CLEARING"}, "answered"),
        ({"answer_us": T + S, "hangup_cause": "NETWORK_OUT_OF_ORDER"}, "answered"),
        ({"hangup_cause": "USER_BUSY"}, "busy"),
        ({"hangup_cause": "NO_ANSWER", "ring_us": T + S}, "no_answer"),
        ({"hangup_cause": "NO_USER_RESPONSE"}, "no_answer"),
        ({"hangup_cause": "CALL_REJECTED", "sip_status": 603}, "rejected"),
        ({"hangup_cause": "CALL_REJECTED"}, "rejected"),
        ({"hangup_cause": "CALL_REJECTED", "sip_status": 403}, "failed"),
        ({"hangup_cause": "SUBSCRIBER_ABSENT"}, "rejected"),
        ({"hangup_cause": "ORIGINATOR_CANCEL", "ring_us": T + S}, "no_answer"),
        ({"hangup_cause": "ORIGINATOR_CANCEL"}, "cancelled"),
        ({"hangup_cause": "UNALLOCATED_NUMBER"}, "failed"),
        ({"hangup_cause": "RECOVERY_ON_TIMER_EXPIRE"}, "failed"),
        ({"hangup_cause": "NORMAL_TEMPORARY_FAILURE", "ring_us": T + S}, "failed"),
        ({"hangup_cause": "A_CAUSE_OF_TOMORROW"}, "failed"),
        ({}, "failed"),
        ({"queued_us": T, "dial_us": None, "failure_reason": "queue_timeout"}, "not_sent"),
        ({"queued_us": T, "hangup_cause": "INVALID_GATEWAY"}, "failed"),
    ],
)
def test_what_became_of_a_call(known: dict[str, object], outcome: str) -> None:
    assert outcome_of(a_call(**known)) == outcome


def test_every_cause_has_an_outcome() -> None:
    for cause, ring_us, sip_status in itertools.product(sorted(CAUSES), (None, T), (None, 403, 603)):
        found = outcome_of(a_call(hangup_cause=cause, ring_us=ring_us, sip_status=sip_status))
        assert found in OUTCOMES
        assert found not in ("answered", "not_sent")
    assert set(OUTCOMES) > DELIVERED


@pytest.mark.parametrize(
    ("known", "result"),
    [
        ({"answer_us": T}, "answered"),
        ({"hangup_cause": "GATEWAY_DOWN"}, "GATEWAY_DOWN"),
        ({"hangup_cause": "MADE_UP"}, "other"),
        ({"failure_reason": "queue_timeout"}, "queue_timeout"),
        ({"failure_reason": "-ERR whatever the switch said"}, "other"),
        ({}, "none"),
    ],
)
def test_what_ended_a_call_of_ours(known: dict[str, object], result: str) -> None:
    assert result_of(a_call(**known)) == result
    assert result in {"answered", "other", "none"} | CAUSES | REASONS


def test_gateways_go_by_their_configured_names() -> None:
    metrics = Metrics()
    metrics.name_gateways(
        {
            "carrier": "sofia/gateway/{gateway}/{destination}",
            "cheap": "[leg_timeout=9]sofia/gateway/acme-1/00{destination}",
            "local": "user/{destination}",
        }
    )
    for gateway in ("carrier", "acme-1", "cheap", "local", "a stranger's", None):
        metrics.count(ended(a_call(gateway=gateway, hangup_cause="USER_BUSY")))
    found = {
        gateway: metrics.registry.get_sample_value(
            "callengine_call_outcomes_total", {"direction": "outbound", "gateway": gateway, "outcome": "busy"}
        )
        for gateway in ("carrier", "cheap", "local", "other", "none", "acme-1")
    }
    assert found == {"carrier": 1, "cheap": 2, "local": 1, "other": 1, "none": 1, "acme-1": None}
    assert gateway_label("x", {}) == "other"


def test_durations_are_by_gateway_and_a_clock_that_ran_backwards_is_left_out() -> None:
    metrics = Metrics()
    metrics.name_gateways({"carrier": "sofia/gateway/{gateway}/{destination}"})
    known = {"gateway": "carrier", "ring_us": T + 2 * S, "answer_us": T + 5 * S, "end_us": T + 65 * S}
    metrics.count(ended(a_call(**known)))
    metrics.count(ended(a_call(gateway="carrier", ring_us=T - 1, answer_us=T - 2, end_us=T - 3)))
    where = {"direction": "outbound", "gateway": "carrier"}
    value = metrics.registry.get_sample_value
    assert (value("callengine_pdd_seconds_count", where), value("callengine_pdd_seconds_sum", where)) == (1, 2.0)
    assert (value("callengine_talk_seconds_count", where), value("callengine_talk_seconds_sum", where)) == (1, 60.0)
    assert value("callengine_ring_seconds_sum") == 3.0


def test_only_our_own_calls_count_as_originated() -> None:
    metrics = Metrics()
    metrics.count(ended(a_call(hangup_cause="USER_BUSY")))
    metrics.count(ended(a_call(hangup_cause="USER_BUSY", queued_us=T)))
    labels = {"gateway": "none", "result": "USER_BUSY"}
    assert metrics.registry.get_sample_value("callengine_originated_calls_total", labels) == 1


def test_a_numbered_greenlet_counts_with_its_like_and_is_there_before_it_dies() -> None:
    metrics = Metrics()
    metrics.watch_for_crashes(["sender-1", "sender-12", "tracker"])
    metrics.crashed("sender-3")
    value = metrics.registry.get_sample_value
    assert value("callengine_greenlet_crashes_total", {"greenlet": "sender"}) == 1
    assert value("callengine_greenlet_crashes_total", {"greenlet": "tracker"}) == 0
    assert metrics.render().count(b"callengine_greenlet_crashes_total{") == 2


def test_the_scrape_parses_after_100_000_calls_and_the_number_of_series_is_bounded() -> None:
    """DEFECTS: labels without a bound, and one duplicate series that fails the whole scrape."""
    metrics, rng = Metrics(), random.Random(7)
    gateways = [f"carrier-{n}" for n in range(5)]
    metrics.name_gateways(dict.fromkeys(gateways, "sofia/gateway/{gateway}/{destination}"))
    causes = [*sorted(CAUSES), "", "MADE_UP", 'x"} 1\n', "\ud800"]

    def live(calls: int) -> None:
        for n in range(calls):
            ring_us = T + rng.randrange(10) * S if rng.random() < 0.8 else None
            record = a_call(
                id=str(n),
                gateway=rng.choice([*gateways, None, f"stranger-{n}", f'"{n}\n']),
                direction=rng.choice(["inbound", "outbound"]),
                campaign_id=f"campaign-{n}",
                agent_id=f"agent-{n}",
                hangup_cause=rng.choice(causes),
                failure_reason=rng.choice([None, f"-ERR {n}"]),
                queued_us=rng.choice([None, T]),
                ring_us=ring_us,
                answer_us=rng.choice([None, T + 20 * S]),
                end_us=T + 100 * S,
            )
            metrics.count(ended(record))

    def series() -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        families = text_string_to_metric_families(metrics.render().decode())
        return [(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples]

    live(50_000)
    before = series()
    live(50_000)
    after = series()
    assert len(after) == len(set(after)), "a series is there twice"
    bound = 2 * 7 * len(OUTCOMES) + 7 * (len(CAUSES) + 3) + len(CAUSES) + 2 * 2 * 7 * 17 + 200
    assert len(before) <= len(after) <= bound
    assert len(after) < 1.05 * len(before)
