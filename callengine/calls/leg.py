"""A leg: our record of one channel, and how it takes in what the switch says of that channel.

Every event carries the channel's whole timetable, so taking one in is a join of what is known: stamps are set once in a
channel's life, in whatever order the events come, and a duplicate changes nothing. A UUID that lives again (failover
in an originate) is told apart by its creation stamp.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from callengine.calls.facts import (
    ChannelFact,
    LegCreated,
    LegDescribed,
    LegDestroyed,
    LegEnded,
    LegGone,
    LegHeld,
    LegHungUp,
    LegReported,
    LegUnheld,
    Source,
)
from callengine.calls.ids import usable_id

replace = msgspec.structs.replace


class Note(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One entry of a call's timeline: what happened, when by the switch's stamp (µs), to whom, and by whose word.

    An array in JSON.
    """

    name: str
    at_us: int
    leg: str | None
    source: Source
    detail: str | None = None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A transition that was refused, by name; the value that was not taken stands in ``detail``."""

    name: str
    leg: str
    at_us: int
    source: Source
    detail: str


class Leg(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One channel. Stamps are µs since the epoch, 0 where unset; those below ``created_us`` are of its last life.

    ``direction`` is the channel's own Call-Direction; ``authenticated`` tells a channel that a user of the switch
    placed. ``never_ran`` tells of an attempt that was destroyed before it had a channel; another one may follow or
    have been. ``last_seen_us`` is the stamp of the last event that changed anything. ``unusable`` names the campaign
    or lead variables that were seen with a value no id can have. ``own_agent_us`` is the stamp of the first event that
    carries ``own_agent``.
    """

    uuid: str
    core_uuid: str = ""
    direction: str | None = None
    authenticated: bool = False
    seen_created: bool = False
    first_created_us: int = 0
    created_us: int = 0
    progress_us: int = 0
    progress_media_us: int = 0
    answered_us: int = 0
    hangup_us: int = 0
    hung_up_at_us: int = 0
    hangup_cause: str | None = None
    never_ran: bool = False
    over: bool = False
    gone: bool = False
    gone_after_us: int = 0
    gone_before_us: int = 0
    end_source: Source | None = None
    held_us: int = 0
    unheld_us: int = 0
    last_seen_us: int = 0

    identity_us: int = 0
    caller_number: str | None = None
    caller_name: str | None = None
    callee_number: str | None = None
    loopback_leg: str | None = None

    queue: str | None = None
    own_agent: str | None = None
    own_agent_us: int = 0
    leg_agent: str | None = None
    voice_agent: bool = False
    tenant: str | None = None
    campaign: str | None = None
    lead: str | None = None
    unusable: tuple[str, ...] = ()

    gateway: str | None = None
    sip_call_id: str | None = None
    sip_status: str | None = None
    sip_disposition: str | None = None
    amd_result: str | None = None

    @property
    def ring_us(self) -> int:
        """The earlier of progress and progress with media; 0 where neither is known."""
        if self.progress_us and self.progress_media_us:
            return min(self.progress_us, self.progress_media_us)
        return self.progress_us or self.progress_media_us

    @property
    def agent_id(self) -> str | None:
        """Who this leg is, if it is a human agent's."""
        return None if self.voice_agent else self.leg_agent

    @property
    def hanging_up(self) -> bool:
        """Whether the hangup was told, but not yet its completion."""
        return bool(self.hung_up_at_us) and not self.over


class Merged(msgspec.Struct, frozen=True, gc=False):
    """What came of taking a fact in. ``unusable`` names the variables whose value was set aside just now."""

    leg: Leg
    notes: list[Note]
    refusals: list[Refusal]
    unusable: tuple[str, ...] = ()


# Reset when a UUID lives again; everything else of the leg stays.
OF_A_LIFE: dict[str, Any] = {
    "progress_us": 0,
    "progress_media_us": 0,
    "answered_us": 0,
    "hangup_us": 0,
    "hung_up_at_us": 0,
    "hangup_cause": None,
    "over": False,
    "gone": False,
    "gone_after_us": 0,
    "gone_before_us": 0,
    "end_source": None,
    "held_us": 0,
    "unheld_us": 0,
    "gateway": None,
    "sip_call_id": None,
    "sip_status": None,
    "sip_disposition": None,
    "amd_result": None,
}
# Reset when a channel that was thought gone is found alive.
_OF_A_LOSS: dict[str, Any] = {
    "over": False,
    "gone": False,
    "gone_after_us": 0,
    "gone_before_us": 0,
    "end_source": None,
}
# A creation stamp decides which life of a UUID a fact speaks of. One that is later than the event that carries it, by
# more than any clock is set back, would make every true one look old.
_CLOCK_SET_BACK_US = 24 * 3600 * 1_000_000
_HOLDING: Final = (LegHeld, LegUnheld)
DIRECTIONS: Final = ("inbound", "outbound")
# What comes from outside is kept, but not at any length.
MAX_TEXT = 256


def parent_of(fact: LegDescribed) -> str | None:
    """The channel this one was created for, by what its creation (or a snapshot, or a CDR) says; None where for itself.

    Other-Leg-Unique-ID tells so at the creation only: ``uuid_bridge`` sets it on both channels later, and Other-Type
    "originator" on one of them.
    """
    if fact.loopback_leg == "B" and fact.loopback_other:
        parent: str | None = fact.loopback_other
    elif fact.queue_side == "agent" and fact.queue_member:
        parent = fact.queue_member
    elif fact.originator:
        parent = fact.originator
    else:
        parent = fact.other_uuid if isinstance(fact, LegCreated) else None
    return None if not parent or parent == fact.uuid else parent


def merge(leg: Leg, fact: ChannelFact) -> Merged:
    """Take one fact in. Pure; commutative over the events of one channel; idempotent."""
    created = fact.created_us
    if created > fact.at_us + _CLOCK_SET_BACK_US and fact.at_us:
        return Merged(leg, [], [_refusal("created_in_the_future", fact, created)])
    notes: list[Note] = []
    refusals: list[Refusal] = []
    change: dict[str, Any] = {}
    unusable: tuple[str, ...] = ()
    if fact.describes:
        _describe(leg, fact, change)  # type: ignore[arg-type]  # calling cast() would cost as much as looking
    if created and created == leg.created_us and not leg.gone:
        life: Leg | None = leg
    else:
        life = _life(leg, fact, change, notes)
    if life is not None:
        _take_stamps(life, fact, change, notes, refusals)
        if fact.closes:
            _take_end(life, fact, change, notes, refusals)  # type: ignore[arg-type]
        elif isinstance(fact, LegHungUp):
            _take_hangup(life, fact, change, notes, refusals)
        elif isinstance(fact, _HOLDING):
            _take_hold(life, fact, change, notes)
        unusable = _take_variables(life, fact, change)
        leg = life
    elif not created and not leg.never_ran:
        change["never_ran"] = True
        notes.append(Note("never_ran", fact.at_us, leg.uuid, fact.source))
    if change:
        if fact.at_us > leg.last_seen_us and not leg.over:
            change["last_seen_us"] = fact.at_us
        leg = replace(leg, **change)
    return Merged(leg, notes, refusals, unusable)


def _refusal(name: str, fact: ChannelFact, value: object) -> Refusal:
    return Refusal(name, fact.uuid, fact.at_us, fact.source, str(value)[:MAX_TEXT])


def _life(leg: Leg, fact: ChannelFact, change: dict[str, Any], notes: list[Note]) -> Leg | None:
    """The leg as the fact finds it: a new life, if it begins one; None if it speaks of a life that is past."""
    created = fact.created_us
    if not created and isinstance(fact, LegDestroyed):
        return None  # an attempt, of a failover perhaps, that came to nothing: before or after this life
    if created != leg.created_us:
        if not created:
            return leg
        if not leg.first_created_us or created < leg.first_created_us:
            change["first_created_us"] = created
        if created < leg.created_us:
            return None
        change["created_us"] = created
        name = fact.channel_name if isinstance(fact, LegDescribed) else None
        notes.append(Note("created", created, leg.uuid, fact.source, _short(name)))
        return replace(leg, **OF_A_LIFE) if leg.created_us or leg.over else leg
    if leg.gone and isinstance(fact, LegDescribed) and fact.at_us > leg.gone_after_us and fact.source is not Source.CDR:
        notes.append(Note("found_again", fact.at_us, leg.uuid, fact.source))
        change["last_seen_us"] = fact.at_us
        return replace(leg, **_OF_A_LOSS)
    return leg


def _describe(leg: Leg, fact: LegDescribed, change: dict[str, Any]) -> None:
    """Numbers and names as they were at the creation; a snapshot or a CDR serves where the creation was missed."""
    if isinstance(fact, LegCreated):
        if leg.seen_created and not 0 < fact.created_us < leg.identity_us:
            return
        change["seen_created"] = True
    elif leg.seen_created or leg.identity_us:
        return
    change["identity_us"] = fact.created_us or leg.identity_us
    change["direction"] = fact.direction if fact.direction in DIRECTIONS else None
    change["authenticated"] = bool(fact.user_name) and fact.direction == "inbound"
    change["caller_number"] = _short(fact.caller_number)
    change["caller_name"] = _short(fact.caller_name)
    change["callee_number"] = _short(fact.callee_number)
    change["loopback_leg"] = _short(fact.loopback_leg)


def _short(text: str | None) -> str | None:
    return text[:MAX_TEXT] if text else None


def _take_stamps(
    leg: Leg, fact: ChannelFact, change: dict[str, Any], notes: list[Note], refusals: list[Refusal]
) -> None:
    if fact.progress_us != leg.progress_us:
        _stamp(leg, fact, "progress_us", "rang", fact.progress_us, change, notes, refusals)
    if fact.progress_media_us != leg.progress_media_us:
        _stamp(leg, fact, "progress_media_us", "early_media", fact.progress_media_us, change, notes, refusals)
    if fact.answered_us != leg.answered_us:
        _stamp(leg, fact, "answered_us", "answered", fact.answered_us, change, notes, refusals)
        if 0 < leg.hangup_us < change.get("answered_us", 0):
            refusals.append(_refusal("answered_after_end", fact, fact.answered_us))


def _stamp(
    leg: Leg,
    fact: ChannelFact,
    field: str,
    word: str,
    told: int,
    change: dict[str, Any],
    notes: list[Note],
    refusals: list[Refusal],
) -> None:
    """A stamp is set once in a life; another value for it is refused."""
    if not told:
        return
    if getattr(leg, field):
        refusals.append(_refusal(f"{word}_stamp_changed", fact, told))
        return
    change[field] = told
    notes.append(Note(word, told, leg.uuid, fact.source))


def _take_cause(
    leg: Leg, fact: LegHungUp | LegEnded | LegReported, change: dict[str, Any], refusals: list[Refusal]
) -> None:
    cause = fact.hangup_cause
    if not cause or cause == leg.hangup_cause:
        return
    if leg.hangup_cause is None:
        change["hangup_cause"] = cause[:MAX_TEXT]
    else:
        refusals.append(_refusal("cause_changed", fact, cause))


def _take_hangup(leg: Leg, fact: LegHungUp, change: dict[str, Any], notes: list[Note], refusals: list[Refusal]) -> None:
    if not leg.gone:  # what was told as gone is corrected in one piece, by the completion
        _take_cause(leg, fact, change, refusals)
    if not leg.hung_up_at_us:
        change["hung_up_at_us"] = fact.at_us
        notes.append(Note("hung_up", fact.at_us, leg.uuid, fact.source, _short(fact.hangup_cause)))


def _take_end(
    leg: Leg, fact: LegEnded | LegReported, change: dict[str, Any], notes: list[Note], refusals: list[Refusal]
) -> None:
    _take_cause(leg, fact, change, refusals)
    if fact.hangup_us != leg.hangup_us:
        _stamp(leg, fact, "hangup_us", "ended", fact.hangup_us, change, notes, refusals)
        if 0 < change.get("hangup_us", 0) < change.get("answered_us", leg.answered_us):
            refusals.append(_refusal("answered_after_end", fact, fact.answered_us))
    if not leg.over or leg.gone:
        change.update(over=True, gone=False, end_source=fact.source)
    if leg.sip_status is None and (status := fact.sip_term_status or fact.sip_failure_status):
        change["sip_status"] = status[:MAX_TEXT]
    if leg.sip_disposition is None and fact.sip_disposition:
        change["sip_disposition"] = fact.sip_disposition[:MAX_TEXT]


def _take_hold(leg: Leg, fact: LegHeld | LegUnheld, change: dict[str, Any], notes: list[Note]) -> None:
    field, word = ("held_us", "held") if isinstance(fact, LegHeld) else ("unheld_us", "unheld")
    if fact.at_us > getattr(leg, field):
        change[field] = fact.at_us
        notes.append(Note(word, fact.at_us, leg.uuid, fact.source))


def _take_variables(leg: Leg, fact: ChannelFact, change: dict[str, Any]) -> tuple[str, ...]:
    """What is filled once, with the first value seen. Returns the names of ids that no id can be."""
    core = fact.core_uuid
    if core != leg.core_uuid and core and fact.at_us >= leg.last_seen_us:
        change["core_uuid"] = core[:MAX_TEXT]
    if leg.sip_call_id is None and (value := fact.sip_call_id):
        change["sip_call_id"] = value[:MAX_TEXT]
    if (value := fact.leg_agent) and leg.leg_agent is None:
        change["leg_agent"] = value[:MAX_TEXT]
    if (value := fact.own_agent) and (leg.own_agent is None or fact.at_us < leg.own_agent_us):
        _take_own_agent(leg, value[:MAX_TEXT], fact.at_us, change)
    if (value := fact.queue) and leg.queue is None:
        change["queue"] = value[:MAX_TEXT]
    if (value := fact.voice_agent) and value == "true" and not leg.voice_agent:
        change["voice_agent"] = True
    if (value := fact.amd_result) and leg.amd_result is None:
        change["amd_result"] = value[:MAX_TEXT]
    if (value := fact.tenant) and leg.tenant is None:
        change["tenant"] = value[:MAX_TEXT]
    if fact.describes and leg.gateway is None and (value := fact.gateway):  # type: ignore[attr-defined]
        change["gateway"] = value[:MAX_TEXT]
    return _take_ids(leg, fact, change) if fact.campaign or fact.lead else ()


def _take_own_agent(leg: Leg, agent: str, at_us: int, change: dict[str, Any]) -> None:
    if leg.own_agent is None:
        change.update(own_agent=agent, own_agent_us=at_us)
    elif leg.own_agent == agent:
        change["own_agent_us"] = at_us


def _take_ids(leg: Leg, fact: ChannelFact, change: dict[str, Any]) -> tuple[str, ...]:
    unusable: list[str] = []
    for name, value in (("campaign", fact.campaign), ("lead", fact.lead)):
        if not value or getattr(leg, name) is not None:
            continue
        if usable_id(value):
            change[name] = value
        elif name not in leg.unusable:
            unusable.append(name)
    if unusable:
        change["unusable"] = (*leg.unusable, *unusable)
    return tuple(unusable)


def lose(leg: Leg, fact: LegGone, last_seen_us: int) -> Merged:
    """The channel is gone and nobody stamped its end: it is over, with bounds and no invented stamp."""
    if leg.over:
        return Merged(leg, [], [])
    after = max(fact.after_us, last_seen_us, leg.last_seen_us, leg.answered_us, leg.created_us)
    lost = replace(
        leg,
        over=True,
        gone=True,
        gone_after_us=after,
        gone_before_us=fact.before_us if fact.before_us >= after else 0,
        end_source=fact.source,
    )
    return Merged(lost, [Note("gone", fact.at_us or fact.before_us, leg.uuid, fact.source)], [])
