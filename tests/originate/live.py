"""One engine's rooms on a live event socket: the real client, translator, tracker and book, with a writer in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from callengine.calls.book import Book
from callengine.calls.call import Call
from callengine.calls.facts import Fact
from callengine.calls.machine import Noted, Published, Rules
from callengine.calls.record import CallRecord, record_of
from callengine.config.settings import Settings
from callengine.esl.headers import SUBSCRIBED_EVENTS, Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.link import Link, LinkSettings
from callengine.metrics import Metrics
from callengine.originate.control import Control
from callengine.originate.originator import Originator
from callengine.tracker import Tracker
from tests.originate.fakes import REQUEST, TENANT, FakeWriter


class Memory(FakeWriter):
    """Rows and timelines, by call."""

    full = False

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, CallRecord] = {}
        self.notes: dict[str, list[tuple[str, str | None]]] = {}

    def put(self, call: Call, record: CallRecord | None = None) -> None:
        self.records[call.id] = record_of(call)

    def note(self, noted: Noted) -> None:
        self.notes.setdefault(noted.call_id, []).append((noted.note.name, noted.note.detail))

    def publish(self, published: Published) -> None:
        pass


class Live:
    """The rooms, as the engine puts them together."""

    def __init__(self, settings: Settings, host: str, port: int, password: str) -> None:
        self.writer, self.metrics = Memory(), Metrics()
        self.book = Book("live", Rules(default_tenant=TENANT, tenants={"default": TENANT}))
        intake = IntakeQueue()
        self.tracker = Tracker(
            self.book,
            intake,
            Translator(),
            self.writer,
            self.metrics,
            on_over=lambda call: self.originator.on_over(call),
        )
        self.link = Link(LinkSettings(host, port, password), events=SUBSCRIBED_EVENTS, intake=intake)
        self.originator = Originator(self, settings, self.metrics)
        self.control = Control(self, self.originator, settings, self)

    opened = True
    holds = True

    @property
    def ready(self) -> bool:
        return self.link.ready

    def take(self, fact: Fact) -> None:
        self.tracker.take(fact)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None:
        return self.writer.records.get(call_id)

    # -- for tests

    def place(self, **changes: Any) -> str:
        return self.control.originate(TENANT, {**REQUEST, "gateway": "lab", **changes}).id

    def until(self, call_id: str, condition: Callable[[CallRecord], object], timeout_s: float = 6.0) -> CallRecord:
        """The record once it is so; fails with what it is if that takes too long."""
        with gevent.Timeout(timeout_s, False):
            while not condition(self.writer.records[call_id]) and self.writer.records[call_id].live:
                gevent.sleep(0.01)
        record = self.writer.records[call_id]
        assert condition(record), (record, self.writer.notes.get(call_id))
        return record

    def ended(self, call_id: str) -> CallRecord:
        return self.until(call_id, lambda r: not r.live)

    def words(self, call_id: str) -> list[str]:
        return [word for word, _ in self.writer.notes[call_id]]


@contextmanager
def live(settings: Settings, host: str, port: int, password: str) -> Iterator[Live]:
    rig = Live(settings, host, port, password)
    greenlets = [gevent.spawn(run) for run in (rig.link.run, rig.tracker.run, rig.originator.run)]
    try:
        assert rig.link.wait_ready(10), rig.link.last_error
        yield rig
    finally:
        rig.originator.close()
        rig.link.stop()
        gevent.killall(greenlets, timeout=5)
