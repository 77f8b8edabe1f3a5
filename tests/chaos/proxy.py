"""A bad road to the event socket: a TCP proxy that cuts, darkens, doubles, delays and garbles. A process of its own.

    python -m tests.chaos.proxy --listen PORT --to HOST:PORT --control PORT --seed N

Its first line on stdout says where it listens, as JSON: ``{"listen": PORT, "control": PORT}`` (0: any that is free).
The control port takes a JSON object a line and answers with one: ``{"do": WHAT, …}``, WHAT of rst, fin, black_hole,
heal, garble, garble_off and stats. It ends with whoever started it.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.chaos.garbling import Plan
from tests.chaos.relay import Relay

_ANSWER_S = 10.0
_START_S = 20.0
_MAX_LINE_BYTES = 4096


class ProxyFailed(Exception):
    """It did not start, or does not do what it is told."""


class Proxy:
    """The proxy as a process; a context manager. ``address`` (host, port) is what the daemon is to connect to.

    All methods return once it is done, and raise ``ProxyFailed``.
    """

    def __init__(self, to_host: str, to_port: int, folder: Path, seed: int = 1) -> None:
        self._words = ["--listen", "0", "--to", f"{to_host}:{to_port}", "--control", "0", "--seed", str(seed)]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.chaos.proxy", *self._words]
        here = Path(__file__).resolve().parents[2]
        with (self._folder / "proxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=here
            )
        try:
            ports = self._said()
            self.address = ("127.0.0.1", ports["listen"])
            self._control = socket.create_connection(("127.0.0.1", ports["control"]), timeout=_ANSWER_S)
        except BaseException:
            self.close()
            raise
        return self

    def _said(self) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _START_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            raise ProxyFailed("the proxy did not start")
        ports: dict[str, int] = json.loads(line)
        return ports

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, and with it all connections."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(_ANSWER_S)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _tell(self, what: str, **values: Any) -> dict[str, Any]:
        assert self._control is not None
        answer = b""
        try:
            self._control.sendall(json.dumps({"do": what, **values}).encode() + b"\n")
            while not answer.endswith(b"\n"):
                more = self._control.recv(65536)
                if not more:
                    raise ProxyFailed(f"the proxy is gone, asked to {what}")
                answer += more
        except OSError as error:
            raise ProxyFailed(f"the proxy does not answer, asked to {what}: {error}") from error
        said: dict[str, Any] = json.loads(answer)
        if "error" in said:
            raise ProxyFailed(said["error"])
        return said

    def rst(self) -> None:
        """All connections end with RST on the daemon's side; the switch's ends are closed."""
        self._tell("rst")

    def fin(self) -> None:
        """All connections end orderly, in the middle of the next message, or after 0.1 s in which none came."""
        self._tell("fin")

    def black_hole(self) -> None:
        """Nothing is read or forwarded any more on what is connected, and nothing is closed. New connections are
        accepted and get nothing."""
        self._tell("black_hole")

    def heal(self) -> None:
        """Connections made from now on work. Those made before stay dead; where the daemon has given one up, the
        switch's end of it is reset within about a second, as its next packet would bring about in a network."""
        self._tell("heal")

    def garble(
        self,
        doubled: bool = True,
        delayed_share: float = 0.05,
        delay_max_s: float = 2.0,
        garbage_one_in: int = 10_000,
    ) -> None:
        """From the next message on, on all connections, events (never answers) come twice (the copy right behind or
        up to 0.2 s later), a share up to ``delay_max_s`` late, and one in so many as garbage, and so its copy."""
        plan = Plan(doubled, delayed_share, delay_max_s, garbage_one_in)
        self._tell("garble", **asdict(plan))

    def garble_off(self) -> None:
        """As it comes. What is held back still comes when it is due."""
        self._tell("garble_off")

    def stats(self) -> dict[str, int]:
        """``connections``, ``events`` (passed), ``doubled``, ``delayed``, ``garbled`` since the start; ``open``
        connections and ``held_back_bytes`` now."""
        return self._tell("stats")


class _Control:
    """A connection to the control port."""

    def __init__(self, relay: Relay, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._relay, self._sock, self._line = relay, sock, b""
        relay.selector.register(sock, select.EPOLLIN, self.read)

    def read(self) -> None:
        try:
            data = self._sock.recv(_MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._line += data
        if not data or len(self._line) > _MAX_LINE_BYTES:
            self._relay.selector.unregister(self._sock)
            self._sock.close()
            return
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._sock.send(json.dumps(_obey(self._relay, line)).encode() + b"\n")


def _obey(relay: Relay, line: bytes) -> dict[str, Any]:
    simple: dict[str, Callable[[], None]] = {
        "rst": relay.rst,
        "fin": relay.fin,
        "black_hole": relay.black_hole,
        "heal": relay.heal,
    }
    try:
        asked = json.loads(line)
        what = asked.pop("do")
        if what == "stats":
            return {**asdict(relay.counts), "open": len(relay.pairs)}
        if what in ("garble", "garble_off"):
            relay.plan = Plan(**asked) if what == "garble" else None
        else:
            simple[what]()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"error": f"not understood: {error!r}"}
    return {"done": True}


def _listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=int, default=0)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    host, _, port = given.to.rpartition(":")
    listener, control = _listening(given.listen), _listening(given.control)
    relay = Relay(listener, (host, int(port)), given.seed)
    relay.listen(control, lambda sock: (_Control(relay, sock), None)[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ports = {"listen": listener.getsockname()[1], "control": control.getsockname()[1]}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:
        relay.turn(1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
