"""Call control: what the API and the command line ask of calls, checked against the book before the switch is asked.

Asking again for what is done already changes nothing. Implements ``api.services.Control``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from gevent.pool import Group

from callengine.calls.call import Call
from callengine.calls.record import CallRecord, record_of
from callengine.config.settings import Settings
from callengine.errors import CallOver, CommandRefused, EslError, NotAllowed, SwitchUnavailable, WrongState
from callengine.esl import commands
from callengine.esl.commands import Application
from callengine.originate import recording, view
from callengine.originate.ids import new_uuid
from callengine.originate.keys import Claims
from callengine.originate.orders import COMMAND_TIMEOUT_S, Desk, Orders, Ring
from callengine.originate.originator import COMMIT_TIMEOUT_S, Originator
from callengine.originate.ports import CallReader, RequestKey, Switchboard
from callengine.originate.recorder import Counts, Recorder
from callengine.originate.request import Planner
from callengine.originate.rulebook import Rulebook

log = logging.getLogger(__name__)

# How long a hangup waits for a channel that was asked for a moment ago and is not there yet.
_CHANNEL_WAIT_S: Final = 2.0
_CHANNEL_POLL_S: Final = 0.1
# The same transfer again within this time is the same order, said twice.
_SAME_ORDER_S: Final = 5.0
_ORIGINATE_WAIT_S: Final = 1.0
_ORIGINATE_POLL_S: Final = 0.01
_RING_PATIENCE_S: Final = 10.0
# The channel of an agent who is rung since a moment ago may not be there yet.
_CANCEL_TRIES: Final = 4
_CANCEL_AGAIN_S: Final = 0.5


class Control:
    """One an engine. All methods wait, within bounds, and may be called from many greenlets at once."""

    def __init__(
        self,
        board: Switchboard,
        originator: Originator,
        settings: Settings,
        reads: CallReader,
        *,
        claims: Claims | None = None,
        rulebook: Rulebook | None = None,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._board = board
        self._originator = originator
        self._planner = Planner(settings)
        self._set = settings.originate
        self._claims = claims or Claims(board)
        self._rulebook = rulebook
        self._orders = Orders(board, reads)
        self._sleep = sleep
        self._cleaners = Group()
        originator.listeners.append(self._on_over)

    def recorder(self, metrics: Counts) -> Recorder:
        """Who records calls of others by rule, over the same orders; there have to be rules."""
        assert self._rulebook is not None
        return Recorder(self._orders, self._planner, self._rulebook, metrics)

    # -- a new call -----------------------------------------------------------------------------------------------

    def originate(
        self, tenant_id: str, request: Mapping[str, Any], idempotency: RequestKey | None = None
    ) -> CallRecord:
        """Place a call. The same key with the same fingerprint returns what it returned the first time."""
        if idempotency is None:
            return self._submit(tenant_id, request, None)
        earlier = self._claims.claim(tenant_id, idempotency)
        if earlier is not None:
            return earlier
        try:
            return self._submit(tenant_id, request, idempotency)
        except BaseException:
            self._claims.drop(tenant_id, idempotency)
            raise
        finally:
            self._claims.release(tenant_id, idempotency)

    def _submit(self, tenant_id: str, request: Mapping[str, Any], key: RequestKey | None) -> CallRecord:
        plan = self._planner.plan(request, self._board.now_us(), self._rule(tenant_id, request))
        answer: list[CallRecord] = []

        def commit(call: Call) -> None:
            record = record_of(call)
            answer.append(record)
            if key is None:
                self._board.writer.flush(COMMIT_TIMEOUT_S)
            else:
                self._claims.settle(tenant_id, key, record)

        self._originator.submit(tenant_id, plan, commit)
        return answer[0]

    def _rule(self, tenant_id: str, request: Mapping[str, Any]) -> str | None:
        """Which calls the campaign or the tenant has recorded; what the request says of it goes first."""
        if self._rulebook is None or request.get("record") is not None:
            return None
        self._rulebook.refresh()
        return self._rulebook.of(tenant_id, request.get("campaign_id"))

    # -- the end of one -------------------------------------------------------------------------------------------

    def hangup(self, tenant_id: str, call_id: str, cause: str | None = None) -> CallRecord:
        """End a call; one that waits to be sent is cancelled, one that is over stays as it is."""
        call = self._orders.find(tenant_id, call_id)
        if isinstance(call, CallRecord):
            return call
        if not (call.over or call.own.hung_up_at_us or self._originator.cancel(call_id)):
            with self._orders.turn(call_id):
                self._kill(call_id, cause)
        return self._orders.committed(tenant_id, call_id)

    def _kill(self, call_id: str, cause: str | None) -> None:
        until = self._board.monotonic() + _CHANNEL_WAIT_S
        while True:
            call = self._board.book.calls.get(call_id)
            if call is None or call.over or call.own.hung_up_at_us:
                return
            chosen = view.hangup_cause(call) if cause is None else cause
            for uuid in view.hangup_targets(call):
                if self._orders.ask(call, "hangup", commands.uuid_kill(uuid, chosen), chosen):
                    return
            if self._board.monotonic() >= until:
                # The switch has no such channel, and its events or the reconciliation say so before long.
                return
            self._sleep(_CHANNEL_POLL_S)

    # -- where it goes --------------------------------------------------------------------------------------------

    def bridge(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        """Connect to an agent, who is rung for it, or to another live call of the tenant."""
        match target.get("type"):
            case "agent":
                self._bridge_agent(tenant_id, call_id, target)
            case "call":
                self._bridge_call(tenant_id, call_id, str(target["call_id"]).lower())
            case _:
                raise NotAllowed("to.type")
        return self._orders.committed(tenant_id, call_id)

    def _bridge_agent(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> None:
        if not self._set.enabled:
            raise NotAllowed("to", "no calls may be placed: originate.enabled is false")
        agent = self._planner.agent("to", target)
        with self._orders.order(tenant_id, call_id) as (call, desk):
            view.require_answered(call, "bridge")
            self._await_originate(call)
            if self._has_agent(call, desk, agent.agent_id):
                return
            self._stop_ringing(desk)
            leg = new_uuid(self._board.now_us())
            variables = self._planner.agent_leg(agent, view.far_number(call)) | {"origination_uuid": leg}
            # The agent's phone answers, then takes the call from wherever it is: until then nothing changes for it.
            then = Application("intercept", call.own.uuid)
            command = commands.originate(variables, agent.dial_string, then, field="to.agents")
            desk.ring = Ring(leg, agent.agent_id, self._board.monotonic() + self._set.ring_timeout_s + _RING_PATIENCE_S)
            self._originator.count_extra()
            try:
                self._orders.begin(call, "bridge", command, f"agent {agent.agent_id}")
            except (SwitchUnavailable, CommandRefused):
                desk.ring = None
                raise

    def _bridge_call(self, tenant_id: str, call_id: str, other_id: str) -> None:
        self._orders.live(tenant_id, call_id)
        if call_id == other_id:
            raise NotAllowed("to.call_id", "must be another call")
        other = self._orders.live(tenant_id, other_id)
        with self._orders.order(tenant_id, call_id) as (call, _):
            view.require_answered(call, "bridge")
            view.require_answered(other, "bridge")
            self._await_originate(call)
            self._await_originate(other)
            peer = view.connected_to(call)
            if peer is not None and peer.leg.uuid == other.own.uuid:
                return
            command = commands.uuid_bridge(call.own.uuid, other.own.uuid)
            if not self._orders.ask(call, "bridge", command, f"call {other.id}"):
                raise WrongState("bridge", "on the switch still, as is the other one")
            self._orders.note(other, "bridge", f"call {call.id}")

    def transfer(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        """Send the call's channel to an extension, a queue, an application or to park; whom it was with is let go."""
        with self._orders.order(tenant_id, call_id) as (call, desk):
            command, where = self._way(call, target)
            view.require_answered(call, "transfer")
            self._await_originate(call)
            now = self._board.monotonic()
            if desk.order != where or now - desk.ordered_at >= _SAME_ORDER_S:
                self._stop_ringing(desk)
                if not self._orders.ask(call, "transfer", command, where):
                    raise CallOver
                desk.order, desk.ordered_at = where, now
        return self._orders.committed(tenant_id, call_id)

    def _await_originate(self, call: Call) -> None:
        """Between the answer and the end of the originate it is the originate that says where the call goes next.

        The job tells that end, a tick of the switch after the answer; what is ordered before it may come undone.
        """
        until = self._board.monotonic() + _ORIGINATE_WAIT_S
        while view.is_being_originated(self._board.book.calls.get(call.id)) and self._board.monotonic() < until:
            self._sleep(_ORIGINATE_POLL_S)

    def _way(self, call: Call, target: Mapping[str, Any]) -> tuple[str, str]:
        """The command that sends the call there, and where that is, in words."""
        uuid, kind = call.own.uuid, str(target.get("type"))
        if kind == "extension":
            extension = self._planner.extension("to.extension", target)
            return commands.uuid_transfer(uuid, extension), f"extension {extension.number}"
        application = self._planner.application("to", target)
        if kind == "park":
            return commands.uuid_park(uuid), "park"
        return commands.uuid_execute(uuid, application), f"{kind} {target[kind]}"

    # -- agents that are rung -------------------------------------------------------------------------------------

    def _has_agent(self, call: Call, desk: Desk, agent_id: str) -> bool:
        peer = view.connected_to(call)
        if peer is not None and peer.leg.leg_agent == agent_id:
            return True
        return desk.ring is not None and desk.ring.agent_id == agent_id and self._rings(desk.ring)

    def _rings(self, ring: Ring) -> bool:
        leg = self._board.book.leg(ring.leg)
        return self._board.monotonic() < ring.until and not (leg is not None and (leg.over or leg.answered_us))

    def _stop_ringing(self, desk: Desk) -> None:
        """An agent who is rung for a call that is gone, or that goes elsewhere, need not pick up."""
        ring, desk.ring = desk.ring, None
        if ring is not None and self._rings(ring):
            self._cleaners.spawn(self._cancel_leg, ring.leg)

    def _cancel_leg(self, uuid: str) -> None:
        command = commands.uuid_kill(uuid, "ORIGINATOR_CANCEL")
        try:
            for _ in range(_CANCEL_TRIES):
                if self._board.link.api(command, timeout_s=COMMAND_TIMEOUT_S).startswith("+OK"):
                    return
                self._sleep(_CANCEL_AGAIN_S)
        except EslError as error:
            log.warning("the ringing agent %s was not let go: %s", uuid, error)

    def _on_over(self, call: Call) -> None:
        desk = self._orders.forget(call.id)
        if desk is not None:
            self._stop_ringing(desk)

    # -- hold, digits, recording ----------------------------------------------------------------------------------

    def hold(self, tenant_id: str, call_id: str) -> CallRecord:
        """Put the call's far end on hold."""
        return self._hold(tenant_id, call_id, held=True)

    def unhold(self, tenant_id: str, call_id: str) -> CallRecord:
        """Take it off hold."""
        return self._hold(tenant_id, call_id, held=False)

    def _hold(self, tenant_id: str, call_id: str, *, held: bool) -> CallRecord:
        verb = "hold" if held else "unhold"
        with self._orders.order(tenant_id, call_id) as (call, _):
            view.require_answered(call, verb)
            uuid = call.own.uuid
            done = self._orders.ask(call, verb, commands.uuid_hold(uuid) if held else commands.uuid_unhold(uuid))
            # The switch refuses to hold what is held, in the words with which it refuses everything.
            if not done and commands.is_held(self._orders.api(commands.uuid_dump(uuid))) is not held:
                raise WrongState(verb, "one that can be held")
        return self._orders.committed(tenant_id, call_id)

    def dtmf(self, tenant_id: str, call_id: str, digits: str, duration_ms: int | None = None) -> CallRecord:
        """Send digits to the call's far end. Which ones is not kept: they may be a card's number or a PIN."""
        with self._orders.order(tenant_id, call_id) as (call, _):
            view.require_answered(call, "dtmf")
            command = commands.uuid_send_dtmf(call.own.uuid, digits, duration_ms)
            if not self._orders.ask(call, "dtmf", command, f"{len(digits)} digits"):
                raise CallOver
        return self._orders.committed(tenant_id, call_id)

    def recording(self, tenant_id: str, call_id: str, action: str) -> CallRecord:
        """``start``, ``stop``, ``pause`` (silence is written while it lasts) or ``resume``."""
        with self._orders.order(tenant_id, call_id) as (call, desk):
            view.require_answered(call, "recording")
            recording.act(self._orders, self._planner, call, desk, action)
        return self._orders.committed(tenant_id, call_id)
