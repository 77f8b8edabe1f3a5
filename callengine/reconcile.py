"""What we know of live calls against what the switch says, on every connection.

Ready means that both lists were compared: what the switch lists and we do not know was taken in, what we know and it
denies is closed (by and by, where more has arrived than is applied in a while). What else it has to say of channels
that both know is fetched after that, if these are many.

We are subscribed before the switch's list is asked for, and its events are joined with what the list tells, in
whatever order; only a channel that the switch denies is closed, and only after all events that came before the denial
were applied. ``show channels`` is a scoreboard that lags, so a channel missing there is asked for by name
(mod_commands.c, uuid_exists), and the list is asked for again (``look_again``): a channel that began just before we
were subscribed may not be on it yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import gevent
import orjson
from gevent.pool import Pool

from callengine.calls.facts import Fact, LegGone, LegListed
from callengine.errors import EslError, MalformedEvent
from callengine.esl import commands
from callengine.esl.headers import Translator
from callengine.metrics import Metrics
from callengine.tracker import Tracker

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 32
_DRAIN_S = 10.0
# Of so many known channels the stamps are fetched at once: whoever asks as soon as we are ready is told the latest.
_FIRST = 500
# Of the others by groups, with room between them for what callers want of the switch.
_GROUP = 128
_BETWEEN_GROUPS_S = 0.01
_AFTER_FAILURE_S = 1.0


class Asker(Protocol):
    """Who can ask the switch."""

    def api(self, command: str, *, timeout_s: float | None = None) -> str:
        """The answer to an API command; raises EslError."""


class Waitable(Protocol):
    """What may become true."""

    def wait(self, timeout: float) -> bool:
        """Whether it is, after so many seconds (s) at most."""


class Reconciler:
    """Compares the book with the switch. ``adopting`` false leaves others' channels alone.

    ``before_closing(done)`` may wait a while for what tells how channels ended, until ``done()``. ``later(uuid)`` has a
    channel asked for again: so much has arrived that what tells its end may still wait to be applied.
    """

    def __init__(
        self,
        tracker: Tracker,
        translator: Translator,
        metrics: Metrics,
        *,
        adopting: Callable[[], bool] = lambda: True,
        before_closing: Callable[[Callable[[], bool]], None] = lambda done: None,
        later: Callable[[str], None] = lambda uuid: None,
    ) -> None:
        self._tracker = tracker
        self._translator = translator
        self._metrics = metrics
        self._adopting = adopting
        self._before_closing = before_closing
        self._later = later

    def run(self, switch: Asker) -> list[str]:
        """Compare once. Returns the channels of which ``stamp`` has yet to fetch the stamps.

        Raises EslError when the connection is lost meanwhile.
        """
        book = self._tracker.book
        ours = {leg.uuid for call in book.live() for leg in (call.own, *(p.leg for p in call.peers)) if leg.created_us}
        ours -= {uuid for uuid in ours if (leg := book.leg(uuid)) is not None and leg.over}
        listed = self._listed(switch)
        if self._adopting():
            self._take_in(switch, [uuid for uuid in listed if uuid not in ours and not book.knows(uuid)])
        self.verify(switch, ours.difference(listed))
        known = list(ours & listed)
        self._take_in(switch, known[:_FIRST])
        return known[_FIRST:]

    def stamp(self, switch: Asker, uuids: list[str], closed: Waitable) -> None:
        """Fetch the stamps of these channels; returns early where the connection is ``closed``."""
        for at in range(0, len(uuids), _GROUP):
            group = uuids[at : at + _GROUP]
            while not self._stamped(switch, group):
                if closed.wait(_AFTER_FAILURE_S):
                    return
            if closed.wait(_BETWEEN_GROUPS_S):
                return

    def _stamped(self, switch: Asker, uuids: list[str]) -> bool:
        try:
            self._take_in(switch, uuids)
        except EslError as error:
            log.warning("the stamps of %d channels were not fetched: %s", len(uuids), error)
            return False
        return True

    def look_again(self, switch: Asker) -> None:
        """Adopt what the list has by now and no event described. Raises EslError when the connection is lost."""
        if not self._adopting():
            return
        listed = self._listed(switch)
        # Of what began since we were subscribed the events tell; they came before the list did.
        self._drain()
        self._take_in(switch, [uuid for uuid in listed if not self._tracker.book.knows(uuid)])

    def _take_in(self, switch: Asker, uuids: list[str]) -> None:
        for fact in self._ask_all(uuids, lambda uuid: self._dump(switch, uuid)):
            known = self._tracker.book.knows(fact.uuid)
            if known:
                self._tracker.hear(fact)
            else:
                self._tracker.take(fact)
            # One that was created for a channel that is gone stays unknown, however often it is looked at.
            if known or self._tracker.book.knows(fact.uuid):
                self._metrics.reconciled.labels("known" if known else "adopted").inc()

    def verify(self, switch: Asker, uuids: Iterable[str]) -> None:
        """Close each of these channels that the switch denies to know."""
        absent = self._denied(switch, uuids)
        if not absent:
            return
        if not self._drain():
            for uuid in absent:
                self._later(uuid)
            return
        if self._not_over(absent):
            self._before_closing(lambda: not self._not_over(absent))
        for uuid in self._denied(switch, self._not_over(absent)):
            before_us = self._tracker.switch_now_us()
            log.info("channel %s is gone and nobody stamped its end", uuid)
            self._metrics.reconciled.labels("gone").inc()
            self._tracker.take(LegGone(uuid=uuid, at_us=before_us, before_us=before_us))

    def _not_over(self, uuids: Iterable[str]) -> list[str]:
        legs = ((uuid, self._tracker.book.leg(uuid)) for uuid in uuids)
        return [uuid for uuid, leg in legs if leg is not None and not leg.over]

    def _listed(self, switch: Asker) -> set[str]:
        answer = switch.api(commands.show_channels())
        try:
            rows = orjson.loads(answer.encode("utf-8", "replace")).get("rows", [])
            return {row["uuid"] for row in rows if commands.is_uuid(row.get("uuid", ""))}
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise EslError(f"show channels cannot be read: {type(error).__name__}") from None

    def _dump(self, switch: Asker, uuid: str) -> Fact | None:
        answer = switch.api(commands.uuid_dump(uuid))
        if not answer.startswith("{"):
            return None
        try:
            return self._translator.json(answer.encode("utf-8", "replace"))
        except MalformedEvent as error:
            log.warning("channel %s cannot be read: %s", uuid, error)
            return None

    @staticmethod
    def _denied(switch: Asker, uuids: Iterable[str]) -> list[str]:
        """Those of the channels that the switch says it does not know."""

        def ask(uuid: str) -> tuple[str, bool]:
            return uuid, switch.api(commands.uuid_exists(uuid)).strip() == "false"

        return [uuid for uuid, denied in _each(ask, uuids) if denied]

    @staticmethod
    def _ask_all(uuids: list[str], ask: Callable[[str], Fact | None]) -> Iterable[LegListed]:
        return (fact for fact in _each(ask, uuids) if isinstance(fact, LegListed))

    def _drain(self) -> bool:
        """Let the tracker apply everything that has arrived so far. Bounded: False where it did not in time."""
        goal = self._tracker.applied + self._tracker.behind
        until = time.monotonic() + _DRAIN_S
        while self._tracker.applied < goal and time.monotonic() < until:
            gevent.sleep(0.01)
        return self._tracker.applied >= goal


def _each(ask: Callable[[str], T], uuids: Iterable[str]) -> Iterator[T]:
    """What ``ask`` says of each, some at a time, in no order. Raises EslError."""

    def caught(uuid: str) -> T | EslError:
        # Raised in the pool itself, it would be printed as well, once for each that was being asked for.
        try:
            return ask(uuid)
        except EslError as error:
            return error

    pool = Pool(_AT_ONCE)
    try:
        for answer in pool.imap_unordered(caught, uuids):
            if isinstance(answer, EslError):
                raise answer
            yield answer
    finally:
        pool.kill(block=False)
