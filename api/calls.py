"""Reading calls, and what people set on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flask import Response, request
from msgspec.structs import astuple

from callengine.api.bodies import CallChanges, CallsQuery, CampaignCallsQuery
from callengine.api.fields import DISPOSITION_MAX
from callengine.api.frame import Frame, answer, unavailable
from callengine.api.services import Services
from callengine.api.short import CAUGHT_UP
from callengine.api.shown import Call, CallList, EventList
from callengine.calls.ids import usable_id
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.calls.view import iso, show_fields
from callengine.errors import NoSuchCall, NoSuchCampaign

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_RENAMED = {
    "campaign": "campaign_id",
    "lead": "lead_id",
    "agent": "agent_id",
    "dialed_after": "dialed_after_us",
    "dialed_before": "dialed_before_us",
}


def canonical(call_id: str) -> str:
    """The id of a call as the store has it. An id that is no UUID is a missing one: ``NoSuchCall``."""
    lowered = call_id.lower()
    if not _UUID.fullmatch(lowered):
        raise NoSuchCall
    return lowered


def shown_fields(services: Services) -> Callable[..., dict[str, Any]]:
    """What makes a call, as every answer has it, of the values of its ``CallRecord`` in their order."""
    return partial(show_fields, services.recording_url, bool(services.settings.recordings.directories))


def shown(services: Services, record: CallRecord) -> dict[str, Any]:
    """The same of a record."""
    return shown_fields(services)(*astuple(record))


def filters_of(query: CampaignCallsQuery) -> dict[str, str | int]:
    """What the store is asked to filter by."""
    given = query.model_dump(exclude_none=True, exclude={"page", "page_size"})
    return {_RENAMED.get(name, name): value for name, value in given.items()}


def _cannot_match(query: CampaignCallsQuery) -> bool:
    """No call has that disposition code, so that the store need not be asked with it (it may be any bytes)."""
    code = query.disposition
    return code is not None and not (0 < len(code) <= DISPOSITION_MAX and not any(ord(c) < 32 for c in code))


def _event(note: Note) -> dict[str, Any]:
    # Where the switch keeps its files is nothing that a caller should know.
    detail = None if note.name.startswith("recording") else note.detail
    return {
        "name": note.name,
        "time": iso(note.at_us or None),
        "leg": note.leg,
        "source": str(note.source),
        "detail": detail,
    }


def add_list_routes(frame: Frame) -> None:
    """The lists of calls."""
    services = frame.services
    reads = services.reads

    def page_of(
        tenant_id: str, query: CampaignCallsQuery, filters: dict[str, str | int]
    ) -> tuple[Sequence[dict[str, Any]], int]:
        if _cannot_match(query):
            return [], 0
        return reads.calls(tenant_id, filters, query.page, query.page_size, shown_fields(services))

    @frame.route("GET", "/v1/calls", scope="calls:read", answer=CallList, headers=("Link",))
    def list_calls(tenant_id: str, query: CallsQuery) -> Response:
        """List calls

        The newest first; calls that were not dialled yet come before all others."""
        data, total = page_of(tenant_id, query, filters_of(query))
        return frame.page(data, total, query, "/v1/calls", given=request.args.to_dict())

    @frame.route(
        "GET",
        "/v1/campaigns/<campaign_id>/calls",
        scope="calls:read",
        answer=CallList,
        headers=("Link",),
        faults=(404,),
        topic="campaigns",
    )
    def list_campaign_calls(tenant_id: str, campaign_id: str, query: CampaignCallsQuery) -> Response:
        """List calls for a campaign

        The newest first; calls that were not dialled yet come before all others."""
        if not usable_id(campaign_id):
            raise NoSuchCampaign
        data, total = page_of(tenant_id, query, filters_of(query) | {"campaign_id": campaign_id})
        # A campaign with calls is there; only an empty list has to be told from none.
        if not total and reads.campaign(tenant_id, campaign_id) is None:
            raise NoSuchCampaign
        given = request.args.to_dict()
        return frame.page(data, total, query, "/v1/campaigns/{}/calls", campaign_id, given=given)


def add_call_routes(frame: Frame) -> None:
    """One call: reading it, what happened to it, and what people set on it."""
    services = frame.services
    reads = services.reads

    @frame.route("GET", "/v1/calls/<call_id>", scope="calls:read", answer=Call, faults=(404,))
    def get_call(tenant_id: str, call_id: str) -> Response:
        """Get a call

        The call as it stands, also while it is going on."""
        wanted = canonical(call_id)
        if CAUGHT_UP not in request.environ:
            services.catch_up(wanted)
        call = reads.shown_call(tenant_id, wanted, shown_fields(services))
        if call is None:
            raise NoSuchCall
        return answer(call)

    @frame.route("GET", "/v1/calls/<call_id>/events", scope="calls:read", answer=EventList, faults=(404,))
    def list_call_events(tenant_id: str, call_id: str) -> Response:
        """List what happened to a call

        In order, and by whose word each fact is known."""
        wanted = canonical(call_id)
        services.catch_up(wanted)
        notes = reads.timeline(tenant_id, wanted)
        if not notes and reads.call(tenant_id, wanted) is None:
            raise NoSuchCall
        return answer({"data": [_event(note) for note in notes]})

    @frame.route("PATCH", "/v1/calls/<call_id>", scope="calls:write", answer=Call, faults=(404,))
    def edit_call(tenant_id: str, call_id: str, json: CallChanges) -> Response:
        """Set disposition and notes

        What an agent sets stands: no analysis changes it any more. Null clears."""
        if services.edits is None:
            raise unavailable("calls are edited where the engine runs")
        record = services.edits.edit_call(tenant_id, canonical(call_id), json.model_dump(exclude_unset=True))
        return answer(shown(services, record))
