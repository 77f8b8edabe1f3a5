"""The columns of the live view's tables, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callengine.cli.calls_shown import Shown, cause_of, number_of


@dataclass(frozen=True)
class Column:
    """A column of a table. Of those that do not fit, the ones with the highest ``rank`` are left out."""

    title: str
    width: int
    rank: int
    cell: Callable[[Shown], object]
    right: bool = False


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Those that fit, two spaces apart; at least one."""
    chosen = list(columns)
    while len(chosen) > 1 and sum(column.width + 2 for column in chosen) - 2 > width:
        chosen.remove(max(chosen, key=lambda column: (column.rank, columns.index(column))))
    return chosen


def live_columns(seen: Mapping[str, float], now: float) -> tuple[Column, ...]:
    """Of calls that go on. ``seen`` is since when we know of each, by the clock that ``now`` is of."""
    return (
        Column("STATE", 15, 0, _status),
        Column("AGE", 5, 1, lambda call: _age(now - seen.get(call["id"], now)), right=True),
        Column("DIR", 3, 2, _direction),
        Column("NUMBER", 14, 1, number_of),
        Column("AGENT", 12, 3, lambda call: call["agent_id"]),
        Column("QUEUE", 16, 6, lambda call: call["queue"]),
        Column("CAMPAIGN", 14, 4, lambda call: call["campaign_id"]),
        Column("GATEWAY", 10, 5, lambda call: call["gateway"]),
    )


def ended_columns(*, analysed: bool) -> tuple[Column, ...]:
    """Of calls that are over; with what came of their analysis where calls are analysed."""
    analysis = Column("ANALYSIS", 19, 1, analysis_of)
    return (
        Column("STATUS", 9, 0, _status),
        Column("CAUSE", 18 if analysed else 24, 0, cause_of),
        Column("RING", 5, 3, _seconds("ring_duration_s"), right=True),
        Column("TALK", 5, 1, _seconds("talk_duration_s"), right=True),
        Column("TOTAL", 5, 2, _seconds("total_duration_s"), right=True),
        Column("DIR", 3, 4, _direction),
        Column("NUMBER", 14, 1, number_of),
        *((analysis,) if analysed else ()),
        Column("REC", 3, 5, lambda call: "yes" if call["has_recording"] else None),
        Column("AGENT", 12, 6, lambda call: call["agent_id"]),
        Column("HUNG UP BY", 10, 7, lambda call: call["hangup_by"]),
        Column("CAMPAIGN", 14, 8, lambda call: call["campaign_id"]),
        Column("ANSWERED BY", 11, 9, lambda call: call["answered_by"]),
    )


DELIVERIES = (
    Column("WEBHOOK AT", 12, 0, lambda delivery: clock_of(delivery["ended_time"] or delivery["created_time"])),
    Column("EVENT", 21, 0, lambda delivery: delivery["event"]),
    Column("NUMBER", 14, 1, lambda delivery: delivery_number(delivery)),
    Column("SEQ", 3, 2, lambda delivery: delivery["seq"], right=True),
    Column("ATTEMPT", 7, 3, lambda delivery: delivery["attempts"], right=True),
    Column("ANSWER", 13, 1, lambda delivery: answer_of(delivery)),
    Column("CALL", 36, 4, lambda delivery: delivery["call_id"]),
)


def analysis_of(call: Shown) -> str | None:
    """What it came to, or how far it is: ``RENEWED neutral``, ``skipped too short``; None where there is none."""
    status = call["analysis_status"]
    if status is None:
        return None
    found = [str(call[name]) for name in ("disposition", "ai_sentiment") if call[name] is not None]
    return " ".join(found) if call["ai_summary"] is not None and found else str(status).replace("_", " ")


def delivery_number(delivery: Mapping[str, Any]) -> str:
    """The number of the call it is about, else the end of the call's id."""
    return str(delivery["number"] or f"…{str(delivery['call_id'])[-12:]}")


def answer_of(delivery: Mapping[str, Any]) -> str:
    """``204``, or what went wrong and that it will be tried again."""
    said = str(delivery["last_status"] or delivery["last_error"] or "no answer")
    return {"pending": f"{said}, again", "dead": f"{said}, given up"}.get(str(delivery["status"]), said)


def clock_of(instant: str | None) -> str:
    """The time of day of an ISO 8601 instant, to the millisecond."""
    return instant[11:23] if instant else "-"


def _direction(call: Shown) -> str:
    return "in" if call["direction"] == "inbound" else "out"


def _status(call: Shown) -> str:
    return str(call["status"]).replace("_", " ")


def _seconds(name: str) -> Callable[[Shown], object]:
    return lambda call: None if call[name] is None else f"{call[name]} s"


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
