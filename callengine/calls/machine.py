"""The call's state machine: (call, fact) -> (call, effects). Pure.

The channel's own knowledge is joined in ``leg``; here it becomes the call's: which bridge, which recording, whose it
is, and which milestones are due to be told. Each milestone is told once and in order, whatever order the facts came
in; what changes after the end was told is a correction.
"""

from __future__ import annotations

import msgspec

from callengine.calls.call import (
    MAX_BRIDGES,
    MAX_PEERS,
    MAX_RECORDINGS,
    Bridge,
    Call,
    EventName,
    Origination,
    Peer,
    Recording,
    Told,
)
from callengine.calls.channels import bridge_stamp
from callengine.calls.facts import (
    BridgeReported,
    CallQueued,
    ChannelFact,
    JobAnswered,
    LegListed,
    LegUnbridged,
    OriginateAbandoned,
    OriginateSent,
    RecordingStarted,
    RecordingStopped,
)
from callengine.calls.leg import MAX_TEXT, Leg, Note, Refusal
from callengine.calls.record import (
    CallRecord,
    agent_connected,
    correction_is_under_way,
    finality,
    last_word_is_due,
    milestones,
    record_of,
)
from callengine.calls.tenancy import Rules as Rules
from callengine.calls.tenancy import Unattributed as Unattributed
from callengine.calls.tenancy import attribute

replace = msgspec.structs.replace
# Both ends of a bridge have a stamp of their own; they are set one after the other.
_SAME_BRIDGE_US = 1_000_000
# limits.h, PATH_MAX: no file can have a longer one.
_MAX_PATH = 4096
_MAX_SHOWN = 256


class Noted(msgspec.Struct, frozen=True, gc=False):
    """An entry for the call's timeline."""

    call_id: str
    note: Note


class Published(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A milestone to be told, with the call as it stood then. ``seq`` only grows within a call, without gaps.

    An array in JSON.
    """

    call_id: str
    event: EventName
    seq: int
    record: CallRecord


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A transition that was refused, by name."""

    call_id: str | None
    refusal: Refusal


Effect = Noted | Published | Refused | Unattributed


class Step(msgspec.Struct, frozen=True, gc=False):
    """A call after a fact. It is the very object that went in where the fact meant nothing new to it."""

    call: Call
    notes: list[Note]
    refusal: Refusal | None = None


def with_leg(
    call: Call, leg: Leg, *, created_for: bool = False, peer_call: str | None = None, is_call: bool = False
) -> Call | None:
    """The call with the present knowledge of one of its channels; None where it has too many to take another one in."""
    own = call.own
    if leg.uuid == own.uuid:
        return call if leg is own else replace(call, own=leg)
    known = call.peer(leg.uuid)
    if known is None:
        if len(call.peers) >= MAX_PEERS:
            return None
        fresh = Peer(leg=leg, created_for=created_for, call_id=peer_call, is_call=is_call)
        return replace(call, peers=(*call.peers, fresh))
    created_for = created_for or known.created_for
    is_call = is_call or known.is_call
    peer_call = known.call_id or peer_call
    if leg is known.leg and (created_for, is_call, peer_call) == (known.created_for, known.is_call, known.call_id):
        return call
    fresh = Peer(leg=leg, created_for=created_for, call_id=peer_call, is_call=is_call)
    return replace(call, peers=tuple([fresh if p is known else p for p in call.peers]))


def bridged(call: Call, fact: ChannelFact, other: str) -> Step:
    """The call's own channel was connected to ``other``, or parted from it."""
    if isinstance(fact, LegUnbridged):
        parted = Bridge(fact.at_us, other)
        if parted in call.unbridges:
            return Step(call, [])
        if len(call.unbridges) >= MAX_BRIDGES:
            return Step(call, [], _too_many("bridges", fact, other))
        note = Note("unbridged", fact.at_us, other, fact.source)
        return Step(replace(call, unbridges=(*call.unbridges, parted)), [note])
    at_us = bridge_stamp(fact)
    if any(b.at_us == at_us and b.other == other for b in call.bridges):
        return Step(call, [])
    if isinstance(fact, LegListed) and _is_bridged_to(call, other):
        return Step(call, [])
    if isinstance(fact, BridgeReported) and any(
        b.other == other and abs(b.at_us - at_us) < _SAME_BRIDGE_US for b in call.bridges
    ):
        return Step(call, [])
    if len(call.bridges) >= MAX_BRIDGES:
        return Step(call, [], _too_many("bridges", fact, other))
    agent = (fact.own_agent or "")[:MAX_TEXT] if fact.uuid == call.own.uuid else None
    note = Note("bridged", at_us, other, fact.source)
    return Step(replace(call, bridges=(*call.bridges, Bridge(at_us, other, agent))), [note])


def _is_bridged_to(call: Call, other: str) -> bool:
    """Whether the call's last known bridge is to that channel, and stands."""
    last = max(call.bridges, key=lambda b: b.at_us, default=None)
    if last is None or last.other != other:
        return False
    return not any(u.other == other and u.at_us >= last.at_us for u in call.unbridges)


def _too_many(what: str, fact: ChannelFact, value: str) -> Refusal:
    return _refusal(f"too_many_{what}", fact, value)


def _refusal(name: str, fact: ChannelFact, value: str) -> Refusal:
    return Refusal(name, fact.uuid, fact.at_us, fact.source, value[:_MAX_SHOWN])


def _recording(call: Call, fact: ChannelFact) -> Recording | None:
    """The call's recording that the fact is about, if it knows it: by path and leg."""
    path = fact.path if isinstance(fact, RecordingStarted | RecordingStopped) else None
    return next((r for r in call.recordings if r.path == path and r.leg == fact.uuid), None)


def may_be_recorded(call: Call, fact: ChannelFact) -> bool:
    """Whether a recording of a channel that is not the call's, but was bridged to it, is one of this call."""
    ended_us = call.own.hangup_us
    return _recording(call, fact) is not None or not ended_us or fact.at_us <= ended_us


def recorded(call: Call, fact: ChannelFact) -> Step:
    """Starting again over the same file makes it one recording still."""
    if not isinstance(fact, RecordingStarted | RecordingStopped) or not fact.path:
        return Step(call, [])
    if len(fact.path) > _MAX_PATH:
        return Step(call, [], _refusal("path_too_long", fact, fact.path))
    known = _recording(call, fact)
    if known is None and len(call.recordings) >= MAX_RECORDINGS:
        return Step(call, [], _too_many("recordings", fact, fact.path))
    fresh = known or Recording(path=fact.path, leg=fact.uuid)
    if isinstance(fact, RecordingStarted):
        name = "recording_started"
        if not fresh.started_us:
            fresh = replace(fresh, started_us=fact.at_us)
    else:
        name = "recording_discarded" if fact.discarded else "recording_stopped"
        if fact.at_us >= fresh.stopped_us:
            fresh = replace(fresh, stopped_us=fact.at_us, duration_ms=fact.duration_ms, discarded=fact.discarded)
    if fresh == known:
        return Step(call, [])
    others = tuple(r for r in call.recordings if r is not known)
    note = Note(name, fact.at_us, fact.uuid, fact.source, fact.path)
    return Step(replace(call, recordings=(*others, fresh)), [note])


def queued(fact: CallQueued, node: str) -> Call:
    """The call that we are about to originate."""
    return Call(
        id=fact.call_id,
        node=node,
        own=Leg(uuid=fact.uuid),
        tenant_id=fact.tenant_id,
        tenant_named=True,
        held=False,
        campaign=fact.campaign,
        lead=fact.lead,
        queue=fact.queue,
        origination=Origination(
            job_uuid=fact.job_uuid,
            queued_us=fact.at_us,
            caller_number=fact.caller_number,
            caller_name=fact.caller_name,
            callee_number=fact.callee_number,
            gateway=fact.gateway,
            agent=fact.agent,
            agent_leg=fact.agent_leg,
        ),
    )


def originated(call: Call, fact: OriginateSent | OriginateAbandoned | JobAnswered) -> Step:
    """What became of our originate. Each of these is taken once."""
    o = call.origination
    if o is None:
        return Step(call, [])
    match fact:
        case OriginateSent() if not o.sent_us:
            fresh = replace(o, sent_us=fact.at_us)
            note = Note("originate_sent", fact.at_us, fact.uuid, fact.source)
        case OriginateAbandoned() if o.abandoned is None and not call.own.created_us and not call.over:
            fresh = replace(o, abandoned=fact.reason, ended_us=fact.at_us)
            note = Note("originate_abandoned", fact.at_us, fact.uuid, fact.source, fact.reason)
        case JobAnswered() if o.job_text is None:
            fresh = replace(o, job_text=fact.text, job_us=fact.at_us)
            note = Note("job_answered", fact.at_us, call.own.uuid, fact.source, fact.text[:200])
        case _:
            return Step(call, [])
    return Step(replace(call, origination=fresh), [note])


def settle(call: Call, rules: Rules, our_us: int, *, release: bool = False) -> tuple[Call, list[Effect]]:
    """Attribute the call, then tell whatever became due. ``our_us`` is our clock, for an end that no channel stamps.

    ``release``: nothing is waited for any longer: no tenant's name, nor who hung up, nor the rest of a correction.
    """
    effects: list[Effect] = []
    own = call.own
    if call.held or own.tenant or own.campaign or own.lead or own.queue:
        call, unknown = attribute(call, rules)
        if unknown is not None:
            effects.append(unknown)
    o = call.origination
    # Once: unless it goes on after all, since the agent's channel, thought gone, is there.
    if o is not None and not own.created_us and call.over is not bool(o.ended_us):
        call = replace(call, origination=replace(o, ended_us=our_us if call.over else 0))
    if call.held:
        if not (release or call.tenant_named or rules.single or own.answered_us or call.over):
            return call, effects
        call = replace(call, held=False)
    told = call.told
    events: tuple[EventName, ...]
    if told & Told.ENDED:
        record = record_of(call)
        final = finality(record)
        if final == call.told_of or (not release and correction_is_under_way(call)):
            return call, effects
        due, events = Told.NOTHING, (EventName.CORRECTED,)
    else:
        due = milestones(call) & ~told
        if due & Told.ENDED and not release and last_word_is_due(call):
            due &= ~Told.ENDED
        if not due:
            return call, effects
        if due & Told.AGENT_CONNECTED:
            call = replace(call, connected=agent_connected(call))
        record = record_of(call)
        final = finality(record) if due & Told.ENDED else ()
        events = _EVENTS[due]
    seq = call.seq
    for event in events:
        seq += 1
        # Each milestone has a record of its own: what is told must not change under those who tell it.
        record = record if seq == call.seq + 1 else replace(record)
        record.seq = seq
        effects.append(Published(call.id, event, seq, record))
    return replace(call, told=told | due, told_of=final, seq=seq), effects


_IN_ORDER = (
    (Told.DIALING, EventName.DIALING),
    (Told.RINGING, EventName.RINGING),
    (Told.ANSWERED, EventName.ANSWERED),
    (Told.AGENT_CONNECTED, EventName.AGENT_CONNECTED),
    (Told.ENDED, EventName.ENDED),
)
# By all bits that may be due.
_EVENTS = tuple(tuple(event for bit, event in _IN_ORDER if due & bit) for due in range(2 * Told.ENDED))
