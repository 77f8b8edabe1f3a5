"""The proxy's connections: one thread, one selector. What is read from one side goes to the other, whole or garbled.

Memory is bounded: while one side does not take what it is sent, the other is not read, so that a slow client is felt by
the switch as if nothing stood between them.
"""

from __future__ import annotations

import errno
import random
import select
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from tests.chaos.garbling import NOTICE, Counts, Cutter, Frame, Garbler, NotFramed, Plan

_CHUNK_BYTES: Final = 256 << 10
_HIGH_BYTES: Final = 4 << 20
_FIN_WAITS_S: Final = 0.1
_GOODBYE_S: Final = 2.0
_RESET: Final = struct.pack("ii", 1, 0)
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Side:
    """One socket of a pair, and what is still to be sent on it."""

    def __init__(self, pair: Pair, sock: socket.socket, *, connected: bool = True) -> None:
        sock.setblocking(False)
        self.pair, self.sock, self.connected = pair, sock, connected
        self.out = bytearray()
        self.ended = False  # it said that it sends no more
        self.ending = False  # we say so once ``out`` is empty
        self._watched = 0

    def watch(self, selector: selectors.BaseSelector, mask: int) -> None:
        if mask == self._watched:
            return
        if not mask:
            selector.unregister(self.sock)
        elif self._watched:
            selector.modify(self.sock, mask, self)
        else:
            selector.register(self.sock, mask, self)
        self._watched = mask

    def send(self, data: bytes) -> None:
        """Raises OSError if the connection is gone."""
        if self.connected and not self.out:
            with suppress(BlockingIOError):
                data = data[self.sock.send(data) :]
        self.out += data

    def flush(self) -> None:
        if self.out and self.connected:
            with suppress(BlockingIOError):
                del self.out[: self.sock.send(self.out)]
        if self.ending and not self.out and self.connected:
            self.ending = False
            self.sock.shutdown(socket.SHUT_WR)

    def close(self, selector: selectors.BaseSelector, *, reset: bool = False) -> None:
        self.watch(selector, 0)
        if reset:
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()


class Pair:
    """A connection of the daemon's, and ours to the switch (None: made while all was dark)."""

    def __init__(self, relay: Relay, daemon: socket.socket, switch: socket.socket | None, seed: str) -> None:
        self.relay = relay
        self.daemon = Side(self, daemon)
        self.switch = Side(self, switch, connected=False) if switch else None
        self.cutter: Cutter | None = Cutter()
        self.garbler = Garbler(random.Random(seed), relay.counts)
        self.told = 0  # bytes of the message under way that went out before it was complete
        self.fin_at: float | None = None
        self.gone_at: float | None = None  # both are told to end; after this nobody waits for them
        self.dark = False
        self.closed = False

    @property
    def sides(self) -> list[Side]:
        return [side for side in (self.daemon, self.switch) if side is not None]

    # -- from the switch ---------------------------------------------------------------------------------------------

    def from_switch(self, data: bytes, now: float) -> None:
        if self.fin_at is not None:
            self.fin_now(data, now)
        elif self.cutter is None:
            self.daemon.send(data)
        else:
            self._cut(self.cutter, data, now)

    def _cut(self, cutter: Cutter, data: bytes, now: float) -> None:
        before = self._untold()
        try:
            frames = cutter.feed(data)
        except NotFramed:
            self.cutter = None
            self.daemon.send(before + data)
            return
        plan, out = self.relay.plan, bytearray()
        for frame in frames:
            out += self._pass(frame, plan, now)
        if plan is None:
            out += cutter.tail[self.told :]
            self.told = len(cutter.tail)
        self.daemon.send(bytes(out))

    def _pass(self, frame: Frame, plan: Plan | None, now: float) -> bytes:
        self.relay.counts.events += frame.is_event
        told, self.told = self.told, 0
        if frame.is_event and plan is not None and not told:
            return self.garbler.take(frame, plan, now)
        # A message that is partly out goes on before anything else.
        return (self.garbler.rest() if frame.kind == NOTICE and not told else b"") + frame.data[told:]

    def _untold(self) -> bytes:
        """What is there of the message under way and did not go out yet."""
        return bytes(self.cutter.tail[self.told :]) if self.cutter is not None else b""

    def let_go(self, now: float) -> None:
        """Sends what was held back until now, between two messages."""
        due = self.garbler.next_due
        if due is not None and due <= now and not self.told and self.fin_at is None:
            self.daemon.send(self.garbler.due(now))

    # -- the end -----------------------------------------------------------------------------------------------------

    def fin_now(self, data: bytes, now: float) -> None:
        """An orderly end within what is under way: a part of the data goes out, and then nothing more."""
        self.fin_at = None
        data = self._untold() + data
        if data:
            self.daemon.send(data[: random.Random(len(data)).randrange(len(data))])
        self.end(now)

    def end(self, now: float) -> None:
        """Both sides are told that nothing more comes; what they still say is thrown away."""
        self.garbler.rest()
        self.gone_at = now + _GOODBYE_S
        for side in self.sides:
            side.ending = True
            side.flush()

    def ended(self, side: Side, now: float) -> None:
        """One side sends no more: the other is told so, after all that was held back."""
        side.ended = True
        if self.gone_at is None:
            if side is self.switch:
                self.daemon.send((b"" if self.told else self.garbler.rest()) + self._untold())
            self.end(now)
        if all(side.ended and not side.out for side in self.sides):
            self.close()

    def close(self, *, reset: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        self.garbler.rest()
        self.daemon.close(self.relay.selector, reset=reset)
        if self.switch is not None:
            self.switch.close(self.relay.selector)
        self.relay.pairs.discard(self)

    # -- what is waited for ------------------------------------------------------------------------------------------

    def rewatch(self) -> None:
        if self.closed:
            return
        for side in self.sides:
            other = self.switch if side is self.daemon else self.daemon
            full = other is not None and len(other.out) > _HIGH_BYTES and self.gone_at is None
            reads = side.connected and not side.ended and not full
            writes = bool(side.out) or side.ending or not side.connected
            side.watch(self.relay.selector, 0 if self.dark else _READ * reads | _WRITE * writes)


class Relay:
    """Accepts on ``listener`` and connects each to ``to``. ``run`` it; the rest is called from within."""

    def __init__(self, listener: socket.socket, to: tuple[str, int], seed: int) -> None:
        self.to, self.seed = to, seed
        self.selector = selectors.DefaultSelector()
        self.counts = Counts()
        self.pairs: set[Pair] = set()
        self.plan: Plan | None = None
        self.dark = False
        self._looked_at = 0.0
        self.listen(listener, self._accept)

    def listen(self, listener: socket.socket, accept: Callable[[socket.socket], None]) -> None:
        """``accept`` is called with each connection made to the listener."""
        listener.setblocking(False)

        def accepts() -> None:
            with suppress(BlockingIOError, ConnectionError):
                accept(listener.accept()[0])

        self.selector.register(listener, _READ, accepts)

    def _accept(self, sock: socket.socket) -> None:
        self.counts.connections += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        switch: socket.socket | None = None
        if not self.dark:
            switch = socket.socket()
            switch.setblocking(False)
            switch.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if switch.connect_ex(self.to) not in (0, errno.EINPROGRESS):
                switch.close()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.close()
                return
        pair = Pair(self, sock, switch, f"{self.seed}:{self.counts.connections}")
        pair.dark = self.dark
        self.pairs.add(pair)
        pair.rewatch()

    # -- faults ------------------------------------------------------------------------------------------------------

    def rst(self) -> None:
        for pair in list(self.pairs):
            pair.close(reset=True)

    def fin(self) -> None:
        for pair in self.pairs:
            if pair.gone_at is None and not pair.dark:
                pair.fin_at = time.monotonic() + _FIN_WAITS_S

    def black_hole(self) -> None:
        self.dark = True
        for pair in self.pairs:
            pair.dark = True
            pair.rewatch()

    def heal(self) -> None:
        self.dark = False

    # -- the loop ----------------------------------------------------------------------------------------------------

    def turn(self, longest_s: float) -> None:
        """Waits for something to do, at most so long, and does it."""
        now = time.monotonic()
        for key, mask in self.selector.select(max(0.0, min(longest_s, self._next(now) - now))):
            if isinstance(key.data, Side):
                self._guarded(key.data.pair, partial(self._serve, key.data, mask))
            else:
                key.data()
        now = time.monotonic()
        for pair in list(self.pairs):
            self._guarded(pair, partial(self._timed, pair, now))
        if now - self._looked_at > 1.0:
            self._looked_at = now
            self._bury()

    def _next(self, now: float) -> float:
        ends = [now + 60.0]
        for pair in self.pairs:
            if not pair.dark:
                moments = (None if pair.told else pair.garbler.next_due, pair.fin_at, pair.gone_at)
                ends.extend(moment for moment in moments if moment is not None)
        return min(ends)

    def _guarded(self, pair: Pair, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError:
            pair.close(reset=True)
        pair.rewatch()

    def _serve(self, side: Side, mask: int) -> None:
        pair = side.pair
        if pair.closed or pair.dark:
            return
        if mask & _WRITE:
            if not side.connected:
                if error := side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "no connection to the switch")
                side.connected = True
            side.flush()
        if mask & _READ:
            self._read(pair, side)

    def _read(self, pair: Pair, side: Side) -> None:
        try:
            data = side.sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        now = time.monotonic()
        if not data:
            pair.ended(side, now)
        elif pair.gone_at is not None:
            pass
        elif side is pair.switch:
            pair.from_switch(data, now)
        elif pair.switch is not None:
            pair.switch.send(data)

    def _timed(self, pair: Pair, now: float) -> None:
        if pair.dark:
            return
        if pair.fin_at is not None and pair.fin_at <= now:
            pair.fin_now(b"", now)
        pair.let_go(now)
        if pair.gone_at is not None and pair.gone_at <= now:
            pair.close()

    def _bury(self) -> None:
        """Where the daemon gave up a dead connection, the switch's end is reset, as its next packet would do it."""
        if self.dark:
            return
        dead = {pair.daemon.sock.fileno(): pair for pair in self.pairs if pair.dark}
        if not dead:
            return
        poll = select.poll()
        for number in dead:
            poll.register(number, select.POLLRDHUP)
        for number, _ in poll.poll(0):
            pair = dead[number]
            if pair.switch is not None:
                pair.switch.close(self.selector, reset=True)
                pair.switch = None
            pair.close()
