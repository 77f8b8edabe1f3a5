"""The switch's core: its channels, its counters, and the bus that every event goes through."""

from __future__ import annotations

import logging
import random
import uuid as uuids
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from callengine.standin import sources
from callengine.standin.channels import Channel
from callengine.standin.clock import Clock, Script, Task
from callengine.standin.dialstring import separate
from callengine.standin.events import Block, Event, Source, Stamps, Value
from callengine.standin.faults import Faults
from callengine.standin.options import Options

log = logging.getLogger(__name__)

VERSION = "1.10.12-release"
BANNER = "not FreeSWITCH, a stand-in for tests and demos"
_NO_CHANNEL: dict[str, Value] = {}

#: Where a call goes that runs the dialplan, and how an application is run: given to the switch by who builds it.
Router: TypeAlias = "Callable[[Switch, Channel], Script]"
Executor: TypeAlias = "Callable[[Switch, Channel, str, str], Script]"


def _matches(names: set[str], subclasses: set[str], name: str, subclass: str) -> bool:
    """Whether a subscription takes an event; of CUSTOM it takes its subclasses, and what has none."""
    if "ALL" in names:
        return True
    return name in names and (name != "CUSTOM" or not subclass or subclass in subclasses)


class Listener(Protocol):
    """Who wants events: a session of the event socket."""

    @property
    def event_names(self) -> set[str]: ...

    @property
    def subclasses(self) -> set[str]: ...

    def deliver(self, event: Event) -> None: ...


class Switch:
    """One incarnation after another of the same machine: ``restart`` gives it a new Core-UUID and no channels."""

    def __init__(self, options: Options, *, route: Router, execute: Executor) -> None:
        self.options = options
        self.route = route
        self.execute = execute
        self.clock = Clock(seed=options.seed, time_scale=options.time_scale)
        self.rng = random.Random(options.seed)
        self._overtaking = random.Random(f"overtaking:{options.seed}")
        self.faults = Faults(self.clock)
        self.channels: dict[str, Channel] = {}
        self.listeners: list[Listener] = []
        self.globals = {"hostname": options.hostname, "domain": "127.0.0.1", "local_ip_v4": "127.0.0.1"}
        self.background: set[Task] = set()
        self.on_shutdown: Callable[[str], None] = lambda _how: None
        self.scheduled = 0
        self.max_sessions = options.max_sessions
        self.sessions_per_second = options.sessions_per_second
        self._names: set[str] = set()
        self._subclasses: set[str] = set()
        self._held: Event | None = None
        self._begin_core()

    def _begin_core(self) -> None:
        self.core_uuid = str(uuids.uuid4())
        self.stamps = Stamps(self.core_uuid, self.options.hostname)
        self.started_us = self.clock.exact_us()
        self.sequence = 475
        self.sessions_ever = 0
        self.sessions_peak = 0
        self.rate_peak = 0
        self.paused_inbound = self.paused_outbound = self.shutting_down = False
        self._starts: deque[int] = deque()
        self._rate_second = -1
        self._rate_count = 0
        self._rate_last = 0

    def restart(self) -> None:
        """Come back as a new core that knows no channel."""
        for channel in list(self.channels.values()):
            channel.destroyed = True
            for task in (channel.task, channel.far_end, channel.watcher):
                if task is not None:
                    task.cancel()
        self.channels.clear()
        for task in list(self.background):  # ending, a task may take itself out
            task.cancel()
        self.background.clear()
        self.clock.forget()
        self._held = None
        self._begin_core()

    # -- threads and names ---------------------------------------------------------------------------------------

    def new_uuid(self) -> str:
        """Channel UUIDs are random even with a seed: a database may have seen an earlier run with the same one."""
        return str(uuids.uuid4())

    def own_rng(self) -> random.Random:
        """A generator for one call, so that calls do not disturb each other's draws."""
        return random.Random(f"{self.options.seed}:{self.sessions_ever}")

    # -- channels ------------------------------------------------------------------------------------------------

    def may_create(self, direction: str) -> bool:
        """Whether a session may be made now: not paused, below max-sessions and sessions-per-second."""
        paused = self.paused_outbound if direction == "outbound" else self.paused_inbound
        if paused or self.shutting_down or len(self.channels) >= self.max_sessions:
            return False
        return self._count_start()

    def _count_start(self) -> bool:
        second = self.clock.now_us() // 1_000_000
        if second != self._rate_second:
            self._rate_last = self._rate_count if second == self._rate_second + 1 else 0
            self._rate_second = second
            self._rate_count = 0
        if self._rate_count >= self.sessions_per_second:
            return False
        self._rate_count += 1
        self.rate_peak = max(self.rate_peak, self._rate_count)
        return True

    def rate(self) -> tuple[int, int]:
        """Sessions begun in this second and in the one before."""
        second = self.clock.now_us() // 1_000_000
        if second == self._rate_second:
            return self._rate_count, self._rate_last
        return 0, self._rate_count if second == self._rate_second + 1 else 0

    def next_session_id(self) -> int:
        self.sessions_ever += 1
        return self.sessions_ever

    def register(self, channel: Channel) -> None:
        self.channels[channel.uuid] = channel
        self.sessions_peak = max(self.sessions_peak, len(self.channels))

    def unregister(self, channel: Channel) -> None:
        channel.destroyed = True
        if self.channels.get(channel.uuid) is channel:
            del self.channels[channel.uuid]

    def exported(self, channel: Channel, listed_in: str) -> dict[str, str]:
        """What a channel hands on to the leg it dials or bridges: the variables that one of its variables lists."""
        names = channel.get(listed_in)
        values = {listed_in: names} if names else {}
        for name in separate(names, ",", 256):
            value = self.value_of(channel, name)
            if value:
                values[name.removeprefix("nolocal:").removeprefix("_nolocal_")] = value
        return values

    def value_of(self, channel: Channel, name: str) -> str:
        """A channel's variable, or what its caller profile or the switch has by that name."""
        return channel.get(name) or channel.profile.named(name) or self.globals.get(name, "")

    # -- events --------------------------------------------------------------------------------------------------

    def subscriptions_changed(self) -> None:
        self._names = set().union(*(listener.event_names for listener in self.listeners))
        self._subclasses = set().union(*(listener.subclasses for listener in self.listeners))

    def wanted(self, name: str, subclass: str = "") -> bool:
        """Whether anybody would get such an event; if not, it is counted and never made."""
        return _matches(self._names, self._subclasses, name, subclass)

    def emit(
        self, name: str, source: Source, *blocks: Block, body: str | None = None, subclass: str = ""
    ) -> Event | None:
        """Make an event and hand it to who subscribed. A CUSTOM event begins with its subclass, as the real one."""
        self.sequence += 1
        if not self.wanted(name, subclass):
            return None
        base = self.stamps.block(name, self.clock.now_us(), self.sequence, source)
        lead: tuple[Block, ...] = ({"Event-Subclass": subclass},) if subclass else ()
        event = Event(name, (*lead, base, *blocks), body, subclass)
        self._send(event)
        return event

    def emit_raw(self, name: str, lead: Block, source: Source, body: str | None, subclass: str) -> None:
        """An event that a client sent: its own headers come before those of the core."""
        self.sequence += 1
        base = self.stamps.block(name, self.clock.now_us(), self.sequence, source)
        self._send(Event(name, (lead, base), body, subclass))

    def channel_event(
        self,
        channel: Channel,
        name: str,
        source: Source,
        *,
        lead: Block = _NO_CHANNEL,
        trail: Block = _NO_CHANNEL,
        variables: bool = True,
        subclass: str = "",
    ) -> None:
        """An event of a channel: ``lead`` before its headers, ``trail`` behind its variables."""
        if not self.wanted(name, subclass):
            self.sequence += 1
            return
        own: Block = channel.variables.copy() if variables else _NO_CHANNEL
        self.emit(name, source, lead, channel.basic_block(), own, trail, subclass=subclass)

    def _send(self, event: Event) -> None:
        """Numbered at creation, sent a little out of order: now and then an event overtakes another channel's."""
        held, self._held = self._held, None
        if held is not None:
            overtakes = event.name.startswith("CHANNEL_") and event.header("Unique-ID") != held.header("Unique-ID")
            for each in (event, held) if overtakes else (held, event):
                self.faults.pass_on(each, self._deliver)
        elif event.name.startswith("CHANNEL_") and self._overtaking.random() < self.options.reorder:
            self._held = event
            self.clock.soon(self._flush)
        else:
            self.faults.pass_on(event, self._deliver)

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.faults.pass_on(held, self._deliver)

    def _deliver(self, event: Event) -> None:
        for listener in self.listeners:
            if _matches(listener.event_names, listener.subclasses, event.name, event.subclass):
                listener.deliver(event)

    # -- what the core says of itself ----------------------------------------------------------------------------

    def uptime_text(self) -> str:
        us = self.clock.exact_us() - self.started_us
        seconds, us = divmod(us, 1_000_000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        years, days = divmod(days, 365)
        parts = (
            (years, "year"),
            (days, "day"),
            (hours, "hour"),
            (minutes, "minute"),
            (seconds, "second"),
            (us // 1000, "millisecond"),
            (us % 1000, "microsecond"),
        )
        return ", ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts)

    def heartbeat(self) -> None:
        """With the session counts; ``Session-Per-Sec`` is what is left of the rate."""
        now, last = self.rate()
        uptime_ms = (self.clock.exact_us() - self.started_us) // 1000
        self.emit(
            "HEARTBEAT",
            sources.HEARTBEAT,
            {
                "Event-Info": "System Ready",
                "Up-Time": self.uptime_text(),
                "FreeSWITCH-Version": f"{VERSION}~64bit",
                "Uptime-msec": str(uptime_ms),
                "Session-Count": str(len(self.channels)),
                "Max-Sessions": str(self.max_sessions),
                "Session-Per-Sec": str(self.sessions_per_second - now),
                "Session-Per-Sec-Last": str(last),
                "Session-Per-Sec-Max": str(self.rate_peak),
                "Session-Per-Sec-FiveMin": str(self.rate_peak),
                "Session-Since-Startup": str(self.sessions_ever),
                "Session-Peak-Max": str(self.sessions_peak),
                "Session-Peak-FiveMin": str(self.sessions_peak),
                "Idle-CPU": "90.000000",
            },
        )
