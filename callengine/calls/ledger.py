"""The ledger: all calls, all channels, which of these stands beside which, and what is due on them by and by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from callengine.calls import machine
from callengine.calls.agenda import Agenda
from callengine.calls.call import Call, Told
from callengine.calls.channels import MAX_BESIDE, Channel, Role
from callengine.calls.facts import MAX_US, Source
from callengine.calls.leg import Leg, Note, Refusal
from callengine.calls.machine import Effect, Noted, Published, Refused
from callengine.calls.record import CallRecord, correction_is_under_way
from callengine.calls.tenancy import Rules

replace = msgspec.structs.replace
# How long a call that is over waits for the end of the channel it was bridged to, which tells who hung up; and a
# correction for the rest of it.
_LAST_WORD_S = 1.0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of the book, in seconds.

    ``hangup_grace_s`` after a CHANNEL_HANGUP whose completion does not come, and every ``silent_s`` of a channel's
    life, the channel becomes a suspect: its end may have been missed. A call stays for ``retire_s`` after its end, and
    sooner, but for ``retire_min_s`` at least, where more than ``max_ended`` (calls and channels) would be kept.
    """

    tenant_hold_s: float = 2.0
    job_grace_s: float = 5.0
    hangup_grace_s: float = 30.0
    silent_s: float = 900.0
    stray_s: float = 60.0
    retire_s: float = 60.0
    retire_min_s: float = 10.0
    max_ended: int = 10_000
    overlong_after_s: float = 14_400.0


class Outcome(msgspec.Struct, gc=False):
    """What a fact or the passing of time did. ``suspects`` are channels whose end should be asked of the switch.

    ``records`` has that of each changed call of which a milestone was told, where nothing of it changed after that.
    """

    changed: dict[str, Call] = {}
    records: dict[str, CallRecord] = {}
    effects: list[Effect] = []
    suspects: list[str] = []


class Ledger:
    """Calls by id, channels by UUID. Whatever changes a call goes through ``conclude``."""

    def __init__(self, rules: Rules, timing: Timing, epoch_us: int | None) -> None:
        self.rules = rules
        self.timing = timing
        self.calls: dict[str, Call] = {}
        self.channels: dict[str, Channel] = {}
        self._epoch_us = epoch_us
        self._jobs: dict[str, str] = {}
        self._holds = Agenda()
        self._graces = Agenda()
        self._checks = Agenda()
        self._farewells = Agenda()
        self._together: dict[str, Call] | None = None

    # -- what is asked of it ---------------------------------------------------------------------------------------

    def call_of(self, uuid: str) -> Call | None:
        """The call whose own channel that is."""
        channel = self.channels.get(uuid)
        return self.calls[channel.call_id] if channel is not None and channel.call_id else None

    def call_of_job(self, job_uuid: str) -> Call | None:
        """The call that the job was to originate."""
        call_id = self._jobs.get(job_uuid)
        return self.calls[call_id] if call_id else None

    def pending(self) -> Iterator[tuple[str, int]]:
        """What is kept, by name: empty when all that was in it has come to its end."""
        for name in ("calls", "channels", "_jobs", "_holds", "_graces", "_checks", "_farewells"):
            yield name.lstrip("_"), len(getattr(self, name))

    # -- our clock -------------------------------------------------------------------------------------------------

    def set_clock(self, at_us: int, now: float) -> None:
        """Our clock, as a fact of ours has it, at the book's ``now``."""
        self._epoch_us = at_us - int(now * 1_000_000)

    def our_us(self, now: float) -> int:
        """Our clock at the book's ``now``; 0 where no fact of ours told it yet."""
        return 0 if self._epoch_us is None else min(self._epoch_us + int(now * 1_000_000), MAX_US)

    # -- entering ----------------------------------------------------------------------------------------------------

    def enter(self, call: Call, now: float) -> Channel:
        """Take a call in, and its channel with it."""
        uuid = call.own.uuid
        channel = self.channels.get(uuid)
        if channel is None:
            channel = self.channels[uuid] = Channel(Leg(uuid=uuid), Role.CALL, now)
        channel.role = Role.CALL
        channel.call_id = call.id
        if not channel.leg.created_us:
            channel.leg = call.own
        self.calls[call.id] = call
        if call.origination is not None:
            self._jobs[call.origination.job_uuid] = call.id
        return channel

    def hold(self, call_id: str, now: float) -> None:
        """Wait for a tenant's name, if that is not known yet."""
        if self.calls[call_id].held:
            self._holds.set(call_id, now + self.timing.tenant_hold_s)

    def restore(self, call: Call, now: float) -> None:
        """Take in a call that was loaded, with the channels beside it. What else these are, the switch will say."""
        own = self.enter(call, now)
        # What other calls were last told of this channel may be older, or newer: then this one is told of it again.
        own.leg = call.own
        self.hold(call.id, now)
        for peer in call.peers:
            uuid = peer.leg.uuid
            channel = self.channels.get(uuid)
            if channel is None:
                channel = self.channels[uuid] = Channel(Leg(uuid=uuid), None, now)
            if not channel.leg.created_us or (peer.created_for and channel.call_id is None and not channel.made_for):
                channel.leg = peer.leg
            if peer.created_for and channel.role is None:
                channel.role = Role.LEG
            self._stand_beside(channel, call.id, made_for=peer.created_for)
            if not channel.leg.over:
                self.watch(channel, now)
        if call.awaits_job:
            self._graces.set(call.id, now + self.timing.job_grace_s)
        if call.over:
            self._farewells.set(call.own.uuid, now + self.timing.retire_s)
        else:
            self.watch(own, now)
        if call.told & Told.ENDED or call.over:
            # Its end, or what corrects that, may have been about to be told.
            self._holds.set(call.id, now + _LAST_WORD_S)

    # -- who stands beside whom --------------------------------------------------------------------------------------

    def served_by(self, channel: Channel) -> tuple[str, ...]:
        """The calls that a channel created for this one belongs to."""
        if channel.call_id is not None:
            return (channel.call_id,)
        if channel.role is Role.AGENT:
            return tuple(c for c in channel.beside if not self.calls[c].over)
        return channel.made_for

    def attach(
        self, channel: Channel, call_id: str, now: float, out: Outcome, *, made_for: bool = False, of: str | None = None
    ) -> bool:
        """Let a channel stand beside a call; False where there are too many. ``of``: the other call it belongs to."""
        call = self.calls[call_id]
        is_call = of is not None and of == channel.call_id
        fresh = machine.with_leg(call, channel.leg, created_for=made_for, peer_call=of, is_call=is_call)
        if fresh is None or not self._stand_beside(channel, call_id, made_for=made_for):
            leg = channel.leg
            refusal = Refusal("too_many_legs", leg.uuid, channel.seen_us, Source.EVENT, call.own.uuid)
            out.effects.append(Refused(call_id, refusal))
            return False
        self.conclude(call, fresh, now, out)
        if made_for:
            self.name_owner(channel, now, out)
        return True

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

    def name_owner(self, channel: Channel, now: float, out: Outcome) -> None:
        """Calls that were bridged to a channel before it was known whose it is now name its call."""
        owner = channel.owner
        if owner is None:
            return
        is_call = channel.call_id is not None
        for call_id in channel.beside:
            if call_id != owner and call_id not in channel.made_for:
                call = self.calls[call_id]
                fresh = machine.with_leg(call, channel.leg, peer_call=owner, is_call=is_call)
                self.conclude(call, fresh or call, now, out)

    def spread(self, channel: Channel, notes: list[Note], now: float, out: Outcome) -> None:
        """Tell all calls of a channel what is now known of it."""
        if channel.call_id is not None:
            call = self.calls[channel.call_id]
            fresh = call if call.own is channel.leg else replace(call, own=channel.leg)
            self.conclude(call, fresh, now, out, notes)
        for call_id in channel.beside:
            self._tell(call_id, channel.leg, notes if call_id in channel.made_for else (), now, out)

    def _tell(self, call_id: str, leg: Leg, notes: list[Note] | tuple[()], now: float, out: Outcome) -> None:
        call = self.calls[call_id]
        self.conclude(call, machine.with_leg(call, leg) or call, now, out, notes)

    # -- a call changes ----------------------------------------------------------------------------------------------

    def conclude(self, known: Call, call: Call, now: float, out: Outcome, notes: list[Note] | tuple[()] = ()) -> None:
        """Settle a call that a fact touched, and note what that set in motion."""
        call_id = call.id
        if notes:
            out.effects += [Noted(call_id, note) for note in notes]
        if call is known:
            return
        if self._together is not None:
            self._together.setdefault(call_id, known)
            self.calls[call_id] = call
            return
        originated = call.origination is not None
        call, effects = machine.settle(call, self.rules, self.our_us(now) if originated else 0)
        self._tell_of(call, effects, out)
        self.calls[call_id] = out.changed[call_id] = call
        if originated or call.own.over is not known.own.over:
            self._mind_the_end(known, call, now)
        if call.told & Told.ENDED and call_id not in self._holds and correction_is_under_way(call):
            self._holds.set(call_id, now + _LAST_WORD_S)
        if originated and call.awaits_job is not known.awaits_job:
            if call.awaits_job:
                self._graces.set(call_id, now + self.timing.job_grace_s)
            else:
                self._graces.cancel(call_id)

    @staticmethod
    def _tell_of(call: Call, effects: list[Effect], out: Outcome) -> None:
        if effects:
            out.effects += effects
            if isinstance(last := effects[-1], Published):
                out.records[call.id] = last.record
                return
        if out.records:
            out.records.pop(call.id, None)

    def _mind_the_end(self, known: Call, call: Call, now: float) -> None:
        over = call.over
        if over is not known.over:
            if over:
                self._farewells.set(call.own.uuid, now + self.timing.retire_s)
                if not call.told & Told.ENDED:
                    self._holds.set(call.id, now + _LAST_WORD_S)
            else:
                self._farewells.cancel(call.own.uuid)

    @contextmanager
    def together(self, now: float, out: Outcome) -> Iterator[None]:
        """What is concluded within is settled at its end, once a call: a correction is told in one piece."""
        touched: dict[str, Call] = {}
        self._together = touched
        try:
            yield
        finally:
            self._together = None
            for call_id, known in touched.items():
                self.conclude(known, self.calls[call_id], now, out)

    def holds_back(self, call_id: str) -> bool:
        """Whether something of that call may still wait to be told."""
        call = self.calls.get(call_id)
        if call is None or call_id not in self._holds:
            return False
        return call.held or (correction_is_under_way(call) if call.told & Told.ENDED else call.over)

    def release(self, call_id: str, now: float, out: Outcome) -> None:
        """Tell of a call what was held back, without waiting for more."""
        call = self.calls.get(call_id)
        if call is None:
            return
        settled, effects = machine.settle(call, self.rules, self.our_us(now), release=True)
        self._tell_of(settled, effects, out)
        if settled is not call:
            self.calls[call_id] = out.changed[call_id] = settled

    # -- the passing of time -----------------------------------------------------------------------------------------

    def tick(self, now: float, out: Outcome) -> None:
        """Do what has become due by ``now``."""
        for call_id in self._holds.due(now):
            self.release(call_id, now, out)
        for call_id in self._graces.due(now):
            call = self.calls.get(call_id)
            if call is not None and call.origination is not None:
                overdue = replace(call, origination=replace(call.origination, job_overdue=True))
                self.conclude(call, overdue, now, out)
        for uuid in self._checks.due(now):
            if (channel := self.channels.get(uuid)) is not None:
                self._check(channel, now, out)
        for uuid in self._farewells.due(now + self._crowded_s()):
            # One that is dismissed may take others along that are due as well.
            if (channel := self.channels.get(uuid)) is not None:
                if channel.call_id is not None and self.holds_back(channel.call_id):
                    self.release(channel.call_id, now, out)
                self._dismiss(channel)

    def _crowded_s(self) -> float:
        """How much sooner what is over leaves: so that it does evenly, the more there is the sooner."""
        timing, kept = self.timing, len(self._farewells)
        if kept <= timing.max_ended:
            return 0.0
        return max(0.0, timing.retire_s - max(timing.retire_min_s, timing.retire_s * timing.max_ended / kept))

    def watch(self, channel: Channel, now: float) -> None:
        """Look at a living channel again in a while."""
        timing = self.timing
        if channel.leg.hanging_up:
            wait_s = timing.hangup_grace_s
        else:
            left_s = channel.since + timing.overlong_after_s - now
            wait_s = min(timing.silent_s, left_s) if left_s > 0 else timing.silent_s
        self._checks.set(channel.leg.uuid, now + wait_s)

    def withdraw(self, channel: Channel) -> None:
        """Forget the call of a channel at once: it turned out to be another one."""
        self._dismiss(channel)

    def hasten(self, channel: Channel, when: float) -> None:
        """Let a call that is over leave at ``when``."""
        uuid = channel.leg.uuid
        if channel.call_id is not None and uuid in self._farewells:
            self._farewells.set(uuid, when)

    def end(self, channel: Channel, now: float) -> None:
        """A channel ended, or was found to live on after all."""
        uuid = channel.leg.uuid
        if not channel.leg.over:
            self._farewells.cancel(uuid)
            self.watch(channel, now)
            return
        self._checks.cancel(uuid)
        if channel.call_id is None and not channel.beside:
            self._farewells.set(uuid, now + self.timing.retire_s)

    def _check(self, channel: Channel, now: float, out: Outcome) -> None:
        """A channel lives for long without an end, or hung up without one: flag its call, and have the switch asked."""
        call = self.calls[channel.call_id] if channel.call_id else None
        if call is None or not _unknown_to_the_switch(call):
            out.suspects.append(channel.leg.uuid)
        if call is not None and not call.over and now - channel.since >= self.timing.overlong_after_s:
            self.conclude(call, call if call.overlong else replace(call, overlong=True), now, out)
        self.watch(channel, now)

    def _dismiss(self, channel: Channel) -> None:
        """Forget a call some time after its end, and every channel that is of no use any longer."""
        if channel.call_id is not None:
            call = self.calls.pop(channel.call_id)
            channel.call_id = None
            self._holds.cancel(call.id)
            self._graces.cancel(call.id)
            if call.origination is not None:
                self._jobs.pop(call.origination.job_uuid, None)
            for peer in call.peers:
                beside = self.channels.get(peer.leg.uuid)
                if beside is not None:
                    beside.leave(call.id)
                    self._forget(beside)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        """Drop a channel unless a call needs it, or it lives on: others may yet be bridged to it or created for it."""
        if channel.call_id is not None or channel.beside:
            return
        uuid = channel.leg.uuid
        if channel.role is None or channel.leg.over or not channel.leg.created_us:
            del self.channels[uuid]
            self._checks.cancel(uuid)
            self._farewells.cancel(uuid)


def _unknown_to_the_switch(call: Call) -> bool:
    """Whether the switch cannot know the call's channel yet: it was not asked for, or the agent is being rung first."""
    o = call.origination
    if o is None or call.own.created_us:
        return False
    agent = call.peer(o.agent_leg) if o.agent_leg else None
    return not o.sent_us or (agent is not None and bool(agent.leg.created_us) and not agent.leg.over)
