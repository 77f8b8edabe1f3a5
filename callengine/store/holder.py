"""Who this process is to the others on the database, and who it follows.

A lease outlives the process that held it by some seconds, in which nothing would be tracked. A process that gets the
lock of its state directory knows that whoever had it before is dead, and may take over at once what these held: also
what the last but one held, where the last was killed before it had taken that over itself.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from pathlib import Path
from typing import Final

_FILE: Final = "engine.lock"
_MAX_NAMES: Final = 8
_MAX_BYTES: Final = 4096


class Holder:
    """``name`` is this process's own, on any host; ``predecessors`` are known to be dead.

    The lock is the kernel's (flock): it ends with the process, however that ends.
    """

    def __init__(self, state_dir: Path) -> None:
        # Two containers can share a hostname and a process id.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.predecessors: frozenset[str] = frozenset()
        self._path = state_dir / _FILE
        self._descriptor: int | None = None
        self.claim()

    @property
    def alone(self) -> bool:
        """Whether no other process at work has the same state directory."""
        return self._descriptor is not None

    def claim(self) -> bool:
        """Tries to get the lock. False while another process has it, or where the file cannot be written."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = os.read(descriptor, _MAX_BYTES).decode("utf-8", "replace").split()[:_MAX_NAMES]
            written = "".join(f"{name}\n" for name in (self.name, *before)).encode()
            os.pwrite(descriptor, written, 0)
            os.ftruncate(descriptor, len(written))
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self.predecessors = frozenset(before)
        return True

    def release(self) -> None:
        """Gives the lock back; for tests, and for a process that goes on without an engine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def at_work(state_dir: Path) -> str | None:
    """The name of the engine that has that state directory at this moment; None: nobody has. Changes nothing."""
    try:
        descriptor = os.open(state_dir / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        names = os.read(descriptor, _MAX_BYTES).decode("utf-8", "replace").split()
        return names[0] if names else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None
