"""What systemd is told while we live: when we are ready, what we are doing, that the hub goes round.

Ready is who has compared its book with the switch. One whose switch is away, or held by another engine, is ready all
the same after ``READY_ANYWAY_S`` of that: it serves reads, webhooks and analyses, ``/readyz`` and the status line say
what is missing, and whoever ran ``systemctl start`` must not wait for a switch that may come back tomorrow. Work of our
own (a migration, the spool of an earlier life) is waited for however long it takes: the start's timeout is put off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import gevent

from callengine.notify import Notifier

if TYPE_CHECKING:
    from callengine.engine import Engine

READY_ANYWAY_S: Final = 30.0
_STARTING_EVERY_S: Final = 0.5
_EVERY_S: Final = 5.0
_PUT_OFF_S: Final = 30.0


class Standing(NamedTuple):
    """How we stand: ``text`` in a line of words; ``held_up``: by what is not ours to hasten."""

    ready: bool
    held_up: bool
    text: str


class Telling:
    """``run`` and ``keep_alive`` are to be supervised. ``standing`` may be replaced at any time.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self.standing: Callable[[], Standing] = lambda: Standing(False, False, "opening the database")
        self._notifier = notifier
        self._clock, self._sleep = clock, sleep

    def run(self) -> None:
        """Until it is killed."""
        self._become_ready()
        while True:
            self._sleep(_EVERY_S)
            self._notifier.status(self.standing().text)

    def _become_ready(self) -> None:
        held_up_s, looked_s = 0.0, self._clock()
        said = ""
        while True:
            standing = self.standing()
            now_s = self._clock()
            # In all: a switch that accepts us and breaks off again and again is no better than one that is away.
            held_up_s += now_s - looked_s if standing.held_up else 0.0
            looked_s = now_s
            if standing.ready or held_up_s >= READY_ANYWAY_S:
                self._notifier.ready(standing.text)
                return
            self._notifier.put_off(_PUT_OFF_S)
            if standing.text != said:
                said = standing.text
                self._notifier.status(said)
            self._sleep(_STARTING_EVERY_S)

    def keep_alive(self) -> None:
        """Feeds the watchdog, from the hub: a hub that is stuck feeds nobody."""
        while True:
            self._notifier.watchdog()
            self._sleep(self._notifier.watchdog_interval_s or _EVERY_S)


def standing_of(engine: Engine) -> Standing:
    """How an engine stands."""
    if not engine.ready:
        error = engine.link.last_error
        waiting_for = engine.waiting_for or "the switch"
        text = f"waiting for {waiting_for}" + (f": {error}" if error else "")
        return Standing(False, not engine.link.ready or waiting_for.startswith("the lease"), text)
    live = sum(1 for _ in engine.book.live())
    text = f"{engine.node}: {live} call{'' if live == 1 else 's'} live"
    if engine.writer.reason is not None:
        spool = "events go to the spool" if engine.spool.status == "ok" else "events are kept in memory alone"
        text += f"; {engine.writer.reason}; {spool}"
    if behind := [f"{n:,} {what}" for n, what in ((len(engine.intake), "events"), (engine.writer.depth, "rows")) if n]:
        text += f"; {' and '.join(behind)} waiting"
    return Standing(True, False, text)
