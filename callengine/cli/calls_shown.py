"""Calls as people read them on a terminal. All take the API's call object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from callengine.cli.output import clean, table

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
