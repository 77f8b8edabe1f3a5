"""The book of calls in memory: which channel is a call, which is a leg of one, and which facts have to wait.

Pure: ``apply`` takes a fact and ``now`` (seconds of any monotonic clock) and returns what changed. A fact about a
channel of which nobody said yet what it is waits, within bounds, until that is said; facts of one channel may come in
any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from callengine.calls import lives, machine
from callengine.calls.call import Call, Told
from callengine.calls.channels import Channel, Role, age_s, ends_of, role_of, seen_from
from callengine.calls.facts import (
    BridgeReported,
    CallQueued,
    ChannelFact,
    CommandIssued,
    Fact,
    JobAnswered,
    LegDescribed,
    LegGone,
    LegReported,
    LegUnbridged,
    OriginateAbandoned,
    OriginateSent,
)
from callengine.calls.ids import call_id_of
from callengine.calls.ledger import Ledger, Outcome, Timing
from callengine.calls.leg import Leg, Merged, Note, Refusal, lose, merge, parent_of
from callengine.calls.machine import Noted, Refused
from callengine.calls.tenancy import Rules, Unattributed
from callengine.calls.waiting import Waiting

__all__ = ["Book", "Outcome", "Role", "Rules", "Timing"]


class Book:
    """All calls that are live or ended a moment ago, by channel.

    ``tracking_others`` false narrows it to what we originate. ``max_strays`` bounds the channels that wait to be
    described. ``epoch_us`` is our clock (µs since the epoch) at the zero of ``now``; facts that carry our clock set it
    anew.
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
        self.timing = timing or Timing()
        self.tracking_others = tracking_others
        self._ledger = Ledger(rules, self.timing, epoch_us)
        self._channels = self._ledger.channels
        self._waiting = Waiting(max_strays)
        self._ready: deque[ChannelFact] = deque()
        self._owed: Outcome | None = None

    # -- what is asked of it ---------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """Whose a call is; new ones hold for what has not been attributed yet."""
        return self._ledger.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._ledger.rules = rules

    @property
    def calls(self) -> dict[str, Call]:
        """All calls by id, those included that ended a moment ago."""
        return self._ledger.calls

    @property
    def dropped_facts(self) -> int:
        """How many facts were given up: of channels that nobody described in time, or of too many at once."""
        return self._waiting.dropped

    def sizes(self) -> dict[str, int]:
        """How much is kept, by kind. All of it is bounded by what lives on the switch and what ended a moment ago."""
        waiting = self._waiting
        return dict(self._ledger.pending()) | {
            "strays": len(waiting),
            "stray_facts": waiting.facts,
            "parents": waiting.parents,
        }

    def live(self) -> Iterator[Call]:
        """The calls that are not over."""
        return (c for c in self.calls.values() if not c.over)

    def call_of(self, fs_uuid: str) -> Call | None:
        """The call whose own channel that is."""
        return self._ledger.call_of(fs_uuid)

    def leg(self, fs_uuid: str) -> Leg | None:
        """What is known of that channel, whatever it is to us; None where nothing is."""
        channel = self._channels.get(fs_uuid)
        return channel.leg if channel is not None else None

    def knows(self, fs_uuid: str) -> bool:
        """Whether that channel was placed: as a call, a leg, an agent's, or one not to be tracked."""
        channel = self._channels.get(fs_uuid)
        return channel is not None and channel.role is not None

    def concerned(self, fs_uuid: str) -> bool:
        """Whether a call that the book has is about that channel: its own, or one beside it."""
        channel = self._channels.get(fs_uuid)
        return channel is not None and (channel.call_id is not None or bool(channel.beside))

    def owes(self, fs_uuid: str) -> bool:
        """Whether something may still wait to be told of a call that is about that channel."""
        channel = self._channels.get(fs_uuid)
        if channel is None:
            return False
        return any(map(self._ledger.holds_back, filter(None, (channel.call_id, *channel.beside))))

    def restore(self, call: Call, now: float) -> None:
        """Put a call back that was loaded from the store. One that the book has already stays as it is."""
        if call.id not in self.calls and self.call_of(call.own.uuid) is None:
            self._ledger.restore(call, now)
            # What was said of its channels before has waited for this; the next fact takes it along.
            for uuid in (call.own.uuid, *(peer.leg.uuid for peer in call.peers if peer.created_for)):
                self._ready.extend(self._waiting.take(uuid))

    def rejoin(self, earlier: Call, again: Call, notes: Iterable[Note], now: float) -> None:
        """The store has a call of the channel that ``again`` was begun for: both are one, under the earlier one's id.

        ``notes`` are what ``again`` had for its timeline. What this changes is told by the next ``apply`` or ``tick``.
        """
        ledger, out = self._ledger, self._begin()
        self._owed = out
        known = self.calls.get(earlier.id) if earlier.id != again.id else None
        known = known or earlier
        again = self.calls.get(again.id, again)
        channel = self._channels.get(again.own.uuid)
        if channel is not None and channel.call_id == again.id:
            ledger.withdraw(channel)
        joined = lives.join(known, again)
        ledger.restore(joined, now)
        ledger.conclude(known, joined, now, out, list(notes))

    def _begin(self) -> Outcome:
        """What has yet to be told, and room for more."""
        out, self._owed = self._owed, None
        return out or Outcome()

    def hasten(self, fs_uuid: str, when: float) -> None:
        """Let a call that is over leave the book at ``when`` (the clock of ``now``): it is kept for nobody."""
        channel = self._channels.get(fs_uuid)
        if channel is not None:
            self._ledger.hasten(channel, when)

    def apply(self, fact: Fact, now: float) -> Outcome:
        """Take one fact in."""
        out = Outcome() if self._owed is None else self._begin()
        try:
            self._apply(fact, now, out)
        except Exception:
            # What was changed before stays so, and has to be told: with what comes next.
            self._owed = out
            raise
        return out

    def _apply(self, fact: Fact, now: float, out: Outcome) -> None:
        if not isinstance(fact, ChannelFact):
            self._other(fact, now, out)
        elif isinstance(fact, LegReported):
            # Its end, its bridges and the legs that waited for it make one change.
            with self._ledger.together(now, out):
                self._channel(fact, now, out)
                self._take_ready(now, out)
        else:
            self._channel(fact, now, out)
        if self._ready:
            self._take_ready(now, out)

    def _take_ready(self, now: float, out: Outcome) -> None:
        while self._ready:
            self._channel(self._ready.popleft(), now, out)

    def tick(self, now: float) -> Outcome:
        """Do what has become due by ``now``."""
        out = self._begin()
        try:
            self._ledger.tick(now, out)
        except Exception:
            self._owed = out
            raise
        self._waiting.expire(now - self.timing.stray_s)
        return out

    def release(self) -> Outcome:
        """Hold nothing back any longer: the end of a stream, or of the process."""
        out = self._begin()
        for call in list(self.calls.values()):
            if call.held or (call.over and not call.told & Told.ENDED) or self._ledger.holds_back(call.id):
                self._ledger.release(call.id, 0.0, out)
        return out

    # -- channels --------------------------------------------------------------------------------------------------

    def _channel(self, fact: ChannelFact, now: float, out: Outcome) -> None:
        channel = self._channels.get(fact.uuid)
        if channel is not None and channel.role is not None:
            self._take(channel, fact, now, out)
            return
        parent = None
        if isinstance(fact, LegDescribed):
            parent = parent_of(fact)
            above = self._channels.get(parent) if parent is not None else None
            if parent is None or (above is not None and above.role is not None):
                self._place(fact, above, now, out)
                return
        self._waiting.put(fact, now)
        if parent is not None:
            self._waiting.await_parent(fact.uuid, parent)
        # Nobody said what this channel is; but a call may be bridged to it, and is told at once what is known of it.
        if channel is not None:
            self._take(channel, fact, now, out)
        elif fact.connects:
            self._bridge(fact, now, out)

    def _place(self, fact: LegDescribed, above: Channel | None, now: float, out: Outcome) -> None:
        """Enter a channel by its role, then let in what had to wait for that."""
        ledger, uuid = self._ledger, fact.uuid
        role = role_of(fact, above.role if above else None, tracking_others=self.tracking_others)
        channel = self._channels.get(uuid)
        if channel is None:
            channel = self._channels[uuid] = Channel(Leg(uuid=uuid), role, now)
        channel.role = role
        channel.since = now - age_s(fact)
        if role is Role.CALL:
            ledger.enter(self._new_call(fact), now)
            ledger.spread(channel, [], now, out)
        elif role is Role.LEG and above is not None:
            for call_id in ledger.served_by(above):
                ledger.attach(channel, call_id, now, out, made_for=True)
        ledger.watch(channel, now)
        ledger.name_owner(channel, now, out)
        self._take(channel, fact, now, out)
        if channel.call_id is not None:
            ledger.hold(channel.call_id, now)
            if above is not None:
                ledger.attach(above, channel.call_id, now, out)
        if len(self._waiting):
            self._ready.extend(self._waiting.take(uuid))
            self._ready.extend(self._waiting.take_children(uuid))

    def _new_call(self, fact: LegDescribed) -> Call:
        return Call(
            id=call_id_of(self.node, fact.uuid, fact.created_us or fact.at_us),
            node=self.node,
            own=Leg(uuid=fact.uuid),
            tenant_id=self.rules.default_tenant,
        )

    def _take(self, channel: Channel, fact: ChannelFact, now: float, out: Outcome) -> None:
        """Join a fact to what is known of its channel, and tell every call that this concerns."""
        if fact.at_us > channel.seen_us:
            channel.seen_us = fact.at_us
        merged = merge(channel.leg, fact)
        if merged.leg is not channel.leg or merged.refusals:
            self._learn(channel, merged, now, out)
        if fact.connects:
            self._bridge(fact, now, out)
        elif fact.records:
            self._record(channel, fact, now, out)
        elif fact.closes and isinstance(fact, LegReported):
            for at_us, other in fact.bridges:
                self._bridge(_of_report(fact, at_us, other), now, out)

    def _learn(self, channel: Channel, merged: Merged, now: float, out: Outcome) -> None:
        known, leg = channel.leg, merged.leg
        for refusal in merged.refusals:
            out.effects.append(Refused(channel.owner, refusal))
        if leg is known:
            return
        channel.leg = leg
        if channel.call_id is not None:
            for what in merged.unusable:
                out.effects.append(Unattributed(channel.call_id, what))
        self._ledger.spread(channel, merged.notes, now, out)
        if leg.over is not known.over:
            self._ledger.end(channel, now)
        elif leg.hanging_up is not known.hanging_up:
            self._ledger.watch(channel, now)

    # -- bridges and recordings --------------------------------------------------------------------------------------

    def _bridge(self, fact: ChannelFact, now: float, out: Outcome) -> None:
        """Two channels were connected, or parted: those that are calls note it; two calls that meet name each other."""
        for end, other in ends_of(fact):
            channel = self._channels.get(end)
            if (channel is None or channel.role is None) and end != fact.uuid:
                self._waiting.put(seen_from(end, other, fact), now)
            if channel is None:
                continue
            if channel.call_id is not None:
                self._meet(channel.call_id, fact, other, now, out)
            elif channel.made_for and not isinstance(fact, LegUnbridged):
                far = self._channels.get(other)
                if far is not None and far.owner is not None:
                    for call_id in channel.made_for:
                        if call_id != far.owner and call_id not in far.beside:
                            self._ledger.attach(far, call_id, now, out, of=far.owner)

    def _meet(self, call_id: str, fact: ChannelFact, other: str, now: float, out: Outcome) -> None:
        """A call's own channel was connected to another one, whatever that is, or parted from it."""
        ledger = self._ledger
        if not isinstance(fact, LegUnbridged):
            far = self._channels.get(other)
            unheard = far is None
            if far is None:
                far = self._channels[other] = Channel(Leg(uuid=other), None, now)
            if call_id not in far.beside and not ledger.attach(far, call_id, now, out, of=far.owner):
                if far.role is None and not far.beside:
                    del self._channels[other]
                return
            if unheard:
                # What was said of it before goes on waiting for its place, and is of use to this call already.
                self._ready.extend(self._waiting.known(other))
        call = ledger.calls[call_id]
        step = machine.bridged(call, fact, other)
        if step.refusal is not None:
            out.effects.append(Refused(call_id, step.refusal))
        ledger.conclude(call, step.call, now, out, step.notes)

    def _record(self, channel: Channel, fact: ChannelFact, now: float, out: Outcome) -> None:
        """A recording of any leg is the call's; one of an agent who serves many is that of the call he serves."""
        ledger = self._ledger
        concerned = (channel.call_id,) if channel.call_id is not None else channel.made_for
        if not concerned:
            concerned = tuple(c for c in channel.beside if machine.may_be_recorded(ledger.calls[c], fact))
        for call_id in concerned:
            call = ledger.calls[call_id]
            step = machine.recorded(call, fact)
            if step.refusal is not None:
                out.effects.append(Refused(call_id, step.refusal))
            ledger.conclude(call, step.call, now, out, step.notes)

    # -- what is no channel's ----------------------------------------------------------------------------------------

    def _other(self, fact: Fact, now: float, out: Outcome) -> None:
        ledger = self._ledger
        match fact:
            case LegGone():
                self._gone(fact, now, out)
            case CallQueued():
                ledger.set_clock(fact.at_us, now)
                self._queue(fact, now, out)
            case CommandIssued():
                ledger.set_clock(fact.at_us, now)
                if (call := self.call_of(fact.uuid)) is not None:
                    note = Note(fact.command, fact.at_us, fact.uuid, fact.source, fact.detail)
                    out.effects.append(Noted(call.id, note))
            case OriginateSent() | OriginateAbandoned():
                ledger.set_clock(fact.at_us, now)
                self._originated(self.call_of(fact.uuid), fact, now, out)
            case JobAnswered():
                self._originated(ledger.call_of_job(fact.job_uuid), fact, now, out)
            case _:
                pass

    def _gone(self, fact: LegGone, now: float, out: Outcome) -> None:
        channel = self._channels.get(fact.uuid)
        if channel is None:
            self._waiting.drop(fact.uuid)
        else:
            self._learn(channel, lose(channel.leg, fact, channel.seen_us), now, out)

    def _queue(self, fact: CallQueued, now: float, out: Outcome) -> None:
        ledger = self._ledger
        if self.knows(fact.uuid):
            refusal = Refusal("uuid_in_use", fact.uuid, fact.at_us, fact.source, fact.call_id)
            out.effects.append(Refused(None, refusal))
            return
        call = machine.queued(fact, self.node)
        ledger.watch(ledger.enter(call, now), now)
        out.changed[call.id] = call
        out.effects.append(Noted(call.id, Note("queued", fact.at_us, fact.uuid, fact.source)))
        if fact.agent_leg and fact.agent_leg not in self._channels:
            leg = self._channels[fact.agent_leg] = Channel(Leg(uuid=fact.agent_leg), Role.LEG, now)
            ledger.attach(leg, call.id, now, out, made_for=True)
            ledger.watch(leg, now)
        self._ready.extend(self._waiting.take(fact.uuid))

    def _originated(
        self, call: Call | None, fact: OriginateSent | OriginateAbandoned | JobAnswered, now: float, out: Outcome
    ) -> None:
        if call is not None:
            step = machine.originated(call, fact)
            self._ledger.conclude(call, step.call, now, out, step.notes)


def _of_report(fact: LegReported, at_us: int, other: str) -> BridgeReported:
    return BridgeReported(
        uuid=fact.uuid,
        core_uuid=fact.core_uuid,
        at_us=fact.at_us,
        own_agent=fact.own_agent,
        bridged_us=at_us,
        bridged_to=other,
    )
