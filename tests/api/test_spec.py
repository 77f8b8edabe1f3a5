"""The OpenAPI document is valid, complete, and true of the answers."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from callengine.api import shown
from callengine.api.fields import MAX_PAGE, MAX_PAGE_SIZE
from callengine.api.recordings import OTHER_TYPE
from callengine.calls.facts import Source
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.calls.view import show
from tests.api.conftest import Ask
from tests.api.fake_webhooks import FakeWebhooks
from tests.api.fakes import ALICE, BASE_US, World


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    body = client.get("/openapi.json").json
    assert isinstance(body, dict)
    return body


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, o) for path, methods in document["paths"].items() for method, o in methods.items()]


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_operation_says_what_it_needs_and_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        if not path.startswith("/v1"):
            assert operation["security"] == [], name
            continue
        if name == "get_recording":  # its link is what opens it: see test_the_recording_is_described
            continue
        assert [list(wanted) for wanted in operation["security"]] == [["key"]], name
        answers = operation["responses"]
        assert {"400", "401", "403", "429", "500", "503"} <= set(answers), name
        assert ("404" in answers) == ("{" in path or name == "create_lead"), name
        assert ({"413", "415"} <= set(answers)) == ("requestBody" in operation), name
        for status, answer in answers.items():
            kind = "application/problem+json" if int(status) >= 400 else "application/json"
            if (name, status) == ("stream_events", "200"):
                kind = "text/event-stream"
            assert list(answer["content"]) == [kind], (name, status)
        assert "WWW-Authenticate" in answers["401"]["headers"]
        assert "Retry-After" in answers["503"]["headers"]
        if name.startswith("list_") and name != "list_call_events":
            assert "Link" in answers["200"]["headers"]
        if method == "post":
            assert any("Location" in answer.get("headers", ()) for answer in answers.values()), name
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_the_recording_is_described(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/recordings/{recording_id}"]["get"]
    assert operation["security"] == []
    assert {p["name"]: (p["in"], p["required"]) for p in operation["parameters"]} == {
        "recording_id": ("path", True),
        "expires": ("query", True),
        "signature": ("query", True),
    }
    answers = operation["responses"]
    assert set(answers) == set("200 206 304 307 400 403 404 410 412 416 500 503".split())
    assert set(answers["206"]["content"]) == {"audio/wav", "audio/mpeg", "audio/ogg", "audio/flac", OTHER_TYPE}
    assert "Content-Range" in answers["206"]["headers"]
    assert "Content-Range" in answers["416"]["headers"]
    for status in set(answers) - set("200 206 304 307".split()):
        assert list(answers[status]["content"]) == ["application/problem+json"]


def test_parameters_have_the_bounds_that_are_kept(document: dict[str, Any]) -> None:
    parameters = {p["name"]: p for p in document["paths"]["/v1/calls"]["get"]["parameters"]}
    assert list(parameters) == (
        "page page_size status disposition direction campaign lead agent number dialed_after dialed_before".split()
    )
    page, size = parameters["page"]["schema"], parameters["page_size"]["schema"]
    assert page == {"type": "integer", "default": 1, "minimum": 1, "maximum": MAX_PAGE}
    assert size == {"type": "integer", "default": 25, "minimum": 1, "maximum": MAX_PAGE_SIZE}
    assert MAX_PAGE * MAX_PAGE_SIZE < 2**63
    for parameter in parameters.values():
        assert parameter["in"] == "query"
        assert parameter["required"] is False
        assert "null" not in json.dumps(parameter)


def test_bodies_take_no_unknown_fields(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False


def test_the_examples_are_valid(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    tried = 0
    for schema in schemas.values():
        for example in schema.get("examples", ()):
            jsonschema.validate(example, {**schema, "components": document["components"]})
            tried += 1
    assert tried >= 4


def test_a_call_is_described_as_it_is_shown() -> None:
    assert list(shown.Call.model_fields) == list(show(CallRecord(id="i", tenant_id="t", node="n", fs_uuid="f")))


def full_call(world: World) -> CallRecord:
    """A call with something in every field."""
    record = world.add_call(
        ALICE,
        campaign_id="c",
        lead_id="l",
        agent_id="1001",
        status="completed",
        live=False,
        queued_us=BASE_US - 5,
        dial_us=BASE_US,
        ring_us=BASE_US + 1,
        answer_us=BASE_US + 2,
        agent_connect_us=BASE_US + 3,
        end_us=BASE_US + 4,
        hangup_cause="NORMAL_CLEARING",
        sip_status=200,
        hangup_by="callee",
        answered_by="human",
        end_source="event",
        has_recording=True,
        agents=[{"agent_id": "1001", "leg": "x", "connect_us": BASE_US, "disconnect_us": None}],
        legs=[
            {"fs_uuid": "x", "role": "agent", "call_id": None, "direction": "outbound", "agent_id": "1001"}
            | {"callee_number": "1", "dial_us": BASE_US, "ring_us": None, "answer_us": BASE_US, "end_us": None}
            | {"hangup_cause": None, "sip_status": 200},
            {"fs_uuid": "y", "role": "call", "call_id": "z", "direction": "inbound", "agent_id": None},
        ],
        recordings=[
            {"path": "/secret/x.wav", "leg": "x", "start_us": 1, "stop_us": 2, "duration_ms": 3, "discarded": False}
        ],
    )
    world.notes[record.id].append(Note("bridged", BASE_US + 3, "x", Source.SNAPSHOT))
    return record


def test_answers_are_as_described(world: World, ask: Ask, document: dict[str, Any]) -> None:
    record = full_call(world)
    ask("POST /v1/leads", json={"id": "l", "campaign_id": "c", "phone_number": "+1"})
    ids = {"call_id": record.id, "campaign_id": "c", "lead_id": "l"}
    webhooks = FakeWebhooks(world)
    endpoint, _ = webhooks.create(ALICE, "https://example.com/", (), None, True)
    delivery = webhooks.add_delivery(endpoint, "dead")
    ids |= {"endpoint_id": endpoint.id, "event_id": delivery.event_id}
    checked = 0
    for path, method, operation in operations(document):
        if method != "get" or not path.startswith("/v1") or "recording_id" in path:
            continue
        for url, status in ((path.format(**ids), "200"), (path.format(**ids) + "?surely=not", "400")):
            if url == "/v1/stream":  # has no end: test_stream reads it
                continue
            response = ask(f"GET {url}")
            assert str(response.status_code) == status, url
            schema = operation["responses"][status]["content"][response.content_type]["schema"]
            jsonschema.validate(response.json, {**schema, "components": document["components"]})
            assert "/secret" not in response.text
            checked += 1
    assert checked == 31
