"""An HTTP client that costs next to nothing: one connection, kept; nothing is decoded that nobody asked for."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

_TIMEOUT_S: Final = 60.0


class Client:
    """A connection to a port of 127.0.0.1, made again where the server ended it."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n".encode()
        self._socket: socket.socket | None = None

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (their names in lower case) and body."""
        return self._ask(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), self._head))

    def post(self, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
        """The same for a request with JSON."""
        data = json.dumps(body).encode()
        more = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
        return self._ask(b"POST %s HTTP/1.1\r\n%s%s\r\n%s" % (path.encode(), self._head, more, data))

    def json(self, path: str) -> Any:
        """The body of a GET, decoded."""
        return json.loads(self.get(path)[2])

    def close(self) -> None:
        """Hangs up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = self._socket is not None
        try:
            return self._asked(request)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            self.close()
            if not kept:
                raise
        return self._asked(request)

    def _asked(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        lines = got[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        body = [got[end + 4 :]]
        have = len(body[0])
        while have < length:
            body.append(self._more())
            have += len(body[-1])
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), headers, b"".join(body)

    def _more(self) -> bytes:
        assert self._socket is not None
        got = self._socket.recv(262_144)
        if not got:
            raise EOFError
        return got
