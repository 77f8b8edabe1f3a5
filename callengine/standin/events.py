"""Events: how they are rendered, and who gets them.

An event is a sequence of header blocks (a name can occur in two of them, as ``Hangup-Cause`` does in every
CHANNEL_HANGUP_COMPLETE) and perhaps a body. It is stamped and numbered when it is made, rendered at once, once per
format that somebody subscribed to, and not at all if nobody did (FreeSWITCH ``switch_event.c``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

import orjson

Value: TypeAlias = "str | list[str]"
Block: TypeAlias = Mapping[str, Value]

#: What an event socket knows by name; all else in a subscription is a subclass of CUSTOM, or nothing.
EVENT_NAMES: Final = frozenset(
    "CUSTOM CLONE CHANNEL_CREATE CHANNEL_DESTROY CHANNEL_STATE CHANNEL_CALLSTATE CHANNEL_ANSWER CHANNEL_HANGUP"
    " CHANNEL_HANGUP_COMPLETE CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE CHANNEL_HOLD CHANNEL_UNHOLD CHANNEL_BRIDGE"
    " CHANNEL_UNBRIDGE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_OUTGOING CHANNEL_PARK CHANNEL_UNPARK"
    " CHANNEL_APPLICATION CHANNEL_ORIGINATE CHANNEL_UUID API LOG INBOUND_CHAN OUTBOUND_CHAN STARTUP SHUTDOWN PUBLISH"
    " UNPUBLISH TALK NOTALK SESSION_CRASH MODULE_LOAD MODULE_UNLOAD DTMF MESSAGE PRESENCE_IN NOTIFY_IN PRESENCE_OUT"
    " PRESENCE_PROBE MESSAGE_WAITING MESSAGE_QUERY ROSTER CODEC BACKGROUND_JOB DETECTED_SPEECH DETECTED_TONE"
    " PRIVATE_COMMAND HEARTBEAT TRAP ADD_SCHEDULE DEL_SCHEDULE EXE_SCHEDULE RE_SCHEDULE RELOADXML NOTIFY PHONE_FEATURE"
    " PHONE_FEATURE_SUBSCRIBE SEND_MESSAGE RECV_MESSAGE REQUEST_PARAMS CHANNEL_DATA GENERAL COMMAND SESSION_HEARTBEAT"
    " CLIENT_DISCONNECTED SERVER_DISCONNECTED SEND_INFO RECV_INFO RECV_RTCP_MESSAGE SEND_RTCP_MESSAGE CALL_SECURE NAT"
    " RECORD_START RECORD_STOP PLAYBACK_START PLAYBACK_STOP CALL_UPDATE FAILURE SOCKET_DATA MEDIA_BUG_START"
    " MEDIA_BUG_STOP CONFERENCE_DATA_QUERY CONFERENCE_DATA CALL_SETUP_REQ CALL_SETUP_RESULT CALL_DETAIL DEVICE_STATE"
    " TEXT SHUTDOWN_REQUESTED ALL".split()
)


class Source(NamedTuple):
    """The place in FreeSWITCH's source that an event names as its origin."""

    file: str
    function: str
    line: str


def _unsafe(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


_URL_UNSAFE: Final = re.compile(r"""%(?![0-9A-F]{2})|[\r\n #&+:;<=>?@\[\\\]^`{|}"\x00-\x1f\x7f-\U0010ffff]""")


def url_encode(text: str) -> str:
    """As the core writes a header of a plain event: what is unsafe as %XX, but what already looks so is left."""
    return _URL_UNSAFE.sub(lambda match: _unsafe(match[0]), text)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else "ARRAY::" + "|:".join(value)


def byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _dump(block: Block) -> bytes:
    try:
        return orjson.dumps(block)
    except TypeError:  # bytes that are no UTF-8 pass through as they came
        return json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def to_json(blocks: Iterable[Block], body: str | None = None) -> bytes:
    """One JSON object; a body stands in ``_body`` behind its length."""
    inner = [_dump(block)[1:-1] for block in blocks if block]
    if body is not None:
        inner.append(_dump({"Content-Length": str(byte_length(body)), "_body": body})[1:-1])
    return b"{" + b",".join(inner) + b"}"


def to_plain(blocks: Iterable[Block], body: str | None = None) -> bytes:
    """``Name: value`` lines, values URL-encoded; a body follows an inner Content-Length."""
    lines = [f"{name}: {url_encode(_text(value))}\n" for block in blocks for name, value in block.items()]
    if body is not None:
        lines.append(f"Content-Length: {byte_length(body)}\n\n{body}")
    else:
        lines.append("\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def _xml_escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def to_xml(blocks: Iterable[Block], body: str | None = None) -> bytes:
    rows = ["<event>\n  <headers>\n"]
    for block in blocks:
        for name, value in block.items():
            each_value = [value] if isinstance(value, str) else value
            rows += [f"    <{name}>{_xml_escape(url_encode(each))}</{name}>\n" for each in each_value]
    rows.append("  </headers>\n")
    if body is not None:
        rows.append(f"  <Content-Length>{byte_length(body)}</Content-Length>\n  <body>{_xml_escape(body)}  </body>\n")
    rows.append("</event>\n")
    return "".join(rows).encode("utf-8", "surrogateescape")


RENDERERS: Final[dict[str, Callable[[Iterable[Block], str | None], bytes]]] = {
    "plain": to_plain,
    "json": to_json,
    "xml": to_xml,
}


class Event:
    """One event as made: its blocks, body and what subscriptions and filters look at."""

    __slots__ = ("_rendered", "blocks", "body", "name", "subclass")

    def __init__(self, name: str, blocks: tuple[Block, ...], body: str | None = None, subclass: str = "") -> None:
        self.name = name
        self.subclass = subclass
        self.blocks = blocks
        self.body = body
        self._rendered: dict[str, bytes] = {}

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case of letters (only filters ask)."""
        wanted = name.lower()
        for block in self.blocks:
            for key, value in block.items():
                if key.lower() == wanted:
                    return _text(value)
        return None

    def frame(self, form: str) -> bytes:
        """The event with its outer frame: the length, the type, an empty line, and the event."""
        framed = self._rendered.get(form)
        if framed is None:
            inner = RENDERERS[form](self.blocks, self.body)
            framed = b"Content-Length: %d\nContent-Type: text/event-%s\n\n%s" % (len(inner), form.encode(), inner)
            self._rendered[form] = framed
        return framed


class Stamps:
    """The headers that every event begins with; the dates are formatted once per second."""

    def __init__(self, core_uuid: str, hostname: str) -> None:
        self.core_uuid = core_uuid
        self.hostname = hostname
        self._second = -1
        self._local = ""
        self._gmt = ""

    def block(self, name: str, now_us: int, sequence: int, source: Source) -> dict[str, Value]:
        second = now_us // 1_000_000
        if second != self._second:
            self._second = second
            self._local = datetime.fromtimestamp(second).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            self._gmt = datetime.fromtimestamp(second, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return {
            "Event-Name": name,
            "Core-UUID": self.core_uuid,
            "FreeSWITCH-Hostname": self.hostname,
            "FreeSWITCH-Switchname": self.hostname,
            "FreeSWITCH-IPv4": "127.0.0.1",
            "FreeSWITCH-IPv6": "::1",
            "Event-Date-Local": self._local,
            "Event-Date-GMT": self._gmt,
            "Event-Date-Timestamp": str(now_us),
            "Event-Calling-File": source.file,
            "Event-Calling-Function": source.function,
            "Event-Calling-Line-Number": source.line,
            "Event-Sequence": str(sequence),
        }
