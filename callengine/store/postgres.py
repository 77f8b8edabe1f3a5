"""Postgres for use in native threads: psycopg 3 that waits in the kernel, whether or not the process is monkey-patched.

psycopg chooses how it waits when it is imported, once, by whether the process is patched then; and where it is,
connecting makes a hub in each native thread, and the end of such a process is a crash. Our connections are only used in
native threads, so they bring their own way to connect and to wait, and the order of imports does not matter.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import peewee
import psycopg
from gevent import monkey
from psycopg import pq, waiting
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callengine.errors import StoreUnavailable

_INTERVAL_S: Final = 0.1
_SILENCE_S: Final = 45.0
# One wait for all that a pipeline holds, each of which the server bounds by itself.
_SILENCE_OF_MANY_S: Final = 300.0
_MIN_CONNECT_TIMEOUT_S: Final = 2.0
# psycopg has no public name for it, and another one in each version.
_TIMEOUTS: Final = frozenset({"_WaitTimeout", "TimeoutError"})

_DEFAULTS: Final = {
    "application_name": "callengine",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    # A network that swallows packets must end a write as surely as a reset does.
    "tcp_user_timeout": "15000",
}

_poll: Callable[[], Any] = monkey.get_original("select", "poll")
_getaddrinfo: Callable[..., Any] = monkey.get_original("socket", "getaddrinfo")


class NativeConnection(psycopg.Connection[Any]):
    """A connection for a native thread: it waits with ``poll(2)`` and the interpreter released."""

    def wait(self, gen: PQGen[RV], interval: float = _INTERVAL_S, timeout: float | None = None) -> RV:
        """Runs ``gen`` to its end. Raises what it raises."""
        native: Callable[..., RV] = getattr(waiting, "wait_c", None) or waiting.wait
        silence_s = _SILENCE_S if self.pgconn.pipeline_status == pq.PipelineStatus.OFF else _SILENCE_OF_MANY_S
        try:
            return native(gen, self.pgconn.socket, interval=interval, timeout=timeout or silence_s)
        except Exception as error:
            if timeout is not None or type(error).__name__ not in _TIMEOUTS:
                raise
            # The server bounds its own work more narrowly; it has stopped, or its packets go nowhere.
            self.pgconn.finish()
            raise psycopg.OperationalError("it does not answer") from None


def connect(params: dict[str, str]) -> NativeConnection:
    """A connection in autocommit. Tries each address of each host, each for ``connect_timeout`` seconds at most.

    Raises psycopg.OperationalError of the last one; its text may hold addresses, but no password.
    """
    timeout_s = max(float(params.get("connect_timeout") or 0), _MIN_CONNECT_TIMEOUT_S)
    last: psycopg.OperationalError | None = None
    for address in _addresses(params):
        try:
            connection = NativeConnection(_started(address, time.monotonic() + timeout_s))
        except psycopg.OperationalError as error:
            last = error
        else:
            connection.autocommit = True
            return connection
    raise last or psycopg.OperationalError("the host's name does not resolve")


def _addresses(params: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same parameters for each address; libpq itself would resolve a name with the interpreter held."""
    hosts = params.get("host", "").split(",")
    ports = params.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    for host, port in zip(hosts, ports, strict=False):
        one = {**params, "host": host, "port": port}
        if not host or host.startswith("/") or "hostaddr" in params or _is_address(host):
            yield one
            continue
        try:
            found = _getaddrinfo(host, port or "5432", type=socket.SOCK_STREAM)
        except OSError:
            continue
        for *_, place in found:
            yield {**one, "hostaddr": place[0]}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _started(params: dict[str, str], deadline: float) -> pq.abc.PGconn:
    started = pq.PGconn.connect_start(make_conninfo("", **{k: v for k, v in params.items() if v}).encode())
    while True:
        if started.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(_failure(started))
        match started.connect_poll():
            case pq.PollingStatus.OK:
                started.nonblocking = 1
                return started
            case pq.PollingStatus.READING:
                wanted = select.POLLIN
            case pq.PollingStatus.WRITING:
                wanted = select.POLLOUT
            case _:
                raise psycopg.OperationalError(_failure(started))
        poll = _poll()
        poll.register(started.socket, wanted)
        if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
            started.finish()
            raise psycopg.errors.ConnectionTimeout("it does not answer")


def _failure(failed: pq.abc.PGconn) -> str:
    text = failed.get_error_message()
    failed.finish()
    return text


class Postgres(peewee.PostgresqlDatabase):
    """peewee's Postgres on ``NativeConnection``. ``options`` are server settings for each session."""

    def __init__(self, url: str, options: dict[str, str]) -> None:
        self._url = url
        self._options = " ".join(f"-c {name}={value}" for name, value in options.items())
        name = unquote(urlsplit(url).path.lstrip("/"))
        super().__init__(name, prefer_psycopg3=True, thread_safe=False, autoconnect=False)

    def rollback(self) -> None:
        """By psycopg itself, which then forgets what it takes for prepared: behind an error of a pipeline none is."""
        cast(Any, self).connection().rollback()

    def _connect(self) -> NativeConnection:
        try:
            given = conninfo_to_dict(self._url)
        except psycopg.ProgrammingError:
            # Its text repeats what it could not read, which may be the password.
            raise StoreUnavailable("database.url is not one that PostgreSQL understands") from None
        options = f"{given.pop('options', None) or ''} {self._options}".strip()
        return connect({**_DEFAULTS, **{k: str(v) for k, v in given.items()}, "options": options})
