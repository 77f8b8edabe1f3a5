"""RFC 9457: every error is ``application/problem+json``, and none of them tells what is inside.

``Refusal`` is what the API itself refuses; what the services raise is translated by ``problem_of``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import HTTPException

from callengine.calls.view import iso
from callengine.config.problems import must
from callengine.errors import (
    CommandRefused,
    CommandTimedOut,
    EslError,
    MalformedInput,
    NotAllowed,
    RequestRefused,
    StoreError,
    SwitchUnavailable,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:problem-type:callengine:"
STORE_RETRY_AFTER_S = 5
MAX_FAULTS = 100
"""So many are told: an answer must not be many times as long as what was asked."""

_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
_TARGET_TYPES = frozenset({"agent", "queue", "extension", "application", "park", "call"})

Fault = dict[str, Any]


class Refusal(Exception):
    """A request that the API does not let through. ``code`` ends the problem's type."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Fault] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)
        self.extra = dict(extra or {})

    def response(self) -> Response:
        """The answer."""
        body: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": _TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        body |= self.extra
        return Response(orjson.dumps(body), status=self.status, headers=self.headers, content_type=MEDIA_TYPE)


def fault(place: str, *way: str | int, msg: str) -> Fault:
    """One entry of ``errors``: what is wrong at ``way`` within ``query``, ``header`` or ``body``."""
    return {"loc": [place, *way], "msg": msg}


def invalid(errors: Sequence[Fault]) -> Refusal:
    """400: the request does not have the form that it must have."""
    places = sorted({str(error["loc"][0]) for error in errors})
    detail = f"the request's {' and '.join(places)} cannot be used"
    return Refusal(400, "invalid-request", detail, errors=errors[:MAX_FAULTS])


def invalid_by(place: str, error: ValidationError) -> Refusal:
    """400 for what pydantic refused. The values themselves are never repeated."""
    faults = []
    for found in error.errors(include_url=False, include_input=False):
        way = [part for at, part in enumerate(found["loc"]) if not _is_tag(found["loc"], at)]
        faults.append(fault(place, *way, msg=_fact(place, found)))
    return invalid(faults)


def _fact(place: str, found: ErrorDetails) -> str:
    """What is wrong, in our words where pydantic's repeat a value or name a class."""
    match found["type"]:
        case "extra_forbidden":
            return "there is no such field here" if place == "body" else "there is no such parameter here"
        case "missing":
            return "is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be an object"
        case "union_tag_invalid":
            return f"its type must be one of {found['ctx']['expected_tags']}"
        case "union_tag_not_found":
            return "must have a type"
        case _:
            return must(found["msg"])


def _is_tag(way: tuple[int | str, ...], at: int) -> bool:
    """pydantic puts the chosen member of a union into the way, where the request has no such place."""
    return at > 0 and way[at - 1] in {"to", "on_answer"} and way[at] in _TARGET_TYPES


def problem_of(error: Exception, data_as_of_us: int | None) -> Refusal | None:
    """The problem that an exception of ours is told as, None where it is none of ours: then it is a 500."""
    match error:
        case Refusal():
            return error
        case RequestRefused():
            return _refused(error)
        case StoreError():
            return Refusal(
                503,
                "store-unavailable",
                "the database is not available at the moment",
                headers={"Retry-After": str(STORE_RETRY_AFTER_S)},
                extra={"data_as_of": iso(data_as_of_us)},
            )
        case CommandTimedOut():
            return Refusal(504, "switch-timeout", "FreeSWITCH did not answer in time; what was asked may yet happen")
        case CommandRefused():
            return Refusal(409, "switch-refused", "FreeSWITCH refused it; the call may have changed meanwhile")
        case EslError():
            return _refused(SwitchUnavailable())
        case HTTPException():
            return _http(error)
    return None


def _refused(error: RequestRefused) -> Refusal:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    errors = []
    if isinstance(error, MalformedInput | NotAllowed):
        errors.append(fault("body", *error.field.split("."), msg=str(error).removeprefix(error.field).lstrip(": ")))
    return Refusal(error.status, error.code, str(error), headers=headers, errors=errors)


_HTTP_DETAILS = {
    400: "the request cannot be read",
    404: "there is nothing at this address",
    413: "the request's body is too large",
    415: "the request's body must be application/json",
}


def _http(error: HTTPException) -> Refusal:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "Error"
    code = _TITLES.get(status, phrase).lower().replace(" ", "-")
    return Refusal(status, code, _HTTP_DETAILS.get(status, phrase.lower()), headers=headers)


def not_found() -> Refusal:
    """404 for an address that is none."""
    return Refusal(404, "not-found", _HTTP_DETAILS[404])


def not_allowed(method: str, allowed: Sequence[str]) -> Refusal:
    """405 with what would be allowed."""
    return Refusal(
        405, "method-not-allowed", f"{method[:32]} is not possible here", headers={"Allow": ", ".join(sorted(allowed))}
    )


def broken() -> Refusal:
    """500: our own fault, told to the log only."""
    return Refusal(500, "internal-error", "something went wrong in callengine; its log says what")
