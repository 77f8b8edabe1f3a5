"""Who gets in: 401, 403, the memory of keys, and the brake on guessing."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from flask.testing import FlaskClient

from callengine.api.brake import FREE_FAILURES, LONGEST_DELAY_S, MAX_ADDRESSES, Brake
from callengine.api.keys import KNOWN_S, MAX_KNOWN, Gate
from callengine.api.problems import Refusal
from tests.api import fakes
from tests.api.conftest import Ask
from tests.api.fakes import ALICE, BOB, FakeKeys, World


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic a2V5", "bearer  wrong", "Bearer key-of-alice x", "key-of-alice", "Bearer ü"],
)
def test_no_key_and_a_wrong_one_are_the_same_401(
    client: FlaskClient, alice: dict[str, str], authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = client.get("/v1/calls", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.content_type == "application/problem+json"
    assert response.data == client.get("/v1/calls").data


def test_the_scheme_is_read_in_any_case(client: FlaskClient, alice: dict[str, str]) -> None:
    assert client.get("/v1/calls", headers={"Authorization": "bEARER key-of-alice"}).status_code == 200


def test_a_key_is_asked_for_before_anything_else(client: FlaskClient) -> None:
    assert client.get("/v1/calls?page=0").status_code == 401
    assert client.post("/v1/calls", data=b"x" * 100_000).status_code == 401


def test_every_operation_needs_its_scope_and_names_it(world: World) -> None:
    app = fakes.app(world)
    client = app.test_client()
    document: Any = client.get("/openapi.json").json
    seen = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for wanted in operation["security"]:
                if path == "/v1/key":  # which is for every key
                    assert wanted["key"] == []
                    continue
                (scope,) = wanted["key"]
                others = [s for s in fakes.ALL_SCOPES if s != scope]
                headers = world.key(f"all-but-{scope}", ALICE, *others)
                url = (
                    path.replace("{call_id}", "0199a2b4-0000-7000-8000-000000000000").replace("{", "").replace("}", "")
                )
                response: Any = client.open(url, method=method.upper(), headers=headers)
                assert (response.status_code, response.json["scope"]) == (403, scope), (method, path)
                assert scope in response.json["detail"]
                seen.add((method, path))
    assert len(seen) == 37


def test_a_key_is_looked_up_once_in_a_while(world: World, ask: Ask) -> None:
    for _ in range(5):
        ask("GET /v1/calls")
    assert world.key_lookups == 1
    world.clock_s += KNOWN_S
    ask("GET /v1/calls")
    assert world.key_lookups == 2


def test_a_revoked_key_works_for_seconds_at_most(world: World, ask: Ask) -> None:
    assert ask("GET /v1/calls").status_code == 200
    world.keys.clear()
    world.clock_s += KNOWN_S
    assert ask("GET /v1/calls").status_code == 401


def gate(world: World, delays: list[float], max_waiting: int = 8) -> Gate:
    return Gate(FakeKeys(world), max_waiting=max_waiting, now=lambda: world.clock_s, sleep=delays.append)


def refused(door: Gate, authorization: str | None, address: str = "192.0.2.1") -> int:
    with pytest.raises(Refusal) as refusal:
        door.admit(authorization, address, "calls:read")
    return refusal.value.status


def test_the_memory_of_keys_is_bounded_and_holds_no_key(world: World) -> None:
    door = gate(world, [])
    for n in range(MAX_KNOWN + 50):
        world.key(f"key-{n}", BOB)
        door.admit(f"Bearer key-{n}", "192.0.2.1", "calls:read")
    known = door._known
    assert len(known) == MAX_KNOWN
    assert hashlib.sha256(b"key-1000").digest() in known
    assert not any(b"key" in digest for digest in known)


def test_wrong_keys_wait_longer_each_time_and_right_ones_never(world: World) -> None:
    delays: list[float] = []
    door = gate(world, delays)
    world.key("right", ALICE)
    for _ in range(FREE_FAILURES):
        assert refused(door, "Bearer wrong") == 401
    assert delays == []
    for _ in range(12):
        assert refused(door, "Bearer wrong") == 401
    assert delays == sorted(delays)
    assert delays[0] > 0
    assert delays[-1] == LONGEST_DELAY_S
    count = len(delays)
    door.admit("Bearer right", "192.0.2.1", "calls:read")
    assert refused(door, "Bearer wrong", "192.0.2.2") == 401
    assert len(delays) == count


def test_no_key_at_all_costs_neither_a_query_nor_a_wait(world: World) -> None:
    delays: list[float] = []
    door = gate(world, delays)
    for _ in range(50):
        assert refused(door, None) == 401
    assert (world.key_lookups, delays) == (0, [])


def test_failures_are_forgiven_after_a_while(world: World) -> None:
    brake = Brake()
    assert [brake.failed("192.0.2.1", 0.0) for _ in range(20)][-1] == LONGEST_DELAY_S
    assert brake.failed("192.0.2.1", 61.0) == 0.0


def test_the_brake_is_bounded(world: World) -> None:
    brake = Brake(max_addresses=10)
    for n in range(1000):
        brake.failed(f"address-{n}", 0.0)
    assert len(brake) == 10


def test_a_host_of_ipv6_is_one_address_however_many_it_has() -> None:
    brake = Brake()
    delays = [brake.failed(f"2001:db8:0:1::{n:x}", 0.0) for n in range(20_000)]
    assert (len(brake), delays[-1]) == (1, LONGEST_DELAY_S)
    assert brake.failed("2001:db8:0:2::1", 0.0) == 0.0
    for n in range(MAX_ADDRESSES + 100):
        brake.failed(f"2001:db8:{n:x}::1", 0.0)
    assert len(brake) == MAX_ADDRESSES


@pytest.mark.parametrize("same", ["::ffff:192.0.2.1", "192.0.2.1"])
def test_an_ipv4_address_is_one_however_it_is_written(same: str) -> None:
    brake = Brake()
    for _ in range(FREE_FAILURES):
        brake.failed("192.0.2.1", 0.0)
    assert brake.failed(same, 0.0) > 0
    assert brake.failed("::ffff:192.0.2.2", 0.0) == 0.0
    for odd in ("", "fe80::1%eth0", "/run/socket"):
        assert brake.failed(odd, 0.0) == 0.0


def test_a_flood_of_guesses_takes_few_places_and_is_then_answered_at_once(world: World) -> None:
    statuses: list[int] = []

    def waiting(_delay_s: float) -> None:
        statuses.append(refused(door, "Bearer wrong"))  # another one arrives while this one waits

    door = Gate(FakeKeys(world), max_waiting=3, now=lambda: world.clock_s, sleep=waiting)
    for _ in range(FREE_FAILURES):
        refused(door, "Bearer wrong")
    assert refused(door, "Bearer wrong") == 401
    assert statuses == [429, 401, 401]
    assert refused(door, "Bearer wrong") == 401


def test_a_key_too_long_is_not_looked_up(world: World) -> None:
    assert refused(gate(world, []), "Bearer " + "x" * 257) == 401
    assert world.key_lookups == 0
