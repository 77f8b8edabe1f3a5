"""The stand-in's time: a core tick of 20 ms, timers on ticks, and the scripts that live by them.

FreeSWITCH stamps nearly everything with a clock that its timer thread moves every 20 ms, so its stamps have that
granularity and a few tens of microseconds of jitter. ``Clock.now_us`` gives such stamps; they are real time, always.
What ``time_scale`` shortens is how long lives last (``Clock.life``), never what a stamp says and never a time that a
client asked for (``originate_timeout``, ``sched_hangup``).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import gevent
from gevent.event import Event as Flag

log = logging.getLogger(__name__)

TICK_US = 20_000
TICK_S = 0.02
_NEVER_S = 3600.0

#: A script yields how many real seconds it waits (``None``: until poked; 0: till the others of this tick had their
#: turn) and gets back whether it was poked.
Script: TypeAlias = Generator[float | None, bool, None]


class Timer:
    """One thing due at one tick; ``cancel`` makes it not happen."""

    __slots__ = ("args", "cancelled", "fn")

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Ticks, timers and the greenlet that runs what is due. Everything of the switch runs in that one greenlet or in
    the session greenlet whose command it answers, so nothing here needs a lock."""

    def __init__(self, *, seed: int, time_scale: float = 1.0) -> None:
        if not time_scale > 0:
            raise ValueError("time_scale must be positive")
        self.time_scale = time_scale
        self._jitter = random.Random(f"jitter:{seed}")
        self._base_us = time.time_ns() // 1000
        self._base_mono = time.monotonic()
        self._tick = -1
        self._stamp_us = 0
        self._heap: list[tuple[int, int, Timer]] = []
        self._ready: deque[Timer] = deque()
        self._order = itertools.count()
        self._wake = Flag()
        self._running = False
        self._greenlet: gevent.Greenlet[..., None] | None = None

    # -- time ----------------------------------------------------------------------------------------------------

    def _tick_now(self) -> int:
        return int((time.monotonic() - self._base_mono) * 1_000_000) // TICK_US

    def now_us(self) -> int:
        """The stamp of the tick that has begun: microseconds since the epoch."""
        tick = self._tick_now()
        if tick != self._tick:
            self._tick = tick
            self._stamp_us = self._base_us + tick * TICK_US + self._jitter.randrange(30, 90)
        return self._stamp_us

    def exact_us(self) -> int:
        """Microseconds since the epoch, not rounded to a tick (uptime)."""
        return self._base_us + int((time.monotonic() - self._base_mono) * 1_000_000)

    def life(self, seconds: float) -> float:
        """Real seconds that a span of a call's life takes here."""
        return seconds / self.time_scale

    # -- timers --------------------------------------------------------------------------------------------------

    def after(self, delay_s: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Run ``fn(*args)`` at the first tick that is ``delay_s`` or more from now."""
        timer = Timer(fn, args)
        due = self._tick_now() + max(1, -(-int(delay_s * 1_000_000) // TICK_US))
        heapq.heappush(self._heap, (due, next(self._order), timer))
        self._wake.set()
        return timer

    def soon(self, fn: Callable[..., object], *args: Any) -> Timer:
        """Run ``fn(*args)`` within this tick, after what runs now."""
        timer = Timer(fn, args)
        self._ready.append(timer)
        self._wake.set()
        return timer

    def forget(self) -> None:
        """Nothing that was to happen happens."""
        self._heap.clear()
        self._ready.clear()

    # -- running -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._running = True
        self._greenlet = gevent.spawn(self._run)

    def stop(self, timeout_s: float = 2.0) -> None:
        self._running = False
        self._wake.set()
        if self._greenlet is not None:
            self._greenlet.join(timeout_s)
            self._greenlet.kill(timeout=timeout_s)
            self._greenlet = None

    def _run(self) -> None:
        while self._running:
            self._wake.clear()
            self._run_ready()
            wait_s = self._run_due()
            if self._ready:
                gevent.sleep(0)  # the sessions' turn: their replies come between what the switch does
            elif wait_s > 0:
                self._wake.wait(wait_s)
            else:
                gevent.sleep(0)

    def _run_ready(self) -> None:
        while self._ready:
            self._fire(self._ready.popleft())

    def _run_due(self) -> float:
        """Run what is due; seconds until the next timer."""
        heap = self._heap
        now = self._tick_now()
        while heap and heap[0][0] <= now:
            self._fire(heapq.heappop(heap)[2])
            self._run_ready()
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        if not heap:
            return _NEVER_S
        return max(0.0, self._base_mono + heap[0][0] * TICK_S - time.monotonic())

    @staticmethod
    def _fire(timer: Timer) -> None:
        if timer.cancelled:
            return
        try:
            timer.fn(*timer.args)
        except Exception:  # one call's fault must not stop the switch
            log.exception("the stand-in failed in %r", timer.fn)


class Task:
    """A running script: one thread of the switch, such as a channel's or an originate's.

    It sleeps by yielding seconds, and ``poke`` ends that sleep early. A poke that finds it running is kept, so none is
    lost. Why it was poked stands in the state that it then looks at.
    """

    def __init__(self, clock: Clock, script: Script) -> None:
        self._clock = clock
        self._script = script
        self._timer: Timer | None = None
        self._poked = False
        self._asleep = False
        self._running = False
        self.done = False
        clock.soon(self._begin)

    def poke(self) -> None:
        if self.done or self._poked:
            return
        self._poked = True
        if self._asleep:
            self._asleep = False
            if self._timer is not None:
                self._timer.cancel()
            self._clock.soon(self._step, True)

    def cancel(self) -> None:
        """It stops where it stands."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.done:
            self.done = True
            if not self._running:
                self._script.close()

    def _begin(self) -> None:
        self._step(False, first=True)

    def _step(self, poked: bool, first: bool = False) -> None:
        if self.done:
            return
        self._timer = None
        self._asleep = False
        self._running = True
        if poked:
            self._poked = False
        try:
            wait_s = next(self._script) if first else self._script.send(poked)
        except StopIteration:
            self.done = True
            return
        except Exception:
            self.done = True
            raise
        finally:
            self._running = False
        self._sleep(wait_s)

    def _sleep(self, wait_s: float | None) -> None:
        if self.done:
            self._script.close()
        elif self._poked:
            self._clock.soon(self._step, True)
        else:
            self._asleep = True
            if wait_s == 0:
                self._timer = self._clock.soon(self._step, False)
            elif wait_s is not None:  # without an end no timer: a cancelled one would lie in the heap until it is due
                self._timer = self._clock.after(wait_s, self._step, False)
