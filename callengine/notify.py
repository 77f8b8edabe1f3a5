"""The service manager's side of ``Type=notify``: readiness, a status line, the watchdog. See sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Speaks to systemd, where it started us, and to nobody otherwise. Nothing here raises or waits."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval_s = _watchdog_interval_s(environ) if self._address else None
        """How often ``watchdog`` has to be called, in seconds: half of what systemd allows. ``None``: not at all."""
        self.is_ready = False
        """Whether ``ready`` was said."""

    def ready(self, status: str) -> None:
        """We serve; ``systemctl start`` returns."""
        self.is_ready = True
        self._send("READY=1", f"STATUS={_line(status)}")

    def put_off(self, seconds: float) -> None:
        """We are not ready yet, and will have said something more by ``seconds`` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> None:
        """We are alive."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """We read our settings again; ``reloaded`` says when that is done."""
        if self.is_ready:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """We have. Before we were ready it would say that we are: then it says nothing."""
        if self.is_ready:
            self.ready("reloaded")

    def stopping(self, status: str = "stopping") -> None:
        """We end, on purpose."""
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            log.warning("systemd could not be notified of %s: %s", assignments[0], error)


def _address(given: str) -> bytes | None:
    """A path, or a name in the abstract namespace, which begins with NUL and is written with ``@``."""
    if given.startswith("/"):
        return os.fsencode(given)
    if given.startswith("@"):
        return b"\0" + os.fsencode(given[1:])
    return None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    try:
        allowed_us = int(environ.get("WATCHDOG_USEC", ""))
        meant_for = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return allowed_us / 2e6 if allowed_us > 0 and meant_for == os.getpid() else None


def _line(text: str) -> str:
    """``text`` in one line: a line break would begin another assignment."""
    return " ".join(text.split())
