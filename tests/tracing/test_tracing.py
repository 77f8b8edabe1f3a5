"""Spans reach a receiver of OTLP, and whatever that does, nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

import gevent
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callengine.config.sections import Tracing as Settings
from callengine.metrics import Metrics
from callengine.spans import Span, span_id, trace_id
from callengine.standin.launch import launch
from callengine.tracing import Tracing
from tests.acceptance.daemon import Daemon
from tests.acceptance.switches import hang_up
from tests.tracing.receiver import Receiver, attributes, receiving

CALL = "01890a5d-ac96-774b-bcce-b302099a8057"
T0 = 1_700_000_000_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def a_span(call_id: str | None = CALL, **more: object) -> Span:
    return Span("call", T0, T0 + 5, call_id, {"callengine.node": "fs1"}, **more)  # type: ignore[arg-type]


def of(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("callengine_tracing_spans_total", {"result": result}) or 0.0


def tracing_to(receiver: Receiver, metrics: Metrics, **more: object) -> Tracing:
    return Tracing(Settings.model_validate({"endpoint": receiver.url, **more}), metrics)


def test_a_call_and_what_was_done_for_it_are_one_trace(receiver: Receiver) -> None:
    metrics = Metrics()
    tracing = tracing_to(receiver, metrics, headers="authorization=Bearer abc=, x-scope=calls", service_name="pbx")
    tracing.record(a_span(is_call=True, events=(("answered", T0 + 2),)))
    tracing.record(Span("webhook", T0 + 6, T0 + 9, CALL, {}, error="HTTP status 503"))
    tracing.committed(0.25, 17)
    tracing.stop(10)
    assert of(metrics, "sent") == 3
    (call,), (webhook,), (commit,) = (receiver.named(name) for name in ("call", "webhook", "commit"))
    assert call.trace_id.hex() == webhook.trace_id.hex() == CALL.replace("-", "")
    assert call.span_id == span_id(CALL).to_bytes(8) == webhook.parent_span_id
    assert (call.parent_span_id, commit.parent_span_id) == (b"", b"")
    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (T0 * 1000, (T0 + 5) * 1000)
    assert [(event.name, event.time_unix_nano) for event in call.events] == [("answered", (T0 + 2) * 1000)]
    assert (webhook.status.code, webhook.status.message) == (2, "HTTP status 503")
    assert commit.trace_id != call.trace_id
    assert attributes(commit)["callengine.rows"] == 17
    assert commit.end_time_unix_nano - commit.start_time_unix_nano == 250_000_000
    assert receiver.services == ["pbx"]
    assert receiver.headers[0]["authorization"] == "Bearer abc="
    assert receiver.headers[0]["x-scope"] == "calls"


def test_the_sample_takes_a_call_whole_or_not_at_all() -> None:
    metrics, exporter = Metrics(), InMemorySpanExporter()
    tracing = Tracing(Settings(sample_ratio=0.5), metrics, exporter)
    ids = [f"01890a5d-ac96-774b-bcce-{n:012x}" for n in range(400)]
    for call_id in ids:
        tracing.record(a_span(call_id, is_call=True))
        tracing.record(a_span(call_id))
    tracing.send_some()
    tracing.send_some()
    found = [span.context.trace_id for span in exporter.get_finished_spans() if span.context is not None]
    assert 140 < len(set(found)) < 260
    assert all(found.count(trace) == 2 for trace in set(found))
    assert set(found) <= {trace_id(call_id) for call_id in ids}
    tracing.stop(5)


def test_beyond_its_bound_spans_are_dropped_and_counted() -> None:
    metrics = Metrics()
    tracing = Tracing(Settings(queue_max=10), metrics, InMemorySpanExporter())
    for _ in range(25):
        tracing.record(a_span())
    assert of(metrics, "dropped") == 15
    assert metrics.registry.get_sample_value("callengine_tracing_queued") == 10
    tracing.stop(5)
    assert of(metrics, "sent") == 10


@pytest.mark.parametrize("status", [400, 503, 0])
def test_a_receiver_in_trouble_holds_nobody_up(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = status
    metrics = Metrics()
    tracing = tracing_to(receiver, metrics, timeout_s=1, headers="authorization=very-secret")
    tracing.record(a_span())
    worker = gevent.spawn(tracing.send_some)
    began, latest = time.monotonic(), 0.0
    while not worker.ready() and time.monotonic() - began < 10:
        at = time.monotonic()
        gevent.sleep(0.01)
        latest = max(latest, time.monotonic() - at)
    assert worker.ready()
    assert latest < 0.8, "the hub waited for the receiver"
    assert of(metrics, "failed") == 1
    assert "traces cannot be delivered" in caplog.text
    assert "very-secret" not in caplog.text
    receiver.status = 200
    tracing.record(a_span())
    tracing.stop(10)
    assert of(metrics, "sent") == 1


def test_to_stop_takes_no_longer_than_it_may(receiver: Receiver) -> None:
    receiver.status = 0
    tracing = tracing_to(receiver, Metrics(), timeout_s=60)
    tracing.record(a_span())
    began = time.monotonic()
    tracing.stop(0.5)
    assert time.monotonic() - began < 3


def test_a_daemon_traces_its_calls(receiver: Receiver, tmp_path: Path) -> None:
    with launch(["--seed", "3"]) as switch:
        daemon = Daemon(
            tmp_path,
            f"""
[esl]
host = "{switch.host}"
port = {switch.port}
[webhooks]
allow_networks = ["127.0.0.0/8"]
[tracing]
enabled = true
endpoint = "{receiver.url}"
[originate.gateways.far]
""",
        )
        daemon.command("webhook", "create", "--tenant", "default", "--url", receiver.url.replace("/v1/traces", "/hook"))
        daemon.start()
        body = {"destination": "15550201", "gateway": "far", "on_answer": {"type": "park"}}
        call_id = daemon.ask("POST", "/v1/calls", body)["id"]
        deadline = time.monotonic() + 30
        while daemon.ask("GET", f"/v1/calls/{call_id}")["status"] != "answered" and time.monotonic() < deadline:
            gevent.sleep(0.05)
        hang_up(switch, [call_id])
        while not receiver.named("call") and time.monotonic() < deadline:
            gevent.sleep(0.05)
        assert daemon.stop() == 0
        (call,) = receiver.named("call")
        shown = attributes(call)
        assert call.trace_id.hex() == call_id.replace("-", "")
        assert [event.name for event in call.events] == ["ringing", "answered"]
        assert shown["callengine.node"] == "standin"
        assert shown["callengine.gateway"] == "far"
        assert shown["callengine.outcome"] == "answered"
        (originate,) = receiver.named("originate")
        assert originate.parent_span_id == call.span_id
        assert attributes(originate)["callengine.result"] == "sent"
        assert {span.parent_span_id for span in receiver.named("webhook")} == {call.span_id}
        assert receiver.named("commit")
        assert "Traceback" not in daemon.said()
