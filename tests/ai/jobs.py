"""Calls that are to be analysed, in a real store, and a Gemini that answers what a test wants."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec
import peewee

from callengine.ai.counts import Counts
from callengine.ai.files import Opener
from callengine.ai.sdk import Answer, Ask, SdkName, Uploads
from callengine.ai.worker import Analyst
from callengine.calls.call import Call, Recording
from callengine.calls.ids import recording_id_of
from callengine.calls.record import CallRecord
from callengine.config.sections import Ai
from callengine.errors import StoreUnavailable
from callengine.metrics import Metrics
from callengine.store import rows, sql, tell
from callengine.store.analyses import Job, Playable
from callengine.store.database import Store
from callengine.store.writer import Writer
from tests.store.build import T0, TENANT, a_call, changed, ended

SECOND = 1_000_000
MINUTE = 60 * SECOND
NODE = "sw1"
NOW = T0 + 10 * MINUTE

ANSWER: dict[str, Any] = {
    "statements": [
        {"text": "The caller wants a new router.", "quote": "I'd like a new router, please"},
        {"text": "It was promised for Monday.", "quote": "you will have it on Monday"},
    ],
    "sentiment": "positive",
    "next_action": "Send the router.",
    "transcript": [
        {"speaker": "caller", "offset_ms": 0, "text": "Hello! I'd like a new router, please."},
        {"speaker": "agent", "offset_ms": 4_000, "text": "Of course. You will have it"},
        {"speaker": "agent", "offset_ms": 6_000, "text": "on Monday."},
    ],
}


def saying(**changes: Any) -> str:
    """The text of an answer; ``...`` leaves a field out."""
    return json.dumps({name: value for name, value in {**ANSWER, **changes}.items() if value is not ...})


def reply(text: str | None = None, tokens: tuple[int, int] = (2_000, 300)) -> Answer:
    return Answer(saying() if text is None else text, "STOP", *tokens, "gemini-test-001")


class FakeSdk:
    """Answers in turn what ``answers`` holds (an answer, an error, or a function of the question); then a good one."""

    name: SdkName = "google-genai"

    def __init__(self, *answers: Answer | BaseException | Callable[[Ask, Uploads], Answer]) -> None:
        self.answers = list(answers)
        self.asked: list[Ask] = []
        self.deleted: list[str] = []
        self.delete_error: Exception | None = None

    def ask(self, ask: Ask, uploads: Uploads) -> Answer:
        self.asked.append(ask)
        answer = self.answers.pop(0) if self.answers else reply()
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Answer) else answer(ask, uploads)

    def delete(self, name: str) -> None:
        if self.delete_error is not None:
            raise self.delete_error
        self.deleted.append(name)

    def close(self) -> None:
        pass


class FakeFiles:
    """Recordings that hold their own ids."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    @contextmanager
    def ready(self, recordings: Sequence[Playable]) -> Iterator[list[Opener]]:
        if self.error is not None:
            raise self.error
        yield [self._opener(recording) for recording in recordings]

    def _opener(self, recording: Playable) -> Opener:
        def opened() -> BinaryIO:
            return io.BytesIO(recording.id.encode())

        return opened


@dataclass
class Clock:
    """Our clock; a test sets it forward."""

    us: int = NOW

    def monotonic(self) -> float:
        """The other clock, in seconds; a test that sets this one takes its own."""
        return self.us / 1_000_000

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += int(seconds * SECOND)


@dataclass
class Bench:
    """A store with a writer, an analyst over it, and what a test looks at."""

    store: Store
    writer: Writer
    clock: Clock
    sdk: FakeSdk
    analyst: Analyst
    metrics: Metrics
    files: FakeFiles
    calls: list[Call] = field(default_factory=list)

    def do(self, fn: Callable[[peewee.Database], Any]) -> Any:
        return self.writer.execute(fn, 10)

    def record(self, call: Call) -> CallRecord:
        return self.store.run(lambda db: tell.record_by_id(db, call.id), 10)

    def row(self, call: Call) -> dict[str, Any]:
        return analysis_row(self.store, call.id)

    def events(self, call: Call) -> list[tuple[str, int, dict[str, Any] | None]]:
        return events_of(self.store, call.id)

    def again(self, analyst_now_s: float = 0) -> bool:
        self.clock.forward(analyst_now_s)
        return self.analyst.once()

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def bench(
    store: Store, writer: Writer, *answers: Any, node: str = NODE, holder: str = "host:1:aa", **more: Any
) -> Bench:
    """``more`` are settings."""
    clock, sdk, metrics, files = Clock(), FakeSdk(*answers), Metrics(), FakeFiles()
    settings = Ai(**{"model": "gemini-test", **more})
    analyst = Analyst(
        writer,
        store,
        sdk,
        settings,
        files,
        Counts(metrics),
        node=lambda: node,
        holder=holder,
        now_us=clock,
        monotonic=clock.monotonic,
        poll_s=0.05,
    )
    return Bench(store, writer, clock, sdk, analyst, metrics, files)


def a_recorded_call(
    writer: Writer,
    *files: dict[str, Any],
    node: str = NODE,
    tenant_id: str = TENANT,
    campaign: str | None = None,
    **leg: Any,
) -> Call:
    """A call that has ended; ``files`` are columns of its recordings, by default of one that is ready and has 30 s."""
    wanted = files or ({},)
    call = a_call(node=node, tenant_id=tenant_id, campaign=campaign, answered_us=T0 + SECOND)
    paths = [f"/rec/{call.id}-{number}.wav" for number in range(len(wanted))]
    recordings = tuple(
        Recording(path=path, leg=call.own.uuid, started_us=T0 + number, stopped_us=T0 + MINUTE, duration_ms=30_000)
        for number, path in enumerate(paths)
    )
    call = ended(msgspec.structs.replace(call, recordings=recordings), **leg)
    writer.put(call)
    writer.flush(10)
    writer.execute(lambda db: _look(db, call, paths, wanted), 10)
    return call


def a_live_call(writer: Writer) -> Call:
    """A call that is being recorded."""
    call = a_call(answered_us=T0 + SECOND)
    recording = Recording(path=f"/rec/{call.id}.wav", leg=call.own.uuid, started_us=T0)
    call = changed(msgspec.structs.replace(call, recordings=(recording,)))
    writer.put(call)
    writer.flush(10)
    return call


def _look(db: peewee.Database, call: Call, paths: list[str], files: Sequence[dict[str, Any]]) -> None:
    pack = rows.id_for("postgres" if sql.is_postgres(db) else "sqlite")
    for path, file in zip(paths, files, strict=True):
        values = {"status": "ready", "storage": "disk", "bytes": 480_044, "duration_ms": 30_000, "channels": 2}
        values |= {"loudness_cb": -2_000, "sha256": "00" * 32, **file}
        names = ", ".join(f"{name} = ?" for name in values)
        key = pack(recording_id_of(call.id, call.own.uuid, path))
        sql.run(db, f"UPDATE recording SET {names} WHERE id = ?", (*values.values(), key))


def analysis_row(store: Store, call_id: str) -> dict[str, Any]:
    names = "status due run attempts unusable next_us holder lease_us sdk model prompt_version audio_ms input_tokens"
    names += " output_tokens cost_micros spent_micros error uploads statements transcript done_us"
    columns = names.split()
    text = f"SELECT {', '.join(columns)} FROM analysis WHERE call_id = ?"
    key = rows.id_for(store.kind)(call_id)
    found = store.run(lambda db: sql.run(db, text, (key,)).fetchone(), 10)
    return dict(zip(columns, found, strict=True))


def events_of(store: Store, call_id: str) -> list[tuple[str, int, dict[str, Any] | None]]:
    """What is told of the call's analysis: (event, seq, detail)."""
    text = "SELECT event, seq, detail FROM outbox WHERE call_id = ? ORDER BY position"
    key = rows.id_for(store.kind)(call_id)
    found = store.run(lambda db: sql.run(db, text, (key,)).fetchall(), 10)
    return [(event, seq, None if detail is None else json.loads(detail)) for event, seq, detail in found]


def a_tenant(writer: Writer, tenant_id: str = TENANT, bound_micros: int | None = None) -> None:
    writer.execute(
        lambda db: sql.run(
            db,
            "INSERT INTO tenant (id, name, created_us, ai_daily_spend_micros) VALUES (?, ?, ?, ?)",
            (rows.id_for("postgres" if sql.is_postgres(db) else "sqlite")(tenant_id), tenant_id, 0, bound_micros),
        ),
        10,
    )


def a_campaign(writer: Writer, campaign_id: str, goal: str | None, dispositions: list[str]) -> None:
    def make(db: peewee.Database) -> None:
        pack = rows.id_for("postgres" if sql.is_postgres(db) else "sqlite")
        values = (pack(TENANT), campaign_id, 0, goal, json.dumps(dispositions))
        text = "INSERT INTO campaign (tenant_id, id, created_us, goal, dispositions) VALUES (?, ?, ?, ?, ?)"
        sql.run(db, text, values)

    writer.execute(make, 10)


class AwayOnce:
    """An executor that fails as often as it is told."""

    def __init__(self, writer: Writer, failures: int = 1) -> None:
        self.writer = writer
        self.failures = failures

    def execute(self, fn: Callable[[peewee.Database], Any], timeout_s: float) -> Any:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return self.writer.execute(fn, timeout_s)


class AnswerLost:
    """An executor that commits, and then says that it does not know; of what is repeated it says the truth."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.lost = 0
        self._seen: list[Any] = []

    def execute(self, fn: Callable[[peewee.Database], Any], timeout_s: float) -> Any:
        value = self.writer.execute(fn, timeout_s)
        if isinstance(value, Job) or fn in self._seen:
            return value
        self._seen.append(fn)
        self.lost += 1
        raise StoreUnavailable("whether it took effect is unknown")


class Meanwhile:
    """An executor before whose call after so many others something else happens."""

    def __init__(self, writer: Writer, text: str, *, after: int) -> None:
        self.writer = writer
        self.text = text
        self.after = after
        self.done = False

    def execute(self, fn: Callable[[peewee.Database], Any], timeout_s: float) -> Any:
        if self.after == 0 and not self.done:
            self.done = True
            self.writer.execute(lambda db: sql.run(db, self.text), timeout_s)
        self.after -= 1
        return self.writer.execute(fn, timeout_s)
