"""One connection to the event socket, on top of greenswitch.

greenswitch makes the connection, answers the password request, keeps the registry of handlers and the queue of commands
in flight. Its reader, its dispatch and its ``send`` are replaced; each method that does so says why.

Handlers (``register_handle``): ``"*"`` is called with what ``events`` leaves of those that came, a list of bodies;
``"DISCONNECT"`` once with a `Loss`. They run in the reader and must not wait; one that returns False has no room for
the events, which ends the connection.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import gevent
from gevent import socket
from gevent.event import AsyncResult, Event
from greenswitch.esl import InboundESL, NotConnectedError

from callengine.errors import (
    CommandRefused,
    CommandTimedOut,
    EslAccessDenied,
    EslAuthRejected,
    EslDisconnected,
    EslError,
    EslRefused,
    MalformedStream,
)
from callengine.esl import wire
from callengine.esl.exchange import Loss, LossReason, Reply, TooManyCommands, UnsafeCommand, encode_command

log = logging.getLogger(__name__)

RECV_BYTES = 256 * 1024
MAX_IN_FLIGHT = 10_000
MAX_UNSENT_BYTES = 8 * 1024 * 1024
# The reader gives way after so many reads (512 KiB are less than a millisecond): a full socket never makes it wait.
_READS_PER_TURN = 2
# Waking up costs more than an event: one that comes waits so long for others, unless somebody waits for what comes.
_GATHERED_S = 0.01
_GATHERED_BYTES = 64 * 1024
_SHOWN_CHARS = 120

_JOB_UUID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EVENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_SUBCLASS = re.compile(r"[!-~]+")


class EslClient(InboundESL):  # type: ignore[misc]  # greenswitch has no types
    """One connection, used once: `connect`, then commands and events until ``closed`` is set; ``loss`` then says why.

    Many greenlets may send at once. For the metrics: ``bytes_received``, ``events_received``, ``frames_ignored``,
    `in_flight`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        *,
        connect_timeout_s: float = 5.0,
        command_timeout_s: float = 10.0,
        max_in_flight: int = MAX_IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        on_authenticating: Callable[[], None] | None = None,
        events: wire.Events | None = None,
    ) -> None:
        super().__init__(host, port, password, timeout=connect_timeout_s)
        self.address = f"{host}:{port}"
        self.command_timeout_s = command_timeout_s
        self.max_in_flight = max_in_flight
        self.closed = Event()
        self.loss: Loss | None = None
        self.last_received_s = clock()
        self.bytes_received = 0
        self.events_received = 0
        self.frames_ignored = 0
        self.sock: Any = None
        self._events = events or wire.Events()
        self._clock = clock
        self._on_authenticating = on_authenticating
        self._waiting_for = "the connection"
        # A list, greenswitch's choice, is slow to take from at the front when many are in flight.
        self._commands_sent: deque[AsyncResult[Reply]] = deque()
        self._outbox = bytearray()
        self._outbox_filled = Event()
        self._gathering = False
        self._hurried = Event()
        self._write_commands_greenlet: gevent.Greenlet[[], None] | None = None

    def __repr__(self) -> str:
        return f"<EslClient {self.address} {'connected' if self.connected else 'not connected'}>"

    @property
    def in_flight(self) -> int:
        """How many commands wait for their replies."""
        return len(self._commands_sent)

    # -- the beginning ------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect and authenticate within ``connect_timeout_s``, or raise one of the `EslError`.

        Around greenswitch's, which waits forever for the password request and hardly tells one failure from another.
        """
        limit = gevent.Timeout(self.timeout)
        ready = False
        try:
            with limit:
                super().connect()
            ready = True
        except (OSError, NotConnectedError, EslDisconnected) as error:
            raise self._connect_error(error) from None
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
            raise EslRefused(self.address, self._slow_step()) from None
        finally:
            if not ready:
                self.lose(LossReason.CLOSED, "it never got ready")

    def authenticate(self) -> None:
        """Send the password. Around greenswitch's, which raises ValueError or KeyError."""
        self._waiting_for = "an answer to the password"
        if self._on_authenticating is not None:
            self._on_authenticating()
        try:
            super().authenticate()
        except (ValueError, KeyError):
            raise EslAuthRejected(self.address) from None

    def start_event_handlers(self) -> None:
        """Start reader and writer. Instead of greenswitch's: it adds an unbounded queue and a greenlet behind it."""
        self.sock_file.close()
        if self.loss is not None:
            # Closed from outside before there was a socket to close.
            self.connected = False
            self.sock.close()
            raise EslDisconnected(self.loss.detail)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting_for = "auth/request"
        self.last_received_s = self._clock()
        self._receive_events_greenlet = gevent.spawn(self.receive_events)
        self._write_commands_greenlet = gevent.spawn(self._write_commands)

    def _slow_step(self) -> str:
        return f"waited {self.timeout:g} s for {self._waiting_for}"

    def _connect_error(self, error: Exception) -> EslError:
        loss = self.loss
        if loss is None:
            reason = self._slow_step() if isinstance(error, NotConnectedError) else _words(error)
            return EslRefused(self.address, reason)
        if loss.reason is LossReason.ACCESS_DENIED:
            return EslAccessDenied(self.address)
        if loss.reason is LossReason.MALFORMED:
            return MalformedStream(f"{self.address}: {loss.detail}")
        return EslDisconnected(f"FreeSWITCH at {self.address} was not ready before the connection ended: {loss.detail}")

    # -- the end ------------------------------------------------------------------------------------------------------

    def lose(self, reason: LossReason, detail: str) -> None:
        """End the connection, once: the first reason stands, waiting commands get `EslDisconnected`. Never waits."""
        if self.loss is not None:
            return
        self.loss = Loss(reason, detail)
        self.connected = False
        self._run = False
        if self.sock is not None:
            self.sock.close()
        self._auth_request_event.set()
        self._outbox.clear()
        self._outbox_filled.set()
        self.hurry()
        waiting, self._commands_sent = self._commands_sent, deque()
        for waiter in waiting:
            waiter.set_exception(EslDisconnected(detail))
        self.closed.set()
        for handler in list(self.event_handlers.get("DISCONNECT", ())):
            try:
                handler(self.loss)
            except Exception:
                log.exception("a DISCONNECT handler failed")

    def close(self, timeout_s: float = 2.0) -> None:
        """End the connection and wait for its greenlets, ``timeout_s`` at most."""
        self.lose(LossReason.CLOSED, "closed by callengine")
        own = (self._receive_events_greenlet, self._write_commands_greenlet)
        others = [each for each in own if each is not None and each is not gevent.getcurrent()]
        gevent.joinall(others, timeout=timeout_s)
        gevent.killall(others, block=False)

    def stop(self) -> None:
        """Same as `close`. Instead of greenswitch's, which waits for a reply and for its greenlets without end."""
        self.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def receive_events(self) -> None:
        """Read until the end. Instead of greenswitch's, which goes line by line and spins at EOF inside a body."""
        try:
            self._read()
        except MalformedStream as error:
            self.lose(LossReason.MALFORMED, str(error))
        except OSError as error:
            self.lose(LossReason.RESET, f"the connection broke: {_words(error)}")
        except Exception:
            log.exception("the event socket reader failed")
            self.lose(LossReason.FAILED, "the reader failed")
        finally:
            self.lose(LossReason.CLOSED, "the reader was stopped")

    def _read(self) -> None:
        framer = wire.Framer(events=self._events)
        reads = 0
        while self.loss is None:
            data = self.sock.recv(RECV_BYTES)
            if not data:
                cut = "in the middle of a frame" if framer.eof() else "without a notice"
                self.lose(LossReason.EOF, f"FreeSWITCH closed the connection {cut}")
                return
            self.last_received_s = self._clock()
            self.bytes_received += len(data)
            self._take(framer, data)
            if len(data) < _GATHERED_BYTES and not self._commands_sent:
                self._gather()
            reads += 1
            if reads % _READS_PER_TURN == 0:
                gevent.sleep(0)

    def hurry(self) -> None:
        """Read what has come now, instead of waiting for more of it. Never waits."""
        if self._gathering:
            self._hurried.set()

    def _gather(self) -> None:
        self._hurried.clear()
        self._gathering = True
        try:
            self._hurried.wait(_GATHERED_S)
        finally:
            self._gathering = False

    def _take(self, framer: wire.Framer, data: bytes) -> None:
        try:
            for frame in framer.feed(data):
                self.handle_event(frame)
        finally:
            count, bodies = self._events.handed()
            if count:
                self.events_received += count
                self.process_events(bodies)
        framer.check()

    def handle_event(self, frame: wire.Frame) -> None:
        """Take one frame that is no event. Instead of greenswitch's, which reads on from the socket in here."""
        kind = frame.content_type
        if kind == wire.COMMAND_REPLY:
            self._answer(Reply(frame.headers.get("Reply-Text", ""), frame.body, frame.headers))
        elif kind == wire.API_RESPONSE:
            self._answer(Reply(frame.body.decode("utf-8", "replace"), frame.body, frame.headers))
        elif kind == wire.AUTH_REQUEST:
            self._auth_request_event.set()
        elif kind == wire.RUDE_REJECTION:
            self.lose(LossReason.ACCESS_DENIED, "FreeSWITCH denies access to this host")
        elif kind == wire.DISCONNECT_NOTICE:
            self.lose(LossReason.DISCONNECT_NOTICE, f"FreeSWITCH ended the connection: {_first_line(frame.body)}")
        else:
            self.frames_ignored += 1

    def _answer(self, reply: Reply) -> None:
        if not self._commands_sent:
            raise MalformedStream("a reply that answers no command")
        self._commands_sent.popleft().set(reply)

    def process_events(self, bodies: list[bytes]) -> None:
        """Hand on event bodies. Instead of greenswitch's, which parses each one and queues it without a bound."""
        for handler in list(self.event_handlers.get("*", ())):
            try:
                taken = handler(bodies)
            except Exception:
                log.exception("an event handler failed")
                self.lose(LossReason.FAILED, "an event handler failed")
                return
            if taken is False:
                self.lose(LossReason.INTAKE_OVERFLOW, "events came faster than they were worked on")
                return

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, command: str, headers: Iterable[tuple[str, str]] = (), *, timeout_s: float | None = None) -> Reply:
        """Send one command and return its reply, whatever it says.

        Instead of greenswitch's, which waits without end, sends in part, and lets any line break through. Raises
        `UnsafeCommand`, `TooManyCommands`, `EslDisconnected`, or `CommandTimedOut`, which ends the connection: a switch
        that does not answer for so long is taken for dead.
        """
        limit_s = self.command_timeout_s if timeout_s is None else timeout_s
        raw = encode_command(command, headers)
        if not self.connected:
            raise EslDisconnected(self.loss.detail) if self.loss else EslDisconnected()
        if self.in_flight >= self.max_in_flight or len(self._outbox) + len(raw) > MAX_UNSENT_BYTES:
            raise TooManyCommands(command, self.in_flight)
        waiter: AsyncResult[Reply] = AsyncResult()
        self._commands_sent.append(waiter)
        self._outbox += raw
        self._outbox_filled.set()
        self.hurry()
        waiter.wait(limit_s)
        if not waiter.ready():
            error = CommandTimedOut(command, limit_s)
            self.lose(LossReason.COMMAND_TIMED_OUT, str(error))
            raise error
        return cast("Reply", waiter.get(block=False))

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        """Run an API command and return what it printed, ``-ERR …`` included. Replies to later commands wait for it."""
        return self.send(f"api {command}", timeout_s=timeout_s).text

    def bgapi(self, command: str, job_uuid: str, *, timeout_s: float | None = None) -> Reply:
        """Start an API command whose result comes as the BACKGROUND_JOB named ``job_uuid``.

        Raises `CommandRefused` where no such job will be.
        """
        if not _JOB_UUID.fullmatch(job_uuid):
            raise UnsafeCommand("bgapi", "its Job-UUID is no plain word")
        reply = self.send(f"bgapi {command}", [("Job-UUID", job_uuid)], timeout_s=timeout_s)
        if reply.refused:
            raise CommandRefused("bgapi", reply.text)
        if reply.headers.get("Job-UUID") != job_uuid:
            error = MalformedStream("replies are out of step with commands: one names another Job-UUID")
            self.lose(LossReason.MALFORMED, str(error))
            raise error
        return reply

    def subscribe(self, events: Sequence[str], subclasses: Sequence[str] = ()) -> None:
        """Ask for these events as JSON, and for these subclasses of CUSTOM; adds to what was asked for before."""
        names = [*events, "CUSTOM", *subclasses] if subclasses else list(events)
        if not names or not all(map(_EVENT_NAME.fullmatch, events)) or not all(map(_SUBCLASS.fullmatch, subclasses)):
            raise UnsafeCommand("event", "it names no event, or one that no event can be called")
        reply = self.send("event json " + " ".join(names))
        if reply.text != "+OK event listener enabled json":
            raise CommandRefused("event", reply.text)

    def _write_commands(self) -> None:
        """Write what is queued, in a greenlet of its own: a sender killed half way must not cut a command in two."""
        try:
            while self.loss is None:
                self._outbox_filled.wait()
                self._outbox_filled.clear()
                chunk, self._outbox = self._outbox, bytearray()
                if chunk:
                    with gevent.Timeout(self.command_timeout_s):
                        self.sock.sendall(chunk)
        except gevent.Timeout:
            self.lose(LossReason.WRITE_STALLED, f"FreeSWITCH did not read for {self.command_timeout_s:g} s")
        except OSError as error:
            self.lose(LossReason.RESET, f"the connection broke: {_words(error)}")
        finally:
            self.lose(LossReason.CLOSED, "the writer was stopped")


def _words(error: Exception) -> str:
    """An operating system error in its own words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _first_line(body: bytes) -> str:
    return ascii(body.strip().partition(b"\n")[0].decode("utf-8", "replace")[:_SHOWN_CHARS])[1:-1]
