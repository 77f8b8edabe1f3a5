"""Sends each originate once, at the pace that the configuration sets, and finds out what became of those in doubt.

A call is committed before it is in line and in line before it is sent. What went wrong while it was sent is never
repaired by sending it again: once the connection is back the switch is asked for the channel by its UUID, twice, and a
call that it does not know has failed. A slot belongs to its call and comes back when that is over, whatever ended it.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gevent.event import Event

from callengine.about import about
from callengine.calls.call import Call
from callengine.calls.facts import OriginateAbandoned, OriginateSent
from callengine.config.settings import Settings
from callengine.errors import CommandRefused, EslError, QueueFull, SwitchUnavailable
from callengine.esl import commands
from callengine.originate.pacing import Limits, Pacer, Waiting
from callengine.originate.ports import Counts, Switchboard
from callengine.originate.request import Plan
from callengine.spans import Record, Span

log = logging.getLogger(__name__)

COMMIT_TIMEOUT_S = 10.0
QUERY_TIMEOUT_S = 5.0
# A channel is created some milliseconds after the switch took the command; this is for a switch that is much behind.
ASK_AGAIN_S = 2.0
ASK_LATER_S = 30.0
# What the switch may take on top of the ring timeouts before a call without a channel is looked into.
_PATIENCE_S = 30.0
_SHORTEST_PAUSE_S = 0.005
_IDLE_S = 0.5
_NOTHING = ""


@dataclass(slots=True)
class _Admission:
    """A call that is being committed."""

    cancelled: bool = False


@dataclass(slots=True)
class _Doubt:
    """A call that may or may not be on the switch: when to ask, and why it failed if it is not there."""

    due: float
    reason: str
    denials: int = 0


class Originator:
    """One a switch. ``run`` is to be supervised, and may be started again after it died."""

    def __init__(self, board: Switchboard, settings: Settings, metrics: Counts) -> None:
        self._set = settings.originate
        self._board = board
        self._metrics = metrics
        self._pacer: Pacer[Plan] = Pacer(*self._limits(), queue_max=self._set.queue_max)
        self._admitting: dict[str, _Admission] = {}
        self._doubts: dict[str, _Doubt] = {}
        self._agenda: list[tuple[float, str]] = []
        self._ours: set[str] = set()
        self._wake = Event()
        self._closed = False
        self.listeners: list[Callable[[Call], None]] = []
        """Called with every call that is over. Must not wait."""
        self.on_span: Record | None = None
        metrics.gauge("callengine_originate_queued", "Calls that wait to be sent.", lambda: float(self.queued))
        metrics.gauge("callengine_originate_in_flight", "Slots that are taken.", lambda: float(self.in_flight))
        metrics.gauge(
            "callengine_originate_in_doubt", "Calls that the switch may not have.", lambda: float(self.in_doubt)
        )

    @property
    def queued(self) -> int:
        """Calls that wait to be sent, also those that are being committed."""
        return self._pacer.queued

    @property
    def in_flight(self) -> int:
        """Slots that are taken: calls that were sent and are not over."""
        return self._pacer.in_flight

    @property
    def in_doubt(self) -> int:
        """Calls of which it is open whether the switch has them."""
        return sum(1 for doubt in self._doubts.values() if doubt.reason)

    # -- a new call -----------------------------------------------------------------------------------------------

    def submit(self, tenant_id: str, plan: Plan, commit: Callable[[Call], object] | None = None) -> str:
        """Accept a call: it is in the book, then committed, then in line. Returns its id.

        ``commit`` returns once everything that was changed before is committed; default: the writer's flush. Raises
        QueueFull and SwitchUnavailable, then there is no call; and what ``commit`` raises, then the call has failed.
        """
        if self._closed or not self._board.opened or not self._board.link.ready:
            raise SwitchUnavailable
        try:
            self._pacer.reserve()
        except QueueFull:
            self._metrics.originated("queue_full")
            raise
        call_id = plan.call_id
        admission = self._admitting[call_id] = _Admission()
        entered = False
        try:
            self._board.take(plan.queued(tenant_id, self._board.now_us()))
            if commit is None:
                self._board.writer.flush(COMMIT_TIMEOUT_S)
            else:
                commit(self._board.book.calls[call_id])
            entered = not (admission.cancelled or self._closed)
        finally:
            del self._admitting[call_id]
            if entered:
                deadline = self._board.monotonic() + self._set.queue_timeout_s
                self._pacer.enter(call_id, plan.gateway, deadline, plan)
            else:
                self._pacer.give_up()
                self._turn_away(call_id, admission)
        self._wake.set()
        return call_id

    def _turn_away(self, call_id: str, admission: _Admission) -> None:
        if admission.cancelled:
            self._metrics.originated("cancelled")
            self._abandon(call_id, "cancelled")
        else:
            self._abandon(call_id, "engine_stopped" if self._closed else "not_committed")

    def waits(self, call_id: str) -> bool:
        """Whether the call was accepted and not sent yet."""
        return call_id in self._pacer or call_id in self._admitting

    def cancel(self, call_id: str) -> bool:
        """Take a call back that was not sent yet; False where it is too late, or there is none."""
        if call_id in self._admitting:
            self._admitting[call_id].cancelled = True
            return True
        if not self._pacer.leave(call_id):
            return False
        self._metrics.originated("cancelled")
        self._abandon(call_id, "cancelled")
        return True

    def count_extra(self) -> None:
        """Another channel was originated, for call control; it counts for the rate."""
        self._pacer.spend(self._board.monotonic())

    # -- what the engine tells ------------------------------------------------------------------------------------

    def on_over(self, call: Call) -> None:
        """A call is over: its slot comes back. May be told of any call, and more than once."""
        if call.origination is not None:
            self._pacer.leave(call.id)
            held = self._pacer.release(call.id)
            self._doubts.pop(call.id, None)
            self._ours.discard(call.id)
            if held and call.origination.refused and not call.own.created_us:
                self._metrics.originated("refused")
            self._wake.set()
        for listener in self.listeners:
            listener(call)

    def recover(self, calls: Iterable[Call]) -> None:
        """After every connect: ``calls`` of ours that have no channel are asked of the switch; none is sent again."""
        now = self._board.monotonic()
        for call in calls:
            if call.origination is None or self.waits(call.id):
                continue
            reason = "outcome_unknown" if call.id in self._ours else "engine_restarted"
            known = self._doubts.get(call.id)
            doubt = self._doubts[call.id] = _Doubt(now, known.reason if known and known.reason else reason)
            self._ask_at(call.id, doubt, now)
        for call in self._board.book.live():
            if call.origination is not None and not self.waits(call.id):
                self._pacer.occupy(call.id, call.origination.gateway or _NOTHING)
        self._wake.set()

    def _limits(self) -> tuple[Limits, dict[str, Limits]]:
        of_gateways = {name: Limits(g.max_per_second, g.max_concurrent) for name, g in self._set.gateways.items()}
        return Limits(self._set.max_per_second, self._set.max_concurrent), of_gateways

    def reconfigure(self) -> None:
        """The settings were changed: limits hold for what is sent from now on, the timeout also for who waits."""
        self._pacer.reconfigure(*self._limits(), queue_max=self._set.queue_max)
        self._pacer.cut(self._board.monotonic() + self._set.queue_timeout_s)
        self._wake.set()

    def close(self) -> None:
        """Accept and send nothing more; what still waits has failed."""
        self._closed = True
        for call_id in self._pacer.everybody():
            self._pacer.leave(call_id)
            self._abandon(call_id, "engine_stopped")
        self._wake.set()

    # -- the worker -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send what may be sent, until killed."""
        while True:
            self._wake.clear()
            if not self.turn():
                self._wake.wait(self._pause_s())

    def run_sender(self) -> None:
        """Send what may be sent, until killed. Several may run beside `run`: the switch takes a tick for each reply."""
        while True:
            self._wake.clear()
            if not self._send_next():
                self._wake.wait(self._pause_s())

    def turn(self) -> bool:
        """One round: turn away who waited too long, ask for who is in doubt, send one. Whether one was sent."""
        self._expire()
        self._settle_doubts()
        return self._send_next()

    def _pause_s(self) -> float:
        waits = [_IDLE_S]
        if self._may_send and (wait := self._pacer.wait_s(self._board.monotonic())) is not None:
            waits.append(wait)
        return max(_SHORTEST_PAUSE_S, min(waits))

    def _expire(self) -> None:
        unreachable = not self._board.ready
        for entry in self._pacer.overdue(self._board.monotonic()):
            self._metrics.originated("unreachable" if unreachable else "queue_timeout")
            self._abandon(entry.call_id, "switch_unreachable" if unreachable else "queue_timeout")

    @property
    def _may_send(self) -> bool:
        # Who took the switch over while we stood still, and who asks it, has told that these calls failed.
        return not self._closed and self._board.ready and self._board.holds

    def _send_next(self) -> bool:
        """Send one call if one may be sent now; whether it was tried."""
        if not self._may_send:
            return False
        entry = self._pacer.next(self._board.monotonic())
        if entry is None:
            return False
        with about(entry.call_id):
            self._send(entry)
        return True

    def _send(self, entry: Waiting[Plan]) -> None:
        """Ask the switch, exactly once. From here on only the end of the call gives the slot back."""
        call_id, plan = entry.call_id, entry.payload
        self._ours.add(call_id)
        # Not due while the reply may still come: who asks meanwhile would hear of no channel, and be right too early.
        doubt = self._doubts[call_id] = _Doubt(math.inf, "switch_unreachable")
        at_us, result = self._board.now_us(), "in_doubt"
        try:
            self._board.link.bgapi(plan.command, plan.job_uuid)
        except CommandRefused as error:
            log.error("the switch refused to originate %s: %s", call_id, error)
            result = "refused"
            self._metrics.originated("refused")
            self._abandon(call_id, "switch_refused")
        except EslError as error:
            # It may have been taken all the same. Whatever else is raised here, a kill too, leaves the same doubt.
            log.warning("it is open whether the switch took %s: %s", call_id, error)
        else:
            result = "sent"
            self._metrics.originated("sent")
            self._board.take(OriginateSent(uuid=plan.call_id, at_us=at_us))
            doubt.reason = _NOTHING
        finally:
            patience_s = 0.0 if doubt.reason else plan.ring_limit_s + _PATIENCE_S
            self._ask_at(call_id, doubt, self._board.monotonic() + patience_s)
            self._trace(entry, at_us, result)

    def _trace(self, entry: Waiting[Plan], at_us: int, result: str) -> None:
        if self.on_span is not None:
            told = {"callengine.gateway": entry.gateway or _NOTHING, "callengine.result": result}
            error = None if result == "sent" else result
            self.on_span(Span("originate", at_us, self._board.now_us(), entry.call_id, told, error=error))

    # -- calls in doubt -------------------------------------------------------------------------------------------

    def _settle_doubts(self) -> None:
        if not self._doubts or not self._board.ready:
            return
        now = self._board.monotonic()
        while self._agenda and self._agenda[0][0] <= now:
            due, call_id = heapq.heappop(self._agenda)
            call = self._board.book.calls.get(call_id)
            doubt = self._doubts.get(call_id)
            if doubt is None or doubt.due != due:
                continue
            if call is None or call.over or call.own.created_us:
                del self._doubts[call_id]
                continue
            # Before the question: whoever is killed while it waits for the answer must not lose sight of the call.
            self._ask_at(call_id, doubt, now + ASK_AGAIN_S)
            try:
                known = self._switch_knows(call)
            except EslError as error:
                log.warning("the switch could not be asked for %s: %s", call_id, error, extra={"call_id": call_id})
                return
            self._judge(call, doubt, known)

    def _ask_at(self, call_id: str, doubt: _Doubt, due: float) -> None:
        doubt.due = due
        heapq.heappush(self._agenda, (due, call_id))

    def _switch_knows(self, call: Call) -> bool:
        agent_leg = call.origination.agent_leg if call.origination else None
        return any(
            self._board.link.api(commands.uuid_exists(uuid), timeout_s=QUERY_TIMEOUT_S).strip() == "true"
            for uuid in (call.own.uuid, agent_leg)
            if uuid is not None
        )

    def _judge(self, call: Call, doubt: _Doubt, known: bool) -> None:
        if known:
            doubt.denials = 0
            self._ask_at(call.id, doubt, self._board.monotonic() + ASK_LATER_S)
            return
        doubt.denials += 1
        current = self._board.book.calls.get(call.id)
        if doubt.denials < 2 or current is None or current.over or current.own.created_us:
            return
        reason = doubt.reason or "outcome_unknown"
        log.warning("the switch does not know call %s: %s", call.id, reason, extra={"call_id": call.id})
        self._metrics.originated("unreachable")
        self._abandon(call.id, reason)

    def _abandon(self, call_id: str, reason: str) -> None:
        call = self._board.book.calls.get(call_id)
        if call is None:
            return
        self._board.take(OriginateAbandoned(uuid=call.own.uuid, at_us=self._board.now_us(), reason=reason))
        still = self._board.book.calls.get(call_id)
        if still is not None and not still.over:
            # The channel came at the last moment: the call goes on, and ends by itself.
            log.info("call %s is on the switch after all", call_id, extra={"call_id": call_id})
