"""One endpoint's deliveries: a few calls side by side, each call's in order, as long as the endpoint takes them.

The next event of a call is read only when what came of the one before is committed. So a lost commit repeats one
delivery of a call, under the same id, and never changes their order.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import gevent
import orjson
from gevent.event import Event

from callengine.about import about
from callengine.calls.view import UrlOf, show_event
from callengine.errors import StoreUnavailable
from callengine.spans import Record, Span, Value
from callengine.store import deliveries as queries
from callengine.store.deliveries import Callee, Deliveries, Done, Head, State
from callengine.store.entities import Executes
from callengine.webhooks import schedule, signature
from callengine.webhooks.schedule import Health
from callengine.webhooks.sender import POSTPONED, Reply

log = logging.getLogger(__name__)

_BATCH: Final = 64
_GATHER_S: Final = 0.05
_TURN_S: Final = 2.0
_IDLE_LOOK_S: Final = 1.0
_WRITE_S: Final = 10.0
_WRITE_TRIES: Final = 5
_TOKEN_CHARS: Final = 16
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{20,}")
WITHHELD: Final = "(left out: it repeats a signed URL)"
LOST: Final = "the event is no longer kept"
GIVEN_UP: Final = "the endpoint was unreachable for more than a day"


class Send(Protocol):
    """``sender.Sender.send``."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes, *, tenant_id: str) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivering:
    """What couriers share. ``may_send``: the lease is held and nobody said stop. ``crowded``: others wait."""

    deliveries: Deliveries
    executor: Executes
    send: Send
    url_of: UrlOf | None
    probed: bool
    lanes: int
    now_us: Callable[[], int]
    jitter: Callable[[], float]
    may_send: Callable[[], bool]
    crowded: Callable[[], bool]
    on_attempt: Callable[[str, Reply], None]
    on_span: Record | None = None


class Courier:
    """Works until nothing of the endpoint's is due. ``on_end(courier, error)`` is called at the end, on the hub."""

    def __init__(
        self, parts: Delivering, endpoint_id: str, on_end: Callable[[Courier, BaseException | None], None]
    ) -> None:
        self.endpoint_id = endpoint_id
        self._p = parts
        self._on_end = on_end
        self._callee: Callee | None = None
        self._keys: list[bytes] = []
        self._health = Health(0, None, 0)
        self._todo: deque[Head] = deque()
        self._lanes: set[gevent.Greenlet[..., None]] = set()
        self._busy: set[str] = set()
        self._done: list[Done] = []
        self._wake = Event()
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._put_off = False
        self._began = time.monotonic()
        self._attempts = 0
        self._seconds = 0.0

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """In a greenlet of its own."""
        self._greenlet = gevent.spawn(self._run)

    def nudge(self) -> None:
        """More may be due."""
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Waits for its end."""
        if self._greenlet is not None:
            self._greenlet.join(timeout_s)

    def kill(self) -> None:
        """Ends it, whatever is under way."""
        if self._greenlet is not None:
            self._greenlet.kill(timeout=1.0)

    @property
    def seconds_an_attempt(self) -> float:
        """How long attempts took, on average."""
        return self._seconds / self._attempts if self._attempts else 0.0

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work()
        except gevent.GreenletExit:
            pass
        except BaseException as raised:  # noqa: BLE001  told to the deliverer, which goes on with the others
            error = raised
        finally:
            lanes, self._lanes = self._lanes, set()
            try:
                # Not ``killall(timeout=…)``: it raises where they take longer, as after the whole process stood still.
                gevent.killall(list(lanes), block=False)
                gevent.joinall(list(lanes), timeout=1.0)
            finally:
                self._on_end(self, error)

    def _work(self) -> None:
        more = True
        while True:
            self._wake.clear()
            if self._done:
                self._write()
                more = True
            if more and not self._todo and self._is_free():
                more = self._read()
            self._spread()
            if not self._lanes and not self._done and not (more and self._is_free()):
                return
            if self._done:
                continue
            if self._lanes:
                # The first that is done waits a moment for others, to be committed with them.
                if self._wake.wait(_IDLE_LOOK_S) and self._lanes:
                    gevent.sleep(_GATHER_S if self._todo else 0)
                more = True

    def _is_free(self) -> bool:
        """Whether more may be taken on: there is a lane, and the turn is not over."""
        if self._put_off or not self._p.may_send() or len(self._lanes) >= self._p.lanes:
            return False
        if self._health.disabled_reason is not None or (self._health.paused and (self._lanes or self._todo)):
            return False
        return not (self._p.crowded() and time.monotonic() - self._began > _TURN_S)

    # -- reading and handing out -------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Takes what is due. False where there is nothing to be sent now."""
        now_us = self._p.now_us()
        callee, heads, blocked = self._p.deliveries.work(self.endpoint_id, now_us, _BATCH + len(self._busy))
        if callee is None or callee.retry_us > now_us:
            return False
        if self._callee is None or callee.secrets != self._callee.secrets:
            self._keys = [signature.key_of(secret) for secret in callee.secrets]
        if self._callee is None or not self._lanes:
            self._health = Health(callee.failures, callee.failing_since_us, callee.retry_us)
        self._callee = callee
        fresh = [head for head in heads if head.call_id not in self._busy]
        if not fresh:
            if blocked:
                self._execute(lambda db: queries.settle(db, self.endpoint_id, now_us))
            return False
        self._todo.extend(fresh)
        self._busy.update(head.call_id for head in fresh)
        return True

    def _spread(self) -> None:
        """Gives each free lane a greenlet, while there is something to do."""
        lanes = 1 if self._health.paused else self._p.lanes
        for _ in range(min(lanes - len(self._lanes), len(self._todo))):
            lane = gevent.spawn(self._lane)
            self._lanes.add(lane)
            lane.rawlink(self._lane_ended)

    def _lane_ended(self, lane: gevent.Greenlet[..., None]) -> None:
        self._lanes.discard(lane)
        self._wake.set()

    def _lane(self) -> None:
        while self._todo and self._p.may_send():
            if self._health.disabled_reason is not None or (self._health.paused and self._health.struck_us):
                self._drop_todo()
                return
            head = self._todo.popleft()
            with about(head.call_id):
                self._done.append(self._tried(head))
            self._wake.set()
        if not self._p.may_send():
            self._drop_todo()

    def _tried(self, head: Head) -> Done:
        try:
            return self._attempt(head)
        except Exception:
            log.exception("endpoint %s: event %s could not be delivered", self.endpoint_id, head.event_id)
            return self._failed_here(head)

    def _drop_todo(self) -> None:
        """What is not sent now stays pending."""
        self._busy.difference_update(head.call_id for head in self._todo)
        self._todo.clear()

    # -- one attempt -------------------------------------------------------------------------------------------------

    def _attempt(self, head: Head) -> Done:
        callee = self._callee
        assert callee is not None
        began_us = self._p.now_us()
        if head.event is None:
            return _ended(head, "dead", began_us, began_us, Reply(duration_s=0, error=LOST), head.attempts)
        links = _Links(self._p.url_of)
        body = orjson.dumps(show_event(head.event, links.url_of, probed=self._p.probed))
        signed = signature.headers(self._keys, head.event_id, began_us // 1_000_000, body)
        reply = links.withheld(self._p.send(callee.url, signed, body, tenant_id=callee.tenant_id))
        now_us = self._p.now_us()
        if reply.kind == POSTPONED:
            return self._postponed(head, reply, began_us, now_us)
        self._health.took(reply, began_us, now_us, self._p.jitter())
        self._attempts += 1
        self._seconds += reply.duration_s
        done = self._outcome(head, reply, began_us, now_us)
        result = "failed" if done.status == "pending" else done.status
        self._p.on_attempt(result, reply)
        self._trace(head, done, result, now_us)
        return done

    def _trace(self, head: Head, done: Done, result: str, now_us: int) -> None:
        if self._p.on_span is None or head.event is None:
            return
        told: dict[str, Value] = {
            "callengine.event.id": head.event_id,
            "callengine.event": head.event.event,
            "callengine.endpoint.id": self.endpoint_id,
            "callengine.attempt": done.attempts,
            "callengine.result": result,
        }
        if done.http_status is not None:
            told["http.response.status_code"] = done.http_status
        error = None if result == "delivered" else done.error or f"HTTP status {done.http_status}"
        self._p.on_span(Span("webhook", done.at_us, now_us, head.call_id, told, error=error))

    def _postponed(self, head: Head, reply: Reply, began_us: int, now_us: int) -> Done:
        """Nothing was tried: neither the event nor the endpoint has failed, and all else of its own waits too."""
        self._put_off = True
        self._drop_todo()
        self._p.on_attempt("postponed", reply)
        again_us = schedule.later_us(now_us, self._p.jitter())
        return _done(head, "pending", began_us, reply, head.attempts, again_us, None, tried=False)

    def _outcome(self, head: Head, reply: Reply, began_us: int, now_us: int) -> Done:
        attempts = head.attempts + 1
        if reply.ok:
            return _ended(head, "delivered", began_us, now_us, reply, attempts)
        if schedule.is_dead(attempts, head.created_us, now_us):
            return _ended(head, "dead", began_us, now_us, reply, attempts)
        asked_s = reply.retry_after_s if reply.status in (schedule.TOO_MANY, 503) else None
        again_us = schedule.next_us(attempts, now_us, self._p.jitter(), asked_s)
        return _done(head, "pending", began_us, reply, attempts, again_us, None)

    def _failed_here(self, head: Head) -> Done:
        """Our own fault: it waits like any other that failed, and stops nothing behind it for ever."""
        now_us = self._p.now_us()
        reply = Reply(duration_s=0, error="it could not be made ready; the log says why")
        return self._outcome(head, reply, now_us, now_us)

    # -- writing down ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        done, self._done = self._done, []
        now_us = self._p.now_us()
        state = self._state(now_us)
        self._execute(lambda db: queries.write(db, self.endpoint_id, done, state))
        self._busy.difference_update(one.call_id for one in done)
        if state is not None and state.disabled_reason is not None:
            log.warning("endpoint %s was disabled: %s", self.endpoint_id, state.disabled_reason)
        if self._health.given_up(now_us):
            self._give_up(now_us)

    def _state(self, now_us: int) -> State | None:
        health = self._health
        if not health.changed or self._callee is None:
            return None
        health.changed = False
        recovered, health.recovered = health.recovered, False
        return State(
            url=self._callee.url,
            failures=health.failures,
            failing_since_us=health.failing_since_us,
            retry_us=health.retry_us,
            disabled_reason=health.disabled_reason,
            forward_us=now_us if recovered else None,
        )

    def _give_up(self, now_us: int) -> None:
        before_us = now_us - schedule.GIVE_UP_US
        total = 0
        while self._p.may_send():
            n = self._execute(lambda db: queries.expire(db, self.endpoint_id, before_us, now_us, GIVEN_UP))
            total += n
            if n < queries.CHUNK:
                break
        if total:
            log.warning("endpoint %s: %d deliveries are dead letters: %s", self.endpoint_id, total, GIVEN_UP)

    def _execute(self, fn: Callable[[Any], Any]) -> Any:
        """Written down, whatever it takes: what is not is delivered again."""
        for tried in range(_WRITE_TRIES):
            try:
                return self._p.executor.execute(fn, _WRITE_S)
            except StoreUnavailable:
                if tried + 1 == _WRITE_TRIES or not self._p.may_send():
                    raise
                gevent.sleep(0.1 * 2**tried)
        raise AssertionError("unreachable")


class _Links:
    """The signed URLs of one body: a receiver that repeats what it got must not bring them into the log."""

    def __init__(self, url_of: UrlOf | None) -> None:
        self._url_of = url_of
        self._tokens: set[str] = set()
        self.url_of = None if url_of is None else self._noted

    def _noted(self, recording_id: str) -> str:
        assert self._url_of is not None
        url = self._url_of(recording_id)
        self._tokens.update(token[:_TOKEN_CHARS] for token in _TOKEN.findall(url))
        self._tokens.discard(recording_id[:_TOKEN_CHARS])
        return url

    def withheld(self, reply: Reply) -> Reply:
        """The reply, its text left out where it holds a part of a URL that could be used."""
        text = reply.response
        return replace(reply, response=WITHHELD) if text and any(t in text for t in self._tokens) else reply


def _ended(head: Head, status: str, began_us: int, now_us: int, reply: Reply, attempts: int) -> Done:
    # Those behind it are due from now on.
    return _done(head, status, began_us, reply, attempts, now_us, now_us)


def _done(
    head: Head,
    status: str,
    began_us: int,
    reply: Reply,
    attempts: int,
    next_us: int,
    ended_us: int | None,
    *,
    tried: bool = True,
) -> Done:
    return Done(
        position=head.position,
        call_id=head.call_id,
        status=status,
        attempts=attempts,
        next_us=next_us,
        at_us=began_us,
        duration_ms=int(reply.duration_s * 1000),
        http_status=reply.status,
        error=reply.error,
        response=reply.response or None,
        ended_us=ended_us,
        tried=tried,
    )
