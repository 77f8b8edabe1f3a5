"""gevent's WSGI server with bounds: of connections, requests at once, time, header bytes, and bodies left unread.

What is written here comes on top of ``gevent.pywsgi``, which waits for ever, reads a refused body to its end, and logs
query strings. A request has ``request_timeout_s`` from its first byte to its answer; between requests a connection may
be idle for ``IDLE_S``. The access log has neither query strings nor headers.

An answer that takes long because it is long (a recording), or that has no end (the stream), is *long-lived*: its route
says so through ``environ["callengine.long_lived"]`` (see ``api.long_lived``). From then on ``request_timeout_s`` is for
each piece of the body, from the asking for it until the peer's side has taken it; and it is counted among its kind.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import gevent
from flask import Response
from gevent import Timeout, socket
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from callengine.api.long_lived import BodyEnded, Places
from callengine.api.problems import MEDIA_TYPE, Refusal
from callengine.config.sections import Http

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("callengine.api")
access_log = logging.getLogger("callengine.api.access")

IDLE_S = 15.0
CONNECTIONS_PER_REQUEST = 8
"""Connections are many more than requests at once, since most of them are idle."""
MAX_HEADER_BYTES = 32_768
MAX_UNREAD_BYTES = 65_536
LINGER_S = 1.0
MAX_LOGGED = 256
_WITHOUT_WAITING = frozenset({"/livez", "/readyz", "/metrics", "/fs/cdr"})


class HeadersTooLarge(ValueError):
    """The request's headers are longer than ``MAX_HEADER_BYTES``."""


class MalformedRequest(ValueError):
    """What stands in the headers is no HTTP/1.1 request, or could be read in two ways."""


class _BoundedLines:
    """The header part of a request, as ``http.client`` reads it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = MAX_HEADER_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._stream.readline(min(limit, self._left + 1) if limit >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise HeadersTooLarge
        return line


class Handler(WSGIHandler):
    """One connection."""

    server: ApiServer
    _deadline: Timeout | None = None
    _abandoned = False
    _kind: str | None = None
    """As what the request is long-lived, if it is."""

    # -- reading -----------------------------------------------------------------------------------------------------

    def handle(self) -> None:
        """All requests of the connection, one after another."""
        # The peer is gone, or the socket was closed under us at the end.
        with contextlib.suppress(OSError, ValueError):
            super().handle()

    def handle_one_request(self) -> Any:
        """Waits for a request's first byte, then answers it within its time. None closes the connection."""
        self.code = None
        if not self._awaits_request():
            return None
        self._renew_deadline()
        try:
            result = super().handle_one_request()
        except Timeout as timeout:
            if timeout is not self._deadline:
                raise
            access_log.info("%s timed out before its request was complete", self._peer())
            return None
        finally:
            self._end_deadline()
            self._end_long_lived()
        if self._abandoned:
            self._linger()
            return None
        if isinstance(result, tuple) and result[0] == "414":  # pywsgi's own answer has no body
            self.close_connection = True
            return _unread(414, "the request's address is too long")
        return result

    def _renew_deadline(self) -> None:
        self._end_deadline()
        self._deadline = Timeout.start_new(self.server.request_timeout_s)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.close()

    def _awaits_request(self) -> bool:
        idle = self.server.idle
        me = gevent.getcurrent()
        idle.add(me)
        try:
            return bool(gevent.with_timeout(IDLE_S, self.rfile.peek, 1, timeout_value=b""))
        except OSError:
            return False
        finally:
            idle.discard(me)

    def MessageClass(self, stream: Any, *_: Any) -> Any:  # noqa: N802 - pywsgi's name
        """Reads the headers."""
        bounded: Any = _BoundedLines(stream)
        return super().MessageClass(bounded)

    def read_request(self, raw_requestline: str) -> Any:
        """Refuses what two readers could take for two different requests (RFC 9112, 6.3 and 11.2)."""
        if not raw_requestline.rstrip().endswith(("HTTP/1.1", "HTTP/1.0")):
            raise MalformedRequest("version")
        read = super().read_request(raw_requestline)
        lengths = self.headers.get_all("content-length", [])
        coding = self.headers.get("transfer-encoding")
        if any(not (value.isascii() and value.isdigit()) for value in lengths) or len(lengths) > 1:
            raise MalformedRequest("Content-Length")
        if coding is not None and coding.strip().lower() != "chunked":
            raise MalformedRequest("Transfer-Encoding")
        if not (self.path or "").startswith(("/", "http://", "https://", "*")):
            raise MalformedRequest("target")
        if (self.content_length or 0) > self.server.max_body_bytes:
            self.close_connection = True
        return read

    def get_environ(self) -> WSGIEnvironment:
        """The WSGI environment, with the path as it came."""
        path = self.path or "/"
        if path.startswith(("http://", "https://")):  # absolute form (RFC 9112, 3.2.2)
            self.path = path = "/" + path.partition("//")[2].partition("/")[2]
        environ = super().get_environ()
        environ["REQUEST_URI"] = path
        # We upgrade to nothing (RFC 9110, 7.8: then it is a request like any other), and pywsgi would no longer bound
        # the body of one that asks for it.
        environ.pop("HTTP_UPGRADE", None)
        environ["wsgi.input"] = self.wsgi_input
        environ["callengine.long_lived"] = self._begin_long_lived
        return environ

    def run_application(self) -> None:
        """Lets the application answer. What it left unread is read away only where it is little: else we hang up."""
        try:
            super().run_application()
        finally:
            body = self.wsgi_input
            if body is not None:
                unread = (body.content_length or 0) - body.position
                # A client that waits for our 100 has sent nothing yet, and now never will.
                unsent = unread > 0 and body.socket is not None
                if (
                    (body.chunked_input and body.chunk_length != 0)
                    or unread > MAX_UNREAD_BYTES
                    or unsent
                    or self._is_late()
                ):
                    self._abandoned = self.close_connection = True
                    body.chunked_input, body.content_length = False, body.position

    def _is_late(self) -> bool:
        return self._deadline is None or not self._deadline.pending

    # -- answers that live long --------------------------------------------------------------------------------------

    def _begin_long_lived(self, kind: str, endless: bool) -> bool:
        """Whether there is a place left for one more answer of that kind; this one then has it until its end."""
        if self._kind is None and self.server.long_lived.enter(kind, gevent.getcurrent(), endless):
            self._kind = kind
        return self._kind is not None

    def _end_long_lived(self) -> None:
        if self._kind is not None:
            self.server.long_lived.leave(self._kind, gevent.getcurrent())
            self._kind = None

    def write(self, data: bytes) -> None:
        """One piece of the body; of a long-lived answer each has its own time."""
        if self._kind is not None and self.headers_sent:
            self._renew_deadline()
        super().write(data)

    # -- answering ---------------------------------------------------------------------------------------------------

    def finalize_headers(self) -> None:
        """Says so where the connection ends with this answer."""
        super().finalize_headers()
        self.close_connection = self.close_connection or self.server.stopping or self.server.is_crowded
        headers: Any = self.response_headers
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in headers):
            headers.append((b"Connection", b"close"))

    def handle_error(self, t: Any, v: BaseException | None, tb: Any) -> None:
        """What the application did not answer: it ran out of time, or fell over in a way that Flask does not see."""
        self.close_connection = True
        if v is self._deadline:
            refusal = Refusal(503, "timeout", "the request took too long", headers={"Retry-After": "5"})
        elif isinstance(v, BodyEnded):
            log.warning("%s %s: %s", self.command, self._shown_path(), v)
            refusal = Refusal(503, "interrupted", "what was asked for cannot be read", headers={"Retry-After": "5"})
        elif isinstance(v, gevent.GreenletExit):
            refusal = Refusal(503, "stopping", "the server is stopping", headers={"Retry-After": "5"})
        else:
            log.error("%s %s failed in the server", self.command, self._shown_path(), exc_info=v)
            refusal = Refusal(500, "internal-error", "something went wrong in callengine; its log says what")
        if self.headers_sent:
            return
        response = refusal.response()
        with contextlib.suppress(OSError):
            gevent.with_timeout(LINGER_S, self._send, response, timeout_value=None)

    def _send(self, response: Response) -> None:
        self.start_response(response.status, list(response.headers.items()))
        self.write(response.data)

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        status, fact = 400, "the request cannot be read"
        if isinstance(ex, HeadersTooLarge | HTTPException):  # the latter: more than a hundred of them
            status, fact = 431, "the request's headers are too large"
        log.debug("%s sent what is no request (%s)", self._peer(), type(ex).__name__)
        self.command = self.path = None  # they may be the last request's
        return _unread(status, fact)

    def _linger(self) -> None:
        """Lets the peer read our answer before it learns that we do not read on (else the reset may overtake it)."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            gevent.with_timeout(LINGER_S, self._drain, timeout_value=None)

    def _drain(self) -> None:
        for _ in range(64):
            if not self.socket.recv(16_384):
                return

    # -- the access log ----------------------------------------------------------------------------------------------

    def log_request(self) -> None:
        """One line a request: peer, method, path without its query, status, bytes, milliseconds."""
        if not access_log.isEnabledFor(logging.INFO):
            return
        took_ms = ((self.time_finish or time.time()) - self.time_start) * 1000
        access_log.info(
            "%s %s %s %s %d %.1fms",
            self._peer(),
            self._printable(self.command or "-"),
            self._shown_path(),
            self.code or self.status or "-",
            self.response_length,
            took_ms,
        )

    def _shown_path(self) -> str:
        return self._printable((self.path or "-").partition("?")[0])

    def _peer(self) -> str:
        address: object = self.client_address
        return str(address[0]) if isinstance(address, tuple) and address else "-"

    @staticmethod
    def _printable(text: str) -> str:
        return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:MAX_LOGGED])


def _unread(status: int, fact: str) -> tuple[str, bytes]:
    """A problem as bytes, for what never became a request."""
    response = Refusal(status, "unreadable-request", fact).response()
    head = f"HTTP/1.1 {response.status}\r\nContent-Type: {MEDIA_TYPE}\r\nConnection: close\r\n"
    return str(status), f"{head}Content-Length: {len(response.data)}\r\n\r\n".encode() + response.data


class ApiServer(WSGIServer):
    """Serves a WSGI application on a listening socket, as the settings of section ``http`` bound it."""

    handler_class = Handler

    def __init__(self, application: WSGIApplication, http: Http, listener: socket.socket | None = None) -> None:
        self.request_timeout_s = http.request_timeout_s
        self.max_body_bytes = http.max_body_bytes
        self.idle: set[Any] = set()
        self.long_lived = Places(http.max_long_lived)
        self.stopping = False
        super().__init__(
            listener or listen(http.host, http.port),
            Bounded(application, http.max_concurrency),
            spawn=Pool(http.max_concurrency * CONNECTIONS_PER_REQUEST + Places.KINDS * http.max_long_lived),
            log=None,
            error_log=log,
            environ={"SERVER_NAME": http.host},  # else pywsgi asks the DNS
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.socket.getsockname()[1])

    @property
    def is_crowded(self) -> bool:
        """Whether so few connections are free that none should be kept open for its next request."""
        pool = self.pool
        return pool is not None and pool.free_count() < (pool.size or 0) // 4

    def stop(self, timeout: float | None = 5.0) -> None:
        """Accepts nothing more, hangs up what is idle or has no end, lets requests end for ``timeout`` seconds, then
        ends them."""
        self.stopping = True
        self.close()
        gevent.killall([*self.idle, *self.long_lived.endless], block=False)
        super().stop(timeout)


class Bounded:
    """WSGI middleware: at most ``limit`` requests are in the application at once, further ones wait their turn.

    What tells whether the process is alive does not wait.
    """

    def __init__(self, application: WSGIApplication, limit: int) -> None:
        self._application = application
        self._turn = BoundedSemaphore(limit)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in _WITHOUT_WAITING:
            return self._application(environ, start_response)
        with self._turn:
            return self._application(environ, start_response)


def listen(host: str, port: int, backlog: int = 256) -> socket.socket:
    """A listening socket on ``host``; raises ``OSError``. Port 0 takes a free one.

    TCP_NODELAY is inherited by the accepted sockets: pywsgi sends headers and body apart, which without it costs 40 ms.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
