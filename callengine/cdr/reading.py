"""CDRs as facts. The one module that knows the names in a record of mod_json_cdr.

A record is one JSON object: ``variables`` has the channel's variables at its end (without the prefix that they have in
events), ``callflow`` its caller profiles, the newest first, each with its numbers and stamps
(switch_ivr.c, ``switch_ivr_generate_json_cdr``). With ``encode-values``, the module's default, each value of
``variables`` is percent-encoded; with ``encode`` what is posted, or written where the post failed, is so as a whole.

Stamps are the ``*_uepoch`` variables, which the channel gets once it has hung up. Numbers are those of the first
profile, as at the creation; where the switch has turned caller and callee round since (``channel_cid_flipped``), it
keeps what was there before in ``pre_transfer_…`` (switch_channel.c, ``switch_channel_flip_cid``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from callengine.calls.facts import LegReported
from callengine.errors import MalformedEvent
from callengine.esl.headers import Variables
from callengine.esl.jsons import load_object

_TEXTS: Final = {
    "direction": "direction",
    "channel_name": "channel_name",
    "user_name": "user_name",
    "gateway": "sip_gateway_name",
    "originator": "originator",
    "loopback_leg": "loopback_leg",
    "loopback_other": "other_loopback_leg_uuid",
    "queue_side": "cc_side",
    "queue_member": "cc_member_session_uuid",
    "queue": "cc_queue",
    "own_agent": "callengine_agent_id",
    "voice_agent": "callengine_voice_agent",
    "sip_call_id": "sip_call_id",
    "amd_result": "amd_result",
    "hangup_cause": "hangup_cause",
    "sip_term_status": "sip_term_status",
    "sip_failure_status": "sip_invite_failure_status",
    "sip_disposition": "sip_hangup_disposition",
}
# Of a fact's stamps: the variable, and the name in ``times`` of a caller profile.
_STAMPS: Final = {
    "created_us": ("start_uepoch", "created_time"),
    "progress_us": ("progress_uepoch", "progress_time"),
    "progress_media_us": ("progress_media_uepoch", "progress_media_time"),
    "answered_us": ("answer_uepoch", "answered_time"),
    "hangup_us": ("end_uepoch", "hangup_time"),
}
_BRIDGED: Final = ("bridge_uepoch", "bridged_time")
_BRIDGED_TO: Final = ("last_bridge_to", "bridge_uuid")
_CALLER: Final = {"caller_number": "caller_id_number", "caller_name": "caller_id_name"}
_FLIPPED: Final = "channel_cid_flipped"
_BEFORE_FLIP: Final = "pre_transfer_"
# Set on every channel that ends, and with a space and colons in it: percent-encoded, or not.
_TELLTALE: Final = "start_stamp"
_ENCODED: Final = re.compile("(?:[^ %]|%[0-9A-Fa-f]{2})*")
_MAX_UUID_CHARS: Final = 256
_MAX_PROFILES: Final = 64
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


class Cdr(NamedTuple):
    """What a record says: the fact, and which switch says it (``switchname``; None where it is not told)."""

    fact: LegReported
    switchname: str | None


class CdrReader:
    """Reads records. One per configuration; has no state."""

    def __init__(self, variables: Variables | None = None) -> None:
        names = self._variables = variables or Variables()
        self._wanted = (
            "uuid",
            *_TEXTS.values(),
            *(variable for variable, _ in _STAMPS.values()),
            *(*names.agents, names.tenant, names.campaign, names.lead),
            *(_BRIDGED[0], *_BRIDGED_TO, _FLIPPED, *(_BEFORE_FLIP + name for name in _CALLER.values())),
        )

    def read(self, body: bytes) -> Cdr:
        """The record in ``body``: a file, or the body of a post in whatever encoding. Raises MalformedEvent."""
        record = load_object(unwrap(body), "CDR")
        variables = _mapping(record, "variables")
        flow = _flow(record)
        encoded = is_encoded(variables)
        told = {name: _text(variables[name], encoded) for name in self._wanted if name in variables}
        fields: dict[str, Any] = {field: told.get(name) for field, name in _TEXTS.items()}
        fields["core_uuid"] = _text(record.get("core-uuid"))
        if not fields["direction"]:
            fields["direction"] = _text(_mapping(record, "channel_data", needed=False).get("direction"))
        fields["uuid"] = told.get("uuid") or _text(_newest(flow, "caller_profile").get("uuid"))
        fields |= self._named(told)
        fields |= _numbers(told, flow)
        times = _newest(flow, "times")
        for field, (variable, time) in _STAMPS.items():
            fields[field] = told.get(variable) or _text(times.get(time))
        fields["bridges"] = tuple(_bridges(told, flow, times))
        fields["at_us"] = fields["hangup_us"]
        return Cdr(_fact(fields), _text(record.get("switchname")) or None)

    def _named(self, told: Mapping[str, str]) -> dict[str, str | None]:
        names = self._variables
        return {
            "leg_agent": next((told[name] for name in names.agents if told.get(name)), None),
            "tenant": told.get(names.tenant),
            "campaign": told.get(names.campaign),
            "lead": told.get(names.lead),
        }


def unwrap(body: bytes) -> bytes:
    """The JSON in a body: as it is, percent-encoded, or in base64; the latter two also as ``cdr=…`` of a form."""
    body = body.strip()
    if body.startswith(b"{"):
        return body
    body = body.removeprefix(b"cdr=")
    if body[:3].upper() == b"%7B":
        return unquote_to_bytes(body.partition(b"&")[0])
    try:
        decoded = base64.b64decode(body, validate=True)
    except binascii.Error:
        return body
    return decoded if decoded.startswith(b"{") else body


def is_encoded(variables: Mapping[str, Any]) -> bool:
    """Whether the values of the variables are percent-encoded."""
    stamp = variables.get(_TELLTALE)
    if isinstance(stamp, str) and stamp:
        return "%" in stamp
    texts = [value for value in variables.values() if isinstance(value, str)]
    return any("%" in text for text in texts) and all(_ENCODED.fullmatch(text) for text in texts)


def _mapping(record: Mapping[str, Any], name: str, *, needed: bool = True) -> dict[str, Any]:
    found = record.get(name)
    if isinstance(found, dict):
        return found
    if found is None and not needed:
        return {}
    raise MalformedEvent(f"CDR without an object {name!r}")


def _flow(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The caller profiles, the newest first; not more of them than any channel should have."""
    flow = record.get("callflow", [])
    if not isinstance(flow, list) or not all(isinstance(each, dict) for each in flow):
        raise MalformedEvent("CDR whose 'callflow' is no list of objects")
    return flow if len(flow) <= _MAX_PROFILES else [*flow[: _MAX_PROFILES - 1], flow[-1]]


def _newest(flow: Sequence[Mapping[str, Any]], part: str) -> dict[str, Any]:
    return _mapping(flow[0], part, needed=False) if flow else {}


def _text(value: Any, encoded: bool = False) -> str:
    """A value as text, empty where there is none; what JSON or a database would refuse becomes U+FFFD."""
    if value is None or isinstance(value, list | dict):
        return ""
    text = value if isinstance(value, str) else str(value)
    if encoded and "%" in text:
        text = unquote(text, errors="replace")
    return _UNFIT.sub("\ufffd", text)


def _numbers(told: Mapping[str, str], flow: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    first = _mapping(flow[-1], "caller_profile", needed=False) if flow else {}
    flipped = told.get(_FLIPPED)
    numbers = {
        field: told.get(_BEFORE_FLIP + name) if flipped else _text(first.get(name)) for field, name in _CALLER.items()
    }
    return numbers | {"callee_number": _text(first.get("destination_number"))}


def _bridges(
    told: Mapping[str, str], flow: Sequence[Mapping[str, Any]], times: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """When the channel was bridged, and to whom, the earliest first.

    A profile's stamp is that of its last bridge. The last of all is named by a variable; that of an earlier profile by
    the channel which was dialled in it, if that was only one.
    """
    variable, name = _BRIDGED
    for entry in reversed(flow[1:]):
        stamp = _text(_mapping(entry, "times", needed=False).get(name))
        dialled = _mapping(_mapping(entry, "caller_profile", needed=False), "originatee", needed=False)
        legs = dialled.get("originatee_caller_profiles")
        if stamp.strip("0") and isinstance(legs, list) and len(legs) == 1 and isinstance(legs[0], dict):
            yield stamp, _text(legs[0].get("uuid"))
    stamp = told.get(variable) or _text(times.get(name))
    if stamp.strip("0"):
        yield stamp, next((told[name] for name in _BRIDGED_TO if told.get(name)), "")


def _fact(fields: Mapping[str, Any]) -> LegReported:
    """The fact itself, or why there is none."""
    if not 0 < len(fields["uuid"]) <= _MAX_UUID_CHARS:
        raise MalformedEvent("CDR without a usable uuid")
    flat = {name: value for name, value in fields.items() if value}
    flat["bridges"] = [(at, other) for at, other in fields["bridges"] if 0 < len(other) <= _MAX_UUID_CHARS]
    try:
        fact = msgspec.convert(flat, LegReported, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedEvent(f"CDR: {error}") from None
    for name, stamp in (("creation", fact.created_us), ("end", fact.hangup_us)):
        if not stamp:
            raise MalformedEvent(f"CDR without the stamp of the channel's {name}")
    return fact
