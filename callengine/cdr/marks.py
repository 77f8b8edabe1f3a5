"""Up to where something was done with, in a small file of the state folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

log = logging.getLogger(__name__)

_NAME = "cdr-marks.json"


class Marks:
    """Marks by name: of CDRs the time of change (ns since the epoch) by directory. Both methods block.

    Without the file, or with one that cannot be read, all is done anew, which changes nothing that is right.
    """

    def __init__(self, state: Path, name: str = _NAME) -> None:
        self._file = state / name

    def load(self) -> dict[str, int]:
        """What was saved last."""
        try:
            found = orjson.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s): CDRs are looked at anew", self._file, type(error).__name__)
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: at for name, at in found.items() if isinstance(at, int) and at >= 0}

    def save(self, marks: Mapping[str, int]) -> bool:
        """Puts them on the disk, all or nothing. False where that failed."""
        draft = self._file.with_suffix(".tmp")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(dict(marks)))
                file.flush()
                os.fsync(descriptor)
            draft.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written (%s): CDRs will be looked at again", self._file, error.strerror)
            with contextlib.suppress(OSError):
                draft.unlink()
            return False
        return True
