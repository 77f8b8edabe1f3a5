"""google-generativeai, the package before; without support since November 2025, and kept on a short leash.

Its default transport, gRPC, stops the whole process while it waits; REST does not.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Final

import requests
from google.auth.exceptions import GoogleAuthError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from callengine.ai import faults, warm
from callengine.ai.adapters import OneContext, Rehearsal
from callengine.ai.exchange import Inline, Reply, Stored
from callengine.ai.reading import Reader
from callengine.ai.resumable import Uploader, body_of
from callengine.ai.schema import to_google
from callengine.ai.sdk import Ask, Audio, SdkName
from callengine.ai.tls import trusted_by_requests
from callengine.ai.unexpected import unexpected

with warnings.catch_warnings():
    # It says at each import that it is no longer supported: known, and why it is not the default. Its foundation says
    # at each import until when it will support this Python.
    warnings.simplefilter("ignore", FutureWarning)
    from google.api_core.exceptions import GoogleAPICallError

    # Typed in part only, and not as it is used in its own documentation.
    genai: Any = importlib.import_module("google.generativeai")
    client: Any = importlib.import_module("google.generativeai.client")
    protos: Any = importlib.import_module("google.generativeai.protos")

_ParseError: type[Exception] = importlib.import_module("google.protobuf.json_format").ParseError

API_VERSION: Final = "v1beta"


class GoogleGenerativeai:
    """A ``Backend`` (see callengine.ai.exchange)."""

    name: SdkName = "google-generativeai"

    def __init__(self, api_key: str, base_url: str) -> None:
        genai.configure(api_key=api_key, transport="rest", client_options={"api_endpoint": base_url})
        # Kept, since what ``configure`` sets is one for the whole process.
        self._generative = client.get_default_generative_client()
        self._files = client.get_default_file_client()
        self._uploader = Uploader(api_key, base_url)
        sessions = [self._generative.transport._session, self._files.transport._session]
        for session in sessions:
            # Or a 401 would be asked again, twice, for a token that no API key has.
            session._refresh_status_codes = ()
        self._sessions: list[requests.Session] = [*sessions, self._uploader.session]

    @classmethod
    def rehearsed(cls, api_key: str, base_url: str) -> GoogleGenerativeai:
        """Ready to use, and quick at the first use as well."""
        rehearsal = cls("rehearsal", "http://localhost")
        rehearsal._mount(Rehearsal())
        warm.rehearse(rehearsal)
        rehearsal.close()
        made = cls(api_key, base_url)
        made._mount(OneContext(trusted_by_requests()))
        return made

    def _mount(self, adapter: HTTPAdapter) -> None:
        for session in self._sessions:
            session.mount("https://", adapter)
            session.mount("http://", adapter)

    def upload(self, name: str, reader: Reader, audio: Audio, timeout_s: float) -> Stored:
        file = self._uploader.upload(name, reader, audio.label, audio.mime_type, API_VERSION, timeout_s)
        uri, state = (str(file.get(key) or "") for key in ("uri", "state"))
        return Stored(name, uri, audio.mime_type, state or "ACTIVE")

    def look(self, name: str, timeout_s: float) -> Stored:
        file = self._files.get_file(name=name, retry=None, timeout=timeout_s)
        return Stored(file.name, file.uri, file.mime_type, _word(file.state))

    def remove(self, name: str, timeout_s: float) -> bool:
        try:
            self._files.delete_file(name=name, retry=None, timeout=timeout_s)
        except GoogleAPICallError as error:
            if faults.is_gone(int(error.code or 0), body_of(_response(error))):
                return False
            raise
        return True

    def generate(self, ask: Ask, parts: list[Inline | Stored], timeout_s: float) -> Reply:
        settings = {
            "response_mime_type": "application/json",
            "response_schema": to_google(ask.schema),
            "max_output_tokens": ask.max_output_tokens,
        }
        content = protos.Content(role="user", parts=[*map(_part, parts), protos.Part(text=ask.prompt)])
        model = genai.GenerativeModel(ask.model)
        model._client = self._generative
        # Without ``retry`` the package itself tries again, for 600 s.
        options: dict[str, Any] = {"timeout": timeout_s, "retry": None}
        return _reply(model.generate_content([content], generation_config=settings, request_options=options))

    def look_up(self, model: str, timeout_s: float) -> None:
        models = client.get_default_model_client()
        session = models.transport._session
        session._refresh_status_codes = ()
        adapter = self._sessions[0].get_adapter("https://")
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        models.get_model(name=model, retry=None, timeout=timeout_s)

    def fault(self, error: Exception) -> faults.AnalysisFault:
        if isinstance(error, GoogleAPICallError):
            answer = _response(error)
            retry_after = answer.headers.get("Retry-After") if answer is not None else None
            return faults.of_response(int(error.code or 0), body_of(answer), retry_after)
        if isinstance(error, (requests.RequestException, GoogleAuthError, OSError)):
            return faults.of_connection(error, opened=not _is_unconnected(error))
        if isinstance(error, (_ParseError, ValueError, KeyError)):
            return faults.of_silence(f"Gemini's answer could not be read ({type(error).__name__})")
        return unexpected(error)

    def close(self) -> None:
        self._uploader.close()
        for service in (self._generative, self._files):
            service.transport.close()


def _is_unconnected(error: Exception) -> bool:
    """Requests has one error for a connection that broke and one that never was; what urllib3 says is inside."""
    if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ConnectTimeout)):
        return True
    inner = error.args[0] if error.args else None
    return isinstance(inner, MaxRetryError) and isinstance(inner.reason, (NewConnectionError, ConnectTimeoutError))


def _response(error: GoogleAPICallError) -> requests.Response | None:
    response = error.response
    return response if isinstance(response, requests.Response) else None


def _part(part: Inline | Stored) -> Any:
    if isinstance(part, Inline):
        return protos.Part(inline_data=protos.Blob(data=part.data, mime_type=part.mime_type))
    return protos.Part(file_data=protos.FileData(file_uri=part.uri, mime_type=part.mime_type))


def _reply(response: Any) -> Reply:
    """``response.text`` raises where there is none, so the parts are joined here."""
    message = protos.GenerateContentResponse.pb(response._result)
    first = message.candidates[0] if message.candidates else None
    feedback, usage = message.prompt_feedback, message.usage_metadata
    reasons = protos.GenerateContentResponse.PromptFeedback.BlockReason
    return Reply(
        text="".join(part.text for part in first.content.parts) if first is not None else "",
        candidates=len(message.candidates),
        finish_reason=_word(protos.Candidate.FinishReason(first.finish_reason)) if first is not None else "",
        blocked=_word(reasons(feedback.block_reason)) if feedback.block_reason else None,
        input_tokens=usage.prompt_token_count,
        # Its messages do not know of thoughts, but the total counts them.
        output_tokens=max(usage.candidates_token_count, usage.total_token_count - usage.prompt_token_count),
        model_version=message.model_version,
    )


def _word(enum: Any) -> str:
    return str(getattr(enum, "name", enum))
