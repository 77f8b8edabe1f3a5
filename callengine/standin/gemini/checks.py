"""What a request has to be like; anything else is refused as Google refuses it, by name and place."""

from __future__ import annotations

import re
from typing import Any, Final

from callengine.standin.gemini.behaviours import ApiError

MIN_DEADLINE_S: Final = 10
_REQUEST: Final = set(
    "contents tools toolConfig safetySettings systemInstruction generationConfig cachedContent model".split()
)
_CONFIG: Final = set(
    "stopSequences responseMimeType responseSchema responseJsonSchema candidateCount maxOutputTokens temperature topP"
    " topK seed presencePenalty frequencyPenalty thinkingConfig mediaResolution audioTimestamp".split()
)
_SCHEMA: Final = set(
    "type format title description nullable enum maxItems minItems properties required minProperties maxProperties"
    " minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum".split()
)
_JSON_SCHEMA: Final = set(
    "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems minimum maximum"
    " anyOf oneOf properties additionalProperties required propertyOrdering".split()
)
_KINDS: Final = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_MAX_DEPTH: Final = 20


def deadline(headers: dict[str, str]) -> None:
    """Google refuses deadlines that are too near."""
    told = headers.get("x-server-timeout", "")
    if told and (not told.isdigit() or int(told) < MIN_DEADLINE_S):
        raise ApiError(400, f"Manually set deadline {told[:8]}s is too short. Minimum allowed is {MIN_DEADLINE_S}s.")


def named(value: Any, known: set[str], place: str) -> dict[str, Any]:
    """``value`` with its keys in camel case, each of them known. Both spellings are accepted, as by Google."""
    if not isinstance(value, dict):
        raise ApiError(400, f"Invalid value at '{place}': an object is expected.")
    camel = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): part for key, part in value.items()}
    for key in camel:
        if key not in known:
            raise ApiError(400, f"Invalid JSON payload received. Unknown name \"{key[:40]}\" at '{place}'.")
    return camel


def request(body: Any) -> dict[str, Any]:
    """A GenerateContentRequest."""
    checked = named(body, _REQUEST, "request")
    contents = checked.get("contents")
    if not isinstance(contents, list) or not contents:
        raise ApiError(400, "GenerateContentRequest.contents: contents is not specified")
    return checked


def config(value: Any) -> dict[str, Any]:
    """A GenerationConfig, and the schema in it."""
    checked = named(value or {}, _CONFIG, "generation_config")
    most = checked.get("maxOutputTokens")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise ApiError(400, "max_output_tokens must be positive.")
    if "responseSchema" in checked and "responseJsonSchema" in checked:
        raise ApiError(400, "response_schema and response_json_schema must not both be set.")
    schema_of(checked)
    return checked


def schema_of(checked: dict[str, Any]) -> dict[str, Any]:
    """The schema of the answer; empty where none is set."""
    for key in ("responseSchema", "responseJsonSchema"):
        if key in checked:
            if checked.get("responseMimeType") != "application/json":
                raise ApiError(400, "A response schema needs response_mime_type application/json.")
            return _schema(checked[key], key == "responseJsonSchema", key, 0)
    return {}


def _schema(value: Any, is_json: bool, place: str, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ApiError(400, f"The schema at '{place}' is too deep.")
    if is_json and not isinstance(value, dict):
        raise ApiError(400, f"Invalid value at '{place}': an object is expected.")
    checked = dict(value) if is_json else named(value, _SCHEMA, place)
    if is_json and (unknown := sorted(set(checked) - _JSON_SCHEMA)):
        raise ApiError(400, f"Invalid value at '{place}': unsupported keyword {unknown[0][:40]}.")
    kind = checked.get("type")
    if not is_json and not isinstance(kind, int) and str(kind).upper() not in _KINDS and "anyOf" not in checked:
        raise ApiError(400, f"Invalid value at '{place}.type'.")
    if str(kind).upper() == "ARRAY" and "items" not in checked:
        raise ApiError(400, f"{place}.items: missing field.")
    properties = checked.get("properties")
    if properties is not None:
        if not isinstance(properties, dict):
            raise ApiError(400, f"Invalid value at '{place}.properties'.")
        checked["properties"] = {
            key: _schema(part, is_json, f"{place}.properties[{key[:40]}]", depth + 1)
            for key, part in properties.items()
        }
        missing = [key for key in checked.get("required") or [] if key not in properties]
        if missing:
            raise ApiError(400, f"{place}.required[{str(missing[0])[:40]}]: property is not defined")
    if "items" in checked:
        checked["items"] = _schema(checked["items"], is_json, f"{place}.items", depth + 1)
    return checked
