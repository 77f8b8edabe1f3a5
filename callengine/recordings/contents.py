"""Which content the files have that were hashed: a path is no identity, any later call may be recorded under it.

Hashed again is only what the system says was changed since. For native threads: everything here blocks.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

from callengine.recordings.probe import sha256_of

Stamp = tuple[int, int, int, int, int]

REMEMBERED: Final = 20_000
"""Files whose hash is remembered, at most; those that were used last."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Which file it is, and when it was last changed. The time of change too: that of the content can be set."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Contents:
    """The SHA-256 (hex) of files, by their stamp."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._hashes: OrderedDict[Stamp, str] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, stamp: Stamp) -> str | None:
        """The hash of the file, if it was hashed as it is now. Does not block for long."""
        with self._lock:
            sha256 = self._hashes.get(stamp)
            if sha256 is not None:
                self._hashes.move_to_end(stamp)
            return sha256

    def learn(self, stamp: Stamp, sha256: str) -> None:
        """That file has that content."""
        with self._lock:
            self._hashes[stamp] = sha256
            self._hashes.move_to_end(stamp)
            while len(self._hashes) > self._remembered:
                self._hashes.popitem(last=False)

    def of(self, descriptor: int, status: os.stat_result) -> str:
        """The hash of the open file, ``status`` being what it was opened with. Raises OSError."""
        stamp = stamp_of(status)
        if (sha256 := self.known(stamp)) is not None:
            return sha256
        sha256 = sha256_of(descriptor)
        if stamp_of(os.fstat(descriptor)) == stamp:
            self.learn(stamp, sha256)
        return sha256
