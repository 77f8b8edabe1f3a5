"""The Files API: resumable uploads, and the files that came of them, kept on disk until they are deleted."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from callengine.standin.gemini.behaviours import ApiError, Behaviour, chosen

GRANULARITY_BYTES: Final = 8 * 1024 * 1024
"""Each part of an upload but the last is a multiple of this, as Google's answer to ``start`` says."""

_NAME: Final = re.compile(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_READ_BYTES: Final = 1 << 20
_MAX_BYTES: Final = 2 * 1024**3
_KEPT: Final = timedelta(hours=48)


@dataclass(slots=True)
class StoredFile:
    """One file of the Files API."""

    name: str
    display_name: str
    mime_type: str
    size_bytes: int
    path: Path
    active_at: float
    sha256: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def behaviour(self) -> Behaviour:
        return chosen(self.display_name)

    @property
    def state(self) -> str:
        wanted = self.behaviour.file
        if wanted == "stuck" or time.monotonic() < self.active_at:
            return "PROCESSING"
        return "FAILED" if wanted == "failed" else "ACTIVE"

    def resource(self, base_url: str, version: str) -> dict[str, Any]:
        """``File`` of the REST reference."""
        shown = {
            "name": self.name,
            "displayName": self.display_name,
            "mimeType": self.mime_type,
            "sizeBytes": str(self.size_bytes),
            "createTime": _instant(self.created),
            "updateTime": _instant(self.created),
            "expirationTime": _instant(self.created + _KEPT),
            "sha256Hash": base64.b64encode(self.sha256.encode()).decode(),
            "uri": f"{base_url}/{version}/{self.name}",
            "state": self.state,
            "source": "UPLOADED",
        }
        return {key: value for key, value in shown.items() if value != ""}


@dataclass(slots=True)
class Upload:
    """An upload that has begun."""

    id: str
    file: StoredFile
    out: BinaryIO
    digest: Any
    received: int = 0


class Files:
    """All files and unfinished uploads; its methods may be called from any thread."""

    def __init__(self, folder: Path, *, processing_s: float) -> None:
        self._folder = folder
        self._processing_s = processing_s
        self._lock = threading.Lock()
        self._files: dict[str, StoredFile] = {}
        self._uploads: dict[str, Upload] = {}

    def start(self, described: dict[str, Any], size_bytes: int, mime_type: str) -> Upload:
        """Raises ApiError where Google would refuse the name, the size or the type."""
        name = described.get("name") or f"files/{secrets.token_hex(6)}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ApiError(400, "file.name must be files/ and up to 40 lowercase letters, digits and inner dashes.")
        if not mime_type:
            raise ApiError(400, "Unsupported MIME type: none was given.")
        if not 0 < size_bytes <= _MAX_BYTES:
            raise ApiError(400, "The size of the file is out of range.")
        upload_id = secrets.token_urlsafe(24)
        path = self._folder / secrets.token_hex(16)
        file = StoredFile(name, str(described.get("displayName") or ""), mime_type, size_bytes, path, 0.0)
        file.behaviour.check()
        with self._lock:
            if name in self._files or any(upload.file.name == name for upload in self._uploads.values()):
                raise ApiError(409, "A file of that name exists.")
            upload = Upload(upload_id, file, path.open("wb"), hashlib.sha256())
            self._uploads[upload_id] = upload
        return upload

    def upload(self, upload_id: str) -> Upload:
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None:
            raise ApiError(404, "There is no such upload.")
        return upload

    def part(self, upload: Upload, offset: int, length: int, read: Callable[[int], bytes], *, last: bool) -> bool:
        """Take one part from ``read``; True when the file is complete. A broken connection leaves the part out."""
        if offset != upload.received:
            raise ApiError(400, "X-Goog-Upload-Offset is not where the upload stands.")
        if not last and (length == 0 or length % GRANULARITY_BYTES):
            raise ApiError(400, "The part is no multiple of X-Goog-Upload-Chunk-Granularity.")
        left = length
        while left:
            got = read(min(left, _READ_BYTES))
            if not got:
                self.cancel(upload)
                raise ConnectionError("the upload broke off")
            upload.out.write(got)
            upload.digest.update(got)
            left -= len(got)
        upload.received += length
        if last:
            self._finish(upload)
        return last

    def _finish(self, upload: Upload) -> None:
        file = upload.file
        if upload.received != file.size_bytes:
            self.cancel(upload)
            raise ApiError(400, "The upload is not as long as it was said to be.")
        upload.out.close()
        file.sha256 = upload.digest.hexdigest()
        file.active_at = time.monotonic() + self._processing_s
        with self._lock:
            self._uploads.pop(upload.id, None)
            self._files[file.name] = file

    def cancel(self, upload: Upload) -> None:
        with self._lock:
            self._uploads.pop(upload.id, None)
        upload.out.close()
        upload.file.path.unlink(missing_ok=True)

    def get(self, name: str) -> StoredFile:
        """Raises ApiError 403: Google does not tell a missing file from somebody else's."""
        with self._lock:
            file = self._files.get(name)
        if file is None:
            raise ApiError(403, f"You do not have permission to access the File {name[-40:]} or it may not exist.")
        return file

    def delete(self, name: str) -> None:
        file = self.get(name)
        if file.behaviour.file == "undeletable":
            raise ApiError(503, "Simulated: this file's display name asks for it not to be deleted.")
        with self._lock:
            self._files.pop(name, None)
        file.path.unlink(missing_ok=True)

    def all(self) -> list[StoredFile]:
        with self._lock:
            return list(self._files.values())


def _instant(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")
