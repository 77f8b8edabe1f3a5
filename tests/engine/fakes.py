"""A writer that keeps what it was given, and a switch that answers from a table."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from callengine.calls.call import Call
from callengine.calls.machine import Noted, Published
from callengine.calls.record import CallRecord
from callengine.errors import EslDisconnected


class KeptWriter:
    full = False

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.notes: list[Noted] = []
        self.published: list[Published] = []

    def put(self, call: Call, record: CallRecord | None = None) -> None:
        self.calls[call.id] = call

    def note(self, noted: Noted) -> None:
        self.notes.append(noted)

    def publish(self, published: Published) -> None:
        self.published.append(published)


class Switch:
    """Live channels by UUID, each as the headers of its uuid_dump; ``scoreboard`` is what ``show channels`` lists."""

    def __init__(self, channels: dict[str, dict[str, str]], scoreboard: list[str] | None = None) -> None:
        self.channels = channels
        self.scoreboard = list(channels) if scoreboard is None else scoreboard
        self.asked: list[str] = []
        self.down = False
        self.before_answer: Callable[[str], None] = lambda command: None

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        if self.down:
            raise EslDisconnected("not connected")
        self.asked.append(command)
        self.before_answer(command)
        word, _, rest = command.partition(" ")
        if word == "show":
            rows = [{"uuid": uuid} for uuid in self.scoreboard]
            return orjson.dumps({"row_count": len(rows), **({"rows": rows} if rows else {})}).decode()
        uuid = rest.split()[0]
        if word == "uuid_exists":
            return "true" if uuid in self.channels else "false"
        if uuid not in self.channels:
            return "-ERR No such channel!\n"
        return orjson.dumps({"Event-Name": "CHANNEL_DATA", "Unique-ID": uuid, **self.channels[uuid]}).decode()


def headers(uuid: str, created_us: int, **stamps: int) -> dict[str, str]:
    """The headers of a channel that was created for itself."""
    found = {
        "Unique-ID": uuid,
        "Core-UUID": "core-1",
        "Call-Direction": "inbound",
        "Event-Date-Timestamp": str(max([created_us, *stamps.values()])),
        "Caller-Channel-Created-Time": str(created_us),
    }
    return found | {f"Caller-Channel-{name.capitalize()}-Time": str(value) for name, value in stamps.items()}


def event(name: str, of: dict[str, str], **more: str) -> bytes:
    """A JSON event as the switch sends it."""
    return orjson.dumps({"Event-Name": name, **of, **more})
