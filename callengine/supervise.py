"""Every greenlet of the daemon runs under a ``Supervisor``: none of them dies unseen.

A death is logged and counted, and the greenlet starts again after a pause that grows. The third death of the same one
within a minute is ``fatal``: the daemon then stops with ``EXIT_CODE``, and systemd starts it anew with a clean state.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import gevent
from gevent import Greenlet
from gevent.event import Event

log = logging.getLogger(__name__)

EXIT_CODE: Final = 70  # EX_SOFTWARE of sysexits.h
FATAL_CRASHES: Final = 3
FATAL_WINDOW_S: Final = 60.0
BACKOFF_MIN_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0


class EndedEarly(Exception):
    """A greenlet that was to run until it is stopped returned instead, or was killed by something else."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the daemon has to stop."""

    name: str
    reason: str
    exit_code: int = EXIT_CODE


class Supervisor:
    """Starts greenlets, watches over them, and stops them in the reverse order, within a bound.

    ``on_crash(name, error)`` is called for each death, before the pause. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        on_crash: Callable[[str, BaseException], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._on_crash = on_crash
        self._clock = clock
        self._sleep = sleep
        self._greenlets: dict[str, Greenlet[..., None]] = {}
        self._stopping = False
        self.fatal = Event()
        """Set once one greenlet has crashed too often; ``failure`` then says which."""
        self.failure: Failure | None = None

    def spawn(self, name: str, run: Callable[[], object], *, once: bool = False) -> None:
        """Runs ``run()`` in a greenlet until ``stop``. If it may end by itself, say ``once``: then only raising counts
        as a crash. ``name`` is one of a small fixed set (it becomes a metric's label) and must not be running."""
        if self._stopping:
            raise RuntimeError(f"{name} cannot start: the supervisor is stopping")
        if name in self._greenlets:
            raise ValueError(f"{name} is running already")
        greenlet = Greenlet(self._keep_running, name, run, once)
        greenlet.name = name
        self._greenlets[name] = greenlet
        greenlet.start()

    @property
    def running(self) -> tuple[str, ...]:
        """The names of those that have not ended, in the order of their start."""
        return tuple(name for name, greenlet in self._greenlets.items() if not greenlet.dead)

    def stop(self, timeout_s: float) -> tuple[str, ...]:
        """Kills all, the last started first, each within its share of ``timeout_s``. Returns who is still running."""
        self._stopping = True
        deadline = self._clock() + timeout_s
        waiting = list(reversed(self._greenlets.items()))
        for left, (_, greenlet) in zip(range(len(waiting), 0, -1), waiting, strict=True):
            greenlet.kill(timeout=max(deadline - self._clock(), 0.0) / left)
        gevent.joinall([greenlet for _, greenlet in waiting], timeout=max(deadline - self._clock(), 0.0))
        stuck = tuple(name for name, greenlet in waiting if not greenlet.dead)
        if stuck:
            log.error("still running %g s after they were told to stop: %s", timeout_s, ", ".join(stuck))
        return stuck

    def give_up(self, name: str, reason: str) -> None:
        """Declares that ``name`` cannot go on, and the daemon neither: ``reason`` is a predicate, as in "lost it"."""
        log.critical("%s %s: the daemon cannot go on", name, reason)
        if self.failure is None:
            self.failure = Failure(name, reason)
        self.fatal.set()

    def _keep_running(self, name: str, run: Callable[[], object], once: bool) -> None:
        crashes: deque[float] = deque(maxlen=FATAL_CRASHES)
        try:
            while not self._stopping:
                error = self._run_once(name, run, once)
                if error is None or self.failure is not None:
                    return
                crashes.append(self._clock())
                recent = sum(1 for at in crashes if crashes[-1] - at <= FATAL_WINDOW_S)
                if recent >= FATAL_CRASHES:
                    self.give_up(name, f"crashed {recent} times within {FATAL_WINDOW_S:g} s, last of {error!r}")
                    return
                self._sleep(min(BACKOFF_MIN_S * 2 ** (recent - 1), BACKOFF_MAX_S))
        except gevent.GreenletExit:
            if not self._stopping:
                # Whoever killed it waits for its end, so it must not start again here.
                self._report(name, EndedEarly(f"{name} was killed"))
                self.give_up(name, "was killed by something that does not own it")
        finally:
            self._greenlets.pop(name, None)

    def _run_once(self, name: str, run: Callable[[], object], once: bool) -> BaseException | None:
        """Runs it to its end; returns what it died of, or ``None`` if it ended as it should."""
        try:
            run()
            if once or self._stopping or self.failure is not None:
                return None
            raise EndedEarly(f"{name} returned, though it was to run until it is stopped")
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  gevent.Timeout is no Exception, and ends a greenlet as well
            self._report(name, error)
            return error

    def _report(self, name: str, error: BaseException) -> None:
        log.error("%s crashed", name, exc_info=error)
        if self._on_crash is None:
            return
        try:
            self._on_crash(name, error)
        except Exception:
            log.exception("counting the crash of %s failed", name)
