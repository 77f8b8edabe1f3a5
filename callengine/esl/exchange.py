"""What goes over one connection, apart from events: a command, its reply, and how it all ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from callengine.errors import CommandError, CommandRefused

MAX_COMMAND_BYTES = 64 * 1024

_UNSAFE = re.compile(r"[\r\n\0]")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


class UnsafeCommand(CommandRefused):
    """A command that was not sent, since it could be read as more or other than one command."""

    def __init__(self, command: str, reason: str) -> None:
        self.reply = reason
        CommandError.__init__(self, command, f"not sent: {reason}")


class TooManyCommands(CommandRefused):
    """A command that was not sent, since as many as the bound allows wait for their replies already."""

    def __init__(self, command: str, in_flight: int) -> None:
        self.reply = "too many commands in flight"
        CommandError.__init__(self, command, f"not sent: {in_flight} commands are waiting for their replies")


class LossReason(StrEnum):
    """Why a connection ended: a closed set, fit for a metric's label."""

    CLOSED = "closed"
    EOF = "eof"
    RESET = "reset"
    DISCONNECT_NOTICE = "disconnect_notice"
    ACCESS_DENIED = "access_denied"
    MALFORMED = "malformed"
    COMMAND_TIMED_OUT = "command_timed_out"
    WRITE_STALLED = "write_stalled"
    INTAKE_OVERFLOW = "intake_overflow"
    HEARTBEAT_LOST = "heartbeat_lost"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Loss:
    """The end of a connection: its kind, and what there is to say about it."""

    reason: LossReason
    detail: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one command. ``text`` is its Reply-Text, or of an ``api`` the body as text."""

    text: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def refused(self) -> bool:
        """Whether the switch answered ``-ERR``."""
        return self.text.startswith("-ERR")


def encode_command(command: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The bytes of one command and of nothing else; raises `UnsafeCommand` where they could be more.

    Line breaks come from here alone. A Content-Length is refused because the switch would read what follows as a body.
    """
    if not command.strip() or command[0].isspace():
        raise UnsafeCommand(command, "it has no verb")
    if _UNSAFE.search(command):
        raise UnsafeCommand(command, "it holds a line break or a NUL")
    lines = [command]
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or name.lower() == "content-length" or _UNSAFE.search(value):
            raise UnsafeCommand(command, "one of its headers could be read as something else")
        lines.append(f"{name}: {value}")
    try:
        raw = "\n".join((*lines, "", "")).encode()
    except UnicodeEncodeError:
        raise UnsafeCommand(command, "it holds what UTF-8 cannot encode") from None
    if len(raw) > MAX_COMMAND_BYTES:
        raise UnsafeCommand(command, f"it is longer than {MAX_COMMAND_BYTES} bytes")
    return raw
