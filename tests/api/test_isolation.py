"""No operation shows or touches what is another tenant's: each of the document is tried with Bob's key, on the daemon
itself and its own database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import orjson
import pytest

from tests.security.house import House, running
from tests.security.walk import Operation, operations
from tests.security.wire import ASKED_BY_ITSELF

SECRET = "alice-only"
SOME_ID = "0199a2b4-0000-7000-8000-000000000000"
BODIES: dict[str, Any] = {
    "edit_call": {"disposition": "STOLEN", "notes": "x"},
    "originate": {"destination": "7770486", "gateway": "carrier", "campaign_id": "bobs"},
    "bridge": {"to": {"type": "agent", "agents": "desk", "agent_id": "1"}},
    "transfer": {"to": {"type": "park"}},
    "send_dtmf": {"digits": "1"},
    "create_campaign": {"id": "bobs-own"},
    "update_campaign": {"record": "all"},
    "create_lead": {"id": "l", "campaign_id": f"{SECRET}-campaign"},
    "create_endpoint": {"url": "https://127.0.0.1:1/"},
    "edit_endpoint": {"url": "https://127.0.0.1:1/stolen"},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("isolation")) as made:
        yield made


def ask(house: House, key: str, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    return house.ask(method, path, body=body, headers=f"Authorization: Bearer {key}\r\n".encode())


def of_alice(house: House) -> dict[str, str]:
    """Something of hers in every table, all of it with her secret in it; the ids, by the names in paths."""

    def made(path: str, body: dict[str, Any]) -> Any:
        status, answer = ask(house, house.key, "POST", path, body)
        assert status in {201, 202}, answer
        return orjson.loads(answer)

    made("/v1/campaigns", {"id": f"{SECRET}-campaign", "name": SECRET})
    made("/v1/leads", {"id": f"{SECRET}-lead", "campaign_id": f"{SECRET}-campaign", "name": SECRET})
    endpoint = made("/v1/webhooks/endpoints", {"url": f"https://127.0.0.1:1/{SECRET}", "description": SECRET})["id"]
    call = made(
        "/v1/calls",
        {
            "destination": "6201",
            "gateway": "carrier",
            "caller_id_name": SECRET,
            "campaign_id": f"{SECRET}-campaign",
            "lead_id": f"{SECRET}-lead",
        },
    )["id"]
    house.until(lambda: house.call(call)["status"] == "answered")
    assert ask(house, house.key, "PATCH", f"/v1/calls/{call}", {"notes": SECRET, "disposition": SECRET})[0] == 200

    def deliveries() -> list[dict[str, Any]]:
        return list(orjson.loads(ask(house, house.key, "GET", "/v1/webhooks/deliveries")[1])["data"])

    house.until(deliveries)
    ids = {"call_id": call, "campaign_id": f"{SECRET}-campaign", "lead_id": f"{SECRET}-lead"}
    return ids | {"endpoint_id": endpoint, "event_id": deliveries()[0]["event_id"], "recording_id": SOME_ID}


def seen_by_alice(house: House, ids: dict[str, str]) -> list[Any]:
    """All that she can read of hers and that nothing but an order of hers changes."""
    paths = ("/v1/calls/{call_id}", "/v1/campaigns/{campaign_id}", "/v1/leads/{lead_id}")
    shown = [orjson.loads(ask(house, house.key, "GET", path.format(**ids))[1]) for path in paths]
    endpoint = orjson.loads(ask(house, house.key, "GET", f"/v1/webhooks/endpoints/{ids['endpoint_id']}")[1])
    timeline = orjson.loads(ask(house, house.key, "GET", f"/v1/calls/{ids['call_id']}/events")[1])
    kept = ("id", "url", "description", "events", "enabled", "old_secret_until")
    return [*shown, {name: endpoint[name] for name in kept}, timeline]


def stands_still(house: House, ids: dict[str, str]) -> bool:
    """Nothing of the answer is still to come."""
    before = seen_by_alice(house, ids)
    gevent.sleep(0.3)
    return seen_by_alice(house, ids) == before


def try_operation(house: House, operation: Operation, ids: dict[str, str]) -> None:
    """With Bob's key, on what is Alice's; and with each of her ids as a filter."""
    path = operation.path.format(**ids)
    status, answer = ask(house, house.other_key, operation.method, path, BODIES.get(operation.name))
    # Bob may list and create his own; whatever names an id of Alice's is 404.
    named = "{" in operation.path or operation.name == "create_lead"
    assert status in ({404} if named else {200, 201, 202}), (operation.name, answer)
    for name, value in (("call", "call_id"), ("campaign", "campaign_id"), ("lead", "lead_id"), ("disposition", "")):
        if ("query", name) in operation.parameters and not named and operation.name != "stream_events":
            filtered = ask(house, house.other_key, "GET", f"{path}?{name}={ids.get(value, SECRET)}")
            assert (filtered[0], orjson.loads(filtered[1])["data"]) == (200, []), operation.name
    if operation.name != "create_lead":  # whose answer may not even repeat what was asked for
        assert all(value.encode() not in answer for value in ids.values() if value != SOME_ID), operation.name
    assert SECRET.encode() not in answer, operation.name


def test_nothing_of_alices_is_seen_or_changed_by_bob(house: House) -> None:
    ids = of_alice(house)
    house.until(lambda: stands_still(house, ids))
    before = seen_by_alice(house, ids)
    house.relay.taken()
    walked = 0
    document = orjson.loads(house.ask("GET", "/openapi.json")[1])
    for operation in operations(document):
        if not operation.is_open:
            try_operation(house, operation, ids)
            walked += 1
    assert walked == 38
    bobs_own = ask(house, house.other_key, "POST", "/v1/calls", BODIES["originate"])
    other = orjson.loads(bobs_own[1])["id"]
    target = {"to": {"type": "call", "call_id": ids["call_id"]}}
    assert ask(house, house.other_key, "POST", f"/v1/calls/{other}/bridge", target)[0] in {404, 409}
    gevent.sleep(0.1)
    sent = [one.line for one in house.relay.taken() if one.shape not in ASKED_BY_ITSELF]
    assert not any(ids["call_id"] in line or SECRET in line for line in sent), sent
    assert seen_by_alice(house, ids) == before


def test_the_stream_tells_bob_nothing_of_alices(house: House) -> None:
    """Neither what was, by the id of an event of hers, nor what comes."""
    ids = {one["call_id"]: one["event_id"] for one in _deliveries(house)}
    (call, event), *_ = ids.items()
    read: dict[str, bytes] = {}

    def follow(who: str, key: str) -> None:
        with gevent.Timeout(2, False):
            for piece in house.stream(f"/v1/stream?last_event_id={event}", key):
                read[who] = read.get(who, b"") + piece

    following = [gevent.spawn(follow, "alice", house.key), gevent.spawn(follow, "bob", house.other_key)]
    gevent.sleep(0.3)
    assert ask(house, house.key, "POST", f"/v1/calls/{call}/hangup", {})[0] == 202
    gevent.joinall(following, timeout=10)
    assert b"call.ended" in read["alice"]
    assert call.encode() not in read["bob"]
    assert b"call.ended" not in read["bob"]
    assert SECRET.encode() not in read["bob"]


def _deliveries(house: House) -> list[dict[str, Any]]:
    return list(orjson.loads(ask(house, house.key, "GET", "/v1/webhooks/deliveries?event=call.dialing")[1])["data"])
