"""From event bodies to committed rows: the one place where facts are applied to the book.

``take`` is synchronous and yields to nobody, so any greenlet may call it; what it changes is marked dirty in the writer
and committed by the writer's thread. An event that cannot be read is set aside and the next one taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

import gevent

from callengine.calls.book import Book, Outcome
from callengine.calls.call import Call, EventName
from callengine.calls.facts import Fact
from callengine.calls.machine import Noted, Published, Refused
from callengine.calls.record import CallRecord
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.metrics import Metrics

log = logging.getLogger(__name__)

_BATCH_EVENTS = 256
_TURN_S = 0.001
_TICK_S = 0.1
_FULL_S = 0.01
_MAX_REFUSED = 10_000


class CallWriter(Protocol):
    """What the tracker needs of the store's writer; nothing of it waits."""

    def put(self, call: Call, record: CallRecord | None = None) -> None:
        """Mark a call's row dirty; the last state wins."""

    def note(self, noted: Noted) -> None:
        """Append to a call's timeline."""

    def publish(self, published: Published) -> None:
        """Put a milestone into the outbox."""

    @property
    def full(self) -> bool:
        """So much waits to be committed that no more should be taken in."""


class Tracker:
    """Applies facts to ``book`` and hands the results on. ``on_over(call)`` is called once for each call that ended,
    ``on_answered(call)`` where its answer is told.
    """

    def __init__(
        self,
        book: Book,
        intake: IntakeQueue,
        translator: Translator,
        writer: CallWriter,
        metrics: Metrics,
        *,
        on_over: Callable[[Call], None] = lambda call: None,
        on_answered: Callable[[Call], None] = lambda call: None,
        on_suspect: Callable[[str], None] = lambda uuid: None,
        on_poison: Callable[[bytes, str], None] = lambda body, reason: None,
        on_taken: Callable[[Fact], None] = lambda fact: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.book = book
        self.intake = intake
        self.applied = 0
        self.last_switch_us = 0
        self.last_switch_s = 0.0
        self._translator = translator
        self._writer = writer
        self._metrics = metrics
        self._on_over = on_over
        self._on_answered = on_answered
        self._on_suspect = on_suspect
        self._on_poison = on_poison
        self._on_taken = on_taken
        self._clock = clock
        self._over: set[str] = set()
        self._refused: set[tuple[str, str]] = set()
        self._counts = metrics.events.counts
        self._turn_began_s = 0.0
        self._batch_left = 0

    @property
    def behind(self) -> int:
        """How many events have arrived and are not applied yet."""
        return len(self.intake) + self._batch_left

    def switch_now_us(self) -> int:
        """The switch's clock, as far as its last event tells, moved on by our monotonic clock; 0 before any event."""
        if not self.last_switch_us:
            return 0
        return self.last_switch_us + int((self._clock() - self.last_switch_s) * 1_000_000)

    @property
    def done(self) -> int:
        """The number, among all that the intake accepted, of the last event that was applied."""
        return self.intake.accepted - self.behind

    def take(self, fact: Fact) -> None:
        """Apply one fact that is no event's; it is told to ``on_taken`` before. Never waits."""
        self._on_taken(fact)
        self.apply(fact)

    def hear(self, fact: Fact) -> None:
        """The same, of a channel that is known: ``on_taken`` is told where it says something new. Never waits."""
        outcome = self.book.apply(fact, self._clock())
        if outcome.changed or outcome.effects:
            self._on_taken(fact)
        self._settle(outcome)
        self._counts[type(fact).__name__] += 1

    def apply(self, fact: Fact, now: float | None = None) -> None:
        """Apply one fact, also of an earlier life: ``now`` is then when that was, by ``clock``."""
        self._settle(self.book.apply(fact, self._clock() if now is None else now))
        self._counts[type(fact).__name__] += 1

    def release(self) -> None:
        """Tell what still waits for a tenant's name: the process is about to end."""
        self._settle(self.book.release())

    def run(self) -> None:
        """Work off the intake until killed."""
        next_tick = self._clock()
        while True:
            # Memory is bounded: what comes meanwhile waits in the intake, and beyond that on the switch's list.
            while self._writer.full:
                gevent.sleep(_FULL_S)
            waited_s = self.intake.oldest_age_s
            batch = self.intake.get_batch(_BATCH_EVENTS, _TICK_S)
            if batch:
                self._metrics.lag.observe(waited_s)
            self._turn_began_s = self._clock()
            self._batch_left = len(batch)
            for body in batch:
                self._one(body)
                if self._clock() - self._turn_began_s > _TURN_S:
                    gevent.sleep(0)
                    self._turn_began_s = self._clock()
            now = self._clock()
            if now >= next_tick:
                next_tick = now + _TICK_S
                self._tick(now)

    def _tick(self, now: float) -> None:
        try:
            self._settle(self.book.tick(now))
        except Exception:
            log.exception("what was due could not be done; what is due next will be")

    def _one(self, body: bytes) -> None:
        try:
            fact = self._translator.json(body)
            if fact is not None:
                self.apply(fact)
                if fact.at_us > self.last_switch_us:
                    self.last_switch_us, self.last_switch_s = fact.at_us, self._clock()
        except MalformedEvent as error:
            self._poison(body, str(error))
        except Exception as error:
            log.exception("a fact could not be applied; its event is set aside")
            self._poison(body, f"{type(error).__name__} while applying it")
        finally:
            self.applied += 1
            self._batch_left -= 1

    def again(self, body: bytes, now: float, fact: Fact | None, reason: str) -> None:
        """An event, or a fact of ours, that was taken in an earlier life; poison where ``reason`` says why."""
        try:
            if fact is not None:
                self.apply(fact, now)
        except Exception as error:
            log.exception("a fact could not be applied; it is set aside")
            reason = f"{type(error).__name__} while applying it"
        if reason:
            self._poison(body, reason)

    def _poison(self, body: bytes, reason: str) -> None:
        self._metrics.poison.labels("event").inc()
        self._on_poison(body, reason)

    def _settle(self, outcome: Outcome) -> None:
        for call_id, call in outcome.changed.items():
            self._writer.put(call, outcome.records.get(call_id))
            if call.over:
                if call_id not in self._over:
                    self._over.add(call_id)
                    self._on_over(call)
            elif self._over:
                self._over.discard(call_id)
        if outcome.effects:
            self._hand_on(outcome)
        if outcome.suspects:
            for uuid in outcome.suspects:
                self._on_suspect(uuid)
        if len(self._over) > 2 * len(self.book.calls) + 1000:
            self._over.intersection_update(self.book.calls)

    def _first_of(self, effect: Refused) -> bool:
        """A refused transition is counted each time, and logged once."""
        key = (effect.refusal.name, effect.refusal.leg)
        if key in self._refused:
            return False
        if len(self._refused) >= _MAX_REFUSED:
            self._refused.clear()
        self._refused.add(key)
        return True

    def _hand_on(self, outcome: Outcome) -> None:
        writer, metrics = self._writer, self._metrics
        for effect in outcome.effects:
            kind = type(effect)
            if kind is Noted:
                writer.note(effect)  # type: ignore[arg-type]  # cast() is a call, for each
            elif kind is Published:
                told: Published = effect  # type: ignore[assignment]
                writer.publish(told)
                metrics.published_one(told)
                if told.event is EventName.ANSWERED and (call := outcome.changed.get(told.call_id)) is not None:
                    self._on_answered(call)
            else:
                metrics.count((effect,))
                if isinstance(effect, Refused) and self._first_of(effect):
                    log.warning(
                        "refused %s of channel %s: %s", effect.refusal.name, effect.refusal.leg, effect.refusal.detail
                    )
