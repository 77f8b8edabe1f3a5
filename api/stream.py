"""``GET /v1/stream``: the events of calls as they come, as server-sent events (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from flask import Response, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from callengine.api.bodies import Query
from callengine.api.fields import OwnId
from callengine.api.frame import Frame, unavailable
from callengine.api.keys import bearer
from callengine.api.long_lived import claim_place
from callengine.api.shown import Call, Shown
from callengine.calls.call import EventName

MEDIA_TYPE = "text/event-stream"
SCOPE = "calls:read"
# Proxies must pass on what they get as they get it.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_NAMES = tuple(name.value for name in EventName)
_ONE_NAME = f"({'|'.join(name.replace('.', '[.]') for name in _NAMES)})"


def _names(value: str) -> str:
    if not set(value.split(",")) <= set(_NAMES):
        raise ValueError(f"must be one or more of {', '.join(_NAMES)}, with commas between them")
    return value


_Names = Annotated[
    str,
    AfterValidator(_names),
    WithJsonSchema({"type": "string", "pattern": f"^{_ONE_NAME}(,{_ONE_NAME})*$", "examples": ["call.ended"]}),
]
_Uuid = Annotated[
    str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True)
]


class StreamQuery(Query):
    """Which events."""

    event: _Names | None = Field(None, description="Only events of these names, with commas between them.")
    call: _Uuid | None = Field(None, description="Only events of the call with this id.")
    campaign: OwnId | None = Field(None, description="Only events of the campaign with this id.")
    lead: OwnId | None = Field(None, description="Only events of calls to the lead with this id.")
    agent: OwnId | None = Field(None, description="Only events of calls that this agent was the first to handle.")
    last_event_id: _Uuid | None = Field(
        None, description="As the header Last-Event-ID, for those who cannot set it; the header goes first."
    )


class StreamHeaders(BaseModel):
    """The headers of a reader that comes back."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    last_event_id: _Uuid | None = Field(
        None,
        alias="Last-Event-Id",  # as WSGI hands it over
        description="The id of the last event that was read: the stream begins right behind it. If it is not known any"
        " longer, the first message is `reset`, and what follows begins now.",
    )


class EventData(BaseModel):
    """What an event tells: the call as it stood then, and what the event is about besides."""

    model_config = ConfigDict(extra="allow")

    call: Call


class StreamEvent(Shown):
    """The data of one message; a webhook's body is the same."""

    type: str = Field(json_schema_extra={"enum": list(_NAMES)})
    timestamp: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When it was committed, by our clock"
    )
    id: str = Field(description="The event's id, the same wherever and however often it is told")
    seq: int = Field(description="Grows by one with every event of the call")
    data: EventData


def _filters(query: StreamQuery) -> dict[str, Any]:
    given: dict[str, Any] = {
        "call_id": query.call,
        "campaign_id": query.campaign,
        "lead_id": query.lead,
        "agent_id": query.agent,
        "events": None if query.event is None else frozenset(query.event.split(",")),
    }
    return {name: value for name, value in given.items() if value is not None}


def add_stream_route(frame: Frame) -> None:
    """The stream."""
    services = frame.services

    def admission(tenant_id: str) -> Callable[[], bool]:
        """Whether the key of this request still opens the stream; not to be asked within a request."""
        presented = bearer(request.headers.get("Authorization")) or ""

        def still() -> bool:
            key = frame.gate.find(presented)
            return key is not None and key.tenant_id == tenant_id and SCOPE in key.scopes

        return still

    @frame.route("GET", "/v1/stream", scope=SCOPE, answer=StreamEvent, media=MEDIA_TYPE)
    def stream_events(tenant_id: str, query: StreamQuery, headers: StreamHeaders) -> Response:
        """Read events as they come

        Server-sent events, without an end; the schema is that of each message's data. `docs/stream.md` has the rest."""
        if services.stream is None:
            raise unavailable("events are told where there is a feed of them")
        if request.method == "HEAD":
            return Response(b"", content_type=MEDIA_TYPE, headers=_HEADERS)
        claim_place("stream", endless=True)
        last_event_id = headers.last_event_id or query.last_event_id
        reader = services.stream.open(tenant_id, _filters(query), last_event_id, admission(tenant_id))
        return Response(reader, content_type=MEDIA_TYPE, headers=_HEADERS)
