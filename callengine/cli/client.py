"""A small client of the API, for ``callengine call`` and the demo. One connection, every wait bounded, no redirects."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from callengine.cli.exits import FAILED, NOT_FOUND, UNAVAILABLE, USAGE, Failed

_MAX_BYTES = 64 << 20


class Answer(NamedTuple):
    """What came back: the status, and the JSON of the body (None where there is none)."""

    status: int
    data: Any


class NotAnswered(Failed):
    """The daemon did not answer; what was asked of it may have happened all the same."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url} ({reason}): is the daemon running there?", UNAVAILABLE)


class Refused(Failed):
    """The daemon answered with an error. ``status`` is the HTTP status."""

    def __init__(self, status: int, problem: Any) -> None:
        self.status = status
        super().__init__(_reason(status, problem), _CODES.get(status, FAILED))


_CODES = {404: NOT_FOUND, 429: UNAVAILABLE, 502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE}


def _reason(status: int, problem: Any) -> str:
    words = http.client.responses.get(status, "")
    said = problem if isinstance(problem, dict) else {}
    detail = said.get("detail") or said.get("title") or "no reason given"
    errors = said.get("errors")
    if isinstance(errors, list):
        detail = "; ".join([str(detail), *(_error_line(error) for error in errors if not _is_said(error, detail))])
    return f"{status} {words}: {detail}"


def _is_said(error: Any, detail: object) -> bool:
    """Whether the one fault there is stands in ``detail`` in the same words."""
    return isinstance(error, dict) and bool(error.get("msg")) and str(error["msg"]) in str(detail)


def _error_line(error: Any) -> str:
    """`body.destination: …` from RFC 9457's extension as the API fills it."""
    if not isinstance(error, dict):
        return str(error)
    return f"{'.'.join(str(part) for part in error.get('loc', []))}: {error.get('msg')}"


class Client:
    """Speaks to the daemon at ``url`` with the API key ``key``."""

    def __init__(self, url: str, key: str, timeout_s: float = 15.0) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise Failed("the URL must begin with http:// or https:// and a host", USAGE)
        if not key.isascii() or not key.isprintable():
            raise Failed("the key is no API key: it has characters that none has", USAGE)
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self.timeout_s = timeout_s
        self._headers = {"Accept": "application/json", "User-Agent": "callengine-cli"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=timeout_s)

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The JSON under ``path``. Raises ``Refused`` and ``NotAnswered``."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        fresh = self._connection.sock is None
        try:
            answer = self.ask("GET", target)
        except NotAnswered:
            if fresh:
                raise
            answer = self.ask("GET", target)  # the server had closed the idle connection; reading twice does no harm
        return _checked(answer)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
        """Posts JSON on a connection of its own, once: a call asked for twice would be two calls."""
        self.close()
        return _checked(self.ask("POST", path, body, headers))

    def ask(self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request, whatever its status. Raises ``NotAnswered``."""
        content = None if body is None else json.dumps(body).encode()
        kind = {} if content is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(
                method, self._prefix + target, content, {**self._headers, **kind, **(headers or {})}
            )
            response = self._connection.getresponse()
            raw = response.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NotAnswered(
                self.url, getattr(error, "strerror", None) or str(error) or type(error).__name__
            ) from None
        try:
            return Answer(response.status, json.loads(raw) if raw else None)
        except ValueError:
            return Answer(response.status, None)

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        self._connection.close()


def _checked(answer: Answer) -> Any:
    if answer.status >= 400:
        raise Refused(answer.status, answer.data)
    if not isinstance(answer.data, dict):
        raise Failed("the answer is not the API's: does the URL name callengine?", FAILED)
    return answer.data


def segment(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")
