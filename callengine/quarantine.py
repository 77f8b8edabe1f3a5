"""What could not be handled, set aside with its bytes and the reason: nothing is lost, the next goes on."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path

import orjson
from gevent import get_hub

log = logging.getLogger(__name__)

_MAX_FILES = 1000
_MAX_WAITING = 100
_SHOWN_REASON = 300


class Quarantine:
    """A folder of what was set aside: for each a ``.bin`` with its bytes and a ``.json`` with kind, time and reason.

    A kind is ``event`` or ``cdr``.

    Bounded in files; what comes beyond is still counted (the metric ``callengine_poison``) and logged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._waiting = 0

    def keep(self, body: bytes, reason: str) -> None:
        """Set one event aside. Written by a thread: never waits, never raises."""
        log.error("an event of %d bytes is set aside: %s", len(body), reason[:_SHOWN_REASON])
        if self._waiting >= _MAX_WAITING:
            return
        self._waiting += 1
        result = get_hub().threadpool.spawn(self.write, body, reason, "event", time.time())
        result.rawlink(lambda _: self._written())

    def _written(self) -> None:
        self._waiting -= 1

    def write(self, body: bytes, reason: str, kind: str, at_s: float) -> bool:
        """Set something aside, in a native thread: blocks. False where there is no room, or the disk refuses."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if sum(1 for _ in self.directory.glob("*.bin")) >= _MAX_FILES:
                return False
            stem = f"{int(at_s * 1000)}-{hashlib.blake2b(body, digest_size=6).hexdigest()}"
            for suffix, content in (
                (".bin", body),
                (
                    ".json",
                    orjson.dumps({"kind": kind, "at": at_s, "reason": reason[:_SHOWN_REASON], "bytes": len(body)}),
                ),
            ):
                fd = os.open(self.directory / (stem + suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(content)
        except OSError as error:
            log.error("what cannot be handled could not be set aside in %s: %s", self.directory, error.strerror)
            return False
        return True
