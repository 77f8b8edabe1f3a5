"""What answers carry, for the OpenAPI document. The answers themselves are rendered by ``callengine.calls.view``.

A test holds the two against each other: every answer is valid by these, and ``Call`` has the view's fields in order.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from callengine.api.fields import Direction, Status

_Instant = Annotated[str, Field(json_schema_extra={"format": "date-time", "examples": ["2026-11-22T10:33:35.301Z"]})]


AnalysisStatus = Literal[
    "pending",
    "running",
    "retrying",
    "parked",
    "completed",
    "completed_without_quotes",
    "unsupported",
    "skipped_too_short",
    "skipped_silent",
    "skipped_voicemail",
    "skipped_over_budget",
    "skipped_no_recording",
    "failed",
]


class Shown(BaseModel):
    """An object in an answer: every field is always present."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class Agent(Shown):
    """An agent that the call was connected to."""

    agent_id: str
    leg: str = Field(description="The agent's channel UUID.")
    connect_time: _Instant | None
    disconnect_time: _Instant | None


class LegBeside(BaseModel):
    """Another channel of the call. Of a channel that is a call of its own only the first five fields are told."""

    model_config = ConfigDict(extra="forbid")

    fs_uuid: str
    role: Literal["call", "voice_agent", "agent", "loopback", "leg"]
    call_id: str | None = Field(description="The id of the call that this channel is, where it is one.")
    direction: Direction | None
    agent_id: str | None
    callee_number: str | None = None
    dial_time: _Instant | None = None
    ring_time: _Instant | None = None
    answer_time: _Instant | None = None
    end_time: _Instant | None = None
    hangup_cause: str | None = None
    sip_status: int | None = None


class RecordingShown(Shown):
    """A recording of one of the call's channels: what the switch claims, and what was found when it was looked at."""

    id: str = Field(description="Recording UUID")
    leg: str = Field(description="The recorded channel's UUID.")
    start_time: _Instant | None = Field(description="As the switch said")
    stop_time: _Instant | None = Field(description="As the switch said")
    duration_ms: int | None = Field(description="Of its audio; as the switch said until it was looked at")
    discarded: bool = Field(description="Whether the switch said that it threw the file away")
    status: Literal["recording", "stopped", "discarded", "ready", "failed", "deleted"] = Field(
        description="The first three are what the switch claims; the others what was found"
    )
    reason: str | None = Field(description="Why it failed")
    bytes: int | None
    channels: int | None
    sha256: str | None = Field(description="Of the file, in hexadecimal")
    url: str | None = Field(description="Signed URL, while it is ready")


class Call(Shown):
    """A call: every field is always present, null where unknown."""

    id: str = Field(description="Call UUID")
    campaign_id: str | None = Field(description="Campaign this call belongs to")
    lead_id: str | None = Field(description="Lead that was dialed")
    agent_id: str | None = Field(description="Agent who handled the call (null for voice-agent-only calls)")
    fs_uuid: str = Field(description="FreeSWITCH channel UUID")
    direction: Direction
    status: Status
    dial_time: _Instant | None = Field(description="When the call was originated")
    ring_time: _Instant | None = Field(description="When the remote party started ringing")
    answer_time: _Instant | None = Field(description="When the remote party answered")
    agent_connect_time: _Instant | None = Field(description="When the call was bridged to a human agent")
    end_time: _Instant | None = Field(description="When the call ended")
    ring_duration_s: int | None = Field(description="Seconds from ring to answer")
    talk_duration_s: int | None = Field(description="Seconds from answer to hangup")
    total_duration_s: int | None = Field(description="Seconds from dial to hangup")
    hangup_cause: str | None = Field(description='FreeSWITCH hangup cause (e.g. "NORMAL_CLEARING", "NO_ANSWER")')
    has_recording: bool = Field(description="Whether a recording exists")
    recording_url: str | None = Field(description="Signed URL of the longest playable recording")
    disposition: str | None = Field(description="Agent- or AI-set disposition code")
    notes: str | None = Field(description="Agent notes")
    ai_summary: str | None = Field(description="Gemini-generated call summary")
    ai_sentiment: str | None = Field(description='Detected sentiment ("positive", "negative", "neutral")')
    ai_next_action: str | None = Field(description="Suggested follow-up action")
    caller_number: str | None = Field(description="As at the channel's creation")
    caller_name: str | None
    callee_number: str | None = Field(description="As at the channel's creation")
    gateway: str | None
    sip_call_id: str | None
    sip_status: int | None = Field(description="The final SIP status of the call's channel")
    hangup_by: Literal["caller", "callee", "switch"] | None
    answered_by: Literal["human", "machine"] | None
    queue: str | None
    queued_time: _Instant | None = Field(description="When we accepted the call to place it (our clock)")
    agents: list[Agent]
    legs: list[LegBeside]
    recordings: list[RecordingShown]
    analysis_status: AnalysisStatus | None = Field(
        description="What became of the analysis; null: there is no recording, or analysis is off"
    )
    failure_reason: str | None = Field(description="Why a call that we were to place never had a channel")
    end_source: str | None = Field(description="By whose word the end is known: event, snapshot, cdr, clock, bounds")
    ended_after: _Instant | None = Field(description="For an end that nobody stamped: when it was last known to live")
    ended_before: _Instant | None = Field(description="For an end that nobody stamped: when it was found gone")
    overlong: bool = Field(description="Lasts longer than is plausible")
    node: str = Field(description="The switch")
    core_uuid: str | None = Field(description="The switch's incarnation")
    seq: int = Field(description="Grows with every event told of this call")


class StatementShown(Shown):
    """A statement of the summary, and the words of the call that it rests on."""

    text: str
    quote: str | None = Field(description="From the transcript; null where none was made")


class TurnShown(Shown):
    """What one speaker said."""

    speaker: Literal["caller", "callee", "agent", "unknown"]
    offset_ms: int = Field(description="From the beginning of what was sent: the recordings one after the other")
    text: str


class AnalysisShown(Shown):
    """A call's analysis as it stands. What an earlier run found stays until a later one finds something."""

    call_id: str
    status: AnalysisStatus | None = Field(description="Null: there is no recording, or analysis is off")
    run: int | None = Field(description="Counts from 1; more where it was asked for again")
    sdk: Literal["google-genai", "google-generativeai"] | None
    model: str | None
    prompt_version: str | None
    audio_ms: int | None = Field(description="How much audio was sent")
    input_tokens: int | None = Field(description="Of the last run")
    output_tokens: int | None = Field(description="Of the last run")
    cost_usd: float | None = Field(description="Of all runs, by the prices in the settings")
    error: str | None = Field(description="Why it failed, or is tried again")
    statements: list[StatementShown] | None
    transcript: list[TurnShown] | None
    created_time: _Instant | None
    next_time: _Instant | None = Field(description="It is not tried before")
    done_time: _Instant | None


class Listed(Shown):
    """A page of a list."""

    page: int
    page_size: int
    total: int
    total_pages: int


class CallList(Listed):
    """Calls by dial time, the newest first (those not dialled yet before them), then by id descending."""

    data: list[Call]


class Event(Shown):
    """Something that happened to a call."""

    name: str = Field(examples=["created", "rang", "answered", "bridged"])
    time: _Instant | None = Field(description="By the switch's stamp; by our clock where the source is clock")
    leg: str | None = Field(description="The channel UUID that it happened to")
    source: Literal["event", "snapshot", "cdr", "clock", "bounds"] = Field(description="By whose word it is known")
    detail: str | None


class EventList(Shown):
    """What happened, in order."""

    data: list[Event]


class CampaignShown(Shown):
    """A campaign."""

    id: str
    name: str | None
    goal: str | None = Field(description="What its calls are for, as the analysis is told")
    dispositions: list[str] | None = Field(description="The codes among which the analysis chooses; null: any")
    record: Literal["never", "originated", "all"] | None = Field(
        description="Which of its calls are recorded; null: as the tenant has it"
    )
    created_time: _Instant


class CampaignList(Listed):
    """Campaigns, the newest first."""

    data: list[CampaignShown]


class LeadShown(Shown):
    """A lead."""

    id: str
    campaign_id: str | None
    name: str | None
    phone_number: str | None
    created_time: _Instant


class LeadList(Listed):
    """Leads, the newest first."""

    data: list[LeadShown]


class KeyShown(Shown):
    """The key that was presented."""

    id: str
    scopes: list[str] = Field(examples=[["calls:read", "calls:write"]])


class Ready(Shown):
    """How each part is doing that the process depends on."""

    ready: bool
    parts: dict[str, str]


class Fault(Shown):
    """One thing that is wrong with a request, and where."""

    loc: list[str | int] = Field(description="`query`, `header` or `body`, then the way to the value")
    msg: str


class Problem(BaseModel):
    """A problem, as RFC 9457 has it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:problem-type:callengine:not-found",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no such call",
                }
            ]
        },
    )

    type: str = Field(
        description="A URN whose last part is a stable word for programs", json_schema_extra={"format": "uri"}
    )
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = None
    data_as_of: _Instant | None = Field(
        None, description="Where the database is away: the moment up to which it has everything"
    )
