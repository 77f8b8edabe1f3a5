"""generateContent: a request's parts are read and measured; the answer has the shape of a GenerateContentResponse."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import Any, Final

from callengine.standin.gemini import checks
from callengine.standin.gemini.audio import Measured, measure
from callengine.standin.gemini.behaviours import ApiError, Behaviour
from callengine.standin.gemini.files import Files
from callengine.standin.gemini.simulation import analysis

MODEL_VERSION: Final = "simulated-gemini"
_TOKENS_PER_S: Final = 32
_PART: Final = {"text", "inlineData", "fileData"}
_BLOB: Final = {"mimeType", "data", "displayName"}
_FILE_DATA: Final = {"mimeType", "fileUri", "displayName"}
# What Google's enums are as numbers, which a client asks for by ``$alt=json;enum-encoding=int``.
_NUMBERS: Final = {"STOP": 1, "MAX_TOKENS": 2, "SAFETY": 3}


@dataclass(slots=True)
class Asked:
    """What one request holds."""

    schema: dict[str, Any]
    prompt: str = ""
    recordings: list[Measured] = field(default_factory=list)
    digest: str = ""


def read(body: Any, files: Files) -> Asked:
    """Raises ApiError where Google would refuse it."""
    checked = checks.request(body)
    asked = Asked(checks.schema_of(checks.config(checked.get("generationConfig"))))
    digest = hashlib.sha256()
    for content in checked["contents"]:
        parts = checks.named(content, {"role", "parts"}, "contents").get("parts")
        if not isinstance(parts, list) or not parts:
            raise ApiError(400, "contents.parts must not be empty.")
        for part in parts:
            digest.update(_read_part(checks.named(part, _PART, "contents.parts"), asked, files))
    asked.digest = digest.hexdigest()
    return asked


def _read_part(part: dict[str, Any], asked: Asked, files: Files) -> bytes:
    """Adds the part to ``asked``; returns what tells it from others."""
    if "text" in part:
        if not isinstance(part["text"], str):
            raise ApiError(400, "Invalid value at 'contents.parts.text': a string is expected.")
        asked.prompt += part["text"]
        return part["text"].encode("utf-8", "replace")
    if "inlineData" in part:
        blob = checks.named(part["inlineData"], _BLOB, "contents.parts.inline_data")
        data = _decoded(blob.get("data"))
        asked.recordings.append(measure(io.BytesIO(data), len(data), _mime_type(blob)))
        return hashlib.sha256(data).digest()
    if "fileData" in part:
        given = checks.named(part["fileData"], _FILE_DATA, "contents.parts.file_data")
        name = "files/" + str(given.get("fileUri", "")).rpartition("/files/")[2]
        file = files.get(name)
        if file.state != "ACTIVE":
            raise ApiError(400, f"The File {name[-40:]} is not in an ACTIVE state.", word="FAILED_PRECONDITION")
        with file.path.open("rb") as opened:
            asked.recordings.append(measure(opened, file.size_bytes, _mime_type(given)))
        return file.sha256.encode()
    raise ApiError(400, "contents.parts must have one initialized field.")


def _mime_type(given: dict[str, Any]) -> str:
    mime_type = given.get("mimeType")
    if not isinstance(mime_type, str) or "/" not in mime_type:
        raise ApiError(400, "Unsupported MIME type: " + (str(mime_type)[:40] if mime_type else "none was given."))
    return mime_type


def _decoded(data: Any) -> bytes:
    """Base64 of either alphabet, padded or not."""
    if not isinstance(data, str):
        raise ApiError(400, "Invalid value at 'contents.parts.inline_data.data': Base64 is expected.")
    plain = data.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ApiError(400, "Invalid value at 'contents.parts.inline_data.data': Base64 decoding failed.") from None


def answer(asked: Asked, behaviour: Behaviour, *, numbers: bool) -> dict[str, Any]:
    """A GenerateContentResponse; ``numbers``: its enums are numbers."""
    prompt_tokens = len(asked.prompt) // 4
    prompt_tokens += sum((part.duration_ms or 0) * _TOKENS_PER_S // 1000 for part in asked.recordings)
    told = behaviour.answer
    response: dict[str, Any] = {"modelVersion": MODEL_VERSION, "responseId": asked.digest[:22]}
    if told == "safety":
        response["promptFeedback"] = {"blockReason": 1 if numbers else "SAFETY"}
    if told in {"safety", "empty"}:
        response["usageMetadata"] = {"promptTokenCount": prompt_tokens, "totalTokenCount": prompt_tokens}
        return response
    text = _text(asked, told)
    finish = {"blocked": "SAFETY", "maxtok": "MAX_TOKENS"}.get(told or "", "STOP")
    candidate: dict[str, Any] = {"finishReason": _NUMBERS[finish] if numbers else finish, "index": 0}
    if told != "blocked":
        # Google too gives one text in several parts at times.
        half = len(text) // 2
        candidate["content"] = {"role": "model", "parts": [{"text": text[:half]}, {"text": text[half:]}]}
    tokens = len(text) // 4
    response["candidates"] = [candidate]
    response["usageMetadata"] = {
        "promptTokenCount": prompt_tokens,
        "candidatesTokenCount": tokens,
        "totalTokenCount": prompt_tokens + tokens,
    }
    return response


def _text(asked: Asked, told: str | None) -> str:
    value = analysis(asked.schema, asked.prompt, asked.recordings) if asked.schema else None
    if told == "badenum" and isinstance(value, dict):
        value = {**value, "sentiment": "simulated-nonsense"}
    text = json.dumps(value, ensure_ascii=False) if asked.schema else "Simulated analysis: no schema was asked for."
    return text[: len(text) * 2 // 3] if told in {"badjson", "maxtok"} else text
