"""Which channel variables tell whose a call is, from the settings to whoever reads events and CDRs."""

from __future__ import annotations

from callengine.config.sections import Tracking
from callengine.esl.headers import Variables


def variables_of(tracking: Tracking) -> Variables:
    """As ``[tracking]`` names them."""
    return Variables(
        agents=tuple(tracking.agent_variables),
        tenant=tracking.tenant_variable,
        campaign=tracking.campaign_variable,
        lead=tracking.lead_variable,
    )
