"""JSON as FreeSWITCH writes it: it may hold bytes that are no UTF-8, and half a surrogate pair. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson

from callengine.errors import MalformedEvent


def load_object(body: bytes, what: str) -> dict[str, Any]:
    """The object. Raises MalformedEvent, whose text begins with ``what``."""
    text = body.decode("utf-8", "replace")
    try:
        found = orjson.loads(text)
    except ValueError as error:
        if "\\u" not in text:
            raise MalformedEvent(f"{what} is no JSON: {error}") from None
        try:
            found = json.loads(text)  # takes half a surrogate pair, as orjson does not
        except (ValueError, RecursionError):
            raise MalformedEvent(f"{what} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise MalformedEvent(f"{what} is no JSON object")
    return found
