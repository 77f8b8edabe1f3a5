"""Small servers that speak, or misspeak, the event socket: one script per connection, on a free port of loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

GREETING = b"Content-Type: auth/request\n\n"
PASSWORD = "s3cret-Pa55"
NOTICE_TEXT = b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
NOTICE = b"Content-Type: text/disconnect-notice\nContent-Length: 67\n\n" + NOTICE_TEXT
DENIAL = b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n" + NOTICE


def reply(text: str, *headers: str) -> bytes:
    return "\n".join(["Content-Type: command/reply", f"Reply-Text: {text}", *headers, "", ""]).encode()


def response(body: bytes) -> bytes:
    return b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(body), body)


def event(body: bytes) -> bytes:
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(body), body)


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.commands: list[str] = []
        self._unread = b""

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def say_and_wait(self, data: bytes) -> None:
        """Say this, then leave the closing to the client."""
        self.say(data)
        self.wait_for_eof()

    def say_bytewise(self, data: bytes) -> None:
        for at in range(len(data)):
            self.sock.sendall(data[at : at + 1])
            gevent.sleep(0)

    def command(self) -> str:
        """The next command, without the empty line; raises EOFError at the end."""
        while b"\n\n" not in self._unread:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._unread += data
        raw, _, self._unread = self._unread.partition(b"\n\n")
        self.commands.append(raw.decode())
        return self.commands[-1]

    def greet(self) -> None:
        """Ask for the password and accept it, then accept the subscription if one follows."""
        self.say(GREETING)
        assert self.command() == f"auth {PASSWORD}"
        self.say(reply("+OK accepted"))

    def answer(self, say: Callable[[bytes], None] | None = None) -> None:
        """Answer commands until the end: ``api echo`` with its argument, ``bgapi`` with a job and its event."""
        say = say or self.say
        while True:
            first, *rest = self.command().split("\n")
            verb, _, argument = first.partition(" ")
            if verb == "event":
                say(reply("+OK event listener enabled json"))
            elif verb == "api":
                say(response(argument.removeprefix("echo ").encode()))
            elif verb == "bgapi":
                job = rest[0].removeprefix("Job-UUID: ")
                say(reply(f"+OK Job-UUID: {job}", f"Job-UUID: {job}"))
                say(event(b'{"Event-Name":"BACKGROUND_JOB","Job-UUID":"%s"}' % job.encode()))
            else:
                say(reply("-ERR command not found"))

    def wait_for_eof(self) -> None:
        """Read until the client closes."""
        while self.sock.recv(65536):
            pass


class Switch:
    """A listening server. ``peers`` are the connections so far; it runs ``script`` on each."""

    def __init__(self, script: Callable[[Peer], None], port: int = 0) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.faults: list[BaseException] = []
        self._greenlets: list[Any] = []
        self.server = StreamServer(("127.0.0.1", port), self._serve)
        self.server.start()

    @property
    def port(self) -> int:
        return self.server.server_port or 0

    def _serve(self, sock: Any, _address: object) -> None:
        peer = Peer(sock)
        self.peers.append(peer)
        self._greenlets.append(gevent.getcurrent())
        try:
            self.script(peer)
        except (EOFError, OSError):
            pass
        except AssertionError as fault:
            self.faults.append(fault)

    def stop(self) -> None:
        self.server.stop()
        gevent.killall(self._greenlets, timeout=2)
        for peer in self.peers:
            peer.sock.close()


@contextmanager
def switch(script: Callable[[Peer], None]) -> Iterator[Switch]:
    server = Switch(script)
    try:
        yield server
    finally:
        server.stop()
    assert not server.faults


def then(end: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Greet, take one command, and end like that."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.command()
        end(peer)

    return script


def well_behaved(peer: Peer) -> None:
    peer.greet()
    peer.answer()


def hold_the_hub(seconds: float) -> None:
    """Let nobody else run; ``time.sleep`` would, where it is patched."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
