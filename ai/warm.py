"""A rehearsal in memory, while the daemon starts: what the packages build at first use would hold the hub for 20 ms."""

from __future__ import annotations

import tempfile
from typing import Any, Final

from callengine.ai.exchange import Backend
from callengine.ai.reading import Reader
from callengine.ai.sdk import Ask, Audio
from callengine.threads import Threads

_FILE: Final = {"name": "files/rehearsal", "uri": "http://localhost/x", "mimeType": "audio/wav", "state": "ACTIVE"}
_USAGE: Final = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
_CANDIDATE: Final = {"content": {"role": "model", "parts": [{"text": "{}"}]}, "finishReason": "STOP", "index": 0}
_ANSWER: Final = {"candidates": [_CANDIDATE], "usageMetadata": _USAGE, "modelVersion": "rehearsal"}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": ["string", "null"]}}},
    "required": ["a"],
}

UPLOAD_HEADERS: Final = {"X-Goog-Upload-URL": "http://localhost/upload/rehearsal", "X-Goog-Upload-Status": "final"}


def answer(method: str, path: str) -> dict[str, Any]:
    """What a server would answer, without one; to be sent with ``UPLOAD_HEADERS``."""
    if path.endswith(":generateContent"):
        return _ANSWER
    if method == "DELETE":
        return {}
    return {"file": _FILE} if "upload" in path else _FILE


def rehearse(backend: Backend) -> None:
    """Each call of a backend once; its connections have to be answered by ``answer``."""
    pool = Threads(1)
    with tempfile.TemporaryFile() as file:
        file.write(b"rehearsal")
        file.flush()
        audio = Audio(lambda: file, 9, "audio/wav", 0, "rehearsal")
        with Reader(pool, audio) as reader:
            stored = backend.upload("files/rehearsal", reader, audio, 10.0)
        backend.look(stored.name, 10.0)
        backend.generate(Ask("", _SCHEMA, (audio,), "rehearsal", 1, 10.0), [stored], 10.0)
        backend.remove(stored.name, 10.0)
    pool.kill()
