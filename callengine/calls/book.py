"""The book of calls in memory: which channel is a call, which is a leg of one, and which facts have to wait.

Pure: ``apply`` takes a fact and ``now`` (seconds of any monotonic clock) and returns what changed. A fact about a channel of
which nobody said yet what it is waits, within bounds, until that is said; facts of one channel may come in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from callengine.calls import machine
from callengine.calls.agenda import Agenda
from callengine.calls.call import Call
from callengine.calls.channels import MAX_BESIDE, Channel, Role, age_s, ends_of, role_of, seen_from
from callengine.calls.facts import (
    CallQueued,
    ChannelFact,
    CommandIssued,
    Fact,
    JobAnswered,
    LegDescribed,
    LegGone,
    LegUnbridged,
    OriginateAbandoned,
    OriginateSent,
    Source,
)
from callengine.calls.ids import call_id_of
from callengine.calls.leg import Leg, Merged, Note, Refusal, lose, merge, parent_of
from callengine.calls.machine import Effect, Noted, Refused, Rules, Unattributed
from callengine.calls.waiting import Waiting

replace = msgspec.structs.replace


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of the book, in seconds.

    ``hangup_grace_s`` after a CHANNEL_HANGUP whose completion does not come, and every ``silent_s`` of a channel's life,
    the channel becomes a suspect: its end may have been missed.
    """

    tenant_hold_s: float = 2.0
    job_grace_s: float = 5.0
    hangup_grace_s: float = 30.0
    silent_s: float = 900.0
    stray_s: float = 60.0
    retire_s: float = 60.0
    overlong_after_s: float = 14_400.0


class Outcome(NamedTuple):
    """What a fact or the passing of time did. ``suspects`` are channels whose end should be asked of the switch."""

    changed: dict[str, Call]
    effects: list[Effect]
    suspects: list[str]


class Book:
    """All calls that are live or ended a moment ago, by channel.

    ``tracking_others`` false narrows it to what we originate. ``max_strays`` bounds the channels that wait for their creation.
    ``epoch_us`` is our clock (µs since the epoch) at the zero of ``now``; facts that carry our clock set it anew.
    """

    def __init__(
        self,
        node: str,
        rules: Rules,
        *,
        timing: Timing | None = None,
        tracking_others: bool = True,
        max_strays: int = 20_000,
        epoch_us: int | None = None,
    ) -> None:
        self.node = node
        self.rules = rules
        self.timing = timing or Timing()
        self.tracking_others = tracking_others
        self.calls: dict[str, Call] = {}
        self._epoch_us = epoch_us
        self._channels: dict[str, Channel] = {}
        self._jobs: dict[str, str] = {}
        self._waiting = Waiting(max_strays)
        self._ready: deque[ChannelFact] = deque()
        self._holds = Agenda()
        self._graces = Agenda()
        self._checks = Agenda()
        self._farewells = Agenda()

    # -- what is asked of it ---------------------------------------------------------------------------------------

    @property
    def dropped_facts(self) -> int:
        """How many facts were given up: of channels that nobody described in time, or of too many at once."""
        return self._waiting.dropped

    def live(self) -> Iterator[Call]:
        """The calls that are not over."""
        return (c for c in self.calls.values() if not c.over)

    def call_of(self, fs_uuid: str) -> Call | None:
        """The call whose own channel that is."""
        channel = self._channels.get(fs_uuid)
        return self.calls.get(channel.call_id) if channel is not None and channel.call_id else None

    def leg(self, fs_uuid: str) -> Leg | None:
        """What is known of that channel, whatever it is to us; None where nothing is."""
        channel = self._channels.get(fs_uuid)
        return channel.leg if channel is not None else None

    def knows(self, fs_uuid: str) -> bool:
        """Whether that channel was placed: as a call, a leg, an agent's, or one not to be tracked."""
        channel = self._channels.get(fs_uuid)
        return channel is not None and channel.role is not None

    def restore(self, call: Call, now: float) -> None:
        """Put a call back that was loaded from the store. One that the book has already stays as it is."""
        if call.id in self.calls or self.call_of(call.own.uuid) is not None:
            return
        own = self._enter(call, now)
        for peer in call.peers:
            channel = self._channels.setdefault(peer.leg.uuid, Channel(peer.leg.uuid, None, now))
            if channel.leg.created_us == 0:
                channel.leg = peer.leg
            if peer.created_for and channel.role is None:
                channel.role = Role.LEG
            self._stand_beside(channel, call.id, made_for=peer.created_for)
            if not channel.leg.over:
                self._checks.set(peer.leg.uuid, now + self.timing.silent_s)
        if call.held:
            self._holds.set(call.id, now + self.timing.tenant_hold_s)
        if call.awaits_job:
            self._graces.set(call.id, now + self.timing.job_grace_s)
        if call.over:
            self._farewells.set(call.own.uuid, now + self.timing.retire_s)
        else:
            self._checks.set(call.own.uuid, now + self._check_in_s(own, now))

    def apply(self, fact: Fact, now: float) -> Outcome:
        """Take one fact in."""
        out = Outcome({}, [], [])
        if isinstance(fact, ChannelFact):
            self._channel(fact, now, out)
        else:
            self._other(fact, now, out)
        while self._ready:
            self._channel(self._ready.popleft(), now, out)
        return out

    def tick(self, now: float) -> Outcome:
        """Do what has become due by ``now``."""
        out = Outcome({}, [], [])
        for call_id in self._holds.due(now):
            self._release(call_id, now, out)
        for call_id in self._graces.due(now):
            call = self.calls.get(call_id)
            if call is not None and call.awaits_job and call.origination is not None:
                overdue = replace(call, origination=replace(call.origination, job_overdue=True))
                self._conclude(call, overdue, now, out)
        for uuid in self._checks.due(now):
            self._check(uuid, now, out)
        for uuid in self._farewells.due(now):
            self._dismiss(uuid)
        self._waiting.expire(now - self.timing.stray_s)
        return out

    def release(self) -> Outcome:
        """Wait for no tenant's name any longer: the end of a stream, or of the process."""
        out = Outcome({}, [], [])
        for call in [c for c in self.calls.values() if c.held]:
            self._release(call.id, 0.0, out)
        return out

    # -- channels --------------------------------------------------------------------------------------------------

    def _channel(self, fact: ChannelFact, now: float, out: Outcome) -> None:
        channel = self._channels.get(fact.uuid)
        if channel is not None and channel.role is not None:
            self._take(channel, fact, now, out)
            return
        if isinstance(fact, LegDescribed):
            parent = parent_of(fact)
            above = self._channels.get(parent) if parent is not None else None
            if parent is None or (above is not None and above.role is not None):
                role = role_of(fact, above.role if above else None, tracking_others=self.tracking_others)
                self._place(fact, role, above, now, out)
                return
            self._waiting.put(fact, now)
            self._waiting.await_parent(fact.uuid, parent)
        else:
            self._waiting.put(fact, now)
        # Nobody said what this channel is; but a call may be bridged to it, and is told at once what is known of it.
        if channel is not None:
            self._take(channel, fact, now, out)
        elif fact.connects:
            self._bridge(fact, now, out)

    def _place(self, fact: LegDescribed, role: Role, above: Channel | None, now: float, out: Outcome) -> None:
        """Enter a channel by its role, then let in what had to wait for that."""
        uuid = fact.uuid
        channel = self._channels.get(uuid)
        if channel is None:
            channel = self._channels[uuid] = Channel(uuid, role, now)
        channel.role = role
        channel.since = now - age_s(fact)
        if role is Role.CALL:
            self._open(fact, now)
        elif role is Role.LEG and above is not None:
            for call_id in self._served_by(above):
                self._attach(channel, call_id, now, out, made_for=True)
        self._checks.set(uuid, now + self._check_in_s(channel, now))
        self._name(channel, now, out)
        self._take(channel, fact, now, out)
        if role is Role.CALL and above is not None and channel.call_id is not None:
            self._attach(above, channel.call_id, now, out)
        self._ready.extend(self._waiting.take(uuid))
        self._ready.extend(self._waiting.take_children(uuid))

    def _open(self, fact: LegDescribed, now: float) -> None:
        call = Call(
            id=call_id_of(self.node, fact.uuid, fact.created_us or fact.at_us),
            node=self.node,
            own=Leg(uuid=fact.uuid),
            tenant_id=self.rules.default_tenant,
        )
        self._enter(call, now)
        self._holds.set(call.id, now + self.timing.tenant_hold_s)

    def _enter(self, call: Call, now: float) -> Channel:
        uuid = call.own.uuid
        channel = self._channels.get(uuid)
        if channel is None:
            channel = self._channels[uuid] = Channel(uuid, Role.CALL, now)
        channel.role = Role.CALL
        channel.call_id = call.id
        if channel.leg.created_us == 0:
            channel.leg = call.own
        self.calls[call.id] = call
        if call.origination is not None:
            self._jobs[call.origination.job_uuid] = call.id
        return channel

    def _served_by(self, channel: Channel) -> tuple[str, ...]:
        """The calls that a channel created for this one belongs to."""
        if channel.call_id is not None:
            return (channel.call_id,)
        if channel.role is Role.AGENT:
            return tuple(c for c in channel.beside if not self.calls[c].over)
        return channel.made_for

    def _take(self, channel: Channel, fact: ChannelFact, now: float, out: Outcome) -> None:
        """Join a fact to what is known of its channel, and tell every call that this concerns."""
        if fact.at_us > channel.seen_us:
            channel.seen_us = fact.at_us
        known = channel.leg
        merged = merge(known, fact)
        self._learn(channel, merged, now, out)
        if fact.records:
            self._record(channel, fact, now, out)
        elif fact.connects:
            self._bridge(fact, now, out)

    def _learn(self, channel: Channel, merged: Merged, now: float, out: Outcome) -> None:
        known, leg = channel.leg, merged.leg
        if merged.refusals:
            out.effects.extend(Refused(channel.owner, r) for r in merged.refusals)
        if leg is known:
            return
        channel.leg = leg
        own = channel.call_id
        if own is not None:
            if merged.unusable:
                out.effects.extend(Unattributed(own, what) for what in merged.unusable)
            self._spread(own, leg, merged.notes, now, out)
        for call_id in channel.beside:
            self._spread(call_id, leg, merged.notes if call_id in channel.made_for else (), now, out)
        if leg.over is not known.over:
            self._ended(channel, now)
        elif leg.hung_up_at_us and not known.hung_up_at_us and not leg.over:
            self._checks.set(leg.uuid, now + self.timing.hangup_grace_s)

    def _ended(self, channel: Channel, now: float) -> None:
        """A channel ended, or was found to live on."""
        uuid = channel.leg.uuid
        if not channel.leg.over:
            self._farewells.cancel(uuid)
            self._checks.set(uuid, now + self._check_in_s(channel, now))
            return
        self._checks.cancel(uuid)
        if channel.call_id is None and not channel.beside:
            self._farewells.set(uuid, now + self.timing.retire_s)

    def _spread(self, call_id: str, leg: Leg, notes: list[Note] | tuple[()], now: float, out: Outcome) -> None:
        call = self.calls[call_id]
        fresh = machine.with_leg(call, leg)
        if fresh is not None:
            self._conclude(call, fresh, now, out, notes)

    # -- calls and their channels ------------------------------------------------------------------------------------

    def _attach(
        self, channel: Channel, call_id: str, now: float, out: Outcome, *, made_for: bool = False, of: str | None = None
    ) -> None:
        """Let a channel stand beside a call. ``of``: the other call that this channel belongs to."""
        call = self.calls[call_id]
        is_call = of is not None and of == channel.call_id
        fresh = machine.with_leg(call, channel.leg, created_for=made_for, peer_call=of, is_call=is_call)
        if fresh is None or not self._stand_beside(channel, call_id, made_for=made_for):
            note = Refusal("too_many_legs", channel.leg.uuid, channel.seen_us, Source.EVENT, call.own.uuid)
            out.effects.append(Refused(call_id, note))
            return
        self._conclude(call, fresh, now, out)
        if made_for:
            self._name(channel, now, out)

    def _stand_beside(self, channel: Channel, call_id: str, *, made_for: bool) -> bool:
        if call_id not in channel.beside:
            if len(channel.beside) >= MAX_BESIDE:
                ended = next((c for c in channel.beside if self.calls[c].over), None)
                if ended is None:
                    return False
                channel.leave(ended)
            channel.beside = (*channel.beside, call_id)
        if made_for and call_id not in channel.made_for:
            channel.made_for = (*channel.made_for, call_id)
        return True

    def _name(self, channel: Channel, now: float, out: Outcome) -> None:
        """Calls that were bridged to a channel before it was known whose it is now name its call."""
        owner = channel.owner
        if owner is None:
            return
        for call_id in channel.beside:
            if call_id != owner and call_id not in channel.made_for:
                call = self.calls[call_id]
                fresh = machine.with_leg(
                    call, channel.leg, peer_call=owner, is_call=channel.call_id is not None
                )
                if fresh is not None:
                    self._conclude(call, fresh, now, out)

    def _bridge(self, fact: ChannelFact, now: float, out: Outcome) -> None:
        """Two channels were connected, or parted: each that is a call takes note; two calls that meet name each other."""
        ends = ends_of(fact)
        for end, other in (ends, ends[::-1]) if ends is not None else ():
            channel = self._channels.get(end)
            if (channel is None or channel.role is None) and end != fact.uuid:
                self._waiting.put(seen_from(end, fact), now)
            if channel is None:
                continue
            if channel.call_id is not None:
                self._meet(channel.call_id, fact, other, now, out)
            elif not isinstance(fact, LegUnbridged):
                far = self._channels.get(other)
                if far is not None and far.owner is not None:
                    for call_id in channel.made_for:
                        if call_id != far.owner and call_id not in far.beside:
                            self._attach(far, call_id, now, out, of=far.owner)

    def _meet(self, call_id: str, fact: ChannelFact, other: str, now: float, out: Outcome) -> None:
        if not isinstance(fact, LegUnbridged):
            far = self._channels.get(other)
            if far is None:
                far = self._channels[other] = Channel(other, None, now)
            if call_id not in far.beside:
                self._attach(far, call_id, now, out, of=far.owner)
            if not far.beside and far.role is None:
                del self._channels[other]
        call = self.calls[call_id]
        step = machine.bridged(call, fact, other)
        if step.refusal is not None:
            out.effects.append(Refused(call_id, step.refusal))
        self._conclude(call, step.call, now, out, step.notes)

    def _record(self, channel: Channel, fact: ChannelFact, now: float, out: Outcome) -> None:
        """A recording of any leg is the call's; one of an agent's leg that serves many is that of the call it serves."""
        owner = channel.call_id
        if owner is not None or channel.made_for:
            concerned = (owner,) if owner is not None else channel.made_for
        else:
            concerned = tuple(c for c in channel.beside if self._serves(self.calls[c], fact))
        for call_id in concerned:
            call = self.calls[call_id]
            step = machine.recorded(call, fact)
            if step.refusal is not None:
                out.effects.append(Refused(call_id, step.refusal))
            self._conclude(call, step.call, now, out, step.notes)

    @staticmethod
    def _serves(call: Call, fact: ChannelFact) -> bool:
        return machine.recording(call, fact) is not None or fact.at_us <= (call.own.hangup_us or fact.at_us)

    def _conclude(
        self, known: Call, call: Call, now: float, out: Outcome, notes: list[Note] | tuple[()] = ()
    ) -> None:
        """Settle a call that a fact touched, and note what it set in motion."""
        for note in notes:
            out.effects.append(Noted(call.id, note))
        if call is known:
            return
        call, effects = machine.settle(call, self.rules, self._our_us(now))
        if effects:
            out.effects.extend(effects)
        self.calls[call.id] = out.changed[call.id] = call
        over = call.over
        if over is not known.over:
            if over:
                self._farewells.set(call.own.uuid, now + self.timing.retire_s)
            else:
                self._farewells.cancel(call.own.uuid)
        if call.origination is not None and call.awaits_job is not known.awaits_job:
            if call.awaits_job:
                self._graces.set(call.id, now + self.timing.job_grace_s)
            else:
                self._graces.cancel(call.id)

    # -- what is no channel's ----------------------------------------------------------------------------------------

    def _other(self, fact: Fact, now: float, out: Outcome) -> None:
        match fact:
            case LegGone():
                self._gone(fact, now, out)
            case CallQueued():
                self._clock(fact.at_us, now)
                self._queue(fact, now, out)
            case CommandIssued():
                self._clock(fact.at_us, now)
                call = self.call_of(fact.uuid)
                if call is not None:
                    note = Note(fact.command, fact.at_us, fact.uuid, fact.source, fact.detail)
                    out.effects.append(Noted(call.id, note))
            case OriginateSent() | OriginateAbandoned():
                self._clock(fact.at_us, now)
                self._originated(self.call_of(fact.uuid), fact, now, out)
            case JobAnswered():
                self._originated(self.calls.get(self._jobs.get(fact.job_uuid, "")), fact, now, out)
            case _:
                pass

    def _clock(self, at_us: int, now: float) -> None:
        self._epoch_us = at_us - int(now * 1_000_000)

    def _our_us(self, now: float) -> int:
        return 0 if self._epoch_us is None else self._epoch_us + int(now * 1_000_000)

    def _gone(self, fact: LegGone, now: float, out: Outcome) -> None:
        channel = self._channels.get(fact.uuid)
        if channel is None:
            self._waiting.drop(fact.uuid)
            return
        self._learn(channel, lose(channel.leg, fact, channel.seen_us), now, out)

    def _queue(self, fact: CallQueued, now: float, out: Outcome) -> None:
        if self.knows(fact.uuid):
            refusal = Refusal("uuid_in_use", fact.uuid, fact.at_us, fact.source, fact.call_id)
            out.effects.append(Refused(None, refusal))
            return
        call = machine.queued(fact, self.node)
        self._enter(call, now)
        out.changed[call.id] = call
        out.effects.append(Noted(call.id, Note("queued", fact.at_us, fact.uuid, fact.source)))
        self._checks.set(fact.uuid, now + self.timing.silent_s)
        if fact.agent_leg and fact.agent_leg not in self._channels:
            leg = self._channels[fact.agent_leg] = Channel(fact.agent_leg, Role.LEG, now)
            self._attach(leg, call.id, now, out, made_for=True)
            self._checks.set(fact.agent_leg, now + self.timing.silent_s)
        self._ready.extend(self._waiting.take(fact.uuid))

    def _originated(
        self, call: Call | None, fact: OriginateSent | OriginateAbandoned | JobAnswered, now: float, out: Outcome
    ) -> None:
        if call is not None:
            step = machine.originated(call, fact)
            self._conclude(call, step.call, now, out, step.notes)

    # -- the passing of time -----------------------------------------------------------------------------------------

    def _release(self, call_id: str, now: float, out: Outcome) -> None:
        call = self.calls.get(call_id)
        if call is None or not call.held:
            return
        settled, effects = machine.settle(call, self.rules, self._our_us(now), release=True)
        out.effects.extend(effects)
        self.calls[call_id] = out.changed[call_id] = settled

    def _check_in_s(self, channel: Channel, now: float) -> float:
        """When to look at a living channel again."""
        timing = self.timing
        if channel.leg.hanging_up:
            return timing.hangup_grace_s
        left = channel.since + timing.overlong_after_s - now
        return min(timing.silent_s, left) if left > 0 else timing.silent_s

    def _check(self, uuid: str, now: float, out: Outcome) -> None:
        """A channel has lived for long without a word, or hung up without an end: flag it, and have the switch asked."""
        channel = self._channels.get(uuid)
        if channel is None or channel.leg.over:
            return
        call = self.calls.get(channel.call_id) if channel.call_id else None
        if call is not None and not call.over and not call.overlong:
            if now - channel.since >= self.timing.overlong_after_s:
                self._conclude(call, replace(call, overlong=True), now, out)
        if call is None or not self._never_sent(call):
            out.suspects.append(uuid)
        self._checks.set(uuid, now + self._check_in_s(channel, now))

    def _never_sent(self, call: Call) -> bool:
        """Whether the switch cannot know the call's channel yet: not asked for, or the agent is being rung first."""
        o = call.origination
        if o is None or call.own.created_us:
            return False
        agent = call.peer(o.agent_leg) if o.agent_leg else None
        return not o.sent_us or (agent is not None and bool(agent.leg.created_us) and not agent.leg.over)

    def _dismiss(self, uuid: str) -> None:
        """Forget a call some time after its end, and every channel that nothing is beside any longer."""
        channel = self._channels.get(uuid)
        if channel is None:
            return
        call = self.calls.get(channel.call_id) if channel.call_id else None
        if call is not None:
            self._retire(call, channel)
        self._forget(uuid, channel)

    def _retire(self, call: Call, own: Channel) -> None:
        del self.calls[call.id]
        own.call_id = None
        self._holds.cancel(call.id)
        self._graces.cancel(call.id)
        if call.origination is not None:
            self._jobs.pop(call.origination.job_uuid, None)
        for peer in call.peers:
            channel = self._channels.get(peer.leg.uuid)
            if channel is not None:
                channel.leave(call.id)
                self._forget(peer.leg.uuid, channel)

    def _forget(self, uuid: str, channel: Channel) -> None:
        """Drop a channel unless a call still needs it, or it lives: one that lives may be met again."""
        if channel.call_id is not None or channel.beside:
            return
        if channel.role is None or channel.leg.over or uuid not in self._checks:
            del self._channels[uuid]
            self._checks.cancel(uuid)
            self._farewells.cancel(uuid)

