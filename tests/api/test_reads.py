"""The reads of calls: the object, the list, its filters, its order, its links."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from callengine.calls.facts import Source
from callengine.calls.leg import Note
from callengine.calls.view import show
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, BASE_US, BOB, World

CONTRACT_FIELDS = """id campaign_id lead_id agent_id fs_uuid direction status dial_time ring_time answer_time
    agent_connect_time end_time ring_duration_s talk_duration_s total_duration_s hangup_cause has_recording
    recording_url disposition notes ai_summary ai_sentiment ai_next_action""".split()


def links(response: Any) -> dict[str, str]:
    return {rel: url for url, rel in re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers["Link"])}


def test_a_call_is_the_bare_object_with_every_field(world: World, ask: Ask) -> None:
    record = world.add_call(
        ALICE,
        campaign_id="c",
        status="completed",
        live=False,
        dial_us=BASE_US,
        ring_us=BASE_US + 999_999,
        answer_us=BASE_US + 2_999_998,
        end_us=BASE_US + 60_999_999,
        hangup_cause="NORMAL_CLEARING",
    )
    response = ask(f"GET /v1/calls/{record.id}")
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json
    assert list(body)[: len(CONTRACT_FIELDS)] == CONTRACT_FIELDS
    assert body == show(record)
    assert body["dial_time"] == "2026-11-22T10:33:35.301Z"
    assert (body["ring_duration_s"], body["talk_duration_s"], body["total_duration_s"]) == (1, 58, 60)


def test_an_id_in_capitals_is_the_same_id(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    assert ask(f"GET /v1/calls/{record.id.upper()}").json["id"] == record.id


def test_a_list_has_its_form_and_its_links(world: World, ask: Ask) -> None:
    for n in range(5):
        world.add_call(ALICE, campaign_id="spring/26 ü", dial_us=BASE_US + n)
    response = ask("GET /v1/campaigns/spring%2F26%20%C3%BC/calls?page=2&page_size=2&status=dialing")
    assert response.status_code == 200
    body = response.json
    assert {k: body[k] for k in body if k != "data"} == {"page": 2, "page_size": 2, "total": 5, "total_pages": 3}
    assert [call["dial_time"] for call in body["data"]] == ["2026-11-22T10:33:35.301Z"] * 2
    found = links(response)
    base = "https://calls.example.com/v1/campaigns/spring%2F26%20%C3%BC/calls"
    assert {rel: parse_qs(urlsplit(url).query)["page"] for rel, url in found.items()} == {
        "first": ["1"],
        "prev": ["1"],
        "next": ["3"],
        "last": ["3"],
    }
    for url in found.values():
        assert url.startswith(base + "?")
        assert parse_qs(urlsplit(url).query)["status"] == ["dialing"]
        assert parse_qs(urlsplit(url).query)["page_size"] == ["2"]


def test_a_page_past_the_end_is_empty_and_links_back(world: World, ask: Ask) -> None:
    world.add_call(ALICE)
    response = ask("GET /v1/calls?page=46116860184273879&page_size=200")
    assert response.status_code == 200
    assert response.json["data"] == []
    assert response.json["total"] == 1
    found = links(response)
    assert set(found) == {"first", "prev", "last"}
    assert parse_qs(urlsplit(found["prev"]).query)["page"] == ["1"]


def test_an_empty_list_has_a_first_and_a_last_page(ask: Ask) -> None:
    response = ask("GET /v1/calls")
    assert response.json == {"data": [], "page": 1, "page_size": 25, "total": 0, "total_pages": 0}
    assert set(links(response)) == {"first", "last"}


def test_a_thousand_calls_of_one_instant_are_each_on_one_page(world: World, ask: Ask) -> None:
    made = {world.add_call(ALICE, campaign_id="c", dial_us=BASE_US).id for _ in range(1000)}
    seen: list[str] = []
    url: str | None = "/v1/campaigns/c/calls?page_size=7"
    while url:
        response = ask(f"GET {url}")
        seen += [call["id"] for call in response.json["data"]]
        follow = links(response).get("next")
        url = follow and urlsplit(follow)._replace(scheme="", netloc="").geturl()
    assert len(seen) == 1000
    assert set(seen) == made
    assert seen == sorted(seen, reverse=True)


def test_what_was_not_dialled_yet_comes_first(world: World, ask: Ask) -> None:
    old, new = world.add_call(ALICE, dial_us=BASE_US), world.add_call(ALICE, dial_us=BASE_US + 1)
    waiting = world.add_call(ALICE, queued_us=BASE_US - 1)
    assert [call["id"] for call in ask("GET /v1/calls").json["data"]] == [waiting.id, new.id, old.id]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("status=ringing", {"status": "ringing"}),
        ("direction=inbound", {"direction": "inbound"}),
        ("campaign=c%201", {"campaign_id": "c 1"}),
        ("lead=l%2F1", {"lead_id": "l/1"}),
        ("agent=1001", {"agent_id": "1001"}),
        ("disposition=SALE", {"disposition": "SALE"}),
        ("disposition=%E2%82%AC", {"disposition": "€"}),
        ("number=%2B49301234", {"caller_number": "+49301234"}),
        ("number=+49301234", {"caller_number": "+49301234"}),  # as whoever forgets to write + as %2B
        ("number=49%20(30)%2F12-3.4", {"callee_number": "+49301234"}),
        ("number=%E2%80%AA49%C2%A030%E2%80%911234%E2%80%AC", {"callee_number": "49 30-1234"}),
        ("number=*98%23", {"callee_number": "*98#"}),
        ("number=anonymous&direction=inbound", {"caller_number": "anonymous", "direction": "inbound"}),
        ("dialed_after=2026-11-22T10:33:35Z", {"dial_us": BASE_US}),
        ("dialed_before=2026-11-22T10:33:36%2B00:00", {"dial_us": BASE_US}),
        ("dialed_after=2026-11-22T11:33:35.301165%2B01:00", {"dial_us": BASE_US}),
    ],
)
def test_each_filter_finds_its_own(world: World, ask: Ask, query: str, fields: dict[str, Any]) -> None:
    wanted = world.add_call(ALICE, **fields)
    world.add_call(ALICE)
    assert [call["id"] for call in ask(f"GET /v1/calls?{query}").json["data"]] == [wanted.id]


def test_a_number_is_found_whole_and_as_it_is(world: World, ask: Ask) -> None:
    world.add_call(ALICE, caller_number="+49301234", callee_number="1000")
    for query in ("0049301234", "030 1234", "4930123", "301234", "49301234 ext 1", "%2549301234"):
        assert ask(f"GET /v1/calls?number={query}").json["total"] == 0, query
    following = ask("GET /v1/calls?number=%2B49301234&page_size=1&page=2").headers["Link"]
    assert "number=%2B49301234" in following


def test_instants_bound_half_open_spans(world: World, ask: Ask) -> None:
    second = BASE_US // 1_000_000 * 1_000_000
    calls = [world.add_call(ALICE, dial_us=second + n * 1_000_000).id for n in range(3)]
    spans = [
        ("2026-11-22T10:33:34Z", "2026-11-22T10:33:35Z", []),
        ("2026-11-22T10:33:35Z", "2026-11-22T10:33:36Z", [calls[0]]),
        ("2026-11-22T10:33:36Z", "2026-11-22T10:33:38Z", [calls[2], calls[1]]),
    ]
    for after, before, wanted in spans:
        body = ask(f"GET /v1/calls?dialed_after={after}&dialed_before={before}").json
        assert [call["id"] for call in body["data"]] == wanted


@pytest.mark.parametrize("code", ["NOPE", "", "%00", "x" * 5000, "%ff", "%0A"])
def test_an_unknown_disposition_is_an_empty_list(world: World, ask: Ask, code: str) -> None:
    world.add_call(ALICE, campaign_id="c", disposition="SALE")
    for path in ("/v1/calls", "/v1/campaigns/c/calls"):
        response = ask(f"GET {path}?disposition={code}")
        assert response.status_code == 200
        assert (response.json["data"], response.json["total"]) == ([], 0)


def test_a_campaign_without_calls_is_an_empty_list(world: World, ask: Ask) -> None:
    assert ask("POST /v1/campaigns", json={"id": "empty"}).status_code == 201
    assert ask("GET /v1/campaigns/empty/calls").json["total"] == 0


def test_a_list_costs_one_query(world: World, ask: Ask) -> None:
    world.add_call(ALICE, campaign_id="c")
    ask("GET /v1/campaigns/c/calls")
    before, lookups = world.queries, world.key_lookups
    ask("GET /v1/campaigns/c/calls")
    assert (world.queries - before, world.key_lookups - lookups) == (1, 0)


def test_the_timeline_names_its_sources_and_no_paths(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE, dial_us=BASE_US)
    world.notes[record.id] += [
        Note("answered", BASE_US + 5_000_000, record.fs_uuid, Source.CDR),
        Note("recording_started", BASE_US + 6_000_000, record.fs_uuid, Source.EVENT, "/var/spool/secret/1.wav"),
        Note("job_answered", 0, None, Source.CLOCK, "+OK"),
    ]
    response = ask(f"GET /v1/calls/{record.id}/events")
    assert [(e["name"], e["source"], e["detail"]) for e in response.json["data"]] == [
        ("created", "event", None),
        ("answered", "cdr", None),
        ("recording_started", "event", None),
        ("job_answered", "clock", "+OK"),
    ]
    assert response.json["data"][1]["time"] == "2026-11-22T10:33:40.301Z"
    assert response.json["data"][3]["time"] is None


def test_a_call_of_which_nothing_was_noted_has_an_empty_timeline(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    world.notes[record.id] = []
    assert ask(f"GET /v1/calls/{record.id}/events").json == {"data": []}


def test_lists_hold_only_the_tenants_own(world: World, ask: Ask) -> None:
    mine = world.add_call(ALICE, campaign_id="c")
    world.add_call(BOB, campaign_id="c")
    for path in ("/v1/calls", "/v1/campaigns/c/calls", "/v1/calls?campaign=c"):
        assert [call["id"] for call in ask(f"GET {path}").json["data"]] == [mine.id]


def test_head_is_get_without_its_body(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    head, get = ask(f"HEAD /v1/calls/{record.id}"), ask(f"GET /v1/calls/{record.id}")
    assert head.data == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert ask(f"HEAD /v1/calls/{uuid.uuid4()}").status_code == 404
