"""What a connection still has to send: one greenlet writes it, and a client that does not read fills it up."""

from __future__ import annotations

import socket as sockets
import struct
from collections import deque
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event as Flag

if TYPE_CHECKING:
    from gevent.socket import socket as Socket  # noqa: N812

_LAST_WRITE_S = 2.0


class Outbox:
    """A queue of bytes and its writer. ``events`` is how many events of it are not known to be written."""

    def __init__(self, sock: Socket) -> None:
        self.closing = False
        self.stalled = False  # a fault: nothing is written any more
        self.events = 0
        self._sock = sock
        self._queue: deque[bytes] = deque()
        self._held: deque[bytes] | None = None
        self._wake = Flag()
        self._writer = gevent.spawn(self._write)

    def put(self, data: bytes) -> None:
        self._queue.append(data)
        self._wake.set()

    def put_event(self, data: bytes) -> None:
        self.events += 1
        if self._held is None:
            self.put(data)
        else:
            self._held.append(data)

    def hold_events(self) -> None:
        """Keep events back, as an ``api`` command that takes its time does."""
        self._held = deque()

    def release_events(self) -> None:
        held, self._held = self._held or (), None
        self._queue.extend(held)
        self._wake.set()

    def stall(self, on: bool) -> None:
        self.stalled = on
        self._wake.set()

    def close(self, *, reset: bool = False) -> None:
        """Write what is queued, then close: with FIN, or at once with RST."""
        self.closing = True
        if reset:
            self._sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            self._queue.clear()
        self._wake.set()
        if self._writer is not gevent.getcurrent():
            self._writer.join(0 if reset or self.stalled else _LAST_WRITE_S)
            self._writer.kill(block=False)
        try:
            if not reset:
                self._sock.shutdown(sockets.SHUT_RDWR)
        except OSError:
            pass  # the client was quicker
        self._sock.close()

    def _write(self) -> None:
        try:
            while True:
                while self._queue and not self.stalled:
                    data = b"".join(self._queue)
                    written = self.events
                    self._queue.clear()
                    self._sock.sendall(data)
                    self.events -= written
                if self.closing:
                    return
                self._wake.clear()
                if not self._queue or self.stalled:
                    self._wake.wait(3600.0)
        except OSError:
            self.closing = True
