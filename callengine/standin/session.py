"""One connection to the event socket: what it says, what it is told, what it subscribed to (``mod_event_socket.c``)."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import AsyncResult

from callengine.standin import sources
from callengine.standin.api_commands import Job
from callengine.standin.events import EVENT_NAMES, Block, Event, byte_length
from callengine.standin.options import SocketUser
from callengine.standin.outbox import Outbox

if TYPE_CHECKING:
    from gevent.socket import socket as Socket  # noqa: N812

    from callengine.standin.server import Server

log = logging.getLogger(__name__)

MAX_COMMAND_BYTES: Final = 10 * 1024 * 1024
GOODBYE: Final = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
GOING_DOWN: Final = "The system is being shut down.\n"
LOST_EVENTS: Final = "killed listener because of lost events\n"
RUDE: Final = "Access Denied, go away.\n"
_LEVELS: Final = ("console", "alert", "crit", "err", "warning", "notice", "info", "debug")
_BLOCK_END: Final = re.compile(rb"\r?\n\r?\n")


class HungUp(Exception):
    """The client has gone, or is to go."""


class Session:
    """A connection. Its greenlet reads commands and answers them; another one writes."""

    def __init__(self, server: Server, sock: Socket, address: tuple[str, int]) -> None:
        self.server = server
        self.switch = server.switch
        self.sock = sock
        self.address = address
        self.user: SocketUser | None = None
        self.authed = False
        self.form = "plain"
        self.event_names: set[str] = set()
        self.subclasses: set[str] = set()
        self.listening = False
        self.logging = False
        self.filters: list[tuple[str, str]] = []
        self.only_uuid = ""
        self.lost = 0
        self.outbox = Outbox(sock)
        self._awaited: AsyncResult[str] | None = None
        self._buffer = b""

    # -- the connection's life -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the connection till it ends."""
        try:
            if self.switch.options.acl_denies:
                self._send_text("text/rude-rejection", RUDE)
                self.notice(GOODBYE)
                return
            self.outbox.put(b"Content-Type: auth/request\n\n")
            self._await_auth()
            while self.authed:
                self._command(*self._read_command())
            self.notice(GOODBYE)
        except HungUp:
            self.notice(GOODBYE)
        except OSError:
            pass
        finally:
            self.server.forget(self)
            self.close()

    def _await_auth(self) -> None:
        waiting = gevent.Timeout.start_new(self.switch.options.auth_timeout_s)
        try:
            while not self.authed:
                self._command(*self._read_command())
        except gevent.Timeout as expired:
            if expired is not waiting:
                raise
        finally:
            waiting.close()

    def close(self, *, reset: bool = False) -> None:
        if self._awaited is not None:
            self._awaited.set("")
        self.outbox.close(reset=reset)

    def notice(self, text: str) -> None:
        self._send_text("text/disconnect-notice", text)

    # -- writing -------------------------------------------------------------------------------------------------

    def _send_text(self, kind: str, text: str) -> None:
        self.outbox.put(f"Content-Type: {kind}\nContent-Length: {byte_length(text)}\n\n{text}".encode())

    def _reply(self, text: str, extra: str = "") -> None:
        self.outbox.put(
            f"Content-Type: command/reply\nReply-Text: {text}\n{extra}\n".encode("utf-8", "surrogateescape")
        )

    def _api_reply(self, text: str) -> None:
        body = text or "-ERR no reply\n"
        head = f"Content-Type: api/response\nContent-Length: {byte_length(body)}\n\n"
        self.outbox.put((head + body).encode("utf-8", "surrogateescape"))

    # -- events --------------------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Queue an event, if the filters let it through; a client that does not read loses events, then its place."""
        outbox, limits = self.outbox, self.switch.options
        if outbox.closing or not self._passes(event):
            return
        if outbox.events < limits.queue_limit:
            outbox.put_event(event.frame(self.form))
            return
        self.lost += 1
        if self.lost > limits.lost_limit:
            outbox.closing = True
            gevent.spawn(self._kill_slow)

    def _kill_slow(self) -> None:
        self.server.forget(self)
        self.notice(LOST_EVENTS)
        self.close()

    def _passes(self, event: Event) -> bool:
        if self.filters and not self._filtered_in(event):
            return False
        return not self.only_uuid or event.header("Unique-ID") == self.only_uuid

    def _filtered_in(self, event: Event) -> bool:
        """Any filter lets through only what matches one, so job results and heartbeats are lost, too."""
        send = False
        for name, wanted in self.filters:
            value = event.header(name)
            if value is None:
                continue
            bare = wanted.lstrip("+- ")
            positive = "-" not in wanted[: len(wanted) - len(bare)]
            if send and positive:
                continue
            match = _regex_matches(bare, value) if wanted.startswith("/") else value.lower() == bare.lower()
            if match and not positive:
                return False
            send = send or match
        return send

    # -- reading -------------------------------------------------------------------------------------------------

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise OSError("end of stream")
        self._buffer += data

    def _read_command(self) -> tuple[str, dict[str, str], str]:
        """The next command: its line, its headers, its body. Empty lines before it do not count."""
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            end = _BLOCK_END.search(self._buffer)
            if end is not None:
                break
            if len(self._buffer) > MAX_COMMAND_BYTES:
                raise HungUp
            self._more()
        lines = self._buffer[: end.start()].decode("utf-8", "surrogateescape").replace("\r", "").split("\n")
        self._buffer = self._buffer[end.end() :]
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if value.strip():
                headers[name] = value.lstrip(" ")
        return lines[0], headers, self._read_body(headers)

    def _read_body(self, headers: dict[str, str]) -> str:
        length = _named(headers, "content-length")
        wanted = int(length) if length.isdigit() else 0
        if wanted > MAX_COMMAND_BYTES:
            raise HungUp
        while len(self._buffer) < wanted:
            self._more()
        body, self._buffer = self._buffer[:wanted], self._buffer[wanted:]
        return body.decode("utf-8", "surrogateescape")

    # -- commands ------------------------------------------------------------------------------------------------

    def _command(self, line: str, headers: dict[str, str], body: str) -> None:
        lower = line.lower()
        if "reload" in lower and "mod_event_socket" in lower:
            self._reply("+OK")
            gevent.spawn(self.server.reload)
            return
        if lower.startswith(("exit", "...")):
            self._reply("+OK bye")
            raise HungUp
        if not self.authed:
            self._authenticate(line)
            return
        for prefix, handle in _HANDLERS:
            if lower.startswith(prefix):
                handle(self, line, headers, body)
                return
        self._reply("-ERR command not found")

    def _authenticate(self, line: str) -> None:
        lower = line.lower()
        if lower.startswith("auth "):
            if line[5:] != self.switch.options.password:
                self._reply("-ERR invalid")
                raise HungUp
            self._admit(None)
            self._reply("+OK accepted")
        elif lower.startswith("userauth "):
            name, _, password = line[9:].partition(":")
            user = self.switch.options.users.get(name)
            if user is None or user.password != password:
                self._reply("-ERR invalid")
                raise HungUp
            self._admit(user)
            rights = f"Allowed-Events: {','.join(user.events)}\nAllowed-API: {','.join(user.apis)}\n"
            self._reply("+OK accepted", f"{rights}Allowed-LOG: {'true' if user.log else 'false'}\n")
        else:
            self._reply("-ERR command not found")

    def _admit(self, user: SocketUser | None) -> None:
        self.authed = True
        self.user = user
        self.switch.listeners.append(self)

    def _may_api(self, name: str) -> bool:
        return self.user is None or "all" in self.user.apis or name in self.user.apis

    def api(self, line: str, _headers: dict[str, str], _body: str) -> None:
        name, _, argument = line[4:].partition(" ")
        if not self._may_api(name):
            self._reply("-ERR permission denied")
            return
        answer = self.server.call(name, argument)
        if isinstance(answer, Job):
            self.outbox.hold_events()
            awaited = self._awaited = AsyncResult()
            answer.start(awaited.set)
            self._api_reply(awaited.get() or "")
            self._awaited = None
            self.outbox.release_events()
        else:
            self._api_reply(answer)

    def bgapi(self, line: str, headers: dict[str, str], _body: str) -> None:
        name, _, argument = line[6:].partition(" ")
        if not self._may_api(name):
            self._reply("-ERR permission denied")
            return
        job_uuid = _named(headers, "job-uuid") or self.switch.new_uuid()
        self._reply(f"+OK Job-UUID: {job_uuid}", f"Job-UUID: {job_uuid}\n")

        def done(text: str) -> None:
            block = {"Job-UUID": job_uuid, "Job-Command": name}
            if argument:
                block["Job-Command-Arg"] = argument
            self.switch.emit("BACKGROUND_JOB", sources.JOB, block, body=text or "-ERR no reply\n")

        def begin() -> None:
            answer = self.server.call(name, argument)
            if isinstance(answer, Job):
                answer.start(done)
            else:
                done(answer)

        self.switch.clock.soon(begin)

    def event(self, line: str, _headers: dict[str, str], _body: str) -> None:
        _, found, rest = line.partition(" ")
        words = rest.split(" ") if found else []
        if words and words[0].lower() in {"plain", "json", "xml"}:
            self.form = words.pop(0).lower()
        names, subclasses = _split_custom(words)
        if not names:
            self._reply("-ERR no keywords supplied")
            return
        if not self._may_listen(names | subclasses):
            self._reply("-ERR permission denied")
            return
        self.event_names |= names
        self.subclasses |= subclasses
        self.listening = True
        self.switch.subscriptions_changed()
        self._reply(f"+OK event listener enabled {self.form}")

    def _may_listen(self, names: set[str]) -> bool:
        return self.user is None or "all" in self.user.events or names <= {*self.user.events, "CUSTOM"}

    def nixevent(self, line: str, _headers: dict[str, str], _body: str) -> None:
        names, subclasses = _split_custom(line.split(" ")[1:])
        if not names:
            self._reply("-ERR no keywords supplied")
            return
        if "ALL" in names:
            self.event_names.clear()
        elif "ALL" in self.event_names:
            self.event_names = set(EVENT_NAMES - {"ALL"}) - names
        else:
            self.event_names -= names - {"CUSTOM"}
        self.subclasses -= subclasses
        self.switch.subscriptions_changed()
        self._reply("+OK events nixed")

    def noevents(self, _line: str, _headers: dict[str, str], _body: str) -> None:
        if not self.listening:
            self._reply("-ERR not listening for events")
            return
        self.listening = False
        self.event_names.clear()
        self.subclasses.clear()
        self.switch.subscriptions_changed()
        self._reply("+OK no longer listening for events")

    def filter(self, line: str, _headers: dict[str, str], _body: str) -> None:
        words = line.split(" ", 1)[1].strip() if " " in line else ""
        verb, _, rest = words.partition(" ")
        if verb.lower() == "delete":
            name, _, value = rest.partition(" ")
            if name == "all":
                self.filters.clear()
            else:
                self.filters = [each for each in self.filters if each[0] != name or (value and each[1] != value)]
            self._reply(f"+OK filter deleted. [{name}][{value}]")
            return
        name, _, value = (rest if verb.lower() == "add" else words).partition(" ")
        if not name or not value:
            self._reply("-ERR invalid syntax" if words else "-ERR command not found")
            return
        self.filters.append((name, value))
        self._reply(f"+OK filter added. [{name}]=[{value}]")

    def myevents(self, line: str, _headers: dict[str, str], _body: str) -> None:
        words = line.split(" ")[1:]
        if words and words[0] in {"plain", "json", "xml"}:
            self.form = words.pop(0)
        if not words:
            self._reply("-ERR command not found")
            return
        self.only_uuid = words[0]
        self.event_names = {"ALL"}
        self.listening = True
        self.switch.subscriptions_changed()
        self._reply("+OK Events Enabled")

    def sendevent(self, line: str, headers: dict[str, str], body: str) -> None:
        name = line[9:].strip().upper()
        name = name if name in EVENT_NAMES else "CUSTOM"
        subclass = _named(headers, "event-subclass")
        uuid = self.switch.new_uuid()
        given = {key: value for key, value in headers.items() if key.lower() != "event-subclass"}
        head = {"Event-Subclass": subclass} if subclass else {}
        lead: Block = {**head, "Command": line, **given, "Event-UUID": uuid}
        self._reply(f"+OK {uuid}")
        self.switch.emit_raw(name, lead, sources.SENDEVENT, body or None, subclass)

    def sendmsg(self, line: str, headers: dict[str, str], body: str) -> None:
        uuid = line[7:].strip()
        channel = self.switch.channels.get(uuid)
        if channel is None:
            self._reply(f"-ERR invalid session id [{uuid}]")
            return
        command = _named(headers, "call-command").lower()
        if command == "hangup":
            self.server.call("uuid_kill", f"{uuid} {_named(headers, 'hangup-cause')}".strip())
        elif command == "execute":
            data = _named(headers, "execute-app-arg") or body
            channel.broadcasts.append((_named(headers, "execute-app-name"), data))
            if channel.task is not None:
                channel.task.poke()
        self._reply("+OK")

    def log_level(self, line: str, _headers: dict[str, str], _body: str) -> None:
        if self.user is not None and not self.user.log:
            self._reply("-ERR permission denied")
            return
        level = line[3:].strip()
        number = int(level) if level.isdigit() and int(level) < len(_LEVELS) else -1
        if level.lower() in _LEVELS:
            number = _LEVELS.index(level.lower())
        if number < 0 and level:
            self._reply("-ERR invalid log level")
            return
        self.logging = True
        self._reply(f"+OK log level {level} [{number if level else 7}]")

    def nolog(self, _line: str, _headers: dict[str, str], _body: str) -> None:
        self._reply("+OK no longer logging" if self.logging else "-ERR not loging")
        self.logging = False

    def no_session(self, line: str, _headers: dict[str, str], _body: str) -> None:
        dot = "." if line.lower().startswith("divert") else ""
        self._reply(f"-ERR not controlling a session{dot}")


def _named(headers: dict[str, str], name: str) -> str:
    """A header by its name in any case of letters."""
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _split_custom(words: list[str]) -> tuple[set[str], set[str]]:
    """The event names of a subscription; all behind CUSTOM is read as subclasses. Unknown names are ignored."""
    names: set[str] = set()
    subclasses: set[str] = set()
    custom = False
    for word in words:
        if custom:
            subclasses.add(word)
        elif word.upper() in EVENT_NAMES:
            names.add(word.upper())
            custom = word.upper() == "CUSTOM"
    return names, subclasses - {""}


def _regex_matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern.strip("/"), value) is not None
    except re.error:
        return False


_HANDLERS: Final = (
    ("api ", Session.api),
    ("bgapi ", Session.bgapi),
    ("sendevent", Session.sendevent),
    ("sendmsg", Session.sendmsg),
    ("filter ", Session.filter),
    ("myevents", Session.myevents),
    ("nixevent", Session.nixevent),
    ("noevents", Session.noevents),
    ("event", Session.event),
    ("divert_events", Session.no_session),
    ("linger", Session.no_session),
    ("nolinger", Session.no_session),
    ("nolog", Session.nolog),
    ("log", Session.log_level),
)
