"""Everything callengine raises on purpose.

::

    CallengineError
    ├── ConfigurationError         the settings cannot be used; holds every problem at once
    ├── EslError                   the event socket
    │   ├── EslRefused             nothing accepts connections there, or the name does not resolve
    │   ├── EslAuthRejected        the password is wrong
    │   ├── EslAccessDenied        the switch's ACL refuses this host
    │   ├── EslDisconnected        the connection is gone, or was never there
    │   ├── MalformedStream        the bytes are no event stream
    │   ├── MalformedEvent         one event cannot be read; the stream goes on behind it
    │   └── CommandError
    │       ├── CommandTimedOut    no reply in bounded time; whether it took effect is unknown
    │       └── CommandRefused     the switch answered ``-ERR``
    ├── StoreError                 the database
    │   ├── StoreUnavailable       it does not answer, or is locked
    │   ├── SchemaTooNew           it was migrated by a newer callengine
    │   └── LeaseHeld              another engine holds this switch
    ├── RecordingError             the file of a recording
    │   ├── RecordingOutside       its path leads into none of ``recordings.directories``
    │   ├── RecordingMissing       there is no such file
    │   ├── RecordingNotRegular    what is there is no regular file: a symbolic link, a folder, a FIFO, a device
    │   ├── RecordingNotPermitted  our user may not read or delete it
    │   └── RecordingUnreadable    the file system says something else
    ├── BucketError                the S3-compatible store; ``transient`` says whether to try again
    ├── WebhookError               an endpoint cannot be called
    │   ├── UrlRefused             its URL, or an address behind its name, is not to be called
    │   └── NameNotResolved        its name has no address
    └── RequestRefused             what a caller of ours asked for is not done; ``status`` is the HTTP status
        ├── NoSuchThing            404, alike for what is missing and what is another tenant's
        │   ├── NoSuchCall
        │   ├── NoSuchCampaign
        │   ├── NoSuchLead
        │   ├── NoSuchRecording
        │   ├── NoSuchEndpoint
        │   ├── NoSuchDelivery
        │   └── NoSuchTenant
        ├── RecordingGone              410: the recording was deleted
        ├── LinkInvalid                403: a recording's URL was not signed by us
        ├── LinkExpired                403: it was, but its time is over
        ├── MalformedInput         400: no value of that field could look like this
        ├── NotAllowed             400: well-formed, but not in the closed set that the configuration opens
        ├── CallOver               409: the call has ended
        ├── WrongState             409: the call is not (or not yet) in a state that allows it
        ├── AlreadyExists          409: the name is taken
        ├── IdempotencyInProgress  409: the first request with this key has not been answered yet
        ├── IdempotencyConflict    422: this key came before, with another body
        ├── TooManyEndpoints       409: the tenant has as many as it may have
        ├── TooManyTests           429: enough endpoints are being tried out at the moment
        ├── QueueFull              429: ``retry_after_s`` says when to come back
        ├── TooManyReaders         503: the event stream has as many readers as it may, or one tenant has
        └── SwitchUnavailable      503: there is no event socket to ask

No message here ever holds a secret: commands are named by their verb, connections by their address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class CallengineError(Exception):
    """Base of all of them."""


class ConfigurationError(CallengineError):
    """The settings cannot be used. ``problems`` has one line each: place, fact, remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


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


# -- what somebody asked of us ------------------------------------------------------------------------------------


class RequestRefused(CallengineError):
    """A request that is not done. ``status`` is its HTTP status, ``code`` a stable token for programs."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "refused"
    retry_after_s: float | None = None


class NoSuchThing(RequestRefused):
    """Missing, or another tenant's: the two are never told apart, so the message does not name the id."""

    status = 404
    code = "not-found"
    noun: ClassVar[str] = "resource"

    def __init__(self) -> None:
        super().__init__(f"there is no such {self.noun}")


class NoSuchCall(NoSuchThing):
    """No call of this tenant has that id."""

    noun = "call"


class NoSuchCampaign(NoSuchThing):
    """No campaign of this tenant has that id."""

    noun = "campaign"


class NoSuchLead(NoSuchThing):
    """No lead of this tenant has that id."""

    noun = "lead"


class NoSuchRecording(NoSuchThing):
    """No recording has that id, or it cannot be played."""

    noun = "recording"


class NoSuchEndpoint(NoSuchThing):
    """No webhook endpoint of this tenant has that id."""

    noun = "endpoint"


class NoSuchDelivery(NoSuchThing):
    """The endpoint was never told of that event, or it is no longer known."""

    noun = "delivery"


class NoSuchTenant(NoSuchThing):
    """No tenant has that name."""

    noun = "tenant"


class RecordingGone(RequestRefused):
    """The recording was deleted."""

    status = 410
    code = "recording-gone"

    def __init__(self) -> None:
        super().__init__("the recording was deleted")


class LinkInvalid(RequestRefused):
    """A recording's URL that none of our keys signed, or that was changed since."""

    status = 403
    code = "link-invalid"

    def __init__(self) -> None:
        super().__init__("this link is not valid")


class LinkExpired(RequestRefused):
    """A recording's URL whose time is over."""

    status = 403
    code = "link-expired"

    def __init__(self) -> None:
        super().__init__("this link has expired; read the call again for a new one")


class MalformedInput(RequestRefused):
    """``field`` holds what no value of it could be; ``reason`` completes the sentence 'field …'."""

    status = 400
    code = "malformed"

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(f"{field}: {reason}")


class NotAllowed(RequestRefused):
    """``field`` is well-formed but outside the closed set that the configuration opens.

    The value itself is not repeated: it came from outside and goes to logs and answers.
    """

    status = 400
    code = "not-allowed"

    def __init__(self, field: str, reason: str = "is not among what the configuration allows") -> None:
        self.field = field
        super().__init__(f"{field} {reason}")


class CallOver(RequestRefused):
    """The call has ended; nothing can be done to it any more."""

    status = 409
    code = "call-over"

    def __init__(self) -> None:
        super().__init__("the call is over")


class WrongState(RequestRefused):
    """``action`` needs another state than the call's; ``needed`` names it in words."""

    status = 409
    code = "wrong-state"

    def __init__(self, action: str, needed: str) -> None:
        super().__init__(f"{action} needs a call that is {needed}")


class AlreadyExists(RequestRefused):
    """``noun`` of that name or id is there already."""

    status = 409
    code = "already-exists"

    def __init__(self, noun: str) -> None:
        super().__init__(f"there is already a {noun} by that name")


class IdempotencyInProgress(RequestRefused):
    """The first request with this Idempotency-Key is still being worked on."""

    status = 409
    code = "idempotency-in-progress"
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("the first request with this Idempotency-Key has not been answered yet")


class IdempotencyConflict(RequestRefused):
    """This Idempotency-Key came before, with another body."""

    status = 422
    code = "idempotency-conflict"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for a request with another body")


class TooManyEndpoints(RequestRefused):
    """The tenant has as many webhook endpoints as ``webhooks.max_endpoints`` allows."""

    status = 409
    code = "too-many-endpoints"

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} endpoints already, and no more are allowed")


class TooManyTests(RequestRefused):
    """Each test of an endpoint holds a connection for as long as the receiver likes; so many at once are enough."""

    status = 429
    code = "too-many-tests"
    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__("enough endpoints are being tested at the moment")


class QueueFull(RequestRefused):
    """The originate queue is at ``originate.queue_max``; come back after ``retry_after_s``."""

    status = 429
    code = "queue-full"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("the originate queue is full")


class TooManyReaders(RequestRefused):
    """The event stream has as many readers as it may have, or this tenant has."""

    status = 503
    code = "too-many-readers"
    retry_after_s = 10.0

    def __init__(self) -> None:
        super().__init__("the stream has as many readers as it may have; come back later")


class SwitchUnavailable(RequestRefused):
    """There is no connection to FreeSWITCH, so nothing can be asked of it now."""

    status = 503
    code = "switch-unavailable"

    def __init__(self, retry_after_s: float = 5.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("FreeSWITCH cannot be reached at the moment")
