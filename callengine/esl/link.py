"""Keep one connection to the event socket up: connect, subscribe, watch, and after a loss come back with backoff.

Every failure ends in a wait between ``backoff_min_s`` and a ceiling that doubles up to ``backoff_max_s``, drawn at
random over that whole range, so that many engines do not come back in step. The ceiling falls back once a connection
has stayed ready for ``stable_after_s``: a peer that accepts and closes at once is asked no faster than a dead one.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gevent.event import Event

from callengine.errors import EslDisconnected, EslError
from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss, LossReason, Reply
from callengine.esl.intake import IntakeQueue
from callengine.esl.wire import Events

log = logging.getLogger(__name__)

HEARTBEAT = "HEARTBEAT"


class LinkState(StrEnum):
    """Where the link is."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    SUBSCRIBING = "subscribing"
    READY = "ready"
    BACKING_OFF = "backing_off"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Whom to connect to and how patiently. FreeSWITCH sends HEARTBEAT every 20 s: 45 s are two that did not come."""

    host: str
    port: int
    password: str = field(repr=False)
    connect_timeout_s: float = 5.0
    command_timeout_s: float = 10.0
    heartbeat_timeout_s: float = 45.0
    backoff_min_s: float = 0.5
    backoff_max_s: float = 5.0
    stable_after_s: float = 5.0


class Link:
    """A supervised connection: spawn `run`, which returns after `stop` only.

    ``on_ready(client)`` is called once subscribed, and ``on_lost(loss)`` once after each ``on_ready``, both in the
    greenlet of `run`: what takes long belongs elsewhere, since nobody watches the heartbeat meanwhile. Events go to
    ``intake``, what ``sieve()``, made anew for each connection, leaves of them. For the metrics: ``state``,
    ``state_since_s``, ``connects``, ``failures`` by error name, ``losses`` by `LossReason`, ``last_error``, and the
    ``client``'s own counters.
    """

    def __init__(
        self,
        settings: LinkSettings,
        *,
        events: Iterable[str],
        subclasses: Iterable[str] = (),
        intake: IntakeQueue,
        sieve: Callable[[], Events] = Events,
        on_ready: Callable[[EslClient], None] | None = None,
        on_lost: Callable[[Loss], None] | None = None,
        on_state: Callable[[LinkState], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.settings = settings
        self.address = f"{settings.host}:{settings.port}"
        # Without HEARTBEAT a quiet switch could not be told from a dead one.
        self.events: Sequence[str] = tuple(dict.fromkeys((*events, HEARTBEAT)))
        self.subclasses: Sequence[str] = tuple(subclasses)
        self.intake = intake
        self.client: EslClient | None = None
        self.state = LinkState.DISCONNECTED
        self.state_since_s = clock()
        self.connects = 0
        self.failures: Counter[str] = Counter()
        self.losses: Counter[LossReason] = Counter()
        self.last_error: str | None = None
        self._sieve = sieve
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_state = on_state
        self._clock = clock
        self._stopping = Event()
        self._ready = Event()
        self._sleep = sleep or self._stopping.wait
        self._uniform = uniform
        self._attempts = 0

    def __repr__(self) -> str:
        return f"<Link {self.address} {self.state}>"

    # -- for everybody ------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether commands can be sent."""
        return self.state is LinkState.READY

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until commands can be sent, ``timeout_s`` at most; return whether they can."""
        self._ready.wait(timeout_s)
        return self.ready

    def send(self, command: str, headers: Iterable[tuple[str, str]] = (), *, timeout_s: float | None = None) -> Reply:
        """`EslClient.send` on the connection of this moment; raises `EslDisconnected` at once where there is none."""
        return self._connected().send(command, headers, timeout_s=timeout_s)

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        """`EslClient.api`, likewise."""
        return self._connected().api(command, timeout_s=timeout_s)

    def bgapi(self, command: str, job_uuid: str, *, timeout_s: float | None = None) -> Reply:
        """`EslClient.bgapi`, likewise."""
        return self._connected().bgapi(command, job_uuid, timeout_s=timeout_s)

    def hurry(self) -> None:
        """`EslClient.hurry`, where there is a connection."""
        if self.client is not None:
            self.client.hurry()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Close the connection and let `run` return; ``timeout_s`` bounds the closing."""
        self._stopping.set()
        if self.client is not None:
            self.client.close(timeout_s)

    def run(self) -> None:
        """Keep the connection up until `stop`."""
        try:
            while not self._stopping.is_set():
                self._once()
                if not self._stopping.is_set():
                    self._back_off()
        finally:
            self._drop()
            self._enter(LinkState.STOPPED)

    # -- one connection -----------------------------------------------------------------------------------------------

    def _once(self) -> None:
        """One connection, from the attempt to its end."""
        client = self.client = self._new_client()
        self._enter(LinkState.CONNECTING)
        try:
            client.connect()
            self._enter(LinkState.SUBSCRIBING)
            client.subscribe(self.events, self.subclasses)
        except EslError as error:
            self._drop()
            self._failed(error)
            return
        since_s = self._clock()
        self.connects += 1
        self.last_error = None
        self._enter(LinkState.READY)
        log.info("connected to FreeSWITCH at %s", self.address)
        loss = Loss(LossReason.CLOSED, "the link was stopped")
        try:
            self._tell_ready(client)
            loss = self._watch(client)
        finally:
            self._drop()
            self._lost(loss)
        if self._clock() - since_s >= self.settings.stable_after_s:
            self._attempts = 0

    def _new_client(self) -> EslClient:
        client = EslClient(
            self.settings.host,
            self.settings.port,
            self.settings.password,
            connect_timeout_s=self.settings.connect_timeout_s,
            command_timeout_s=self.settings.command_timeout_s,
            clock=self._clock,
            on_authenticating=lambda: self._enter(LinkState.AUTHENTICATING),
            events=self._sieve(),
        )
        self.intake.reopen()
        client.register_handle("*", self.intake.put_many)
        return client

    def _tell_ready(self, client: EslClient) -> None:
        if self._on_ready is None:
            return
        try:
            self._on_ready(client)
        except Exception as error:
            # A connection on which the calls could not be reconciled is no better than none.
            if client.loss is None:
                log.exception("what is done on every connection failed; connecting again")
            client.lose(LossReason.FAILED, f"what is done on every connection failed: {type(error).__name__}")

    def _watch(self, client: EslClient) -> Loss:
        """Wait for the end of the connection; bring it about when nothing is heard for too long."""
        limit_s = self.settings.heartbeat_timeout_s
        while client.loss is None:
            left_s = limit_s - (self._clock() - client.last_received_s)
            if left_s > 0:
                client.closed.wait(left_s)
            else:
                client.lose(LossReason.HEARTBEAT_LOST, f"nothing received from FreeSWITCH for {limit_s:g} s")
        return client.loss

    def _drop(self) -> None:
        client, self.client = self.client, None
        self._enter(LinkState.DISCONNECTED)
        if client is not None:
            client.close()

    def _lost(self, loss: Loss) -> None:
        self.losses[loss.reason] += 1
        if not self._stopping.is_set():
            self.last_error = loss.detail
            log.warning("lost FreeSWITCH at %s: %s", self.address, loss.detail)
        if self._on_lost is not None:
            try:
                self._on_lost(loss)
            except Exception:
                log.exception("what is done on every loss failed")

    def _failed(self, error: EslError) -> None:
        self.failures[type(error).__name__] += 1
        if self._stopping.is_set():
            return
        text = str(error)
        # The same failure again and again is told once; the next one of another kind, or after a success, anew.
        level = logging.DEBUG if text == self.last_error else logging.ERROR
        self.last_error = text
        log.log(level, "%s", text if self.address in text else f"{self.address}: {text}")

    # -- between two --------------------------------------------------------------------------------------------------

    def _back_off(self) -> None:
        self._enter(LinkState.BACKING_OFF)
        self._sleep(self._next_delay_s())
        # After an overflow the next connection would overflow as well, as long as the work has not caught up.
        while not self.intake.has_room and not self._stopping.is_set():
            self._sleep(self.settings.backoff_min_s)

    def _next_delay_s(self) -> float:
        lowest_s, highest_s = self.settings.backoff_min_s, self.settings.backoff_max_s
        # Doubling stops where it has long passed any ceiling, before it passes the largest float.
        self._attempts = min(self._attempts + 1, 32)
        return self._uniform(lowest_s, max(lowest_s, min(highest_s, lowest_s * 2.0**self._attempts)))

    def _connected(self) -> EslClient:
        if self.client is None or not self.ready:
            raise EslDisconnected(f"not connected to FreeSWITCH at {self.address} ({self.state.replace('_', ' ')})")
        return self.client

    def _enter(self, state: LinkState) -> None:
        if state is self.state:
            return
        self.state = state
        self.state_since_s = self._clock()
        if state is LinkState.READY:
            self._ready.set()
        else:
            self._ready.clear()
        if self._on_state is not None:
            self._on_state(state)
