"""Bytes into frames, and frames into a connection: however they are cut, the same, within bounds, or a clear end."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from callengine.errors import MalformedStream
from callengine.esl.client import EslClient
from callengine.esl.exchange import LossReason
from callengine.esl.wire import MAX_BODY_BYTES, MAX_HEADER_BYTES, Frame, Framer
from tests.fuzz import corpus, hostile
from tests.fuzz.running import Parts

_BYTEWISE: int = 6000
_SPLITS: int = 40


def _piece(dice: random.Random) -> bytes:
    """A frame or what is none; most of them small, so that many cuts can be tried."""
    draw = dice.random()
    if draw < 0.25:
        return hostile.framed(b"x" * dice.choice((0, 1, 5, 300)))
    if draw < 0.45:
        return hostile.change_frame(b"{}" * dice.choice((0, 1, 100)), dice)
    if draw < 0.6:
        return dice.choice(hostile.PIECES)
    if draw < 0.75:
        return hostile.change_bytes(corpus.transcript(dice.choice(corpus.WIRE))[:3000], dice, times=dice.choice((0, 1)))
    body = dice.choice(corpus.bodies(dice.choice(corpus.JSON)))
    return hostile.change_frame(body, dice) if dice.random() < 0.3 else hostile.framed(body)


def _stream(dice: random.Random) -> Parts:
    parts = [_piece(dice) for _ in range(dice.choice((1, 2, 3, 6)))]
    if dice.random() < 0.3:
        at = dice.randrange(len(parts))
        parts[at] = hostile.change_bytes(parts[at], dice, times=dice.choice((1, 3)))
    return tuple(hostile.rearranged(parts, lambda: _piece(dice), dice))


class Cuts:
    """Any cut of the same bytes makes the same frames and the same error, and never holds more than one frame."""

    name = "cuts"
    share = 8

    def make(self, dice: random.Random) -> Parts:
        return _stream(dice)

    def check(self, parts: Parts, dice: random.Random) -> None:
        stream = b"".join(parts)
        bounds = dice.choice(((MAX_HEADER_BYTES, MAX_BODY_BYTES), (200, 4000), (60, 5)))
        whole = _outcome(stream, (), *bounds)
        assert _outcome(stream, sorted(dice.choices(range(len(stream) + 1), k=12)), *bounds) == whole
        if len(stream) <= _BYTEWISE:
            assert _outcome(stream, range(len(stream)), *bounds) == whole
            every = range(len(stream) + 1)
            for at in every if len(stream) <= _SPLITS else dice.sample(every, _SPLITS):
                assert _outcome(stream, (at,), *bounds) == whole, f"cut at {at}"


def _outcome(
    data: bytes, cuts: Sequence[int], max_header_bytes: int, max_body_bytes: int
) -> tuple[list[Frame], str | None, bool]:
    """The frames, the error if any, and whether the stream ends inside a frame."""
    framer = Framer(max_header_bytes=max_header_bytes, max_body_bytes=max_body_bytes)
    frames: list[Frame] = []
    try:
        for start, stop in itertools.pairwise((0, *cuts, len(data))):
            frames += framer.feed(data[start:stop])
            assert framer._error is not None or framer.pending_bytes <= max_header_bytes + max_body_bytes
            assert len(framer._line) + len(framer._body) <= max_header_bytes + max_body_bytes
        return frames, None, framer.eof()
    except MalformedStream as error:
        _look_at_the_end(framer, error)
        return frames, str(error), False


def _look_at_the_end(framer: Framer, error: MalformedStream) -> None:
    """A stream that cannot be read keeps nothing, and is not read on."""
    assert not framer._line
    assert not framer._body
    for again in (framer.check, framer.eof, lambda: framer.feed(b"Content-Type: auth/request\n\n")):
        with pytest.raises(MalformedStream) as known:
            again()
        assert known.value is error


class _Socket:
    """A socket that has received these bytes, in such pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def recv(self, size: int) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        """Nothing to do."""


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


class Connections:
    """Whatever comes, the connection ends in a way that has a name; events that came whole before it are handed on."""

    name = "connections"
    share = 3

    def make(self, dice: random.Random) -> Parts:
        return _stream(dice)

    def check(self, parts: Parts, dice: random.Random) -> None:
        stream = b"".join(parts)
        cuts = sorted(dice.choices(range(len(stream) + 1), k=8))
        pieces = (stream[a:b] for a, b in itertools.pairwise((0, *cuts, len(stream))) if a < b)
        client = EslClient("127.0.0.1", 8021, "secret")
        client.sock = _Socket(pieces)
        client.connected = True
        bodies: list[bytes] = []
        client.register_handle("*", lambda got: bodies.extend(got))
        for _ in range(dice.choice((0, 0, 3))):
            client._commands_sent.append(_Waiter())  # type: ignore[arg-type]
        complaints = _Complaints()
        log = logging.getLogger("callengine.esl.client")
        log.addHandler(complaints)
        try:
            client.receive_events()
        finally:
            log.removeHandler(complaints)
        assert not complaints.told, complaints.told
        loss = client.loss
        assert loss is not None
        assert loss.reason not in (LossReason.FAILED, LossReason.CLOSED), loss
        assert loss.detail.isprintable(), "what it says goes to the log"
        assert len(loss.detail) < 400
        frames, error, _ = _outcome(stream, (), MAX_HEADER_BYTES, MAX_BODY_BYTES)
        events = [frame.body for frame in frames if frame.content_type in ("text/event-json", "text/event-plain")]
        assert bodies == events[: len(bodies)]
        if loss.reason is LossReason.EOF:
            assert bodies == events
            assert error is None


class _Waiter:
    """Somebody who waits for a reply."""

    def set(self, reply: Any) -> None:
        """The reply has come."""

    def set_exception(self, error: Exception) -> None:
        """None will come."""
