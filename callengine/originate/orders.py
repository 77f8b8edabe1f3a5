"""How an order to a call is carried out: its tenant is checked, one order is done at a time, each leaves a trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gevent.lock import BoundedSemaphore

from callengine.calls.call import Call
from callengine.calls.facts import CommandIssued
from callengine.calls.record import CallRecord
from callengine.errors import CallOver, CommandTimedOut, EslDisconnected, NoSuchCall, SwitchUnavailable
from callengine.originate.ids import new_uuid
from callengine.originate.originator import COMMIT_TIMEOUT_S
from callengine.originate.ports import CallReader, Switchboard

log = logging.getLogger(__name__)

COMMAND_TIMEOUT_S: Final = 5.0
_SHOWN_CHARS: Final = 100
_MAX_DESKS: Final = 1000


@dataclass(slots=True)
class Ring:
    """An agent who is being rung for a call, until then at most (our monotonic clock)."""

    leg: str
    agent_id: str
    until: float


@dataclass(slots=True)
class Desk:
    """What is remembered of one call while it lasts."""

    turn: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    order: str = ""
    ordered_at: float = 0.0
    ring: Ring | None = None
    recording: str | None = None
    recordings: int = 0
    masked: bool | None = None


class Orders:
    """The calls of one engine, as orders see them."""

    def __init__(self, board: Switchboard, reads: CallReader) -> None:
        self.board = board
        self._reads = reads
        self._desks: dict[str, Desk] = {}

    # -- which call -----------------------------------------------------------------------------------------------

    def find(self, tenant_id: str, call_id: str) -> Call | CallRecord:
        """The call in the book, or the record of one that has left it.

        Raises NoSuchCall, also for another tenant's, and SwitchUnavailable for a live one that is not in this book.
        """
        call = self.board.book.calls.get(call_id)
        if call is not None:
            if call.tenant_id != tenant_id or call.held:
                raise NoSuchCall
            return call
        record = self._reads.call(tenant_id, call_id)
        if record is None:
            raise NoSuchCall
        if record.live:
            # Another engine's, or one that this engine has not loaded yet.
            raise SwitchUnavailable
        return record

    def live(self, tenant_id: str, call_id: str) -> Call:
        """The call, if it is not over."""
        call = self.find(tenant_id, call_id)
        if isinstance(call, CallRecord) or call.over:
            raise CallOver
        return call

    @contextmanager
    def order(self, tenant_id: str, call_id: str) -> Iterator[tuple[Call, Desk]]:
        """The call as it is once it is this order's turn, and what is remembered of it."""
        self.live(tenant_id, call_id)
        with self.turn(call_id) as desk:
            yield self.live(tenant_id, call_id), desk

    @contextmanager
    def turn(self, call_id: str) -> Iterator[Desk]:
        """One order at a time for a call."""
        if not self.board.link.ready:
            raise SwitchUnavailable
        desk = self._desks.get(call_id)
        if desk is None:
            self._tidy()
            desk = self._desks[call_id] = Desk()
        if not desk.turn.acquire(timeout=COMMAND_TIMEOUT_S):
            raise CommandTimedOut("order", COMMAND_TIMEOUT_S)
        try:
            yield desk
        finally:
            desk.turn.release()
            call = self.board.book.calls.get(call_id)
            if call is None or call.over:
                self._desks.pop(call_id, None)

    def forget(self, call_id: str) -> Desk | None:
        """The call is over: what was remembered of it, for the last time."""
        return self._desks.pop(call_id, None)

    def _tidy(self) -> None:
        """Nobody told of the end of these: forget them before there are many."""
        calls = self.board.book.calls
        if len(self._desks) >= _MAX_DESKS + len(calls):
            self._desks = {call_id: desk for call_id, desk in self._desks.items() if call_id in calls}

    # -- what is asked of the switch ------------------------------------------------------------------------------

    def ask(self, call: Call, word: str, command: str, detail: str | None = None) -> bool:
        """Whether the switch did it. What was done, or may have been, stands in the timeline as ``word``."""
        try:
            reply = self.api(command)
        except CommandTimedOut:
            self.note(call, word, "no reply" if detail is None else f"{detail}, no reply")
            raise
        if not reply.startswith("+OK"):
            shown = ascii(reply.strip()[:_SHOWN_CHARS])
            log.info("%s of call %s: %s", word, call.id, shown, extra={"call_id": call.id})
            return False
        self.note(call, word, detail)
        return True

    def api(self, command: str) -> str:
        """What the switch answers; raises SwitchUnavailable without a connection, CommandTimedOut."""
        try:
            return self.board.link.api(command, timeout_s=COMMAND_TIMEOUT_S)
        except EslDisconnected:
            raise SwitchUnavailable from None

    def begin(self, call: Call, word: str, command: str, detail: str) -> None:
        """Have the switch begin something that takes its time; likewise."""
        try:
            self.board.link.bgapi(command, new_uuid(self.board.now_us()), timeout_s=COMMAND_TIMEOUT_S)
        except EslDisconnected:
            raise SwitchUnavailable from None
        except CommandTimedOut:
            self.note(call, word, f"{detail}, no reply")
            raise
        self.note(call, word, detail)

    def note(self, call: Call, word: str, detail: str | None = None) -> None:
        """Put an order into the call's timeline."""
        self.board.take(CommandIssued(uuid=call.own.uuid, at_us=self.board.now_us(), command=word, detail=detail))

    def committed(self, tenant_id: str, call_id: str) -> CallRecord:
        """The call as the store has it, with all that was changed until now."""
        self.board.writer.flush(COMMIT_TIMEOUT_S)
        record = self._reads.call(tenant_id, call_id)
        if record is None:
            raise NoSuchCall
        return record
