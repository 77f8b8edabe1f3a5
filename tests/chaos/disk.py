"""A small file system of its own, which can be filled to its last byte. Needs root, and the right to mount."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

log = logging.getLogger(__name__)

_BALLAST: Final = ".ballast"
_TOP_UP_S: Final = 0.05
_COMMAND_S: Final = 20.0
_PIECES_BYTES: Final = (1 << 20, 4096, 1)
_ZEROS: Final = bytes(_PIECES_BYTES[0])


class SmallDisk:
    """``megabytes`` of memory as the file system below ``folder``, which has to be there and empty; a context manager.

    Whatever was written there is gone at the end. Raises ``OSError`` if it cannot be mounted.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._options = f"size={megabytes}m,mode={stat.S_IMODE(folder.stat().st_mode):o}"
        self._mounted = False
        self._over = Event()
        self._filler: Thread | None = None
        self._ballast: int | None = None

    @staticmethod
    @cache
    def available() -> bool:
        """Whether this process may mount one: tried, since root alone does not mean so in a container."""
        if os.geteuid() != 0:
            return False
        with tempfile.TemporaryDirectory(prefix="callengine-disk-") as name:
            try:
                with SmallDisk(Path(name), 1):
                    return True
            except OSError:
                return False

    def __enter__(self) -> Self:
        owner = self.folder.stat()
        _run("mount", "-t", "tmpfs", "-o", self._options, "callengine-chaos", str(self.folder))
        self._mounted = True
        os.chown(self.folder, owner.st_uid, owner.st_gid)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.free()
        if self._mounted:
            self._mounted = False
            # Lazily: whoever still has a file open there keeps it until it is closed.
            _run("umount", "-l", str(self.folder))

    @property
    def free_bytes(self) -> int:
        """What anybody may still write."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def fill(self) -> None:
        """Returns when it is full. What is given back by others is taken every 50 ms, until ``free``."""
        if self._filler is not None:
            return
        self._ballast = os.open(self.folder / _BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._over.clear()
        self._top_up()
        self._filler = Thread(target=self._keep_full, name="small-disk", daemon=True)
        self._filler.start()

    def free(self) -> None:
        """Gives back all that ``fill`` took."""
        if self._filler is not None:
            self._over.set()
            self._filler.join(_COMMAND_S)
            self._filler = None
        if self._ballast is not None:
            os.close(self._ballast)
            self._ballast = None
            (self.folder / _BALLAST).unlink()

    def _keep_full(self) -> None:
        while not self._over.wait(_TOP_UP_S):
            self._top_up()

    def _top_up(self) -> None:
        assert self._ballast is not None
        for size in _PIECES_BYTES:
            try:
                # The last write of a size may be a part of it.
                while os.write(self._ballast, _ZEROS[:size]) and not self._over.is_set():
                    pass
            except OSError as error:
                log.debug("no more pieces of %d bytes: %s", size, error)


def _run(*words: str) -> None:
    """Raises OSError."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{words[0]} took longer than {_COMMAND_S:.0f} s") from error
    if done.returncode:
        raise OSError(f"{words[0]}: {done.stderr.strip()}")
