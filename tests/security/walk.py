"""All places of the OpenAPI document where a request can carry text, taken from the document alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Way = tuple[str, ...]
KEY = "*"
"""In a way: whatever name a member of an open object has."""


@dataclass(frozen=True)
class Operation:
    """A method on a path, and what it reads."""

    name: str
    method: str
    path: str
    is_open: bool
    parameters: tuple[tuple[str, str], ...]
    """(``path``, ``query`` or ``header``, name)."""
    body: frozenset[Way]
    """Every field of the body, down to the leaves."""


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every one of the document."""
    return [
        _operation(document, method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def _operation(document: dict[str, Any], method: str, path: str, described: dict[str, Any]) -> Operation:
    content = described.get("requestBody", {}).get("content", {})
    ways = {way for media in content.values() for way in _ways(document, media["schema"], ())}
    parameters = tuple((parameter["in"], parameter["name"]) for parameter in described["parameters"])
    name = described["operationId"]
    return Operation(name, method.upper(), path, not described["security"], parameters, frozenset(ways))


def _ways(document: dict[str, Any], schema: dict[str, Any], way: Way) -> Iterator[Way]:
    if "$ref" in schema:
        yield from _ways(document, _resolved(document, schema["$ref"]), way)
        return
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _ways(document, choice, way)
    for name, inner in schema.get("properties", {}).items():
        yield from _ways(document, inner, (*way, name))
    if "items" in schema:
        yield from _ways(document, schema["items"], (*way, "0"))
    if "patternProperties" in schema:
        yield (*way, KEY)
    is_leaf = not schema.keys() & {"properties", "anyOf", "oneOf", "allOf", "items", "patternProperties"}
    if is_leaf and way and schema.get("type") != "null":
        yield way


def _resolved(document: dict[str, Any], reference: str) -> dict[str, Any]:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def ways_of(value: Any, way: Way = ()) -> Iterator[Way]:
    """Every leaf of an example; the members of ``variables`` are named by whoever asks."""
    if isinstance(value, dict) and way[-1:] != ("variables",):
        for name, inner in value.items():
            yield from ways_of(inner, (*way, name))
    elif isinstance(value, dict):
        yield (*way, KEY)
    elif isinstance(value, list):
        yield from ways_of(value[0], (*way, "0"))
    else:
        yield way


def at(value: Any, way: Way, new: Any) -> Any:
    """A copy of an example with another leaf. ``KEY`` at the end changes the name of the first member."""
    head, *rest = way
    if head == KEY:
        (_, inner), *others = value.items()
        return {new: inner, **dict(others)}
    if isinstance(value, list):
        return [at(value[0], tuple(rest), new) if rest else new, *value[1:]]
    return {**value, head: at(value[head], tuple(rest), new) if rest else new}
