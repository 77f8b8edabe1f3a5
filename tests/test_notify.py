"""What systemd is told, over a socket that is a real one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address as systemd writes it, and its end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        if request.param == "path":
            address = str(tmp_path / "notify")
            receiver.bind(address)
        else:
            receiver.bind("")  # the kernel chooses a name in the abstract namespace
            address = "@" + receiver.getsockname()[1:].decode()
        receiver.settimeout(2)
        yield address, receiver


def test_what_is_said(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("serving\non 8088")
    assert receiver.recv(999) == b"READY=1\nSTATUS=serving on 8088"
    notifier.status("12 calls")
    assert receiver.recv(999) == b"STATUS=12 calls"
    notifier.watchdog()
    assert receiver.recv(999) == b"WATCHDOG=1"
    notifier.reloading()
    first, moment = receiver.recv(999).split(b"\nMONOTONIC_USEC=")
    assert first == b"RELOADING=1"
    assert 0 <= time.monotonic() - int(moment) / 1e6 < 60
    notifier.stopping()
    assert receiver.recv(999) == b"STOPPING=1\nSTATUS=stopping"


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_systemd_it_says_nothing(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    notifier.ready("x")
    assert notifier.watchdog_interval_s is None


def test_systemd_gone_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).watchdog()
    assert "WATCHDOG=1" in caplog.text


def test_a_full_socket_does_not_wait(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(2000):  # far beyond net.unix.max_dgram_qlen
            notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/notify"} | environ).watchdog_interval_s == interval_s
