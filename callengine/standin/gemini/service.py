"""The routes of the REST API: which request is for what, with which key, and what is written down about it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from callengine.standin.gemini import checks, generate
from callengine.standin.gemini.behaviours import ApiError, Behaviour, chosen, error_info
from callengine.standin.gemini.files import GRANULARITY_BYTES, Files, Upload
from callengine.standin.gemini.journal import Journal

_MAX_BODY_BYTES: Final = 20 * 1024 * 1024
_MAX_COUNTED: Final = 10_000


@dataclass(slots=True)
class Request:
    """One request, its body not yet read: ``read(n)`` gives up to ``n`` more bytes of it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int
    read: Callable[[int], bytes]
    base_url: str
    fields: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fields = parse_qs(self.query)

    def json(self) -> Any:
        if self.length > _MAX_BODY_BYTES:
            raise ApiError(400, f"Request payload size exceeds the limit: {_MAX_BODY_BYTES} bytes.")
        body = bytearray()
        while len(body) < self.length and (got := self.read(self.length - len(body))):
            body += got
        if len(body) < self.length:
            raise ConnectionError("the request broke off")
        try:
            return json.loads(bytes(body) or b"{}")
        except ValueError:
            raise ApiError(400, "Invalid JSON payload received.") from None


@dataclass(slots=True)
class Reply:
    """What is answered, and how the bytes of it get out (``wire``, see behaviours)."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    wire: str | None = None


class Service:
    """Answers requests; called from a thread a connection."""

    def __init__(self, files: Files, journal: Journal, *, key: str | None, latency_s: float) -> None:
        self._files = files
        self._journal = journal
        self._key = key
        self._latency_s = latency_s
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}
        self.stopping = threading.Event()
        """Set when the process ends: whoever waits, wakes up."""

    def reply(self, request: Request) -> Reply:
        """Raises ConnectionError if the client is gone; every other outcome is a Reply."""
        if request.method == "GET" and request.path in {"/_log", "/_files"}:
            return Reply(200, self._told(request))
        note: dict[str, Any] = {"method": request.method, "path": request.path, "bytes": request.length}
        try:
            reply = self._routed(request, note)
        except ApiError as error:
            reply = Reply(error.status, error.body)
            if note.get("route", "").startswith("upload"):
                reply.headers["X-Goog-Upload-Status"] = "final"
        except ConnectionError:
            self._journal.add({**note, "status": 0})
            raise
        self._journal.add({**note, "status": reply.status, **({"wire": reply.wire} if reply.wire else {})})
        return reply

    def _told(self, request: Request) -> Any:
        if request.path == "/_log":
            return self._journal.entries()
        return [file.resource(request.base_url, "v1beta") for file in self._files.all()]

    def _routed(self, request: Request, note: dict[str, Any]) -> Reply:
        if request.fields.get("upload_id"):
            note["route"] = "upload.part"
            return self._part(request, self._files.upload(request.fields["upload_id"][0]), note)
        note["key"] = self._checked_key(request)
        checks.deadline(request.headers)
        if found := re.fullmatch(r"/upload/(v1|v1beta)/files", request.path):
            note["route"] = "upload.start"
            return self._start(request, found[1], note)
        if found := re.fullmatch(r"/(v1|v1beta)/models/([^/:]+):generateContent", request.path):
            note["route"], note["model"] = "generateContent", found[2]
            return self._generate(request, chosen(found[2]), note)
        if request.method == "GET" and (found := re.fullmatch(r"/(?:v1|v1beta)/models/([^/:]+)", request.path)):
            note["route"], note["model"] = "models.get", found[1]
            chosen(found[1]).check()
            return Reply(200, {"name": f"models/{found[1]}", "version": "simulated", "displayName": "Simulated"})
        if found := re.fullmatch(r"/(v1|v1beta)/files(?:/([^/]+))?", request.path):
            return self._file(request, found[1], found[2], note)
        raise ApiError(404, "The requested URL was not found on this server.")

    def _checked_key(self, request: Request) -> str:
        """How the key came: ``header`` or ``query``."""
        header, query = request.headers.get("x-goog-api-key"), request.fields.get("key")
        given = header or (query[0] if query else None)
        if not given:
            raise ApiError(403, "Method doesn't allow unregistered callers.")
        if self._key is not None and given != self._key:
            raise ApiError(400, "API key not valid. Please pass a valid API key.", [error_info("API_KEY_INVALID")])
        return "header" if header else "query"

    # -- files ---------------------------------------------------------------------------------------------------------

    def _start(self, request: Request, version: str, note: dict[str, Any]) -> Reply:
        headers = request.headers
        if headers.get("x-goog-upload-protocol") != "resumable" or headers.get("x-goog-upload-command") != "start":
            raise ApiError(400, "X-Goog-Upload-Protocol: resumable and X-Goog-Upload-Command: start are expected.")
        body = checks.named(request.json(), {"file"}, "request")
        described = checks.named(
            body.get("file") or {}, {"name", "displayName", "mimeType", "sizeBytes"}, "request.file"
        )
        note["name"] = described.get("name")
        size = headers.get("x-goog-upload-header-content-length", "")
        mime_type = headers.get("x-goog-upload-header-content-type") or described.get("mimeType") or ""
        upload = self._files.start(described, int(size) if size.isdigit() else 0, str(mime_type))
        return Reply(
            200,
            {},
            {
                "X-Goog-Upload-URL": f"{request.base_url}/upload/{version}/files?upload_id={upload.id}",
                "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY_BYTES),
            },
        )

    def _part(self, request: Request, upload: Upload, note: dict[str, Any]) -> Reply:
        note["name"] = upload.file.name
        words = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
        if not words <= {"upload", "finalize"} or not words:
            raise ApiError(400, "X-Goog-Upload-Command is not one that this stand-in knows.")
        offset = request.headers.get("x-goog-upload-offset", "")
        length = request.length if "upload" in words else 0
        complete = self._files.part(
            upload, int(offset) if offset.isdigit() else -1, length, request.read, last="finalize" in words
        )
        wire = upload.file.behaviour.wire
        self.stopping.wait(upload.file.behaviour.slow_ms / 1000)
        if not complete:
            return Reply(200, {}, {"X-Goog-Upload-Status": "active"}, wire)
        resource = upload.file.resource(request.base_url, "v1beta")
        return Reply(200, {"file": resource}, {"X-Goog-Upload-Status": "final"}, wire)

    def _file(self, request: Request, version: str, last: str | None, note: dict[str, Any]) -> Reply:
        name = f"files/{last}"
        if last is None:
            note["route"] = "files.list"
            return Reply(200, {"files": [file.resource(request.base_url, version) for file in self._files.all()]})
        note["route"], note["name"] = f"files.{request.method.lower()}", name
        file = self._files.get(name)
        self.stopping.wait(file.behaviour.slow_ms / 1000)
        if request.method == "DELETE":
            self._files.delete(name)
            return Reply(200, {})
        return Reply(200, file.resource(request.base_url, version))

    # -- generateContent -----------------------------------------------------------------------------------------------

    def _generate(self, request: Request, behaviour: Behaviour, note: dict[str, Any]) -> Reply:
        asked = generate.read(request.json(), self._files)
        note["recordings"] = len(asked.recordings)
        until = time.monotonic() + self._latency_s + behaviour.slow_ms / 1000
        behaviour.check()
        if self._count(note["model"] + asked.digest) <= behaviour.flaky:
            raise ApiError(503, "Simulated: this model's name asks for some failures first.")
        numbers = "enum-encoding=int" in (request.fields.get("$alt") or [""])[0]
        body = generate.answer(asked, behaviour, numbers=numbers)
        self.stopping.wait(max(0.0, until - time.monotonic()))
        return Reply(200, body, wire=behaviour.wire)

    def _count(self, what: str) -> int:
        """How often it was asked for, this time included."""
        with self._lock:
            if len(self._counted) >= _MAX_COUNTED:
                self._counted.pop(next(iter(self._counted)))
            self._counted[what] = self._counted.get(what, 0) + 1
            return self._counted[what]
