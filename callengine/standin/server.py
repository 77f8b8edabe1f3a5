"""The event socket's listener, and the stand-in as a whole: ``StandIn`` starts, stops and breaks it."""

from __future__ import annotations

import logging
import signal
import socket as sockets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import gevent
from gevent.event import Event as Flag
from gevent.server import StreamServer

from callengine.standin import api_commands, inbound, legs, recording, sources
from callengine.standin.api_commands import Job
from callengine.standin.apps import execute
from callengine.standin.clock import Script, Task
from callengine.standin.dialplan import route
from callengine.standin.fault_command import fault_command
from callengine.standin.options import Options
from callengine.standin.session import GOING_DOWN, Session
from callengine.standin.switch import BANNER, Switch

if TYPE_CHECKING:
    from gevent.socket import socket as Socket  # noqa: N812

log = logging.getLogger(__name__)

_MAX_SESSIONS = 200
_STOP_TIMEOUT_S = 2.0
_SHUTDOWN_TIMEOUT_S = 20.0
_LOOK_S = 0.02
_RELOAD_S = 0.05


class Server:
    """Accepts connections and keeps the list of them."""

    def __init__(self, standin: StandIn) -> None:
        self.standin = standin
        switch = self.switch = standin.switch
        self.sessions: list[Session] = []
        self.port = switch.options.port
        self._listener: StreamServer | None = None
        self._comes_back: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        """Listen; the port is known afterwards, and kept over a restart."""
        listener = StreamServer((self.switch.options.host, self.port), self._serve, spawn=_MAX_SESSIONS)
        listener.start()
        self.port = listener.server_port or self.port
        self._listener = listener

    def stop(self) -> None:
        if self._comes_back is not None:
            self._comes_back.kill(block=False)
            self._comes_back = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    @property
    def listening(self) -> bool:
        return self._listener is not None

    def _serve(self, sock: Socket, address: tuple[str, int]) -> None:
        sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        session = Session(self, sock, address)
        self.sessions.append(session)
        session.run()

    def forget(self, session: Session) -> None:
        if session in self.switch.listeners:
            self.switch.listeners.remove(session)
            self.switch.subscriptions_changed()
        if session in self.sessions:
            self.sessions.remove(session)

    def call(self, name: str, argument: str) -> str | Job:
        """An API command, or the private one that breaks things."""
        if name == "standin_fault":
            return fault_command(self.standin, argument)
        return api_commands.call(self.switch, name, argument)

    def drop_all(self, notice: str = "", *, reset: bool = False) -> None:
        """End every connection: after a notice, with a bare FIN, or with RST."""
        for session in list(self.sessions):
            self.forget(session)
            if notice:
                session.notice(notice)
            session.close(reset=reset)

    def reload(self) -> None:
        """``reload mod_event_socket``: notice and end of every connection, and for a moment nobody listens; the calls
        live on."""
        listened = self.listening
        self.stop()
        self.drop_all(GOING_DOWN)
        if listened:
            self._comes_back = gevent.spawn_later(_RELOAD_S, self.start)


class StandIn:
    """A stand-in for FreeSWITCH's event socket, in this process.

    ::

        with StandIn(Options(seed=7, time_scale=10)) as standin:
            connect(standin.host, standin.port)

    Everything runs in greenlets of the calling thread, so a client in the same thread has to be gevent's, too. The
    methods below ``stop`` make it fail in the ways in which real switches do.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.switch = Switch(self.options, route=route, execute=execute)
        self.switch.on_shutdown = self._on_shutdown
        self.server = Server(self)
        self.faults = self.switch.faults
        self.went_down = Flag()
        """Set when a shutdown is complete, until a restart."""
        self._going_down = False
        self._life: list[Task] = []  # what goes on by itself: heartbeats, incoming calls

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def host(self) -> str:
        return self.options.host

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def core_uuid(self) -> str:
        return self.switch.core_uuid

    def banner(self) -> str:
        return f"standin: {BANNER}; event socket on {self.address}"

    def start(self) -> None:
        recording.prepare()
        self.switch.clock.start()
        self.server.start()
        self._begin()

    def stop(self) -> None:
        """End everything at once, without a word to anybody."""
        self.server.stop()
        self.server.drop_all(reset=True)
        self._end()
        self.switch.clock.stop(_STOP_TIMEOUT_S)

    def _begin(self) -> None:
        self._going_down = False
        self.went_down.clear()
        clock = self.switch.clock
        self._life.append(Task(clock, self._heartbeats()))
        if self.options.inbound_rate > 0:
            self._life.append(Task(clock, inbound.arrivals(self.switch)))

    def _heartbeats(self) -> Script:
        while True:
            yield self.options.heartbeat_s
            self.switch.heartbeat()

    def _end(self) -> None:
        """The core is gone, with its calls."""
        while self._life:
            self._life.pop().cancel()
        self.switch.restart()

    # -- what goes wrong -----------------------------------------------------------------------------------------

    def place_inbound(self, kind: str, *, called: str = "", caller: str = "") -> str:
        """One incoming call of a kind (``inbound.KINDS``); its UUID, ``""`` if the switch takes none."""
        channel = inbound.place(self.switch, kind, self.switch.rng, called=called, caller=caller)
        return channel.uuid if channel is not None else ""

    def refuse_connections(self) -> None:
        """Nobody listens any more; connections that exist go on."""
        self.server.stop()

    def accept_connections(self) -> None:
        self.server.start()

    def drop_connections(self, *, reset: bool = False) -> None:
        """Close every connection without a notice, with FIN or RST; the calls live on."""
        self.server.drop_all(reset=reset)

    def reload(self) -> None:
        """``reload mod_event_socket``."""
        self.server.reload()

    def stall(self, on: bool = True) -> None:
        """Stop writing on every connection, which stays open: a black hole. ``stall(False)`` ends it."""
        for session in self.server.sessions:
            session.outbox.stall(on)

    def shutdown(self) -> None:
        """SHUTDOWN, every call ends with SYSTEM_SHUTDOWN, notice, end; nobody listens afterwards. Once."""
        if self._going_down:
            return
        self._going_down = True
        try:
            self._hang_up_all()
        finally:  # whoever waits for the end of the process waits for this
            self.server.stop()
            self.server.drop_all(GOING_DOWN)
            self.went_down.set()

    def _hang_up_all(self) -> None:
        self.switch.shutting_down = True
        self.switch.emit("SHUTDOWN", sources.SHUTDOWN, {"Event-Info": "System Shutting Down"})
        for channel in list(self.switch.channels.values()):
            legs.hangup(self.switch, channel, "SYSTEM_SHUTDOWN")
        until = time.monotonic() + _SHUTDOWN_TIMEOUT_S
        while self.switch.channels and time.monotonic() < until:
            gevent.sleep(_LOOK_S)

    def kill(self) -> None:
        """As SIGKILL: no event, no notice, no CDR, header-only recordings; nobody listens afterwards."""
        self.server.stop()
        self.server.drop_all(reset=True)
        self._end()

    def restart(self) -> None:
        """Listen again on the same port, as a new core with no channels."""
        self.server.stop()
        self.server.drop_all()
        self._end()
        self.server.start()
        self._begin()

    def _on_shutdown(self, how: str) -> None:
        gevent.spawn(self._go_down, how)

    def _go_down(self, how: str) -> None:
        if how == "elegant":
            while self.switch.channels and self.switch.shutting_down:
                gevent.sleep(0.1)
            if not self.switch.shutting_down:
                return
        self.shutdown()


def serve(standin: StandIn, ready: Callable[[], None]) -> None:
    """Run until SIGINT, SIGTERM or ``fsctl shutdown``; ``ready`` is called once it listens."""
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, gevent.spawn, standin.shutdown)
    standin.start()
    ready()
    try:
        standin.went_down.wait()
    finally:
        standin.stop()
