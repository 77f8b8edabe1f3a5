"""The simulated answer: computed from what the recordings were measured to hold, in the shape that the schema asks for.

Nothing of it is understood speech. Its transcript tells when which channel was heard and how loud, its statements quote
that transcript word for word, and each text that a reader could take for an analysis begins by saying that it is not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, Final

from callengine.standin.gemini.audio import Measured

_SAYS_SO: Final = "Simulated analysis"
_MAX_LINES: Final = 60
_MAX_STATEMENTS: Final = 4
_SPEAKERS: Final = ("caller", "callee", "agent", "unknown")
_LOUDER_DB: Final = 3.0


def analysis(schema: dict[str, Any], prompt: str, recordings: Sequence[Measured]) -> Any:
    """A value that the schema (Google's ``Schema``, or JSON Schema) allows."""
    return _Simulation(prompt, recordings).value("", schema)


class _Simulation:
    def __init__(self, prompt: str, recordings: Sequence[Measured]) -> None:
        self._prompt = prompt
        self._recordings = recordings
        self._lines = _transcript(recordings)

    def value(self, name: str, schema: dict[str, Any]) -> Any:
        schema = _one_of(schema)
        if name == "transcript":
            return [self._shaped(line, schema.get("items") or {}) for line in self._lines]
        if name == "statements":
            return [self._shaped(line, schema.get("items") or {}) for line in self._statements()]
        if name == "disposition":
            return self._disposition(schema)
        if name == "sentiment":
            return self._sentiment(schema)
        kind = _kind(schema)
        if kind == "object":
            properties: dict[str, Any] = schema.get("properties") or {}
            return {key: self.value(key, part) for key, part in properties.items()}
        if kind == "array":
            return []
        if kind in {"integer", "number"}:
            return sum(part.duration_ms or 0 for part in self._recordings)
        if kind == "boolean":
            return bool(self._lines)
        choices = _choices(schema)
        return choices[0] if choices else self._next_action()

    def _shaped(self, line: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        """Of ``line`` what the schema has, each within its ``enum``."""
        shaped = {}
        for key, part in (schema.get("properties") or {}).items():
            choices = _choices(part)
            if key not in line:
                shaped[key] = self.value(key, part)
            elif choices and line[key] not in choices:
                shaped[key] = choices[-1]
            else:
                shaped[key] = line[key]
        return shaped

    def _statements(self) -> list[dict[str, Any]]:
        total_s = sum(part.duration_ms or 0 for part in self._recordings) / 1000
        what = f"{len(self._recordings)} recording" + ("s" if len(self._recordings) != 1 else "")
        told = [f"{_SAYS_SO}: {what} of {total_s:.1f} s in all, heard by no model."]
        told += [f"Measured, not understood: {line['text'].lower()}" for line in self._lines[1:]]
        quoted = [line["text"] for line in self._lines]
        return [
            {"text": text, "quote": quote}
            for text, quote in itertools.islice(zip(told, quoted, strict=False), _MAX_STATEMENTS)
        ]

    def _sentiment(self, schema: dict[str, Any]) -> str:
        """Louder towards the end counts as negative, softer as positive: a rule of this simulation, no finding."""
        levels = [part.level_dbfs for recording in self._recordings for part in recording.stretches]
        half = len(levels) // 2
        change = sum(levels[-half:]) / half - sum(levels[:half]) / half if half else 0.0
        told = "negative" if change > _LOUDER_DB else "positive" if change < -_LOUDER_DB else "neutral"
        choices = _choices(schema)
        return told if not choices or told in choices else str(choices[0])

    def _disposition(self, schema: dict[str, Any]) -> str | None:
        """The one of the allowed that the share of speech points at; those that the prompt names come first."""
        choices = [choice for choice in _choices(schema) if choice]
        named = [c for c in choices if re.search(rf"(?<!\w){re.escape(str(c))}(?!\w)", self._prompt)]
        choices = named or choices
        if not choices:
            return None if _nullable(schema) else ""
        total = sum((part.duration_ms or 0) * part.channels for part in self._recordings) or 1
        heard = sum(part.end_ms - part.start_ms for r in self._recordings for part in r.stretches)
        return str(choices[min(len(choices) - 1, heard * len(choices) // total)])

    def _next_action(self) -> str:
        return f"{_SAYS_SO}: nothing follows from {len(self._lines)} stretches of sound; have a person listen."


def _transcript(recordings: Sequence[Measured]) -> list[dict[str, Any]]:
    """One line for each stretch of sound, its offset counted from the start of the first recording."""
    lines: list[dict[str, Any]] = []
    before_ms = 0
    for number, recording in enumerate(recordings, 1):
        for part in recording.stretches:
            heard = f"sound for {(part.end_ms - part.start_ms) / 1000:.1f} s at {part.level_dbfs:.1f} dBFS"
            text = f"Recording {number}, channel {part.channel + 1}: {heard}"
            speaker = _SPEAKERS[min(part.channel, 3)] if recording.channels > 1 else "unknown"
            lines.append({"speaker": speaker, "offset_ms": before_ms + part.start_ms, "text": text})
        if recording.duration_ms is None:
            text = f"Recording {number}: {recording.size_bytes} bytes of {recording.mime_type}, not decoded"
            lines.append({"speaker": "unknown", "offset_ms": before_ms, "text": text})
        before_ms += recording.duration_ms or 0
    return lines[:_MAX_LINES]


# -- reading a schema, Google's or JSON's ----------------------------------------------------------------------------


def _one_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The first alternative that is not null."""
    for part in schema.get("anyOf") or []:
        if isinstance(part, dict) and _kind(part) != "null":
            return part
    return schema


_INTEGERS: Final = ("", "string", "number", "integer", "boolean", "array", "object", "null")


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        kind = next((part for part in kind if part != "null"), "null")
    if isinstance(kind, int):
        return _INTEGERS[kind] if 0 <= kind < len(_INTEGERS) else ""
    return str(kind).lower()


def _nullable(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    return bool(schema.get("nullable")) or (isinstance(kinds, list) and "null" in kinds)


def _choices(schema: dict[str, Any]) -> list[Any]:
    return [choice for choice in _one_of(schema).get("enum") or [] if choice is not None]
