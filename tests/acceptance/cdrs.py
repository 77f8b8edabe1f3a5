"""What mod_json_cdr says of calls, in the contract's words: the ground truth to compare the book with.

The stamps are those of the channel's own timetable (``*_uepoch``, µs), the cause is ``hangup_cause``, the agent is
named by the CDR of the leg that the channel was bridged to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from callengine.calls.view import iso

AGENT_VARIABLES = ("callengine_agent_id", "cc_agent", "dialed_user")
COMPARED = (
    "status", "hangup_cause", "dial_time", "ring_time", "answer_time", "end_time", "agent_id", "agent_connect_time",
    "ring_duration_s", "talk_duration_s", "total_duration_s", "direction", "sip_call_id", "campaign_id", "lead_id",
)  # fmt: skip


def read(directory: Path) -> dict[str, Mapping[str, str]]:
    """The variables of every leg's CDR, by channel UUID."""
    found = {}
    for path in directory.glob("*.json"):
        variables = json.loads(path.read_bytes().decode("utf-8", "replace"))["variables"]
        found[variables["uuid"]] = variables
    return found


def is_call(cdr: Mapping[str, str]) -> bool:
    """Whether that channel was created for itself, and is not an agent's that was rung first."""
    if cdr.get("originator") or cdr.get("loopback_leg") == "B" or cdr.get("cc_side") == "agent":
        return False
    return not (cdr["direction"] == "outbound" and any(cdr.get(name) for name in AGENT_VARIABLES))


def _stamp(cdr: Mapping[str, str], name: str) -> int | None:
    return int(cdr.get(f"{name}_uepoch", "0")) or None


def _floor_s(start_us: int | None, end_us: int | None) -> int | None:
    return None if start_us is None or end_us is None or end_us < start_us else (end_us - start_us) // 1_000_000


def expected(cdr: Mapping[str, str], legs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The compared fields of a call as its CDR tells them."""
    dial, answer, end = _stamp(cdr, "start"), _stamp(cdr, "answer"), _stamp(cdr, "end")
    ring = min((t for t in (_stamp(cdr, "progress"), _stamp(cdr, "progress_media")) if t), default=None)
    bridged = _stamp(cdr, "bridge")
    other = legs.get(cdr.get("last_bridge_to", ""), {})
    agent = next((other[name] for name in AGENT_VARIABLES if other.get(name)), None) if bridged else None
    agent = agent or (cdr.get("callengine_agent_id") if bridged else None)
    return {
        "status": "completed" if answer else "failed",
        "hangup_cause": cdr["hangup_cause"],
        "dial_time": iso(dial),
        "ring_time": iso(ring),
        "answer_time": iso(answer),
        "end_time": iso(end),
        "agent_id": agent,
        "agent_connect_time": iso(bridged) if agent else None,
        "ring_duration_s": _floor_s(ring, answer),
        "talk_duration_s": _floor_s(answer, end),
        "total_duration_s": _floor_s(dial, end),
        "direction": cdr["direction"],
        "sip_call_id": cdr.get("sip_call_id"),
        "campaign_id": cdr.get("callengine_campaign_id"),
        "lead_id": cdr.get("callengine_lead_id"),
    }


def differences(
    calls: Iterable[Mapping[str, Any]],
    cdrs: Mapping[str, Mapping[str, str]],
    without_channel: Mapping[str, str | None] | None = None,
) -> list[str]:
    """Every disagreement, one line each. ``without_channel``: cause by UUID of calls that only their job told of."""
    told = {c["fs_uuid"]: c for c in calls}
    jobs = without_channel or {}
    roots = {uuid: cdr for uuid, cdr in cdrs.items() if is_call(cdr) or uuid in told}
    lines = [f"{uuid}: in the CDRs, not in the book" for uuid in roots.keys() - told.keys()]
    lines += [f"{uuid}: in the book, not in the CDRs" for uuid in told.keys() - roots.keys() - jobs.keys()]
    for uuid, cdr in roots.items():
        if uuid not in told:
            continue
        for field, value in expected(cdr, cdrs).items():
            if told[uuid][field] != value:
                lines.append(f"{uuid}: {field} is {told[uuid][field]!r}, the CDR says {value!r}")
    for uuid, cause in jobs.items():
        call = told.get(uuid)
        if call is None:
            lines.append(f"{uuid}: its job failed, and it is not in the book")
        elif (call["status"], call["hangup_cause"]) != ("failed", cause):
            lines.append(f"{uuid}: {call['status']} {call['hangup_cause']}, its job says {cause}")
    return lines
