"""The loopback endpoint: two channels back to back (``mod_loopback.c``).

``loopback/EXT-a`` is the leg that was dialled; ``loopback/EXT-b`` comes in on the dialplan. What one does, the other
shows. They run in threads of their own, so that their events come in more than one order: now and then the second one
has been created and answered before the first one's CHANNEL_CREATE.
"""

from __future__ import annotations

from callengine.standin import legs, sources
from callengine.standin.channels import Channel, Profile, Times
from callengine.standin.clock import Task
from callengine.standin.lifecycle import channel_thread
from callengine.standin.switch import Switch


def make_twin(switch: Switch, first: Channel, given: dict[str, str]) -> None:
    """Create the second channel and let both begin."""
    now = switch.clock.now_us()
    uuid = switch.new_uuid()
    own = first.profile
    profile = Profile(
        direction="inbound",
        logical_direction="inbound",
        caller_id_name=own.caller_id_name,
        caller_id_number=own.caller_id_number,
        orig_caller_id_name=own.orig_caller_id_name,
        orig_caller_id_number=own.orig_caller_id_number,
        destination_number=own.destination_number,
        unique_id=uuid,
        channel_name=first.name[:-1] + "b",
        source="mod_loopback",
        context=own.context,
        dialplan="xml",
        callee_id_name=own.callee_id_name,
        callee_id_number=own.context,
        ani=own.ani,
        times=Times(profile_created=now, created=now),
    )
    twin = Channel(uuid, profile.channel_name, profile, switch.next_session_id())
    twin.codec = "L16"
    twin.hit_dialplan = True
    twin.loopback_twin, first.loopback_twin = first, twin
    twin.set_all({"direction": "inbound", "uuid": uuid, "call_uuid": uuid, "session_id": str(twin.session_id)})
    twin.set("channel_name", twin.name)
    for channel in (twin, first):
        channel.set_all({"read_codec": "L16", "read_rate": "8000", "write_codec": "L16", "write_rate": "8000"})
    twin.set_all(given)
    twin.set_all({"other_loopback_leg_uuid": first.uuid, "loopback_leg": "B"})
    first.set("other_loopback_leg_uuid", twin.uuid)
    switch.register(twin)
    lead = {"Old-Unique-ID": switch.new_uuid()}  # it is made under another UUID and takes the one that was asked for
    switch.channel_event(first, "CHANNEL_UUID", sources.SET_UUID, lead=lead, variables=False)
    late_birth = switch.rng.random() < switch.options.early_loopback
    if late_birth:
        first.enter("CS_INIT", 1)
    else:
        first.set("loopback_leg", "A")
        legs.announce(switch, first)
    legs.announce(switch, twin)
    twin.next_plan = switch.route
    twin.task = Task(switch.clock, channel_thread(switch, twin))
    if late_birth:
        switch.clock.soon(_born, switch, first)


def _born(switch: Switch, first: Channel) -> None:
    """The first channel comes to be when the second one is already at work."""
    first.set("loopback_leg", "A")
    legs.created(switch, first)
    if not first.hung_up:
        legs.enter(switch, first, "CS_ROUTING")
        legs.enter(switch, first, "CS_CONSUME_MEDIA")
