"""What went to the switch, byte by byte: a relay that keeps it, and the closed set of what it may be."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

from callengine.standin import dialstring
from callengine.standin.expand import expand
from tests.esl import parser

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NUMBER = r"[A-Za-z0-9+*#_.@-]+"
_APP = r"[a-z0-9_]+"
SHAPES: Mapping[str, re.Pattern[str]] = {
    name: re.compile(shape)
    for name, shape in {
        "auth": r"auth ClueCon",
        "event": r"event json [A-Z_]+(?: [A-Za-z_:]+)*",
        "switchname": r"api switchname",
        "show": r"api show channels as json",
        "exists": rf"api uuid_exists {_UUID}",
        "dump": rf"api uuid_dump {_UUID} json",
        "originate": rf"bgapi originate [^\x00-\x1f\x7f-\x9f\u2028\u2029]+\nJob-UUID: {_UUID}",
        "kill": rf"api uuid_kill {_UUID} [A-Z_]+",
        "bridge": rf"api uuid_bridge {_UUID} {_UUID}",
        "extension": rf"api uuid_transfer {_UUID} {_NUMBER} XML default",
        "execute": rf"api uuid_transfer {_UUID} (?:callcenter:support@default|playback:/sounds/hello\.wav) inline",
        "park": rf"api uuid_park {_UUID}",
        "hold": rf"api uuid_hold(?: off)? {_UUID}",
        "dtmf": rf"api uuid_send_dtmf {_UUID} [0-9A-D*#wW]+(?:@[0-9]+)?",
        "record": rf"api uuid_record {_UUID} (?:start|stop|mask|unmask) /[A-Za-z0-9_./-]+/{_UUID}(?:-[0-9]+)?\.wav",
        "setvar": rf"api uuid_setvar {_UUID} (?:RECORD_STEREO|RECORD_ANSWER_REQ|recording_follow_transfer) true",
    }.items()
}
ASKED_BY_ITSELF = frozenset({"auth", "event", "switchname", "show", "exists", "dump"})
"""What the engine asks of its own accord, at any time; none of it changes anything on the switch."""


class Smuggled(AssertionError):
    """Something on the wire is not what it may be."""


@dataclass(frozen=True)
class Sent:
    """One command: its shape, and its first line."""

    shape: str
    line: str


class Relay:
    """Stands between the daemon and the switch. ``raw`` is all that the daemon wrote, of all its connections."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port = int(self._server.server_port)
        self.raw = bytearray()
        self._read = 0

    def close(self) -> None:
        self._server.stop(1)

    def _serve(self, near: Any, _address: object) -> None:
        far = socket.create_connection(self._address)
        back = gevent.spawn(_copy, far, near)
        try:
            with contextlib.suppress(OSError):
                while data := near.recv(65_536):
                    self.raw += data
                    far.sendall(data)
        finally:
            far.close()
            back.kill()

    def taken(self) -> list[Sent]:
        """The commands since the last time; raises ``Smuggled`` where a byte is not of one that is known."""
        new = bytes(self.raw[self._read :])
        if new and not new.endswith(b"\n\n"):
            raise Smuggled(f"not the end of a command: {new[-200:]!r}")
        self._read = len(self.raw)
        return [known(block) for block in new[:-2].split(b"\n\n")] if new else []

    def forget(self) -> None:
        """Lets pass whatever was sent until now."""
        gevent.sleep(0.1)
        self._read = len(self.raw)


def _copy(source: Any, target: Any) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def known(block: bytes) -> Sent:
    """The one shape that a command has."""
    try:
        text = block.decode()
    except UnicodeDecodeError:
        raise Smuggled(f"no UTF-8: {block!r}") from None
    for name, shape in SHAPES.items():
        if shape.fullmatch(text):
            return Sent(name, text.split("\n")[0])
    raise Smuggled(f"no command that we send: {block!r}")


# -- what the switch understands -------------------------------------------------------------------------------------

_ANONYMOUS = re.compile(_UUID)


def anonymous(text: str) -> str:
    """Without what is another with each call."""
    return _ANONYMOUS.sub("UUID", text)


def understood(line: str) -> Any:
    """What an originate means to the switch, with all UUIDs alike: variables, legs, and what then.

    Read by the stand-in's own parser, and by the tests' stricter one, which has to understand it at all.
    """
    command = line.removeprefix("bgapi ")
    try:
        parser.originate(command)
    except parser.Astray as error:
        raise Smuggled(f"{error}: {command}") from None
    words = dialstring.arguments(command.removeprefix("originate "))
    if words[1][:1] != "&":
        return {"dial": _dial(words[0]), "then": [anonymous(word) for word in words[1:]]}
    inside, _, after = words[1][1:].partition(")")
    if after or len(words) > 2:
        raise Smuggled(f"more than an application: {command}")
    name, _, given = inside.partition("(")
    given = expand(given, lambda _name: "")
    return {"dial": _dial(words[0]), "then": [name, _dial(given) if name == "bridge" else anonymous(given)]}


def _dial(text: str) -> Any:
    try:
        read = dialstring.parse(text)
    except dialstring.DialStringMalformed as error:
        raise Smuggled(f"no dial string: {error}") from None
    legs = [[[leg.endpoint, anonymous(leg.address), leg.variables] for leg in group] for group in read.groups]
    if sum(len(group) for group in read.groups) != 1:
        raise Smuggled(f"not one leg: {text}")
    variables = {name: anonymous(value) for name, value in read.variables.items()}
    if variables.keys() != dialstring.assignable(variables).keys():
        raise Smuggled(f"the switch drops a variable: {text}")
    return {"variables": variables, "legs": legs}


def replaced(meaning: Any, old: str, new: str) -> Any:
    """The same with another text in place of ``old``, wherever it stands, names of variables too."""
    if isinstance(meaning, str):
        return meaning.replace(old, new)
    if isinstance(meaning, list):
        return [replaced(item, old, new) for item in meaning]
    return {replaced(key, old, new): replaced(item, old, new) for key, item in meaning.items()}
