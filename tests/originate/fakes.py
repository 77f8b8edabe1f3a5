"""A whole engine's switchboard around the real book: a switch that answers from a table, a writer that only counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from gevent.event import Event

from callengine.calls.book import Book, Timing
from callengine.calls.call import Call
from callengine.calls.facts import (
    Fact,
    JobAnswered,
    LegAnswered,
    LegBridged,
    LegCreated,
    LegDestroyed,
    LegEnded,
    LegHungUp,
    RecordingStarted,
    RecordingStopped,
)
from callengine.calls.leg import Leg
from callengine.calls.machine import Noted, Rules
from callengine.calls.record import CallRecord, record_of
from callengine.config.settings import Settings
from callengine.errors import EslDisconnected, StoreUnavailable
from callengine.originate.control import Control
from callengine.originate.originator import Originator
from callengine.originate.request import Plan, Planner

T = TypeVar("T")

TENANT = "01890a5d-0000-774b-8bce-000000000001"
OTHER_TENANT = "01890a5d-0000-774b-8bce-000000000002"
EPOCH_US = 1_795_343_615_000_000

CONFIGURATION: dict[str, Any] = {
    "state": {"directory": "/var/lib/callengine"},
    "recordings": {"directories": ["/var/spool/recordings"]},
    "originate": {
        "max_per_second": 1000,
        "max_concurrent": 3,
        "queue_max": 5,
        "queue_timeout_s": 30,
        "gateways": {"carrier": {}},
        "agents": {"desk": {"dial_string": "user/{agent}@example.com"}},
        "queues": ["support@default"],
        "applications": {"ivr": {"application": "playback", "arguments": "/sounds/${language}/hello.wav"}},
        "variables": ["sip_h_X-*", "crm_*"],
    },
}
REQUEST: dict[str, Any] = {
    "destination": "+4930123456",
    "gateway": "carrier",
    "caller_id_number": None,
    "caller_id_name": None,
    "ring_timeout_s": None,
    "first": "lead",
    "on_answer": {"type": "park"},
    "record": None,
    "campaign_id": None,
    "lead_id": None,
    "variables": {},
}


def settings(changes: dict[str, Any] | None = None) -> Settings:
    """The configuration of the tests, with sections changed."""
    data = {**CONFIGURATION}
    for section, values in (changes or {}).items():
        data[section] = {**data.get(section, {}), **values}
    return Settings.model_validate(data)


class Key(msgspec.Struct, frozen=True):
    key: str
    fingerprint: str = "f1"


class FakeLink:
    """``sent`` is all that went out. ``answers`` maps a verb to an answer, an error, or a function of the command."""

    def __init__(self) -> None:
        self.ready = True
        self.sent: list[str] = []
        self.jobs: list[str] = []
        self.answers: dict[str, Any] = {}
        self.hold: Event | None = None

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        assert timeout_s is not None
        return str(self._answer(command, "+OK\n"))

    def bgapi(self, command: str, job_uuid: str, *, timeout_s: float | None = None) -> object:
        self.jobs.append(job_uuid)
        return self._answer(command, None)

    def _answer(self, command: str, default: Any) -> Any:
        if not self.ready:
            raise EslDisconnected
        self.sent.append(command)
        if self.hold is not None:
            self.hold.wait()
        answer = self.answers.get(command.split()[0], default)
        if callable(answer):
            answer = answer(command)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class FakeWriter:
    """Commits at once, unless it is ``away`` or has to ``hold``."""

    def __init__(self) -> None:
        self.away = False
        self.hold: Event | None = None
        self.flushes = 0
        self.before_commit: Callable[[], None] = lambda: None

    def flush(self, timeout_s: float) -> None:
        self.before_commit()
        if self.hold is not None:
            self.hold.wait()
        if self.away:
            raise StoreUnavailable("it is locked")
        self.flushes += 1

    def execute(self, fn: Callable[[Any], T], timeout_s: float) -> T:
        self.flush(timeout_s)
        return fn(None)


class FakeCounts:
    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.gauges: dict[str, Callable[[], Any]] = {}

    def originated(self, result: str) -> None:
        self.results[result] += 1

    def gauge(self, name: str, help: str, read: Callable[[], Any]) -> None:  # noqa: A002
        self.gauges[name] = read


class Rig:
    """One engine. ``now`` is its clock; ``notes`` its timelines, as (word, detail); nothing runs by itself."""

    def __init__(self, changes: dict[str, Any] | None = None) -> None:
        self.settings = settings(changes)
        self.now = 1000.0
        self.up = True
        rules = Rules(default_tenant=TENANT, tenants={"a": TENANT, "b": OTHER_TENANT})
        self.book = Book("node", rules, timing=Timing(retire_s=5.0))
        self.link = FakeLink()
        self.writer = FakeWriter()
        self.counts = FakeCounts()
        self.notes: list[tuple[str, str | None]] = []
        self.stored: dict[str, CallRecord] = {}
        self.originator = Originator(self, self.settings, self.counts)
        self.control = Control(self, self.originator, self.settings, self, sleep=self.sleep)

    # -- what the rooms see of it

    opened = True
    holds = True

    @property
    def ready(self) -> bool:
        return self.up and self.link.ready

    def take(self, fact: Fact) -> None:
        outcome = self.book.apply(fact, self.now)
        self._settle(outcome.changed.values(), outcome.effects)

    def _settle(self, changed: Iterable[Call], effects: Iterable[object]) -> None:
        for call in changed:
            known = self.stored.get(call.id)
            self.stored[call.id] = record_of(call)
            if call.over and not (known and not known.live):
                self.originator.on_over(call)
        self.notes += [(e.note.name, e.note.detail) for e in effects if isinstance(e, Noted)]

    def now_us(self) -> int:
        return EPOCH_US + int(self.now * 1_000_000)

    def monotonic(self) -> float:
        return self.now

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None:
        record = self.stored.get(call_id)
        return record if record is not None and record.tenant_id == tenant_id else None

    def sleep(self, seconds: float) -> None:
        self.wait(seconds)

    # -- what a test does to it

    def wait(self, seconds: float) -> None:
        self.now += seconds
        outcome = self.book.tick(self.now)
        self._settle(outcome.changed.values(), outcome.effects)

    def plan(self, **changes: Any) -> Plan:
        return Planner(self.settings).plan({**REQUEST, **changes}, self.now_us())

    def submit(self, **changes: Any) -> str:
        return self.originator.submit(TENANT, self.plan(**changes))

    def work(self) -> None:
        """Let the originator do all that can be done at this moment."""
        while self.originator.turn():
            pass

    def originates(self) -> list[str]:
        return [command for command in self.link.sent if command.startswith("originate ")]

    def dialled(self, **changes: Any) -> str:
        """A call that was sent."""
        call_id = self.submit(**changes)
        self.work()
        return call_id

    def answered(self, **changes: Any) -> str:
        """A call that the lead has answered."""
        call_id = self.dialled(**changes)
        self.create(call_id)
        self.answer(call_id)
        return call_id

    def leg(self, uuid: str) -> Leg:
        leg = self.book.leg(uuid)
        assert leg is not None
        return leg

    def stamp(self) -> int:
        self.now += 0.02
        return self.now_us()

    def create(self, uuid: str, **more: Any) -> None:
        at = self.stamp()
        self.take(LegCreated(uuid=uuid, at_us=at, created_us=at, **{"direction": "outbound", **more}))

    def answer(self, uuid: str) -> None:
        at, leg = self.stamp(), self.leg(uuid)
        self.take(LegAnswered(uuid=uuid, at_us=at, created_us=leg.created_us, answered_us=at))
        call = self.book.call_of(uuid)
        if call is not None and call.origination is not None:
            self.job(call.id, f"+OK {uuid}")

    def bridge(self, a: str, b: str) -> None:
        at = self.stamp()
        self.take(LegBridged(uuid=a, at_us=at, bridged_us=at, bridge_a=a, bridge_b=b))

    def job(self, call_id: str, text: str) -> None:
        origination = self.book.calls[call_id].origination
        assert origination is not None
        self.take(JobAnswered(job_uuid=origination.job_uuid, text=text, at_us=self.stamp()))

    def end(self, uuid: str, cause: str = "NORMAL_CLEARING") -> None:
        at, leg = self.stamp(), self.leg(uuid)
        common: dict[str, Any] = {"uuid": uuid, "at_us": at, "created_us": leg.created_us, "hangup_cause": cause}
        self.take(LegHungUp(**common))
        self.take(LegEnded(**common, answered_us=leg.answered_us, hangup_us=at))
        self.take(LegDestroyed(**common, answered_us=leg.answered_us, hangup_us=at))

    def record_started(self, uuid: str, path: str) -> None:
        self.take(RecordingStarted(uuid=uuid, at_us=self.stamp(), path=path))

    def record_stopped(self, uuid: str, path: str) -> None:
        self.take(RecordingStopped(uuid=uuid, at_us=self.stamp(), path=path, duration_ms=4000))

    def reason(self, call_id: str) -> str | None:
        """Why the call failed; asserts that it is over."""
        record = self.stored[call_id]
        assert not record.live
        assert record.status == "failed"
        return record.failure_reason

    def words(self) -> list[str]:
        return [word for word, _ in self.notes]


def path_of(rig: Rig, call_id: str, suffix: str = "") -> str:
    """Where a recording of the call goes."""
    return str(Path("/var/spool/recordings") / "2026-11-22" / f"{call_id}{suffix}.wav")
