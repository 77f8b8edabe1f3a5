"""The daemon itself, in this process, on the stand-in switch, a relay between them, and a client that speaks raw."""

from __future__ import annotations

import gc
import json
import logging
import signal
import socket as sockets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest
from gevent import socket

from callengine import daemon
from callengine.config.settings import Settings
from callengine.standin import Options, StandIn
from callengine.store.accounts import SCOPES, Accounts
from callengine.store.database import open_database
from tests.acceptance.daemon import free_port
from tests.security.hostile import WIDE
from tests.security.wire import Relay

Answer = tuple[int, bytes]


class House:
    """``key`` is the default tenant's and ``other_key`` another's, with every scope.

    ``channels`` are all that the switch ever had, ended or not; ``applications`` all that it ran on them.
    """

    def __init__(self, standin: StandIn, folder: Path) -> None:
        self.standin = standin
        self.channels: dict[str, Any] = {}
        self.applications: list[tuple[str, str, str]] = []
        self._watch()
        self.relay = Relay(standin.host, standin.port)
        self.settings = _settings(self.relay.port, folder)
        self.settings.state.directory.mkdir()
        store = open_database(self.settings.database, self.settings.state.directory)
        accounts = Accounts(store, store)
        accounts.ensure_tenant("default")
        accounts.create_tenant("other")
        _, self.key = accounts.create_key("default", SCOPES)
        _, self.other_key = accounts.create_key("other", SCOPES)
        store.close()
        self.statuses: dict[int, int] = {}

    def _watch(self) -> None:
        switch = self.standin.switch
        register, execute = switch.register, switch.execute

        def registered(channel: Any) -> None:
            self.channels[channel.uuid] = channel
            register(channel)

        def executed(on: Any, channel: Any, name: str, data: str) -> Any:
            self.applications.append((channel.uuid, name, data))
            return execute(on, channel, name, data)

        switch.register, switch.execute = registered, executed  # type: ignore[method-assign]

    # -- requests ----------------------------------------------------------------------------------------------------

    def ask(self, method: str, target: bytes | str, *, body: Any = None, headers: bytes = b"") -> Answer:
        """One request on a connection of its own. ``target`` and ``headers`` go out as they are."""
        data = body if isinstance(body, bytes) else b"" if body is None else _json(body)
        line = target if isinstance(target, bytes) else target.encode()
        more = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data) if body is not None else b""
        head = b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % (method.encode(), line)
        if b"authorization:" not in headers.lower():
            more += b"Authorization: Bearer %s\r\n" % self.key.encode()
        status, answered = self._exchange(head + more + headers + b"\r\n" + data)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status, answered

    def _exchange(self, raw: bytes) -> Answer:
        with gevent.Timeout(20, AssertionError(f"no answer to {raw[:500]!r}")):
            connection = socket.create_connection(("127.0.0.1", self.settings.http.port))
            try:
                connection.sendall(raw)
                # Texts with line ends make headers of their own, which may promise a body that never comes.
                connection.shutdown(sockets.SHUT_WR)
                got = b""
                while b"\r\n\r\n" not in got:
                    data = connection.recv(65_536)
                    if not data:
                        raise AssertionError(f"no answer to {raw[:500]!r}")
                    got += data
                head, _, rest = got.partition(b"\r\n\r\n")
                # The stream never ends by itself.
                while b"event-stream" not in head and (data := connection.recv(65_536)):
                    rest += data
            finally:
                connection.close()
        return int(head.split(b" ", 2)[1]), rest

    def stream(self, target: str, key: str) -> Iterator[bytes]:
        """The answer as it comes, head and all, until it ends."""
        connection = socket.create_connection(("127.0.0.1", self.settings.http.port))
        try:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            while data := connection.recv(65_536):
                yield data
        finally:
            connection.close()

    # -- calls -------------------------------------------------------------------------------------------------------

    def answered(self) -> str:
        """A call that was answered and stays."""
        body = {"destination": "6201", "gateway": "carrier", "variables": {"zz": "live"}}
        status, answer = self.ask("POST", "/v1/calls", body=body)
        assert status == 202, answer
        call_id = str(orjson.loads(answer)["id"])
        self.until(lambda: self.call(call_id)["status"] == "answered")
        return call_id

    def call(self, call_id: str) -> dict[str, Any]:
        status, answer = self.ask("GET", f"/v1/calls/{call_id}")
        assert status == 200, answer
        return dict(orjson.loads(answer))

    def until(self, condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        with gevent.Timeout(timeout_s, False):
            while not condition():
                gevent.sleep(0.005)
        assert condition()


def _json(body: Any) -> bytes:
    """With lone surrogates as escapes, which orjson would not write."""
    return json.dumps(body).encode()


def _settings(esl_port: int, folder: Path) -> Settings:
    originate = {**WIDE["originate"], "queues": ["support@default"], "queue_timeout_s": 30}
    return Settings.model_validate(
        {
            "esl": {"port": esl_port},
            "http": {"port": free_port(), "max_concurrency": 32},
            "state": {"directory": folder / "state"},
            "recordings": {"directories": [folder / "recordings"]},
            "webhooks": {"allow_networks": ["127.0.0.0/8"], "max_endpoints": 1000},
            "cdr": {"http_secret": "a secret of the switch"},
            "log": {"level": "error", "format": "json"},
            "originate": originate,
        }
    )


@contextmanager
def running(folder: Path) -> Iterator[House]:
    """The daemon with all that it starts; everything it changes of this process is put back."""
    (folder / "recordings").mkdir()
    root, interval = logging.getLogger(), sys.getswitchinterval()
    handlers, level = root.handlers[:], root.level
    signals: dict[int, Callable[[], object]] = {}
    options = Options(seed=7, time_scale=20.0, reorder=0.0, sessions_per_second=100_000, recordings=folder)
    with pytest.MonkeyPatch.context() as patch, StandIn(options) as standin:
        patch.setattr(
            gevent, "signal_handler", lambda number, do, *given: signals.update({number: partial(do, *given)})
        )
        house = House(standin, folder)
        main = gevent.spawn(daemon.run, house.settings)
        try:
            house.until(lambda: main.dead or (signals and _ready(house)), 30)
            assert not main.dead, main.exception
            yield house
        finally:
            signals[signal.SIGTERM]()
            main.join(40)
            house.relay.close()
            gc.unfreeze()
            root.handlers[:], root.level = handlers, level
            sys.setswitchinterval(interval)
        assert main.value == 0


def _ready(house: House) -> bool:
    try:
        return house.ask("GET", "/readyz")[0] == 200
    except OSError:
        return False
