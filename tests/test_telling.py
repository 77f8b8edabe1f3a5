"""A service manager's view of a daemon: when it is ready, what it says, and that a stuck hub is found out."""

from __future__ import annotations

import itertools
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callengine.notify import Notifier
from callengine.standin.launch import launch
from callengine.telling import READY_ANYWAY_S, Standing, Telling
from tests.acceptance.daemon import Daemon, free_port

# The daemon, and on SIGUSR1 a greenlet that holds the hub, as a lock in C or an endless loop would.
_STUCK = """\
import callengine.patched
import signal, sys, gevent
from gevent import monkey
def an_hour_in_the_hub():
    monkey.get_original("time", "sleep")(3600)
gevent.signal_handler(signal.SIGUSR1, an_hour_in_the_hub)
from callengine.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_WATCHDOG_S = 1.0


class Manager:
    """systemd's end of the socket."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self.said: list[tuple[float, str]] = []

    def listen(self, seconds: float, until: Callable[[str], bool] = lambda _: False) -> str | None:
        """The message that ``until`` was waiting for; None: it did not come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message = self._socket.recv(4096).decode()
            except TimeoutError:
                break
            self.said.append((time.monotonic(), message))
            if until(message):
                return message
        return None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@contextmanager
def daemon(folder: Path, manager: Manager, port: int) -> Iterator[Daemon]:
    """One that a manager would start; not started yet."""
    told = {"NOTIFY_SOCKET": str(manager.address), "WATCHDOG_USEC": str(int(_WATCHDOG_S * 1e6))}
    state = folder / "state"
    state.mkdir(exist_ok=True)
    made = Daemon(state, f"[esl]\nport = {port}\nbackoff_max_s = 0.5\n", told, program=("-c", _STUCK))
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()


def is_ready(message: str) -> bool:
    return "READY=1" in message.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_log_says_what_stopped_it(tmp_path: Path, manager: Manager, number: signal.Signals) -> None:
    with daemon(tmp_path, manager, free_port()) as made:
        made.start(wait=False)
        assert made.process is not None
        until = time.monotonic() + 30
        while "serving on" not in made.said() and time.monotonic() < until:
            time.sleep(0.05)
        made.process.send_signal(number)
        assert made.process.wait(timeout=40) == 0
        assert f'"stopping: {number.name}"' in made.said()


def test_ready_once_the_book_was_compared_with_the_switch(tmp_path: Path, manager: Manager) -> None:
    port = free_port()
    with daemon(tmp_path, manager, port) as made:
        made.start(wait=False)
        away = f"STATUS=waiting for the switch: no connection to FreeSWITCH at 127.0.0.1:{port}"
        assert manager.listen(30, lambda text: text.startswith(away)) is not None
        said = "\n".join(message for _, message in manager.said)
        assert "STATUS=opening the database" in said
        assert "READY" not in said
        assert "EXTEND_TIMEOUT_USEC=" in said
        made.hangup()
        assert manager.listen(1, lambda text: "READY=1" in text or "RELOADING" in text) is None
        with launch(["--port", str(port)]):
            ready = manager.listen(30, is_ready)
            assert ready == "READY=1\nSTATUS=standin: 0 calls live"
            assert made.is_ready()
        assert manager.listen(30, lambda text: text.startswith("STATUS=waiting for the switch")) is not None
        assert made.stop() == 0
        assert manager.listen(2, lambda text: text.startswith("STOPPING=1")) is not None


def test_a_stuck_hub_starves_the_watchdog_and_the_log_says_where(tmp_path: Path, manager: Manager) -> None:
    with launch([]) as switch, daemon(tmp_path, manager, switch.port) as made:
        made.start(wait=False)
        assert manager.listen(30, is_ready) is not None
        manager.said.clear()
        manager.listen(3)
        fed = [at for at, message in manager.said if message == "WATCHDOG=1"]
        assert max(b - a for a, b in itertools.pairwise(fed)) < _WATCHDOG_S, "a hub at work is left alone"
        assert made.process is not None
        made.process.send_signal(signal.SIGUSR1)
        manager.listen(0.5)
        assert manager.listen(2 * _WATCHDOG_S, lambda text: text == "WATCHDOG=1") is None
        assert made.process.poll() is None
        # What systemd does then.
        made.process.send_signal(signal.SIGABRT)
        assert made.process.wait(timeout=10) == -signal.SIGABRT
        assert "an_hour_in_the_hub" in made.said()
        # And then: it starts another.
        made.start(wait=False)
        assert manager.listen(30, is_ready) is not None
        assert made.stop() == 0


class Scripted:
    """A clock that goes on by itself, and what systemd is told meanwhile."""

    def __init__(self, standings: Callable[[float], Standing]) -> None:
        self.now = 0.0
        self.said: list[tuple[float, str]] = []
        notifier = Notifier({})
        notifier._send = lambda *parts: self.said.append((self.now, parts[0]))  # type: ignore[method-assign]
        self.telling = Telling(notifier, clock=lambda: self.now, sleep=self._sleep)
        self.telling.standing = lambda: standings(self.now)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > 10 * READY_ANYWAY_S:
            raise TimeoutError

    def ready_at(self) -> float | None:
        with pytest.raises(TimeoutError):
            self.telling.run()
        return next((at for at, said in self.said if said == "READY=1"), None)


@pytest.mark.parametrize(
    ("standings", "ready_s"),
    [
        (lambda now: Standing(now >= 2, False, "x"), 2.0),
        (lambda now: Standing(False, True, "waiting for the switch"), READY_ANYWAY_S),
        (lambda now: Standing(False, False, "waiting for what an earlier life left in the spool"), None),
        (lambda now: Standing(False, now % 2 < 1, "waiting for a switch that flaps"), 2 * READY_ANYWAY_S),
        (lambda now: Standing(now >= 200, now < 20, "a switch, and then a long spool"), 200.0),
    ],
    ids=["compared", "away", "at work", "flapping", "away, then at work"],
)
def test_when_it_is_ready(standings: Callable[[float], Standing], ready_s: float | None) -> None:
    scripted = Scripted(standings)
    at = scripted.ready_at()
    assert at == (ready_s if ready_s is None else pytest.approx(ready_s, abs=1.0))
    put_off = [when for when, said in scripted.said if said.startswith("EXTEND_TIMEOUT_USEC=")]
    gaps = [b - a for a, b in itertools.pairwise(put_off)]
    assert max(gaps, default=0.0) < 30, "the start would have timed out"
