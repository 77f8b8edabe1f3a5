"""google-genai, Google's present package for the Gemini API (3.x reads HTTP through httpx2, 2.x through httpx)."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Final

from google import genai
from google.genai import errors, types

from callengine.ai import faults, warm
from callengine.ai.exchange import Inline, Reply, Stored
from callengine.ai.reading import Part, Reader
from callengine.ai.sdk import Ask, Audio, SdkName
from callengine.ai.tls import trusted
from callengine.ai.unexpected import unexpected

API_VERSION: Final = "v1beta"
_READ_TIMEOUT_MIN_S: Final = 10.0
"""The package sends its timeout along as ``X-Server-Timeout``, and Google refuses less than this."""


class _InParts(io.RawIOBase):
    """What the package reads is parts of 8 MiB: to measure, and to hand on to httpx, which takes what can be iterated.

    So none of them is ever in memory as a whole, and the hub is not held while one goes out.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def read(self, size: int = -1) -> Part:
        return self._reader.part(size)


class GoogleGenai:
    """A ``Backend`` (see callengine.ai.exchange)."""

    name: SdkName = "google-genai"

    def __init__(self, api_key: str, base_url: str, **client_args: Any) -> None:
        self._base_url = base_url
        options = self._options(60.0)
        options.client_args = {"verify": trusted(), **client_args}
        # Without vertexai and api_version the environment would decide; without a timeout there is none.
        self._client = genai.Client(vertexai=False, api_key=api_key, http_options=options)
        modules = _http_modules()
        self._transport_errors = tuple(module.HTTPError for module in modules)
        self._not_connected = tuple(e for m in modules for e in (m.ConnectError, m.ConnectTimeout, m.PoolTimeout))

    @classmethod
    def rehearsed(cls, api_key: str, base_url: str) -> GoogleGenai:
        """Ready to use, and quick at the first use as well."""
        http = _http_modules()[0]
        transport = http.MockTransport(
            lambda request: http.Response(
                200, json=warm.answer(request.method, request.url.path), headers=warm.UPLOAD_HEADERS
            )
        )
        rehearsal = cls("rehearsal", "http://localhost", transport=transport)
        warm.rehearse(rehearsal)
        rehearsal.close()
        return cls(api_key, base_url)

    def _options(self, timeout_s: float) -> types.HttpOptions:
        """``retry_options`` stay unset, which is no retries. ``base_url`` keeps uploads at the address that was set."""
        timeout_ms = int(max(timeout_s, _READ_TIMEOUT_MIN_S) * 1000)
        return types.HttpOptions(base_url=self._base_url, api_version=API_VERSION, timeout=timeout_ms)

    def upload(self, name: str, reader: Reader, audio: Audio, timeout_s: float) -> Stored:
        config = types.UploadFileConfig(
            name=name, display_name=audio.label, mime_type=audio.mime_type, http_options=self._options(timeout_s)
        )
        return _stored(self._client.files.upload(file=_InParts(reader), config=config))

    def look(self, name: str, timeout_s: float) -> Stored:
        return _stored(
            self._client.files.get(name=name, config=types.GetFileConfig(http_options=self._options(timeout_s)))
        )

    def remove(self, name: str, timeout_s: float) -> bool:
        try:
            self._client.files.delete(name=name, config=types.DeleteFileConfig(http_options=self._options(timeout_s)))
        except errors.APIError as error:
            if faults.is_gone(error.code, error.details):
                return False
            raise
        return True

    def generate(self, ask: Ask, parts: list[Inline | Stored], timeout_s: float) -> Reply:
        settings: dict[str, Any] = {
            "response_mime_type": "application/json",
            "response_json_schema": ask.schema,
            "max_output_tokens": ask.max_output_tokens,
            "automatic_function_calling": {"disable": True},
            "http_options": self._options(timeout_s),
        }
        if "automatic_continuation" in types.GenerateContentConfig.model_fields:
            settings["automatic_continuation"] = False
        config = types.GenerateContentConfig(**settings)
        content = types.Content(role="user", parts=[*map(_part, parts), types.Part(text=ask.prompt)])
        return _reply(self._client.models.generate_content(model=ask.model, contents=content, config=config))

    def look_up(self, model: str, timeout_s: float) -> None:
        self._client.models.get(model=model, config=types.GetModelConfig(http_options=self._options(timeout_s)))

    def fault(self, error: Exception) -> faults.AnalysisFault:
        if isinstance(error, errors.APIError):
            headers = getattr(error.response, "headers", None) or {}
            return faults.of_response(error.code, error.details, headers.get("retry-after"))
        if isinstance(error, (*self._transport_errors, OSError)):
            return faults.of_connection(error, opened=not isinstance(error, self._not_connected))
        if isinstance(error, (ValueError, KeyError)):
            # Of an answer that does not keep to the protocol; of our own options it would be so in every test.
            return faults.of_silence(f"Gemini's answer could not be read ({type(error).__name__})")
        return unexpected(error)

    def close(self) -> None:
        self._client.close()


def _http_modules() -> list[Any]:
    """The package takes httpx2 where it is installed, else httpx."""
    return [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]


def _part(part: Inline | Stored) -> types.Part:
    if isinstance(part, Inline):
        return types.Part(inline_data=types.Blob(data=part.data, mime_type=part.mime_type))
    return types.Part(file_data=types.FileData(file_uri=part.uri, mime_type=part.mime_type))


def _stored(file: types.File) -> Stored:
    state = file.state.name if file.state is not None else "ACTIVE"
    return Stored(file.name or "", file.uri or "", file.mime_type or "", state)


def _reply(response: types.GenerateContentResponse) -> Reply:
    candidates = response.candidates or []
    first = candidates[0] if candidates else None
    feedback, usage = response.prompt_feedback, response.usage_metadata
    parts = (first.content.parts or []) if first is not None and first.content is not None else []
    return Reply(
        # ``response.text`` warns, and hides why there is none.
        text="".join(part.text for part in parts if part.text and not part.thought),
        candidates=len(candidates),
        finish_reason=_word(first.finish_reason) if first is not None else "",
        blocked=_word(feedback.block_reason) if feedback is not None and feedback.block_reason else None,
        input_tokens=(usage.prompt_token_count or 0) if usage is not None else 0,
        output_tokens=((usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)) if usage else 0,
        model_version=response.model_version or "",
    )


def _word(enum: Any) -> str:
    return str(getattr(enum, "value", enum) or "")
