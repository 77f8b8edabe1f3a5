"""What was found out about a call by listening to it."""

from __future__ import annotations

from typing import Any

from flask import Response

from callengine.api.calls import canonical
from callengine.api.frame import Frame, answer, unavailable
from callengine.api.services import Analysis
from callengine.api.shown import AnalysisShown
from callengine.calls.view import iso
from callengine.errors import NoSuchCall


def _analysis(found: Analysis) -> dict[str, Any]:
    return {
        "call_id": found.call_id,
        "status": found.status,
        "run": found.run,
        "sdk": found.sdk,
        "model": found.model,
        "prompt_version": found.prompt_version,
        "audio_ms": found.audio_ms,
        "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens,
        "cost_usd": None if found.spent_micros is None else found.spent_micros / 1_000_000,
        "error": found.error,
        "statements": None
        if found.statements is None
        else [{"text": part["text"], "quote": part.get("quote")} for part in found.statements],
        "transcript": None
        if found.transcript is None
        else [{name: part[name] for name in ("speaker", "offset_ms", "text")} for part in found.transcript],
        "created_time": iso(found.created_us),
        "next_time": iso(found.next_us),
        "done_time": iso(found.done_us),
    }


def add_analysis_routes(frame: Frame) -> None:
    """The analysis of one call."""
    services = frame.services

    @frame.route("GET", "/v1/calls/<call_id>/analysis", scope="calls:read", answer=AnalysisShown, faults=(404,))
    def get_call_analysis(tenant_id: str, call_id: str) -> Response:
        """Get a call's analysis

        With the transcript, and the words that each statement of the summary rests on. Of a call without one all is
        null but its id."""
        wanted = canonical(call_id)
        if services.analyses is None:
            raise unavailable("analyses are read where the database is")
        found = services.analyses.analysis(tenant_id, wanted)
        if found is None:
            raise NoSuchCall
        return answer(_analysis(found))
