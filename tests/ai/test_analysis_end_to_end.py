"""A recorded call, the real packages, and the stand-in for Gemini in a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callengine.ai.counts import Counts
from callengine.ai.files import RecordingFiles
from callengine.ai.sdk import Sdk
from callengine.ai.worker import Analyst
from callengine.config.sections import Ai
from callengine.metrics import Metrics
from callengine.recordings.paths import Folders
from callengine.store.database import Store, open_database
from callengine.store.writer import Writer
from tests.ai.fake import KEY, Fake, record
from tests.ai.jobs import NODE, NOW, a_campaign, a_recorded_call, analysis_row, events_of
from tests.databases import sqlite_settings
from tests.store.build import T0

__all__ = ["sqlite_settings"]


@pytest.fixture
def store(sqlite_settings: object, tmp_path: Path) -> Iterator[Store]:
    opened = open_database(sqlite_settings, tmp_path)  # type: ignore[arg-type]
    yield opened
    opened.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store, recordings=True, analyses=True, now_us=lambda: T0)
    made.start()
    yield made
    made.stop(10)


def analyst_of(store: Store, writer: Writer, sdk: Sdk, folder: Path, **settings: object) -> Analyst:
    return Analyst(
        writer,
        store,
        sdk,
        Ai.model_validate({"min_audio_s": 1, **settings}),
        RecordingFiles(Folders([folder], {})),
        Counts(Metrics()),
        node=lambda: NODE,
        holder="host:1:aa",
        now_us=lambda: NOW,
    )


def columns_of(file: Path, duration_ms: int) -> dict[str, Any]:
    """What the recordings' keeper finds out of a file."""
    told = file.read_bytes()
    digest = hashlib.sha256(told).hexdigest()
    return {"path": str(file), "bytes": len(told), "duration_ms": duration_ms, "sha256": digest}


@pytest.mark.parametrize("seconds", [4, 10])
@pytest.mark.parametrize("transcript", [True, False])
def test_from_the_file_to_the_summary(
    sdk: Sdk, fake: Fake, store: Store, writer: Writer, tmp_path: Path, seconds: int, transcript: bool
) -> None:
    """Inline and through Files, with either package."""
    file = record(tmp_path / "call.wav", seconds)
    audio_ms = 1_000 * seconds
    a_campaign(writer, "spring", "Sell routers.", ["sold", "not sold"])
    call = a_recorded_call(writer, columns_of(file, audio_ms), campaign="spring")
    analyst = analyst_of(store, writer, sdk, tmp_path, transcript=transcript, model="gemini-simulated")
    assert analyst.once()
    row = analysis_row(store, call.id)
    assert row["error"] is None
    assert row["status"] == ("completed" if transcript else "completed_without_quotes")
    assert row["model"] == "simulated-gemini"
    assert row["uploads"] is None
    assert row["input_tokens"] > 0
    assert row["spent_micros"] == row["cost_micros"] > 0
    statements = json.loads(row["statements"])
    assert statements[0]["text"].startswith("Simulated analysis")
    if transcript:
        spoken = [turn["text"] for turn in json.loads(row["transcript"])]
        assert all(any(s["quote"] in text for text in spoken) for s in statements)
    ((event, _, detail),) = events_of(store, call.id)
    assert event == "call.analyzed"
    assert KEY not in json.dumps([row, detail])


@pytest.mark.parametrize(
    ("model", "status", "attempts", "unusable"),
    [
        ("gemini-e503", "retrying", 1, 0),
        ("gemini-e429", "retrying", 1, 0),
        ("gemini-e429day", "parked", 0, 0),
        ("gemini-reset", "retrying", 1, 0),
        ("gemini-e400", "failed", 0, 0),
        ("gemini-e403", "failed", 0, 0),
        ("gemini-safety", "failed", 0, 0),
        ("gemini-maxtok", "retrying", 0, 1),
        ("gemini-badjson", "retrying", 0, 1),
        ("gemini-badenum", "retrying", 0, 1),
        ("gemini-empty", "retrying", 0, 1),
    ],
)
def test_each_failure_is_what_it_is(
    sdk: Sdk,
    fake: Fake,
    store: Store,
    writer: Writer,
    tmp_path: Path,
    model: str,
    status: str,
    attempts: int,
    unusable: int,
) -> None:
    file = record(tmp_path / "call.wav", 2)
    call = a_recorded_call(writer, columns_of(file, 2_000))
    assert analyst_of(store, writer, sdk, tmp_path, model=model).once()
    row = analysis_row(store, call.id)
    assert (row["status"], row["attempts"], row["unusable"]) == (status, attempts, unusable)
    assert row["error"]
    assert (row["cost_micros"] > 40_000) is (model == "gemini-reset"), "what was not answered may have been paid for"
    assert KEY not in json.dumps(row)
    assert str(tmp_path) not in row["error"]
    assert [event for event, _, _ in events_of(store, call.id)] == (["call.analyzed"] if status == "failed" else [])
