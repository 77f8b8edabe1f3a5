"""A call: the channel that is the call, the legs beside it, and what has been told of it so far.

The struct holds what is known; everything a reader sees (status, durations, agents) is derived from it in ``record``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from callengine.calls.leg import Leg

# A channel that is bridged over and over must not make every later fact dear.
MAX_PEERS: Final = 256
MAX_BRIDGES: Final = 256
MAX_RECORDINGS: Final = 128


class Told:
    """Bits of the milestones that were told already; each is told once."""

    NOTHING: Final = 0
    DIALING: Final = 1
    RINGING: Final = 2
    ANSWERED: Final = 4
    AGENT_CONNECTED: Final = 8
    ENDED: Final = 16


class EventName(StrEnum):
    """The names under which a call's events are told (webhooks, stream). The order is kept: see ``EVENT_BITS``."""

    DIALING = "call.dialing"
    RINGING = "call.ringing"
    ANSWERED = "call.answered"
    AGENT_CONNECTED = "call.agent_connected"
    ENDED = "call.ended"
    CORRECTED = "call.corrected"
    RECORDING_READY = "call.recording_ready"
    RECORDING_FAILED = "call.recording_failed"
    ANALYZED = "call.analyzed"


EVENT_BITS: Final = {name: 1 << n for n, name in enumerate(EventName)}
"""A set of events as a number, as endpoints are stored with; a new name is added at the end."""


class Peer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A channel beside the call's own. ``created_for`` tells a leg of this call from one it was only bridged to.

    ``call_id`` names the other call that this channel belongs to, ``is_call`` whether it is that call itself: two calls
    that meet stay two calls, each naming the other.
    """

    leg: Leg
    created_for: bool = False
    call_id: str | None = None
    is_call: bool = False


class Bridge(msgspec.Struct, frozen=True, gc=False):
    """The call's own channel was connected to ``other`` at ``at_us`` (the switch's bridge stamp; 0 where it gave none).

    ``agent`` is whom the call's own channel named as its agent at that moment: empty for nobody, None where unknown.
    """

    at_us: int
    other: str
    agent: str | None = None


class Recording(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file that the switch said it wrote for a leg of this call; what RECORD_STOP says of it is a claim."""

    path: str
    leg: str
    started_us: int = 0
    stopped_us: int = 0
    duration_ms: int | None = None
    discarded: bool = False

    @property
    def playable(self) -> bool:
        """Closed, not discarded, and with audio in it, as far as the switch tells."""
        return bool(self.stopped_us and not self.discarded and self.duration_ms)


class Origination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is ours of a call that we originate. ``queued_us``, ``sent_us`` and ``ended_us`` are of our clock, and never
    compared with the switch's; ``job_us`` is the switch's. ``ended_us`` is set where the call ended without a channel.
    """

    job_uuid: str
    queued_us: int
    sent_us: int = 0
    job_text: str | None = None
    job_us: int = 0
    job_overdue: bool = False
    abandoned: str | None = None
    ended_us: int = 0
    caller_number: str | None = None
    caller_name: str | None = None
    callee_number: str | None = None
    gateway: str | None = None
    agent: str | None = None
    agent_leg: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the job answered, or was waited for long enough."""
        return self.job_text is not None or self.job_overdue

    @property
    def refused(self) -> bool:
        """The job answered, and not with +OK."""
        return self.job_text is not None and not self.job_text.startswith("+OK")


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One call. ``id`` is ours, ``own.uuid`` is FreeSWITCH's; ``(node, own.uuid)`` is unique.

    ``connected`` is the bridge to an agent that was told first, with the agent's name.
    """

    id: str
    node: str
    own: Leg
    tenant_id: str
    tenant_named: bool = False
    campaign: str | None = None
    lead: str | None = None
    queue: str | None = None
    peers: tuple[Peer, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    unbridges: tuple[Bridge, ...] = ()
    recordings: tuple[Recording, ...] = ()
    origination: Origination | None = None
    held: bool = True
    overlong: bool = False
    connected: Bridge | None = None
    told: int = Told.NOTHING
    told_of: tuple[str | int | None, ...] = ()
    seq: int = 0

    @property
    def fs_uuid(self) -> str:
        """The UUID of the channel that is the call."""
        return self.own.uuid

    def peer(self, uuid: str) -> Peer | None:
        """The channel of that UUID beside the call's own, if it is known here."""
        for peer in self.peers:
            if peer.leg.uuid == uuid:
                return peer
        return None

    @property
    def over(self) -> bool:
        """Whether the call has ended, by the rules of originated and of tracked calls."""
        o = self.origination
        if o is None:
            return self.own.over
        own = self.own
        if own.created_us:
            # Of one that was given up no answer is waited for: it came all the same, and ends with its channel.
            return own.over and (o.answered or o.abandoned is not None)
        if o.abandoned is not None or o.refused:
            return True
        return (o.answered and self._came_to_nothing) or (o.job_overdue and own.never_ran)

    @property
    def awaits_job(self) -> bool:
        """Whether all is over but for the answer of the originate's job."""
        o = self.origination
        if o is None or o.answered or o.abandoned is not None:
            return False
        own = self.own
        return own.over if own.created_us else own.never_ran or self._came_to_nothing

    @property
    def _came_to_nothing(self) -> bool:
        """The call's channel is known not to be there; or the agent, rung first, is gone again before it came."""
        if self.own.over:
            return True
        o = self.origination
        peer = self.peer(o.agent_leg) if o and o.agent_leg else None
        return peer is not None and peer.leg.over
