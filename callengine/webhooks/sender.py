"""One request to an endpoint: to an address that the guard has seen, over verified TLS, within a bound, no redirects.

urllib3's connections without its pools: which address a connection leads to is then ours to say, and a connection that
the receiver closed while it was idle can be told from one that broke under a delivery.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gevent
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_match_hostname import CertificateError

from callengine import __version__
from callengine.errors import LookupsBusy, NameNotResolved, UrlRefused
from callengine.webhooks.guard import Address, Guard, Target, parse

READ_BYTES: Final = 4096
KEPT_CHARS: Final = 1024
_CONNECT_S: Final = 5.0
_IDLE_S: Final = 15.0
_IDLE_MAX: Final = 128
_IDLE_PER_HOST: Final = 4
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_AGENT: Final = f"callengine/{__version__}"

# What went wrong before an answer came; ``unreachable`` says nothing of the event that was to be told, ``postponed``
# nothing of the endpoint either: nothing was tried, for reasons of our own.
UNREACHABLE: Final = "unreachable"
NO_ANSWER: Final = "no answer"
POSTPONED: Final = "postponed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one attempt. ``status`` None: nothing was answered, and ``error`` says why.

    ``kind`` is None where there is a status, else ``UNREACHABLE``, ``NO_ANSWER`` or ``POSTPONED``. ``response`` is the
    beginning of the answer's body, as text without control characters. ``retry_after_s`` is what the answer asked for.
    """

    duration_s: float
    status: int | None = None
    error: str | None = None
    kind: str | None = None
    response: str | None = None
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        """Answered with 2xx."""
        return self.status is not None and 200 <= self.status < 300


class _Failed(Exception):
    """``reason`` is ours: what systems and libraries say may repeat the URL."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.reason = reason
        super().__init__(reason)


class _Stale(Exception):
    """The receiver had closed the connection before it saw the request."""


class _Pinned(HTTPConnection):
    """Connects to ``address``, whatever its host's name would resolve to by now."""

    address: Address

    def _new_conn(self) -> socket.socket:
        return _connect(self.address, self.port)


class _PinnedTls(HTTPSConnection):
    """The same over TLS, verified for the host's name."""

    address: Address

    def _new_conn(self) -> socket.socket:
        return _connect(self.address, self.port)


def _connect(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(*_NO_DELAY)
        sock.settimeout(_CONNECT_S)
        # An address needs no lookup, and gevent must not make one of it. Four parts: IPv6's whole form.
        sock.connect((str(address), port) if address.version == 4 else (str(address), port, 0, 0))
    except BaseException:
        sock.close()
        raise
    return sock


class Sender:
    """``send`` may be called from many greenlets. ``close`` ends what is idle."""

    def __init__(
        self,
        guard: Guard,
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._tls = tls or ssl.create_default_context()
        self._monotonic = monotonic
        self._idle: dict[_Key, list[tuple[float, HTTPConnection]]] = {}
        self._idle_count = 0
        self.connects = 0
        """Connections made so far."""

    def send(self, url: str, headers: Mapping[str, str], body: bytes, *, tenant_id: str = "") -> Reply:
        """POSTs ``body`` (JSON). Returns what came of it, and raises nothing but what kills the greenlet."""
        began = self._monotonic()
        timeout = gevent.Timeout(self._timeout_s)
        timeout.start()
        try:
            return self._sent(url, headers, body, began, tenant_id)
        except _Failed as failure:
            return Reply(duration_s=self._monotonic() - began, error=failure.reason, kind=failure.kind)
        except gevent.Timeout as raised:
            if raised is not timeout:
                raise
            reason = f"no answer within {self._timeout_s:g} s"
            return Reply(duration_s=self._monotonic() - began, error=reason, kind=NO_ANSWER)
        finally:
            timeout.close()

    def reach(self, url: str, *, tenant_id: str = "") -> str | None:
        """Connects (over TLS, if the URL says so) and sends nothing. Returns why that failed, None where it did not."""
        timeout = gevent.Timeout(self._timeout_s)
        timeout.start()
        try:
            target = parse(url)
            self._open(target, self._guard.addresses(target, tenant_id)).close()
        except (LookupsBusy, UrlRefused, NameNotResolved) as error:
            return str(error)
        except _Failed as failure:
            return failure.reason
        except gevent.Timeout as raised:
            if raised is not timeout:
                raise
            return f"no connection within {self._timeout_s:g} s"
        finally:
            timeout.close()
        return None

    def _sent(self, url: str, headers: Mapping[str, str], body: bytes, began: float, tenant_id: str) -> Reply:
        try:
            target = parse(url)
            addresses = self._guard.addresses(target, tenant_id)
        except LookupsBusy as error:
            raise _Failed(POSTPONED, str(error)) from None
        except (UrlRefused, NameNotResolved) as error:
            raise _Failed(UNREACHABLE, str(error)) from None
        idle = self._take(target, addresses)
        while idle is not None:
            try:
                return self._exchange(idle, target, headers, body, began, fresh=False)
            except _Stale:
                idle = self._take(target, addresses)
        return self._exchange(self._open(target, addresses), target, headers, body, began, fresh=True)

    # -- one exchange ------------------------------------------------------------------------------------------------

    def _exchange(
        self,
        connection: HTTPConnection,
        target: Target,
        headers: Mapping[str, str],
        body: bytes,
        began: float,
        *,
        fresh: bool,
    ) -> Reply:
        reusable = False
        try:
            connection.request(
                "POST",
                target.path,
                body=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": _AGENT,
                    "Accept-Encoding": "identity",
                    **headers,
                },
                preload_content=False,
                decode_content=False,
            )
            answer = connection.getresponse()
            text, complete = _beginning(answer)
            reusable = complete and bool(connection.is_connected)
            retry_after_s = _retry_after_s(answer.headers.get("Retry-After"))
            return Reply(
                duration_s=self._monotonic() - began,
                status=answer.status,
                error=_told(answer.status),
                response=text,
                retry_after_s=retry_after_s,
            )
        except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
            if not fresh and isinstance(error, ConnectionError | http.client.RemoteDisconnected):
                raise _Stale from None
            raise _failure(error) from None
        finally:
            if reusable:
                self._keep(target, connection)
            else:
                connection.close()

    def _open(self, target: Target, addresses: Sequence[Address]) -> HTTPConnection:
        """A connection to the first address that takes one."""
        last: Exception | None = None
        for address in addresses:
            connection = self._new(target, address)
            try:
                connection.connect()
            except (OSError, http.client.HTTPException, HTTPError, ValueError) as error:
                connection.close()
                last = error
            except BaseException:
                connection.close()
                raise
            else:
                self.connects += 1
                if connection.sock is not None:
                    connection.sock.settimeout(self._timeout_s)
                return connection
        raise _unreachable(last) from None

    def _new(self, target: Target, address: Address) -> HTTPConnection:
        if target.secure:
            secure = _PinnedTls(target.host, target.port, timeout=self._timeout_s, ssl_context=self._tls)
            secure.address = address
            return secure
        plain = _Pinned(target.host, target.port, timeout=self._timeout_s)
        plain.address = address
        return plain

    # -- idle connections --------------------------------------------------------------------------------------------

    def _take(self, target: Target, addresses: Sequence[Address]) -> HTTPConnection | None:
        """One that is idle, and leads where the name leads now."""
        for address in addresses:
            waiting = self._idle.get(_key(target, address), [])
            while waiting:
                since, connection = waiting.pop()
                self._idle_count -= 1
                if self._monotonic() - since < _IDLE_S:
                    return connection
                connection.close()
            self._idle.pop(_key(target, address), None)
        return None

    def _keep(self, target: Target, connection: HTTPConnection) -> None:
        assert isinstance(connection, _Pinned | _PinnedTls)
        waiting = self._idle.setdefault(_key(target, connection.address), [])
        if len(waiting) >= _IDLE_PER_HOST:
            connection.close()
            return
        waiting.append((self._monotonic(), connection))
        self._idle_count += 1
        if self._idle_count > _IDLE_MAX:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key = min((key for key, waiting in self._idle.items() if waiting), key=lambda one: self._idle[one][0][0])
        _, connection = self._idle[key].pop(0)
        connection.close()
        self._idle_count -= 1
        if not self._idle[key]:
            del self._idle[key]

    def tidy(self) -> None:
        """Closes what was idle for too long; to be called now and then."""
        for key in list(self._idle):
            waiting = self._idle[key]
            while waiting and self._monotonic() - waiting[0][0] >= _IDLE_S:
                waiting.pop(0)[1].close()
                self._idle_count -= 1
            if not waiting:
                del self._idle[key]

    def close(self) -> None:
        """Closes what is idle."""
        for waiting in self._idle.values():
            for _, connection in waiting:
                connection.close()
        self._idle.clear()
        self._idle_count = 0


_Key = tuple[bool, str, int, Address]


def _key(target: Target, address: Address) -> _Key:
    return (target.secure, target.host, target.port, address)


def _beginning(answer: Any) -> tuple[str, bool]:
    """The beginning of the body as text, and whether that was all of it."""
    raw = b""
    while len(raw) <= READ_BYTES:
        part = answer.read(READ_BYTES + 1 - len(raw), decode_content=False)
        if not part:
            return _printable(raw), True
        raw += part
    return _printable(raw[:READ_BYTES]), False


def _printable(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")[:KEPT_CHARS]
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _told(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}, a redirect, which is not followed"
    return f"answered {status}"


def _retry_after_s(value: str | None) -> float | None:
    """Seconds; the other form, a date, is left to our own schedule."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 9:
        return None
    return float(value)


def _unreachable(error: Exception | None) -> _Failed:
    if isinstance(error, ssl.SSLCertVerificationError | CertificateError):
        return _Failed(UNREACHABLE, f"its certificate is not valid: {_verify_message(error)}")
    if isinstance(error, ssl.SSLError):
        return _Failed(UNREACHABLE, f"TLS failed: {error.reason or 'no reason given'}")
    if isinstance(error, TimeoutError):
        return _Failed(UNREACHABLE, f"no connection within {_CONNECT_S:g} s")
    if isinstance(error, ConnectionRefusedError):
        return _Failed(UNREACHABLE, "the connection was refused")
    if isinstance(error, OSError) and error.strerror:
        return _Failed(UNREACHABLE, f"no connection: {error.strerror}")
    return _Failed(UNREACHABLE, "no connection")


def _verify_message(error: Exception) -> str:
    message = getattr(error, "verify_message", "") or "it is for another host"
    return str(message)[:200]


def _failure(error: Exception) -> _Failed:
    if isinstance(error, TimeoutError):
        return _Failed(NO_ANSWER, "the answer did not come in time")
    if isinstance(error, http.client.RemoteDisconnected):
        return _Failed(NO_ANSWER, "the connection was closed without an answer")
    if isinstance(error, ConnectionError):
        return _Failed(NO_ANSWER, "the connection broke")
    if isinstance(error, ssl.SSLError):
        return _Failed(NO_ANSWER, f"TLS failed: {error.reason or 'no reason given'}")
    return _Failed(NO_ANSWER, "what was answered is no HTTP")
