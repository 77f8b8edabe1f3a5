"""JSON Schema in Google's older dialect (``Schema`` of the API reference), all that google-generativeai knows."""

from __future__ import annotations

from typing import Any, Final

_COPIED: Final = {
    "description": "description",
    "format": "format",
    "minItems": "min_items",
    "maxItems": "max_items",
}


def to_google(schema: dict[str, Any]) -> dict[str, Any]:
    """The same shape, with types in capitals and ``nullable`` for null. What it cannot say is left out: the answer is
    held against the whole schema when it comes. ``$ref`` is not followed."""
    schema, nullable = _without_null(schema)
    made: dict[str, Any] = {theirs: schema[ours] for ours, theirs in _COPIED.items() if ours in schema}
    made["type"] = str(schema.get("type", "string")).upper()
    if nullable:
        made["nullable"] = True
    if "enum" in schema:
        made["enum"] = [str(choice) for choice in schema["enum"] if choice is not None]
        made["format"] = "enum"
    if "items" in schema:
        made["items"] = to_google(schema["items"])
    if "properties" in schema:
        made["properties"] = {name: to_google(part) for name, part in schema["properties"].items()}
        made["required"] = list(schema.get("required", ()))
    return made


def _without_null(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The alternative that is not null, and whether null is one."""
    for alternatives in (schema.get("anyOf"), schema.get("oneOf")):
        if alternatives:
            real = [part for part in alternatives if part.get("type") != "null"]
            merged = {**{k: v for k, v in schema.items() if k not in {"anyOf", "oneOf"}}, **(real[0] if real else {})}
            return merged, len(real) < len(alternatives)
    kinds = schema.get("type")
    if isinstance(kinds, list):
        real_kind = next((kind for kind in kinds if kind != "null"), "string")
        return {**schema, "type": real_kind}, "null" in kinds
    return schema, bool(schema.get("nullable")) or None in schema.get("enum", ())
