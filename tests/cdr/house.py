"""An engine's rooms around its CDRs: a real store, writer, book and tracker; the clocks are the test's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gevent
import peewee

from callengine.calls.book import Book
from callengine.calls.call import EventName
from callengine.calls.facts import Fact
from callengine.calls.machine import Rules
from callengine.calls.record import CallRecord, StoredEvent
from callengine.cdr.counts import Counts
from callengine.cdr.inbox import Inbox
from callengine.cdr.intake import CdrIntake
from callengine.cdr.reading import CdrReader
from callengine.cdr.reporter import Reporter
from callengine.config.sections import Cdr
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.metrics import Metrics
from callengine.store import cdrs
from callengine.store.accounts import Accounts
from callengine.store.database import Store
from callengine.store.outbox import OutboxReads
from callengine.store.writer import Writer
from callengine.tracker import Tracker

NODE = "fs1"
T = 1_795_343_600_000_000
DAY_US = 86_400_000_000


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def cdr(channel: str, *, at: float = 0.0, answered: float | None = 1.0, ended: float = 5.0, **more: Any) -> bytes:
    """The record of a channel that was created ``at`` seconds after T; ``more`` are variables, or None to leave out."""
    variables: dict[str, Any] = {
        "uuid": channel,
        "direction": "inbound",
        "start_stamp": "2026-11-22 17:32:34",
        "start_uepoch": str(T + int(at * 1e6)),
        "answer_uepoch": "0" if answered is None else str(T + int((at + answered) * 1e6)),
        "end_uepoch": str(T + int((at + ended) * 1e6)),
        "hangup_cause": "NORMAL_CLEARING",
        **more,
    }
    profile = {"caller_id_number": "+15550100", "destination_number": "+15550199"}
    return json.dumps(
        {
            "core-uuid": "core-1",
            "switchname": NODE,
            "variables": {name: value for name, value in variables.items() if value is not None},
            "callflow": [{"caller_profile": profile, "times": {}}],
        }
    ).encode()


class House:
    """``settle`` lets the intake do all that is there."""

    def __init__(self, store: Store, tmp_path: Path, *, posted: bool = False, **settings: Any) -> None:
        self.store, self.tmp_path = store, tmp_path
        self.folder = tmp_path / "json_cdr"
        self.folder.mkdir(exist_ok=True)
        self.now_us = T + 3600_000_000
        self.now_s = 1000.0
        self.settings = Cdr(directories=(self.folder,), **settings)
        self.metrics = Metrics()
        self.writer = Writer(store, now_us=lambda: self.now_us)
        self.writer.start()
        self.tenant = Accounts(store, self.writer).ensure_tenant("default").id
        self.book = Book(NODE, Rules(default_tenant=self.tenant, tenants={"default": self.tenant}))
        self.tracker = Tracker(
            self.book, IntakeQueue(), Translator(), self.writer, self.metrics, clock=lambda: self.now_s
        )
        self.reporter = Reporter(
            self.tracker,
            store,
            self.writer,
            max_age_us=self.settings.since_days * DAY_US,
            now_us=lambda: self.now_us,
            clock=lambda: self.now_s,
        )
        self.inbox: Inbox | None = None
        if posted:
            self.inbox = Inbox(tmp_path / "cdr-inbox", max_files=10, max_bytes=1 << 20)
            self.inbox.prepare()
        self.intake = self.new_intake()

    def new_intake(self) -> CdrIntake:
        """Another one, as after a restart."""
        return CdrIntake(
            self.settings,
            self.tmp_path,
            self.reporter,
            CdrReader(),
            Counts(Metrics()),
            inbox=self.inbox,
            now_ns=lambda: self.now_us * 1000,
            clock=lambda: self.now_s,
        )

    def restart(self) -> None:
        """A new life: an empty book, and what the marks say."""
        self.writer.flush(10)
        self.intake.close()
        self.forget()
        self.intake = self.new_intake()

    def forget(self) -> None:
        """Let all calls leave the book that are over."""
        for _ in range(3):
            self.tick(61)
        assert not self.book.calls

    def take(self, *facts: Fact) -> None:
        for fact in facts:
            self.tracker.take(fact)

    def tick(self, seconds: float) -> None:
        """Our clocks go on."""
        self.now_s += seconds
        self.now_us += int(seconds * 1e6)
        self.tracker._settle(self.book.tick(self.now_s))

    def write(self, name: str, body: bytes, *, age_s: float = 1.0) -> Path:
        """A file of the switch's, as if written so long ago by our clock."""
        path = self.folder / f"{name}.cdr.json"
        path.write_bytes(body)
        at_ns = self.now_us * 1000 - int(age_s * 1e9)
        os.utime(path, ns=(at_ns, at_ns))
        return path

    def settle(self) -> None:
        self.tick(1.5)
        with gevent.Timeout(20):
            self.intake.once()
        self.tick(1.5)
        self.writer.flush(10)

    # -- what came of it ---------------------------------------------------------------------------------------------

    def rows(self, *channels: str) -> dict[str, CallRecord]:
        def read(db: peewee.Database) -> dict[str, CallRecord]:
            return cdrs.records_of_channels(db, NODE, channels)

        self.writer.flush(10)
        return self.store.run(read, 10)

    def row(self, channel: str) -> CallRecord:
        return self.rows(channel)[channel]

    def told(self, channel: str) -> list[EventName]:
        call_id = self.row(channel).id
        events: list[StoredEvent] = list(OutboxReads(self.store).after(0, 10_000))
        return [EventName(event.event) for event in events if event.call_id == call_id]

    def counted(self, result: str, source: str = "folder") -> float:
        registry = self.intake._counts._metrics.registry
        return registry.get_sample_value("callengine_cdrs_total", {"source": source, "result": result}) or 0.0

    def set_aside(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_bytes()) for path in sorted((self.tmp_path / "quarantine").glob("*.json"))]

    def close(self) -> None:
        self.intake.close()
        self.writer.stop(10)
        if self.inbox is not None:
            self.inbox.close()
