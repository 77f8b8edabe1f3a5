"""A UUID that lives again after its call left the book: one call of what the store has and what was learned anew. Pure.

The same as the book does while it still knows the call (``leg.merge``): the dial time is that of the first life; ring,
answer, end and cause are of the last.
"""

from __future__ import annotations

import msgspec

from callengine.calls.call import MAX_BRIDGES, MAX_PEERS, MAX_RECORDINGS, Bridge, Call, Peer, Recording
from callengine.calls.leg import OF_A_LIFE, Leg

replace = msgspec.structs.replace
# Filled once, with the first value seen, whichever life had it.
_ONCE = ("direction", "queue", "own_agent", "own_agent_us", "leg_agent", "tenant", "campaign", "lead")
_END = ("over", "gone", "gone_after_us", "gone_before_us", "end_source")
# The same, in one life.
_ONCE_A_LIFE = (
    *("progress_us", "progress_media_us", "answered_us", "hangup_us", "hung_up_at_us", "hangup_cause"),
    *("gateway", "sip_call_id", "sip_status", "sip_disposition", "amd_result"),
)


def join(earlier: Call, again: Call) -> Call:
    """``earlier``, with what ``again`` knows of the same channel and of those beside it."""
    return replace(
        earlier,
        own=_joined(earlier.own, again.own),
        campaign=earlier.campaign or again.campaign,
        lead=earlier.lead or again.lead,
        queue=earlier.queue or again.queue,
        peers=_peers(earlier.peers, again.peers),
        bridges=_bridges(earlier.bridges, again.bridges),
        unbridges=_bridges(earlier.unbridges, again.unbridges),
        recordings=_recordings(earlier.recordings, again.recordings),
        overlong=earlier.overlong or again.overlong,
    )


def _joined(old: Leg, new: Leg) -> Leg:
    first_us = min(us for us in (old.first_created_us, old.created_us, new.first_created_us, new.created_us, 0) if us)
    once = {name: getattr(old, name) or getattr(new, name) for name in _ONCE}
    known = replace(old, first_created_us=first_us, voice_agent=old.voice_agent or new.voice_agent, **once)
    if new.created_us < old.created_us:
        return known
    seen = {"last_seen_us": max(old.last_seen_us, new.last_seen_us), "core_uuid": new.core_uuid or old.core_uuid}
    if new.created_us > old.created_us:
        life = {name: getattr(new, name) for name in OF_A_LIFE}
        return replace(known, created_us=new.created_us, **seen, **life)
    # The same life: a stamp is set once; an end that nobody stamped gives way to what was seen after it.
    life = {name: getattr(old, name) or getattr(new, name) for name in _ONCE_A_LIFE}
    if old.gone and not new.gone and new.last_seen_us > old.gone_after_us:
        life |= {name: getattr(new, name) for name in _END}
    elif new.over and not old.over:
        life |= {"over": True, "end_source": new.end_source}
    return replace(known, **seen, **life)


def _peers(old: tuple[Peer, ...], new: tuple[Peer, ...]) -> tuple[Peer, ...]:
    found = {peer.leg.uuid: peer for peer in old}
    for peer in new:
        known = found.get(peer.leg.uuid)
        found[peer.leg.uuid] = peer if known is None else _peer(known, peer)
    return tuple(found.values())[:MAX_PEERS]


def _peer(old: Peer, new: Peer) -> Peer:
    """Of a channel that is only named now, nothing is forgotten that was known of it."""
    leg = old.leg if not new.leg.created_us else new.leg if not old.leg.created_us else _joined(old.leg, new.leg)
    return Peer(
        leg=leg,
        created_for=old.created_for or new.created_for,
        call_id=old.call_id or new.call_id,
        is_call=old.is_call or new.is_call,
    )


def _bridges(old: tuple[Bridge, ...], new: tuple[Bridge, ...]) -> tuple[Bridge, ...]:
    return (*old, *(bridge for bridge in new if bridge not in old))[:MAX_BRIDGES]


def _recordings(old: tuple[Recording, ...], new: tuple[Recording, ...]) -> tuple[Recording, ...]:
    found = {(recording.leg, recording.path): recording for recording in (*old, *new)}
    return tuple(found.values())[:MAX_RECORDINGS]
