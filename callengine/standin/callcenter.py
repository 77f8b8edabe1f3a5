"""Queues, as mod_callcenter shows them: a caller waits, an agent is rung, the two are bridged.

The agents are ``1001@default`` to ``1005@default``; each is rung through ``sofia/gateway/agents/…`` and serves every
queue. What is told are the ``callcenter::info`` events and the ``cc_*`` variables of the two legs.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakKeyDictionary

from callengine.standin import legs, sources
from callengine.standin.bridging import uuid_bridge
from callengine.standin.channels import Channel
from callengine.standin.clock import TICK_S, Script, Task
from callengine.standin.events import Block, Source
from callengine.standin.lifecycle import rest
from callengine.standin.originate import dial, release
from callengine.standin.switch import Switch

SUBCLASS = "callcenter::info"
_SYSTEM = "single_box"

_Finding: TypeAlias = Generator[float | None, bool, Channel | None]


@dataclass(slots=True)
class Centre:
    """The agents of a core and who waits: agents by name, with their state; members by queue."""

    core_uuid: str
    agents: dict[str, str] = field(default_factory=lambda: {f"{n}@default": "Waiting" for n in range(1001, 1006)})
    waiting: dict[str, list[Channel]] = field(default_factory=dict)


_centres: WeakKeyDictionary[Switch, Centre] = WeakKeyDictionary()


def centre_of(switch: Switch) -> Centre:
    centre = _centres.get(switch)
    if centre is None or centre.core_uuid != switch.core_uuid:
        centre = _centres[switch] = Centre(switch.core_uuid)
    return centre


def _info(switch: Switch, source: Source, block: Block, channel: Channel | None = None) -> None:
    if channel is None:
        switch.emit("CUSTOM", source, block, subclass=SUBCLASS)
    else:
        switch.channel_event(channel, "CUSTOM", source, trail=block, subclass=SUBCLASS)


def _count(switch: Switch, queue: str) -> None:
    members = centre_of(switch).waiting.get(queue, [])
    block = {"CC-Queue": queue, "CC-Action": "members-count", "CC-Count": str(len(members))}
    _info(switch, sources.CC_COUNT, {**block, "CC-Selection": "Single-Queue"})


def _agent_state(switch: Switch, agent: str, state: str) -> None:
    centre_of(switch).agents[agent] = state
    block = {"CC-Agent": agent, "CC-Action": "agent-state-change", "CC-Agent-State": state}
    _info(switch, sources.CC_AGENT, block)


def member(switch: Switch, channel: Channel, queue: str) -> Script:
    """A caller in the queue: it waits until an agent takes it or it hangs up."""
    joined = str(switch.clock.now_us() // 1_000_000)
    member_uuid = switch.new_uuid()
    channel.set_all(
        {"cc_side": "member", "cc_member_uuid": member_uuid, "cc_queue_joined_epoch": joined, "cc_queue": queue}
    )
    identity = _identity(channel, member_uuid)
    centre_of(switch).waiting.setdefault(queue, []).append(channel)
    lead = {"CC-Queue": queue, "CC-Action": "member-queue-start"}
    _info(switch, sources.CC_MEMBER, {**lead, **identity}, channel)
    _count(switch, queue)
    channel.held_by_originate = True  # the queue still has to tell its end before the channel is destroyed
    service = _Service(switch, channel, queue, joined, identity)
    service.task = Task(switch.clock, service.run())
    switch.background.add(service.task)
    while channel.is_free():
        yield from rest(switch, channel, None)
    service.task.poke()
    channel.set("cc_cause", "answered" if not channel.hung_up else "cancel")


def _identity(channel: Channel, member_uuid: str) -> dict[str, str]:
    return {
        "CC-Member-UUID": member_uuid,
        "CC-Member-Session-UUID": channel.uuid,
        "CC-Member-CID-Name": channel.profile.caller_id_name,
        "CC-Member-CID-Number": channel.profile.caller_id_number,
    }


@dataclass(slots=True)
class _Service:
    """The queue's work for one caller: find an agent, ring it, bridge, and tell how it ended."""

    switch: Switch
    caller: Channel
    queue: str
    joined: str
    identity: dict[str, str]
    task: Task | None = None
    agent: str = ""
    agent_times: dict[str, str] = field(default_factory=dict)

    def run(self) -> Script:
        switch, caller = self.switch, self.caller
        try:
            leg = yield from self._find_agent()
            if leg is None:
                self._cancelled()
            else:
                yield from self._talk(leg)
        finally:
            if caller in centre_of(switch).waiting.get(self.queue, []):
                centre_of(switch).waiting[self.queue].remove(caller)
            release([caller])
            if self.task is not None:
                switch.background.discard(self.task)

    def _find_agent(self) -> _Finding:
        """Ring one agent after another; ``None`` once the caller is gone."""
        switch, caller = self.switch, self.caller
        yield switch.clock.life(switch.own_rng().uniform(0.5, 2.0))
        while not caller.hung_up:
            free = sorted(agent for agent, state in centre_of(switch).agents.items() if state == "Waiting")
            if not free:
                yield switch.clock.life(1.0)
                continue
            self.agent = switch.rng.choice(free)
            leg = yield from self._ring()
            if leg is not None:
                return leg
            _agent_state(switch, self.agent, "Waiting")
            yield switch.clock.life(2.0)
        return None

    def _ring(self) -> _Finding:
        switch = self.switch
        if self.task is None:
            return None
        _agent_state(switch, self.agent, "Receiving")
        offer = {
            "CC-Queue": self.queue,
            "CC-Action": "agent-offering",
            "CC-Agent": self.agent,
            "CC-Agent-Type": "callback",
            "CC-Agent-System": _SYSTEM,
        }
        _info(switch, sources.CC_OFFER, {**offer, **self.identity})
        self.agent_times = {"CC-Agent-Called-Time": str(switch.clock.now_us() // 1_000_000)}
        outcome = yield from dial(switch, self.task, self._dial_string(), timeout_s=10, extra=self._agent_variables())
        leg = outcome.winner
        if leg is not None and not self.caller.is_free():
            legs.hangup(switch, leg, "ORIGINATOR_CANCEL")
            leg = None
        if leg is None:
            release(outcome.legs)
        return leg

    def _dial_string(self) -> str:
        return f"[leg_timeout=10]sofia/gateway/agents/{self.agent.partition('@')[0]}"

    def _agent_variables(self) -> dict[str, str]:
        caller = self.caller
        return {
            "cc_queue": self.queue,
            "cc_queue_joined_epoch": self.joined,
            "cc_member_uuid": self.identity["CC-Member-UUID"],
            "cc_member_session_uuid": caller.uuid,
            "cc_member_pre_answer_uuid": self.identity["CC-Member-UUID"],
            "cc_agent": self.agent,
            "cc_agent_type": "callback",
            "cc_side": "agent",
            "loopback_bowout": "false",
            "loopback_bowout_on_execute": "false",
            "ignore_early_media": "true",
            "origination_caller_id_name": caller.profile.caller_id_name,
            "origination_caller_id_number": caller.profile.caller_id_number,
        }

    def _shared(self, leg: Channel) -> dict[str, str]:
        return {
            "CC-Agent": self.agent,
            "CC-Agent-System": _SYSTEM,
            "CC-Agent-UUID": leg.uuid,
            **self.agent_times,
            "CC-Member-Joined-Time": self.joined,
        }

    def _talk(self, leg: Channel) -> Script:
        switch, caller = self.switch, self.caller
        answered = str(switch.clock.now_us() // 1_000_000)
        self.agent_times["CC-Agent-Answered-Time"] = answered
        leg.unset("cc_member_pre_answer_uuid")
        start = {"CC-Queue": self.queue, "CC-Action": "bridge-agent-start", **self._shared(leg), **self.identity}
        _info(switch, sources.CC_BRIDGE, start, leg)
        caller.set("cc_agent_uuid", leg.uuid)
        uuid_bridge(switch, caller, leg)
        _count(switch, self.queue)
        centre_of(switch).waiting[self.queue].remove(caller)
        while not (caller.profile.times.bridged or caller.hung_up or leg.hung_up):
            yield TICK_S
        _agent_state(switch, self.agent, "In a queue call")
        for each in (caller, leg):
            each.set("cc_agent_bridged", "true")
        caller.set_all({"cc_agent": self.agent, "cc_queue_answered_epoch": answered})
        while caller.running_state != "CS_REPORTING" or leg.running_state != "CS_REPORTING":
            yield 2 * TICK_S
            if caller.destroyed and leg.destroyed:
                break
        self._told(leg)
        release([leg])

    def _told(self, leg: Channel) -> None:
        switch, caller = self.switch, self.caller
        now = str(switch.clock.now_us() // 1_000_000)
        shared = self._shared(leg)
        end = {"CC-Queue": self.queue, "CC-Action": "bridge-agent-end", "CC-Hangup-Cause": "SUCCESS", **shared}
        end = {**end, "CC-Agent-Bridged": "true", "CC-Bridge-Terminated-Time": now, **self.identity}
        _info(switch, sources.CC_BRIDGE_END, end, leg)
        caller.set("cc_queue_terminated_epoch", now)
        out = {"CC-Queue": self.queue, "CC-Action": "member-queue-end", "CC-Hangup-Cause": "SUCCESS"}
        out = {**out, "CC-Cause": "Terminated", **shared, "CC-Member-Leaving-Time": now, **self.identity}
        _info(switch, sources.CC_MEMBER_END, out, caller)
        _agent_state(switch, self.agent, "Waiting")

    def _cancelled(self) -> None:
        """The caller gave up, or went elsewhere."""
        switch, caller = self.switch, self.caller
        now = str(switch.clock.now_us() // 1_000_000)
        caller.set_all({"cc_queue_canceled_epoch": now, "cc_cause": "cancel", "cc_cancel_reason": "BREAK_OUT"})
        block = {
            "CC-Queue": self.queue,
            "CC-Action": "member-queue-end",
            "CC-Member-Leaving-Time": now,
            "CC-Member-Joined-Time": self.joined,
            "CC-Cause": "Cancel",
            "CC-Cancel-Reason": "BREAK_OUT",
            **self.identity,
        }
        if caller in centre_of(switch).waiting.get(self.queue, []):
            centre_of(switch).waiting[self.queue].remove(caller)
        _info(switch, sources.CC_MEMBER_END, block, caller)
        _count(switch, self.queue)
