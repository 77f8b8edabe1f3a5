"""What a campaign says of its calls: its goal, its dispositions, what of them is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, World

SETTINGS: dict[str, Any] = {
    "goal": "Renew the contract\n\tor else find out why not: ☎",
    "dispositions": ["RENEWED", "later, maybe", "ünï"],
    "record": "originated",
}


def test_it_is_created_with_them(ask: Ask) -> None:
    response = ask("POST /v1/campaigns", json={"id": "c", "name": "n", **SETTINGS})
    assert response.status_code == 201
    made = response.json
    assert list(made) == ["id", "name", "goal", "dispositions", "record", "created_time"]
    assert made == {"id": "c", "name": "n", **SETTINGS, "created_time": made["created_time"]}
    assert ask("GET /v1/campaigns/c").json == made
    assert ask("GET /v1/campaigns").json["data"] == [made]
    bare = ask("POST /v1/campaigns", json={"id": "bare"}).json
    assert [bare[name] for name in ("name", "goal", "dispositions", "record")] == [None] * 4


def test_a_change_leaves_the_rest_as_it_is_and_null_clears(ask: Ask) -> None:
    made = ask("POST /v1/campaigns", json={"id": "c/1", "name": "n", **SETTINGS}).json
    changed = ask("PATCH /v1/campaigns/c%2F1", json={"record": "all", "goal": None})
    assert changed.status_code == 200
    assert changed.json == {**made, "record": "all", "goal": None}
    assert ask("GET /v1/campaigns/c%2F1").json == changed.json
    cleared = ask("PATCH /v1/campaigns/c%2F1", json={"dispositions": None, "record": None, "name": None}).json
    assert [cleared[name] for name in ("name", "dispositions", "record")] == [None] * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal", "x" * 2001),
        ("goal", "a\0b"),
        ("goal", 1),
        ("dispositions", []),
        ("dispositions", ["A", "A"]),
        ("dispositions", [str(n) for n in range(65)]),
        ("dispositions", [""]),
        ("dispositions", ["x" * 65]),
        ("dispositions", ["a\nb"]),
        ("dispositions", ["a\u2028b"]),
        ("dispositions", "A"),
        ("dispositions", [None]),
        ("record", "answer"),
        ("record", True),
        ("colour", "red"),
    ],
)
@pytest.mark.parametrize("line", ["POST /v1/campaigns", "PATCH /v1/campaigns/c"])
def test_what_cannot_be_meant_is_refused(ask: Ask, line: str, field: str, value: object) -> None:
    ask("POST /v1/campaigns", json={"id": "c"})
    body = {field: value} | ({"id": "new"} if line.startswith("POST") else {})
    response = ask(line, json=body)
    assert response.status_code == 400
    assert response.json["errors"][0]["loc"][:2] == ["body", field]
    assert ask("GET /v1/campaigns").json["total"] == 1


def test_bounds_are_inside(ask: Ask) -> None:
    body = {"id": "c", "goal": "x" * 2000, "dispositions": ["x" * 62 + f"{n:02}" for n in range(64)]}
    made = ask("POST /v1/campaigns", json=body).json
    assert {name: made[name] for name in body} == body


def test_an_empty_change_is_none(ask: Ask) -> None:
    ask("POST /v1/campaigns", json={"id": "c"})
    assert ask("PATCH /v1/campaigns/c", json={}).status_code == 400


def test_who_may(ask: Ask, world: World, client: FlaskClient, bob: dict[str, str]) -> None:
    ask("POST /v1/campaigns", json={"id": "c"})
    missing = ask("PATCH /v1/campaigns/none", json={"record": "all"})
    foreign = ask("PATCH /v1/campaigns/c", json={"record": "all"}, headers=bob)
    impossible = ask(f"PATCH /v1/campaigns/{'x' * 129}", json={"record": "all"})
    assert [r.status_code for r in (missing, foreign, impossible)] == [404] * 3
    assert missing.data == foreign.data == impossible.data
    reads = world.key("reads", ALICE, "campaigns:read", "calls:write")
    assert ask("PATCH /v1/campaigns/c", json={"record": "all"}, headers=reads).status_code == 403
    assert ask("GET /v1/campaigns/c").json["record"] is None
    only_reads = fakes.app(world, edits=None).test_client()
    alice = world.key("again", ALICE)
    assert only_reads.patch("/v1/campaigns/c", json={"record": "all"}, headers=alice).status_code == 503
