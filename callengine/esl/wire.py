"""Cut the bytes of an event socket into frames.

A frame is a block of ``Name: value`` lines, an empty line, and as many bytes as its Content-Length says (FreeSWITCH:
mod_event_socket.c). The length counts bytes, never characters, and what those bytes hold is never looked at here: a
body that looks like headers stays a body.

Pure: takes bytes in pieces of any size and owns no socket. A stream that is none ends in `MalformedStream`; until then
no more is kept than one unfinished frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from callengine.errors import MalformedStream

AUTH_REQUEST: Final = "auth/request"
COMMAND_REPLY: Final = "command/reply"
API_RESPONSE: Final = "api/response"
DISCONNECT_NOTICE: Final = "text/disconnect-notice"
RUDE_REJECTION: Final = "text/rude-rejection"
EVENT_JSON: Final = "text/event-json"
EVENT_PLAIN: Final = "text/event-plain"
EVENT_XML: Final = "text/event-xml"

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 16 * 1024 * 1024

_EVENTS: Final = {name: name for name in (EVENT_JSON, EVENT_PLAIN, EVENT_XML)}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NAME: Final = re.compile(rb"[!-9;-~]+")
_SHOWN_BYTES: Final = 40

# What an event begins with, byte for byte, in every stream recorded: the only thing the hot path looks for.
_LENGTH: Final = b"Content-Length: "
_LENGTH_DIGITS: Final = 10
_JSON_TAIL: Final = b"\nContent-Type: text/event-json\n\n"
_PLAIN_TAIL: Final = b"\nContent-Type: text/event-plain\n\n"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame. ``headers`` are the outer ones, as sent, and empty for events, whose headers are in ``body``.

    Of a header that comes twice the first stands; bytes that are no UTF-8 become U+FFFD in ``headers`` and stay as they
    are in ``body``.
    """

    content_type: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_event(self) -> bool:
        """Whether this is an event, in any of its three forms."""
        return self.content_type in _EVENTS


class Events:
    """Takes the events of a stream from a `Framer`, in their order. This one leaves them as they are."""

    def __init__(self) -> None:
        self._count = 0
        self._bodies: list[bytes] = []

    def cut(self, chunk: bytes, at: int) -> int:
        """Take JSON events that lie whole in ``chunk`` from ``at`` on, or none; return up to where. The rest comes by
        ``take``.
        """
        return at

    def take(self, kind: str, body: bytes) -> None:
        """Take one event. ``kind`` is EVENT_JSON or EVENT_PLAIN."""
        self._count += 1
        self._bodies.append(body)

    def handed(self) -> tuple[int, list[bytes]]:
        """How many came since this was last asked, and what is left of them."""
        count, self._count = self._count, 0
        bodies, self._bodies = self._bodies, []
        return count, bodies


class Framer:
    """Cuts one stream, from its first byte on. Linear in the bytes fed, however they are cut.

    Where ``events`` are given, JSON and plain events go there, and only what else there is is returned.

    Raises `MalformedStream`, with the offset and the reason, at the first line that cannot belong to a frame. Frames
    that were whole before it are handed out first, then `check` and every further call raise.
    """

    __slots__ = (
        "_body",
        "_content_type",
        "_error",
        "_events",
        "_fed",
        "_head_bytes",
        "_headers",
        "_length",
        "_line",
        "_max_body",
        "_max_header",
        "_reading_body",
    )

    def __init__(
        self,
        *,
        max_header_bytes: int = MAX_HEADER_BYTES,
        max_body_bytes: int = MAX_BODY_BYTES,
        events: Events | None = None,
    ) -> None:
        self._events = events
        self._max_header = max_header_bytes
        self._max_body = max_body_bytes
        self._fed = 0
        self._error: MalformedStream | None = None
        self._line = bytearray()
        self._headers: dict[str, str] = {}
        self._content_type: str | None = None
        self._length: int | None = None
        self._head_bytes = 0
        self._reading_body = False
        self._body = bytearray()

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame have come."""
        return self._head_bytes + len(self._body)

    def check(self) -> None:
        """Raise what made the stream unreadable, if something did."""
        if self._error is not None:
            raise self._error

    def eof(self) -> bool:
        """Whether the stream, if it ends here, was cut inside a frame."""
        self.check()
        return self.pending_bytes > 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, in order."""
        self.check()
        chunk = data if type(data) is bytes else bytes(data)
        frames: list[Frame] = []
        pos, end = 0, len(chunk)
        try:
            while pos < end:
                if self._reading_body:
                    pos = self._take_body(chunk, pos, frames)
                elif self._head_bytes:
                    pos = self._take_line(chunk, pos, frames)
                else:
                    if self._events is not None:
                        pos = self._events.cut(chunk, pos)
                    pos = self._take_whole_events(chunk, pos, frames)
                    if pos < end and not self._reading_body:
                        pos = self._take_line(chunk, pos, frames)
        except MalformedStream as error:
            self._error = error
            self._line.clear()
            self._body.clear()
            if not frames:
                raise
        self._fed += end
        return frames

    def _take_whole_events(self, chunk: bytes, pos: int, frames: list[Frame]) -> int:
        """Cut the events that lie whole in ``chunk``; return where something else, or a body cut short, begins."""
        end = len(chunk)
        max_body = self._max_body
        while chunk.startswith(_LENGTH, pos):
            digits_at = pos + len(_LENGTH)
            newline = chunk.find(b"\n", digits_at, digits_at + _LENGTH_DIGITS + 1)
            if newline < 0:
                break
            if chunk.startswith(_JSON_TAIL, newline):
                content_type, start = EVENT_JSON, newline + len(_JSON_TAIL)
            elif chunk.startswith(_PLAIN_TAIL, newline):
                content_type, start = EVENT_PLAIN, newline + len(_PLAIN_TAIL)
            else:
                break
            digits = chunk[digits_at:newline]
            if not digits.isdigit():
                break
            length = int(digits)
            if length > max_body:
                break
            stop = start + length
            if stop > end:
                self._content_type, self._length, self._head_bytes = content_type, length, start - pos
                self._reading_body = True
                return start
            self._hand_out(content_type, _NO_HEADERS, chunk[start:stop], frames)
            pos = stop
        return pos

    def _take_line(self, chunk: bytes, pos: int, frames: list[Frame]) -> int:
        """Take one header line, or the piece of it that has come."""
        newline = chunk.find(b"\n", pos)
        stop = len(chunk) if newline < 0 else newline + 1
        line_at = pos - len(self._line)
        self._head_bytes += stop - pos
        if self._head_bytes > self._max_header:
            raise self._malformed(line_at, f"a header block of more than {self._max_header} bytes")
        if newline < 0:
            self._line += chunk[pos:]
            return stop
        line = chunk[pos:newline]
        if self._line:
            line = bytes(self._line) + line
            self._line.clear()
        line = line.removesuffix(b"\r")
        if line:
            self._take_header(line, line_at)
        elif self._headers:
            self._end_headers(line_at, frames)
        else:
            self._head_bytes = 0
        return stop

    def _take_header(self, line: bytes, pos: int) -> None:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise self._malformed(pos, f"not a header line: {line[:_SHOWN_BYTES]!a}")
        key = name.decode("ascii")
        value = value.strip(b" \t")
        text = value.decode("utf-8", "replace")
        known = key.lower()
        if known == "content-length":
            self._take_length(value, pos)
        elif known == "content-type":
            if self._content_type not in (None, text):
                raise self._malformed(pos, "two Content-Types that differ")
            self._content_type = _EVENTS.get(text, text)
        self._headers.setdefault(key, text)

    def _take_length(self, value: bytes, pos: int) -> None:
        if not value.isdigit() or len(value) > 2 * _LENGTH_DIGITS:
            raise self._malformed(pos, f"a Content-Length that is no length: {value[:_SHOWN_BYTES]!a}")
        length = int(value)
        if length > self._max_body:
            raise self._malformed(pos, f"a body of {length} bytes, more than {self._max_body}")
        if self._length not in (None, length):
            raise self._malformed(pos, "two Content-Lengths that differ")
        self._length = length

    def _end_headers(self, pos: int, frames: list[Frame]) -> None:
        if self._content_type is None:
            raise self._malformed(pos, "a header block without Content-Type")
        if self._length is None and self._content_type in _EVENTS:
            raise self._malformed(pos, "an event without Content-Length")
        if self._length:
            self._reading_body = True
        else:
            self._emit(b"", frames)

    def _take_body(self, chunk: bytes, pos: int, frames: list[Frame]) -> int:
        missing = (self._length or 0) - len(self._body)
        stop = min(pos + missing, len(chunk))
        if stop - pos < missing:
            self._body += memoryview(chunk)[pos:stop]
        elif self._body:
            self._body += memoryview(chunk)[pos:stop]
            self._emit(bytes(self._body), frames)
        else:
            self._emit(chunk[pos:stop], frames)
        return stop

    def _emit(self, body: bytes, frames: list[Frame]) -> None:
        content_type = self._content_type or ""
        headers = _NO_HEADERS if content_type in _EVENTS else MappingProxyType(self._headers)
        self._hand_out(content_type, headers, body, frames)
        self._start_frame()

    def _hand_out(self, content_type: str, headers: Mapping[str, str], body: bytes, frames: list[Frame]) -> None:
        if self._events is not None and content_type in (EVENT_JSON, EVENT_PLAIN):
            self._events.take(content_type, body)
        else:
            frames.append(Frame(content_type, headers, body))

    def _start_frame(self) -> None:
        self._headers = {}
        self._content_type = None
        self._length = None
        self._head_bytes = 0
        self._reading_body = False
        # A new one, since clearing keeps the room that a large body took.
        self._body = bytearray()

    def _malformed(self, pos: int, reason: str) -> MalformedStream:
        return MalformedStream(f"not an event socket stream, at byte {self._fed + pos}: {reason}")
