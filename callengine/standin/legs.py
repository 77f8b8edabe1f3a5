"""What happens to a leg, one function a thing that happens: it rings, answers, hangs up, ends.

Each sets the stamp, the states and the variables, and sends the events, in the order in which the real switch does.
"""

from __future__ import annotations

from datetime import datetime

from callengine.standin import cdr, recording, sipvars, sources
from callengine.standin.causes import SIP_RESPONSES, q850
from callengine.standin.channels import Channel
from callengine.standin.clock import Script, Task
from callengine.standin.sipvars import Wire
from callengine.standin.switch import Switch


def enter(switch: Switch, channel: Channel, state: str, number: int | None = None) -> None:
    """Go into a state, with its CHANNEL_STATE event."""
    channel.enter(state, number)
    switch.channel_event(channel, "CHANNEL_STATE", sources.STATE, variables=False)


def set_callstate(switch: Switch, channel: Channel, callstate: str) -> None:
    if channel.callstate == callstate:
        return
    before, channel.callstate = channel.callstate, callstate
    lead = {"Original-Channel-Call-State": before, "Channel-Call-State-Number": channel.callstate_number}
    switch.channel_event(channel, "CHANNEL_CALLSTATE", sources.CALLSTATE, lead=lead, variables=False)


def announce(switch: Switch, channel: Channel) -> None:
    """CHANNEL_CREATE and what goes around it; an outgoing leg ends in CS_CONSUME_MEDIA."""
    outbound = channel.direction == "outbound"
    if outbound:
        channel.enter("CS_NONE", 1)
        belongs_to, channel.call_uuid = channel.call_uuid, channel.uuid
        switch.channel_event(channel, "CHANNEL_OUTGOING", sources.OUTGOING, variables=False)
        channel.call_uuid = belongs_to
    enter(switch, channel, "CS_INIT", 1)
    created(switch, channel)
    enter(switch, channel, "CS_ROUTING")
    if outbound:
        enter(switch, channel, "CS_CONSUME_MEDIA")


def created(switch: Switch, channel: Channel) -> None:
    """CHANNEL_CREATE alone (and CHANNEL_ORIGINATE, which follows it on an outgoing leg)."""
    channel.enter("CS_INIT", 10 if channel.hung_up else 2)
    switch.channel_event(channel, "CHANNEL_CREATE", sources.CREATE)
    if channel.direction == "outbound":
        switch.channel_event(channel, "CHANNEL_ORIGINATE", sources.ORIGINATE)


def _loopback_first(channel: Channel) -> Channel | None:
    """Of the second channel of a loopback pair, the first: it shows what happens before the second one does."""
    return channel.loopback_twin if channel.get("loopback_leg") == "B" else None


def ring(switch: Switch, channel: Channel, wire: Wire | None = None) -> None:
    """180, or ring_ready: CHANNEL_PROGRESS, once."""
    times = channel.profile.times
    if channel.hung_up or channel.answered or times.progress:
        return
    if (first := _loopback_first(channel)) is not None:
        ring(switch, first)
    times.progress = switch.clock.now_us()
    if channel.get("originator") and "Other-Leg-Channel-Progress-Time" in channel.other:
        channel.other["Other-Leg-Channel-Progress-Time"] = str(times.progress)
    if wire is not None:
        sipvars.provisional_received(channel, wire)
    switch.channel_event(channel, "CHANNEL_PROGRESS", sources.PROGRESS)
    set_callstate(switch, channel, "RINGING")
    execute_on(channel, "execute_on_ring")
    wake(channel.watcher)


def early_media(switch: Switch, channel: Channel, wire: Wire | None = None) -> None:
    """183 with SDP: CHANNEL_PROGRESS_MEDIA, once."""
    times = channel.profile.times
    if channel.hung_up or channel.answered or times.progress_media:
        return
    if (first := _loopback_first(channel)) is not None:
        early_media(switch, first)
    times.progress_media = switch.clock.now_us()
    channel.early = True
    if channel.get("originator") and "Other-Leg-Channel-Progress-Media-Time" in channel.other:
        channel.other["Other-Leg-Channel-Progress-Media-Time"] = str(times.progress_media)
    if wire is not None:
        sipvars.provisional_received(channel, wire)
        channel.set("switch_r_sdp", sipvars.remote_sdp(wire.remote_port))
        channel.set_all({"ep_codec_string": "CORE_PCM_MODULE.PCMU@8000h@20i@64000b"})
        channel.set("endpoint_disposition", "EARLY MEDIA")
    switch.channel_event(channel, "CHANNEL_PROGRESS_MEDIA", sources.PROGRESS_MEDIA)
    set_callstate(switch, channel, "EARLY")
    if wire is not None:
        codecs(switch, channel)
        sipvars.media_negotiated(channel, wire)
    execute_on(channel, "execute_on_pre_answer")
    execute_on(channel, "execute_on_media")
    wake(channel.watcher)


def codecs(switch: Switch, channel: Channel) -> None:
    channel.codec = channel.codec or "PCMU"
    for source in (sources.READ_CODEC, sources.WRITE_CODEC):
        switch.channel_event(channel, "CODEC", source, variables=False)


def answer(switch: Switch, channel: Channel, wire: Wire | None = None) -> None:
    """200: CHANNEL_ANSWER, once. The call state still shows what it was before."""
    if channel.hung_up or channel.answered:
        return
    if (first := _loopback_first(channel)) is not None:
        answer(switch, first)
    if wire is not None and channel.direction == "outbound":
        sipvars.provisional_received(channel, wire)
        if not channel.codec:
            codecs(switch, channel)
        sipvars.media_negotiated(channel, wire)
    channel.profile.times.answered = switch.clock.now_us()
    switch.channel_event(channel, "CHANNEL_ANSWER", sources.ANSWER)
    channel.set("endpoint_disposition", "ANSWER")
    set_callstate(switch, channel, "ACTIVE")
    execute_on(channel, "execute_on_answer")
    if not channel.early:
        execute_on(channel, "execute_on_media")
    wake(channel.watcher)


def execute_on(channel: Channel, prefix: str) -> None:
    """Run what the variables whose names begin so ask for, in the channel's thread."""
    wanted = channel.beginning(prefix)
    if wanted:
        channel.broadcasts += [_application(each) for each in wanted]
        wake(channel.task)


def _application(text: str) -> tuple[str, str]:
    """``app data`` or ``app::data`` as ``execute_on_*`` and broadcasts name an application."""
    name, found, data = text.partition("::")
    if not found:
        name, _, data = text.partition(" ")
    return name, data


def hit_dialplan(switch: Switch, channel: Channel) -> None:
    """The channel has applications to run; an originated one becomes its own caller with that."""
    if channel.direction == "outbound" and not channel.hit_dialplan:
        flip_caller_id(switch, channel)
    channel.hit_dialplan = True


def flip_caller_id(switch: Switch, channel: Channel) -> None:
    """An originated leg, once answered, is its own caller: the dialled number becomes the caller id."""
    profile = channel.profile
    channel.set("pre_transfer_caller_id_name", profile.caller_id_name)
    channel.set("pre_transfer_caller_id_number", profile.caller_id_number)
    channel.set("channel_cid_flipped", "yes")
    channel.set("call_uuid", channel.call_uuid)
    profile.caller_id_name, profile.callee_id_name = profile.callee_id_name, profile.caller_id_name
    profile.caller_id_number, profile.callee_id_number = profile.callee_id_number, profile.caller_id_number
    switch.channel_event(channel, "CALL_UPDATE", sources.FLIP_CID)


# -- endings ------------------------------------------------------------------------------------------------------


def hangup(switch: Switch, channel: Channel, cause: str) -> None:
    """The channel is told to end: CHANNEL_HANGUP at once, all else in its own thread."""
    if channel.hung_up or channel.destroyed:
        return
    channel.cause = cause
    channel.state_number = 10
    peer = channel.peer
    if peer is not None and not peer.hung_up:
        channel.set("last_bridge_role", channel.bridge_role)
        peer.set("last_bridge_hangup_cause", cause)
        peer.set("last_bridge_proto_specific_hangup_cause", channel.get("proto_specific_hangup_cause"))
    else:
        channel.unset("bridge_to")
    switch.channel_event(channel, "CHANNEL_HANGUP", sources.HANGUP)
    for timer in channel.timers:
        timer.cancel()
    channel.timers.clear()
    if channel.far_end is not None:
        channel.far_end.cancel()
    wake(channel.task)
    wake(channel.watcher)
    if peer is not None:
        wake(peer.task)
    if channel.loopback_twin is not None:
        switch.clock.soon(hangup, switch, channel.loopback_twin, cause)


def far_refuse(switch: Switch, channel: Channel, wire: Wire, status: int) -> None:
    """The far end's final response of 300 and above."""
    if channel.hung_up or channel.answered:
        return
    phrase, cause = SIP_RESPONSES.get(status, ("Unknown", "NORMAL_UNSPECIFIED"))
    sipvars.refused(channel, wire, status, phrase, q850(cause))
    hangup(switch, channel, cause)


def far_bye(switch: Switch, channel: Channel, cause: str = "NORMAL_CLEARING") -> None:
    """The far end hangs up an answered leg (or cancels an incoming one: ORIGINATOR_CANCEL)."""
    if channel.hung_up:
        return
    if channel.answered:
        sipvars.bye_received(channel)
        if channel.peer is not None and channel.peer.is_sip:
            channel.peer.set("sip_reason", channel.get("sip_reason"))
            channel.peer.set("sip_hangup_phrase", "OK")
    hangup(switch, channel, cause)
    channel.set("sip_hangup_disposition", "recv_bye" if channel.answered else "recv_cancel")


def wake(task: Task | None) -> None:
    if task is not None:
        task.poke()


def wind_down(switch: Switch, channel: Channel) -> Script:
    """From CS_HANGUP to the end of the channel: recordings stop, the figures are set, COMPLETE, CDR, DESTROY."""
    if channel.bridge_role or channel.loopback_twin is not None:
        yield 0.0  # the other leg's thread is at its own end too, and either can be the first
        channel.unset("bridge_to")
    channel.profile.times.hangup = switch.clock.now_us()
    enter(switch, channel, "CS_HANGUP")
    for each in list(channel.recordings.values()):
        recording.stop(switch, channel, each)
    set_callstate(switch, channel, "HANGUP")
    enter(switch, channel, "CS_REPORTING")
    set_figures(channel)
    if not channel.never_completes:
        switch.channel_event(
            channel, "CHANNEL_HANGUP_COMPLETE", sources.HANGUP_COMPLETE, lead={"Hangup-Cause": channel.cause}
        )
    yield from cdr.write(switch, channel)
    while channel.held_by_originate:
        yield None
    destroyed(switch, channel)


def destroyed(switch: Switch, channel: Channel) -> None:
    channel.state_number = 12
    if channel.bridge_role and channel.peer is None and channel.call_uuid != channel.uuid:
        channel.call_uuid = channel.uuid
        channel.set("call_uuid", channel.uuid)
    if not channel.never_completes:
        switch.channel_event(channel, "CHANNEL_DESTROY", sources.DESTROY)
    switch.unregister(channel)
    enter(switch, channel, "CS_DESTROY")


def _stamp(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def set_figures(channel: Channel) -> None:
    """The variables that only the end knows: cause, epochs, durations, RTP (``switch_channel_set_timestamps``)."""
    times = channel.profile.times
    channel.set("hangup_cause", channel.cause)
    channel.set("hangup_cause_q850", str(q850(channel.cause)))
    channel.set("digits_dialed", "none")
    start = times.created
    stamps = {
        "start_stamp": start,
        "profile_start_stamp": times.profile_created,
        "answer_stamp": times.answered,
        "bridge_stamp": times.bridged,
        "progress_stamp": times.progress,
        "progress_media_stamp": times.progress_media,
        "end_stamp": times.hangup,
    }
    channel.set_all({name: _stamp(us) for name, us in stamps.items() if us})
    epochs = {
        "start": start,
        "profile_start": times.profile_created,
        "answer": times.answered,
        "bridge": times.bridged,
        "last_hold": times.last_hold,
    }
    for name, us in epochs.items():
        channel.set(f"{name}_epoch", str(us // 1_000_000))
        channel.set(f"{name}_uepoch", str(us))
    held = times.hold_accum
    channel.set_all(
        {
            "hold_accum_seconds": str(held // 1_000_000),
            "hold_accum_usec": str(held),
            "hold_accum_ms": str(held // 1000),
        }
    )
    epochs = {
        "resurrect": times.resurrect,
        "progress": times.progress,
        "progress_media": times.progress_media,
        "end": times.hangup,
    }
    for name, us in epochs.items():
        channel.set(f"{name}_epoch", str(us // 1_000_000))
        channel.set(f"{name}_uepoch", str(us))
    if channel.app_log:
        last = channel.app_log[-1]
        channel.set("last_app", last.name)
        if last.data:
            channel.set("last_arg", last.data)
    channel.set("caller_id", f'"{channel.profile.caller_id_name}" <{channel.profile.caller_id_number}>')
    _set_durations(channel, start)
    _set_disposition(channel)


def _set_durations(channel: Channel, start: int) -> None:
    times = channel.profile.times
    end = times.hangup
    spans = {
        "duration": (start, end),
        "bill": (times.answered, end),
        "progress": (start, times.progress),
        "answer": (start, times.answered),
        "wait": (start, times.bridged),
        "progress_media": (start, times.progress_media),
        "flow_bill": (start, end if times.answered else start),
    }
    units = {"sec": ("duration", 1_000_000), "msec": ("mduration", 1000), "usec": ("uduration", 1)}
    for unit, (whole, divisor) in units.items():
        for name, (begin, until) in spans.items():
            span = max(0, until - begin) if begin and until else 0
            # The difference of what each stamp is in that unit, not the difference in microseconds cut down.
            value = until // divisor - begin // divisor if span else 0
            channel.set(whole if name == "duration" else f"{name}{unit}", str(value))


def _set_disposition(channel: Channel) -> None:
    """Who ended it on the wire, where the far end did not, and the RTP figures."""
    if channel.is_sip and not channel.get("sip_hangup_disposition"):
        if channel.answered:
            channel.set("sip_hangup_disposition", "send_bye")
        elif channel.direction == "outbound":
            channel.set_all(
                {
                    "sip_hangup_disposition": "send_cancel",
                    "sip_invite_failure_status": "487",
                    "sip_invite_failure_phrase": "CANCEL",
                }
            )
        else:
            channel.set("sip_hangup_disposition", "send_refuse")
    if channel.is_sip and (channel.answered or channel.early):
        times = channel.profile.times
        since = times.progress_media or times.answered
        channel.set_all(sipvars.rtp_figures(channel, times.hangup - since))
    if not channel.is_sip and channel.name.startswith("loopback/"):
        channel.set("is_loopback", "1")
