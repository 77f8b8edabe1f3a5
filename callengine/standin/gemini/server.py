"""HTTP on the wire: a thread a connection, whole answers in one write, and the ways in which an answer can go wrong."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final
from urllib.parse import urlsplit

from callengine.standin.gemini.service import Reply, Request, Service

SERVER: Final = "callengine-standin-gemini (simulated, not Google's)"
_IDLE_S: Final = 120.0
_HANG_S: Final = 600.0


class Server(ThreadingHTTPServer):
    """Listens; ``serve_forever`` runs it until ``shutdown``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = _IDLE_S
    disable_nagle_algorithm = True
    server: Server
    connection: socket.socket

    def _serve(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        self._left = int(length) if length.isdigit() else 0
        parts = urlsplit(self.path)
        host, port = self.server.server_address[:2]
        request = Request(
            method=self.command,
            path=parts.path,
            query=parts.query,
            headers={key.lower(): value for key, value in self.headers.items()},
            length=self._left,
            read=self._read,
            base_url=f"http://{host!s}:{port}",
        )
        reply = self.server.service.reply(request)
        self._answer(reply)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  the names are http.server's

    def _read(self, most: int) -> bytes:
        got = self.rfile.read(min(most, self._left))
        self._left -= len(got)
        return got

    def _drain(self) -> None:
        """An unread body would be taken for the next request, or reset the connection before the answer is read."""
        while self._left and self._read(1 << 20):
            pass

    def _answer(self, reply: Reply) -> None:
        self._drain()
        body = json.dumps(reply.body).encode()
        phrase = self.responses[reply.status][0] if reply.status in self.responses else "Unknown"
        head = [f"HTTP/1.1 {reply.status} {phrase}", f"Server: {SERVER}", f"Date: {self.date_time_string()}"]
        head += ["Content-Type: application/json; charset=UTF-8", f"Content-Length: {len(body)}"]
        head += [f"{key}: {value}" for key, value in reply.headers.items()]
        start = "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n"
        if reply.wire is None:
            self.connection.sendall(start + body)
            return
        self.close_connection = True
        if reply.wire == "truncated":
            self.connection.sendall(start + body[: len(body) // 2])
        elif reply.wire == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()  # it holds the socket open too
            self.connection.close()
        elif reply.wire == "trickle":
            self.connection.sendall(start)
            self._trickle(body)
        else:
            self._wait(_HANG_S)

    def _trickle(self, body: bytes) -> None:
        for at in range(len(body)):
            self.connection.sendall(body[at : at + 1])
            if self._wait(1.0):
                return

    def _wait(self, seconds: float) -> bool:
        """Waits; True if the client has gone, or the process ends."""
        stopping: threading.Event = self.server.service.stopping
        until = time.monotonic() + seconds
        while not stopping.is_set() and (left := until - time.monotonic()) > 0:
            if select.select([self.connection], [], [], min(left, 0.2))[0]:
                return True
        return stopping.is_set()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the name is http.server's
        """The journal says it; a line a request on stderr would tell the key of whoever sends it in the query."""
