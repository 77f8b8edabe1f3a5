"""What goes wrong, through both of Google's packages: what it is called, what it tells, and what it leaves behind."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import gevent
import pytest

from callengine.ai.faults import AnalysisFault, Blocked, Permanent, QuotaExhausted, Transient, Unusable
from callengine.ai.sdk import Sdk, load
from tests.ai.fake import KEY, Fake, Noted, audio_of, check_secrecy, fault_of, question


@pytest.mark.parametrize(
    ("model", "kind", "text"),
    [
        ("e400", Permanent, "Gemini answered 400 INVALID_ARGUMENT"),
        ("e401", Permanent, "Gemini answered 401 UNAUTHENTICATED"),
        ("e403", Permanent, "Gemini answered 403 PERMISSION_DENIED"),
        ("e404", Permanent, "Gemini answered 404 NOT_FOUND"),
        ("e408", Transient, "Gemini answered 408 DEADLINE_EXCEEDED"),
        ("e413", Permanent, "Gemini answered 413 INVALID_ARGUMENT"),
        ("e429", Transient, "Gemini answered 429 RESOURCE_EXHAUSTED"),
        ("e429day", QuotaExhausted, "Gemini answered 429 RESOURCE_EXHAUSTED: the quota of the day is used up"),
        ("e500", Transient, "Gemini answered 500 INTERNAL"),
        ("e503", Transient, "Gemini answered 503 UNAVAILABLE"),
        ("e504", Transient, "Gemini answered 504 DEADLINE_EXCEEDED"),
        ("safety", Blocked, "Google's filters refused the recording (SAFETY)"),
        ("blocked", Blocked, "Google's filters refused the answer (SAFETY)"),
        ("maxtok", Unusable, "the answer is not complete (MAX_TOKENS)"),
        ("empty", Unusable, "the answer is empty"),
        ("badjson", Unusable, "the answer is no JSON"),
        ("truncated", Transient, None),
        ("reset", Transient, None),
    ],
)
def test_each_failure_by_its_name(
    sdk: Sdk, fake: Fake, short: Path, model: str, kind: type[AnalysisFault], text: str | None
) -> None:
    fault = fault_of(sdk, question(audio_of(short), model=model))
    assert type(fault) is kind
    assert text is None or str(fault) == text
    assert text is not None or str(fault).startswith("the connection to Gemini failed")
    assert fault.unknown_cost is (text is None), "of what was sent and not answered nobody knows what it cost"
    assert len(fake.log("generateContent")) == 1, "the package itself tried again"


@pytest.mark.parametrize("model", ["e503", "e400", "safety", "badjson", "reset", "truncated"])
def test_an_upload_is_deleted_after_a_failure_too(sdk: Sdk, fake: Fake, medium: Path, model: str) -> None:
    uploads = Noted()
    fault_of(sdk, question(audio_of(medium), model=model), uploads)
    assert len(uploads.began_names) == 1
    assert uploads.ended_names == uploads.began_names
    assert fake.files() == []


def test_how_long_to_wait_is_what_google_says(sdk: Sdk, short: Path) -> None:
    fault = fault_of(sdk, question(audio_of(short), model="e429"))
    assert isinstance(fault, Transient)
    assert fault.retry_after_s == 7
    daily = fault_of(sdk, question(audio_of(short), model="e429day"))
    assert isinstance(daily, QuotaExhausted)
    assert daily.retry_after_s >= 3600


def test_what_was_paid_for_nothing_is_told(sdk: Sdk, short: Path) -> None:
    fault = fault_of(sdk, question(audio_of(short), model="maxtok"))
    assert fault.input_tokens > 4 * 32
    assert fault.output_tokens > 0


@pytest.mark.parametrize("model", ["hang", "trickle"])
def test_a_server_that_does_not_come_to_an_end(sdk: Sdk, fake: Fake, medium: Path, model: str) -> None:
    uploads = Noted()
    began = time.monotonic()
    fault = fault_of(sdk, question(audio_of(medium), model=model, deadline_s=1.5), uploads)
    assert time.monotonic() - began < 10
    assert type(fault) is Transient
    assert str(fault) == "no answer within 1.5 s"
    assert fault.unknown_cost
    assert uploads.ended_names == uploads.began_names
    assert fake.files() == []
    assert sdk.ask(question(audio_of(medium)), Noted()).text


def test_a_deadline_of_the_callers_own_passes_through(sdk: Sdk, fake: Fake, medium: Path) -> None:
    uploads = Noted()
    with gevent.Timeout(1.0) as theirs, pytest.raises(gevent.Timeout) as caught:
        sdk.ask(question(audio_of(medium), model="hang"), uploads)
    assert caught.value is theirs
    assert uploads.ended_names == uploads.began_names
    assert fake.files() == []


def test_nobody_listens(sdk: Sdk, short: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nowhere = load(sdk.name, KEY, f"http://127.0.0.1:{port}")
    fault = fault_of(nowhere, question(audio_of(short)))
    nowhere.close()
    assert type(fault) is Transient
    assert fault.reason.startswith("the connection to Gemini failed")
    assert not fault.unknown_cost, "nothing was sent"


def test_a_wrong_key(sdk: Sdk, fake: Fake, medium: Path) -> None:
    other = load(sdk.name, "AIzaSy-another-key", fake.base_url)
    uploads = Noted()
    fault = fault_of(other, question(audio_of(medium)), uploads)
    other.close()
    assert isinstance(fault, Permanent)
    assert str(fault) == "Gemini answered 400 INVALID_ARGUMENT: the API key is not valid"
    assert uploads.ended_names == uploads.began_names, "what was refused is not there"
    assert "AIzaSy-another-key" not in str(fault)


def test_it_works_again_when_the_server_does(sdk: Sdk, short: Path) -> None:
    ask = question(audio_of(short), model=f"flaky2-{sdk.name}")
    assert [type(fault_of(sdk, ask)) for _ in range(2)] == [Transient, Transient]
    assert sdk.ask(ask, Noted()).text


# -- uploads that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "kind"), [("e503", Transient), ("e429", Transient), ("e403", Permanent), ("failed", Unusable)]
)
def test_an_upload_that_fails(sdk: Sdk, fake: Fake, medium: Path, label: str, kind: type[AnalysisFault]) -> None:
    uploads = Noted()
    assert type(fault_of(sdk, question(audio_of(medium, label)), uploads)) is kind
    assert fake.log("generateContent") == []
    assert fake.files() == []
    assert len(uploads.began_names) == 1


def test_the_answer_to_an_upload_is_lost(sdk: Sdk, fake: Fake, medium: Path) -> None:
    """The file is there all the same, by the name that was chosen."""
    uploads = Noted()
    assert type(fault_of(sdk, question(audio_of(medium, "reset")), uploads)) is Transient
    assert [entry["status"] for entry in fake.log("files.delete")] == [200]
    assert fake.files() == []
    assert uploads.ended_names == uploads.began_names


@pytest.mark.parametrize("label", ["hang", "stuck"])
def test_an_upload_that_does_not_come_to_an_end(sdk: Sdk, fake: Fake, medium: Path, label: str) -> None:
    uploads = Noted()
    fault = fault_of(sdk, question(audio_of(medium, label), deadline_s=1.0), uploads)
    assert type(fault) is Transient
    assert not fault.unknown_cost, "an upload costs nothing"
    assert fake.files() == []
    assert uploads.ended_names == uploads.began_names


# -- killed in between ------------------------------------------------------------------------------------------------


def wait_for(fake: Fake, route: str, count: int = 1) -> None:
    with gevent.Timeout(20):
        while len(fake.log(route)) < count:
            gevent.sleep(0.02)


def test_killed_while_it_is_answered(sdk: Sdk, fake: Fake, medium: Path) -> None:
    uploads = Noted()
    greenlet = gevent.spawn(sdk.ask, question(audio_of(medium), model="hang"), uploads)
    wait_for(fake, "generateContent")
    greenlet.kill(timeout=10)
    assert greenlet.dead
    assert uploads.ended_names == uploads.began_names
    assert fake.files() == []


def test_killed_in_the_middle_of_an_upload(sdk: Sdk, fake: Fake, long: Path) -> None:
    uploads = Noted()
    greenlet = gevent.spawn(sdk.ask, question(audio_of(long, "slow500")), uploads)
    wait_for(fake, "upload.part")
    greenlet.kill(timeout=10)
    assert greenlet.dead
    (name,) = uploads.began_names
    assert [entry["name"] for entry in fake.log("files.delete")] == [name]
    assert uploads.ended_names == [], "whether the last part is still under way is not known"
    sdk.delete(name)
    assert fake.files() == []


def test_killed_while_it_deletes_leaves_a_name(sdk: Sdk, fake: Fake, medium: Path) -> None:
    uploads = Noted()
    greenlet = gevent.spawn(sdk.ask, question(audio_of(medium, "slow400")), uploads)
    wait_for(fake, "generateContent")
    # Its answer has come, or comes at once; the deletion takes 400 ms.
    gevent.sleep(0.1)
    greenlet.kill(timeout=10)
    (name,) = uploads.began_names
    assert uploads.ended_names == []
    sdk.delete(name)
    assert name not in fake.files()


def test_a_deletion_has_a_bound_of_its_own(sdk: Sdk, fake: Fake, medium: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "_delete_timeout_s", 0.5)
    uploads = Noted()
    began = time.monotonic()
    fault = fault_of(sdk, question(audio_of(medium, "slow6000"), deadline_s=0.5), uploads)
    assert type(fault) is Transient
    assert time.monotonic() - began < 5
    assert uploads.ended_names == []
    assert len(uploads.began_names) == 1


def test_a_fault_of_delete_tells_no_secrets(sdk: Sdk, fake: Fake) -> None:
    other = load(sdk.name, "AIzaSy-another-key", fake.base_url)
    with pytest.raises(Permanent) as caught:
        other.delete("files/ce-x")
    other.close()
    check_secrecy(caught.value)
