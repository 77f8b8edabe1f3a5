"""What the API serves recordings from: the store says which, the disk or the bucket has it, the signer lets in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from callengine.errors import BucketError
from callengine.recordings.paths import Folders
from callengine.recordings.reading import OpenFile, Reading
from callengine.recordings.s3 import Bucket
from callengine.recordings.signing import Signer
from callengine.store import recordings
from callengine.store.database import Store

_READ_TIMEOUT_S: Final = 10.0


class Served(NamedTuple):
    """A recording, as its link shows it. ``path`` is the switch's, ``key`` the object's where it is in a bucket."""

    id: str
    call_id: str
    status: str
    storage: str
    path: str
    key: str | None
    format: str
    sha256: str | None
    bytes: int | None


class Serving:
    """Satisfies ``api.services.Recordings``; ``url`` is its ``Services.recording_url``."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        folders: Folders,
        reading: Reading,
        bucket: Bucket | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._signer = signer
        self._folders = folders
        self._reading = reading
        self._bucket = bucket
        self._now_s = now_s

    def sign_with(self, signer: Signer) -> None:
        """The keys, or how long links work, were changed."""
        self._signer = signer

    def url(self, recording_id: str) -> str:
        """A link to the recording, signed now."""
        return self._signer.url(recording_id, self._now_s())

    def verify(self, recording_id: str, expires: str, signature: str) -> None:
        """Raises ``LinkInvalid`` or ``LinkExpired`` unless we made a link of these."""
        self._signer.verify(recording_id, expires, signature, self._now_s())

    def find(self, recording_id: str) -> Served | None:
        """The recording of that id. Raises ``StoreUnavailable``."""
        row = self._store.run(lambda db: recordings.find(db, recording_id), _READ_TIMEOUT_S)
        if row is None:
            return None
        ending = row.path.rpartition("/")[2].rpartition(".")[2].lower()
        return Served(
            row.id,
            row.call_id,
            row.status,
            row.storage or "disk",
            row.path,
            row.object_key,
            ending,
            row.sha256,
            row.bytes,
        )

    def open(self, file: Served) -> OpenFile:
        """Opens what is on disk, if it still is what was found there. Raises the ``RecordingError`` tree."""
        return self._reading.open(self._folders.ours(file.path), file.sha256)

    def presigned(self, file: Served, filename: str, content_type: str, method: str) -> str:
        """The bucket's own URL. Raises ``BucketError``, also where the settings no longer name a bucket."""
        if self._bucket is None or file.key is None:
            raise BucketError("presigning", "NoBucketConfigured")
        return self._bucket.presigned(file.key, filename, content_type, method)
