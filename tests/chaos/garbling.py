"""What a bad road does to the events of a switch: they come twice, late, or as garbage. Bytes in, bytes out, no socket.

Knows the framing of the event socket and nothing else of it: a header block up to an empty line, then as many bytes as
its Content-Length says. Written apart from callengine's own parser, which is among what is tested with it.
"""

from __future__ import annotations

import heapq
import random
import re
from dataclasses import dataclass
from itertools import count
from typing import Final

_LENGTH: Final = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_TYPE: Final = re.compile(rb"^content-type: *(\S+)", re.IGNORECASE | re.MULTILINE)
_EVENTS: Final = frozenset({b"text/event-json", b"text/event-plain", b"text/event-xml"})
NOTICE: Final = b"text/disconnect-notice"
_MAX_FRAME_BYTES: Final = 64 << 20
MAX_HELD_BYTES: Final = 64 << 20
_COPY_LATER: Final = 0.5
_COPY_DELAY_S: Final = 0.2


class NotFramed(Exception):
    """What comes is no event socket."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, whole. ``head``: bytes up to and with the empty line."""

    kind: bytes
    data: bytes
    head: int

    @property
    def is_event(self) -> bool:
        return self.kind in _EVENTS


class Cutter:
    """Cuts a stream into messages. ``tail`` is the beginning of the one that is not there yet."""

    def __init__(self) -> None:
        self.tail = bytearray()
        self._wanted = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete now. Raises ``NotFramed``."""
        self.tail += data
        frames: list[Frame] = []
        if len(self.tail) < self._wanted:
            return frames
        whole, at = bytes(self.tail), 0
        self.tail.clear()
        while True:
            end = whole.find(b"\n\n", at)
            self._wanted = 0
            if end < 0:
                break
            head = whole[at : end + 2]
            length = _LENGTH.search(head)
            size = len(head) + (int(length[1]) if length else 0)
            if size > _MAX_FRAME_BYTES:
                raise NotFramed
            if at + size > len(whole):
                self._wanted = size
                break
            kind = _TYPE.search(head)
            frames.append(Frame(kind[1].lower() if kind else b"", whole[at : at + size], len(head)))
            at += size
        self.tail += whole[at:]
        if not self._wanted and len(self.tail) > _MAX_FRAME_BYTES:
            raise NotFramed
        return frames


@dataclass(frozen=True)
class Plan:
    """How events are garbled. ``delayed_share`` is of all, ``garbage_one_in`` is one in so many; 0: none."""

    doubled: bool = True
    delayed_share: float = 0.05
    delay_max_s: float = 2.0
    garbage_one_in: int = 10_000


@dataclass
class Counts:
    """Since the start, over all connections."""

    connections: int = 0
    events: int = 0
    doubled: int = 0
    delayed: int = 0
    garbled: int = 0
    held_back_bytes: int = 0


class Garbler:
    """One connection's events under a plan. Draws come from ``rng``; times are of the caller's clock, in seconds."""

    def __init__(self, rng: random.Random, counts: Counts) -> None:
        self._rng, self._counts = rng, counts
        self._held: list[tuple[float, int, bytes]] = []
        self._order = count()

    def take(self, frame: Frame, plan: Plan, now: float) -> bytes:
        """What goes out in the place of an event now; the rest is held back."""
        rng, counts, data = self._rng, self._counts, frame.data
        if plan.garbage_one_in and rng.randrange(plan.garbage_one_in) == 0:
            data = garbage(frame, rng)
            counts.garbled += 1
        late_s = 0.0
        if rng.random() < plan.delayed_share:
            late_s = rng.uniform(0.0, plan.delay_max_s)
            counts.delayed += self._hold(now + late_s, data)
        out = b"" if late_s else data
        if plan.doubled:
            counts.doubled += 1
            copy_s = late_s + (rng.uniform(0.0, _COPY_DELAY_S) if rng.random() < _COPY_LATER else 0.0)
            if not copy_s:
                out += data
            else:
                self._hold(now + copy_s, data)
        return out

    def _hold(self, due: float, data: bytes) -> bool:
        # Beyond the bound nothing waits any more: it is the next to go out.
        roomy = self._counts.held_back_bytes + len(data) <= MAX_HELD_BYTES
        heapq.heappush(self._held, (due if roomy else 0.0, next(self._order), data))
        self._counts.held_back_bytes += len(data)
        return roomy

    def due(self, now: float) -> bytes:
        """What was held back until now."""
        parts: list[bytes] = []
        while self._held and self._held[0][0] <= now:
            parts.append(heapq.heappop(self._held)[2])
            self._counts.held_back_bytes -= len(parts[-1])
        return b"".join(parts)

    def rest(self) -> bytes:
        """All that is held back: nothing may come after what comes next."""
        return self.due(float("inf"))

    @property
    def next_due(self) -> float | None:
        return self._held[0][0] if self._held else None


def garbage(frame: Frame, rng: random.Random) -> bytes:
    """The same frame around a body that says nothing: never one that could be taken for an event."""
    head, body = frame.data[: frame.head], frame.data[frame.head :]
    kinds = ["random", "longer", "not utf-8"]
    if frame.kind == b"text/event-json" and len(body) > 2:
        kinds += ["truncated", "broken"]
    kind = rng.choice(kinds)
    if kind == "random":
        body = rng.randbytes(len(body))
    elif kind == "longer":
        body = rng.randbytes(rng.randint(1, 2 * len(body) + 1))
    elif kind == "not utf-8":
        body = bytes(rng.randrange(0x80, 0x100) for _ in body)
    elif kind == "truncated":
        # Before its last brace: no beginning of an object is JSON.
        body = body[: rng.randrange(1, max(2, body.rfind(b"}")))]
    else:
        # Between two pairs, never inside of a string: a lenient reader must not see another value in it.
        at = body.find(b'","', rng.randrange(len(body))) + 1
        body = body[:at] + b"\x00" + body[at + 1 :]
    return _LENGTH.sub(b"Content-Length: %d" % len(body), head) + body
