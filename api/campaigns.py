"""Campaigns and leads: the tenant's own, under the tenant's own ids."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from callengine.api.bodies import CampaignChanges, LeadsQuery, NewCampaign, NewLead, PageQuery
from callengine.api.frame import Frame, answer, unavailable
from callengine.api.services import Campaign, Edits, Lead, Services
from callengine.api.shown import CampaignList, CampaignShown, LeadList, LeadShown
from callengine.calls.ids import usable_id
from callengine.calls.view import iso
from callengine.errors import NoSuchCampaign, NoSuchLead


def _campaign(campaign: Campaign) -> dict[str, Any]:
    return {
        "id": campaign.id,
        "name": campaign.name,
        "goal": campaign.goal,
        "dispositions": None if campaign.dispositions is None else list(campaign.dispositions),
        "record": campaign.record,
        "created_time": iso(campaign.created_us),
    }


def _lead(lead: Lead) -> dict[str, Any]:
    return {
        "id": lead.id,
        "campaign_id": lead.campaign_id,
        "name": lead.name,
        "phone_number": lead.phone_number,
        "created_time": iso(lead.created_us),
    }


def _edits(services: Services) -> Edits:
    if services.edits is None:
        raise unavailable("campaigns and leads are created and changed where the engine runs")
    return services.edits


def add_campaign_routes(frame: Frame) -> None:
    """Create, read and list campaigns."""
    services = frame.services

    @frame.route(
        "POST",
        "/v1/campaigns",
        scope="campaigns:write",
        answer=CampaignShown,
        status=201,
        headers=("Location",),
        faults=(409,),
        topic="campaigns",
    )
    def create_campaign(tenant_id: str, json: NewCampaign) -> Response:
        """Create a campaign

        A campaign is also created by the first call that names it."""
        settings = json.model_dump(include={"goal", "dispositions", "record"})
        campaign = _edits(services).create_campaign(tenant_id, json.id, json.name, settings)
        location = frame.url("/v1/campaigns/{}", campaign.id)
        return answer(_campaign(campaign), status=201, headers={"Location": location})

    @frame.route(
        "GET", "/v1/campaigns", scope="campaigns:read", answer=CampaignList, headers=("Link",), topic="campaigns"
    )
    def list_campaigns(tenant_id: str, query: PageQuery) -> Response:
        """List campaigns"""
        found, total = services.reads.campaigns(tenant_id, query.page, query.page_size)
        given = request.args.to_dict()
        return frame.page([_campaign(c) for c in found], total, query, "/v1/campaigns", given=given)

    @frame.route(
        "GET",
        "/v1/campaigns/<campaign_id>",
        scope="campaigns:read",
        answer=CampaignShown,
        faults=(404,),
        topic="campaigns",
    )
    def get_campaign(tenant_id: str, campaign_id: str) -> Response:
        """Get a campaign"""
        campaign = services.reads.campaign(tenant_id, campaign_id) if usable_id(campaign_id) else None
        if campaign is None:
            raise NoSuchCampaign
        return answer(_campaign(campaign))

    @frame.route(
        "PATCH",
        "/v1/campaigns/<campaign_id>",
        scope="campaigns:write",
        answer=CampaignShown,
        faults=(404,),
        topic="campaigns",
    )
    def update_campaign(tenant_id: str, campaign_id: str, json: CampaignChanges) -> Response:
        """Change a campaign

        What is not in the body stays as it is; null clears. It counts for calls from the next few seconds on."""
        if not usable_id(campaign_id):
            raise NoSuchCampaign
        changes = json.model_dump(exclude_unset=True)
        return answer(_campaign(_edits(services).update_campaign(tenant_id, campaign_id, changes)))


def add_lead_routes(frame: Frame) -> None:
    """Create, read and list leads."""
    services = frame.services

    @frame.route(
        "POST",
        "/v1/leads",
        scope="campaigns:write",
        answer=LeadShown,
        status=201,
        headers=("Location",),
        faults=(404, 409),
        topic="campaigns",
    )
    def create_lead(tenant_id: str, json: NewLead) -> Response:
        """Create a lead

        The campaign that it names has to be there."""
        lead = _edits(services).create_lead(tenant_id, json.id, json.campaign_id, json.name, json.phone_number)
        return answer(_lead(lead), status=201, headers={"Location": frame.url("/v1/leads/{}", lead.id)})

    @frame.route("GET", "/v1/leads", scope="campaigns:read", answer=LeadList, headers=("Link",), topic="campaigns")
    def list_leads(tenant_id: str, query: LeadsQuery) -> Response:
        """List leads"""
        found, total = services.reads.leads(tenant_id, query.campaign, query.page, query.page_size)
        return frame.page([_lead(lead) for lead in found], total, query, "/v1/leads", given=request.args.to_dict())

    @frame.route(
        "GET", "/v1/leads/<lead_id>", scope="campaigns:read", answer=LeadShown, faults=(404,), topic="campaigns"
    )
    def get_lead(tenant_id: str, lead_id: str) -> Response:
        """Get a lead"""
        lead = services.reads.lead(tenant_id, lead_id) if usable_id(lead_id) else None
        if lead is None:
            raise NoSuchLead
        return answer(_lead(lead))
