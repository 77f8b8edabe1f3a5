"""What is open without a key tells no data."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from callengine.api.brake import FREE_FAILURES
from callengine.api.keys import KNOWN_S, REMEMBERED_S
from callengine.api.services import Readiness
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, World


def test_livez_is_one_word_whatever_is_away(world: World, client: FlaskClient) -> None:
    world.away = True
    response = client.get("/livez")
    assert (response.status_code, response.text) == (200, "alive\n")


def test_readyz_is_one_word_and_its_parts_need_a_key(world: World, alice: dict[str, str]) -> None:
    world.key("webhooks-only", ALICE, "webhooks:read")
    readiness = Readiness(True, {"esl": "connected"})
    client = fakes.app(world, readiness=lambda: readiness).test_client()
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (200, "ready\n")
    assert client.get("/readyz", headers=alice).json == {"ready": True, "parts": {"esl": "connected"}}
    detail: Any = client.get("/readyz", headers={"Authorization": "Bearer webhooks-only"}).json
    assert detail["ready"] is True
    assert client.get("/readyz", headers={"Authorization": "Bearer wrong"}).text == "ready\n"
    readiness = Readiness(False, {"esl": "refused"})
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "unready\n")
    assert client.get("/readyz", headers=alice).status_code == 503


def test_readyz_is_told_also_without_a_database(world: World, client: FlaskClient) -> None:
    world.away = True
    assert client.get("/readyz", headers={"Authorization": "Bearer whoever"}).text == "ready\n"


def test_readyz_names_its_parts_to_who_was_known_before_the_database_went_away(
    world: World, alice: dict[str, str]
) -> None:
    readiness = Readiness(True, {"database": "ok"})
    client = fakes.app(world, readiness=lambda: readiness).test_client()
    assert client.get("/v1/calls", headers=alice).status_code == 200
    world.away, world.clock_s = True, world.clock_s + KNOWN_S
    parts: Any = client.get("/readyz", headers=alice).json  # nobody has noticed yet that it is away
    assert parts == {"ready": True, "parts": {"database": "ok"}}
    readiness = Readiness(False, {"database": "it does not answer"})
    queries = world.queries
    parts = client.get("/readyz", headers=alice).json
    assert parts == {"ready": False, "parts": {"database": "it does not answer"}}
    assert world.queries == queries  # that would be to wait
    assert client.get("/readyz", headers={"Authorization": "Bearer whoever"}).text == "unready\n"
    assert client.get("/v1/calls", headers=alice).status_code == 503
    world.clock_s += REMEMBERED_S
    assert client.get("/readyz", headers=alice).text == "unready\n"


def test_a_revoked_key_is_not_remembered_at_readyz(world: World, alice: dict[str, str]) -> None:
    readiness = Readiness(False, {"database": "ok"})
    client = fakes.app(world, readiness=lambda: readiness).test_client()
    assert client.get("/readyz", headers=alice).is_json
    world.keys.clear()
    world.clock_s += KNOWN_S
    assert client.get("/readyz", headers=alice).text == "unready\n"
    readiness = Readiness(False, {"database": "away"})
    assert client.get("/readyz", headers=alice).text == "unready\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_metrics_are_open_to_this_machine(client: FlaskClient, address: str) -> None:
    response = client.get("/metrics", environ_base={"REMOTE_ADDR": address})
    assert (response.status_code, response.text) == (200, "callengine_build_info 1.0\n")
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.1", {}),
        ("", {}),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}),
        ("::ffff:192.0.2.1", {}),
    ],
)
def test_metrics_need_the_token_from_elsewhere(client: FlaskClient, address: str, headers: dict[str, str]) -> None:
    base = {"REMOTE_ADDR": address}
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic metrics-secret"}):
        response = client.get("/metrics", environ_base=base, headers={**headers, **given})
        assert (response.status_code, response.content_type) == (401, "application/problem+json")
    given = {"Authorization": "Bearer metrics-secret"}
    assert client.get("/metrics", environ_base=base, headers={**headers, **given}).status_code == 200


def test_who_guesses_the_token_is_slowed_down(world: World, client: FlaskClient) -> None:
    base = {"REMOTE_ADDR": "192.0.2.1"}

    def status(token: str) -> int:
        return client.get("/metrics", environ_base=base, headers={"Authorization": f"Bearer {token}"}).status_code

    assert {status("wrong") for _ in range(FREE_FAILURES)} == {401}
    assert world.delays == []
    assert [status("wrong") for _ in range(3)] == [401] * 3
    assert world.delays == sorted(set(world.delays))
    assert (len(world.delays), status("metrics-secret")) == (3, 200)


def test_who_guesses_keys_at_readyz_is_slowed_down_and_it_is_told_all_the_same(
    world: World, client: FlaskClient
) -> None:
    for n in range(FREE_FAILURES + 2):
        assert client.get("/readyz", headers={"Authorization": f"Bearer wrong-{n}"}).text == "ready\n"
    assert len(world.delays) == 2
    assert client.get("/readyz").text == "ready\n"
    assert len(world.delays) == 2


def test_without_a_token_metrics_are_for_this_machine_only(world: World) -> None:
    chosen = fakes.settings().model_copy(update={"metrics": type(fakes.settings().metrics)()})
    client = fakes.app(world, chosen).test_client()
    for given in ("Bearer ", "Bearer x", ""):
        response = client.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.1"}, headers={"Authorization": given})
        assert response.status_code == 401


def test_the_plain_docs_load_nothing_and_run_nothing(client: FlaskClient) -> None:
    response = client.get("/docs/plain")
    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in response.text
    assert not re.search(r'(src|href)="(https?:)?//', response.text)
    assert "style=" not in response.text


def test_a_key_is_told_what_it_may_do(world: World, client: FlaskClient) -> None:
    headers = world.key("writes-webhooks", ALICE, "webhooks:write", "calls:read")
    response = client.get("/v1/key", headers=headers)
    assert (response.status_code, response.json) == (
        200,
        {"id": "writes-webhooks", "scopes": ["calls:read", "webhooks:write"]},
    )
    assert client.get("/v1/key").status_code == 401
    assert client.get("/v1/key", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_every_answer_says_that_it_is_not_to_be_kept_or_sniffed(ask: Ask) -> None:
    for line in (
        "GET /docs/plain",
        "GET /livez",
        "GET /v1/calls",
        "GET /v1/calls/x",
        "GET /nothing",
        "PUT /v1/calls",
        "POST /docs",
    ):
        headers = ask(line).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
