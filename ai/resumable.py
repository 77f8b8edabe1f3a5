"""Google's resumable upload protocol by hand, for google-generativeai.

That package's own upload first fetches a discovery document from an address that cannot be set, and puts the API key
into URLs, and thereby into the texts of its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import requests

from callengine.ai import faults
from callengine.ai.reading import Reader

CHUNK_BYTES: Final = 8 * 1024 * 1024
_GRANULARITY_MAX_BYTES: Final = 64 * 1024 * 1024


class Uploader:
    """Uploads through one session of requests; the key goes in a header, and only to ``base_url``."""

    def __init__(self, api_key: str, base_url: str) -> None:
        self._base_url = base_url
        self._key = {"x-goog-api-key": api_key}
        self.session = requests.Session()

    def upload(
        self, name: str, reader: Reader, display_name: str, mime_type: str, version: str, timeout_s: float
    ) -> dict[str, Any]:
        """Returns the ``File`` as JSON. ``timeout_s`` is for each read of the network.

        Raises AnalysisFault, and requests.RequestException.
        """
        started = self._post(
            f"{self._base_url}/upload/{version}/files",
            {
                **self._key,
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(reader.size_bytes),
                "X-Goog-Upload-Header-Content-Type": mime_type,
            },
            timeout_s,
            json={"file": {"name": name, "displayName": display_name}},
        )
        url = self._ours(started.headers.get("X-Goog-Upload-URL", ""))
        chunk_bytes = _chunk_bytes(started.headers.get("X-Goog-Upload-Chunk-Granularity", ""))
        while True:
            offset = reader.tell()
            part = reader.part(chunk_bytes)
            last = reader.tell() >= reader.size_bytes
            headers = {
                "X-Goog-Upload-Command": "upload, finalize" if last else "upload",
                "X-Goog-Upload-Offset": str(offset),
            }
            answer = self._post(url, headers, timeout_s, data=part)
            status = answer.headers.get("X-Goog-Upload-Status")
            if status != ("final" if last else "active"):
                raise faults.Transient("Gemini broke off an upload")
            if last:
                return _file(answer)

    def close(self) -> None:
        self.session.close()

    def _ours(self, url: str) -> str:
        """Where the upload goes on, at the address that was set: what stands between us and Google stays there."""
        parts = urlsplit(url)
        if not parts.netloc:
            raise faults.Transient("Gemini's answer could not be read (no upload URL)")
        base = urlsplit(self._base_url)
        return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))

    def _post(self, url: str, headers: Mapping[str, str], timeout_s: float, **body: Any) -> requests.Response:
        answer = self.session.post(url, headers=dict(headers), timeout=timeout_s, allow_redirects=False, **body)
        if answer.status_code != 200:
            raise faults.of_response(answer.status_code, body_of(answer), answer.headers.get("Retry-After"))
        return answer


def body_of(answer: requests.Response | None) -> Any:
    """The decoded JSON, None for what is none."""
    try:
        return answer.json() if answer is not None else None
    except ValueError:
        return None


def _chunk_bytes(granularity: str) -> int:
    """A multiple of what the server asks for, about ``CHUNK_BYTES``."""
    step = int(granularity) if granularity.isdigit() else 0
    if step > _GRANULARITY_MAX_BYTES:
        raise faults.Transient("Gemini asks for parts of an upload that are too large")
    return max(step, CHUNK_BYTES - CHUNK_BYTES % step) if step else CHUNK_BYTES


def _file(answer: requests.Response) -> dict[str, Any]:
    body = body_of(answer)
    file = body.get("file") if isinstance(body, dict) else None
    if not isinstance(file, dict):
        raise faults.Transient("Gemini's answer could not be read (no file)")
    return file
