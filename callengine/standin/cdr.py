"""CDRs as mod_json_cdr writes them: one file a leg, at its end (``switch_ivr_generate_json_cdr``)."""

from __future__ import annotations

import logging
import random
from typing import Any

import orjson

from callengine.standin.channels import Channel, Profile
from callengine.standin.clock import TICK_S, Script
from callengine.standin.switch import Switch

log = logging.getLogger(__name__)


def _profile(profile: Profile) -> dict[str, str]:
    return {
        "username": profile.username,
        "dialplan": profile.dialplan,
        "caller_id_name": profile.caller_id_name,
        "ani": profile.ani,
        "aniii": "",
        "caller_id_number": profile.caller_id_number,
        "network_addr": profile.network_addr,
        "rdnis": profile.rdnis,
        "destination_number": profile.destination_number,
        "uuid": profile.unique_id,
        "source": profile.source,
        "context": profile.context,
        "chan_name": profile.channel_name,
    }


def _times(profile: Profile) -> dict[str, str]:
    times = profile.times
    return {
        "created_time": str(times.created),
        "profile_created_time": str(times.profile_created),
        "progress_time": str(times.progress),
        "progress_media_time": str(times.progress_media),
        "answered_time": str(times.answered),
        "bridged_time": str(times.bridged),
        "last_hold_time": str(times.last_hold),
        "hold_accum_time": str(times.hold_accum),
        "hangup_time": str(times.hangup),
        "resurrect_time": str(times.resurrect),
        "transfer_time": str(times.transfer),
    }


def _flow(channel: Channel) -> list[dict[str, Any]]:
    """The caller profiles, newest first; the newest shows the applications that ran."""
    flow: list[dict[str, Any]] = []
    for profile in (channel.profile, *reversed(channel.past_profiles)):
        entry: dict[str, Any] = {}
        if profile.dialplan:
            entry["dialplan"] = profile.dialplan
        entry["profile_index"] = profile.profile_index
        if profile is channel.profile and channel.app_log:
            number = profile.destination_number
            apps = [{"app_name": run.name, "app_data": run.data} for run in channel.app_log]
            entry["extension"] = {"name": number, "number": number, "applications": apps}
        caller: dict[str, Any] = dict(_profile(profile))
        if profile is channel.profile and channel.other_profile is not None:
            role = str(channel.other.get("Other-Type", "originatee"))
            caller[role] = {f"{role}_caller_profiles": [_profile(channel.other_profile)]}
        entry["caller_profile"] = caller
        entry["times"] = _times(profile)
        flow.append(entry)
    return flow


def record(switch: Switch, channel: Channel) -> dict[str, Any]:
    """The CDR of a channel that is in CS_REPORTING."""
    cdr: dict[str, Any] = {
        "core-uuid": switch.core_uuid,
        "switchname": switch.options.hostname,
        "channel_data": {
            "state": "CS_REPORTING",
            "direction": channel.direction,
            "state_number": "11",
            "flags": "0=1;1=1;39=1;40=1;42=1;45=1;55=1;113=1;114=1;123=1;160=1;165=1;166=1",
            "caps": "1=1;2=1;3=1;4=1;5=1;6=1;8=1;9=1;10=1",
        },
        "callStats": {},
        "variables": {name.removeprefix("variable_"): value for name, value in channel.variables.items()},
    }
    if channel.get("rtp_audio_in_raw_bytes"):
        cdr["callStats"] = {"audio": {"inbound": _stats(channel, "in"), "outbound": _stats(channel, "out")}}
    if channel.app_log:
        runs = [{"app_name": run.name, "app_data": run.data, "app_stamp": str(run.stamp_us)} for run in channel.app_log]
        cdr["app_log"] = {"applications": runs}
    cdr["callflow"] = _flow(channel)
    return cdr


def _stats(channel: Channel, way: str) -> dict[str, float]:
    prefix = f"variable_rtp_audio_{way}_"
    figures = {}
    for name, value in channel.variables.items():
        if name.startswith(prefix) and isinstance(value, str):
            figures[name.removeprefix(prefix)] = float(value) if "." in value else int(value)
    return figures


def write(switch: Switch, channel: Channel) -> Script:
    """Write the channel's CDR, if CDRs are kept; in place as the real one does it, so that a reader may meet half of
    one. It stays half if the switch dies meanwhile."""
    folder = switch.options.cdr
    if folder is None:
        return
    path = folder / f"{channel.uuid}.cdr.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = orjson.dumps(record(switch, channel))
        half = random.Random(channel.uuid).randrange(len(text))
        path.write_bytes(text[:half])
        yield TICK_S
        # Opened anew: of the thousands that may end at once, none holds a file open while it waits.
        with path.open("ab") as file:
            file.write(text[half:])
    except (OSError, TypeError) as error:
        log.warning("the stand-in could not write a CDR: %s", error)
