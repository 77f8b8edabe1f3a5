"""The dialplan of the stand-in: what an extension runs.

=============== ====================================================================================
extension       what it does
=============== ====================================================================================
``9000``        park
``9001``        answer, a tone for 60 s
``9002``        answer, record both channels, a tone for 5 s, hangup
``9004``        answer, 1 s, hangup
``9005``        the queue ``support@default``
``9009``        echo
``9010``        responds 486
``9011``        early media for 2 s, answer, 1 s, hangup
``9012``        answer, park
``9013``        rings for 120 s
``91N``         bridge to ``sofia/gateway/lab/N``
``92N``         bridge to ``sofia/gateway/agents/N``
``1000``-``1099`` bridge to ``user/…``
``answerN``     answer, N seconds, hangup (``answer`` alone: 5)
``agent``       rings, answers after 0.2 s, a tone for ever
``busy`` …      ``reject``, ``unallocated``, ``congestion``: hangup with that cause
``park``        park
``cc_NAME``     answer, the queue ``NAME@default``
=============== ====================================================================================

Anything else is NO_ROUTE_DESTINATION. With the dialplan ``inline`` the extension is the list of applications itself,
``app:data,app:data``.
"""

from __future__ import annotations

from typing import Final

from callengine.standin import legs
from callengine.standin.apps import run_extension
from callengine.standin.channels import Channel
from callengine.standin.clock import Script
from callengine.standin.dialstring import separate
from callengine.standin.switch import Switch

Apps = list[tuple[str, str]]

_TONE: Final = "tone_stream://%(1000,0,440);loops={}"
_FIXED: Final[dict[str, Apps]] = {
    "9000": [("park", "")],
    "9001": [("answer", ""), ("playback", _TONE.format(60))],
    "9002": [
        ("answer", ""),
        ("set", "RECORD_STEREO=true"),
        ("record_session", "${uuid}.wav"),
        ("playback", _TONE.format(5)),
        ("hangup", ""),
    ],
    "9004": [("answer", ""), ("sleep", "1000"), ("hangup", "")],
    "9005": [("answer", ""), ("callcenter", "support@default")],
    "9009": [("answer", ""), ("echo", "")],
    "9010": [("respond", "486")],
    "9011": [("pre_answer", ""), ("sleep", "2000"), ("answer", ""), ("sleep", "1000"), ("hangup", "")],
    "9012": [("answer", ""), ("park", "")],
    "9013": [("ring_ready", ""), ("sleep", "120000"), ("hangup", "NO_ANSWER")],
    "agent": [("ring_ready", ""), ("sleep", "200"), ("answer", ""), ("playback", _TONE.format(-1))],
    "ring_noanswer": [("ring_ready", ""), ("sleep", "60000")],
    "busy": [("hangup", "USER_BUSY")],
    "reject": [("hangup", "CALL_REJECTED")],
    "unallocated": [("hangup", "UNALLOCATED_NUMBER")],
    "congestion": [("hangup", "NORMAL_CIRCUIT_CONGESTION")],
    "park": [("park", "")],
    "answer": [("answer", ""), ("sleep", "5000"), ("hangup", "NORMAL_CLEARING")],
}


def lookup(extension: str) -> Apps | None:
    """The applications of an extension, or none if there is no such extension."""
    if extension in _FIXED:
        return _FIXED[extension]
    if extension.startswith("answer") and extension[6:].isdigit():
        return [("answer", ""), ("sleep", str(int(extension[6:]) * 1000)), ("hangup", "NORMAL_CLEARING")]
    if extension.startswith("cc_") and len(extension) > 3:
        return [("answer", ""), ("callcenter", f"{extension[3:]}@default")]
    if not extension.isdigit():
        return None
    if extension.startswith("91") and len(extension) > 2:
        return [("bridge", f"sofia/gateway/lab/{extension[2:]}")]
    if extension.startswith("92") and len(extension) > 2:
        return [("bridge", f"sofia/gateway/agents/{extension[2:]}")]
    if len(extension) == 4 and extension.startswith("10"):
        return [("bridge", f"user/{extension}")]
    return None


def inline(text: str) -> Apps:
    """``app:data,app:data`` (or with another delimiter, ``m:|:app:data|app:data``)."""
    delimiter = ","
    if text.startswith("m:") and len(text) > 4:
        delimiter, text = text[2], text[4:]
    apps: Apps = []
    for part in separate(text, delimiter, 128):
        name, _, data = part.partition(":")
        if name:
            apps.append((name, data))
    return apps


def route(switch: Switch, channel: Channel) -> Script:
    """CS_ROUTING and what follows: find the extension that the channel asks for and run it."""
    profile = channel.profile
    if channel.running_state != "CS_ROUTING":
        legs.enter(switch, channel, "CS_ROUTING")
    if channel.direction == "inbound" and channel.callstate == "DOWN":
        legs.set_callstate(switch, channel, "RINGING")
    wanted = profile.destination_number
    apps = inline(wanted) if profile.dialplan.lower() == "inline" else lookup(wanted)
    if not apps:
        legs.hangup(switch, channel, "NO_ROUTE_DESTINATION")
        return
    channel.set("call_uuid", channel.call_uuid)
    yield from run_extension(switch, channel, apps)
