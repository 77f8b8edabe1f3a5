"""The demo's child processes: started apart from the terminal's signals, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from callengine.cli.exits import Failed

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 8
_TAIL_BYTES = 16_384


def _dies_with_us() -> Callable[[], None] | None:
    """What makes the kernel end the child where we are killed ourselves (Linux); looked up before the fork."""
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def own_module(*arguments: str) -> list[str]:
    """A command line for ``python -m``, the first of ``arguments`` being a module of ours.

    It does not look in the current directory: beside a checkout, that has a folder of our name.
    """
    return [sys.executable, "-P", "-m", *arguments]


class Child:
    """One process. What it prints goes into ``log``."""

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                own_module(*arguments),
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle
                preexec_fn=_dies_with_us(),  # no thread of ours runs yet
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises ``Failed`` with its last words where it has ended."""
        if (code := self.exit_code) is not None:
            raise Failed(f"{self.name} ended unasked with exit code {code}; it said:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
            return "\n".join("  " + "".join(c for c in line if c.isprintable()) for line in lines)
        return "  (none)"

    def stop(self, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL where it has not ended in time."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def wait_for(what: str, done: Callable[[], bool], child: Child, stopping: Callable[[], bool], timeout_s: float) -> bool:
    """Until ``done``; False where we are told to stop meanwhile.

    Raises ``Failed``, with the child's last words, where it ends or time is up.
    """
    until = time.monotonic() + timeout_s
    while not done():
        child.check()
        if stopping():
            return False
        if time.monotonic() > until:
            raise Failed(f"{what} did not come within {timeout_s:g} s; {child.name} said:\n{child.last_words()}")
        time.sleep(0.1)
    return True


def is_listening(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_free(port: int) -> bool:
    """Whether we could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
