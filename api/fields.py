"""The types that requests are made of: what validates a value is also what describes it in the OpenAPI document.

Query parameters arrive as text, and their types read it to the letter:
``+1``, ``1.0``, ``1_000`` and ``٣`` are no integers here, and nothing is clamped.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from callengine.calls.ids import usable_id
from callengine.calls.numbers import MAX_NUMBER, searched

MAX_PAGE_SIZE = 200
MAX_PAGE = (2**63 - 1) // MAX_PAGE_SIZE
"""The last page whose offset a signed 64-bit integer holds, whatever the page size."""

ID_MAX = 128
DISPOSITION_MAX = 64
NOTES_MAX = 10_000
NAME_MAX = 200

_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,32}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH_DAY = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 - a date only


# -- text ----------------------------------------------------------------------------------------------------------


def _printable(value: str) -> str:
    if not usable_id(value):
        raise ValueError(f"must be 1 to {ID_MAX} printable characters")
    return value


def _no_controls(value: str) -> str:
    if any(_is_control(c) for c in value):
        raise ValueError("must not contain control characters")
    return value


def _no_controls_but_lines(value: str) -> str:
    if any(_is_control(c) and c not in "\n\r\t" for c in value):
        raise ValueError("must not contain control characters other than tabs and line ends")
    return value


def _is_control(character: str) -> bool:
    code = ord(character)
    return code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000


_ID_SCHEMA: dict[str, Any] = {"type": "string", "format": "own-id", "minLength": 1, "maxLength": ID_MAX}
_TEXT_SCHEMA: dict[str, Any] = {"type": "string", "format": "text"}

OwnId = Annotated[str, AfterValidator(_printable), WithJsonSchema(_ID_SCHEMA)]
"""An id that is the tenant's own string: 1-128 printable characters."""

Disposition = Annotated[
    str,
    StringConstraints(min_length=1, max_length=DISPOSITION_MAX),
    AfterValidator(_no_controls),
    WithJsonSchema(_TEXT_SCHEMA | {"minLength": 1, "maxLength": DISPOSITION_MAX}),
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX),
    AfterValidator(_no_controls),
    WithJsonSchema(_TEXT_SCHEMA | {"minLength": 1, "maxLength": NAME_MAX}),
]
Notes = Annotated[
    str,
    StringConstraints(max_length=NOTES_MAX),
    AfterValidator(_no_controls_but_lines),
    WithJsonSchema({"type": "string", "format": "lines", "maxLength": NOTES_MAX}),
]


def _whole(value: object) -> object:
    """``5.0`` is a whole number to JSON Schema, and to most who write JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""For an integer in a body. It goes behind the bounds, so that they are described as such."""


# -- query parameters ----------------------------------------------------------------------------------------------


def _integer(value: object) -> object:
    if isinstance(value, str):
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", value):
            raise ValueError("must be a whole number")
        return int(value)
    return value


def instant_us(text: str) -> int:
    """An RFC 3339 timestamp as µs since the epoch, what is finer cut off. Raises ``ValueError``.

    A leap second (``:60``) is the first of the next minute. A ``+`` that was not written as ``%2B`` arrives as a space.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 timestamp with its offset, as in 2026-01-31T09:30:00Z (write + as %2B)")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    offset_h, offset_m = int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_h > 23 or offset_m > 59:
        raise ValueError("is no time of day")
    try:
        days = datetime(year, month, day).toordinal() - _EPOCH_DAY  # noqa: DTZ001 - a date only
    except ValueError:
        raise ValueError("is no date of the calendar") from None
    offset_s = (offset_h * 3600 + offset_m * 60) * (-1 if match[8] == "-" else 1)
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s
    return seconds * 1_000_000 + int((match[7] or "0")[:6].ljust(6, "0"))


def _instant(value: object) -> object:
    return instant_us(value) if isinstance(value, str) else value


Page = Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(_integer)]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE), BeforeValidator(_integer)]
Instant = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]


def _number(value: str) -> str:
    _no_controls(value)
    bare = searched(value)
    if not bare:
        raise ValueError("must have more than spaces, dashes and the like")
    return bare


QueryNumber = Annotated[
    str,
    StringConstraints(max_length=MAX_NUMBER),
    AfterValidator(_number),
    WithJsonSchema({"type": "string", "format": "phone-number", "minLength": 1, "maxLength": MAX_NUMBER}),
]
"""A phone number to look for, as ``calls.numbers.searched`` makes it."""
QueryDisposition = Annotated[str, WithJsonSchema({"type": "string"})]
Status = Literal["dialing", "ringing", "answered", "agent_connected", "completed", "failed"]
Direction = Literal["outbound", "inbound"]
