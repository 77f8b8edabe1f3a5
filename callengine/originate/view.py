"""What the book says of a call, in the words of call control: may it be acted on, whom is it with, what records it."""

from __future__ import annotations

from callengine.calls.call import Bridge, Call, Peer, Recording
from callengine.errors import CallOver, WrongState


def require_answered(call: Call, action: str) -> None:
    """Raise CallOver or WrongState unless somebody is there."""
    require_channel(call, action)
    if not call.own.answered_us:
        raise WrongState(action, "answered")


def require_channel(call: Call, action: str) -> None:
    """Raise CallOver or WrongState unless there is a channel that can be acted on."""
    if call.over or call.own.over or call.own.hung_up_at_us:
        raise CallOver
    if not call.own.created_us:
        raise WrongState(action, "on the switch already")


def is_being_originated(call: Call | None) -> bool:
    """Whether our originate has not ended yet: then it is not done with the channel."""
    o = call.origination if call is not None and not call.over else None
    return o is not None and not o.answered


def connected_to(call: Call) -> Peer | None:
    """The channel that the call is bridged to at this moment, as far as the events told."""
    last: Bridge | None = max(call.bridges, key=lambda b: b.at_us, default=None)
    if last is None or any(u.other == last.other and u.at_us >= last.at_us for u in call.unbridges):
        return None
    peer = call.peer(last.other)
    return None if peer is None or peer.leg.over else peer


def open_recordings(call: Call) -> list[Recording]:
    """Recordings that have started and not stopped."""
    return [r for r in call.recordings if r.started_us and r.stopped_us < r.started_us]


def hangup_targets(call: Call) -> list[str]:
    """The channels to hang up, the first that is there: the call's own, else that of the agent who is rung first."""
    agent_leg = call.origination.agent_leg if call.origination else None
    if call.own.created_us or agent_leg is None:
        return [call.own.uuid]
    return [call.own.uuid, agent_leg]


def hangup_cause(call: Call) -> str:
    """What the switch itself would say: a call of ours that is not answered is cancelled."""
    return "ORIGINATOR_CANCEL" if call.origination and not call.own.answered_us else "NORMAL_CLEARING"


def far_number(call: Call) -> str | None:
    """The number of whoever is at the other end of the call's channel."""
    if call.origination is not None:
        return call.origination.callee_number
    return call.own.caller_number if call.own.direction == "inbound" else call.own.callee_number
