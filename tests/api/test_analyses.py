"""A call's analysis over HTTP."""

from __future__ import annotations

from typing import Any, get_args

import jsonschema
from flask.testing import FlaskClient

from callengine.api.shown import AnalysisShown, AnalysisStatus
from callengine.store.analyses import Status
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, BASE_US, AnalysisRow, World


def of(world: World, **fields: Any) -> str:
    record = world.add_call(ALICE)
    if fields:
        world.analyses[record.id] = AnalysisRow(record.id, **fields)
    return record.id


def full(world: World) -> str:
    return of(
        world,
        status="completed",
        run=2,
        sdk="google-genai",
        model="gemini-3.5-flash-lite",
        prompt_version="1",
        audio_ms=30_500,
        input_tokens=2_000,
        output_tokens=300,
        spent_micros=1_350,
        statements=[{"text": "They met.", "quote": "nice to meet you"}, {"text": "And left."}],
        transcript=[{"speaker": "caller", "offset_ms": 1_200, "text": "Nice to meet you!"}],
        created_us=BASE_US,
        done_us=BASE_US + 1_000_000,
    )


def test_an_analysis_that_is_done(world: World, ask: Ask) -> None:
    call_id = full(world)
    response = ask(f"GET /v1/calls/{call_id.upper()}/analysis")
    assert response.status_code == 200
    assert response.json == {
        "call_id": call_id,
        "status": "completed",
        "run": 2,
        "sdk": "google-genai",
        "model": "gemini-3.5-flash-lite",
        "prompt_version": "1",
        "audio_ms": 30_500,
        "input_tokens": 2_000,
        "output_tokens": 300,
        "cost_usd": 0.00135,
        "error": None,
        "statements": [{"text": "They met.", "quote": "nice to meet you"}, {"text": "And left.", "quote": None}],
        "transcript": [{"speaker": "caller", "offset_ms": 1_200, "text": "Nice to meet you!"}],
        "created_time": "2026-11-22T10:33:35.301Z",
        "next_time": None,
        "done_time": "2026-11-22T10:33:36.301Z",
    }
    assert list(response.json) == list(AnalysisShown.model_fields)


def test_it_is_as_described(world: World, ask: Ask, client: FlaskClient) -> None:
    document: Any = client.get("/openapi.json").json
    described = document["paths"]["/v1/calls/{call_id}/analysis"]["get"]["responses"]["200"]["content"]
    schema = {**described["application/json"]["schema"], "components": document["components"]}
    for call_id in (full(world), of(world), of(world, status="retrying", run=1, error="x", next_us=BASE_US)):
        jsonschema.validate(ask(f"GET /v1/calls/{call_id}/analysis").json, schema)


def test_a_call_without_one_has_nulls(world: World, ask: Ask) -> None:
    call_id = of(world)
    body = ask(f"GET /v1/calls/{call_id}/analysis").json
    assert body.pop("call_id") == call_id
    assert set(body.values()) == {None}


def test_what_waits_says_until_when(world: World, ask: Ask) -> None:
    call_id = of(world, status="parked", run=1, error="Gemini answered 429", next_us=BASE_US, spent_micros=0)
    body = ask(f"GET /v1/calls/{call_id}/analysis").json
    assert (body["status"], body["next_time"], body["cost_usd"]) == ("parked", "2026-11-22T10:33:35.301Z", 0)


def test_missing_and_foreign_are_the_same(world: World, client: FlaskClient, ask: Ask, bob: dict[str, str]) -> None:
    call_id = full(world)
    foreign = client.get(f"/v1/calls/{call_id}/analysis", headers=bob)
    missing = ask("GET /v1/calls/00000000-0000-7000-8000-000000000000/analysis")
    no_id = ask("GET /v1/calls/nonsense/analysis")
    assert [r.status_code for r in (foreign, missing, no_id)] == [404, 404, 404]
    assert foreign.data == missing.data == no_id.data


def test_the_scope_is_needed(world: World, client: FlaskClient) -> None:
    call_id = full(world)
    key = world.key("key-without", ALICE, "campaigns:read")
    assert client.get(f"/v1/calls/{call_id}/analysis", headers=key).status_code == 403
    assert client.get(f"/v1/calls/{call_id}/analysis").status_code == 401


def test_a_process_without_analyses_says_so(world: World, alice: dict[str, str]) -> None:
    client = fakes.app(world, analyses=None).test_client()
    response = client.get(f"/v1/calls/{full(world)}/analysis", headers=alice)
    assert (response.status_code, response.content_type) == (503, "application/problem+json")


def test_the_statuses_are_those_of_the_store() -> None:
    assert set(get_args(AnalysisStatus)) == set(Status)
