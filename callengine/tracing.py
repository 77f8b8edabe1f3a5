"""Traces for OpenTelemetry, by OTLP over HTTP. Only imported where ``tracing.enabled`` is set, for its packages are an
extra.

``record`` appends to a bounded queue and does nothing else; a native thread makes spans of what is there and sends
them. What the receiver does not take is dropped and counted: a trace is worth no wait and no memory.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import gevent
from gevent.event import Event
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from prometheus_client import Counter

import callengine
from callengine.calls.record import CallRecord
from callengine.config.sections import Tracing as Settings
from callengine.metrics import Metrics
from callengine.spans import Span, span_id, span_of_call, trace_id
from callengine.store.faults import Trouble
from callengine.threads import Threads, in_thread

log = logging.getLogger(__name__)

_CLOSE_S: Final = 1.0
_BATCH: Final = 512
_EVERY_S: Final = 2.0
_RESULTS: Final = ("sent", "failed", "dropped")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_ALL: Final = 1 << 64


class Tracing:
    """``run`` is to be supervised; ``stop`` sends what waits, within its bound. ``exporter``: another one."""

    def __init__(self, settings: Settings, metrics: Metrics, exporter: SpanExporter | None = None) -> None:
        self._settings = settings
        self._sample_below = int(settings.sample_ratio * _ALL)
        self._queue: deque[Span] = deque()
        self._wake = Event()
        self._threads = Threads(1)
        self._exporter = exporter or OTLPSpanExporter(
            endpoint=settings.endpoint, headers=_headers(settings), timeout=settings.timeout_s
        )
        self._maker = _Maker(settings.service_name)
        self._trouble = Trouble(log, "traces cannot be delivered")
        counted = Counter(
            "callengine_tracing_spans",
            "Spans: sent, failed (the receiver did not take them), dropped (too many waited).",
            ["result"],
            registry=metrics.registry,
        )
        self._count = {result: counted.labels(result) for result in _RESULTS}
        metrics.gauge("callengine_tracing_queued", "Spans that wait to be sent.", lambda: float(len(self._queue)))

    # -- what is told; none of it waits --------------------------------------------------------------------------------

    def record(self, span: Span) -> None:
        """Take a span on, if its trace is among the sample."""
        at = random.getrandbits(64) if span.call_id is None else span_id(span.call_id)
        if at >= self._sample_below:
            return
        if len(self._queue) >= self._settings.queue_max:
            self._count["dropped"].inc()
            return
        self._queue.append(span)
        if len(self._queue) >= _BATCH:
            self._wake.set()

    def call_ended(self, record: CallRecord) -> None:
        """Take the span of a call on."""
        if (span := span_of_call(record)) is not None:
            self.record(span)

    def committed(self, seconds: float, rows: int) -> None:
        """A group of rows was committed, just now."""
        if self._settings.commits:
            now_us = time.time_ns() // 1000
            self.record(Span("commit", now_us - int(seconds * 1_000_000), now_us, None, {"callengine.rows": rows}))

    # -- life ----------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send what waits, until killed."""
        while True:
            self._wake.wait(_EVERY_S)
            self._wake.clear()
            while self._queue:
                self.send_some()

    def send_some(self) -> None:
        """One batch of what waits."""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
        try:
            sent = in_thread(lambda: self._export(batch), self._threads)
        except Exception as error:  # noqa: BLE001  whatever the packages raise, calls go on; the text may name secrets
            log.error("spans could not be made ready: %s", type(error).__name__)
            sent = False
        self._count["sent" if sent else "failed"].inc(len(batch))
        if sent:
            self._trouble.over()
        else:
            self._trouble.met(RuntimeError(f"{self._settings.endpoint} does not take them"))

    def stop(self, timeout_s: float) -> None:
        """Send what waits, for so long; what is left is dropped. After ``run`` was killed."""
        with suppress(_Late), gevent.Timeout(timeout_s, _Late):
            while self._queue:
                self.send_some()
        # Not behind one that hangs: it is this that tells it to give up.
        with suppress(_Late), gevent.Timeout(_CLOSE_S, _Late):
            in_thread(self._exporter.shutdown)
            self._threads.kill()
        if self._queue:
            log.info("%d spans were not sent any more", len(self._queue))

    def _export(self, batch: Sequence[Span]) -> bool:
        return self._exporter.export([self._maker.made(span) for span in batch]) is SpanExportResult.SUCCESS


def _headers(settings: Settings) -> dict[str, str]:
    pairs = (part.partition("=") for part in settings.headers.get_secret_value().split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


class _Late(BaseException):
    """``stop`` took as long as it may."""


class _Ids(IdGenerator):
    """The next ids are those that were put here; only one thread makes spans."""

    def __init__(self) -> None:
        self.trace = self.span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Ended(SpanProcessor):
    """Keeps the span that ended last."""

    last: ReadableSpan | None = None

    def on_end(self, span: ReadableSpan) -> None:
        self.last = span


class _Maker:
    """Makes spans of OpenTelemetry's SDK, in the thread that sends them."""

    def __init__(self, service_name: str) -> None:
        self._ids, self._ended, self._random = _Ids(), _Ended(), RandomIdGenerator()
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service_name, "service.version": callengine.__version__}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("callengine", callengine.__version__)

    def made(self, span: Span) -> ReadableSpan:
        """That span, ended."""
        context = Context()
        if span.call_id is None:
            self._ids.trace, self._ids.span = self._random.generate_trace_id(), self._random.generate_span_id()
        elif span.is_call:
            self._ids.trace, self._ids.span = trace_id(span.call_id), span_id(span.call_id)
        else:
            self._ids.span = self._random.generate_span_id()
            call = SpanContext(trace_id(span.call_id), span_id(span.call_id), is_remote=True, trace_flags=_SAMPLED)
            context = set_span_in_context(NonRecordingSpan(call), context)
        began_ns = span.start_us * 1000
        one = self._tracer.start_span(span.name, context, attributes=dict(span.attributes), start_time=began_ns)
        for name, at_us in span.events:
            one.add_event(name, timestamp=at_us * 1000)
        if span.error is not None:
            one.set_status(Status(StatusCode.ERROR, span.error))
        one.end(span.end_us * 1000)
        made = self._ended.last
        assert made is not None, "the SDK of OpenTelemetry is switched off, by OTEL_SDK_DISABLED"
        return made
