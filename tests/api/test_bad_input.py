"""Every answer to what is wrong with a request: its status, its problem, its place; and never anything from inside."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from callengine.api.problems import MAX_FAULTS
from callengine.api.spec import MAX_PARAMETERS
from callengine.errors import CommandRefused, CommandTimedOut, EslDisconnected, QueueFull, SwitchUnavailable
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, BOB, World

SOME_ID = "0199a2b4-0000-7000-8000-000000000000"


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem, after checking that it is one by RFC 9457."""
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    body = response.json
    assert isinstance(body, dict)
    assert list(body)[:4] == ["type", "title", "status", "detail"]
    assert body["status"] == status
    assert body["type"].startswith("urn:problem-type:callengine:")
    return body


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.0", "page"),
        ("page=%2B1", "page"),
        ("page=1_0", "page"),
        ("page=%D9%A1", "page"),
        ("page=", "page"),
        ("page= 1", "page"),
        ("page=01", "page"),
        ("page=46116860184273880", "page"),
        ("page=99999999999999999999999", "page"),
        ("page=1&page=1", "page"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("page_size=all", "page_size"),
        ("status=ended", "status"),
        ("status=", "status"),
        ("status=Completed", "status"),
        ("status=ringing&status=ringing", "status"),
        ("disposition=a&disposition=b", "disposition"),
        ("Page=1", "Page"),
        ("limit=5", "limit"),
        ("page%00=1", "page\0"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/calls", "/v1/campaigns/c/calls"])
def test_a_query_parameter_is_right_or_refused(world: World, ask: Ask, path: str, query: str, place: str) -> None:
    world.add_call(ALICE, campaign_id="c")
    body = problem(ask(f"GET {path}?{query}"), 400)
    assert [error["loc"] for error in body["errors"]] == [["query", place]]


@pytest.mark.parametrize(
    "query",
    [
        "direction=sideways",
        "campaign=",
        "campaign=%0A",
        "campaign=" + "x" * 129,
        "lead=%00",
        "agent=%7F",
        "number=",
        "number=%20-()",
        "number=+",
        "number=" + "1" * 65,
        "number=4930%00",
        "number=4930%0A",
        "dialed_after=yesterday",
        "dialed_after=2026-11-22",
        "dialed_after=2026-11-22T10:33:35",
        "dialed_after=2026-11-22T10:33:35%2B0100",
        "dialed_after=2026-11-22T10:33:35+01:00",
        "dialed_after=2026-02-30T10:33:35Z",
        "dialed_before=2026-11-22T24:00:00Z",
        "dialed_before=2026-11-22T10:33:61Z",
        "dialed_before=0000-11-22T10:33:35Z",
        "dialed_before=2026-11-22T10:33:35.Z",
        "dialed_before=1795343615",
    ],
)
def test_a_filter_is_right_or_refused(ask: Ask, query: str) -> None:
    body = problem(ask(f"GET /v1/calls?{query}"), 400)
    assert [error["loc"] for error in body["errors"]] == [["query", query.partition("=")[0]]]


def test_a_refused_number_is_not_repeated(ask: Ask) -> None:
    response = ask("GET /v1/calls?number=" + "4930" * 20)
    assert response.status_code == 400
    assert "49304930" not in response.text


@pytest.mark.parametrize("query", [b"status=\xff\xfe", b"\xff=1", b"disposition=\xc0\x8a"])
def test_a_query_that_is_no_utf8_is_refused(client: FlaskClient, alice: dict[str, str], query: bytes) -> None:
    environ = {"QUERY_STRING": query.decode("latin-1")}  # as a server hands over what came
    body = problem(client.get("/v1/calls", headers=alice, environ_overrides=environ), 400)
    assert body["errors"] == [{"loc": ["query"], "msg": "is no UTF-8"}]


def test_the_number_of_parameters_is_bounded(ask: Ask) -> None:
    body = problem(ask("GET /v1/calls?" + "&".join(f"p{n}=1" for n in range(MAX_PARAMETERS))), 400)
    assert len(body["errors"]) == MAX_PARAMETERS
    body = problem(ask("GET /v1/calls?" + "&".join(f"p{n}=1" for n in range(MAX_PARAMETERS + 1))), 400)
    assert [error["loc"] for error in body["errors"]] == [["query"]]


def test_an_answer_is_not_many_times_as_long_as_what_was_wrong(ask: Ask) -> None:
    body = problem(ask("POST /v1/campaigns", json={f"p{n}": 1 for n in range(5000)}), 400)
    assert len(body["errors"]) == MAX_FAULTS


@pytest.mark.parametrize("depth", [100, 1000, 5000])
@pytest.mark.parametrize("field", ["variables", "on_answer", "destination", "unknown"])
def test_a_deep_body_is_refused(ask: Ask, depth: int, field: str) -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        data = b'{"%s": %s1%s}' % (field.encode(), opened * depth, closed * depth)
        problem(ask("POST /v1/calls", data=data, content_type="application/json"), 400)


def test_all_that_is_wrong_is_told_at_once(ask: Ask) -> None:
    body = problem(ask("GET /v1/calls?page=0&page_size=x&status=y&z=1"), 400)
    assert {tuple(error["loc"]) for error in body["errors"]} == {
        ("query", "page"),
        ("query", "page_size"),
        ("query", "status"),
        ("query", "z"),
    }


def test_where_no_parameter_is_known_none_is_taken(world: World, ask: Ask) -> None:
    record = world.add_call(ALICE)
    assert problem(ask(f"GET /v1/calls/{record.id}?page=1"), 400)["errors"][0]["loc"] == ["query", "page"]


BODIES: list[tuple[str, Any, list[str | int]]] = [
    ("PATCH /v1/calls/{id}", {}, ["body"]),
    ("PATCH /v1/calls/{id}", [], ["body"]),
    ("PATCH /v1/calls/{id}", None, ["body"]),
    ("PATCH /v1/calls/{id}", "{}", ["body"]),
    ("PATCH /v1/calls/{id}", {"status": "completed"}, ["body", "status"]),
    ("PATCH /v1/calls/{id}", {"disposition": 1}, ["body", "disposition"]),
    ("PATCH /v1/calls/{id}", {"disposition": ""}, ["body", "disposition"]),
    ("PATCH /v1/calls/{id}", {"disposition": "x" * 65}, ["body", "disposition"]),
    ("PATCH /v1/calls/{id}", {"disposition": "a\nb"}, ["body", "disposition"]),
    ("PATCH /v1/calls/{id}", {"notes": "a\0b"}, ["body", "notes"]),
    ("PATCH /v1/calls/{id}", {"notes": "a\x1bb"}, ["body", "notes"]),
    ("PATCH /v1/calls/{id}", {"notes": "x" * 10_001}, ["body", "notes"]),
    ("POST /v1/calls", {}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": 5550100}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": "${x}"}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": "1 2"}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": "1\n"}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": "1", "gateway": "a/b"}, ["body", "gateway"]),
    ("POST /v1/calls", {"destination": "1", "gateway": "nowhere"}, ["body", "gateway"]),
    ("POST /v1/calls", {"destination": "abc"}, ["body", "destination"]),
    ("POST /v1/calls", {"destination": "1", "ring_timeout_s": True}, ["body", "ring_timeout_s"]),
    ("POST /v1/calls", {"destination": "1", "ring_timeout_s": "5"}, ["body", "ring_timeout_s"]),
    ("POST /v1/calls", {"destination": "1", "first": "agent"}, ["body"]),
    ("POST /v1/calls", {"destination": "1", "on_answer": {"type": "inline"}}, ["body", "on_answer"]),
    (
        "POST /v1/calls",
        {"destination": "1", "on_answer": {"type": "queue", "queue": "a,b"}},
        ["body", "on_answer", "queue"],
    ),
    (
        "POST /v1/calls",
        {"destination": "1", "on_answer": {"type": "queue", "queue": "other@default"}},
        ["body", "on_answer", "queue"],
    ),
    ("POST /v1/calls", {"destination": "1", "caller_id_name": "a$b"}, ["body", "caller_id_name"]),
    ("POST /v1/calls", {"destination": "1", "campaign_id": "a\u2028b"}, ["body", "campaign_id"]),
    ("POST /v1/calls", {"destination": "1", "variables": {"sip_h_X-A": "$x"}}, ["body", "variables", "sip_h_X-A"]),
    ("POST /v1/calls", {"destination": "1", "variables": {"api_on_answer": "x"}}, ["body", "variables"]),
    ("POST /v1/calls/{id}/hangup", {"cause": "BECAUSE"}, ["body", "cause"]),
    ("POST /v1/calls/{id}/hangup", {"cause": "NONE"}, ["body", "cause"]),
    ("POST /v1/calls/{id}/dtmf", {"digits": "12x"}, ["body", "digits"]),
    ("POST /v1/calls/{id}/dtmf", {"digits": "1" * 65}, ["body", "digits"]),
    ("POST /v1/calls/{id}/hold", {"now": True}, ["body", "now"]),
    ("POST /v1/calls/{id}/bridge", {"to": {"type": "park"}}, ["body", "to"]),
    ("POST /v1/calls/{id}/transfer", {"to": {"type": "call", "call_id": SOME_ID}}, ["body", "to"]),
    ("POST /v1/campaigns", {"id": ""}, ["body", "id"]),
    ("POST /v1/campaigns", {"id": "x" * 129}, ["body", "id"]),
    ("POST /v1/campaigns", {"id": "a\tb"}, ["body", "id"]),
    ("POST /v1/leads", {"id": "l", "phone_number": "call me"}, ["body", "phone_number"]),
]


@pytest.mark.parametrize(("line", "body", "place"), BODIES)
def test_a_body_is_right_or_refused_with_its_place(
    world: World, ask: Ask, line: str, body: Any, place: list[str | int]
) -> None:
    record = world.add_call(ALICE, answer_us=1)
    said = problem(ask(line.format(id=record.id), data=json.dumps(body), content_type="application/json"), 400)
    assert place in [error["loc"] for error in said["errors"]]
    assert not world.orders


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"nope", b'{"id": NaN}', b'{"id": "\xff"}', b'{"id": "\\ud800"}', b"[" * 60_000, b'{"id":"a"} x'],
)
def test_what_is_no_json_is_400(ask: Ask, data: bytes) -> None:
    said = problem(ask("POST /v1/campaigns", data=data, content_type="application/json"), 400)
    assert said["errors"][0]["loc"] == ["body"]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'{"destination": "1", "destination": "2"}', ["destination"]),
        (b'{"destination": "1", "on_answer": {"type": "park", "type": "park"}}', ["on_answer", "type"]),
        (b'{"destination": "1", "variables": [{"a": 1, "\\u0061": 1}]}', ["variables", 0, "a"]),
    ],
)
def test_a_field_that_stands_twice_is_refused(world: World, ask: Ask, data: bytes, place: list[str | int]) -> None:
    said = problem(ask("POST /v1/calls", data=data, content_type="application/json"), 400)
    assert said["errors"] == [{"loc": ["body", *place], "msg": "must be given once"}]
    assert not world.orders


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ([], [], "must be an object"),
        ({"destination": "1", "x": 1}, ["x"], "there is no such field here"),
        ({}, ["destination"], "is missing"),
        ({"destination": 1}, ["destination"], "must be a valid string"),
        (
            {"destination": "1", "on_answer": {"type": "a secret"}},
            ["on_answer"],
            "its type must be one of 'agent', 'queue', 'extension', 'application', 'park'",
        ),
        ({"destination": "1", "on_answer": {"queue": "a"}}, ["on_answer"], "must have a type"),
        ({"destination": "1", "on_answer": "park"}, ["on_answer"], "must be an object"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(ask: Ask, body: Any, place: list[str], words: str) -> None:
    said = problem(ask("POST /v1/calls", json=body), 400)
    assert said["errors"] == [{"loc": ["body", *place], "msg": words}]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", None])
def test_another_content_type_is_415(ask: Ask, kind: str | None) -> None:
    problem(ask("POST /v1/campaigns", data=b'{"id": "a"}', content_type=kind), 415)


def test_an_encoded_body_is_415(ask: Ask) -> None:
    headers = {"Content-Encoding": "gzip"}
    problem(ask("POST /v1/campaigns", data=b"\x1f\x8b", content_type="application/json", headers=headers), 415)


def test_a_charset_in_the_content_type_does_no_harm(ask: Ask) -> None:
    kind = "application/json; charset=utf-8"
    assert ask("POST /v1/campaigns", data=b'{"id": "a"}', content_type=kind).status_code == 201


@pytest.mark.parametrize("line", ["POST /v1/campaigns", "POST /v1/calls", "PATCH /v1/calls/" + SOME_ID])
def test_a_body_too_large_is_413(ask: Ask, line: str) -> None:
    data = b'{"id": "' + b"a" * 65_536 + b'"}'
    problem(ask(line, data=data, content_type="application/json"), 413)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\tb"])
def test_an_idempotency_key_is_right_or_refused(ask: Ask, key: str) -> None:
    said = problem(ask("POST /v1/calls", json={"destination": "1"}, headers={"Idempotency-Key": key}), 400)
    assert said["errors"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.parametrize(
    "line",
    ["GET /v1", "GET /v1/", "GET /v1/nothing", "POST /v1/calls/x/y/z", "GET /v1/calls/", "GET /v1//calls", "GET /x"],
)
def test_an_unknown_address_is_404(client: FlaskClient, ask: Ask, line: str) -> None:
    problem(ask(line), 404)
    method, _, path = line.partition(" ")
    problem(client.open(path, method=method), 404)


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("DELETE /v1/calls", "GET, HEAD, OPTIONS, POST"),
        (f"PUT /v1/calls/{SOME_ID}", "GET, HEAD, OPTIONS, PATCH"),
        (f"GET /v1/calls/{SOME_ID}/hangup", "OPTIONS, POST"),
        ("TRACE /v1/leads", "GET, HEAD, OPTIONS, POST"),
        ("BREW /v1/leads", "GET, HEAD, OPTIONS, POST"),
        ("POST /v1/campaigns/c/calls", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_405_with_allow(ask: Ask, line: str, allowed: str) -> None:
    response = ask(line)
    problem(response, 405)
    assert response.headers["Allow"] == allowed


def test_options_tells_what_is_allowed(client: FlaskClient) -> None:
    response = client.options("/v1/calls")
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.options("/v1/nothing").status_code == 404


def test_a_method_that_is_not_allowed_outside_v1_is_a_problem_too(client: FlaskClient) -> None:
    response = client.post("/livez")
    problem(response, 405)
    assert "GET" in response.headers["Allow"]


ROUTES_WITH_ID = [
    ("GET /v1/calls/{}", None),
    ("GET /v1/calls/{}/events", None),
    ("PATCH /v1/calls/{}", {"notes": "x"}),
    *((f"POST /v1/calls/{{}}/{order}", None) for order in ("hangup", "hold", "unhold")),
    *((f"POST /v1/calls/{{}}/recording/{action}", None) for action in ("start", "stop", "pause", "resume")),
    ("POST /v1/calls/{}/bridge", {"to": {"type": "agent", "agents": "desk", "agent_id": "1001"}}),
    ("POST /v1/calls/{}/transfer", {"to": {"type": "park"}}),
    ("POST /v1/calls/{}/dtmf", {"digits": "1"}),
]
NO_UUIDS = [
    "x",
    "1",
    "null",
    "%00",
    SOME_ID[:-1],
    SOME_ID + "0",
    "{" + SOME_ID + "}",
    "%D9%A1" + SOME_ID[1:],
    "..",
    "a%2Fb",
]


@pytest.mark.parametrize(("line", "json"), ROUTES_WITH_ID)
def test_a_foreign_a_missing_and_an_impossible_call_are_the_same_404(
    world: World, ask: Ask, line: str, json: Any
) -> None:
    foreign = world.add_call(BOB, answer_us=1)
    answers = [
        ask(line.format(wanted), **({"json": json} if json else {}))
        for wanted in (foreign.id, str(uuid.uuid4()), SOME_ID.replace("-", ""), *NO_UUIDS)
    ]
    assert problem(answers[0], 404)["detail"] == "there is no such call"
    assert {(a.status, a.data, tuple(a.headers)) for a in answers} == {
        (answers[0].status, answers[0].data, tuple(answers[0].headers))
    }
    assert world.calls[foreign.id] is foreign


@pytest.mark.parametrize("line", ["GET /v1/campaigns/{}", "GET /v1/campaigns/{}/calls", "GET /v1/leads/{}"])
def test_a_foreign_a_missing_and_an_impossible_campaign_or_lead_are_the_same_404(
    world: World, ask: Ask, line: str
) -> None:
    world.add_call(BOB, campaign_id="theirs")
    fakes.FakeEdits(world).create_lead(BOB, "theirs", None, None, None)
    answers = [ask(line.format(w)) for w in ("theirs", "nobodys", "x" * 129, "%0A", "a%2Fb", "%1F", "%FF")]
    problem(answers[0], 404)
    assert {(a.status, a.data, tuple(a.headers)) for a in answers} == {
        (answers[0].status, answers[0].data, tuple(answers[0].headers))
    }


def test_a_database_away_is_503_and_says_up_to_when_there_are_data(world: World, ask: Ask) -> None:
    world.key_lookups = 0
    ask("GET /v1/calls")
    world.away = True
    response = ask("GET /v1/calls")
    body = problem(response, 503)
    assert body["data_as_of"] == "2026-11-22T10:33:35.301Z"
    assert int(response.headers["Retry-After"]) > 0
    assert b"secret-host" not in response.data


def test_a_database_away_is_503_also_for_an_unknown_key(world: World, client: FlaskClient) -> None:
    world.away = True
    problem(client.get("/v1/calls", headers={"Authorization": "Bearer whoever"}), 503)


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (EslDisconnected("10.0.0.1:8021 is gone"), 503, True),
        (SwitchUnavailable(), 503, True),
        (CommandTimedOut("uuid_kill secret-argument", 5.0), 504, False),
        (CommandRefused("uuid_bridge secret-argument", "-ERR secret"), 409, False),
        (QueueFull(2.5), 429, True),
    ],
)
def test_what_the_engine_raises_is_a_problem(
    world: World, ask: Ask, error: Exception, status: int, retry: bool
) -> None:
    world.failing = error
    response = ask("POST /v1/calls", json={"destination": "1"})
    problem(response, status)
    assert ("Retry-After" in response.headers) == retry
    assert b"secret" not in response.data
    assert b"10.0.0.1" not in response.data


def test_our_own_fault_is_500_and_tells_nothing(world: World, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    world.failing = ZeroDivisionError("secret of the inside")
    with caplog.at_level(logging.ERROR):
        response = ask(f"GET /v1/calls/{SOME_ID}")
    body = problem(response, 500)
    assert "secret" not in response.text
    assert body["type"].endswith(":internal-error")
    assert "ZeroDivisionError" in caplog.text
    assert "key-of-alice" not in caplog.text


def test_without_a_writer_or_an_engine_what_writes_is_503(world: World, alice: dict[str, str]) -> None:
    client = fakes.app(world, edits=None, control=None).test_client()
    record = world.add_call(ALICE)
    for method, path, body in (
        ("POST", "/v1/calls", {"destination": "1"}),
        ("POST", f"/v1/calls/{record.id}/hangup", {}),
        ("PATCH", f"/v1/calls/{record.id}", {"notes": "x"}),
        ("POST", "/v1/campaigns", {"id": "c"}),
        ("POST", "/v1/leads", {"id": "l"}),
    ):
        response = client.open(path, method=method, json=body, headers=alice)
        assert "only reads" in problem(response, 503)["detail"]
    assert client.get(f"/v1/calls/{record.id}", headers=alice).status_code == 200
