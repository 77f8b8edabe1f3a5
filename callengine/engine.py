"""The engine: the link to one switch, the book of its calls, and what works on both.

Started before the switch answers. The book opens once it is known which switch this is (``node``), this engine holds
that switch's lease, and the live calls of an earlier life were loaded; until then events wait in the intake.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import NamedTuple

import gevent
from gevent.event import Event
from gevent.queue import Full, Queue

from callengine.calls.book import Book, Timing
from callengine.calls.call import Call
from callengine.calls.facts import Fact, LegDestroyed
from callengine.calls.leg import Note
from callengine.calls.machine import Rules
from callengine.config.settings import Settings
from callengine.errors import EslDisconnected, EslError, LeaseHeld, StoreError
from callengine.esl import commands
from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss, LossReason
from callengine.esl.headers import SUBSCRIBED_EVENTS, Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.link import Link, LinkSettings, LinkState
from callengine.esl.sieve import COMPILED, Sieve
from callengine.gauges import add_gauges
from callengine.metrics import Metrics
from callengine.originate.originator import Originator
from callengine.originate.recorder import Recorder
from callengine.quarantine import Quarantine
from callengine.reconcile import Reconciler
from callengine.spool.replay import Replay
from callengine.spool.segments import Spool
from callengine.store.accounts import Accounts
from callengine.store.clock import clock_us
from callengine.store.faults import Trouble
from callengine.store.holder import Holder
from callengine.store.lease import Fence, Lease
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.supervise import Supervisor
from callengine.tracker import Tracker
from callengine.variables import variables_of

log = logging.getLogger(__name__)

_RULES_REFRESH_S = 5.0
_LEASE_RETRY_S = 2.0
_BETWEEN_CONNECTIONS_S = 0.05
_MAX_SUSPECTS = 10_000
_SUSPECTS_AT_ONCE = 256
# Commands of ours that wait for their reply at a time: one after the other, a tick of 20 ms each, makes 50 a second.
_SENDERS = 16
_RECORDERS = 4
_TEND_SPOOL_S = 0.5
# A busy core takes some 10 ms for each of two commits, the one under way and the wanted one.
_CATCH_UP_S = 0.05
# Beyond that many events that wait to be worked on, who reads is told of what is committed.
_NEAR_EVENTS = 512
# In the first the reader has what was in the socket, in the second what the hub had yet to look at.
_TURNS = 2
# The switch's list of channels lags by what its database has yet to write: soon after a connect, then slowly for ever.
_LOOK_SOON_S = (1.0, 3.0, 10.0)
_LOOK_EVERY_S = 60.0


class Storage(NamedTuple):
    """The rooms of the store that an engine works with."""

    writer: Writer
    reads: Reads
    accounts: Accounts
    lease: Lease
    holder: Holder


class Engine:
    """One engine for one switch. ``start`` spawns, ``stop`` ends; both are bounded."""

    def __init__(self, settings: Settings, storage: Storage, supervisor: Supervisor, metrics: Metrics) -> None:
        self.settings = settings
        self.storage = storage
        self.writer = storage.writer
        self.metrics = metrics
        self.holder = storage.holder
        self.recorder: Recorder | None = None
        """Who records the calls that others place; set before ``start``."""
        self.reconciled = Event()
        self.waiting_for: str | None = "the switch"
        self._supervisor = supervisor
        self._connected = Event()
        self._suspects: Queue[str] = Queue(maxsize=_MAX_SUSPECTS)
        self.quarantine = Quarantine(settings.state.directory / "quarantine")
        self.variables = variables_of(settings.tracking)
        self.translator = Translator(self.variables)
        self.spool = Spool(
            settings.state.directory / "spool",
            node=settings.switch.name,
            switch=settings.esl.address,
            max_bytes=settings.state.spool_max_bytes,
        )
        self.intake = IntakeQueue(
            max_events=settings.esl.intake_max_events,
            max_bytes=settings.esl.intake_max_bytes,
            disk=self.spool if settings.state.spool else None,
        )
        self.link = Link(
            _link_settings(settings),
            events=SUBSCRIBED_EVENTS,
            intake=self.intake,
            sieve=self._sieve,
            on_ready=lambda client: self._connected.set(),
            on_lost=self._lost,
        )
        rules = Rules(default_tenant="")
        self.book = Book(
            settings.switch.name,
            rules,
            timing=_timing(settings),
            tracking_others=not settings.tracking.own_only,
            epoch_us=self.now_us() - int(self.monotonic() * 1_000_000),
        )
        self.tracker = Tracker(
            self.book,
            self.intake,
            self.translator,
            self.writer,
            metrics,
            on_over=lambda call: self.originator.on_over(call),
            on_answered=self._answered,
            on_suspect=self.suspect,
            on_poison=lambda body, reason: self.quarantine.keep(body, reason, node=self.book.node),
            on_taken=self.spool.keep_fact,
        )
        self.replay = Replay(
            self.spool,
            self.tracker,
            self.translator,
            storage.reads,
            full=lambda: self.writer.full,
            on_set_aside=metrics.poison.labels("segment").inc,
        )
        self.before_closing: Callable[[Callable[[], bool]], None] = lambda done: None
        """Called before calls are closed that the switch denies; may wait a while, until ``done()``, for their CDRs."""
        self._reconciler = Reconciler(
            self.tracker,
            self.translator,
            metrics,
            adopting=lambda: self.book.tracking_others,
            before_closing=lambda done: self.before_closing(done),
            later=self.suspect,
        )
        self.originator = Originator(self, settings, metrics)
        self._opened = False
        self._held: Fence | None = None
        self.writer.rejoin_with(self._lives_again)
        add_gauges(self)

    def _sieve(self) -> Sieve:
        counts = self.metrics.events.counts

        def repeated(count: int) -> None:
            # Without the lease the events are another engine's, and it counts them.
            if self._held is not None:
                counts[LegDestroyed.__name__] += count

        return Sieve(self.translator, repeated)

    # -- the switchboard: what originating and call control need -----------------------------------------------------

    def take(self, fact: Fact) -> None:
        """Apply a fact of ours. Never waits."""
        self.tracker.take(fact)

    @staticmethod
    def now_us() -> int:
        """Our clock, µs since the epoch."""
        return clock_us()

    @staticmethod
    def monotonic() -> float:
        """Our monotonic clock, in seconds."""
        return time.monotonic()

    @property
    def node(self) -> str:
        """The name of the switch; empty until it is known."""
        return self.book.node

    @property
    def opened(self) -> bool:
        """The switch is known, its lease held, and the book has the live calls of before."""
        return self._opened and self._held is not None

    @property
    def data_as_of(self) -> int:
        """The moment (µs, our clock) up to which the store has everything that was received."""
        received_us = self.now_us() - int(self.intake.oldest_age_s * 1_000_000)
        return min(self.writer.data_as_of, received_us)

    @property
    def ready(self) -> bool:
        """Connected, the lease held, and compared with the switch."""
        return self.opened and self.link.state is LinkState.READY and self.reconciled.is_set()

    @property
    def holds(self) -> bool:
        """No other engine can have the switch by now: calls may be placed on it."""
        return self._held is not None and not self._held.lapsed

    def catch_up(self, call_id: str) -> None:
        """Have what came of that call committed, for whoever is about to read it: within ``_CATCH_UP_S``, if at all."""
        if self.link.client is None or not self.opened:
            return
        until = self.monotonic() + _CATCH_UP_S
        self.link.hurry()
        for _ in range(_TURNS):
            gevent.sleep(0)
        upto = self.intake.accepted
        while self.tracker.done < upto and self.tracker.behind < _NEAR_EVENTS and self.monotonic() < until:
            gevent.sleep(0)
        if self.writer.reason is None:
            with suppress(StoreError):
                self.writer.flush_call(call_id, max(0.0, until - self.monotonic()))

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Spawn everything; returns at once."""
        log.info("the event socket is read in %s", "C" if COMPILED else "Python, which takes more of a core")
        self._open_spool()
        if self.settings.state.spool and not self.holder.alone:
            log.warning("another process at work has the same state directory: events are kept in memory alone")
        self._supervisor.spawn("spool", self._run_spool)
        self._supervisor.spawn("opener", self._run_opener)
        self._supervisor.spawn("suspects", self._run_suspects)
        self._supervisor.spawn("rules", self._run_rules)
        self._supervisor.spawn("lease", self._run_lease)
        self._supervisor.spawn("originator", self.originator.run)
        for number in range(_SENDERS):
            self._supervisor.spawn(f"sender-{number}", self.originator.run_sender)
        if self.recorder is not None:
            for number in range(_RECORDERS):
                self._supervisor.spawn(f"recorder-{number}", self.recorder.run)
        self._supervisor.spawn("link", self.link.run, once=True)

    def stop(self, timeout_s: float) -> None:
        """Take no more from the switch, apply what has arrived, and hand it to the writer."""
        self.originator.close()
        self.link.stop(timeout_s=min(2.0, timeout_s))
        until = time.monotonic() + timeout_s
        while self._held and len(self.intake) and time.monotonic() < until:
            Event().wait(0.02)
        if self._held is None:
            return
        self.tracker.release()

    def give_back(self) -> None:
        """Let another engine have the switch, behind all that was handed to the writer."""
        fence, self._held = self._held, None
        if fence is not None:
            fence.let_go()
            try:
                self.storage.lease.release(fence.node, fence.holder)
                # That was committed behind everything that came before it.
                self._tend_spool(last=True)
            except StoreError as error:
                log.warning("the lease of %s could not be given back: %s", fence.node, error)

    def _lost(self, loss: Loss) -> None:
        self._connected.clear()
        self.reconciled.clear()

    def _run_opener(self) -> None:
        """On every connection: open the book if it is not, then compare with the switch."""
        while True:
            self._connected.wait()
            client = self.link.client
            if client is None or client.loss is not None:
                Event().wait(_BETWEEN_CONNECTIONS_S)
                continue
            # Cleared before the work: a connection that is made meanwhile sets it anew, and is compared in its turn.
            self._connected.clear()
            try:
                if not self._opened:
                    self._open(client)
                self.waiting_for = "the comparison with the switch"
                known = self._reconciler.run(client)
                if client.closed.is_set():
                    continue
                self.originator.recover(self._without_channel())
            except EslError as error:
                log.warning("the comparison with the switch was not finished: %s", error)
                client.lose(LossReason.FAILED, "the comparison with the switch was not finished")
                continue
            except StoreError as error:
                log.error("the book cannot be opened: %s", error)
                self._connected.set()
                Event().wait(_LEASE_RETRY_S)
                continue
            except Exception:
                # It is started again, and this connection is as good as it was.
                self._connected.set()
                raise
            self.waiting_for = None
            self.reconciled.set()
            log.info("%s: compared with the switch, %d calls live", self.node, sum(1 for _ in self.book.live()))
            self._reconciler.stamp(client, known, client.closed)
            self._look_again(client)

    def _look_again(self, client: EslClient) -> None:
        """Until that connection ends."""
        for wait_s in chain(_LOOK_SOON_S, repeat(_LOOK_EVERY_S)):
            if client.closed.wait(wait_s):
                return
            try:
                self._reconciler.look_again(client)
            except EslError as error:
                log.warning("the switch was not asked again for its channels: %s", error)

    def _without_channel(self) -> list[Call]:
        return [c for c in self.book.live() if c.origination is not None and not c.own.created_us]

    def _open(self, client: EslClient) -> None:
        node = self.settings.switch.name or client.api("switchname").strip()
        if not node:
            raise EslError("the switch does not tell its name")
        self.waiting_for = f"the lease of {node}"
        self._acquire(node)
        self._refresh_rules()
        self.waiting_for = "the live calls of before"
        self.book.node = node
        with _growing():
            now = time.monotonic()
            for call in self.storage.reads.live_calls(node):
                self.book.restore(call, now)
            self.waiting_for = "what an earlier life left in the spool"
            self.spool.name_node(node)
            self.replay.run(node)
        self._supervisor.spawn("tracker", self.tracker.run)
        self._opened = True

    def _acquire(self, node: str) -> None:
        told = False
        while True:
            try:
                self.holder.claim()
                self._open_spool()
                fence = self.storage.lease.hold(node, self.holder.name, dead=self.holder.predecessors)
                # Before anything is written: what was taken from us since, by whomever, stays theirs.
                self.writer.guard(fence, self._lost_lease)
                self._held = fence
                return
            except LeaseHeld as error:
                if not told:
                    log.warning("%s; waiting for it", error)
                    told = True
                # Whoever holds the lease books these events; what came just before it is lost may be booked by nobody.
                self.intake.forget_before(self.monotonic() - 4 * self.storage.lease.renew_every_s)
                Event().wait(_LEASE_RETRY_S)

    def _run_lease(self) -> None:
        """Keep the lease. One that expired, since we were stopped or the database was away, is ours until it is taken;
        an engine that lost it must not write for that switch any longer.
        """
        trouble = Trouble(log, "the lease of the switch could not be renewed")
        while True:
            Event().wait(self.storage.lease.renew_every_s)
            fence = self._held
            if fence is None:
                continue
            try:
                self.storage.lease.renew(fence)
            except LeaseHeld as error:
                self.writer.abandon()
                self._lost_lease(error)
            except StoreError as error:
                trouble.met(error)
            else:
                trouble.over()

    def _lost_lease(self, error: LeaseHeld) -> None:
        """Another engine has the switch, and its own picture of the calls; ours is of no use any more.

        What was taken in and not committed is in the spool, and the other one compared its book with the switch.
        """
        if self._held is not None:
            self._held = None
            self._supervisor.give_up("lease", f"was taken over by another engine ({error.holder})")

    def _open_spool(self) -> None:
        """Once no other process at work has the same state directory."""
        if self.settings.state.spool and self.holder.alone and not self.spool.usable:
            self.spool.open()
            self.intake.keep_waiting()

    def _run_spool(self) -> None:
        while True:
            Event().wait(_TEND_SPOOL_S)
            self._tend_spool()

    def _tend_spool(self, *, last: bool = False) -> None:
        self.spool.tend(self.tracker.done, self.writer.mark, self.writer.committed, last=last)

    def _run_rules(self) -> None:
        trouble = Trouble(log, "tenants could not be read again")
        while True:
            Event().wait(_RULES_REFRESH_S)
            if self._opened:
                try:
                    self._refresh_rules()
                except StoreError as error:
                    trouble.met(error)
                else:
                    trouble.over()

    def _refresh_rules(self) -> None:
        tenants, numbers = self.storage.accounts.directory()
        default = self.settings.tracking.default_tenant
        self.book.rules = Rules(default_tenant=tenants[default], tenants=tenants, numbers=numbers)

    def _answered(self, call: Call) -> None:
        if self.recorder is not None:
            self.recorder.on_answered(call)

    def _lives_again(self, earlier: Call, again: Call, notes: list[Note]) -> None:
        """A channel of a call that had left the book; told by the tracker's next tick."""
        self.book.rejoin(earlier, again, notes, self.monotonic())

    # -- ends and suspicions -------------------------------------------------------------------------------------------

    def lives(self, uuid: str) -> bool:
        """Whether the switch knows that channel, by its own word. Raises EslError where it cannot be asked."""
        if not self.ready:
            raise EslDisconnected("the switch is not connected, or not compared with yet")
        return self.link.api(commands.uuid_exists(uuid)).strip() != "false"

    def suspect(self, uuid: str) -> None:
        """Have the switch asked for that channel, which may be gone. Never waits."""
        try:
            self._suspects.put_nowait(uuid)
        except Full:
            log.debug("too many suspects; %s is asked for again later", uuid)

    def _run_suspects(self) -> None:
        while True:
            uuids = {self._suspects.get()}
            while len(uuids) < _SUSPECTS_AT_ONCE and not self._suspects.empty():
                uuids.add(self._suspects.get_nowait())
            if self.link.ready:
                try:
                    self._reconciler.verify(self.link, uuids)
                except EslError as error:
                    log.debug("%d channels could not be asked for: %s", len(uuids), error)


@contextmanager
def _growing() -> Iterator[None]:
    """What is loaded here stays: the collector need not look at it, neither meanwhile nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _timing(settings: Settings) -> Timing:
    return Timing(
        tenant_hold_s=settings.tracking.tenant_hold_s,
        job_grace_s=settings.originate.job_grace_s,
        overlong_after_s=settings.tracking.overlong_after_s,
    )


def _link_settings(settings: Settings) -> LinkSettings:
    e = settings.esl
    return LinkSettings(
        host=e.host,
        port=e.port,
        password=e.password.get_secret_value(),
        connect_timeout_s=e.connect_timeout_s,
        command_timeout_s=e.command_timeout_s,
        heartbeat_timeout_s=e.heartbeat_timeout_s,
        backoff_min_s=e.backoff_min_s,
        backoff_max_s=e.backoff_max_s,
    )
