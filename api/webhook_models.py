"""What requests and answers about webhooks carry."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from callengine.api.bodies import Body, PageQuery
from callengine.api.fields import WHOLE, Name, instant_us
from callengine.api.shown import Listed, Shown
from callengine.calls.call import EventName

EventWord = Literal[
    "call.dialing",
    "call.ringing",
    "call.answered",
    "call.agent_connected",
    "call.ended",
    "call.corrected",
    "call.recording_ready",
    "call.recording_failed",
    "call.analyzed",
]
DeliveryStatus = Literal["pending", "delivered", "dead"]
assert EventWord.__args__ == tuple(EventName)  # type: ignore[attr-defined]

_When = Annotated[str, Field(json_schema_extra={"format": "date-time", "examples": ["2026-11-22T10:33:35.301Z"]})]
_CallId = Annotated[
    str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True)
]
_Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Field(json_schema_extra={"format": "endpoint-url"}),
]


def _instant(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 timestamp")
    return instant_us(value)


_Instant = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]


def _in_order(given: list[EventWord]) -> list[EventWord]:
    return [name for name in EventWord.__args__ if name in given]  # type: ignore[attr-defined]


_Events = Annotated[list[EventWord], Field(min_length=1, max_length=len(EventName)), AfterValidator(_in_order)]


# -- requests ------------------------------------------------------------------------------------------------------


class EndpointDeliveriesQuery(PageQuery):
    """Which deliveries of an endpoint."""

    status: DeliveryStatus | None = Field(None, description="Only deliveries with this status.")
    event: EventWord | None = Field(None, description="Only deliveries of this event.")
    call: _CallId | None = Field(None, description="Only deliveries about the call with this id.")


class DeliveriesQuery(EndpointDeliveriesQuery):
    """Which deliveries of the tenant."""


class NewEndpoint(Body):
    """An endpoint to register."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://crm.example.com/callengine", "events": ["call.ended", "call.analyzed"]}]
        }
    )

    url: _Url = Field(description="Where to POST: `https://`, a public host, no user and no fragment.")
    events: _Events | None = Field(None, description="Which events; left out or null: all.")
    description: Name | None = Field(None, description="For people.")
    enabled: bool = Field(True, description="Whether it is told of events from now on.")


class EndpointChanges(Body):
    """What to change of an endpoint. A field that is not there, or null, stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "examples": [{"enabled": True}]})

    url: _Url | None = Field(None, description="Where to POST.")
    events: _Events | None = Field(None, description="Which events.")
    description: Name | None = Field(None, description="For people; null clears.")
    enabled: bool | None = Field(
        None, description="Whether it is told of events. What waits for it meanwhile goes out once it is again."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have url, events, description or enabled")
        return self


class RotateRequest(Body):
    """How to change the secret."""

    optional = True

    overlap_s: Annotated[int, Field(ge=0, le=604_800), WHOLE] = Field(
        86_400, description="So long, in seconds, the secret of before signs beside the new one."
    )


class ReplayRequest(Body):
    """Which dead letters to deliver again."""

    optional = True

    since: _Instant | None = Field(None, description="Only of events from this instant (RFC 3339) on; left out: all.")


# -- answers -------------------------------------------------------------------------------------------------------


class EndpointShown(Shown):
    """An endpoint, without its secret."""

    id: str
    url: str
    description: str | None
    events: list[EventWord]
    enabled: bool
    disabled_reason: str | None = Field(description="Why we disabled it ourselves")
    failures: int = Field(description="Failed attempts since the last that succeeded")
    failing_since: _When | None
    paused_until: _When | None = Field(description="It fails as a whole: nothing is sent before")
    old_secret_until: _When | None = Field(description="The secret of before signs too until then")
    created_time: _When


class EndpointWithSecret(EndpointShown):
    """The same with the secret, which is shown this once."""

    secret: str = Field(description="`whsec_` and base64; keep it, it is not shown again")


class EndpointList(Listed):
    """Endpoints, the oldest first."""

    data: list[EndpointShown]


class DeliveryShown(Shown):
    """An event for an endpoint."""

    endpoint_id: str
    event_id: str = Field(description="The `webhook-id`: the same for each attempt")
    event: EventWord
    call_id: str
    seq: int
    status: DeliveryStatus
    attempts: int
    next_attempt_time: _When | None = Field(description="Not before; null where it is not pending")
    last_status: int | None = Field(description="What was answered last, as HTTP has it")
    last_error: str | None
    created_time: _When
    ended_time: _When | None = Field(description="When it was delivered, or given up")


class DeliveryList(Listed):
    """Deliveries, those of the newest events first."""

    data: list[DeliveryShown]


class AttemptShown(Shown):
    """One attempt."""

    n: int
    time: _When
    duration_ms: int
    status: int | None = Field(description="What was answered, as HTTP has it; null: nothing")
    error: str | None
    response: str | None = Field(description="The beginning of what was answered")


class DeliveryWithAttempts(DeliveryShown):
    """A delivery with its attempts in order; of more than 200 the last."""

    attempts_made: list[AttemptShown]


class TrialShown(Shown):
    """What came of an event that was sent to try the endpoint out."""

    delivered: bool
    status: int | None
    error: str | None
    response: str | None
    duration_ms: int


class ReplayShown(Shown):
    """How many dead letters are delivered again."""

    replayed: int
    complete: bool = Field(description="false: there are more; ask again")
