"""What an endpoint makes of an address: the channel of a leg, or the cause why there is none.

========================= =========================================================================================
``sofia/gateway/G/N``     a SIP leg, unless G is unknown (INVALID_GATEWAY: a lone CHANNEL_DESTROY)
``sofia/P/N@host``        a SIP leg, unless P begins with ``no`` (INVALID_PROFILE: likewise)
``sofia/P/N%domain``      or without a host: nobody is registered here, USER_NOT_REGISTERED (likewise)
``user/N``                a SIP leg with ``dialed_user``, unless N begins with ``9``, ``no`` or ``absent``
                          (SUBSCRIBER_ABSENT: no event at all)
``loopback/EXT/CONTEXT``  two channels, the second of which runs the dialplan
``null/…``                answers at once
``error/CAUSE``           that cause (no event at all)
anything else             CHAN_NOT_IMPLEMENTED (no event at all)
========================= =========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

from callengine.standin import far_end, legs, loopback, scenarios, sipvars, sources
from callengine.standin.causes import CAUSES
from callengine.standin.channels import Channel, Profile, Times, is_true, other_leg
from callengine.standin.clock import Task
from callengine.standin.dialstring import LegTarget, assignable
from callengine.standin.lifecycle import channel_thread
from callengine.standin.switch import Switch


class LegNotCreated(Exception):
    """An endpoint made no channel; ``cause`` is what originate answers."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


@dataclass(slots=True)
class Attempt:
    """One originate under way: for whom, with which variables for all legs, and every leg it made."""

    switch: Switch
    waiter: Task
    originator: Channel | None
    variables: dict[str, str]
    timeout_s: int
    legs: list[Channel] = field(default_factory=list)

    @property
    def takes_early_media(self) -> bool:
        return not is_true(self.variables.get("ignore_early_media", ""))


def create_leg(attempt: Attempt, common: dict[str, str], target: LegTarget) -> Channel:
    """Make the channel of one leg and let it begin; raises ``LegNotCreated``."""
    variables = {**target.variables, **common}
    makers = {"sofia": _sofia, "user": _user, "loopback": _loopback, "error": _error, "null": _null}
    maker = makers.get(target.endpoint)
    if maker is None:
        raise LegNotCreated("CHAN_NOT_IMPLEMENTED")
    return maker(attempt, variables, target)


def new_channel(
    attempt: Attempt, variables: dict[str, str], name: str, number: str, *, source: str = "src/switch_ivr_originate.c"
) -> Channel:
    """A fresh outgoing channel with its profile; raises ``LegNotCreated`` if the switch takes no more."""
    switch = attempt.switch
    uuid = variables.get("origination_uuid", "") or switch.new_uuid()
    if uuid in switch.channels or not switch.may_create("outbound"):
        raise LegNotCreated("DESTINATION_OUT_OF_ORDER")
    profile = _profile_for(attempt, variables, uuid, name, number, source)
    channel = Channel(uuid, name, profile, switch.next_session_id())
    channel.held_by_originate = True
    channel.watcher = attempt.waiter
    if attempt.originator is not None:
        originator = attempt.originator
        channel.call_uuid = originator.call_uuid
        channel.other = other_leg(originator.profile, "originator", stamps=False)
        channel.other_profile = originator.profile
    switch.register(channel)
    attempt.legs.append(channel)
    return channel


def _profile_for(
    attempt: Attempt, variables: dict[str, str], uuid: str, name: str, number: str, source: str
) -> Profile:
    now = attempt.switch.clock.now_us()
    origin = attempt.originator.profile if attempt.originator is not None else None
    caller_name = variables.get("origination_caller_id_name", origin.caller_id_name if origin else "")
    caller = variables.get("origination_caller_id_number", origin.caller_id_number if origin else "0000000000")
    return Profile(
        direction="outbound",
        logical_direction="outbound",
        caller_id_name=caller_name,
        caller_id_number=caller,
        orig_caller_id_name=origin.orig_caller_id_name if origin else caller_name,
        orig_caller_id_number=origin.orig_caller_id_number if origin else caller,
        destination_number=number,
        unique_id=uuid,
        channel_name=name,
        source=origin.source if origin and source.startswith("src/") else source,
        context=origin.context if origin else "default",
        username=origin.username if origin else "",
        dialplan=origin.dialplan if origin else "",
        callee_id_name=variables.get("origination_callee_id_name", "Outbound Call"),
        callee_id_number=variables.get("origination_callee_id_number", number),
        network_addr=origin.network_addr if origin else "",
        ani=origin.ani if origin else caller,
        times=Times(profile_created=now, created=now),
    )


def _lone_destroy(attempt: Attempt, variables: dict[str, str], cause: str) -> LegNotCreated:
    """A session that was made and thrown away before it was a channel: a CHANNEL_DESTROY and nothing else."""
    switch = attempt.switch
    uuid = variables.get("origination_uuid", "") or switch.new_uuid()
    if uuid in switch.channels or not switch.may_create("outbound"):
        return LegNotCreated("DESTINATION_OUT_OF_ORDER")
    session_id = switch.next_session_id()
    call_uuid = attempt.originator.call_uuid if attempt.originator is not None else uuid
    switch.emit(
        "CHANNEL_DESTROY",
        sources.DESTROY,
        {
            "Channel-State": "CS_NONE",
            "Channel-Call-State": "DOWN",
            "Channel-State-Number": "0",
            "Channel-Name": "N/A",
            "Unique-ID": uuid,
            "Call-Direction": "outbound",
            "Presence-Call-Direction": "outbound",
            "Channel-HIT-Dialplan": "false",
            "Channel-Call-UUID": call_uuid,
            "Answer-State": "ringing",
            "variable_direction": "outbound",
            "variable_is_outbound": "true",
            "variable_uuid": uuid,
            "variable_call_uuid": call_uuid,
            "variable_session_id": str(session_id),
        },
    )
    return LegNotCreated(cause)


def _error(_attempt: Attempt, _variables: dict[str, str], target: LegTarget) -> Channel:
    cause = target.address.upper()
    raise LegNotCreated(cause if cause in CAUSES else "NORMAL_CLEARING")


def _user(attempt: Attempt, variables: dict[str, str], target: LegTarget) -> Channel:
    user, _, domain = target.address.partition("@")
    if not user or user.startswith(("9", "absent", "no")):
        raise LegNotCreated("SUBSCRIBER_ABSENT")
    domain = domain or "127.0.0.1"
    dialled = {
        **variables,
        "dialed_user": user,
        "dialed_domain": domain,
        "presence_id": f"{user}@{domain}",
    }
    return _sip_leg(attempt, dialled, profile="internal", number=user, host="127.0.0.1", port="5090", user=True)


def _sofia(attempt: Attempt, variables: dict[str, str], target: LegTarget) -> Channel:
    parts = target.address.split("/")
    if parts[0] == "gateway" and len(parts) >= 3:
        gateway, number = parts[1], "/".join(parts[2:])
        if not attempt.switch.options.knows_gateway(gateway):
            raise _lone_destroy(attempt, variables, "INVALID_GATEWAY")
        return _sip_leg(
            attempt, variables, profile="internal", number=number, host="127.0.0.1", port="5080", gateway=gateway
        )
    profile, address = parts[0], "/".join(parts[1:])
    if profile.startswith(("no", "invalid", "unknown")) or not address:
        raise _lone_destroy(attempt, variables, "INVALID_PROFILE")
    if "%" in address or "@" not in address:
        raise _lone_destroy(attempt, variables, "USER_NOT_REGISTERED")
    number, _, where = address.partition("@")
    host, _, port = where.partition(":")
    return _sip_leg(attempt, variables, profile=profile, number=number, host=host, port=port or "5060", at=where)


def _sip_leg(
    attempt: Attempt,
    variables: dict[str, str],
    *,
    profile: str,
    number: str,
    host: str,
    port: str,
    gateway: str = "",
    at: str = "",
    user: bool = False,
) -> Channel:
    switch = attempt.switch
    name = f"sofia/{profile}/{number}@{at}" if at else f"sofia/{profile}/{number}"
    channel = new_channel(attempt, variables, name, number)
    rng = switch.own_rng()
    wire = sipvars.make_wire(rng, number, host, port, switch.new_uuid())
    _initial_variables(attempt, channel, variables, "sofia", gateway=gateway, number=number, host=host, port=port)
    if not gateway:
        channel.set("sip_profile_name", profile)
    sipvars.invite_sent(channel, wire, profile, offers="0 101 13" if attempt.originator else "0 8 101 13")
    channel.task = Task(switch.clock, channel_thread(switch, channel))
    legs.announce(switch, channel)
    far_end.note(switch.options, channel, number)
    is_agent = user or gateway == "agents" or attempt.originator is not None
    channel.far_end = Task(switch.clock, scenarios.far_end(switch, channel, wire, number, rng, agent=is_agent))
    return channel


def _initial_variables(
    attempt: Attempt,
    channel: Channel,
    variables: dict[str, str],
    endpoint: str,
    *,
    gateway: str = "",
    number: str = "",
    host: str = "",
    port: str = "",
) -> None:
    """What a leg has at its CHANNEL_CREATE; what was given in ``{}`` is on this leg only."""
    originator = attempt.originator
    channel.set_all({"direction": "outbound", "is_outbound": "true", "uuid": channel.uuid})
    if originator is None:
        channel.set("call_uuid", channel.call_uuid)
    channel.set("session_id", str(channel.session_id))
    if endpoint == "sofia":
        if gateway:
            channel.set("sip_gateway_name", gateway)
        channel.set_all({"sip_local_network_addr": "127.0.0.1", "sip_profile_name": "gateway" if gateway else ""})
        channel.set_all({"video_media_flow": "disabled" if originator is None else "", "text_media_flow": "disabled"})
    channel.set("channel_name", channel.name)
    if endpoint == "sofia":
        channel.set("sip_destination_url", f"sip:{number}@{host}:{port}")
    if originator is not None:
        channel.set_all(
            {
                "max_forwards": "70",
                "originator_codec": "PCMU@8000h@20i",
                "originator": originator.uuid,
                "signal_bond": originator.uuid,
                "switch_m_sdp": originator.get("switch_r_sdp"),
                "call_uuid": originator.call_uuid,
            }
        )
    channel.set_all(assignable(variables))
    channel.set("originate_early_media", "true" if attempt.takes_early_media else "false")
    if originator is not None:
        channel.set("originating_leg_uuid", originator.uuid)
    channel.set("originate_endpoint", endpoint)


def _null(attempt: Attempt, variables: dict[str, str], target: LegTarget) -> Channel:
    """The null endpoint: it answers at once and stays."""
    channel = new_channel(attempt, variables, f"null/{target.address}", target.address)
    channel.codec = "L16"
    _initial_variables(attempt, channel, variables, "null")
    channel.task = Task(attempt.switch.clock, channel_thread(attempt.switch, channel))
    legs.announce(attempt.switch, channel)
    attempt.switch.clock.soon(legs.answer, attempt.switch, channel)
    return channel


def _loopback(attempt: Attempt, variables: dict[str, str], target: LegTarget) -> Channel:
    """Two channels: ``-a`` is the leg, ``-b`` runs the dialplan, and each follows the other."""
    switch = attempt.switch
    extension, _, context = target.address.partition("/")
    first = new_channel(attempt, variables, f"loopback/{extension}-a", extension, source="mod_loopback")
    first.profile.dialplan = "xml"
    first.profile.context = context.partition("/")[0] or "default"
    first.profile.callee_id_number = first.profile.context
    first.codec = "L16"
    _initial_variables(attempt, first, variables, "loopback")
    first.task = Task(switch.clock, channel_thread(switch, first))
    loopback.make_twin(switch, first, assignable(variables))
    return first
