"""Things that go wrong, on purpose: what a test asks of the stand-in so that it can see what its client does.

They act on events on their way to the listeners. Those that act on connections are methods of ``StandIn``; all can be
had by the private API command ``standin_fault`` (``fault_command.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from callengine.standin.clock import Clock
from callengine.standin.events import Event

Deliver = Callable[[Event], None]


class Faults:
    """All off at first. Counts are of events still to be treated, times are real seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        self.silent = False
        self.drop_next = 0
        self.drop_names: set[str] = set()
        self.duplicate_next = 0
        self.delay_next = 0
        self.delay_s = 0.0
        self.dropped = 0
        self.header_only_recordings = False

    def pass_on(self, event: Event, deliver: Deliver) -> None:
        """Deliver the event as the faults of the moment have it."""
        if self.silent or event.name in self.drop_names:
            self.dropped += 1
        elif self.drop_next > 0:
            self.drop_next -= 1
            self.dropped += 1
        elif self.delay_next > 0:
            self.delay_next -= 1
            self._clock.after(self.delay_s, deliver, event)
        else:
            deliver(event)
            if self.duplicate_next > 0:
                self.duplicate_next -= 1
                deliver(event)
