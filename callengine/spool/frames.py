"""How a segment of the spool is written, and read again whatever became of its end. Pure.

A frame is one batch: magic, kind, number of bodies, their size, our clock, a checksum of all this and of the table of
lengths that follows, then the bodies. A write that was cut short leaves those bodies whole that came before the cut.
The bodies are not part of the checksum: kill -9 damages none, and it would cost more (2 µs for 6 kB) than writing them.

The first frame of a file says whose it is, and the seed of all further checksums: a body that looks like a frame is
none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

MAGIC: Final = b"\x89CeS"
BEGINNING: Final = 0
EVENTS: Final = 1
"""Bodies of events as they came off the socket."""
FACTS: Final = 2
"""Facts of ours, see ``kept``."""
NODE: Final = 3
"""The name of the switch, once it is known."""

_HEAD: Final = struct.Struct("<4sB3xIIQI")
_HEAD_BYTES: Final = _HEAD.size
_CHECKED: Final = _HEAD_BYTES - 4
_KINDS: Final = frozenset({BEGINNING, EVENTS, FACTS, NODE})


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself: the switch's name, empty where it was not known yet; its address; our clock (µs)."""

    version: int = 1
    node: str = ""
    switch: str = ""
    at_us: int = 0
    seed: int = 0


class Frame(NamedTuple):
    """One batch, written at ``at_us`` by our clock. ``start`` and ``end`` are offsets; ``whole`` is False where bodies
    are missing at its end.
    """

    kind: int
    at_us: int
    bodies: list[bytes]
    start: int
    end: int
    whole: bool = True


class _Head(NamedTuple):
    kind: int
    at_us: int
    lengths: tuple[int, ...]
    bodies_at: int
    end: int


def encode(kind: int, bodies: Sequence[bytes], seed: int, at_us: int = 0) -> bytes:
    """The frame of one batch."""
    lengths = list(map(len, bodies))
    table = struct.pack(f"<{len(lengths)}I", *lengths)
    head = _HEAD.pack(MAGIC, kind, len(lengths), sum(lengths), at_us, 0)[:_CHECKED]
    check = crc32(table, crc32(head, seed))
    return b"".join((head, check.to_bytes(4, "little"), table, *bodies))


def begin(beginning: Beginning) -> bytes:
    """The frame that a file begins with."""
    return encode(BEGINNING, [msgspec.json.encode(beginning)], 0)


def beginning_of(data: bytes) -> tuple[Beginning, int] | None:
    """What the file says of itself, and where its batches begin; None where that cannot be read."""
    head = _head(data, 0, 0)
    if head is None or head.kind != BEGINNING or not head.lengths or head.end > len(data):
        return None
    try:
        beginning = msgspec.json.decode(data[head.bodies_at : head.bodies_at + head.lengths[0]], type=Beginning)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return (beginning, head.end) if beginning.version == 1 else None


def frames(data: bytes, at: int, seed: int) -> Iterator[Frame]:
    """All batches from ``at`` on. What lies between the end of one and the start of the next is no batch of ours.

    Of one that was cut off, the bodies before the cut are there.
    """
    size = len(data)
    while at < size:
        head = _head(data, at, seed)
        if head is None:
            at = _next(data, at + 1, seed)
            continue
        # One that was cut off ends where the next begins, or the data does; to look for that is to look at every byte.
        followed = _head(data, head.end, seed) is not None
        limit = head.end if followed else min(head.end, _next(data, at + 1, seed), size)
        bodies, start = [], head.bodies_at
        for length in head.lengths:
            if start + length > limit:
                break
            bodies.append(data[start : start + length])
            start += length
        whole = len(bodies) == len(head.lengths)
        yield Frame(head.kind, head.at_us, bodies, at, head.end if whole else limit, whole)
        at = head.end if whole else limit


def damage(data: bytes, at: int, seed: int) -> int:
    """How many bytes from ``at`` on are no batch of ours, a cut at the very end apart."""
    found, end = 0, at
    for frame in frames(data, at, seed):
        found += frame.start - end + (not frame.whole and frame.end < len(data))
        end = frame.end
    return found + _tail(data[end:])


def _tail(rest: bytes) -> int:
    """What follows the last batch: the beginning of one that was cut within its head or its table, or damage."""
    if rest[: len(MAGIC)] != MAGIC[: len(rest)]:
        return len(rest)
    if len(rest) < _HEAD_BYTES:
        return 0
    count = _HEAD.unpack_from(rest)[2]
    return 0 if len(rest) < _HEAD_BYTES + 4 * count else len(rest)


def _head(data: bytes, at: int, seed: int) -> _Head | None:
    if len(data) - at < _HEAD_BYTES or not data.startswith(MAGIC, at):
        return None
    _, kind, count, total, at_us, check = _HEAD.unpack_from(data, at)
    table_at = at + _HEAD_BYTES
    bodies_at = table_at + 4 * count
    if kind not in _KINDS or bodies_at > len(data):
        return None
    if crc32(data[table_at:bodies_at], crc32(data[at : at + _CHECKED], seed)) != check:
        return None
    return _Head(kind, at_us, struct.unpack_from(f"<{count}I", data, table_at), bodies_at, bodies_at + total)


def _next(data: bytes, at: int, seed: int) -> int:
    """Where the next batch begins; the end of the data where there is none."""
    while (at := data.find(MAGIC, at)) >= 0:
        if _head(data, at, seed) is not None:
            return at
        at += 1
    return len(data)
