"""A channel's own thread: it does what it is told to, until it is hung up, and then it ends.

What it is told is a plan: a script that a transfer, a park, a bridge or an originate puts into ``next_plan``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from callengine.standin import legs
from callengine.standin.channels import Channel
from callengine.standin.clock import Script
from callengine.standin.switch import Switch

Plan: TypeAlias = Callable[[Switch, Channel], Script]


def channel_thread(switch: Switch, channel: Channel) -> Script:
    """From the moment a channel exists to its CHANNEL_DESTROY."""
    while not channel.hung_up:
        plan, channel.next_plan = channel.next_plan, None
        if plan is not None:
            yield from plan(switch, channel)
        elif channel.broadcasts:
            yield from run_broadcasts(switch, channel)
        else:
            yield None
    yield from legs.wind_down(switch, channel)


def run_broadcasts(switch: Switch, channel: Channel) -> Script:
    """Applications that were put in from outside: ``uuid_broadcast``, ``execute_on_answer``."""
    while channel.broadcasts and channel.is_free():
        name, data = channel.broadcasts.pop(0)
        yield from switch.execute(switch, channel, name, data)


def rest(switch: Switch, channel: Channel, seconds: float | None, *, breakable: bool = True) -> Script:
    """Wait as an application waits: till the time is over, or the channel is hung up, sent elsewhere or told to break.
    Applications that are put in meanwhile are run."""
    clock = switch.clock
    until_us = None if seconds is None else clock.now_us() + int(seconds * 1_000_000)
    while channel.is_free():
        if channel.broadcasts:
            yield from run_broadcasts(switch, channel)
            continue
        if channel.breaking:
            channel.breaking = False
            if breakable:
                return
            continue
        if until_us is None:
            yield None
        else:
            left_s = (until_us - clock.now_us()) / 1_000_000
            if left_s <= 0:
                return
            yield left_s


def direct(channel: Channel, plan: Plan) -> None:
    """Send the channel elsewhere: what it does now ends, and then it does this. A partner is left behind."""
    unpair(channel)
    channel.next_plan = plan
    legs.wake(channel.task)


def unpair(channel: Channel) -> None:
    """End a bridge; both threads see it."""
    partner = channel.peer
    if partner is not None:
        channel.peer = partner.peer = None
        legs.wake(channel.task)
        legs.wake(partner.task)
