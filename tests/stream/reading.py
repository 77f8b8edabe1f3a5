"""Reading a stream as a client has to: by lines, a message at its empty line; and an outbox in memory."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import uuid5

from gevent.event import Event

from callengine.calls.ids import event_id_of
from callengine.calls.record import CallRecord, StoredEvent
from callengine.errors import StoreUnavailable
from callengine.store.outbox import Page
from callengine.stream import Reader
from tests.store.build import OTHER, TENANT, UUID


class Message(NamedTuple):
    """One message; ``id`` is None for those that are no events of a call."""

    event: str
    id: str | None
    data: Any


def parse(raw: bytes) -> tuple[list[Message], list[str]]:
    """The complete messages of a stream, and its comments. What stands behind the last empty line is none yet."""
    messages, comments = [], []
    for block in raw.decode().split("\n\n")[:-1]:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if name in {"", ":"}:
                comments.append(value or line)
            else:
                assert name in {"id", "event", "data", "retry"}, line
                assert name not in fields, "one line each"
                fields[name] = value
        if "data" in fields:
            messages.append(Message(fields["event"], fields.get("id"), json.loads(fields["data"])))
    return messages, comments


class Blocks(Exception):
    """A reader has nothing to send, and would wait."""


class Clock:
    """A monotonic clock that only waiting moves; ``blocks``: waiting raises instead."""

    def __init__(self) -> None:
        self.now = 100.0
        self.blocks = True

    def __call__(self) -> float:
        return self.now

    def wait(self, event: Event, seconds: float) -> None:
        if self.blocks:
            raise Blocks
        assert seconds >= 0
        if not event.is_set():
            self.now += seconds


class FakeOutbox:
    """Rows in memory, as the store returns them."""

    def __init__(self) -> None:
        self.rows: list[StoredEvent] = []
        self.unreadable: set[int] = set()
        self.since_us = 0
        self.away = False
        self.reads = 0

    def add(self, tenant_id: str = TENANT, event: str = "call.ringing", size: int = 0, **call: Any) -> StoredEvent:
        position = self.rows[-1].position + 1 if self.rows else 1
        call_id = call.pop("id", None) or str(uuid5(UUID(TENANT), str(position)))
        row = StoredEvent(
            position=position,
            id=event_id_of(call_id, str(position)),
            call_id=call_id,
            tenant_id=tenant_id,
            seq=1,
            event=event,
            record=CallRecord(id=call_id, tenant_id=tenant_id, node="n", fs_uuid="f", notes="x" * size, **call),
            detail=None,
            created_us=1_795_343_600_000_000,
        )
        self.rows.append(row)
        return row

    def _asked(self) -> list[StoredEvent]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("it is away")
        return self.rows

    def after(self, position: int, limit: int) -> Page:
        return self._page([row for row in self._asked() if row.position > position][:limit], position, limit)

    def of_tenant(self, tenant_id: str, after: int, upto: int, limit: int) -> Page:
        found = [r for r in self._asked() if after < r.position <= upto and r.tenant_id == tenant_id]
        return self._page(found[:limit], after, limit)

    def _page(self, found: list[StoredEvent], after: int, limit: int) -> Page:
        readable = [row for row in found if row.position not in self.unreadable]
        return Page(readable, found[-1].position if found else after, len(found) == limit)

    def last_position(self) -> int:
        return max((row.position for row in self._asked()), default=0)

    def position_of(self, tenant_id: str, event_id: str, since_us: int) -> int | None:
        self.since_us = since_us  # what is older is left out by the store; the rows here are of no particular time
        found = [r.position for r in self._asked() if r.tenant_id == tenant_id and r.id == event_id]
        return found[0] if found else None


def drained(reader: Reader) -> list[Message]:
    """All that the reader would send before it waits, or ends. Its clock has to be one that ``blocks``."""
    raw = b""
    try:
        for piece in reader:
            raw += piece
    except Blocks:
        pass
    messages, _ = parse(raw)
    return messages


def ids(messages: list[Message]) -> list[str | None]:
    return [message.id for message in messages]


__all__ = ["OTHER", "TENANT", "Blocks", "Clock", "FakeOutbox", "Message", "drained", "ids", "parse"]
