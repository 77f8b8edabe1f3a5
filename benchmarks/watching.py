"""What can be seen of a daemon from outside, ten times a second; for ``bench_outage``."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.acceptance.daemon import Daemon

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TIMEOUT_S: Final = 20.0


class Seen(NamedTuple):
    """One look: when (monotonic), what, and how much."""

    at_s: float
    what: str
    value: float


class Watch:
    """A context manager. ``switch_port`` is that of the event socket; ``readers`` are clients of the API that ask five
    times a second each. ``seen`` grows until the end.
    """

    def __init__(self, daemon: Daemon, switch_port: int, readers: int = 0) -> None:
        self._daemon = daemon
        self._readers = readers
        self._switch_port = switch_port
        self._host, _, port = daemon.url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.seen: list[Seen] = []
        self.words: set[str] = set()
        """What /readyz said of the database."""
        self.last: dict[str, float] = {}
        """The newest metrics."""

    def __enter__(self) -> Self:
        looks: list[tuple[Callable[[], None], float]] = [
            (self._livez, 0.1),
            (self._process, 0.1),
            (self._metrics, 0.5),
            (self._readyz, 0.5),
            (self._calls, 0.25),
            (self._ourselves, 0.02),
            *[(self._read, 0.2)] * self._readers,
        ]
        for look, every_s in looks:
            thread = threading.Thread(target=self._keep_looking, args=(look, every_s), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S + 5)

    def _keep_looking(self, look: Callable[[], None], every_s: float) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + every_s, time.monotonic())
            look()

    def _ourselves(self) -> None:
        """How late this process is itself: what a crowded machine adds to all other figures."""
        began = time.monotonic()
        time.sleep(0.005)
        self._add("ours_ms", (time.monotonic() - began - 0.005) * 1000)

    def _add(self, what: str, value: float) -> None:
        self.seen.append(Seen(time.monotonic(), what, value))

    # -- one look each -----------------------------------------------------------------------------------------------

    def _ask(self, what: str, path: str, *, key: bool = False) -> tuple[int, bytes]:
        """Over a connection of its own. 0 where there was no answer."""
        headers = {"Authorization": f"Bearer {self._daemon.key}"} if key else {}
        began = time.monotonic()
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            status, body = 0, b""
        finally:
            connection.close()
        self._add(f"{what}_ms", (time.monotonic() - began) * 1000)
        self._add(f"{what}_status", status)
        return status, body

    def _livez(self) -> None:
        self._ask("livez", "/livez")

    def _calls(self) -> None:
        self._ask("calls", "/v1/calls?page_size=25", key=True)

    def _read(self) -> None:
        self._ask("reader", "/v1/calls?page_size=25", key=True)

    def _readyz(self) -> None:
        status, body = self._ask("readyz", "/readyz", key=True)
        if body.startswith(b"{"):
            parts: dict[str, Any] = json.loads(body)["parts"]
            self.words.add(f"{status} {parts['database']}")
        else:
            self.words.add(f"{status} {body.decode().strip() or 'no answer'}")

    def _metrics(self) -> None:
        _, body = self._ask("metrics", "/metrics")
        lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, value in lines}
        if not found:
            return
        self.last = found
        for what, name in (
            ("depth", "callengine_writer_depth"),
            ("behind_s", "callengine_writer_oldest_seconds"),
            ("intake", "callengine_intake_events"),
            ("spilled", "callengine_intake_spilled_events"),
            ("lag_s", "callengine_intake_oldest_seconds"),
            ("spool_bytes", "callengine_spool_bytes"),
            ("data_as_of_s", "callengine_data_as_of_seconds"),
        ):
            if name in found:
                self._add(what, found[name])
        for name in ("callengine_hub_lateness_seconds", "callengine_event_lag_seconds"):
            count = found[f"{name}_count"]
            for bound in ("0.01", "0.05", "0.1"):
                self._add(f"{name}>{bound}", count - found[f'{name}_bucket{{le="{bound}"}}'])
            self._add(f"{name}_count", count)
        self._add("facts", sum(v for name, v in found.items() if name.startswith("callengine_events_total")))

    def _process(self) -> None:
        process = self._daemon.process
        assert process is not None
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            threads = len(os.listdir(f"/proc/{process.pid}/task"))
            used = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except (OSError, IndexError):
            return
        self._add("rss_mb", pages * _PAGE / 1e6)
        self._add("threads", threads)
        self._add("cpu_s", (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK"))
        self._add("unread_bytes", self._unread())

    def _unread(self) -> float:
        """What the switch has sent and the daemon has not read: in its own queue, and in the daemon's."""
        total = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            local, remote, queues = words[1], words[2], words[4]
            to_switch = int(remote.rsplit(":", 1)[1], 16) == self._switch_port
            of_switch = int(local.rsplit(":", 1)[1], 16) == self._switch_port and words[3] == "01"
            sending, receiving = (int(n, 16) for n in queues.split(":"))
            total += receiving if to_switch else sending if of_switch else 0
        return float(total)

    # -- afterwards --------------------------------------------------------------------------------------------------

    def values(self, what: str, start_s: float = 0.0, end_s: float = float("inf")) -> list[float]:
        """In their order."""
        return [s.value for s in list(self.seen) if s.what == what and start_s <= s.at_s < end_s]

    def peak(self, what: str, start_s: float = 0.0, end_s: float = float("inf")) -> float:
        """The greatest; 0 where there is none."""
        return max(self.values(what, start_s, end_s), default=0.0)

    def grown(self, what: str, start_s: float, end_s: float) -> float:
        """Of a counter: by how much."""
        found = self.values(what, start_s, end_s)
        return found[-1] - found[0] if found else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """0 where there are none."""
    found = sorted(values)
    return found[min(int(share * len(found)), len(found) - 1)] if found else 0.0


class Inbound(threading.Thread):
    """Lets calls come in at a stand-in switch, so many a second, until ``end``. A thread with a socket of its own."""

    KINDS: Final = ("ivr",) * 8 + ("abandoned",) * 3 + ("agent",) * 4 + ("queue",) * 4 + ("nowhere",)

    def __init__(self, host: str, port: int, calls_per_s: float) -> None:
        super().__init__(daemon=True)
        self._every_s = 1 / calls_per_s
        self._over = threading.Event()
        self._socket = socket.create_connection((host, port), timeout=30)
        self._answers = self._socket.makefile("rb")
        self.placed = 0
        self._read()
        self._send("auth ClueCon")

    def _send(self, command: str) -> bytes:
        self._socket.sendall(command.encode() + b"\n\n")
        return self._read()

    def _read(self) -> bytes:
        length = 0
        while line := self._answers.readline().strip():
            if line.startswith(b"Content-Length:"):
                length = int(line.split(b":")[1])
        return self._answers.read(length)

    def run(self) -> None:
        """One call after the other, of the kinds in turn."""
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += self._every_s
            kind = self.KINDS[self.placed * 7 % len(self.KINDS)]
            self._send(f"api standin_fault inbound {kind}")
            self.placed += 1

    def end(self) -> None:
        """No more."""
        self._over.set()
        self.join(10)
        self._socket.close()
