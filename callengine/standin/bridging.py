"""Two legs talking: the bridge application and ``uuid_bridge`` (``switch_ivr_bridge.c``).

The leg that bridges runs the bridge in its own thread and carries CHANNEL_BRIDGE and CHANNEL_UNBRIDGE; the other sits
in CS_EXCHANGE_MEDIA. Whichever hangs up first, the other follows within a tick, unless a variable parks it.
"""

from __future__ import annotations

from dataclasses import replace

from callengine.standin import legs, sources
from callengine.standin.channels import Channel, other_leg
from callengine.standin.clock import TICK_S, Script
from callengine.standin.lifecycle import direct, rest, run_broadcasts, unpair
from callengine.standin.switch import Switch

_ASLEEP_WITHIN_US = 5_000_000


def exchange_media(switch: Switch, channel: Channel) -> Script:
    """What the bridged leg does: nothing, until it is over."""
    legs.enter(switch, channel, "CS_EXCHANGE_MEDIA")
    while channel.peer is not None and channel.is_free():
        if channel.broadcasts:
            yield from run_broadcasts(switch, channel)
        else:
            yield None
    if channel.is_free():
        after_bridge(switch, channel)
        channel.set("bridge_hangup_cause", channel.get("last_bridge_hangup_cause"))


def after_bridge(switch: Switch, channel: Channel) -> None:
    """Where a leg goes that has lost its partner."""
    target = channel.get("transfer_after_bridge")
    if channel.flag("park_after_bridge"):
        direct(channel, park_silently)
    elif target:
        extension, _, rest_of_it = target.partition(":")
        dialplan, _, context = rest_of_it.partition(":")
        transfer_to(switch, channel, extension, dialplan, context)
    else:
        legs.hangup(switch, channel, "NORMAL_CLEARING")


def transfer_to(switch: Switch, channel: Channel, extension: str, dialplan: str = "", context: str = "") -> None:
    """Send a channel through the dialplan again, with a new caller profile."""
    for each in (channel, channel.peer):
        if each is not None:
            each.unset("signal_bond")
    channel.other = {}
    channel.other_profile = None
    step_profile(switch, channel, f"bl_xfer:{extension}/{context or channel.profile.context}/{dialplan or 'XML'}")
    profile = channel.profile
    if dialplan.lower() != "inline":
        profile.rdnis = profile.destination_number
    channel.set("max_forwards", channel.get("max_forwards") or "69")
    profile.destination_number = extension
    profile.dialplan = dialplan or "XML"
    profile.context = context or profile.context or "default"
    channel.state_number = 2
    direct(channel, switch.route)


def step_profile(switch: Switch, channel: Channel, source: str) -> None:
    """A new caller profile on top of the old one, as transfers and uuid_bridge make. It knows when the channel was
    created, rang and was answered, but of no bridge or hold: those stay with the old one, in the CDR's callflow."""
    old = channel.profile
    now = switch.clock.now_us()
    times = replace(old.times, profile_created=now, transfer=0, resurrect=0, bridged=0, last_hold=0, hold_accum=0)
    new = replace(old, times=times, profile_index=str(int(old.profile_index or "1") + 1))
    old.times.transfer = now
    new.transfer_source = f"{now // 1_000_000}:{switch.new_uuid()}:{source}"
    channel.past_profiles.append(old)
    channel.profile = new
    channel.set("transfer_history", new.transfer_source)
    channel.set("transfer_source", new.transfer_source)


def park_silently(switch: Switch, channel: Channel) -> Script:
    """CS_PARK: it waits for commands, and no application runs."""
    legs.enter(switch, channel, "CS_PARK")
    switch.channel_event(channel, "CHANNEL_PARK", sources.PARK)
    yield from rest(switch, channel, None, breakable=False)
    switch.channel_event(channel, "CHANNEL_UNPARK", sources.UNPARK)
    if channel.is_free():
        legs.hangup(switch, channel, "NORMAL_CLEARING")


def bridge(switch: Switch, own: Channel, other: Channel, *, stepped: bool = False) -> Script:
    """Bridge ``own`` to ``other`` in ``own``'s thread, until it is over; ``stepped`` after ``uuid_bridge``."""
    now = switch.clock.now_us()
    for giver, taker in ((other, own), (own, other)):
        taker.set_all(switch.exported(giver, "bridge_export_vars"))
    own.peer, other.peer = other, own
    own.bridge_role, other.bridge_role = "originator", "originatee"
    if not stepped:
        own.other = other_leg(other.profile, "originatee", stamps=True)
        own.other_profile = other.profile
        own.profile.callee_id_name = other.profile.callee_id_name
        own.profile.callee_id_number = other.profile.callee_id_number
        own.set("signal_bond", other.uuid)
    own.profile.times.bridged = other.profile.times.bridged = now
    other.call_uuid = own.call_uuid
    other.set("call_uuid", own.call_uuid)
    other.next_plan = exchange_media
    legs.wake(other.task)
    pair = {"Bridge-A-Unique-ID": own.uuid, "Bridge-B-Unique-ID": other.uuid}
    switch.channel_event(own, "CHANNEL_BRIDGE", sources.BRIDGE, lead=pair)
    _set_bridged(own, other)
    _set_bridged(other, own)
    for each in (own, other):
        if each.is_sip:
            switch.channel_event(each, "CALL_UPDATE", sources.CALL_UPDATE)
    while own.peer is other and own.is_free() and not other.hung_up:
        if own.broadcasts:
            yield from run_broadcasts(switch, own)
        else:
            yield None
    yield from _end(switch, own, other, pair)


def _set_bridged(channel: Channel, other: Channel) -> None:
    channel.set_all(
        {
            "bridge_to": other.uuid,
            "last_bridge_to": other.uuid,
            "bridge_channel": other.name,
            "bridge_uuid": other.uuid,
            "signal_bond": other.uuid,
            "last_sent_callee_id_name": channel.profile.callee_id_name,
            "last_sent_callee_id_number": channel.profile.callee_id_number,
        }
    )


def _end(switch: Switch, own: Channel, other: Channel, pair: dict[str, str]) -> Script:
    """One of the two has ended or goes elsewhere. The threads race: whose end is told first varies."""
    late = switch.rng.random() < 0.5
    if own.hung_up or other.peer is not own:
        unpair(own)
        for _ in range(3 if late else 1):
            yield 0.0  # the other leg's thread
    elif late:
        yield TICK_S
    unpair(own)
    own.unset("bridge_to")
    own.set("bridge_hangup_cause", other.cause)
    switch.channel_event(own, "CHANNEL_UNBRIDGE", sources.UNBRIDGE, lead=pair)
    if not other.destroyed and other.call_uuid == own.call_uuid:
        other.call_uuid = other.uuid
        other.set("call_uuid", other.uuid)


# -- uuid_bridge --------------------------------------------------------------------------------------------------


def uuid_bridge(switch: Switch, own: Channel, other: Channel) -> bool:
    """Take two legs out of what they do and bridge them; false if neither has media.

    The first is the one that carries CHANNEL_BRIDGE, unless only the second is answered: then they change places.
    """
    if own.hung_up or other.hung_up or own is other:
        return False
    if not (own.answered or own.early):
        if not (other.answered or other.early):
            return False
        own, other = other, own
    for each, partner in ((own, other), (other, own)):
        if each is own:
            each.set("uuid_bridge", partner.uuid)
        each.set_all({"bridge_channel": partner.name, "bridge_uuid": partner.uuid, "signal_bond": partner.uuid})
    own.profile.logical_direction = "inbound"
    for each in (other, own):
        profile = each.profile
        each.set_all(
            {
                "original_destination_number": profile.destination_number,
                "original_caller_id_name": profile.caller_id_name,
                "original_caller_id_number": profile.caller_id_number,
            }
        )
    for each, partner in ((other, own), (own, other)):
        step_profile(switch, each, f"uuid_br:{partner.uuid}")
    other.other = other_leg(own.profile, "originator", stamps=False)
    own.other = other_leg(other.profile, "originatee", stamps=True)
    other.other_profile, own.other_profile = own.profile, other.profile
    own.profile.callee_id_name = other.profile.callee_id_name
    own.profile.callee_id_number = other.profile.callee_id_number
    other.profile.caller_id_name = own.profile.caller_id_name
    other.profile.caller_id_number = own.profile.caller_id_number
    for each in (own, other):
        each.state_number = 8
    if other.direction == "outbound":
        other.hit_dialplan = False
    direct(own, lambda sw, channel: _soft_bridge(sw, channel, other))
    direct(other, _soft_wait)
    return True


def _soft_wait(switch: Switch, channel: Channel) -> Script:
    """The second leg of ``uuid_bridge`` falls asleep, to be taken into the bridge."""
    for state in ("CS_HIBERNATE", "CS_RESET", "CS_SOFT_EXECUTE"):
        legs.enter(switch, channel, state)
    yield 5.0  # the other one comes within two ticks; if it never does, this one is lost
    if channel.peer is None and channel.is_free():
        after_bridge(switch, channel)


def _soft_bridge(switch: Switch, channel: Channel, other: Channel) -> Script:
    for state in ("CS_HIBERNATE", "CS_RESET", "CS_SOFT_EXECUTE"):
        legs.enter(switch, channel, state)
    channel.unset("uuid_bridge")
    begun_us = now_us = switch.clock.now_us()
    while channel.is_free() and not other.hung_up and now_us < begun_us + _ASLEEP_WITHIN_US:
        if now_us > begun_us and other.running_state == "CS_SOFT_EXECUTE":
            break
        yield TICK_S  # the other leg is still leaving what it did
        now_us = switch.clock.now_us()
    if not channel.is_free():
        return
    if other.hung_up or other.running_state != "CS_SOFT_EXECUTE":
        legs.hangup(switch, channel, "DESTINATION_OUT_OF_ORDER")
        return
    for each, partner in ((channel, other), (other, channel)):
        trail = {"Application": "uuid_bridge", "Application-Data": partner.uuid}
        switch.channel_event(each, "CHANNEL_EXECUTE", sources.SOFT_EXECUTE, trail=trail)
    yield from bridge(switch, channel, other, stepped=True)
    if channel.is_free():
        after_bridge(switch, channel)
