"""Time that grows with the input and no faster: each kind of bulk at one size, and at four times that."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from callengine.cdr.reading import CdrReader
from callengine.errors import MalformedEvent, MalformedStream
from callengine.esl.headers import Translator
from callengine.esl.wire import Framer
from tests.fuzz import hostile
from tests.fuzz.running import Parts

_TRANSLATOR: Final = Translator()
_READER: Final = CdrReader()
_TIMES: Final = 4
_MOST: Final = 3.0 * _TIMES
"""Quadratic would be sixteen times."""
_NOISE_S: Final = 0.03

Made = Callable[[int], bytes]


def look(work: Callable[[bytes], None], made: Made, size: int) -> None:
    """Raises AssertionError where four times as much takes far more than four times as long."""
    small, large = made(size), made(_TIMES * size)
    small_s = large_s = 0.0
    for _ in range(4):
        small_s, large_s = _taken_s(work, small), _taken_s(work, large)
        if large_s <= _MOST * small_s + _NOISE_S:
            return
    raise AssertionError(f"{len(small)} bytes take {small_s:.3f} s, {len(large)} take {large_s:.3f} s")


def _taken_s(work: Callable[[bytes], None], data: bytes) -> float:
    began = time.process_time()
    work(data)
    return time.process_time() - began


def _event(*more: bytes) -> bytes:
    start = b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"A","Event-Date-Timestamp":"1795343615301165"'
    return start + b"".join(more) + b"}"


_STREAMS: Final[dict[str, Made]] = {
    "small frames": lambda n: hostile.framed(b"{}") * n,
    "blank lines": lambda n: b"\n" * (10 * n),
    "header lines": lambda n: b"Content-Type: x/y\n" + b"A: b\n" * n,
    "a header without end": lambda n: b"A: " + b"b" * n,
    "a large body": lambda n: hostile.framed(b"x" * (100 * n)),
    "replies": lambda n: b"Content-Type: command/reply\nReply-Text: +OK\n\n" * n,
}
_EVENTS: Final[dict[str, Made]] = {
    "a long value": lambda n: _event(b',"variable_x":"', b"x" * (100 * n), b'"'),
    "a long value that counts": lambda n: _event(b',"variable_cc_agent":"', b"\\u0000" * n, b'"'),
    "bytes that are no UTF-8": lambda n: _event(b',"Caller-Caller-ID-Name":"', b"\xff" * (10 * n), b'"'),
    "many members": lambda n: _event(*(b',"variable_%d":"x"' % i for i in range(n))),
    "one member again and again": lambda n: _event(b',"Hangup-Cause":"NORMAL_CLEARING"' * n),
    "an array": lambda n: _event(b',"Caller-Caller-ID-Name":[', b'"x",' * n, b'"x"]'),
    "depth": lambda n: _event(b',"x":', b"[" * n, b"]" * n),
    "depth with half a pair": lambda n: _event(b',"\\ud800":', b"[" * n, b"]" * n),
    "digits": lambda n: _event(b',"Caller-Channel-Answered-Time":', b"9" * n),
    "digits in a string": lambda n: _event(b',"Caller-Channel-Answered-Time":"', b"9" * (10 * n), b'"'),
    "half pairs": lambda n: _event(b',"Caller-Caller-ID-Name":"', b"\\ud800" * n, b'"'),
    "no JSON": lambda n: b"{" * (10 * n),
    "plain lines": lambda n: b"Event-Name: CHANNEL_CREATE\n" + b"A: %25\n" * n,
    "plain percent": lambda n: b"Event-Name: CHANNEL_CREATE\nUnique-ID: " + b"%41" * (10 * n),
    "plain percent that is none": lambda n: b"Event-Name: CHANNEL_CREATE\nUnique-ID: " + b"%" * (10 * n),
    "plain array": lambda n: b"Event-Name: CHANNEL_CREATE\nX: ARRAY::" + b"a|:" * n,
}


def _cdr(*more: bytes) -> bytes:
    start = b'{"variables":{"uuid":"A","start_uepoch":"1","end_uepoch":"2"'
    return start + b"".join(more) + b"}}"


CDRS: Final[dict[str, Made]] = {
    "space": lambda n: b" " * (100 * n) + b"{}",
    "base64": lambda n: b"cdr=" + b"QUJD" * (10 * n),
    "percent": lambda n: b"cdr=" + b"%7B" * (10 * n),
    "form": lambda n: b"cdr=%7B" + b"&a=b" * n,
    "encoded variables": lambda n: _cdr(*(b',"v%d":"%%41%%20"' % i for i in range(n))),
    "nearly encoded": lambda n: _cdr(b',"v":"', b"%41" * (10 * n), b'% "'),
    "a long variable": lambda n: _cdr(b',"hangup_cause":"', b"%41" * (10 * n), b'"'),
    "profiles": lambda n: _cdr()[:-1] + b',"callflow":[' + b'{"times":{}},' * n + b"{}]}",
    "originatees": lambda n: (
        _cdr()[:-1]
        + b',"callflow":[{},{"times":{"bridged_time":"5"},"caller_profile":{"originatee":'
        + b'{"originatee_caller_profiles":['
        + b"{}," * n
        + b"{}]}}}]}"
    ),
    "depth": lambda n: _cdr(b',"x":', b"[" * n, b"]" * n),
}


def _frames(data: bytes) -> None:
    framer = Framer()
    try:
        for at in range(0, len(data), 700):
            framer.feed(data[at : at + 700])
    except MalformedStream:
        return


def _json(data: bytes) -> None:
    try:
        (_TRANSLATOR.plain if data.startswith(b"Event-Name") else _TRANSLATOR.json)(data)
    except MalformedEvent:
        return


def read_cdr(data: bytes) -> None:
    """A record, whether it is one or not."""
    try:
        _READER.read(data)
    except MalformedEvent:
        return


class _Bulk:
    """One kind of bulk at a time, by its name."""

    name = ""
    share = 1
    kinds: dict[str, Made]
    work: Callable[[bytes], None]
    sizes: tuple[int, ...] = (500, 2000, 4000)

    def make(self, dice: random.Random) -> Parts:
        return (dice.choice(sorted(self.kinds)).encode(), str(dice.choice(self.sizes)).encode())

    def check(self, parts: Parts, dice: random.Random) -> None:
        kind, size = parts
        made = self.kinds.get(kind.decode("latin-1"))
        if made is not None and size.isdigit():
            look(type(self).work, made, int(size))


class StreamsScale(_Bulk):
    """Of the wire."""

    name = "streams-scale"
    kinds = _STREAMS
    work = staticmethod(_frames)


class EventsScale(_Bulk):
    """Of events."""

    name = "events-scale"
    kinds = _EVENTS
    work = staticmethod(_json)


class CdrsScale(_Bulk):
    """Of CDRs."""

    name = "cdrs-scale"
    kinds = CDRS
    work = staticmethod(read_cdr)
