"""Webhooks over the API, on the real store; who sees what is in ``test_isolation``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from standardwebhooks import Webhook

from callengine.api.blueprint import create_app
from callengine.api.services import Readiness, Services
from callengine.calls.call import EventName
from callengine.config.sections import Webhooks as Settings
from callengine.store import sql
from callengine.store.accounts import SCOPES, Accounts
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import Reply
from callengine.webhooks.service import Webhooks
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import World
from tests.databases import database_settings, postgres_server, postgres_settings, sqlite_settings, store
from tests.store.build import T0, a_call, changed, published

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]

NOBODY = "0191f0a6-7c7a-7d31-a4f3-3a5e5f3f2b10"
ENDPOINTS = "/v1/webhooks/endpoints"


class Tried:
    """In the sender's place: keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], bytes]] = []

    def send(self, url: str, headers: dict[str, str], body: bytes, *, tenant_id: str) -> Reply:
        self.sent.append((url, headers, body))
        return Reply(duration_s=0.012, status=503, error="answered 503", response="later")


@dataclass
class House:
    store: Store
    writer: Writer
    client: FlaskClient
    tenant: str
    headers: dict[str, str]
    tried: Tried

    def ask(self, line: str, **more: Any) -> Any:
        method, _, url = line.partition(" ")
        return self.client.open(url, method=method, headers=self.headers, **more)

    def create(self, **more: Any) -> Any:
        response = self.ask(f"POST {ENDPOINTS}", json={"url": "https://crm.example.com/hook", **more})
        assert response.status_code == 201, response.json
        return response.json

    def tell(self, n: int) -> None:
        for i in range(n):
            call = changed(a_call(T0 + i, tenant_id=self.tenant), seq=1)
            self.writer.put(call)
            self.writer.publish(published(call, EventName.ENDED, 1))
        self.writer.flush(10)

    def set(self, text: str) -> None:
        self.writer.execute(lambda db: sql.run(db, text), 5)


@pytest.fixture
def house(store: Store) -> Iterator[House]:
    writer = Writer(store)
    writer.start()
    reads, accounts, tried = Reads(store), Accounts(store, writer), Tried()
    guard = Guard(resolve=lambda host, port: [(2, 1, 6, "", ("93.184.216.34", port))])
    webhooks = Webhooks(store, writer, Settings(max_endpoints=3), guard, tried)  # type: ignore[arg-type]
    services = Services(
        settings=fakes.settings(),
        reads=reads,
        keys=accounts,
        edits=Edits(writer, reads),
        webhooks=webhooks,
        readiness=lambda: Readiness(True, {}),
        metrics=lambda: b"",
    )
    tenant = accounts.create_tenant("alice")
    _, text = accounts.create_key("alice", SCOPES)
    headers = {"Authorization": f"Bearer {text}"}
    yield House(store, writer, create_app(services).test_client(), tenant.id, headers, tried)
    writer.stop(10)


def test_an_endpoint_from_its_creation_to_its_end(house: House) -> None:
    made = house.create(description="crm", events=["call.ended", "call.dialing", "call.ended"])
    secret = made.pop("secret")
    assert Webhook(secret)
    assert made["events"] == ["call.dialing", "call.ended"]
    one = f"{ENDPOINTS}/{made['id']}"
    assert house.ask(f"GET {one}").json == made
    assert house.ask(f"GET {ENDPOINTS}").json["data"] == [made]
    changed_to = {"enabled": False, "description": None, "events": ["call.analyzed"]}
    assert house.ask(f"PATCH {one}", json=changed_to).json == {**made, **changed_to}
    rotated = house.ask(f"POST {one}/rotate-secret", json={"overlap_s": 60})
    assert rotated.json["secret"] != secret
    assert rotated.json["old_secret_until"] is not None
    for listed in (house.ask(f"GET {one}"), house.ask(f"GET {ENDPOINTS}")):
        assert "whsec_" not in listed.text
    assert house.ask(f"DELETE {one}").json["id"] == made["id"]
    assert house.ask(f"GET {one}").status_code == 404
    assert house.ask(f"DELETE {one}").status_code == 404


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://crm.example.com/", "not-allowed"),
        ("https://127.0.0.1/", "not-allowed"),
        ("https://[::ffff:169.254.169.254]/", "not-allowed"),
        ("https://2130706433/", "malformed"),
        ("https://user:pass@crm.example.com/", "malformed"),
        ("ftp://crm.example.com/", "malformed"),
        ("nothing", "malformed"),
    ],
)
def test_urls_that_are_refused(house: House, url: str, code: str) -> None:
    made = house.create()
    for response in (
        house.ask(f"POST {ENDPOINTS}", json={"url": url}),
        house.ask(f"PATCH {ENDPOINTS}/{made['id']}", json={"url": url}),
    ):
        assert response.status_code == 400
        assert response.json["type"].endswith(f":{code}")
        assert response.json["errors"][0]["loc"] == ["body", "url"]
        assert "pass" not in response.text


def test_no_more_than_allowed(house: House) -> None:
    for _ in range(3):
        house.create()
    response = house.ask(f"POST {ENDPOINTS}", json={"url": "https://crm.example.com/hook"})
    assert (response.status_code, response.json["type"].rpartition(":")[2]) == (409, "too-many-endpoints")


def test_a_test_is_signed_and_its_answer_told(house: House) -> None:
    made = house.create()
    response = house.ask(f"POST {ENDPOINTS}/{made['id']}/test")
    assert response.status_code == 200
    assert response.json == {
        "delivered": False,
        "status": 503,
        "error": "answered 503",
        "response": "later",
        "duration_ms": 12,
    }
    ((url, headers, body),) = house.tried.sent
    assert url == made["url"]
    assert Webhook(made["secret"]).verify(body, headers)["type"] == "webhook.test"


def test_the_log_and_replay(house: House) -> None:
    made = house.create()
    house.tell(30)
    one = f"{ENDPOINTS}/{made['id']}"
    house.set("UPDATE delivery SET status = 'dead', attempts = 11, ended_us = 5 WHERE event_position <= 10")
    page = house.ask(f"GET {one}/deliveries?status=dead&page_size=4")
    assert (page.json["total"], page.json["total_pages"], len(page.json["data"])) == (10, 3, 4)
    assert "status=dead" in page.headers["Link"]
    delivery = page.json["data"][0]
    assert (delivery["event"], delivery["status"], delivery["next_attempt_time"]) == ("call.ended", "dead", None)
    assert house.ask(f"GET /v1/webhooks/deliveries?call={delivery['call_id'].upper()}").json["total"] == 1
    assert house.ask("GET /v1/webhooks/deliveries?event=call.dialing").json["total"] == 0
    assert house.ask("GET /v1/webhooks/deliveries?status=lost").status_code == 400
    found = house.ask(f"GET {one}/deliveries/{delivery['event_id']}")
    assert found.json == {**delivery, "attempts_made": []}
    again = house.ask(f"POST {one}/deliveries/{delivery['event_id']}/replay")
    assert (again.status_code, again.json["status"], again.json["attempts"]) == (202, "pending", 0)
    assert again.headers["Location"].endswith(f"/deliveries/{delivery['event_id']}")
    later = house.ask(f"POST {one}/replay", json={"since": "2100-01-01T00:00:00Z"})
    assert later.json == {"replayed": 0, "complete": True}
    assert house.ask(f"POST {one}/replay").json == {"replayed": 9, "complete": True}
    assert house.ask(f"GET {one}/deliveries?status=dead").json["total"] == 0


def test_missing_ids_are_the_same_404(house: House) -> None:
    made = house.create()
    bodies = set()
    for endpoint in (NOBODY, "x", "0" * 36, NOBODY.upper()):
        for line in ("GET {}", "DELETE {}", "GET {}/deliveries", "POST {}/test", "GET {}/deliveries/" + NOBODY):
            response = house.ask(line.replace("{}", f"{ENDPOINTS}/{endpoint}"))
            assert response.status_code == 404, line
            bodies.add(response.data)
    assert len(bodies) == 1
    for event in (NOBODY, "x"):
        response = house.ask(f"GET {ENDPOINTS}/{made['id']}/deliveries/{event}")
        assert (response.status_code, response.json["detail"]) == (404, "there is no such delivery")


def test_bodies_that_are_refused(ask: Ask) -> None:
    url = "https://crm.example.com/"
    for body in (
        {},
        {"url": url, "events": []},
        {"url": url, "events": ["call.nothing"]},
        {"url": url, "secret": "whsec_mine"},
        {"url": "https://x.example/" + "a" * 2048},
        {"url": url, "description": "\x00"},
        {"url": url, "enabled": "yes"},
    ):
        assert ask(f"POST {ENDPOINTS}", json=body).status_code == 400, body
    for body in ({}, {"failures": 0}):
        assert ask(f"PATCH {ENDPOINTS}/{NOBODY}", json=body).status_code == 400
    assert ask(f"POST {ENDPOINTS}/{NOBODY}/rotate-secret", json={"overlap_s": 604_801}).status_code == 400
    for since in (0, "yesterday", True):
        assert ask(f"POST {ENDPOINTS}/{NOBODY}/replay", json={"since": since}).status_code == 400


def test_scopes(world: World, client: FlaskClient) -> None:
    reader = world.key("reader", fakes.ALICE, "webhooks:read")
    other = world.key("other", fakes.ALICE, "calls:read", "calls:write")
    assert client.get(ENDPOINTS, headers=reader).status_code == 200
    assert client.post(ENDPOINTS, headers=reader, json={"url": "https://x.example/"}).status_code == 403
    assert client.get(ENDPOINTS, headers=other).status_code == 403


def test_a_process_that_only_reads_says_so(world: World) -> None:
    headers = world.key("key", fakes.ALICE)
    client = fakes.app(world, webhooks=None).test_client()
    response = client.get(ENDPOINTS, headers=headers)
    assert (response.status_code, response.json["type"].rpartition(":")[2]) == (503, "read-only")
