"""Dialplan applications, as far as calls here need them.

An application runs in its channel's thread between a CHANNEL_EXECUTE and a CHANNEL_EXECUTE_COMPLETE. One that does not
exist ends the channel with DESTINATION_OUT_OF_ORDER and without the latter (``switch_core_session_exec``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from callengine.standin import callcenter, legs, recording, sipvars, sources
from callengine.standin.bridging import bridge, transfer_to, uuid_bridge
from callengine.standin.causes import SIP_RESPONSES, parse_cause
from callengine.standin.channels import AppRun, Channel
from callengine.standin.clock import TICK_S, Script
from callengine.standin.expand import expand
from callengine.standin.lifecycle import rest
from callengine.standin.originate import Outcome, dial, release
from callengine.standin.switch import Switch

App: TypeAlias = Callable[[Switch, Channel, str], Script]

#: A failed bridge with one of these lets the dialplan go on; any other ends the channel with it.
_GOES_ON: Final = frozenset({"NO_ANSWER", "NO_USER_RESPONSE", "ORIGINATOR_CANCEL"})


def execute(switch: Switch, channel: Channel, name: str, data: str) -> Script:
    """Run one application."""
    app = APPS.get(name)
    if app is None:
        legs.hangup(switch, channel, "DESTINATION_OUT_OF_ORDER")
        return
    if not channel.flag("app_disable_expand_variables"):
        data = expand_for(switch, channel, data)
    channel.app_log.append(AppRun(name, data, switch.clock.now_us()))
    outer = channel.executing
    channel.executing = name
    channel.unset("current_application_data")
    channel.set("current_application_data", data)
    channel.set("current_application", name)
    trail = {"Application": name}
    if data:
        trail["Application-Data"] = data
    trail["Application-UUID"] = switch.new_uuid()
    switch.channel_event(channel, "CHANNEL_EXECUTE", sources.EXECUTE, trail=trail)
    yield from app(switch, channel, data)
    identity = trail.pop("Application-UUID")
    trail["Application-Response"] = channel.get("current_application_response") or "_none_"
    trail["Application-UUID"] = identity
    switch.channel_event(channel, "CHANNEL_EXECUTE_COMPLETE", sources.EXECUTE_COMPLETE, trail=trail)
    channel.executing = outer


def run_extension(switch: Switch, channel: Channel, apps: list[tuple[str, str]]) -> Script:
    """CS_EXECUTE: one application after another; when they are done, so is the call."""
    legs.hit_dialplan(switch, channel)
    legs.enter(switch, channel, "CS_EXECUTE")
    for name, data in apps:
        yield from execute(switch, channel, name, data)
        if not channel.is_free():
            return
    legs.hangup(switch, channel, "NORMAL_CLEARING")


def expand_for(switch: Switch, channel: Channel, text: str) -> str:
    """An application's argument with the variables of its channel."""
    return expand(text, lambda name: switch.value_of(channel, name))


# -- the applications ---------------------------------------------------------------------------------------------


def _park(switch: Switch, channel: Channel, _data: str) -> Script:
    switch.channel_event(channel, "CHANNEL_PARK", sources.PARK)
    yield from rest(switch, channel, None, breakable=False)
    switch.channel_event(channel, "CHANNEL_UNPARK", sources.UNPARK)


def _answer(switch: Switch, channel: Channel, _data: str) -> Script:
    pick_up(switch, channel)
    yield from ()


def pick_up(switch: Switch, channel: Channel) -> None:
    """Answer an incoming channel (an outgoing one is answered by its far end, if at all)."""
    if channel.direction != "inbound" or channel.answered or channel.hung_up:
        return
    if channel.is_sip:
        sipvars.answer_sent(channel, sipvars.local_wire(channel))
    legs.answer(switch, channel)


def _ring_ready(switch: Switch, channel: Channel, _data: str) -> Script:
    if channel.direction == "inbound":
        legs.ring(switch, channel)
    yield from ()


def _pre_answer(switch: Switch, channel: Channel, _data: str) -> Script:
    if channel.direction == "inbound":
        legs.early_media(switch, channel)
    yield from ()


def _hangup(switch: Switch, channel: Channel, data: str) -> Script:
    legs.hangup(switch, channel, parse_cause(data) if data else "NORMAL_CLEARING")
    yield from ()


def _respond(switch: Switch, channel: Channel, data: str) -> Script:
    code = data.partition(" ")[0]
    status = int(code) if code.isdigit() else 488
    if channel.is_sip and channel.direction == "inbound":
        channel.set("sip_hangup_disposition", "send_refuse")
        legs.hangup(switch, channel, SIP_RESPONSES.get(status, ("", "NORMAL_CLEARING"))[1])
    yield from ()


def _sleep(switch: Switch, channel: Channel, data: str) -> Script:
    milliseconds = int(data) if data.isdigit() else 0
    yield from rest(switch, channel, milliseconds / 1000)


def _set(switch: Switch, channel: Channel, data: str) -> Script:
    name, _, value = data.partition("=")
    if name:
        channel.set(name.strip(), expand_for(switch, channel, value))
    yield from ()


def _unset(_switch: Switch, channel: Channel, data: str) -> Script:
    channel.unset(data.strip())
    yield from ()


def playing_time_s(file: str) -> float | None:
    """How long a file lasts: ``tone_stream://%(on,off,…);loops=N`` says so, a WAV here 5 s; ``None`` is for ever."""
    stream, _, options = file.partition(";loops=")
    if options.startswith("-1"):
        return None
    loops = int(options) if options.isdigit() else 1
    if "%(" not in stream:
        return 5.0
    on_off = stream.partition("%(")[2].partition(")")[0].split(",")
    return sum(float(each) for each in on_off[:2] if each.strip().isdigit()) / 1000 * loops


def _playback(switch: Switch, channel: Channel, data: str) -> Script:
    began = switch.clock.now_us()
    yield from rest(switch, channel, playing_time_s(data))
    played_ms = (switch.clock.now_us() - began) // 20_000 * 20
    channel.set_all(
        {
            "playback_last_offset_pos": str(played_ms * 8),
            "playback_seconds": str(played_ms // 1000),
            "playback_ms": str(played_ms),
            "playback_samples": str(played_ms * 8),
            "current_application_response": "FILE PLAYED",
        }
    )


def _echo(switch: Switch, channel: Channel, _data: str) -> Script:
    pick_up(switch, channel)
    yield from rest(switch, channel, None)


def _record_session(switch: Switch, channel: Channel, data: str) -> Script:
    path, _, limit = data.partition(" +")
    recording.start(switch, channel, path, limit_s=int(limit) if limit.isdigit() else 0, at_once=True)
    yield from ()


def _stop_record_session(switch: Switch, channel: Channel, data: str) -> Script:
    for path, each in list(channel.recordings.items()):
        if data in {path, "all"}:
            recording.stop(switch, channel, each)
    yield from ()


def _record(switch: Switch, channel: Channel, data: str) -> Script:
    """``record PATH [SECONDS]``: to the end of the time, or of the call."""
    path, _, others = data.partition(" ")
    limit = others.partition(" ")[0]
    if recording.start(switch, channel, path, at_once=True):
        yield from rest(switch, channel, float(limit) if limit.isdigit() else None)
        if path in channel.recordings:
            recording.stop(switch, channel, channel.recordings[path])


def _sched_hangup(switch: Switch, channel: Channel, data: str) -> Script:
    when, _, cause = data.partition(" ")
    schedule_hangup(switch, channel, when, parse_cause(cause) if cause else "ALLOTTED_TIMEOUT")
    yield from ()


def schedule_hangup(switch: Switch, channel: Channel, when: str, cause: str) -> None:
    """``+SECONDS`` or an epoch; the scheduler of the switch looks at whole seconds."""
    now = switch.clock.now_us() // 1_000_000
    number = when.lstrip("+")
    if not number.isdigit():
        return
    due = now + int(number) if when.startswith("+") else int(number)
    delay_s = max(0.0, due - switch.clock.now_us() / 1_000_000)
    channel.timers.append(switch.clock.after(delay_s, legs.hangup, switch, channel, cause))


def _transfer(switch: Switch, channel: Channel, data: str) -> Script:
    extension, _, others = data.partition(" ")
    dialplan, _, context = others.partition(" ")
    transfer_to(switch, channel, extension, dialplan, context)
    yield from ()


def _callcenter(switch: Switch, channel: Channel, data: str) -> Script:
    yield from callcenter.member(switch, channel, data)


def _bridge(switch: Switch, channel: Channel, data: str) -> Script:
    if channel.task is None:
        return
    channel.set_all({"originate_disposition": "failure", "DIALSTATUS": "INVALIDARGS"})
    answered = channel.callstate == "ACTIVE"
    if answered:
        legs.set_callstate(switch, channel, "RING_WAIT")
    outcome = yield from dial(switch, channel.task, data, originator=channel)
    if answered and not channel.hung_up:
        legs.set_callstate(switch, channel, "ACTIVE")
    try:
        other = outcome.winner
        if other is None:
            _bridge_failed(switch, channel, outcome)
            return
        if channel.hung_up:
            legs.hangup(switch, other, "ORIGINATOR_CANCEL")
            return
        pick_up(switch, channel)
        channel.set("originated_legs", f"{other.uuid};{other.profile.callee_id_name};{other.profile.callee_id_number}")
        channel.set_all({"switch_m_sdp": other.get("switch_r_sdp"), "video_media_flow": "inactive"})
        channel.set_all({"text_media_flow": "inactive", "audio_media_flow": "sendrecv"})
        channel.set_all({"originate_disposition": "SUCCESS", "DIALSTATUS": "SUCCESS"})
        channel.set("originate_causes", "|:".join(outcome.causes))
        yield from bridge(switch, channel, other)
        if channel.is_free() and channel.flag("hangup_after_bridge"):
            legs.hangup(switch, channel, "NORMAL_CLEARING")
    finally:
        release(outcome.legs)


def _bridge_failed(switch: Switch, channel: Channel, outcome: Outcome) -> None:
    """Why the other leg did not come; most causes end this leg too, unless ``continue_on_fail`` says otherwise."""
    cause = outcome.cause
    for leg in outcome.legs:
        channel.set("originate_signal_bond", leg.uuid)
        channel.set("originated_legs", f"{leg.uuid};{leg.profile.callee_id_name};{leg.profile.callee_id_number}")
        if leg.profile.times.progress:
            channel.profile.callee_id_name = leg.profile.callee_id_name
            channel.profile.callee_id_number = leg.profile.callee_id_number
        for name in ("sip_invite_failure_status", "sip_invite_failure_phrase", "proto_specific_hangup_cause"):
            shown = f"last_bridge_{name}" if name.startswith("proto") else name
            if leg.get("sip_term_status"):
                channel.set(shown, leg.get(name))
        channel.set("sip_hangup_phrase", leg.get("sip_invite_failure_phrase"))
    channel.set("last_bridge_hangup_cause", cause)
    channel.set("originate_disposition", cause)
    channel.set("DIALSTATUS", {"USER_BUSY": "BUSY", "NO_ANSWER": "NOANSWER"}.get(cause, cause))
    channel.set("originate_causes", "|:".join(outcome.causes))
    channel.set("originate_failed_cause", cause)
    go_on = channel.get("continue_on_fail")
    if cause in _GOES_ON or channel.flag("continue_on_fail") or cause in go_on.split(","):
        return
    legs.hangup(switch, channel, cause)


def _intercept(switch: Switch, channel: Channel, data: str) -> Script:
    """``intercept [-bleg] UUID``: take that channel from whom it is with, who is hung up with PICKED_OFF."""
    words = data.split()
    taken = switch.channels.get(words[-1]) if words else None
    if taken is not None and words[0] == "-bleg":
        taken = taken.peer
    if taken is not None and not taken.hung_up:
        partner = taken.peer if taken.peer is not channel else None
        pick_up(switch, channel)
        pick_up(switch, taken)
        uuid_bridge(switch, channel, taken)
        if partner is not None:
            partner.set("park_after_bridge", "true")
            legs.hangup(switch, partner, "PICKED_OFF")
    yield from ()


def _export(switch: Switch, channel: Channel, data: str) -> Script:
    """``export [nolocal:]NAME=VALUE``: for this leg, unless told otherwise, and for those that it will dial."""
    name, _, value = data.partition("=")
    exported = name.strip()
    plain = exported.removeprefix("nolocal:").removeprefix("_nolocal_")
    value = expand_for(switch, channel, value)
    channel.set(f"_nolocal_{plain}" if exported != plain else plain, value)
    if plain and value:
        listed = [each for each in channel.get("export_vars").split(",") if each]
        listed.append(f"_nolocal_{plain}" if exported != plain else plain)
        channel.set("export_vars", ",".join(listed))
    yield from ()


def _wait_a_tick(_switch: Switch, _channel: Channel, _data: str) -> Script:
    yield TICK_S


APPS: Final[dict[str, App]] = {
    "park": _park,
    "answer": _answer,
    "ring_ready": _ring_ready,
    "pre_answer": _pre_answer,
    "hangup": _hangup,
    "respond": _respond,
    "sleep": _sleep,
    "set": _set,
    "export": _export,
    "unset": _unset,
    "playback": _playback,
    "endless_playback": _playback,
    "echo": _echo,
    "record_session": _record_session,
    "stop_record_session": _stop_record_session,
    "record": _record,
    "sched_hangup": _sched_hangup,
    "transfer": _transfer,
    "intercept": _intercept,
    "callcenter": _callcenter,
    "bridge": _bridge,
    "log": _wait_a_tick,
    "info": _wait_a_tick,
}
