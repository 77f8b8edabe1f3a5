"""What the parts of the engine run into: the switch, the database, files, buckets, endpoints."""

from __future__ import annotations

from typing import ClassVar

from callengine.errors.base import CallengineError

# -- the event socket ---------------------------------------------------------------------------------------------


class EslError(CallengineError):
    """Something about the event socket."""


class EslRefused(EslError):
    """No connection could be made. ``address`` is ``host:port``, ``reason`` the system's words."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        super().__init__(
            f"no connection to FreeSWITCH at {address} ({reason}):"
            " is it running with mod_event_socket loaded, and are esl.host and esl.port right?"
        )


class EslAuthRejected(EslError):
    """The switch answered ``-ERR invalid`` to our password."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"FreeSWITCH at {address} rejected the password:"
            " esl.password has to equal the one in its event_socket.conf.xml"
        )


class EslAccessDenied(EslError):
    """The switch sent text/rude-rejection instead of asking for a password."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"FreeSWITCH at {address} denies access to this host:"
            " allow it in the list that apply-inbound-acl names in its event_socket.conf.xml"
        )


class EslDisconnected(EslError):
    """There is no connection, or it ended before the reply came."""

    def __init__(self, reason: str = "not connected to FreeSWITCH") -> None:
        super().__init__(reason)


class MalformedStream(EslError):
    """The peer sent bytes that are no event stream; the connection cannot be read any further."""


class MalformedEvent(EslError):
    """One event cannot be read as a fact. It is set aside; the stream goes on behind it."""


class CommandError(EslError):
    """A command did not succeed. ``verb`` is its first word, the only one that is ever shown."""

    def __init__(self, command: str, message: str) -> None:
        self.verb = command.split(maxsplit=1)[0] if command.strip() else "(empty command)"
        super().__init__(f"{self.verb}: {message}")


class CommandTimedOut(CommandError):
    """No reply within ``timeout_s``. The command may have taken effect all the same: it must not be sent again."""

    def __init__(self, command: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(command, f"no reply from FreeSWITCH within {timeout_s:g} s")


class CommandRefused(CommandError):
    """The switch answered ``-ERR``. ``reply`` is its text without that prefix."""

    def __init__(self, command: str, reply: str) -> None:
        self.reply = reply.removeprefix("-ERR").strip()
        super().__init__(command, f"FreeSWITCH refused it: {self.reply or 'no reason given'}")


# -- the database -------------------------------------------------------------------------------------------------


class StoreError(CallengineError):
    """Something about the database."""


class StoreUnavailable(StoreError):
    """The database does not answer. ``reason`` is named without the URL, which may hold a password."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is not available: {reason}")


class SchemaTooNew(StoreError):
    """The database was migrated by a newer callengine. ``found`` and ``known`` name migrations."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the database is at migration {found}, this callengine knows {known} at most: install the newer one again"
        )


class LeaseHeld(StoreError):
    """Another engine tracks the switch ``node``; two would count every call twice."""

    def __init__(self, node: str, holder: str) -> None:
        self.node = node
        self.holder = holder
        super().__init__(f"the switch {node!r} is held by another engine ({holder}); waiting until it lets go")


# -- HTTP ---------------------------------------------------------------------------------------------------------


class AddressUnavailable(CallengineError):
    """``address`` (``host:port``) cannot be listened on now: it may be free, or this machine's, a moment later."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        super().__init__(
            f"http.host, http.port: cannot listen on {address}: {reason};"
            f" see who does: ss -ltnp 'sport = :{address.rpartition(':')[2]}'"
        )


# -- recordings ---------------------------------------------------------------------------------------------------


class RecordingError(CallengineError):
    """Something about a recording's file. ``path`` is as it was given; the message has at most its last part."""

    fact: ClassVar[str] = "cannot be used"

    def __init__(self, path: object, reason: str = "") -> None:
        self.path = str(path)
        self.reason = reason
        name = self.path.rpartition("/")[2][-128:]
        super().__init__(f"the recording {name!r} {self.fact}{f' ({reason})' if reason else ''}")


class RecordingOutside(RecordingError):
    """Its path leads into none of ``recordings.directories``."""

    fact = "lies outside recordings.directories"


class RecordingMissing(RecordingError):
    """There is no such file."""

    fact = "is not there"


class RecordingNotRegular(RecordingError):
    """It, or a folder on the way to it, is a symbolic link, or not what it has to be."""

    fact = "is no regular file, or is reached through a symbolic link"


class RecordingNotPermitted(RecordingError):
    """The system does not let our user at it."""

    fact = "may not be used by this user"


class RecordingUnreadable(RecordingError):
    """An error of the file system. ``reason`` is the system's words."""

    fact = "cannot be read"


class RecordingChanged(RecordingError):
    """The file has another content than the one that was found: something else was recorded under its name."""

    fact = "is not the file any more that was found"


class BucketError(CallengineError):
    """The S3-compatible store did not do it. ``code`` is its own word (``AccessDenied``), or names what went wrong.

    Never holds more of what the store said: that may repeat what was sent.
    """

    def __init__(self, verb: str, code: str, *, status: int | None = None, transient: bool = False) -> None:
        self.code = code
        self.status = status
        self.transient = transient
        super().__init__(f"the bucket: {verb} failed: {code}{f' ({status})' if status else ''}")


# -- webhooks -----------------------------------------------------------------------------------------------------


class WebhookError(CallengineError):
    """An endpoint cannot be called. The message never has its URL, whose path may hold a secret."""


class UrlRefused(WebhookError):
    """It is not to be called; ``reason`` completes the sentence 'the URL …'."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the URL {reason}")


class NameNotResolved(WebhookError):
    """Its name has no address at the moment."""

    def __init__(self) -> None:
        super().__init__("the host's name does not resolve")


class LookupsBusy(WebhookError):
    """As many names are being looked up as may be, in all or for this tenant: nothing is known of the endpoint."""

    def __init__(self) -> None:
        super().__init__("too many names are being looked up at the moment")
