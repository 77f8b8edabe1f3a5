"""What requests carry: query strings, headers and JSON bodies. Unknown names are refused everywhere."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from callengine.api.fields import (
    DISPOSITION_MAX,
    NOTES_MAX,
    WHOLE,
    Direction,
    Disposition,
    Instant,
    Name,
    Notes,
    OwnId,
    Page,
    PageSize,
    QueryDisposition,
    QueryNumber,
    Status,
)
from callengine.calls.causes import CAUSES

# -- query strings -------------------------------------------------------------------------------------------------


class Query(BaseModel):
    """A query string."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PageQuery(Query):
    """Which page of a list."""

    page: Page = Field(1, description="Page number, counted from 1.")
    page_size: PageSize = Field(25, description="Results per page.")


class CampaignCallsQuery(PageQuery):
    """Which calls of a campaign."""

    status: Status | None = Field(None, description="Only calls with this status.")
    disposition: QueryDisposition | None = Field(None, description="Only calls with this disposition code.")


class CallsQuery(CampaignCallsQuery):
    """Which calls of the tenant."""

    direction: Direction | None = Field(None, description="Only calls of this direction.")
    campaign: OwnId | None = Field(None, description="Only calls of the campaign with this id.")
    lead: OwnId | None = Field(None, description="Only calls to the lead with this id.")
    agent: OwnId | None = Field(None, description="Only calls that this agent was the first to handle.")
    number: QueryNumber | None = Field(
        None,
        description="Only calls from or to this number, the whole of it; spaces, `-`, `(`, `)`, `.`, `/` and a leading"
        " `+` count on neither side.",
    )
    dialed_after: Instant | None = Field(None, description="Only calls dialled at this instant (RFC 3339) or later.")
    dialed_before: Instant | None = Field(None, description="Only calls dialled before this instant (RFC 3339).")


class LeadsQuery(PageQuery):
    """Which leads of the tenant."""

    campaign: OwnId | None = Field(None, description="Only leads of the campaign with this id.")


class RecordingQuery(Query):
    """What makes a recording's URL work."""

    expires: str = Field(pattern=r"^[1-9][0-9]{0,11}$", description="Until when, in seconds since the epoch.")
    signature: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="Ours, over the recording's id and `expires`.")


# -- headers -------------------------------------------------------------------------------------------------------


class OriginateHeaders(BaseModel):
    """The headers of an originate."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")] | None = Field(
        None,
        alias="Idempotency-Key",
        description="1 to 255 visible ASCII characters. Kept for 24 hours for each tenant: the same request again gets"
        " the first answer again, another one with the same key is refused.",
    )


# -- bodies --------------------------------------------------------------------------------------------------------


class Body(BaseModel):
    """A JSON object; numbers are not read from strings. ``optional``: no body at all means an empty object."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)
    optional: ClassVar[bool] = False


class CallChanges(Body):
    """What to set on a call. A field that is not there stays as it is; null clears."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "examples": [{"disposition": "SALE"}]})

    disposition: Disposition | None = Field(None, description="The agent's disposition code.")
    notes: Notes | None = Field(None, description=f"The agent's notes, up to {NOTES_MAX} characters.")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have disposition, notes or both")
        return self


_ConfiguredName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_CallUuid = Annotated[
    str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True)
]


class AgentTarget(Body):
    """An agent, rung by one of the configured templates."""

    type: Literal["agent"]
    agents: _ConfiguredName = Field(description="The name of the template (`originate.agents`).")
    agent_id: Annotated[str, StringConstraints(pattern=r"^[!-#%-~]{1,64}$")] = Field(
        description="The agent's id, as the template's pattern allows it."
    )


class QueueTarget(Body):
    """A queue, one of `originate.queues`."""

    type: Literal["queue"]
    queue: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]{1,128}$")]


class ExtensionTarget(Body):
    """An extension in the configured context, as `originate.extension_pattern` allows it."""

    type: Literal["extension"]
    extension: Annotated[str, StringConstraints(pattern=r"^[!-#%-~]{1,64}$")]


class ApplicationTarget(Body):
    """An application, one of `originate.applications`; its arguments are fixed there."""

    type: Literal["application"]
    application: _ConfiguredName


class ParkTarget(Body):
    """The call is held on the switch until it is told to do something else."""

    type: Literal["park"]


class CallTarget(Body):
    """Another live call of the tenant."""

    type: Literal["call"]
    call_id: _CallUuid


AnswerTarget = Annotated[
    AgentTarget | QueueTarget | ExtensionTarget | ApplicationTarget | ParkTarget, Field(discriminator="type")
]
TransferTarget = Annotated[QueueTarget | ExtensionTarget | ApplicationTarget | ParkTarget, Field(discriminator="type")]
BridgeTarget = Annotated[AgentTarget | CallTarget, Field(discriminator="type")]

_Dialled = Annotated[str, StringConstraints(pattern=r"^[!-#%-~]{1,64}$")]
_VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
_VariableValue = Annotated[str, StringConstraints(pattern=r"^[^$\x00-\x1f\x7f-\x9f]{0,1024}$")]


class CallRequest(Body):
    """A call to place."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"first": {"const": "agent"}}, "required": ["first"]},
            "then": {
                "properties": {"on_answer": {"properties": {"type": {"const": "agent"}}}},
                "required": ["on_answer"],
            },
            "examples": [
                {
                    "destination": "+15550100",
                    "gateway": "carrier",
                    "on_answer": {"type": "queue", "queue": "sales@default"},
                }
            ],
        }
    )

    destination: _Dialled = Field(description="The lead's number, as `originate.destination_pattern` allows it.")
    gateway: _ConfiguredName | None = Field(
        None, description="One of `originate.gateways` by name; may be left out where there is only one."
    )
    caller_id_number: _Dialled | None = Field(None, description="The number to show, as the gateway allows it.")
    caller_id_name: Annotated[str, StringConstraints(pattern=r"^[^$\x00-\x1f\x7f-\x9f]{1,64}$")] | None = Field(
        None, description="The name to show."
    )
    ring_timeout_s: Annotated[int, Field(ge=1, le=600), WHOLE] | None = Field(
        None, description="How long it may ring; left out: `originate.ring_timeout_s`."
    )
    first: Literal["lead", "agent"] = Field(
        "lead", description="Who is rung first. With `agent` the lead is dialled once the agent has answered."
    )
    on_answer: AnswerTarget = Field(
        default_factory=lambda: ParkTarget(type="park"),
        description="What happens once the lead has answered; of type `agent` where the agent is rung first.",
    )
    record: bool | None = Field(
        None,
        description="Whether to record from the answer on; left out: as the campaign, else the tenant, else"
        " `recordings.start` has it.",
    )
    campaign_id: OwnId | None = Field(None, description="The campaign; one that is not there yet is created.")
    lead_id: OwnId | None = Field(None, description="The lead that is dialled.")
    variables: Annotated[dict[_VariableName, _VariableValue], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Channel variables, of those that `originate.variables` opens.",
        json_schema_extra={"additionalProperties": False},
    )

    @model_validator(mode="after")
    def _agent_to_ring(self) -> Self:
        if self.first == "agent" and self.on_answer.type != "agent":
            raise ValueError("on_answer must be of type agent where the agent is rung first")
        return self


_GIVEN_CAUSES = CAUSES - {"NONE", "SUCCESS"}


def _known_cause(value: str) -> str:
    if value not in _GIVEN_CAUSES:
        raise ValueError("must be a FreeSWITCH hangup cause")
    return value


class HangupRequest(Body):
    """How to hang up."""

    optional = True

    cause: (
        Annotated[
            str,
            AfterValidator(_known_cause),
            WithJsonSchema({"type": "string", "enum": sorted(_GIVEN_CAUSES)}),
        ]
        | None
    ) = Field(None, description="The FreeSWITCH hangup cause; left out: NORMAL_CLEARING.")


class BridgeRequest(Body):
    """Whom to connect the call to."""

    to: BridgeTarget


class TransferRequest(Body):
    """Where to send the call."""

    to: TransferTarget


class DtmfRequest(Body):
    """Tones to send to the call."""

    digits: Annotated[str, StringConstraints(pattern=r"^[0-9A-D*#wW]{1,64}$")] = Field(
        description="`w` pauses for half a second, `W` for a second."
    )
    duration_ms: Annotated[int, Field(ge=40, le=6000), WHOLE] | None = Field(
        None, description="The length of each tone; left out: the switch's."
    )


class NoBody(Body):
    """Nothing needs to be said; an empty object may be."""

    optional = True


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("must not name one twice")
    return values


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must have printable characters only")
    return value


_Code = Annotated[
    str,
    StringConstraints(min_length=1, max_length=DISPOSITION_MAX),
    AfterValidator(_printable),
    WithJsonSchema({"type": "string", "format": "own-id", "minLength": 1, "maxLength": DISPOSITION_MAX}),
]
_Codes = Annotated[
    list[_Code],
    Field(min_length=1, max_length=64, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]
_GOAL_MAX = 2000
_Goal = Annotated[
    Notes,
    Field(max_length=_GOAL_MAX),
    WithJsonSchema({"type": "string", "format": "lines", "maxLength": _GOAL_MAX}),
]


class CampaignChanges(Body):
    """What to set on a campaign. A field that is not there stays as it is; null clears."""

    model_config = ConfigDict(
        json_schema_extra={
            "minProperties": 1,
            "examples": [{"goal": "Renew the contract", "dispositions": ["RENEWED", "LATER", "NO"], "record": "all"}],
        }
    )

    name: Name | None = Field(None, description="A name for people.")
    goal: _Goal | None = Field(
        None, description=f"What its calls are for, up to {_GOAL_MAX} characters; the analysis is told."
    )
    dispositions: _Codes | None = Field(
        None, description="The codes among which the analysis chooses a call's disposition; null: any."
    )
    record: Literal["never", "originated", "all"] | None = Field(
        None,
        description="Which of its calls are recorded: none, those placed here, or all; null: as the tenant has it.",
    )

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have name, goal, dispositions, record or several of them")
        return self


class NewCampaign(CampaignChanges):
    """A campaign to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "spring-2026", "name": "Spring 2026"}]})

    id: OwnId = Field(description="Your own id, unique among your campaigns.")


class NewLead(Body):
    """A lead to create."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "crm-4711", "campaign_id": "spring-2026", "phone_number": "+15550100"}]}
    )

    id: OwnId = Field(description="Your own id, unique among your leads.")
    campaign_id: OwnId | None = Field(None, description="The campaign it belongs to, which has to be there.")
    name: Name | None = Field(None, description="A name for people.")
    phone_number: Annotated[str, StringConstraints(pattern=r"^\+?[0-9*#]{1,32}$")] | None = Field(
        None, description="The number to dial."
    )
