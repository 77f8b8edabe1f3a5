"""The recorded mixed load, as often as it is wanted, each time with channels of its own; and single calls of it."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

TRACE: Final = Path(__file__).parent.parent / "tests" / "traces" / "load_slice.json.esl.gz"
_UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FRAME: Final = re.compile(rb"Content-Length: (\d+)\nContent-Type: text/event-json\n\n")
_MARK: Final = b"@@@@@@@@"
"""Stands for the first digits of each UUID but the switch's own; as long as what it stands for."""


class Template(NamedTuple):
    """The events of the recording. ``created``: (place of its event, channel UUID, µs) of each call."""

    events: list[bytes]
    created: list[tuple[int, str, int]]

    def numbered(self, number: int) -> list[bytes]:
        """The events, with channels that no other number has."""
        mark = b"%08x" % number
        return [event.replace(_MARK, mark) for event in self.events]


def template() -> Template:
    """The recording, cut."""
    bodies = list(_frames(gzip.decompress(TRACE.read_bytes())))
    core = re.search(rb'"Core-UUID":"([^"]+)"', bodies[0])
    assert core is not None
    events, created = [], []
    for place, one in enumerate(bodies):
        events.append(_UUID.sub(lambda m: m[0] if m[0] == core[1] else _MARK + m[0][8:], one))
        headers = _headers(one)
        if headers.get("Event-Name") == "CHANNEL_CREATE" and _is_call(headers):
            created.append((place, headers["Unique-ID"], int(headers["Caller-Channel-Created-Time"])))
    return Template(events, created)


def _is_call(headers: dict[str, Any]) -> bool:
    """Whether the channel that is created there is a call, and no leg of one."""
    legs = ("Other-Leg-Unique-ID", "variable_originator", "variable_callengine_agent_id", "variable_dialed_user")
    return not any(name in headers for name in legs) and headers.get("variable_loopback_leg") != "B"


def events(copies: int) -> tuple[bytes, int]:
    """All of it as one stream, and how many events that is."""
    found = template()
    return b"".join(b"".join(found.numbered(n + 1)) for n in range(copies)), len(found.events) * copies


def answered_call() -> tuple[str, list[bytes]]:
    """A recorded call by itself, from its creation to its answer and no further: its UUID, and its events, in which
    ``_MARK`` stands as above (see ``live``).
    """
    by_channel: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    found = template()
    for event in found.events:
        headers = _headers(event)
        by_channel[headers.get("Unique-ID", "")].append((headers["Event-Name"], event))
    wanted = ["CHANNEL_CREATE", "CHANNEL_PROGRESS", "CHANNEL_ANSWER", "CHANNEL_HANGUP"]
    for uuid, its in by_channel.items():
        if [name for name, _ in its[:4]] == wanted:
            return uuid, [event for _, event in its[:3]]
    raise LookupError("the recording has no answered call")


def live(count: int) -> Iterator[tuple[str, list[bytes]]]:
    """So many live calls: each one's UUID and events."""
    uuid, its = answered_call()
    for number in range(1, count + 1):
        mark = b"%08x" % number
        yield mark.decode() + uuid[8:], [event.replace(_MARK, mark) for event in its]


def body_of(event: bytes) -> bytes:
    """The JSON of an event as it comes from the socket."""
    return event.partition(b"\n\n")[2]


def plain(data: bytes) -> bytes:
    """The same events as ``event plain`` sends them (switch_event.c, ``switch_event_serialize``)."""
    out = []
    for event in _frames(data):
        lines = [
            f"{name}: {quote(str(value), safe='')}\n" for name, value in _headers(event).items() if name != "_body"
        ]
        body = "".join(lines).encode() + b"\n"
        out.append(b"Content-Length: %d\nContent-Type: text/event-plain\n\n%s" % (len(body), body))
    return b"".join(out)


def _frames(stream: bytes) -> Iterator[bytes]:
    at = 0
    while (found := _FRAME.search(stream, at)) is not None:
        at = found.end() + int(found[1])
        yield stream[found.start() : at]


def _headers(event: bytes) -> dict[str, Any]:
    headers: dict[str, Any] = json.loads(body_of(event).decode("utf-8", "replace"))
    return headers
