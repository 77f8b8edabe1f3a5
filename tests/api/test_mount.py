"""The blueprint in somebody else's application."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from callengine.api.blueprint import create_blueprint
from callengine.calls.view import show
from tests.api import fakes
from tests.api.fakes import ALICE, World


def host(world: World, prefix: str | None = "/telephony") -> FlaskClient:
    app = Flask("host")
    app.add_url_rule("/", view_func=lambda: "the host's page", endpoint="host_front")
    app.add_url_rule("/v1/theirs", view_func=lambda: "the host's own", endpoint="theirs")
    chosen = fakes.settings(public_url="https://calls.example.com" + (prefix or ""))
    app.register_blueprint(create_blueprint(fakes.services(world, chosen)), url_prefix=prefix)
    return app.test_client()


def test_it_works_under_a_prefix(world: World, alice: dict[str, str]) -> None:
    client = host(world)
    record = world.add_call(ALICE, campaign_id="c")
    assert client.get(f"/telephony/v1/calls/{record.id}", headers=alice).get_json() == show(record)
    response = client.get("/telephony/v1/campaigns/c/calls", headers=alice)
    assert "<https://calls.example.com/telephony/v1/campaigns/c/calls?page=1>" in response.headers["Link"]
    response = client.post("/telephony/v1/calls", json={"destination": "1"}, headers=alice)
    assert response.headers["Location"].startswith("https://calls.example.com/telephony/v1/calls/")
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/"):
        assert client.get("/telephony" + path).status_code == 200


def test_errors_under_v1_are_problems_there_too(world: World, alice: dict[str, str]) -> None:
    client = host(world)
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("DELETE", "/v1/calls", 405),
        ("BREW", "/v1/calls", 405),
        ("GET", "/v1/calls?page=0", 400),
        ("GET", "/v1/calls/x", 404),
        ("GET", "/v1/campaigns/a%2Fb", 404),
    ):
        response = client.open("/telephony" + path, method=method, headers=alice)
        assert (response.status_code, response.content_type) == (status, "application/problem+json"), path
    assert client.delete("/telephony/v1/calls").headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    world.failing = ZeroDivisionError()
    response = client.get("/telephony/v1/calls", headers=alice)
    assert (response.status_code, response.content_type) == (500, "application/problem+json")


def test_the_hosts_own_pages_stay_its_own(world: World) -> None:
    client = host(world)
    assert client.get("/").text == "the host's page"
    assert client.get("/v1/theirs").text == "the host's own"
    assert "html" in client.get("/nothing").content_type
    assert "Content-Security-Policy" not in client.get("/").headers


def test_the_document_is_the_same_wherever_it_is_mounted(world: World, client: FlaskClient) -> None:
    assert host(world).get("/telephony/openapi.json").json == client.get("/openapi.json").json


def test_two_of_them_share_an_application(world: World) -> None:
    other = World()
    app = Flask("host")
    for name, one in (("first", world), ("second", other)):
        blueprint = create_blueprint(fakes.services(one))
        app.register_blueprint(blueprint, url_prefix=f"/{name}", name=name)
    headers = world.key("k", ALICE)
    client = app.test_client()
    assert client.get("/first/v1/calls", headers=headers).status_code == 200
    assert client.get("/second/v1/calls", headers=headers).status_code == 401
    assert client.get("/second/v1/nothing").content_type == "application/problem+json"
