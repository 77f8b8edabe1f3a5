"""What a trace is made of, as the rest of callengine tells it; who sends it anywhere is ``tracing``.

The trace of a call is its id: the 128 bits of the UUID are the trace's, so that whoever has the one finds the other,
and what is done for a call at any time, by any process, is part of it without anything being handed about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from callengine.calls.record import CallRecord
from callengine.outcomes import outcome_of

Value = str | int | float | bool


class Span(NamedTuple):
    """Something that took time. Instants are µs since the epoch. ``events`` are its moments, by name.

    ``call_id``: in whose trace it stands, None: in one of its own. ``is_call``: it is the call, and what else is in
    that trace is part of it. ``error`` says what went wrong.
    """

    name: str
    start_us: int
    end_us: int
    call_id: str | None
    attributes: Mapping[str, Value]
    events: tuple[tuple[str, int], ...] = ()
    error: str | None = None
    is_call: bool = False


Record = Callable[[Span], None]
"""Takes a span on; never waits."""


def trace_id(call_id: str) -> int:
    """128 bits, not all zero."""
    try:
        return UUID(call_id).int or 1
    except ValueError:
        return int.from_bytes(hashlib.blake2b(call_id.encode(), digest_size=16).digest()) or 1


def span_id(call_id: str) -> int:
    """The id of the span that is the call: 64 bits, not all zero."""
    return int.from_bytes(hashlib.blake2b(call_id.encode(), digest_size=8).digest()) or 1


def span_of_call(record: CallRecord) -> Span | None:
    """A call that ended, by the switch's own stamps, and by our clock alone where it never had a channel.

    Where nobody stamped its end it lasts to the latest moment that it can have ended at. None where no beginning is
    known. Without numbers and names of people, which are nobody's business who looks at traces.
    """
    start_us = record.dial_us or record.queued_us
    if start_us is None:
        return None
    events = [
        (name, at_us)
        for name, at_us in (
            ("ringing", record.ring_us),
            ("answered", record.answer_us),
            ("agent_connected", record.agent_connect_us),
        )
        if at_us is not None
    ]
    known = (record.end_us, record.ended_before_us, *(at_us for _, at_us in events[::-1]))
    end_us = next((at_us for at_us in known if at_us is not None), start_us)
    outcome = outcome_of(record)
    attributes: dict[str, Value] = {
        "callengine.call.id": record.id,
        "callengine.node": record.node,
        "callengine.direction": record.direction,
        "callengine.status": record.status,
        "callengine.outcome": outcome,
    }
    perhaps = (
        ("callengine.gateway", record.gateway),
        ("callengine.campaign.id", record.campaign_id),
        ("callengine.hangup_cause", record.hangup_cause),
        ("callengine.hangup_by", record.hangup_by),
        ("callengine.failure_reason", record.failure_reason),
        ("callengine.end_source", record.end_source),
        ("callengine.sip_status", record.sip_status),
    )
    attributes |= {name: value for name, value in perhaps if value is not None}
    failed = outcome in ("failed", "not_sent")
    return Span(
        name="call",
        start_us=start_us,
        end_us=max(end_us, start_us),
        call_id=record.id,
        attributes=attributes,
        events=tuple(events),
        error=(record.hangup_cause or record.failure_reason or outcome) if failed else None,
        is_call=True,
    )
