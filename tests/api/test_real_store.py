"""The API over the real store, on both databases."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import gevent
import pytest
from flask.testing import FlaskClient

from callengine.api.blueprint import create_app
from callengine.api.services import Readiness, Services
from callengine.calls.facts import Source
from callengine.store.accounts import SCOPES, Accounts
from callengine.store.database import Store
from callengine.store.edits import Edits
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.api import fakes
from tests.databases import database_settings, postgres_server, postgres_settings, sqlite_settings, store
from tests.store import away
from tests.store.build import T0, a_call, changed, ended, noted

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]


@dataclass
class House:
    """A store with two tenants, and the API over it."""

    store: Store
    writer: Writer
    client: FlaskClient
    alice: str
    bob: str
    headers: dict[str, str]

    def ask(self, line: str, **more: Any) -> Any:
        method, _, url = line.partition(" ")
        return self.client.open(url, method=method, headers=self.headers, **more)

    def away(self) -> AbstractContextManager[None]:
        return away.away(self.store)


@pytest.fixture
def house(store: Store) -> Iterator[House]:
    writer = Writer(store)
    writer.start()
    reads = Reads(store, timeout_s=2.0)
    accounts = Accounts(store, writer)
    services = Services(
        settings=fakes.settings(),
        reads=reads,
        keys=accounts,
        edits=Edits(writer, reads),
        readiness=lambda: Readiness(writer.reason is None, {"database": writer.reason or "ok"}),
        metrics=lambda: b"",
        data_as_of=lambda: writer.data_as_of,
    )
    alice, bob = accounts.create_tenant("alice"), accounts.create_tenant("bob")
    _, text = accounts.create_key("alice", SCOPES)
    headers = {"Authorization": f"Bearer {text}"}
    yield House(store, writer, create_app(services).test_client(), alice.id, bob.id, headers)
    writer.stop(10)


def test_a_call_is_read_as_it_was_written_live_and_over(house: House) -> None:
    call = a_call(tenant_id=house.alice, campaign="c/1", caller_name="Жанна ☎")
    house.writer.put(call)
    house.writer.note(noted(call, "created"))
    house.writer.note(noted(call, "answered", T0 + 5, Source.CDR))
    house.writer.flush(5)
    body = house.ask(f"GET /v1/calls/{call.id}").json
    assert (body["status"], body["campaign_id"], body["caller_name"]) == ("dialing", "c/1", "Жанна ☎")
    house.writer.put(ended(changed(call, answered_us=T0 + 1_000_000)))
    house.writer.flush(5)
    body = house.ask(f"GET /v1/calls/{call.id}").json
    assert (body["status"], body["talk_duration_s"], body["total_duration_s"]) == ("completed", 59, 60)
    events = house.ask(f"GET /v1/calls/{call.id}/events").json["data"]
    assert [(event["name"], event["source"]) for event in events] == [("created", "event"), ("answered", "cdr")]
    assert house.ask("GET /v1/campaigns/c%2F1/calls").json["data"] == [body]
    assert house.ask("GET /v1/campaigns/c%2F1").json["id"] == "c/1"


def test_a_thousand_calls_of_one_instant_paged_at_seven(house: House) -> None:
    made = [a_call(tenant_id=house.alice, campaign="c") for _ in range(1000)]
    for call in made:
        house.writer.put(call)
    house.writer.flush(20)
    seen: list[str] = []
    url: str | None = "/v1/campaigns/c/calls?page_size=7"
    while url:
        response = house.ask(f"GET {url}")
        assert response.json["total"] == 1000
        seen += [call["id"] for call in response.json["data"]]
        follow = re.search(r'<([^>]*)>; rel="next"', response.headers["Link"])
        url = urlsplit(follow[1])._replace(scheme="", netloc="").geturl() if follow else None
    assert len(seen) == 1000
    assert seen == sorted((call.id for call in made), reverse=True)


def test_each_filter_reaches_the_database(house: House) -> None:
    house.writer.put(a_call(T0, tenant_id=house.alice))
    number = {"caller_number": "+49 30-99"}
    wanted = a_call(T0 + 10_000_000, tenant_id=house.alice, campaign="c", lead="l", direction="inbound", **number)
    house.writer.put(ended(wanted))
    house.writer.flush(5)
    assert house.ask(f"PATCH /v1/calls/{wanted.id}", json={"disposition": "SALE"}).status_code == 200
    at = "2026-11-22T10:33:30Z"
    for query in (
        "status=failed",
        "direction=inbound",
        "campaign=c",
        "lead=l",
        "disposition=SALE",
        f"dialed_after={at}",
        "number=493099",
        f"number=%2B49(30)99&dialed_after={at}&status=failed&campaign=c&disposition=SALE",
        f"status=failed&direction=inbound&campaign=c&lead=l&disposition=SALE&dialed_after={at}",
    ):
        body = house.ask(f"GET /v1/calls?{query}").json
        assert [call["id"] for call in body["data"]] == [wanted.id], query
    assert wanted.id not in house.ask(f"GET /v1/calls?dialed_before={at}").text
    assert house.ask("GET /v1/calls?agent=nobody").json["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "disposition=%00",
        "disposition=%ff%fe",
        "disposition=" + "x" * 3000,
        "campaign=%27%3B--",
        "lead=%F0%9F%98%80",
        "number=%F0%9F%98%80%27%3B--",
        "page=46116860184273879&page_size=200",
        "dialed_after=0001-01-01T00:00:00Z&dialed_before=9999-12-31T23:59:59Z",
        "dialed_after=0001-01-01T00:00:00%2B23:59",
    ],
)
def test_what_is_odd_but_allowed_is_no_error_in_any_database(house: House, query: str) -> None:
    house.writer.put(a_call(tenant_id=house.alice))
    house.writer.flush(5)
    assert house.ask(f"GET /v1/calls?{query}").status_code == 200


def test_foreign_and_missing_are_the_same_bytes(house: House) -> None:
    foreign = a_call(tenant_id=house.bob, campaign="theirs")
    house.writer.put(foreign)
    house.writer.flush(5)
    for template in ("GET /v1/calls/{}", "GET /v1/calls/{}/events"):
        answers = {house.ask(template.format(i)).data for i in (foreign.id, uuid.uuid4(), "x", "%00")}
        assert len(answers) == 1
    edited = {house.ask(f"PATCH /v1/calls/{i}", json={"notes": "x"}).data for i in (foreign.id, uuid.uuid4(), "x")}
    assert len(edited) == 1
    for template in ("GET /v1/campaigns/{}", "GET /v1/campaigns/{}/calls", "GET /v1/leads/{}"):
        assert len({house.ask(template.format(i)).data for i in ("theirs", "nobodys", "%00")}) == 1
    assert house.ask("GET /v1/calls").json["total"] == 0


def test_what_people_set_outlives_what_the_engine_writes(house: House) -> None:
    call = a_call(tenant_id=house.alice)
    house.writer.put(call)
    house.writer.flush(5)
    notes = "línea 1\nline 2\t☎ 😀"
    assert house.ask(f"PATCH /v1/calls/{call.id}", json={"disposition": "SALE", "notes": notes}).json["notes"] == notes
    house.writer.put(ended(call))
    house.writer.flush(5)
    body = house.ask(f"GET /v1/calls/{call.id}").json
    assert (body["status"], body["disposition"], body["notes"]) == ("failed", "SALE", notes)


def test_campaigns_and_leads(house: House) -> None:
    for own_id in ("a/b c", "ünï", "x" * 128):
        assert house.ask("POST /v1/campaigns", json={"id": own_id}).status_code == 201
        assert house.ask("POST /v1/campaigns", json={"id": own_id}).status_code == 409
        assert house.ask(f"GET /v1/campaigns/{quote(own_id, safe='')}/calls").json["total"] == 0
    assert house.ask("GET /v1/campaigns?page_size=2").json["total_pages"] == 2
    assert house.ask("POST /v1/leads", json={"id": "l", "campaign_id": "ünï"}).status_code == 201
    assert house.ask("POST /v1/leads", json={"id": "m", "campaign_id": "none"}).status_code == 404
    assert [lead["id"] for lead in house.ask("GET /v1/leads?campaign=%C3%BCn%C3%AF").json["data"]] == ["l"]


def test_a_database_that_goes_away_is_503_and_comes_back(house: House) -> None:
    call = a_call(tenant_id=house.alice)
    house.writer.put(call)
    house.writer.flush(5)
    assert house.ask(f"GET /v1/calls/{call.id}").status_code == 200
    with house.away(), gevent.Timeout(15):
        for line in (f"GET /v1/calls/{call.id}", "GET /v1/calls"):
            response = house.ask(line)
            assert (response.status_code, response.content_type) == (503, "application/problem+json")
            assert response.json["data_as_of"].startswith("20")
            assert "Retry-After" in response.headers
            assert "127.0.0.1" not in response.text
        assert house.client.get("/livez").status_code == 200
    with gevent.Timeout(10):
        while house.ask(f"GET /v1/calls/{call.id}").status_code != 200:
            gevent.sleep(0.1)
