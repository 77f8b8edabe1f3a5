"""The deliverer: one a database, whoever holds its lease.

It looks for endpoints that have something due, and gives each a greenlet of its own (``Courier``); one that is slow or
dead keeps only its own waiting.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import gevent
from gevent.event import Event

from callengine.calls.view import UrlOf
from callengine.config.sections import Webhooks as Settings
from callengine.errors import LeaseHeld, StoreError
from callengine.spans import Record
from callengine.store.clock import clock_us
from callengine.store.deliveries import Census, Deliveries
from callengine.store.entities import Executes
from callengine.store.faults import Trouble
from callengine.store.holder import Holder
from callengine.store.lease import Lease
from callengine.webhooks.courier import Courier, Delivering
from callengine.webhooks.sender import Reply, Sender

log = logging.getLogger(__name__)

ROLE: Final = "role/webhooks"
"""Its row among the leases; no switch has a name with a slash in it."""
_POLL_S: Final = 1.0
_NUDGED_S: Final = 0.02
_LEASE_WAIT_S: Final = 2.0
_CENSUS_S: Final = 30.0
_AFTER_CRASH_S: Final = 5.0
_SLOW_S: Final = 1.0


class Storage(NamedTuple):
    """The rooms of the store that deliveries are worked on with."""

    deliveries: Deliveries
    executor: Executes
    lease: Lease
    holder: Holder


class Deliverer:
    """``run`` is to be supervised (``once``: it ends after ``stop``). ``step`` is one look and all that follows of it.

    ``url_of`` signs recordings' URLs as each attempt is rendered; ``probed`` as in ``calls.view``. ``now_us`` is the
    wall clock that everything is due by, ``monotonic`` that by which the lease is held, in seconds.
    ``on_attempt(result, reply)`` is told of each attempt (``delivered``, ``failed``, ``dead``, ``postponed``),
    ``on_crash(name, error)`` of a courier that died.
    ``nudge`` says that there is something new.
    """

    def __init__(
        self,
        storage: Storage,
        sender: Sender,
        settings: Settings,
        *,
        url_of: UrlOf | None = None,
        probed: bool = False,
        on_attempt: Callable[[str, Reply], None] = lambda result, reply: None,
        on_crash: Callable[[str, BaseException], None] = lambda name, error: None,
        now_us: Callable[[], int] = clock_us,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        on_span: Record | None = None,
    ) -> None:
        self._storage = storage
        self._sender = sender
        self._settings = settings
        self._now_us, self._monotonic = now_us, monotonic
        self._on_crash = on_crash
        self._parts = Delivering(
            deliveries=storage.deliveries,
            executor=storage.executor,
            send=sender.send,
            url_of=url_of,
            probed=probed,
            lanes=settings.calls_at_once,
            now_us=now_us,
            jitter=jitter,
            may_send=self._may_send,
            crowded=lambda: self._crowded,
            on_attempt=on_attempt,
            on_span=on_span,
        )
        self.holder = storage.holder.name
        self._held_until_s: float | None = None
        self._couriers: dict[str, Courier] = {}
        self._served: dict[str, float] = {}
        self._crashed: dict[str, float] = {}
        self._slow: set[str] = set()
        self._crowded = False
        self._trouble = Trouble(log, "the lease of the deliverer could not be renewed")
        self._wake = Event()
        self._stopping = False
        self._stopped = Event()
        self.census = Census()
        """How much waited and how much was dead, a short while ago; empty where another engine delivers."""

    # -- life --------------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something may have become due. Never waits."""
        self._wake.set()

    @property
    def holds(self) -> bool:
        """Whether this is the one that delivers."""
        return self._held_until_s is not None and self._monotonic() < self._held_until_s

    @property
    def oldest_s(self) -> float:
        """How long the first of what waits for an enabled endpoint has waited, by the census; 0: nothing waits."""
        oldest_us = self.census.oldest_us
        return 0.0 if oldest_us is None else max(self._now_us() - oldest_us, 0) / 1_000_000

    @property
    def at_work(self) -> int:
        """How many endpoints are being delivered to."""
        return len(self._couriers)

    def run(self) -> None:
        """Until ``stop``: hold the lease, look for work, hand it out."""
        told = False
        renew_at = census_at = 0.0
        try:
            while not self._stopping:
                now_s = time.monotonic()
                if now_s >= renew_at:
                    held = self._hold(told)
                    told = not held
                    renew_at = now_s + (self._storage.lease.renew_every_s if held else _LEASE_WAIT_S)
                if self.holds:
                    if now_s >= census_at:
                        self._count()
                        census_at = now_s + _CENSUS_S
                    self._look_safely()
                else:
                    self.census, census_at = Census(), 0.0
                self._wait()
        finally:
            for courier in list(self._couriers.values()):
                courier.kill()
            self._stopped.set()

    def stop(self, timeout_s: float) -> bool:
        """Send nothing more, let what is under way end, and give the lease back. False if that took too long.

        To be called while writes still are committed. What was not written down is delivered again, by whoever is next.
        """
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        self.nudge()
        for courier in list(self._couriers.values()):
            courier.join(max(deadline - time.monotonic(), 0.0))
        quiet = not self._couriers
        self._stopped.wait(max(deadline - time.monotonic(), 0.5))
        if self._held_until_s is not None:
            try:
                self._storage.lease.release(ROLE, self.holder)
            except StoreError as error:
                log.warning("the lease of the deliverer could not be given back: %s", error)
            self._held_until_s = None
        self._sender.close()
        return quiet

    def step(self, timeout_s: float) -> bool:
        """Takes or keeps the lease, looks, and waits for all that follows. Whether this is the one that delivers."""
        if not self._hold(told=True):
            return False
        self._look()
        deadline = time.monotonic() + timeout_s
        while self._couriers and time.monotonic() < deadline:
            for courier in list(self._couriers.values()):
                courier.join(max(deadline - time.monotonic(), 0.0))
            if self.holds:
                self._look()
        return True

    def _wait(self) -> None:
        if self._wake.wait(_POLL_S):
            # What is committed with the first comes along; and no endpoint's end makes a hot loop.
            gevent.sleep(_NUDGED_S)
        self._wake.clear()

    def _hold(self, told: bool) -> bool:
        began_s = self._monotonic()
        try:
            self._storage.lease.hold(ROLE, self.holder, dead=self._storage.holder.predecessors)
        except LeaseHeld as error:
            if not told:
                log.info("webhooks are delivered by another engine (%s); waiting until it lets go", error.holder)
            self._held_until_s = None
            return False
        except StoreError as error:
            self._trouble.met(error)
            return self.holds
        self._trouble.over()
        # By the time of asking: what came after may have taken long.
        self._held_until_s = began_s + self._storage.lease.renew_every_s * 3
        return True

    def _may_send(self) -> bool:
        return not self._stopping and self.holds

    # -- work --------------------------------------------------------------------------------------------------------

    def _look_safely(self) -> None:
        try:
            self._look()
        except StoreError as error:
            log.debug("what is due could not be read: %s", error)

    def _look(self) -> None:
        """Gives endpoints that have something due a courier, those first that were served longest ago."""
        due = self._storage.deliveries.due(self._now_us())
        self._forget(due)
        waiting = sorted((e for e in due if e not in self._crashed), key=lambda e: self._served.get(e, 0.0))
        left = 0
        for endpoint_id in waiting:
            courier = self._couriers.get(endpoint_id)
            if courier is not None:
                courier.nudge()
            elif self._has_room_for(endpoint_id):
                self._start(endpoint_id)
            else:
                left += 1
        self._crowded = left > 0
        self._sender.tidy()

    def _has_room_for(self, endpoint_id: str) -> bool:
        """Slow endpoints share half of the places, so that quick ones always find one soon."""
        most = self._settings.endpoints_at_once
        if len(self._couriers) >= most:
            return False
        return endpoint_id not in self._slow or len(self._slow & self._couriers.keys()) < max(most // 2, 1)

    def _start(self, endpoint_id: str) -> None:
        courier = Courier(self._parts, endpoint_id, self._ended)
        self._couriers[endpoint_id] = courier
        courier.start()

    def _ended(self, courier: Courier, error: BaseException | None) -> None:
        endpoint_id = courier.endpoint_id
        self._couriers.pop(endpoint_id, None)
        self._served[endpoint_id] = self._monotonic()
        if courier.seconds_an_attempt > _SLOW_S:
            self._slow.add(endpoint_id)
        else:
            self._slow.discard(endpoint_id)
        if error is not None:
            self._crashed[endpoint_id] = self._monotonic() + _AFTER_CRASH_S
            if isinstance(error, StoreError):
                log.warning("endpoint %s: the database failed: %s", endpoint_id, error)
            else:
                log.error("delivering to endpoint %s crashed", endpoint_id, exc_info=error)
                self._on_crash("webhooks-courier", error)
        self.nudge()

    def _forget(self, due: list[str]) -> None:
        """What is remembered of endpoints is bounded by those that have work."""
        if len(self._served) > 10_000:
            keep = set(due) | self._couriers.keys()
            self._served = {e: at_s for e, at_s in self._served.items() if e in keep}
            self._slow &= keep
        now_s = self._monotonic()
        self._crashed = {e: until_s for e, until_s in self._crashed.items() if until_s > now_s}

    def _count(self) -> None:
        try:
            self.census = self._storage.deliveries.census()
        except StoreError as error:
            log.debug("deliveries could not be counted: %s", error)
