"""No operation shows or touches what is another tenant's: each of the document is tried with Bob's key."""

from __future__ import annotations

import copy
from typing import Any

from flask.testing import FlaskClient

from tests.api import fakes
from tests.api.fake_webhooks import FakeWebhooks
from tests.api.fakes import ALICE, World

SECRET = "alice-only"
_BODIES: dict[str, Any] = {
    "edit_call": {"disposition": "STOLEN", "notes": "x"},
    "originate": {"destination": "1"},
    "bridge": {"to": {"type": "agent", "agents": "desk", "agent_id": "1"}},
    "transfer": {"to": {"type": "park"}},
    "send_dtmf": {"digits": "1"},
    "create_campaign": {"id": "bobs"},
    "update_campaign": {"record": "all"},
    "create_lead": {"id": "l", "campaign_id": f"{SECRET}-campaign"},
    "create_endpoint": {"url": "https://bob.example.com/"},
    "edit_endpoint": {"url": "https://bob.example.com/"},
}


def test_nothing_of_alices_is_seen_or_changed_by_bob(world: World, client: FlaskClient, bob: dict[str, str]) -> None:
    record = world.add_call(
        ALICE,
        campaign_id=f"{SECRET}-campaign",
        lead_id=f"{SECRET}-lead",
        caller_name=SECRET,
        notes=SECRET,
        answer_us=1,
        node=SECRET,
    )
    fakes.FakeEdits(world).create_lead(ALICE, f"{SECRET}-lead", f"{SECRET}-campaign", SECRET, None)
    webhooks = FakeWebhooks(world)
    endpoint, _ = webhooks.create(ALICE, f"https://{SECRET}.example.com/", (), SECRET, True)
    delivery = webhooks.add_delivery(endpoint, "dead", last_error=SECRET)
    kept = copy.deepcopy(world.webhooks)
    before = copy.deepcopy((record, world.leads, world.campaigns[ALICE, f"{SECRET}-campaign"]))
    ids = {"call_id": record.id, "campaign_id": f"{SECRET}-campaign", "lead_id": f"{SECRET}-lead"}
    ids |= {"endpoint_id": endpoint.id, "event_id": delivery.event_id}
    walked = 0
    document: Any = client.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not operation["security"]:
                continue
            name = operation["operationId"]
            if name == "stream_events":  # has no end: test_stream has its tenants
                continue
            more = {"json": _BODIES[name]} if name in _BODIES else {}
            response = client.open(path.format(**ids), method=method.upper(), headers=bob, **more)
            walked += 1
            # Bob may list and create his own; whatever names an id of Alice's is 404.
            named = "{" in path or name == "create_lead"
            assert response.status_code in ({404} if named else {200, 201, 202}), name
            assert record.id not in response.text, name
            assert SECRET not in response.text, name
            assert endpoint.id not in response.text, name
    assert walked == 36
    assert (world.calls[record.id], world.leads[ALICE, f"{SECRET}-lead"]) == (
        before[0],
        before[1][ALICE, f"{SECRET}-lead"],
    )
    assert world.campaigns[ALICE, f"{SECRET}-campaign"] == before[2]
    assert all(call_id != record.id for _, call_id, _ in world.orders)
    assert world.webhooks["endpoints"][ALICE, endpoint.id] == kept["endpoints"][ALICE, endpoint.id]
    assert world.webhooks["deliveries"] == kept["deliveries"]
