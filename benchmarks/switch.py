"""The event socket of a switch that has a recorded load to tell: a process of its own, ruled through its input.

``Switch`` starts it. It answers commands as a switch would that has these channels and no others. Rules, one a line:
``play COPIES``, as fast as it is taken; ``pace CALLS_PER_S SECONDS PROBES_PER_S``; ``live COUNT``, calls that are
answered and stay. It prints a JSON object a line: what it did, when (monotonic), and each call of which it just told
the creation (a probe), and each bgapi that it read.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final, Self

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import load
from common import own, pin

NODE: Final = "recorded"
_TICK_S: Final = 0.002
_GROUP: Final = 128
"""Events that are sent without a pause for an answer to a command."""


class _Server:
    """One client at a time. A thread answers commands; the main one tells events, by the rules."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sending = threading.Lock()
        self._to_answer = 0
        self._client: socket.socket | None = None
        self._subscribed = threading.Event()
        self._channels: dict[str, bytes] = {}
        self._template: load.Template | None = None
        self._copies = 0

    def serve(self) -> None:
        """Until its input ends."""
        self._say(port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()
        for line in sys.stdin:
            rule, *words = line.split()
            getattr(self, f"_{rule}")(*map(float, words))

    @staticmethod
    def _say(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"Content-Type: auth/request\n\n")
            self._client = client
            self._converse(client)
            self._subscribed.clear()

    def _converse(self, client: socket.socket) -> None:
        waiting = b""
        while True:
            try:
                got = client.recv(65536)
            except OSError:
                return
            if not got:
                return
            came_s = time.monotonic()
            waiting += got
            while b"\n\n" in waiting:
                command, waiting = waiting.split(b"\n\n", 1)
                self._answer(client, command, came_s)

    def _answer(self, client: socket.socket, command: bytes, came_s: float) -> None:
        verb, _, rest = command.partition(b"\n")[0].partition(b" ")
        if verb == b"bgapi":
            self._say(bgapi=command.decode(errors="replace"), at_s=came_s)
        if verb == b"api":
            body = self._api(rest)
            data = b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(body), body)
        else:
            words = b"event listener enabled json" if verb == b"event" else b"accepted"
            if verb == b"bgapi":
                words = b"Job-UUID: %s\nJob-UUID: %s" % ((_job_of(command),) * 2)
            data = b"Content-Type: command/reply\nReply-Text: +OK %s\n\n" % words
        self._to_answer += 1
        try:
            with self._sending:
                client.sendall(data)
        finally:
            self._to_answer -= 1
        if verb == b"event":
            self._subscribed.set()

    def _api(self, command: bytes) -> bytes:
        words = command.split()
        match words[0]:
            case b"show":
                rows = [{"uuid": channel} for channel in list(self._channels)]  # more may come meanwhile
                return json.dumps({"row_count": len(rows), "rows": rows} if rows else {"row_count": 0}).encode()
            case b"uuid_dump":
                return self._channels.get(words[1].decode(), b"-ERR No such channel!\n")
            case b"uuid_exists":
                return b"true" if words[1].decode() in self._channels else b"false"
            case b"switchname":
                return NODE.encode()
        return b"+OK"

    # -- rules -------------------------------------------------------------------------------------------------------

    def _tell(self, events: list[bytes]) -> None:
        self._subscribed.wait()
        assert self._client is not None
        # By groups of whole events, so that an answer to a command need not wait for all of them: and it goes first.
        for at in range(0, len(events), _GROUP):
            while self._to_answer:
                time.sleep(_TICK_S / 4)
            with self._sending:
                self._client.sendall(b"".join(events[at : at + _GROUP]))

    def _made(self) -> load.Template:
        if self._template is None:
            self._template = load.template()
        return self._template

    def _play(self, copies: float) -> None:
        made = self._made()
        self._subscribed.wait()
        time.sleep(0.3)
        began_s = time.monotonic()
        for _ in range(int(copies)):
            self._copies += 1
            self._tell(made.numbered(self._copies))
        count = len(made.events) * int(copies)
        self._say(played=count, calls=len(made.created) * int(copies), began_s=began_s, ended_s=time.monotonic())

    def _pace(self, calls_per_s: float, seconds: float, probes_per_s: float) -> None:
        made = self._made()
        rate = calls_per_s * len(made.events) / len(made.created)
        created = {place: (channel, us) for place, channel, us in made.created}
        began_s = time.monotonic()
        sent, late_s, next_probe_s = 0, 0.0, began_s
        current: list[bytes] = []
        while (elapsed := time.monotonic() - began_s) < seconds:
            due = int(elapsed * rate)
            out, probes = [], []
            while sent < due:
                place = sent % len(made.events)
                if place == 0 or not current:
                    self._copies += 1
                    current = made.numbered(self._copies)
                out.append(current[place])
                if place in created and time.monotonic() >= next_probe_s and probes_per_s:
                    next_probe_s = time.monotonic() + 1 / probes_per_s
                    channel, us = created[place]
                    probes.append((b"%08x" % self._copies).decode() + channel[8:] + f" {us}")
                sent += 1
            if out:
                before_s = time.monotonic()
                self._tell(out)
                now_s = time.monotonic()
                late_s = max(late_s, now_s - before_s)
                for probe in probes:
                    channel, _, created_us = probe.partition(" ")
                    self._say(probe=channel, created_us=int(created_us), at_s=now_s)
            time.sleep(_TICK_S)
        self._say(paced=sent, seconds=time.monotonic() - began_s, waited_s=late_s)

    def _live(self, count: float) -> None:
        sent = 0
        for channel, its in load.live(int(count)):
            if channel not in self._channels:
                self._channels[channel] = _dump(its)
                self._tell(its)
                sent += len(its)
        self._say(live=len(self._channels), events=sent)


def _job_of(command: bytes) -> bytes:
    """The Job-UUID that a bgapi came with; the switch makes one where it came with none."""
    found = re.search(rb"\nJob-UUID: *([0-9a-f-]+)", command)
    return found[1] if found else str(uuid.uuid4()).encode()


def _dump(its: list[bytes]) -> bytes:
    """What ``uuid_dump`` says of a channel after these events."""
    return load.body_of(its[-1]).replace(b'"Event-Name":"CHANNEL_ANSWER"', b'"Event-Name":"CHANNEL_DATA"', 1)


class Switch:
    """That process; a context manager. ``port`` is its event socket's; ``core`` pins it."""

    def __init__(self, core: int | None = 0) -> None:
        words = [] if core is None else ["--core", core]
        self._process = subprocess.Popen(
            own(__file__, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._unread = ""
        self.port: int = self.expect("port", 30)["port"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def rule(self, *words: object) -> None:
        """Has it do that; returns at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")

    def said(self, timeout_s: float = 0.0) -> dict[str, Any] | None:
        """The next thing that it says, if it does within that time."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        descriptor = self._process.stdout.fileno()
        while "\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            got = os.read(descriptor, 65536).decode()
            if not got:
                raise RuntimeError("the switch has ended")
            self._unread += got
        line, _, self._unread = self._unread.partition("\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def expect(self, what: str, timeout_s: float) -> dict[str, Any]:
        """The next thing that has ``what``; what comes before it is passed over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.said(deadline - time.monotonic())
            if found is not None and what in found:
                return found
        raise TimeoutError(f"the switch did not say {what!r} within {timeout_s:g} s")


if __name__ == "__main__":
    if "--core" in sys.argv:
        pin(int(sys.argv[sys.argv.index("--core") + 1]))
    _Server().serve()
