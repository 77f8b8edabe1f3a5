"""How a call is shown, to all readers: the contract's fields in the contract's order, then the further ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from callengine.calls.record import CallRecord

_DATE_CACHE: dict[int, str] = {}


def iso(us: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and ``Z``, truncated: 1795343615301165 -> 2026-11-22T10:33:35.301Z."""
    if us is None:
        return None
    seconds, rest = divmod(us, 1_000_000)
    day, in_day = divmod(seconds, 86_400)
    date = _DATE_CACHE.get(day)
    if date is None:
        if len(_DATE_CACHE) > 4096:
            _DATE_CACHE.clear()
        date = _DATE_CACHE[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT")
    hours, in_hour = divmod(in_day, 3600)
    minutes, second = divmod(in_hour, 60)
    return f"{date}{hours:02d}:{minutes:02d}:{second:02d}.{rest // 1000:03d}Z"


def _seconds(start_us: int | None, end_us: int | None) -> int | None:
    """Whole seconds between two stamps of one clock, floored; None until both are known, or where they are reversed."""
    if start_us is None or end_us is None or end_us < start_us:
        return None
    return (end_us - start_us) // 1_000_000


def durations(record: CallRecord) -> dict[str, int | None]:
    """``ring_duration_s``, ``talk_duration_s``, ``total_duration_s`` from the microsecond stamps."""
    return {
        "ring_duration_s": _seconds(record.ring_us, record.answer_us),
        "talk_duration_s": _seconds(record.answer_us, record.end_us),
        "total_duration_s": _seconds(record.dial_us, record.end_us),
    }


def _times(item: dict[str, Any]) -> dict[str, Any]:
    """The same mapping with every ``*_us`` stamp as an ``*_time`` instant."""
    return {
        (key[:-3] + "_time" if key.endswith("_us") else key): (iso(value) if key.endswith("_us") else value)
        for key, value in item.items()
    }


def show(record: CallRecord, recording_url: str | None = None) -> dict[str, Any]:
    """The call object: every field always present, null where unknown."""
    times = durations(record)
    return {
        "id": record.id,
        "campaign_id": record.campaign_id,
        "lead_id": record.lead_id,
        "agent_id": record.agent_id,
        "fs_uuid": record.fs_uuid,
        "direction": record.direction,
        "status": record.status,
        "dial_time": iso(record.dial_us),
        "ring_time": iso(record.ring_us),
        "answer_time": iso(record.answer_us),
        "agent_connect_time": iso(record.agent_connect_us),
        "end_time": iso(record.end_us),
        "ring_duration_s": times["ring_duration_s"],
        "talk_duration_s": times["talk_duration_s"],
        "total_duration_s": times["total_duration_s"],
        "hangup_cause": record.hangup_cause,
        "has_recording": record.has_recording,
        "recording_url": recording_url,
        "disposition": record.disposition,
        "notes": record.notes,
        "ai_summary": record.ai_summary,
        "ai_sentiment": record.ai_sentiment,
        "ai_next_action": record.ai_next_action,
        "caller_number": record.caller_number,
        "caller_name": record.caller_name,
        "callee_number": record.callee_number,
        "gateway": record.gateway,
        "sip_call_id": record.sip_call_id,
        "sip_status": record.sip_status,
        "hangup_by": record.hangup_by,
        "answered_by": record.answered_by,
        "queue": record.queue,
        "queued_time": iso(record.queued_us),
        "agents": [_times(a) for a in record.agents],
        "legs": [_times(leg) for leg in record.legs],
        "recordings": [_times({k: v for k, v in r.items() if k != "path"}) for r in record.recordings],
        "analysis_status": record.analysis_status,
        "failure_reason": record.failure_reason,
        "end_source": record.end_source,
        "ended_after": iso(record.ended_after_us),
        "ended_before": iso(record.ended_before_us),
        "overlong": record.overlong,
        "node": record.node,
        "core_uuid": record.core_uuid,
        "seq": record.seq,
    }
