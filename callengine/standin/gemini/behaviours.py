"""What the stand-in does instead of succeeding is chosen by words in the model's name, as in ``gemini-e503``.

============================== =====================================================================================
``e400 e401 e403 e404 e408``   answered with that status and Google's word for it
``e413 e429 e500 e503 e504``   (``e429`` with RetryInfo, seven seconds)
``e429day``                    429 by a quota per day
``safety``                     the prompt is blocked (``promptFeedback.blockReason``)
``blocked``                    the answer is cut off for safety (``finishReason`` SAFETY)
``maxtok``                     the answer is cut off at the most tokens
``empty``                      no candidates
``badjson``                    the answer is no JSON
``badenum``                    the answer holds a value that its schema does not allow
``truncated``                  the connection is closed in the middle of the body
``reset``                      the connection is reset instead of an answer
``trickle``                    the answer comes at a byte a second
``hang``                       no answer comes
``slow<N>``                    the answer comes N ms later
``flaky<N>``                   503 for the first N requests with the same prompt and audio
============================== =====================================================================================

Words in a file's display name do so for its upload: the errors and ``reset``, ``hang`` of above, and ``stuck`` (stays
PROCESSING), ``failed`` (ends FAILED), ``undeletable`` (503 upon DELETE), ``slow<N>`` (each request about it takes N ms
longer). Anything else succeeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

RETRY_DELAY_S: Final = 7

_WORDS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE: Final = "type.googleapis.com/google.rpc."
_ANSWERS: Final = {"safety", "blocked", "maxtok", "empty", "badjson", "badenum"}
_WIRE: Final = {"truncated", "reset", "trickle", "hang"}
_FILE: Final = {"stuck", "failed", "undeletable"}


class ApiError(Exception):
    """An answer that is an error, in the shape of google.rpc.Status."""

    def __init__(self, status: int, message: str, details: list[dict[str, Any]] | None = None, word: str = "") -> None:
        super().__init__(message)
        self.status = status
        error: dict[str, Any] = {"code": status, "message": message, "status": word or _WORDS.get(status, "UNKNOWN")}
        if details:
            error["details"] = details
        self.body = {"error": error}


def error_info(reason: str) -> dict[str, Any]:
    """google.rpc.ErrorInfo."""
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota_error(quota_id: str) -> ApiError:
    """429 with the two details that Google sends along."""
    violation = {"quotaMetric": "generativelanguage.googleapis.com/simulated", "quotaId": quota_id, "quotaValue": "1"}
    details: list[dict[str, Any]] = [
        {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{RETRY_DELAY_S}s"},
    ]
    return ApiError(429, "Simulated: the quota is exhausted.", details)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one name asks for."""

    error: int | None = None
    per_day: bool = False
    answer: str | None = None
    wire: str | None = None
    file: str | None = None
    slow_ms: int = 0
    flaky: int = 0

    def check(self) -> None:
        """Raises the error that was asked for."""
        if self.error == 429:
            period = "PerDay" if self.per_day else "PerMinute"
            raise quota_error(f"GenerateRequests{period}PerProjectPerModel-FreeTier")
        if self.error is not None:
            raise ApiError(self.error, f"Simulated: this model's name asks for {self.error}.")


def chosen(name: str) -> Behaviour:
    """The behaviour that the words of ``name`` choose; of two alike the last counts."""
    found: dict[str, Any] = {}
    for word in re.findall(r"[a-z0-9]+", name):
        number = int("".join(filter(str.isdigit, word)) or 0)
        if re.fullmatch(r"e\d{3}(day)?", word) and number in _WORDS:
            found["error"], found["per_day"] = number, word.endswith("day")
        elif re.fullmatch(r"slow\d{1,6}", word):
            found["slow_ms"] = number
        elif re.fullmatch(r"flaky\d{1,3}", word):
            found["flaky"] = number
        for field, words in (("answer", _ANSWERS), ("wire", _WIRE), ("file", _FILE)):
            if word in words:
                found[field] = word
    return Behaviour(**found)
