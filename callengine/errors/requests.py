"""What a caller of ours asked for and does not get; each knows its HTTP status."""

from __future__ import annotations

from typing import ClassVar

from callengine.errors.base import CallengineError


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
