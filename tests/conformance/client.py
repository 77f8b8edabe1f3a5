"""A small event socket client on plain sockets, for the conformance suite alone.

It is independent of the product's client, as the stand-in is: what the three agree on is not what one of them believes.
Frames are cut by Content-Length; events are JSON.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

Event = dict[str, Any]

CHANNEL_EVENTS = (
    "CHANNEL_CREATE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_UNBRIDGE"
    " CHANNEL_HANGUP CHANNEL_EXECUTE_COMPLETE CHANNEL_HANGUP_COMPLETE CHANNEL_DESTROY RECORD_START RECORD_STOP"
    " BACKGROUND_JOB"
)


@dataclass
class Frame:
    """One frame: its headers in order, and its body."""

    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def kind(self) -> str:
        return self.get("Content-Type")

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "surrogateescape")


class Closed(Exception):
    """The server closed the connection."""


@dataclass
class Wire:
    """Bytes in, frames out, and nothing else."""

    sock: socket.socket
    buffer: bytes = b""

    @classmethod
    def connect(cls, host: str, port: int, timeout_s: float = 10.0) -> Wire:
        return cls(socket.create_connection((host, port), timeout_s))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        data = self.sock.recv(1 << 16)
        if not data:
            raise Closed
        self.buffer += data

    def frame(self, timeout_s: float = 10.0) -> Frame:
        deadline = time.monotonic() + timeout_s
        while b"\n\n" not in self.buffer:
            self._fill(deadline)
        head, _, rest = self.buffer.partition(b"\n\n")
        headers = [line.partition(": ")[::2] for line in head.decode().split("\n")]
        length = next((int(value) for name, value in headers if name == "Content-Length"), 0)
        while len(rest) < length:
            self.buffer = head + b"\n\n" + rest
            self._fill(deadline)
            rest = self.buffer[len(head) + 2 :]
        self.buffer = rest[length:]
        return Frame(headers, rest[:length])

    def to_the_end(self, timeout_s: float = 10.0) -> list[Frame]:
        """Every frame until the server closes."""
        frames = []
        try:
            while True:
                frames.append(self.frame(timeout_s))
        except Closed:
            return frames

    def close(self) -> None:
        self.sock.close()


@dataclass
class Switch:
    """A logged-in connection with the events that came, oldest first, and the bytes of each."""

    wire: Wire
    events: list[Event] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @classmethod
    def login(cls, host: str, port: int, password: str, events: str = CHANNEL_EVENTS) -> Switch:
        wire = Wire.connect(host, port)
        assert wire.frame().kind == "auth/request"
        switch = cls(wire)
        assert switch.command(f"auth {password}").get("Reply-Text") == "+OK accepted"
        if events:
            switch.command(f"event json {events}")
        return switch

    def close(self) -> None:
        self.wire.close()

    def _take(self, frame: Frame) -> None:
        if frame.kind == "text/event-json":
            self.bodies.append(frame.body)
            self.events.append(json.loads(frame.body.decode("utf-8", "replace")))

    def command(self, line: str, timeout_s: float = 15.0) -> Frame:
        """Send a command and wait for its reply; events that come meanwhile are kept."""
        self.wire.send(line.encode("utf-8", "surrogateescape") + b"\n\n")
        deadline = time.monotonic() + timeout_s
        while True:
            frame = self.wire.frame(deadline - time.monotonic())
            if frame.kind in {"command/reply", "api/response"}:
                return frame
            self._take(frame)

    def api(self, line: str) -> str:
        return self.command(f"api {line}").text

    def bgapi(self, line: str) -> str:
        """Start a job; its UUID, which is ours."""
        job = str(uuid4())
        reply = self.command(f"bgapi {line}\nJob-UUID: {job}")
        assert reply.get("Job-UUID") == job
        return job

    def pump(self, until: Callable[[], bool], timeout_s: float) -> None:
        """Read events until ``until()``; fails with what came if that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not until():
            try:
                self._take(self.wire.frame(max(0.01, deadline - time.monotonic())))
            except TimeoutError:
                seen = [(each["Event-Name"], each.get("Unique-ID", "")[:8]) for each in self.events]
                raise AssertionError(f"not within {timeout_s} s; came: {seen}") from None

    def settle(self, seconds: float) -> None:
        """Read whatever comes in the next moments."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._take(self.wire.frame(left))
            except TimeoutError:
                return

    # -- what came -----------------------------------------------------------------------------------------------

    def of(self, uuid: str, name: str = "") -> list[Event]:
        """The events of a channel, of one name if given."""
        return [each for each in self.events if each.get("Unique-ID") == uuid and name in {"", each["Event-Name"]}]

    def first(self, uuid: str, name: str) -> Event:
        found = self.of(uuid, name)
        assert found, f"no {name} of {uuid}: {[each['Event-Name'] for each in self.of(uuid)]}"
        return found[0]

    def job(self, job: str, timeout_s: float = 15.0) -> str:
        """The answer of a job, stripped."""
        self.pump(lambda: self._job(job) is not None, timeout_s)
        return str((self._job(job) or {})["_body"]).strip()

    def _job(self, job: str) -> Event | None:
        return next((each for each in self.events if each.get("Job-UUID") == job), None)

    def wait(self, uuid: str, name: str, timeout_s: float = 15.0) -> Event:
        self.pump(lambda: bool(self.of(uuid, name)), timeout_s)
        return self.first(uuid, name)

    def sequence(self, *ids: str) -> list[str]:
        """What came for these channels and jobs, in order: event names without ``CHANNEL_``, ``job`` for a result."""
        names = []
        for each in self.events:
            if each.get("Job-UUID") in ids:
                names.append("job " + str(each["_body"]).split()[0])
            elif each.get("Unique-ID") in ids:
                names.append(str(each["Event-Name"]).removeprefix("CHANNEL_"))
        return names


def positions(sequence: Iterable[str], *names: str) -> list[int]:
    """Where each name first stands; fails if one is missing."""
    steps = list(sequence)
    assert all(name in steps for name in names), f"{names} are not all in {steps}"
    return [steps.index(name) for name in names]


def assert_order(sequence: Iterable[str], *names: str) -> None:
    """These stand in this order, others may stand between."""
    steps = list(sequence)
    found = positions(steps, *names)
    assert found == sorted(found), f"expected {names} in this order in {steps}"
