"""Incoming calls: they come at a rate, and the caller wants one of a few things.

====================== ===============================================================================
what                   how it goes
====================== ===============================================================================
``ivr`` 40 %           answered, a menu is played, the caller or the switch hangs up
``abandoned`` 15 %     rings, and the caller gives up before anybody answers
``agent`` 20 %         bridged to an agent, then either hangs up
``queue`` 20 %         answered, waits in ``support@default``, an agent takes it (or the caller gives up)
``nowhere`` 5 %        no such extension
====================== ===============================================================================
"""

from __future__ import annotations

import random

from callengine.standin import legs, sipvars
from callengine.standin.apps import run_extension
from callengine.standin.channels import Channel, Profile, Times
from callengine.standin.clock import Script, Task
from callengine.standin.lifecycle import channel_thread
from callengine.standin.switch import Switch

KINDS = ("ivr", "abandoned", "agent", "queue", "nowhere")
_WEIGHTS = (40, 15, 20, 20, 5)
_FIRST_NAMES = ("Ada", "Björn", "Chiara", "Dmitri", "Éloïse", "Farid", "Grace", "Hana")


def arrivals(switch: Switch) -> Script:
    """The stream of incoming calls, exponential gaps around the rate asked for."""
    rng = random.Random(f"inbound:{switch.options.seed}")
    while True:
        yield max(0.02, rng.expovariate(switch.options.inbound_rate))
        place(switch, rng.choices(KINDS, _WEIGHTS)[0], rng)


def place(switch: Switch, kind: str, rng: random.Random, *, called: str = "", caller: str = "") -> Channel | None:
    """One incoming call of a kind; ``None`` if the switch takes none now."""
    if not switch.may_create("inbound"):
        return None
    called = called or rng.choice(switch.options.inbound_numbers)
    caller = caller or f"+1555{rng.randrange(10_000_000):07d}"
    display = rng.choice(_FIRST_NAMES)
    uuid = switch.new_uuid()
    name = f"sofia/internal/{caller}@127.0.0.1:5070"
    now = switch.clock.now_us()
    profile = Profile(
        direction="inbound",
        logical_direction="inbound",
        username=caller,
        dialplan="XML",
        caller_id_name=display,
        caller_id_number=caller,
        orig_caller_id_name=display,
        orig_caller_id_number=caller,
        destination_number=called,
        unique_id=uuid,
        channel_name=name,
        source="mod_sofia",
        context="public",
        network_addr="127.0.0.1",
        ani=caller,
        times=Times(profile_created=now, created=now),
    )
    channel = Channel(uuid, name, profile, switch.next_session_id())
    channel.hit_dialplan = True
    channel.set_all({"direction": "inbound", "uuid": uuid, "call_uuid": uuid})
    channel.set("session_id", str(channel.session_id))
    wire = sipvars.make_wire(rng, caller, "127.0.0.1", "5070", f"{switch.new_uuid()}@127.0.0.1")
    sipvars.invite_received(channel, wire, caller, display, called)
    switch.register(channel)
    channel.next_plan = lambda sw, own: _handle(sw, own, kind, rng.random())
    channel.task = Task(switch.clock, channel_thread(switch, channel))
    legs.announce(switch, channel)
    channel.far_end = Task(switch.clock, _caller(switch, channel, kind, switch.own_rng()))
    return channel


def _handle(switch: Switch, channel: Channel, kind: str, luck: float) -> Script:
    """What the dialplan does with the call."""
    legs.set_callstate(switch, channel, "RINGING")
    agent = f"sofia/gateway/agents/{1001 + int(luck * 5)}"
    menu = "tone_stream://%(1000,0,440);loops=" + str(max(1, round(switch.clock.life(8 + 12 * luck))))
    plans: dict[str, list[tuple[str, str]]] = {
        "ivr": [("answer", ""), ("playback", menu), ("hangup", "NORMAL_CLEARING")],
        "abandoned": [("ring_ready", ""), ("sleep", "60000")],
        "agent": [("set", "hangup_after_bridge=true"), ("bridge", agent)],
        "queue": [("answer", ""), ("callcenter", "support@default")],
    }
    apps = plans.get(kind)
    if apps is None:
        legs.hangup(switch, channel, "NO_ROUTE_DESTINATION")
        return
    yield from run_extension(switch, channel, apps)


def _caller(switch: Switch, channel: Channel, kind: str, rng: random.Random) -> Script:
    """The person who calls: patient for a while."""
    life = switch.clock.life
    patience = {"ivr": (4.0, 40.0), "abandoned": (2.0, 8.0), "agent": (8.0, 30.0), "queue": (6.0, 40.0)}
    low, high = patience.get(kind, (60.0, 60.0))
    yield life(rng.uniform(low, high))
    if not channel.answered and kind == "agent":
        yield life(5.0)
    legs.far_bye(switch, channel, "NORMAL_CLEARING" if channel.answered else "ORIGINATOR_CANCEL")
