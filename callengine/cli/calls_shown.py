"""Calls as people read them on a terminal or in a spreadsheet. All take the API's call object."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from callengine.cli.output import clean, table, to_json
from callengine.neutral import plain

Shown = Mapping[str, Any]
"""A call as the API shows it."""

_HEAD = ("DIALLED", "DIR", "STATUS", "CAUSE", "RING", "TALK", "TOTAL", "FROM", "TO", "AGENT", "ID")


def number_of(call: Shown) -> str | None:
    """The number at the far end: who was dialled, or who called."""
    found = call["caller_number"] if call["direction"] == "inbound" else call["callee_number"]
    return None if found is None else str(found)


def cause_of(call: Shown) -> str | None:
    """Why it ended: the switch's cause, else our own reason."""
    found = call["hangup_cause"] or call["failure_reason"]
    return None if found is None else str(found)


def calls_table(calls: Iterable[Shown]) -> str:
    """One call a line. Durations are in whole seconds, as the API has them."""
    return table(_HEAD, (_row(call) for call in calls))


COLUMNS: Final = (
    *("id", "campaign_id", "lead_id", "agent_id", "fs_uuid", "direction", "status"),
    *("dial_time", "ring_time", "answer_time", "agent_connect_time", "end_time"),
    *("ring_duration_s", "talk_duration_s", "total_duration_s", "hangup_cause", "has_recording", "recording_url"),
    *("disposition", "notes", "ai_summary", "ai_sentiment", "ai_next_action"),
    *("caller_number", "caller_name", "callee_number", "gateway", "sip_call_id", "sip_status", "hangup_by"),
    *("answered_by", "queue", "queued_time", "agents", "legs", "recordings", "analysis_status", "failure_reason"),
    *("end_source", "ended_after", "ended_before", "overlong", "node", "core_uuid", "seq"),
)
"""The fields of a call in their order, those that the contract names first."""

# Also full-width, as some spreadsheets take them. https://owasp.org/www-community/attacks/CSV_Injection
_BEGIN_FORMULAS: Final = tuple("=+-@\t\r\n＝＋－＠")


def calls_csv(calls: Iterable[Shown], *, head: bool) -> str:
    """One call a line, with ``COLUMNS``; ``head``: their names first. Lists are JSON, null is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if head:
        writer.writerow(COLUMNS)
    writer.writerows([_cell(call.get(name)) for name in COLUMNS] for call in calls)
    return out.getvalue()


def _cell(value: object) -> str:
    """In one line. A caller chooses his name: what a spreadsheet would reckon out is led by an apostrophe."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value)
    return plain(f"'{text}" if text.startswith(_BEGIN_FORMULAS) else text)


def _row(call: Shown) -> tuple[object, ...]:
    return (
        call["dial_time"] or call["queued_time"],
        "in" if call["direction"] == "inbound" else "out",
        call["status"],
        cause_of(call),
        call["ring_duration_s"],
        call["talk_duration_s"],
        call["total_duration_s"],
        call["caller_number"],
        call["callee_number"],
        call["agent_id"],
        call["id"],
    )


def summary(call: Shown) -> str:
    """A call in one line."""
    words = [clean(call["status"])]
    if cause := cause_of(call):
        words.append(clean(cause))
    if (agent := call["agent_id"]) is not None:
        words.append(f"agent {clean(agent)}")
    if (talk := call["talk_duration_s"]) is not None:
        words.append(f"talked {talk} s")
    return ", ".join(words)


def events_table(events: Iterable[Mapping[str, Any]]) -> str:
    """A call's timeline."""
    head = ("TIME", "WHAT", "DETAIL", "SOURCE", "CHANNEL")
    return table(head, ((e["time"], e["name"], e["detail"], e["source"], e["leg"]) for e in events))
