"""What works, through both of Google's packages, against a server in another process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gevent
import jsonschema
import pytest

from callengine.ai.faults import AnalysisFault, Permanent
from callengine.ai.sdk import Sdk, SdkName, load
from callengine.errors import ConfigurationError, StoreUnavailable
from tests.ai.fake import KEY, SCHEMA, Fake, Noted, audio_of, fault_of, question, record

NAME = re.compile(r"files/ce-[a-z0-9]{20}")


def test_a_short_recording_goes_along_with_the_request(sdk: Sdk, fake: Fake, short: Path) -> None:
    uploads = Noted()
    answer = sdk.ask(question(audio_of(short)), uploads)
    told = json.loads(answer.text)
    jsonschema.validate(told, SCHEMA)
    assert [line["offset_ms"] for line in told["transcript"]] == [0, 1000, 2000, 3000]
    assert answer.finish_reason == "STOP"
    assert answer.model_version == "simulated-gemini"
    assert answer.input_tokens == 4 * 32 + len("What was said?") // 4
    assert answer.output_tokens == len(answer.text) // 4
    assert uploads.began_names == []
    assert [entry["route"] for entry in fake.log()] == ["generateContent"]


@pytest.mark.parametrize(("which", "parts"), [("medium", 1), ("long", 3)])
def test_a_longer_recording_goes_through_files(
    sdk: Sdk, fake: Fake, request: pytest.FixtureRequest, which: str, parts: int
) -> None:
    seen_before_first_byte: list[int] = []
    uploads = Noted(on_began=lambda name: seen_before_first_byte.append(len(fake.log())))
    path = request.getfixturevalue(which)
    answer = sdk.ask(question(audio_of(path)), uploads)
    jsonschema.validate(json.loads(answer.text), SCHEMA)
    name = uploads.began_names[0]
    assert seen_before_first_byte == [0]
    assert NAME.fullmatch(name)
    assert len(name.removeprefix("files/")) <= 40
    assert uploads.ended_names == [name]
    assert [entry["name"] for entry in fake.log("upload.start")] == [name]
    assert [entry["name"] for entry in fake.log("upload.part")] == [name] * parts
    assert sum(entry["bytes"] for entry in fake.log("upload.part")) == path.stat().st_size
    assert [entry["name"] for entry in fake.log("files.delete")] == [name]
    assert fake.files() == []


def test_no_key_travels_in_a_url(sdk: Sdk, fake: Fake, medium: Path) -> None:
    sdk.ask(question(audio_of(medium)), Noted())
    assert {entry["key"] for entry in fake.log() if "key" in entry} == {"header"}


def test_several_recordings_stay_in_order(sdk: Sdk, fake: Fake, medium: Path, short: Path) -> None:
    uploads = Noted()
    told = json.loads(sdk.ask(question(audio_of(medium), audio_of(short)), uploads).text)
    assert len(uploads.began_names) == 2
    assert sorted(uploads.ended_names) == sorted(uploads.began_names)
    assert [line["text"][:11] for line in told["transcript"]] == ["Recording 1"] * 10 + ["Recording 2"] * 4
    assert fake.files() == []


def test_many_at_once(sdk: Sdk, fake: Fake, medium: Path) -> None:
    asked = [gevent.spawn(sdk.ask, question(audio_of(medium), model="slow100"), Noted()) for _ in range(8)]
    gevent.joinall(asked, timeout=30)
    assert all(greenlet.successful() for greenlet in asked)
    assert fake.files() == []


def test_a_value_outside_the_schema_is_for_the_caller_to_find(sdk: Sdk, short: Path) -> None:
    told = json.loads(sdk.ask(question(audio_of(short), model="badenum"), Noted()).text)
    assert told["sentiment"] == "simulated-nonsense"


def test_nothing_is_sent_before_the_name_is_committed(sdk: Sdk, fake: Fake, medium: Path) -> None:
    def refuse(name: str) -> None:
        raise StoreUnavailable("it is away")

    with pytest.raises(StoreUnavailable):
        sdk.ask(question(audio_of(medium)), Noted(on_began=refuse))
    assert fake.log() == []


def test_an_answer_is_not_lost_to_the_database(sdk: Sdk, fake: Fake, medium: Path) -> None:
    def refuse(name: str) -> None:
        raise StoreUnavailable("it is away")

    uploads = Noted(on_ended=refuse)
    assert sdk.ask(question(audio_of(medium)), uploads).text
    assert uploads.ended_names == []


def test_a_leftover_is_deleted_and_a_missing_one_is_fine(sdk: Sdk, fake: Fake, medium: Path) -> None:
    uploads = Noted()
    sdk.ask(question(audio_of(medium, "undeletable")), uploads)
    (name,) = uploads.began_names
    assert uploads.ended_names == []
    assert fake.files() == [name]
    sdk.delete("files/ce-never-was-there")
    assert fault_of_delete(sdk, name) == "Gemini answered 503 UNAVAILABLE"


def fault_of_delete(sdk: Sdk, name: str) -> str:
    try:
        sdk.delete(name)
    except AnalysisFault as fault:
        return str(fault)
    return "deleted"


def test_a_recording_that_is_gone(sdk: Sdk, fake: Fake, medium: Path, tmp_path: Path) -> None:
    path = shutil.copy(medium, tmp_path / "gone.wav")
    audio = audio_of(path)
    path.unlink()
    fault = fault_of(sdk, question(audio))
    assert isinstance(fault, Permanent)
    assert str(fault) == "a recording cannot be read (ENOENT)"
    assert fake.log() == []


def test_a_recording_that_shrinks(sdk: Sdk, fake: Fake, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", 300)
    audio = audio_of(path)
    with path.open("r+b") as opened:
        opened.truncate(9_000_000)
    uploads = Noted()
    fault = fault_of(sdk, question(audio), uploads)
    assert str(fault) == "a recording is shorter than it was"
    assert fake.files() == []


def test_a_recording_that_grows_is_sent_as_it_was(sdk: Sdk, fake: Fake, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", 20)
    audio = audio_of(path)
    with path.open("ab") as opened:
        opened.write(b"\0" * 100_000)
    sdk.ask(question(audio), Noted())
    assert sum(entry["bytes"] for entry in fake.log("upload.part")) == audio.size_bytes


def test_the_hub_is_never_held(sdk: Sdk, long: Path, short: Path) -> None:
    """A generous bound, since the machine may be busy; the figures are benchmarks/bench_analysis.py's."""
    sdk.ask(question(audio_of(short)), Noted())
    late_s = []

    def tick() -> None:
        while True:
            began = time.monotonic()
            gevent.sleep(0.001)
            late_s.append(time.monotonic() - began - 0.001)

    ticker = gevent.spawn(tick)
    try:
        for path in (short, long):
            sdk.ask(question(audio_of(path)), Noted())
    finally:
        ticker.kill()
    assert len(late_s) > 50
    assert max(late_s) < 0.25


def test_a_label_is_no_path(short: Path) -> None:
    with pytest.raises(ValueError, match="path"):
        replace(audio_of(short), label="calls/a.wav")


@pytest.mark.parametrize(
    ("name", "other"), [("google-genai", "google.generativeai"), ("google-generativeai", "google.genai")]
)
def test_only_the_chosen_package_is_imported(name: str, other: str) -> None:
    program = (
        "import callengine.patched, sys\n"
        "from callengine.ai.sdk import load\n"
        "assert not [n for n in sys.modules if n.startswith('google.')]\n"
        f"load({name!r}, 'k').close()\n"
        f"assert {other!r} not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("name", ["google-genai", "google-generativeai"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("genai", "generativeai"):
        monkeypatch.delitem(sys.modules, f"callengine.ai.{module}", raising=False)
        monkeypatch.setitem(sys.modules, f"google.{module}", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'callengine\[ai\]'"):
        load(name, KEY)  # type: ignore[arg-type]


def test_the_environment_does_not_decide(sdk: Sdk, fake: Fake, medium: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "true")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1alpha")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    monkeypatch.setenv("GOOGLE_API_KEY", "another")
    monkeypatch.setenv("GEMINI_API_KEY", "another")
    fresh = load(sdk.name, KEY, fake.base_url + "/")
    fresh.ask(question(audio_of(medium)), Noted())
    fresh.close()
    assert {entry["path"].split("/")[1] for entry in fake.log()} == {"upload", "v1beta"}


@pytest.mark.parametrize("name", ["google-genai", "google-generativeai"])
def test_loading_asks_nothing_of_anybody(name: SdkName, fake: Fake) -> None:
    """What is rehearsed, is rehearsed in memory."""
    sdk = load(name, KEY, fake.base_url)
    sdk.close()
    assert sdk.name == name
    assert fake.log() == []
