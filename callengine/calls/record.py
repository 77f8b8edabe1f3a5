"""The flat record of a call: what the store keeps a row of and what every reader is shown.

Derived from a ``Call`` alone, so that a replay, the daemon and the API cannot tell a call in two ways. Instants are
integers, µs since the epoch, None where unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from callengine.calls.call import Bridge, Call, Peer, Recording, Told
from callengine.calls.causes import cause_of
from callengine.calls.facts import Source
from callengine.calls.leg import Leg


class CallRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One call as a row. The fields up to ``seq`` are the engine's; those after it are set by people, by the analysis,
    or by whoever looks at recordings: ``files`` has one for each that was looked at.
    """

    id: str
    tenant_id: str
    node: str
    core_uuid: str | None = None
    fs_uuid: str
    direction: str = "outbound"
    status: str = "dialing"
    live: bool = True
    campaign_id: str | None = None
    lead_id: str | None = None
    agent_id: str | None = None
    queued_us: int | None = None
    dial_us: int | None = None
    ring_us: int | None = None
    answer_us: int | None = None
    agent_connect_us: int | None = None
    end_us: int | None = None
    hangup_cause: str | None = None
    caller_number: str | None = None
    caller_name: str | None = None
    callee_number: str | None = None
    gateway: str | None = None
    sip_call_id: str | None = None
    sip_status: int | None = None
    hangup_by: str | None = None
    answered_by: str | None = None
    queue: str | None = None
    failure_reason: str | None = None
    end_source: str | None = None
    ended_after_us: int | None = None
    ended_before_us: int | None = None
    overlong: bool = False
    has_recording: bool = False
    agents: tuple[dict[str, Any], ...] = ()
    legs: tuple[dict[str, Any], ...] = ()
    recordings: tuple[dict[str, Any], ...] = ()
    seq: int = 0

    disposition: str | None = None
    disposition_by: str | None = None
    notes: str | None = None
    ai_summary: str | None = None
    ai_sentiment: str | None = None
    ai_next_action: str | None = None
    analysis_status: str | None = None
    files: tuple[dict[str, Any], ...] = ()


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as the outbox has it. ``seq`` grows within the call, without a gap; ``position`` in order of commit.

    ``record`` is the call as it stood then; ``detail`` what the event is about besides (a recording, an analysis).
    """

    position: int
    id: str
    call_id: str
    tenant_id: str
    seq: int
    event: str
    record: CallRecord
    detail: dict[str, Any] | None
    created_us: int


def record_of(call: Call) -> CallRecord:
    """Everything that follows from what is known of the call."""
    own = call.own
    live = not call.over
    record = CallRecord(
        id=call.id,
        tenant_id=call.tenant_id,
        node=call.node,
        core_uuid=own.core_uuid or None,
        fs_uuid=own.uuid,
        direction=_direction(call),
        live=live,
        campaign_id=call.campaign,
        lead_id=call.lead,
        dial_us=own.first_created_us or None,
        ring_us=own.ring_us or None,
        answer_us=own.answered_us or None,
        end_us=own.hangup_us or None,
        hangup_cause=own.hangup_cause,
        caller_number=own.caller_number,
        caller_name=own.caller_name,
        callee_number=own.callee_number,
        gateway=own.gateway,
        sip_call_id=own.sip_call_id,
        queue=call.queue,
        overlong=call.overlong,
        seq=call.seq,
    )
    if own.sip_status is not None:
        record.sip_status = _sip_status(own)
    if own.amd_result is not None:
        record.answered_by = _ANSWERED_BY.get(own.amd_result.upper())
    if call.origination is not None:
        _originated(call, record)
    if not live:
        _ended(call, record)
    if call.bridges:
        _agents(call, record)
    if call.peers:
        record.legs = tuple([_leg_view(p) for p in sorted(call.peers, key=_leg_order)])
    if call.recordings:
        record.has_recording = any(r.playable for r in call.recordings)
        record.recordings = tuple([_recording_view(r) for r in sorted(call.recordings, key=_recording_order)])
    record.status = _status(record)
    return record


_ANSWERED_BY = {"HUMAN": "human", "PERSON": "human", "MACHINE": "machine"}


def _status(record: CallRecord) -> str:
    if not record.live:
        return "completed" if record.answer_us else "failed"
    if record.agent_connect_us:
        return "agent_connected"
    if record.answer_us:
        return "answered"
    return "ringing" if record.ring_us else "dialing"


def _direction(call: Call) -> str:
    if call.origination is not None or call.own.authenticated:
        return "outbound"
    # What is neither is damaged, and must become no third word: it is a metric's label, too.
    return "inbound" if call.own.direction == "inbound" else "outbound"


def _sip_status(leg: Leg) -> int | None:
    text = leg.sip_status or ""
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else None


# -- the end ------------------------------------------------------------------------------------------------------


def _originated(call: Call, record: CallRecord) -> None:
    """What we asked for stands until the channel says it; a call that never had one is told by our clock alone."""
    o = call.origination
    assert o is not None
    record.queued_us = o.queued_us
    for name in ("caller_number", "caller_name", "callee_number", "gateway"):
        if getattr(record, name) is None:
            setattr(record, name, getattr(o, name))
    if call.own.created_us:
        return
    if record.live:
        # A channel that never began has no end to tell.
        record.end_us, record.hangup_cause = None, None
        return
    record.end_source = Source.CLOCK.value
    record.dial_us = o.sent_us or None
    record.end_us = o.ended_us or None
    if o.abandoned is not None:
        record.failure_reason = o.abandoned
        record.hangup_cause = None
    elif o.refused:
        text = o.job_text or ""
        record.hangup_cause = cause_of(text)
        record.failure_reason = None if record.hangup_cause else text[:200]
    elif call.own.over or call.own.never_ran:
        record.failure_reason = "no_channel"
    else:
        record.failure_reason = "lead_not_dialled"


def _ended(call: Call, record: CallRecord) -> None:
    own = call.own
    if record.end_source:
        return
    record.end_source = (own.end_source or Source.EVENT).value
    if own.gone and not own.hangup_us:
        record.ended_after_us = own.gone_after_us or None
        record.ended_before_us = own.gone_before_us or None
    record.hangup_by = _hangup_by(call)


_FAR_END = frozenset({"recv_bye", "recv_refuse", "recv_cancel"})
# The switch hangs up the surviving side of a bridge within a few of its 20 ms ticks.
_BRIDGE_END_US = 200_000


def _hangup_by(call: Call) -> str | None:
    """Who ended it, by the SIP hangup disposition (mod_sofia.c) of the call's channel and of whom it was bridged to.

    The far end of a channel that the switch dialled is the callee; that of one which came in is the caller, also where
    it is a user of the switch who places a call out.
    """
    own = call.own
    if own.sip_disposition is None:
        return None
    far, near = ("caller", "callee") if own.direction == "inbound" else ("callee", "caller")
    if own.sip_disposition in _FAR_END:
        return far
    last = _last_bridge(call)
    peer = call.peer(last.other) if last is not None else None
    if (
        last is not None
        and peer is not None
        and peer.leg.sip_disposition in _FAR_END
        and 0 < peer.leg.hangup_us <= own.hangup_us
        and not _parted_before_end(call, last, peer)
    ):
        return near
    return "switch"


def last_word_is_due(call: Call) -> bool:
    """Whether the end of whom the call was bridged to is under way: it tells who hung up.

    CDRs come one for each channel, in any order; the other one's also names the agent.
    """
    own = call.own
    if not call.bridges:
        return False
    last = _last_bridge(call)
    peer = call.peer(last.other) if last is not None else None
    if peer is None:
        return False
    ending = not peer.leg.over or peer.leg.gone
    if own.end_source is Source.CDR and ending:
        return True
    told = own.sip_disposition is not None and own.sip_disposition not in _FAR_END
    return told and ending and bool(peer.leg.hung_up_at_us)


def correction_is_under_way(call: Call) -> bool:
    """Whether more of what corrects the end that was told is about to come, so that all of it is told at once.

    Of a channel that was thought gone, or that begins its end a second time, the completion or the CDR is to come; of a
    bridged one also that of the other side.
    """
    own = call.own
    return own.gone or own.hanging_up or last_word_is_due(call)


def _last_bridge(call: Call) -> Bridge | None:
    """The bridge that the call ended in, if it was answered."""
    return max(call.bridges, key=_bridge_order, default=None) if call.own.answered_us else None


def _parted_before_end(call: Call, bridge: Bridge, peer: Peer) -> bool:
    """Whether the two were separated a while before the call ended: then it was not the other side that ended it.

    CDRs do not tell when that was: at the other side's end at the latest.
    """
    latest = peer.leg.hangup_us if call.own.end_source is Source.CDR else 0
    parted = max(
        (u.at_us for u in call.unbridges if u.other == bridge.other and u.at_us >= bridge.at_us), default=latest
    )
    return bool(parted and call.own.hangup_us - parted > _BRIDGE_END_US)


# -- agents, legs, recordings -------------------------------------------------------------------------------------


def _bridge_order(bridge: Bridge) -> tuple[int, str]:
    return (bridge.at_us, bridge.other)


def _agent_bridges(call: Call) -> Iterator[tuple[str, Bridge]]:
    """The bridges to human agents, in order, each with the agent's name.

    The other leg names its agent; else the call's own channel does, as it was then, or as it first was: unless the two
    were parted before that.
    """
    o = call.origination
    peers = {p.leg.uuid: p for p in call.peers}
    for bridge in sorted(call.bridges, key=_bridge_order):
        peer = peers.get(bridge.other)
        if peer is None or peer.leg.voice_agent:
            continue
        # A call that waits in a queue names on its own channel who serves it there, and is no agent's leg for that.
        queued = peer.is_call and peer.leg.queue is not None
        agent = (None if queued else peer.leg.leg_agent) or bridge.agent
        if not agent and not (bridge.agent == "" and _parted_by(call, bridge, call.own.own_agent_us)):
            agent = call.own.own_agent
        if not agent and o is not None and o.agent_leg == bridge.other:
            agent = o.agent
        if agent:
            yield agent, bridge


def _parted_by(call: Call, bridge: Bridge, at_us: int) -> bool:
    """Whether the bridge had ended before that."""
    return any(u.other == bridge.other and bridge.at_us <= u.at_us < at_us for u in call.unbridges)


def agent_connected(call: Call) -> Bridge | None:
    """The first bridge to a human agent, with the agent's name."""
    if not call.bridges:
        return None
    return next((Bridge(bridge.at_us, bridge.other, agent) for agent, bridge in _agent_bridges(call)), None)


def _agents_of(call: Call, record: CallRecord) -> list[tuple[str, Bridge]]:
    """The bridges to agents as they are to be shown.

    Where the leg that was told as an agent's turns out to be none (it names itself a voice agent only later), that
    stands as long as the call lives, since no status goes back. Its end then tells what the switch knows.
    """
    found = list(_agent_bridges(call))
    told = call.connected
    if not found and told is not None and told.agent and record.live and not call.told & Told.ENDED:
        found.append((told.agent, told))
    return found


def _agents(call: Call, record: CallRecord) -> None:
    parted: dict[str, list[int]] = {}
    for unbridge in sorted(call.unbridges, key=_bridge_order):
        parted.setdefault(unbridge.other, []).append(unbridge.at_us)
    record.agents = tuple(
        {
            "agent_id": agent,
            "leg": bridge.other,
            "connect_us": bridge.at_us or None,
            "disconnect_us": next((at for at in parted.get(bridge.other, ()) if at >= bridge.at_us), None),
        }
        for agent, bridge in _agents_of(call, record)
    )
    if record.agents:
        record.agent_id = record.agents[0]["agent_id"]
        record.agent_connect_us = record.agents[0]["connect_us"]


def _role(peer: Peer) -> str:
    if peer.is_call:
        return "call"
    if peer.leg.voice_agent:
        return "voice_agent"
    if peer.leg.leg_agent:
        return "agent"
    return "loopback" if peer.leg.loopback_leg else "leg"


def _leg_order(peer: Peer) -> tuple[int, str]:
    return (peer.leg.first_created_us, peer.leg.uuid)


def _leg_view(peer: Peer) -> dict[str, Any]:
    """A channel beside the call's own. What that channel went through is told only where it was created for this call:

    one that serves many calls, or is a call of its own, has a story that is not this call's.
    """
    leg = peer.leg
    ours = peer.created_for
    return {
        "fs_uuid": leg.uuid,
        "role": _role(peer),
        "call_id": peer.call_id,
        "direction": leg.direction,
        "agent_id": leg.agent_id,
        "callee_number": leg.callee_number if ours else None,
        "dial_us": (ours and leg.first_created_us) or None,
        "ring_us": (ours and leg.ring_us) or None,
        "answer_us": (ours and leg.answered_us) or None,
        "end_us": (ours and leg.hangup_us) or None,
        "hangup_cause": leg.hangup_cause if ours else None,
        "sip_status": _sip_status(leg) if ours else None,
    }


def _recording_order(recording: Recording) -> tuple[int, str, str]:
    return (recording.started_us, recording.path, recording.leg)


def _recording_view(recording: Recording) -> dict[str, Any]:
    return {
        "path": recording.path,
        "leg": recording.leg,
        "start_us": recording.started_us or None,
        "stop_us": recording.stopped_us or None,
        "duration_ms": recording.duration_ms,
        "discarded": recording.discarded,
    }


# -- what is told -------------------------------------------------------------------------------------------------


def milestones(call: Call) -> int:
    """The milestones that the call has reached, as bits of ``Told``. Those before the end need a channel."""
    own = call.own
    reached = Told.ENDED if call.over else Told.NOTHING
    if own.created_us:
        reached |= Told.DIALING
        if own.progress_us or own.progress_media_us:
            reached |= Told.RINGING
        if own.answered_us:
            reached |= Told.ANSWERED
        if call.told & Told.AGENT_CONNECTED or ((first := agent_connected(call)) is not None and first.at_us):
            reached |= Told.AGENT_CONNECTED
    return reached


def finality(record: CallRecord) -> tuple[str | int | None, ...]:
    """What a reader was told at the end of a call; where it changes later, that is a correction.

    A call that was told as ended and lives again is corrected by what it becomes, not by how it is about to end.
    """
    return (
        record.status,
        None if record.live else record.hangup_cause,
        record.dial_us,
        record.ring_us,
        record.answer_us,
        record.agent_connect_us,
        record.agent_id,
        record.end_us,
        record.hangup_by,
        record.failure_reason,
        record.campaign_id,
        record.lead_id,
    )
