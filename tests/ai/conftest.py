"""The stand-in for Gemini, both of Google's packages on top of it, and a watch over what they let out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.ai.sdk import Sdk, SdkName, load
from callengine.standin.gemini import launch
from tests.ai.fake import KEY, Fake, record


@pytest.fixture(scope="session")
def _fake() -> Iterator[Fake]:
    with launch(["--key", KEY, "--processing-ms", "150"]) as process:
        yield Fake(process.base_url)


@pytest.fixture
def fake(_fake: Fake) -> Fake:
    _fake.mark()
    return _fake


@pytest.fixture(scope="session")
def _sdks(_fake: Fake) -> Iterator[dict[str, Sdk]]:
    names: tuple[SdkName, ...] = ("google-genai", "google-generativeai")
    sdks = {name: load(name, KEY, _fake.base_url) for name in names}
    yield sdks
    for sdk in sdks.values():
        sdk.close()


@pytest.fixture(params=["google-genai", "google-generativeai"])
def sdk(
    request: pytest.FixtureRequest,
    _sdks: dict[str, Sdk],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Sdk]:
    """Each package in turn. Afterwards its key stands in no log record, not of DEBUG either, and in no output."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    caplog.set_level(logging.DEBUG)
    yield _sdks[request.param]
    told = "".join(str(vars(entry)) + entry.getMessage() for entry in caplog.records)
    out, err = capfd.readouterr()
    assert KEY not in told + caplog.text + out + err


@pytest.fixture(scope="session")
def _recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return {
        "short": record(folder / "short.wav", 4),  # 128 kB: goes inline
        "medium": record(folder / "medium.wav", 10),  # 320 kB
        "long": record(folder / "long.wav", 655),  # 21 MB: three parts
    }


@pytest.fixture
def short(_recordings: dict[str, Path]) -> Path:
    return _recordings["short"]


@pytest.fixture
def medium(_recordings: dict[str, Path]) -> Path:
    return _recordings["medium"]


@pytest.fixture
def long(_recordings: dict[str, Path]) -> Path:
    return _recordings["long"]
