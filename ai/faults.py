"""How asking Gemini can fail, by what the caller is to do about it.

::

    AnalysisFault
    ├── Transient              try again later: 408, 429, 5xx, the connection, the deadline
    │   └── QuotaExhausted     a quota per day: try again in hours
    ├── Permanent              do not try again: 400, 401, 403, 404, 413
    │   └── Blocked            Google's filters refused the recording or the answer
    └── Unusable               an answer came that is of no use; worth a second attempt, not a third

The text of each is ours, but for the status code and Google's word for it: what the packages say can hold the API key,
URLs, file names, and what was said on the call. So none of their exceptions is ever chained to one of these.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from callengine.errors import CallengineError

QUOTA_PARK_S: Final = 4 * 3600.0
"""How long a daily quota is waited for. Google's own RetryInfo speaks of seconds there as well."""

_RETRY_MAX_S: Final = 24 * 3600.0
_TRANSIENT: Final = frozenset({408, 429})
_WORD: Final = re.compile(r"[A-Z][A-Z_]{1,39}")
_DELAY: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class AnalysisFault(CallengineError):
    """``reason`` is a short phrase that is safe to log, to store and to show. The tokens are those that were paid.

    ``unknown_cost``: the question may have reached Google, and no answer says what it cost.
    """

    def __init__(self, reason: str, *, input_tokens: int = 0, output_tokens: int = 0) -> None:
        self.reason = reason
        self.unknown_cost = False
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        super().__init__(reason)


class Transient(AnalysisFault):
    """It may well work later; not before ``retry_after_s``, where Google said so."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class QuotaExhausted(Transient):
    """The quota of the day is used up; ``retry_after_s`` is hours."""

    retry_after_s: float

    def __init__(self, reason: str, retry_after_s: float = QUOTA_PARK_S) -> None:
        super().__init__(reason, retry_after_s)


class Permanent(AnalysisFault):
    """The same request will fail again."""


class Blocked(Permanent):
    """Google's filters refused the recording, or what the model was about to say of it."""


class Unusable(AnalysisFault):
    """An answer came, and it is cut off, empty, or no JSON."""


def of_silence(reason: str) -> Transient:
    """No answer came, or none that could be read: of what was sent nobody knows what it cost."""
    fault = Transient(reason)
    fault.unknown_cost = True
    return fault


def of_connection(error: Exception, *, opened: bool) -> Transient:
    """The connection failed; ``opened``: it was there before, so the question may have gone out on it."""
    fault = Transient(f"the connection to Gemini failed ({type(error).__name__})")
    fault.unknown_cost = opened
    return fault


def of_response(status: int, body: object, retry_after: str | None = None) -> AnalysisFault:
    """The fault that an HTTP answer is; ``body`` its decoded JSON (google.rpc.Status), whatever that holds.

    ``retry_after`` is the header of that name; only its form in seconds is looked at.
    """
    error = _error(body)
    details = [part for part in error.get("details") or () if isinstance(part, dict)] if error else []
    reason = f"Gemini answered {status}{_word(error)}"
    if any(part.get("reason") == "API_KEY_INVALID" for part in details):
        return Permanent(f"{reason}: the API key is not valid")
    if status == 429 and _is_daily(details):
        return QuotaExhausted(f"{reason}: the quota of the day is used up")
    if status in _TRANSIENT or status >= 500:
        return Transient(reason, _retry_delay_s(details, retry_after))
    return Permanent(reason)


def message_of(body: object) -> str:
    """What Google says about it: to be looked at, never to be shown."""
    return str(_error(body).get("message", ""))


def _error(body: object) -> dict[str, Any]:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return {}
    return error if isinstance(error.get("details") or [], list) else {**error, "details": []}


def _word(error: dict[str, Any]) -> str:
    word = error.get("status")
    return f" {word}" if isinstance(word, str) and _WORD.fullmatch(word) else ""


def _is_daily(details: list[dict[str, Any]]) -> bool:
    violations = [part.get("violations") for part in details]
    return any(
        isinstance(violation, dict) and "PerDay" in str(violation.get("quotaId", ""))
        for listed in violations
        if isinstance(listed, list)
        for violation in listed
    )


def _retry_delay_s(details: list[dict[str, Any]], header: str | None) -> float | None:
    """RetryInfo's delay (a protobuf Duration, ``7.5s``), else the header's; within a day."""
    told = [part.get("retryDelay") for part in details] + [f"{(header or '').strip()}s"]
    for delay in told:
        if isinstance(delay, str) and (found := _DELAY.fullmatch(delay)):
            seconds = float(found[1])
            return min(seconds, _RETRY_MAX_S) if math.isfinite(seconds) else None
    return None


def is_gone(status: int, body: object) -> bool:
    """Whether a file is not there. Google answers 403 for it, in words that say that it may not exist."""
    return status == 404 or (status == 403 and "may not exist" in message_of(body))
