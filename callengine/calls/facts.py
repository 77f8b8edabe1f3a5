"""The closed set of facts that a call is made of. Facts are past tense, frozen, and carry FreeSWITCH's own stamps.

Stamps are integers, microseconds since the epoch as the switch stamped them; 0 means "not yet". A fact is a claim by
its ``source``: an event, a channel snapshot (``uuid_dump``), a CDR, or our clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

MAX_US = 253_402_300_799_999_999
"""The last microsecond that ISO 8601 can write with a four-digit year: 9999-12-31T23:59:59.999999Z."""

Micros = Annotated[int, msgspec.Meta(ge=0, le=MAX_US)]
"""A stamp. What is decoded into it and lies outside is refused; databases and calendars would refuse it later."""


class Source(StrEnum):
    """Where a fact came from."""

    EVENT = "event"
    SNAPSHOT = "snapshot"
    CDR = "cdr"
    CLOCK = "clock"
    BOUNDS = "bounds"


class ChannelFact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the switch says of one channel at one moment. Absent headers are ``None`` or 0; an empty one counts as
    absent.

    ``at_us`` is the moment at which the switch built the event (Event-Date-Timestamp); the other ``_us`` fields are the
    channel's own stamps (switch_channel.h, ``switch_channel_timetable_t``), which every event carries. ``own_agent``
    is the agent whom ``callengine_agent_id`` names, ``leg_agent`` the one whom the first set of all agent variables
    names.
    """

    uuid: str
    core_uuid: str = ""
    at_us: Micros = 0
    created_us: Micros = 0
    progress_us: Micros = 0
    progress_media_us: Micros = 0
    answered_us: Micros = 0

    own_agent: str | None = None
    leg_agent: str | None = None
    voice_agent: str | None = None
    tenant: str | None = None
    campaign: str | None = None
    lead: str | None = None
    queue: str | None = None
    sip_call_id: str | None = None
    amd_result: str | None = None

    source: ClassVar[Source] = Source.EVENT
    connects: ClassVar[bool] = False
    """Whether such a fact tells of two channels that were connected or parted."""
    records: ClassVar[bool] = False
    """Whether such a fact tells of a recording."""
    describes: ClassVar[bool] = False
    """Whether such a fact tells what the channel is (``LegDescribed``)."""
    closes: ClassVar[bool] = False
    """Whether such a fact tells of the end with all of its stamps (``LegEnded``, ``LegReported``)."""


class LegDescribed(ChannelFact, frozen=True, kw_only=True, gc=False):
    """What a channel is: for whom it was created, and with which numbers.

    ``other_uuid`` (Other-Leg-Unique-ID) tells for whom at the creation only; later it names whom the channel met last.
    """

    direction: str | None = None
    channel_name: str | None = None
    caller_number: str | None = None
    caller_name: str | None = None
    callee_number: str | None = None
    user_name: str | None = None
    gateway: str | None = None

    originator: str | None = None
    loopback_leg: str | None = None
    loopback_other: str | None = None
    queue_side: str | None = None
    queue_member: str | None = None

    describes: ClassVar[bool] = True


class LegCreated(LegDescribed, frozen=True, kw_only=True, gc=False):
    """CHANNEL_CREATE: of events, the only one that makes a call out of what others place."""

    other_uuid: str | None = None


class LegListed(LegDescribed, frozen=True, kw_only=True, gc=False):
    """A live channel as the switch describes it when asked (``uuid_dump``); ``bridged_to``: whom it is connected to."""

    bridged_us: Micros = 0
    bridged_to: str | None = None

    source: ClassVar[Source] = Source.SNAPSHOT
    connects: ClassVar[bool] = True


class LegReported(LegDescribed, frozen=True, kw_only=True, gc=False):
    """A CDR: a channel that has ended, as the switch describes it then. All stamps are final.

    ``bridges`` are those that it remembers: when (µs), and to which channel. ``at_us`` is the end of the channel.
    """

    hangup_us: Micros = 0
    hangup_cause: str | None = None
    sip_term_status: str | None = None
    sip_failure_status: str | None = None
    sip_disposition: str | None = None
    bridges: tuple[tuple[Micros, str], ...] = ()

    source: ClassVar[Source] = Source.CDR
    closes: ClassVar[bool] = True


class BridgeReported(ChannelFact, frozen=True, kw_only=True, gc=False):
    """One of the bridges that a CDR remembers, as it concerns the channel that the CDR is about."""

    bridged_us: Micros = 0
    bridged_to: str | None = None

    source: ClassVar[Source] = Source.CDR
    connects: ClassVar[bool] = True


class LegRang(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_PROGRESS (180) or CHANNEL_PROGRESS_MEDIA (183 with SDP)."""


class LegAnswered(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_ANSWER."""


class LegBridged(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_BRIDGE: the two channels named are connected."""

    bridged_us: Micros = 0
    bridge_a: str | None = None
    bridge_b: str | None = None

    connects: ClassVar[bool] = True


class LegUnbridged(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_UNBRIDGE. ``other_uuid`` is whom the channel met last, where the ends are not named."""

    bridge_a: str | None = None
    bridge_b: str | None = None
    other_uuid: str | None = None

    connects: ClassVar[bool] = True


class LegHeld(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_HOLD."""


class LegUnheld(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_UNHOLD."""


class LegHungUp(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_HANGUP: the cause is known, the hangup stamp is not set yet."""

    hangup_cause: str | None = None


class LegEnded(ChannelFact, frozen=True, kw_only=True, gc=False):
    """CHANNEL_HANGUP_COMPLETE: all stamps are final."""

    hangup_us: Micros = 0
    hangup_cause: str | None = None
    sip_term_status: str | None = None
    sip_failure_status: str | None = None
    sip_disposition: str | None = None

    closes: ClassVar[bool] = True


class LegDestroyed(LegEnded, frozen=True, kw_only=True, gc=False):
    """CHANNEL_DESTROY: all stamps are final; without a creation stamp the channel never ran."""


class RecordingStarted(ChannelFact, frozen=True, kw_only=True, gc=False):
    """RECORD_START."""

    path: str = ""

    records: ClassVar[bool] = True


class RecordingStopped(ChannelFact, frozen=True, kw_only=True, gc=False):
    """RECORD_STOP: a claim that the file is closed. ``duration_ms`` is the switch's record_ms."""

    path: str = ""
    duration_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_US)] | None = None
    discarded: bool = False

    records: ClassVar[bool] = True


class LegGone(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The switch no longer knows this channel and nobody stamped its end.

    ``after_us``: the last moment it was known to live; ``before_us``: when it was found gone; both by the switch's own
    clock, 0 where unknown.
    """

    uuid: str
    core_uuid: str = ""
    at_us: int = 0
    after_us: int = 0
    before_us: int = 0
    source: Source = Source.BOUNDS


class CallQueued(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """We accepted a call to originate; ``uuid`` is the channel UUID we chose. ``at_us`` is our clock.

    ``agent_leg`` is the UUID chosen for the agent's channel where the agent is rung first.
    """

    uuid: str
    call_id: str
    job_uuid: str
    tenant_id: str
    at_us: int
    caller_number: str | None = None
    caller_name: str | None = None
    callee_number: str | None = None
    gateway: str | None = None
    campaign: str | None = None
    lead: str | None = None
    queue: str | None = None
    agent: str | None = None
    agent_leg: str | None = None
    core_uuid: str = ""
    source: Source = Source.CLOCK


class OriginateSent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Our ``bgapi originate`` went onto the wire. ``at_us`` is our clock."""

    uuid: str
    at_us: int
    core_uuid: str = ""
    source: Source = Source.CLOCK


class OriginateAbandoned(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The switch was never asked, or never took it: ``reason`` says why (``queue_timeout``, ``cancelled``, ...)."""

    uuid: str
    at_us: int
    reason: str
    core_uuid: str = ""
    source: Source = Source.CLOCK


class CommandIssued(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """We asked the switch to do something to the call: ``hangup``, ``bridge``, ``transfer``, ``hold``, ``dtmf``, ..."""

    uuid: str
    at_us: int
    command: str
    detail: str | None = None
    core_uuid: str = ""
    source: Source = Source.CLOCK


class JobAnswered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """BACKGROUND_JOB. ``text`` is the body, stripped: ``+OK <uuid>``, ``-ERR <cause>`` or ``-USAGE``."""

    job_uuid: str
    text: str
    core_uuid: str = ""
    at_us: int = 0
    source: Source = Source.EVENT


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """HEARTBEAT, every 20 s: the switch lives, and this is its incarnation."""

    core_uuid: str
    at_us: int = 0
    session_count: int | None = None
    source: Source = Source.EVENT


class SwitchShutdown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """SHUTDOWN: the hangups with SYSTEM_SHUTDOWN follow."""

    core_uuid: str
    at_us: int = 0
    source: Source = Source.EVENT


Fact = (
    LegCreated
    | LegRang
    | LegAnswered
    | LegBridged
    | LegUnbridged
    | LegHeld
    | LegUnheld
    | LegHungUp
    | LegEnded
    | LegDestroyed
    | LegListed
    | LegReported
    | RecordingStarted
    | RecordingStopped
    | LegGone
    | CallQueued
    | OriginateSent
    | OriginateAbandoned
    | CommandIssued
    | JobAnswered
    | Heartbeat
    | SwitchShutdown
)
