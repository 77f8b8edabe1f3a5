"""The API commands about one channel: ``uuid_kill``, ``uuid_bridge``, ``uuid_record`` and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from callengine.standin import legs, recording, sources
from callengine.standin.apps import schedule_hangup
from callengine.standin.bridging import park_silently, transfer_to, uuid_bridge
from callengine.standin.causes import parse_cause
from callengine.standin.channels import Channel
from callengine.standin.dialstring import arguments, separate
from callengine.standin.events import to_json, to_plain, to_xml
from callengine.standin.lifecycle import direct
from callengine.standin.switch import Switch

NO_SUCH_CHANNEL: Final = "-ERR No such channel!\n"
_NO_SESSION: Final = "-ERR Cannot locate session!\n"


def _locate(switch: Switch, uuid: str) -> Channel | None:
    return switch.channels.get(uuid)


def _exists(switch: Switch, argument: str) -> str:
    return "true" if argument in switch.channels else "false"


def _kill(switch: Switch, argument: str) -> str:
    if not argument:
        return "-USAGE: <uuid> [cause]\n"
    uuid, _, cause = argument.partition(" ")
    channel = _locate(switch, uuid)
    if channel is None:
        return NO_SUCH_CHANNEL
    legs.hangup(switch, channel, parse_cause(cause))
    return "+OK\n"


def _bridge(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 4)
    if len(parts) < 2:
        return "-USAGE: <uuid> <other_uuid>\n"
    first = _locate(switch, parts[0])
    for other in parts[1:3]:
        second = _locate(switch, other)
        if first is not None and second is not None and uuid_bridge(switch, first, second):
            return f"+OK {other}\n"
    return "-ERR Invalid uuid\n"


def _transfer(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 5)
    usage = "-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n"
    if len(parts) < 2:
        return usage
    channel = _locate(switch, parts[0])
    if channel is None:
        return NO_SUCH_CHANNEL
    which = parts[1].lower() if parts[1].startswith("-") else ""
    target = parts[2:] if which else parts[1:]
    if not target:
        return usage
    partner = channel.peer
    extension, dialplan, context = [*target, "", ""][:3]
    if which == "-bleg" and partner is not None:
        transfer_to(switch, partner, extension, dialplan, context)
        return "+OK\n"
    if which == "-both" and partner is not None:
        transfer_to(switch, partner, extension, dialplan, context)
    transfer_to(switch, channel, extension, dialplan, context)
    return "+OK\n"


def _hold(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 4)
    if not parts:
        return "-USAGE: [off|toggle] <uuid> [<display>]\n-ERR Operation failed\n"
    verb = parts[0].lower()
    uuid = parts[1] if verb in {"off", "toggle"} and len(parts) > 1 else parts[0]
    channel = _locate(switch, uuid)
    if channel is None:
        return "+OK Success\n"  # the real one says so, too
    held = channel.callstate == "HELD"
    on = not held if verb == "toggle" else verb != "off"
    if on == held:
        return "-ERR Operation failed\n"
    _set_hold(switch, channel, on)
    return "+OK Success\n"


def _set_hold(switch: Switch, channel: Channel, on: bool) -> None:
    now = switch.clock.exact_us()
    if on:
        channel.profile.times.last_hold = now
        legs.set_callstate(switch, channel, "HELD")
        switch.channel_event(channel, "CHANNEL_HOLD", sources.HOLD)
    else:
        channel.profile.times.hold_accum += now - channel.profile.times.last_hold
        legs.set_callstate(switch, channel, "UNHELD")
        switch.channel_event(channel, "CHANNEL_UNHOLD", sources.UNHOLD)
        legs.set_callstate(switch, channel, "ACTIVE")


def _send_dtmf(switch: Switch, argument: str) -> str:
    uuid, _, digits = argument.partition(" ")
    if not digits:
        return "-USAGE: <uuid> <dtmf_data>\n"
    channel = _locate(switch, uuid)
    if channel is None:
        return _NO_SESSION
    sent = digits.partition("@")[0]
    if any(digit not in "0123456789*#ABCDabcdwWF" for digit in sent):
        return "-ERR Operation failed\n"
    channel.set("last_dtmf_duration", "2000")
    return f"+OK {uuid} sent DTMF {digits}.\n"


def _record(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 5)
    usage = "-USAGE: <uuid> [start|stop|mask|unmask] <path> [<limit>] [<recording_vars>]\n"
    if len(parts) < 3:
        return usage
    channel = _locate(switch, parts[0])
    if channel is None:
        return _NO_SESSION
    verb, path = parts[1].lower(), parts[2]
    limit = int(parts[3]) if len(parts) > 3 and parts[3].isdigit() else 0
    mine = [each for name, each in channel.recordings.items() if path in {name, "all"}]
    if verb == "start":
        if not recording.start(switch, channel, path, limit_s=limit):
            return "-ERR Cannot record session!\n"
    elif verb == "stop":
        if not mine and path != "all":
            return "-ERR Cannot stop record session!\n"
        for each in mine:
            switch.clock.soon(recording.stop, switch, channel, each)
    elif verb in {"mask", "unmask"}:
        if not mine:
            return f"-ERR Cannot {verb} recording session!\n"
        for each in mine:
            recording.mask(switch, each, on=verb == "mask")
    else:
        return usage
    return "+OK Success\n"


def _setvar(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 3)
    if len(parts) < 2:
        return "-USAGE: <uuid> <var> [value]\n"
    channel = _locate(switch, parts[0])
    if channel is None:
        return NO_SUCH_CHANNEL
    channel.set(parts[1], parts[2] if len(parts) > 2 else "")
    return "+OK\n"


def _setvar_multi(switch: Switch, argument: str) -> str:
    usage = "-USAGE: <uuid> <var>=<value>;<var>=<value>...\n"
    uuid, found, assignments = argument.partition(" ")
    if not found:
        return usage
    channel = _locate(switch, uuid)
    if channel is None:
        return NO_SUCH_CHANNEL + usage
    done = 0
    errors = ""
    for part in separate(assignments, ";", 64):
        name, _, value = part.partition("=")
        if name:
            channel.set(name, value)
            done += 1
        else:
            errors += "-ERR No variable specified\n"
    return errors + ("+OK\n" if done else usage)


def _getvar(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 4)
    if len(parts) < 2:
        return "-USAGE: <uuid> <var>\n"
    channel = _locate(switch, parts[0])
    if channel is None:
        return NO_SUCH_CHANNEL
    return switch.value_of(channel, parts[1]) or "_undef_"


def _dump(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 2)
    if not parts:
        return "-USAGE: <uuid> [format]\n"
    channel = _locate(switch, parts[0])
    if channel is None:
        return NO_SUCH_CHANNEL
    switch.sequence += 1
    base = switch.stamps.block("CHANNEL_DATA", switch.clock.now_us(), switch.sequence, sources.DUMP)
    blocks = (base, channel.basic_block(), channel.variables)
    form = parts[1].lower() if len(parts) > 1 else "txt"
    render = {"json": to_json, "xml": to_xml}.get(form, to_plain)
    return render(blocks, None).decode("utf-8", "surrogateescape")


def _park(switch: Switch, argument: str) -> str:
    channel = _locate(switch, argument)
    if channel is None:
        return NO_SUCH_CHANNEL
    channel.state_number = 6
    direct(channel, park_silently)
    return "+OK\n"


def _broadcast(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 4)
    if len(parts) < 2:
        return "-USAGE: <uuid> <path> [aleg|bleg|holdb|both]\n"
    channel = _locate(switch, parts[0])
    if channel is None:
        return "-ERR invalid uuid\n"
    name, found, data = parts[1].partition("::")
    application = (name, data) if found else ("playback", parts[1])
    which = parts[2].lower() if len(parts) > 2 else "aleg"
    takers = [channel] if which != "bleg" else []
    if which in {"bleg", "both"} and channel.peer is not None:
        takers.append(channel.peer)
    for taker in takers:
        taker.broadcasts.append(application)
        legs.wake(taker.task)
    return "+OK Message sent\n"


def _break(switch: Switch, argument: str) -> str:
    uuid, _, _flags = argument.partition(" ")
    if not uuid:
        return "-USAGE: <uuid> [all]\n"
    channel = _locate(switch, uuid)
    if channel is None:
        return NO_SUCH_CHANNEL
    channel.breaking = True
    legs.wake(channel.task)
    return "+OK\n"


def _sched_hangup(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 4)
    if not parts:
        return "-USAGE: [+]<time> <uuid> [<cause>]\n"
    channel = _locate(switch, parts[1]) if len(parts) > 1 else None
    if channel is None:
        return NO_SUCH_CHANNEL
    cause = parse_cause(parts[2]) if len(parts) > 2 else "ALLOTTED_TIMEOUT"
    if parts[0] in {"+0", "0"}:
        legs.hangup(switch, channel, cause)
    else:
        schedule_hangup(switch, channel, parts[0], cause)
    return "+OK\n"


UUID_COMMANDS: Final[dict[str, Callable[[Switch, str], str]]] = {
    "uuid_exists": _exists,
    "uuid_kill": _kill,
    "uuid_bridge": _bridge,
    "uuid_transfer": _transfer,
    "uuid_hold": _hold,
    "uuid_send_dtmf": _send_dtmf,
    "uuid_record": _record,
    "uuid_setvar": _setvar,
    "uuid_setvar_multi": _setvar_multi,
    "uuid_getvar": _getvar,
    "uuid_dump": _dump,
    "uuid_park": _park,
    "uuid_broadcast": _broadcast,
    "uuid_break": _break,
    "sched_hangup": _sched_hangup,
}
