"""The recordings of a call, made ready for the analysis: on the disk as they are, or fetched from the bucket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import BinaryIO, Protocol

from callengine.errors import RecordingMissing
from callengine.recordings.paths import Folders
from callengine.store.analyses import Playable

Opener = Callable[[], BinaryIO]
"""Opens a regular file at its beginning. Blocks: it is called in a native thread. Raises RecordingError."""


class Files(Protocol):
    """Whoever makes recordings ready."""

    def ready(self, recordings: Sequence[Playable]) -> AbstractContextManager[list[Opener]]:
        """One opener a recording, good within the context. Called on the hub, may wait; RecordingError, BucketError."""
        ...


class Bucket(Protocol):
    """Whoever fetches what lies in the bucket."""

    def download(self, key: str, descriptor: int, sha256: str, size: int) -> None:
        """Writes the object into the open file, off the hub. Raises BucketError."""
        ...


class RecordingFiles:
    """``bucket`` is None where nothing is kept in one."""

    def __init__(self, folders: Folders, bucket: Bucket | None = None) -> None:
        self._folders = folders
        self._bucket = bucket

    @contextmanager
    def ready(self, recordings: Sequence[Playable]) -> Iterator[list[Opener]]:
        """As ``Files`` has it. What is fetched lies in files without a name, which are gone with the context."""
        with ExitStack() as stack:
            openers = []
            for recording in recordings:
                if recording.storage == "s3":
                    file = stack.enter_context(tempfile.TemporaryFile(prefix="callengine-"))
                    openers.append(self._fetched(recording, file.fileno()))
                else:
                    openers.append(self._local(recording))
            yield openers

    def _local(self, recording: Playable) -> Opener:
        def opened() -> BinaryIO:
            # Not what another call, perhaps another tenant's, was recorded to under the same name since.
            descriptor, _ = self._folders.open_same(self._folders.ours(recording.path), recording.sha256)
            return os.fdopen(descriptor, "rb")

        return opened

    def _fetched(self, recording: Playable, descriptor: int) -> Opener:
        if self._bucket is None or recording.object_key is None or recording.sha256 is None:
            raise RecordingMissing(recording.path)
        self._bucket.download(recording.object_key, descriptor, recording.sha256, recording.bytes)

        def opened() -> BinaryIO:
            # Opened anew by its number: one that shared the place to read at would disturb another.
            return open(f"/proc/self/fd/{descriptor}", "rb")

        return opened
