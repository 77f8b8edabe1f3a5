"""What an HTTP answer means, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.ai.faults import (
    AnalysisFault,
    Permanent,
    QuotaExhausted,
    Transient,
    is_gone,
    of_response,
)
from callengine.ai.schema import to_google

RPC = "type.googleapis.com/google.rpc."


def told(status: int, word: str = "X", details: Any = None, message: str = "") -> dict[str, Any]:
    return {"error": {"code": status, "status": word, "message": message, "details": details}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Permanent) for status in (301, 400, 401, 403, 404, 409, 413, 422)),
        *((status, Transient) for status in (408, 429, 500, 502, 503, 504, 529)),
    ],
)
def test_each_status(status: int, kind: type[AnalysisFault]) -> None:
    assert type(of_response(status, told(status))) is kind


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("12s", 12.0), ("0.250s", 0.25), ("999999s", 86400.0), ("-3s", None), ("nans", None), (7, None), ("1e9s", None)],
)
def test_retry_info(delay: Any, seconds: float | None) -> None:
    fault = of_response(429, told(429, details=[{"@type": f"{RPC}RetryInfo", "retryDelay": delay}]))
    assert isinstance(fault, Transient)
    assert fault.retry_after_s == seconds


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("Fri, 01 Jan 2027 00:00:00 GMT", None), (None, None)])
def test_retry_after(header: str | None, seconds: float | None) -> None:
    fault = of_response(503, None, header)
    assert isinstance(fault, Transient)
    assert fault.retry_after_s == seconds


def test_a_daily_quota_waits_for_hours_though_retry_info_speaks_of_seconds() -> None:
    violations = [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]
    details = [{"@type": f"{RPC}QuotaFailure", "violations": violations}, {"retryDelay": "9s"}]
    fault = of_response(429, told(429, "RESOURCE_EXHAUSTED", details))
    assert isinstance(fault, QuotaExhausted)
    assert fault.retry_after_s >= 3600


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        7,
        {"error": "text"},
        {"error": {"details": "text", "status": 5}},
        {"error": {"details": [None, 3, {"violations": "x", "retryDelay": None}]}},
        [told(503, "UNAVAILABLE")],
    ],
)
def test_whatever_the_body_is(body: Any) -> None:
    fault = of_response(503, body)
    assert str(fault) in {"Gemini answered 503", "Gemini answered 503 UNAVAILABLE"}


@pytest.mark.parametrize("word", ["https://x/?key=AIza", "lower", "A" * 60, "A B", {"a": 1}])
def test_only_a_word_of_googles_is_repeated(word: Any) -> None:
    body = told(400, word, message="the key AIza is wrong")
    assert str(of_response(400, body)) == "Gemini answered 400"


def test_which_answers_say_that_a_file_is_gone() -> None:
    assert is_gone(404, None)
    assert is_gone(403, told(403, message="You do not have permission to access the File x or it may not exist."))
    assert not is_gone(403, told(403, message="The caller does not have permission"))
    assert not is_gone(400, None)


def test_json_schema_in_googles_dialect() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None], "maxLength": 5},
            "b": {"anyOf": [{"type": "null"}, {"type": "integer"}], "description": "how many"},
            "c": {"type": "array", "minItems": 1, "items": {"type": "boolean"}},
        },
        "required": ["a"],
    }
    assert to_google(schema) == {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "nullable": True, "enum": ["x"], "format": "enum"},
            "b": {"type": "INTEGER", "nullable": True, "description": "how many"},
            "c": {"type": "ARRAY", "min_items": 1, "items": {"type": "BOOLEAN"}},
        },
        "required": ["a"],
    }
