"""Our rows against CDRs: what each says of a call, in the contract's words. Pure.

Derived from the record alone, not by way of the book, so that the two cannot be wrong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from callengine.calls.channels import Role, role_of
from callengine.calls.facts import LegReported
from callengine.calls.ids import usable_id
from callengine.calls.leg import parent_of
from callengine.calls.view import iso

LegOf = Callable[[str], LegReported | None]
"""The CDR of a channel, by its UUID; None where there is none."""

_DIAL: Final = ("dial_time", "total_duration_s")
_AGENT: Final = ("agent_id", "agent_connect_time")
_MAX_CHARS: Final = 256


class Difference(NamedTuple):
    """A field of a call of which the row says ``ours``, the CDR ``theirs``; both as the API shows it."""

    fs_uuid: str
    field: str
    ours: Any
    theirs: Any


def is_call(fact: LegReported, leg_of: LegOf) -> bool:
    """Whether that channel is a call, as far as its record tells: it was created for itself, and is not an agent's.

    Where an agent was rung first, the call is the channel that was created for the agent's.
    """
    parent = parent_of(fact)
    if parent is None:
        return role_of(fact, None, tracking_others=True) is Role.CALL
    above = leg_of(parent)
    if above is None or parent_of(above) is not None:
        return False
    return (
        role_of(above, None, tracking_others=True) is Role.AGENT
        and role_of(fact, Role.AGENT, tracking_others=True) is Role.CALL
    )


def expected(fact: LegReported, leg_of: LegOf) -> dict[str, Any]:
    """The compared fields of a call as its CDR tells them."""
    dial, answer, end = fact.created_us, fact.answered_us or None, fact.hangup_us
    ring = min((at for at in (fact.progress_us, fact.progress_media_us) if at), default=None)
    agent, connected = _agent(fact, leg_of)
    return {
        "status": "completed" if answer else "failed",
        "direction": "inbound" if fact.direction == "inbound" and not fact.user_name else "outbound",
        "hangup_cause": fact.hangup_cause and fact.hangup_cause[:_MAX_CHARS],
        "dial_time": iso(dial),
        "ring_time": iso(ring),
        "answer_time": iso(answer),
        "end_time": iso(end),
        "ring_duration_s": _floor_s(ring, answer),
        "talk_duration_s": _floor_s(answer, end),
        "total_duration_s": _floor_s(dial, end),
        "agent_id": agent,
        "agent_connect_time": iso(connected),
        "sip_call_id": fact.sip_call_id and fact.sip_call_id[:_MAX_CHARS],
        "campaign_id": _usable(fact.campaign),
        "lead_id": _usable(fact.lead),
    }


def compare(shown: Mapping[str, Any], fact: LegReported, leg_of: LegOf) -> Iterator[Difference]:
    """What a call, as the API shows it, tells otherwise than its CDR.

    What the record cannot tell is left out: the dial time of a UUID that lived before, in an originate's failover, and
    whom the channel was bridged to before the last one.
    """
    theirs = expected(fact, leg_of)
    untold: tuple[str, ...] = ()
    if theirs["direction"] == "outbound" and shown["dial_time"] and shown["dial_time"] < theirs["dial_time"]:
        untold += _DIAL
    first = min((iso(at) or "" for at, _ in fact.bridges), default="")
    if shown["agent_connect_time"] and first and shown["agent_connect_time"] < first:
        untold += _AGENT
    for field, value in theirs.items():
        if shown[field] != value and field not in untold:
            yield Difference(fact.uuid, field, shown[field], value)


def _agent(fact: LegReported, leg_of: LegOf) -> tuple[str | None, int | None]:
    """Who was connected first, and when."""
    for at, other in fact.bridges:
        leg = leg_of(other)
        if leg is not None and leg.voice_agent == "true":
            continue
        # Another call that waits in a queue names who serves it there, and is no agent's leg for that.
        queued = leg is not None and leg.queue is not None and parent_of(leg) is None
        agent = (leg.leg_agent if leg is not None and not queued else None) or fact.own_agent
        if agent:
            return agent[:_MAX_CHARS], at
    return None, None


def _usable(text: str | None) -> str | None:
    return text if text and usable_id(text) else None


def _floor_s(start_us: int | None, end_us: int | None) -> int | None:
    return None if start_us is None or end_us is None or end_us < start_us else (end_us - start_us) // 1_000_000
