"""Records calls that others place, where a rule says ``all``: started by us on their answer, once a call.

The tracker only puts the call in line. What records on its own at the answer (a dialplan's ``record_session``) has a
moment's time to do so, and is then left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import gevent
from gevent.queue import Empty, Full, Queue

from callengine.about import about
from callengine.calls.call import Call
from callengine.errors import CallengineError, StoreError
from callengine.originate import recording, view
from callengine.originate.orders import Orders
from callengine.originate.request import Planner
from callengine.originate.rulebook import REFRESH_S, Rulebook

log = logging.getLogger(__name__)

MAX_WAITING: Final = 1000
# RECORD_START of what the dialplan records comes within a tick or two of the answer (20 ms each).
_HEAD_START_S: Final = 0.1
_MAX_SEEN: Final = 100_000


class Counts(Protocol):
    """The metrics."""

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002  the metrics' own word
        read: Callable[[], float],
    ) -> None: ...


class Recorder:
    """``on_answered`` is for the tracker, ``run`` to be supervised; several may run beside one another.

    ``orders`` are those of call control: what it was told to record is not recorded twice.
    """

    def __init__(
        self,
        orders: Orders,
        planner: Planner,
        rulebook: Rulebook,
        metrics: Counts,
        *,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._orders = orders
        self._board = orders.board
        self._planner = planner
        self._rulebook = rulebook
        self._sleep = sleep
        self._line: Queue[tuple[float, str]] = Queue(maxsize=MAX_WAITING)
        self._seen: dict[str, None] = {}
        self.started = 0
        self.failed = 0
        self.dropped = 0
        metrics.gauge("callengine_recorder_waiting", "Calls that may have to be recorded.", lambda: self._line.qsize())
        metrics.gauge(
            "callengine_recorder_started",
            "Recordings of others' calls, started since the start.",
            lambda: float(self.started),
        )
        metrics.gauge(
            "callengine_recorder_failed",
            "Calls of others that were to be recorded and could not be, since the start.",
            lambda: float(self.failed),
        )
        metrics.gauge(
            "callengine_recorder_dropped",
            "The same, because too many waited.",
            lambda: float(self.dropped),
        )

    def on_answered(self, call: Call) -> None:
        """The call was answered, and it is known whose it is. Never waits."""
        if call.origination is not None or call.id in self._seen:
            return
        if self._rulebook.known and not self._wanted(call):
            return
        if len(self._seen) >= _MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[call.id] = None
        try:
            self._line.put_nowait((self._board.monotonic() + _HEAD_START_S, call.id))
        except Full:
            self.dropped += 1
            log.warning("call %s is not recorded: too many wait", call.id, extra={"call_id": call.id})

    def run(self) -> None:
        """Starts what has to be recorded, until killed."""
        while True:
            self._refresh()
            try:
                due, call_id = self._line.get(timeout=REFRESH_S)
            except Empty:
                continue
            with about(call_id):
                self.look(due, call_id)

    def look(self, due: float, call_id: str) -> None:
        """Records the call from ``due`` on (our monotonic clock), if it has to be."""
        wait_s = due - self._board.monotonic()
        if wait_s > 0:
            self._sleep(wait_s)
        if not self._rulebook.known:
            self._refresh()
        call = self._board.book.calls.get(call_id)
        if call is None or not self._wanted(call) or _is_gone(call):
            return
        try:
            with self._orders.turn(call_id) as desk:
                current = self._board.book.calls.get(call_id)
                if current is None or _is_gone(current) or view.open_recordings(current):
                    return
                recording.act(self._orders, self._planner, current, desk, "start")
        except CallengineError as error:
            self.failed += 1
            log.warning("call %s is not recorded: %s", call_id, error)
        else:
            self.started += 1

    def _wanted(self, call: Call) -> bool:
        return self._rulebook.of(call.tenant_id, call.campaign) == "all"

    def _refresh(self) -> None:
        try:
            self._rulebook.refresh()
        except StoreError as error:
            log.warning("the rules for recording are not known yet: %s", error)


def _is_gone(call: Call) -> bool:
    return bool(call.over or call.own.over or call.own.hung_up_at_us)
