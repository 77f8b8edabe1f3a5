"""How a call is shown, to all readers: the contract's fields in the contract's order, then the further ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import astuple

from callengine.calls.ids import recording_id_of
from callengine.calls.record import CallRecord, StoredEvent

UrlOf = Callable[[str], str]
"""The signed URL of a recording, by its id."""

# The stamps of a page are of few minutes.
_MINUTES: dict[int, str] = {}
_MAX_MINUTES = 4096
_SECONDS = tuple(f"{n:02d}." for n in range(60))
_MILLIS = tuple(f"{n:03d}Z" for n in range(1000))


def iso(us: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and ``Z``, truncated: 1795343615301165 -> 2026-11-22T10:33:35.301Z."""
    if us is None:
        return None
    minute, in_minute = divmod(us, 60_000_000)
    begun = _MINUTES.get(minute)
    if begun is None:
        if len(_MINUTES) >= _MAX_MINUTES:
            _MINUTES.clear()
        begun = _MINUTES[minute] = datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
    return begun + _SECONDS[in_minute // 1_000_000] + _MILLIS[in_minute // 1000 % 1000]


def _seconds(start_us: int | None, end_us: int | None) -> int | None:
    """Whole seconds between two stamps of one clock, floored; None until both are known, or where they are reversed."""
    if start_us is None or end_us is None or end_us < start_us:
        return None
    return (end_us - start_us) // 1_000_000


def durations(record: CallRecord) -> dict[str, int | None]:
    """``ring_duration_s``, ``talk_duration_s``, ``total_duration_s``, as the call is shown with them."""
    shown = show(record)
    return {name: shown[name] for name in ("ring_duration_s", "talk_duration_s", "total_duration_s")}


def _times(item: dict[str, Any]) -> dict[str, Any]:
    """The same mapping with every ``*_us`` stamp as an ``*_time`` instant."""
    return {
        (key[:-3] + "_time" if key.endswith("_us") else key): (iso(value) if key.endswith("_us") else value)
        for key, value in item.items()
    }


def _claimed(recording: dict[str, Any]) -> str:
    """The status of a recording that nobody looked at yet."""
    if recording["discarded"]:
        return "discarded"
    return "stopped" if recording["stop_us"] else "recording"


def _recordings(
    call_id: str, claims: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], url_of: UrlOf | None
) -> list[dict[str, Any]]:
    """All recordings in order of time: what the switch claims of each, and what was found when it was looked at."""
    files = {file["id"]: file for file in found}
    shown = []
    for claim in claims:
        recording_id = recording_id_of(call_id, claim["leg"], claim["path"])
        shown.append(_recording(recording_id, claim, files.pop(recording_id, None), url_of))
    for recording_id, file in files.items():  # found on the disk, though nothing told of them
        claim = {"leg": file["leg"], "start_us": None, "stop_us": None, "duration_ms": None, "discarded": False}
        shown.append(_recording(recording_id, claim, file, url_of))
    return shown


def _recording(
    recording_id: str, claim: dict[str, Any], file: dict[str, Any] | None, url_of: UrlOf | None
) -> dict[str, Any]:
    found = file or {}
    ready = found.get("status") == "ready"
    return {
        "id": recording_id,
        "leg": claim["leg"],
        "start_time": iso(claim["start_us"]),
        "stop_time": iso(claim["stop_us"]),
        "duration_ms": found.get("duration_ms", claim["duration_ms"]),
        "discarded": claim["discarded"],
        "status": found.get("status", _claimed(claim)),
        "reason": found.get("reason"),
        "bytes": found.get("bytes"),
        "channels": found.get("channels"),
        "sha256": found.get("sha256"),
        "url": url_of(recording_id) if ready and url_of is not None else None,
    }


def longest_ready(files: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The file that ``has_recording`` and ``recording_url`` speak of."""
    ready = [file for file in files if file["status"] == "ready"]
    return max(ready, key=lambda file: (file["duration_ms"], file["id"]), default=None)


def show(record: CallRecord, url_of: UrlOf | None = None, *, probed: bool = False) -> dict[str, Any]:
    """The call object: every field always present, null where unknown.

    ``probed``: files are looked at before they count; else ``has_recording`` is what the switch claims. ``url_of``
    makes a recording's URL.
    """
    return show_fields(url_of, probed, *astuple(record))


def show_fields(
    url_of: UrlOf | None,
    probed: bool,
    call_id: str,
    tenant_id: str,
    node: str,
    core_uuid: str | None,
    fs_uuid: str,
    direction: str,
    status: str,
    live: bool,
    campaign_id: str | None,
    lead_id: str | None,
    agent_id: str | None,
    queued_us: int | None,
    dial_us: int | None,
    ring_us: int | None,
    answer_us: int | None,
    agent_connect_us: int | None,
    end_us: int | None,
    hangup_cause: str | None,
    caller_number: str | None,
    caller_name: str | None,
    callee_number: str | None,
    gateway: str | None,
    sip_call_id: str | None,
    sip_status: int | None,
    hangup_by: str | None,
    answered_by: str | None,
    queue: str | None,
    failure_reason: str | None,
    end_source: str | None,
    ended_after_us: int | None,
    ended_before_us: int | None,
    overlong: bool,
    has_recording: bool,
    agents: Sequence[dict[str, Any]],
    legs: Sequence[dict[str, Any]],
    recordings: Sequence[dict[str, Any]],
    seq: int,
    disposition: str | None,
    disposition_by: str | None,
    notes: str | None,
    ai_summary: str | None,
    ai_sentiment: str | None,
    ai_next_action: str | None,
    analysis_status: str | None,
    files: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The same of the values of a ``CallRecord``, in its order."""
    longest = longest_ready(files) if files else None
    return {
        "id": call_id,
        "campaign_id": campaign_id,
        "lead_id": lead_id,
        "agent_id": agent_id,
        "fs_uuid": fs_uuid,
        "direction": direction,
        "status": status,
        "dial_time": iso(dial_us),
        "ring_time": iso(ring_us),
        "answer_time": iso(answer_us),
        "agent_connect_time": iso(agent_connect_us),
        "end_time": iso(end_us),
        "ring_duration_s": _seconds(ring_us, answer_us),
        "talk_duration_s": _seconds(answer_us, end_us),
        "total_duration_s": _seconds(dial_us, end_us),
        "hangup_cause": hangup_cause,
        "has_recording": longest is not None if probed else has_recording,
        "recording_url": url_of(longest["id"]) if longest is not None and url_of is not None else None,
        "disposition": disposition,
        "notes": notes,
        "ai_summary": ai_summary,
        "ai_sentiment": ai_sentiment,
        "ai_next_action": ai_next_action,
        "caller_number": caller_number,
        "caller_name": caller_name,
        "callee_number": callee_number,
        "gateway": gateway,
        "sip_call_id": sip_call_id,
        "sip_status": sip_status,
        "hangup_by": hangup_by,
        "answered_by": answered_by,
        "queue": queue,
        "queued_time": iso(queued_us),
        "agents": [_times(a) for a in agents],
        "legs": [_times(leg) for leg in legs],
        "recordings": _recordings(call_id, recordings, files, url_of) if recordings or files else [],
        "analysis_status": analysis_status,
        "failure_reason": failure_reason,
        "end_source": end_source,
        "ended_after": iso(ended_after_us),
        "ended_before": iso(ended_before_us),
        "overlong": overlong,
        "node": node,
        "core_uuid": core_uuid,
        "seq": seq,
    }


def show_event(event: StoredEvent, url_of: UrlOf | None = None, *, probed: bool = False) -> dict[str, Any]:
    """An event as it is told: ``{"type", "timestamp", "id", "seq", "data": {"call": {...}, ...}}``.

    The envelope is that of Standard Webhooks. ``data`` has the call as it stood then, and whatever the event is about
    besides: ``recording`` or ``analysis``. ``timestamp`` is our clock's, when it was committed.
    """
    data = {"call": show(event.record, url_of, probed=probed)}
    for name, part in (event.detail or {}).items():
        data[name] = _times(part)
        if name == "recording":
            ready = part.get("status") == "ready" and url_of is not None
            data[name]["url"] = url_of(part["id"]) if ready and url_of is not None else None
    return {
        "type": event.event,
        "timestamp": iso(event.created_us),
        "id": event.id,
        "seq": event.seq,
        "data": data,
    }
