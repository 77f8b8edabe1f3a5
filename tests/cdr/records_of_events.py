"""CDRs made of a channel's last event: it has all variables and stamps, under the names that the event socket uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from tests.calls import streams

_TIMES = {
    "created_time": "Created",
    "progress_time": "Progress",
    "progress_media_time": "Progress-Media",
    "answered_time": "Answered",
    "bridged_time": "Bridged",
    "hangup_time": "Hangup",
}


def of_event(event: Mapping[str, Any], created: Mapping[str, Any]) -> bytes:
    """The record as mod_json_cdr would have written it. The first profile's numbers are those at the creation."""
    variables = {n.removeprefix("variable_"): v for n, v in event.items() if n.startswith("variable_")}
    profile = {
        "caller_id_number": created.get("Caller-Caller-ID-Number", ""),
        "caller_id_name": created.get("Caller-Caller-ID-Name", ""),
        "destination_number": created.get("Caller-Destination-Number", ""),
        "uuid": event["Unique-ID"],
    }
    if variables.get("channel_cid_flipped"):
        profile |= {"caller_id_number": event["Caller-Caller-ID-Number"], "caller_id_name": "Outbound Call"}
    times = {name: event.get(f"Caller-Channel-{word}-Time", "0") for name, word in _TIMES.items()}
    return orjson.dumps(
        {
            "core-uuid": event["Core-UUID"],
            "switchname": event["FreeSWITCH-Switchname"],
            "channel_data": {"direction": event["Call-Direction"]},
            "variables": variables,
            "callflow": [{"caller_profile": profile, "times": times}],
        }
    )


@cache
def of_trace(name: str) -> tuple[bytes, ...]:
    """The CDRs of all channels that completed in a trace, in the order of their ends."""
    created: dict[str, dict[str, Any]] = {}
    found: dict[str, bytes] = {}
    for frame in streams.frames(name):
        body = frame.body
        if not body.startswith(b'{"Event-Name":"CHANNEL_'):
            continue
        event = _first_values(body)
        uuid = event["Unique-ID"]
        if event["Event-Name"] == "CHANNEL_CREATE":
            created[uuid] = event
        elif event["Event-Name"] == "CHANNEL_HANGUP_COMPLETE":
            found[uuid] = of_event(event, created.get(uuid, event))
    return tuple(found.values())


def _first_values(body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(body.decode("utf-8", "replace"))
    return event
