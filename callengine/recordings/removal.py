"""Deleting the file of a recording, and no other that has taken its name meanwhile. Blocks: for a native thread."""

from __future__ import annotations

import os
from typing import NamedTuple

from callengine.errors import RecordingError, RecordingMissing
from callengine.recordings.paths import Folders
from callengine.recordings.probe import sha256_of


class Removed(NamedTuple):
    """``bytes``: of the file that was deleted; None where there was none, or another. ``problem``: why it stays."""

    bytes: int | None = None
    missing: bool = False
    problem: str | None = None


def remove(folders: Folders, switch_path: str, sha256: str | None) -> Removed:
    """Deletes the file if its content is still that of ``sha256``. Raises nothing that a file could cause."""
    try:
        path = folders.ours(switch_path)
        descriptor, status = folders.open(path)
        try:
            found = sha256_of(descriptor)
        finally:
            os.close(descriptor)
        if found != sha256:
            return Removed()
        folders.unlink(path)
    except RecordingMissing:
        return Removed(missing=True)
    except RecordingError as error:
        return Removed(problem=str(error))
    except OSError as error:
        return Removed(problem=error.strerror or type(error).__name__)
    return Removed(status.st_size)
