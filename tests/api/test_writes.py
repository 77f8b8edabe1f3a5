"""PATCH, placing calls, orders to live calls, campaigns and leads."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.api.services import Idempotency
from callengine.calls.record import CallRecord
from callengine.errors import IdempotencyInProgress
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, BOB, World

CALL = {"destination": "+15550100"}
QUEUE = {"type": "queue", "queue": "sales@default"}


# -- PATCH -----------------------------------------------------------------------------------------------------------


def test_disposition_and_notes_are_set_kept_and_cleared(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    url = f"PATCH /v1/calls/{record.id}"
    response = ask(url, json={"disposition": "SALE", "notes": "línea 1\nline 2\t☎"})
    assert response.status_code == 200
    assert (response.json["disposition"], response.json["notes"]) == ("SALE", "línea 1\nline 2\t☎")
    assert world.calls[record.id].disposition_by == "agent"
    assert ask(url, json={"notes": None}).json["disposition"] == "SALE"
    assert world.calls[record.id].notes is None
    assert ask(url, json={"disposition": None}).json["disposition"] is None


def test_what_only_the_engine_knows_is_not_editable(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    for field in ("status", "id", "campaign_id", "ai_summary", "disposition_by", "seq"):
        assert ask(f"PATCH /v1/calls/{record.id}", json={field: "x", "notes": "y"}).status_code == 400
    assert world.calls[record.id] is record


# -- placing calls ---------------------------------------------------------------------------------------------------


def test_a_call_is_accepted_with_its_place(world: World, ask: Ask) -> None:
    response = ask("POST /v1/calls", json=CALL)
    assert response.status_code == 202
    body = response.json
    assert response.headers["Location"] == f"https://calls.example.com/v1/calls/{body['id']}"
    assert (body["status"], body["dial_time"], body["callee_number"]) == ("dialing", None, "+15550100")
    assert body["queued_time"] is not None
    assert ask(f"GET /v1/calls/{body['id']}").json == body


def test_what_the_engine_is_asked_has_every_field(world: World, ask: Ask) -> None:
    ask("POST /v1/calls", json=CALL)
    asked: dict[str, Any] = {
        "destination": "100",
        "gateway": "carrier",
        "caller_id_number": "+15550199",
        "caller_id_name": "Zoë, Ltd",
        "ring_timeout_s": 25,
        "first": "agent",
        "on_answer": {"type": "agent", "agents": "desk", "agent_id": "1001"},
        "record": True,
        "campaign_id": "c/1",
        "lead_id": "l 1",
        "variables": {"sip_h_X-Id": "it's 1,2"},
    }
    ask("POST /v1/calls", json=asked)
    (_, _, first), (_, _, second) = world.orders
    assert second == asked
    assert first == {
        "destination": "+15550100",
        "gateway": None,
        "caller_id_number": None,
        "caller_id_name": None,
        "ring_timeout_s": None,
        "first": "lead",
        "on_answer": {"type": "park"},
        "record": None,
        "campaign_id": None,
        "lead_id": None,
        "variables": {},
    }


def test_a_whole_number_may_be_written_with_a_point(world: World, ask: Ask) -> None:
    body = b'{"destination": "100", "ring_timeout_s": 25.0}'
    assert ask("POST /v1/calls", data=body, content_type="application/json").status_code == 202
    assert world.orders[0][2]["ring_timeout_s"] == 25
    body = b'{"destination": "100", "ring_timeout_s": 25.5}'
    assert ask("POST /v1/calls", data=body, content_type="application/json").status_code == 400


def test_the_same_request_again_gets_the_first_answer_again(world: World, ask: Ask) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    first = ask("POST /v1/calls", json={**CALL, "on_answer": QUEUE}, headers=headers)
    spelled = b'{ "on_answer": {"queue":"sales@default", "type":"queue"},\n "destination": "+15550100" }'
    again = ask("POST /v1/calls", data=spelled, content_type="application/json", headers=headers)
    assert (again.status, again.data, again.headers) == (first.status, first.data, first.headers)
    assert len(world.calls) == 1


def test_another_request_with_the_key_is_422_and_another_tenant_is_not_concerned(
    world: World, ask: Ask, bob: dict[str, str]
) -> None:
    headers = {"Idempotency-Key": "k"}
    ask("POST /v1/calls", json=CALL, headers=headers)
    response = ask("POST /v1/calls", json={**CALL, "gateway": "carrier"}, headers=headers)
    assert (response.status_code, response.content_type) == (422, "application/problem+json")
    assert ask("POST /v1/calls", json=CALL, headers={**headers, **bob}).status_code == 202
    assert len(world.calls) == 2


def test_a_key_whose_first_request_is_under_way_is_409(world: World, alice: dict[str, str]) -> None:
    class Busy(fakes.FakeControl):
        def originate(self, tenant_id: str, request: Any, idempotency: Idempotency | None = None) -> CallRecord:
            raise IdempotencyInProgress

    busy = Busy(world, fakes.settings().originate)
    client = fakes.app(world, control=busy).test_client()
    response = client.post("/v1/calls", json=CALL, headers={**alice, "Idempotency-Key": "k"})
    assert response.status_code == 409
    assert response.headers["Retry-After"] == "1"


def test_what_was_refused_keeps_no_key(world: World, ask: Ask) -> None:
    headers = {"Idempotency-Key": "k"}
    assert ask("POST /v1/calls", json={"destination": "abc"}, headers=headers).status_code == 400
    assert ask("POST /v1/calls", json=CALL, headers=headers).status_code == 202


# -- orders ----------------------------------------------------------------------------------------------------------

ORDERS: list[tuple[str, Any, tuple[str, Any]]] = [
    ("bridge", {"to": {"type": "agent", "agents": "desk", "agent_id": "1001"}}, ("bridge", None)),
    ("transfer", {"to": {"type": "extension", "extension": "1000"}}, ("transfer", None)),
    ("transfer", {"to": QUEUE}, ("transfer", QUEUE)),
    ("transfer", {"to": {"type": "application", "application": "greeting"}}, ("transfer", None)),
    ("transfer", {"to": {"type": "park"}}, ("transfer", {"type": "park"})),
    ("hold", {}, ("hold", None)),
    ("unhold", None, ("unhold", None)),
    ("dtmf", {"digits": "1wW#*A", "duration_ms": 100}, ("dtmf", ("1wW#*A", 100))),
    ("recording/start", None, ("recording_start", None)),
    ("recording/stop", {}, ("recording_stop", None)),
    ("recording/pause", None, ("recording_pause", None)),
    ("recording/resume", None, ("recording_resume", None)),
]


@pytest.mark.parametrize(("path", "body", "told"), ORDERS)
def test_an_order_reaches_the_engine_and_is_accepted(
    world: World, ask: Ask, path: str, body: Any, told: tuple[str, Any]
) -> None:
    record = world.add_call(ALICE, answer_us=1, status="answered")
    more = {} if body is None else {"json": body}
    for _ in range(2):
        response = ask(f"POST /v1/calls/{record.id}/{path}", **more)
        assert response.status_code == 202
        assert response.headers["Location"].endswith(f"/v1/calls/{record.id}")
        assert response.json["id"] == record.id
    assert [(what, call_id) for what, call_id, _ in world.orders] == [(told[0], record.id)] * 2
    assert world.orders[0][2] == (told[1] if told[1] is not None else (body or {}).get("to"))


@pytest.mark.parametrize(("path", "body", "told"), ORDERS)
def test_an_order_to_a_call_that_is_over_or_not_that_far_is_409(
    world: World, ask: Ask, path: str, body: Any, told: tuple[str, Any]
) -> None:
    more = {} if body is None else {"json": body}
    for record, code in (
        (world.add_call(ALICE, live=False, answer_us=1), "call-over"),
        (world.add_call(ALICE), "wrong-state"),
    ):
        response = ask(f"POST /v1/calls/{record.id}/{path}", **more)
        assert response.status_code == 409
        assert response.json["type"].endswith(f":{code}")


def test_a_hangup_ends_the_call_once_and_may_be_repeated(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    for body in ({"cause": "USER_BUSY"}, {}, {"cause": None}):
        response = ask(f"POST /v1/calls/{record.id}/hangup", json=body)
        assert response.status_code == 202
        assert response.json["hangup_cause"] == "USER_BUSY"
    assert [what for what, _, _ in world.orders] == ["hangup"]


def test_bridging_to_anothers_call_is_404(world: World, ask: Ask) -> None:
    mine, theirs = world.add_call(ALICE, answer_us=1), world.add_call(BOB, answer_us=1)
    body = {"to": {"type": "call", "call_id": theirs.id.upper()}}
    assert ask(f"POST /v1/calls/{mine.id}/bridge", json=body).status_code == 404
    other = world.add_call(ALICE, answer_us=1)
    body["to"]["call_id"] = other.id.upper()
    assert ask(f"POST /v1/calls/{mine.id}/bridge", json=body).status_code == 202


# -- campaigns and leads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_id", ["spring", "a/b c%d?e#f", "ünï", "..", "x" * 128, "%2F"])
def test_a_campaign_is_created_found_and_listed(ask: Ask, own_id: str) -> None:
    response = ask("POST /v1/campaigns", json={"id": own_id, "name": "A name"})
    assert response.status_code == 201
    made = response.json
    assert (made["id"], made["name"]) == (own_id, "A name")
    location = response.headers["Location"].removeprefix("https://calls.example.com")
    assert ask(f"GET {location}").json == made
    assert ask("GET /v1/campaigns").json["data"] == [made]
    assert ask(f"GET {location}/calls").json["total"] == 0


def test_a_campaign_is_there_once(ask: Ask, bob: dict[str, str]) -> None:
    assert ask("POST /v1/campaigns", json={"id": "c"}).status_code == 201
    response = ask("POST /v1/campaigns", json={"id": "c"})
    assert (response.status_code, response.content_type) == (409, "application/problem+json")
    assert ask("POST /v1/campaigns", json={"id": "c"}, headers=bob).status_code == 201


def test_leads_belong_to_campaigns_or_to_none(ask: Ask) -> None:
    ask("POST /v1/campaigns", json={"id": "c"})
    lead = {"id": "l/1", "campaign_id": "c", "name": "Ann", "phone_number": "+15550100"}
    response = ask("POST /v1/leads", json=lead)
    assert response.status_code == 201
    assert {k: response.json[k] for k in lead} == lead
    location = response.headers["Location"].removeprefix("https://calls.example.com")
    assert ask(f"GET {location}").json == response.json
    assert ask("POST /v1/leads", json={"id": "l2"}).status_code == 201
    assert ask("POST /v1/leads", json={"id": "l2"}).status_code == 409
    assert ask("POST /v1/leads", json={"id": "l3", "campaign_id": "none"}).status_code == 404
    assert [found["id"] for found in ask("GET /v1/leads").json["data"]] == ["l2", "l/1"]
    assert [found["id"] for found in ask("GET /v1/leads?campaign=c").json["data"]] == ["l/1"]
    assert ask("GET /v1/leads?campaign=none").json["total"] == 0


def test_lists_of_campaigns_and_leads_are_paged(ask: Ask) -> None:
    for n in range(5):
        ask("POST /v1/campaigns", json={"id": f"c{n}"})
        ask("POST /v1/leads", json={"id": f"l{n}"})
    for path, letter in (("campaigns", "c"), ("leads", "l")):
        response = ask(f"GET /v1/{path}?page=2&page_size=2")
        assert [found["id"] for found in response.json["data"]] == [f"{letter}2", f"{letter}1"]
        assert (response.json["total"], response.json["total_pages"]) == (5, 3)
        assert 'page=3&page_size=2>; rel="next"' in response.headers["Link"]
