"""What the book keeps of each channel: its role, its leg, and the calls that it belongs to or stands beside."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import msgspec

from callengine.calls.facts import BridgeReported, ChannelFact, LegBridged, LegDescribed, LegListed, LegUnbridged
from callengine.calls.leg import Leg

# Calls that one channel stands beside at a time: an agent's leg serves many, one after another.
MAX_BESIDE: Final = 64
# As of the channels that facts are about: no longer one is ever described (see esl.headers).
_MAX_UUID_CHARS: Final = 256
# No channel lives longer; what claims to is a stamp gone wrong.
_MAX_AGE_S: Final = 366 * 86_400.0


class Role(Enum):
    """What a channel is to us."""

    CALL = auto()
    LEG = auto()
    AGENT = auto()
    IGNORED = auto()


class Channel(msgspec.Struct, eq=False, gc=False):
    """One channel. ``role`` is None while nobody said what it is, but a call is bridged to it already.

    ``call_id`` is the call whose own channel it is; ``beside`` are the calls that keep it as a peer, and of these it
    was created for those in ``made_for``. ``since`` is its creation by the book's clock, ``seen_us`` the last event's
    stamp.
    """

    leg: Leg
    role: Role | None
    since: float
    call_id: str | None = None
    beside: tuple[str, ...] = ()
    made_for: tuple[str, ...] = ()
    seen_us: int = 0

    @property
    def owner(self) -> str | None:
        """The call that this channel is, or is a leg of."""
        return self.call_id or (self.made_for[0] if self.made_for else None)

    def leave(self, call_id: str) -> None:
        """Be beside that call no longer."""
        self.beside = tuple(c for c in self.beside if c != call_id)
        self.made_for = tuple(c for c in self.made_for if c != call_id)


def role_of(fact: LegDescribed, parent: Role | None, *, tracking_others: bool) -> Role:
    """Which channel is the call. ``parent`` is the role of the channel that this one was created for, None for none.

    Where an agent was rung first by something else, the call is the channel that was created for the agent's. A channel
    of a queue's member may carry the name of the agent who serves it, and is no agent's for that.
    """
    if parent is not None:
        if parent is not Role.AGENT or fact.leg_agent or fact.voice_agent:
            return Role.IGNORED if parent is Role.IGNORED else Role.LEG
    elif fact.queue_side == "agent" or fact.loopback_leg == "B":
        return Role.LEG
    elif fact.direction == "outbound" and (fact.leg_agent or fact.own_agent) and fact.queue_side != "member":
        return Role.AGENT
    return Role.CALL if tracking_others else Role.IGNORED


def age_s(fact: ChannelFact) -> float:
    """How long the channel had lived when the switch stated the fact; both stamps are the switch's."""
    if not 0 < fact.created_us < fact.at_us:
        return 0.0
    return min((fact.at_us - fact.created_us) / 1_000_000, _MAX_AGE_S)


def ends_of(fact: ChannelFact) -> tuple[tuple[str, str], ...]:
    """Who is connected to whom by a fact, or parted from whom: for each of the two channels, the other one.

    A snapshot or a CDR speaks for its own channel only; the other's has a stamp of its own. CHANNEL_UNBRIDGE names no
    ends where a bridge was only signalled (switch_ivr_bridge.c, ``hanguphook``).
    """
    a: str | None = None
    b: str | None = None
    if isinstance(fact, LegBridged):
        a, b = fact.bridge_a, fact.bridge_b
    elif isinstance(fact, LegUnbridged):
        a, b = fact.bridge_a or fact.uuid, fact.bridge_b or fact.other_uuid
    elif isinstance(fact, LegListed | BridgeReported):
        a, b = fact.uuid, fact.bridged_to
    if not a or not b or a == b or max(len(a), len(b)) > _MAX_UUID_CHARS:
        return ()
    return ((a, b),) if isinstance(fact, LegListed | BridgeReported) else ((a, b), (b, a))


def seen_from(end: str, other: str, fact: ChannelFact) -> ChannelFact:
    """A bridge as it concerns one end: all other stamps in the event are those of the channel that it came from."""
    core_uuid, at_us = fact.core_uuid, fact.at_us
    if isinstance(fact, LegUnbridged):
        return LegUnbridged(uuid=end, core_uuid=core_uuid, at_us=at_us, bridge_a=end, bridge_b=other)
    stamp = bridge_stamp(fact)
    return LegBridged(uuid=end, core_uuid=core_uuid, at_us=at_us, bridged_us=stamp, bridge_a=end, bridge_b=other)


def bridge_stamp(fact: ChannelFact) -> int:
    """When the two were connected, by the channel that the fact came from; else when the event was built."""
    return (fact.bridged_us if isinstance(fact, LegBridged | LegListed | BridgeReported) else 0) or fact.at_us
