"""What is allowed, but told."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.config.advice import advise
from callengine.config.sections import is_loopback
from callengine.config.settings import Settings

QUIET: dict[str, Any] = {"originate": {"gateways": {"a": {}}}}

BUCKET: dict[str, Any] = {"bucket": "b-1", "access_key_id": "a", "secret_access_key": "s"}


def advice(**sections: Any) -> list[str]:
    return advise(Settings.model_validate(QUIET | sections))


def test_nothing_to_say() -> None:
    assert advice() == []
    assert advice(recordings={"directories": ["/r"], "start": "answer"}) == []


@pytest.mark.parametrize(
    ("sections", "beginnings"),
    [
        ({"originate": {}}, ["originate.gateways"]),
        ({"http": {"host": "0.0.0.0"}}, ["metrics.token", "http.public_url"]),
        ({"http": {"host": "::", "public_url": "https://x"}, "metrics": {"token": "t"}}, []),
        ({"esl": {"host": "10.0.0.5"}}, ["esl.password", "esl.host"]),
        ({"esl": {"host": "10.0.0.5", "password": "x"}}, ["esl.host"]),
        ({"recordings": {"start": "answer"}}, ["recordings.directories"]),
        ({"http": {"signing_key": "short"}}, ["http.signing_key"]),
        ({"http": {"signing_key": "k" * 32}}, []),
        ({"s3": {"bucket": "b-1"}}, ["s3.bucket"]),
        ({"recordings": {"storage": "s3"}, "s3": BUCKET | {"endpoint_url": "http://10.0.0.5"}}, ["s3.endpoint_url"]),
        ({"recordings": {"storage": "s3"}, "s3": BUCKET | {"endpoint_url": "http://127.0.0.1:9000"}}, []),
        ({"recordings": {"storage": "s3"}, "s3": BUCKET}, []),
        ({"ai": {"enabled": True, "api_key": "k", "sdk": "google-generativeai"}}, ["recordings.directories", "ai.sdk"]),
    ],
)
def test_told(sections: dict[str, Any], beginnings: list[str]) -> None:
    assert [line.split()[0] for line in advice(**sections)] == beginnings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "127.example.com", "localhost.example.com", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
