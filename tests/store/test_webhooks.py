"""Endpoints, their log, and what is forgotten of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from callengine.calls.call import EVENT_BITS, EventName
from callengine.config.sections import Webhooks as Settings
from callengine.errors import NoSuchDelivery, NoSuchEndpoint, TooManyEndpoints
from callengine.store import pruning, rows, sql, webhooks
from callengine.store.database import Store
from callengine.store.pruning import Pruner
from callengine.store.schema import text_of
from callengine.store.webhooks import Endpoint, EndpointStore, events_of, mask_of
from callengine.store.writer import Writer
from tests.store.build import OTHER, T0, TENANT, a_call, changed, published

DAY_US = 24 * 3600 * 1_000_000
SECRET = "whsec_" + "A" * 44


class Room:
    """The endpoints of two tenants, with events told at ``now``."""

    def __init__(self, store: Store, writer: Writer, now: list[int]) -> None:
        self.store, self.writer, self.now = store, writer, now
        self.endpoints = EndpointStore(store, writer)
        self._made = 0

    def endpoint(self, tenant: str = TENANT, most: int = 10, **more: Any) -> Endpoint:
        self._made += 1
        fields: dict[str, Any] = {
            "id": f"0191f0a6-7c7a-7d31-a4f3-{self._made:012d}",
            "url": "https://x.example/",
            "description": None,
            "events": tuple(EventName),
            "enabled": True,
            "disabled_reason": None,
            "failures": 0,
            "failing_since_us": None,
            "retry_us": 0,
            "old_secret_until_us": None,
            "created_us": T0 + self._made,
            **more,
        }
        return self.endpoints.add(tenant, Endpoint(**fields), SECRET, most)

    def tell(self, n: int, tenant: str = TENANT) -> None:
        for i in range(n):
            call = changed(a_call(self.now[0] + i, tenant_id=tenant), seq=1)
            self.writer.put(call)
            self.writer.publish(published(call, EventName.DIALING, 1))
        self.writer.flush(10)

    def set(self, text: str, *values: Any) -> None:
        self.writer.execute(lambda db: sql.run(db, text, values), 5)

    def count(self, table: str) -> int:
        return int(self.store.run(lambda db: sql.query(db, f"SELECT count(*) FROM {table}").fetchone()[0], 5))


@pytest.fixture
def room(store: Store) -> Iterator[Room]:
    now = [T0]
    writer = Writer(store, now_us=lambda: now[0])
    writer.start()
    pack = rows.id_for(store.kind)
    made = Room(store, writer, now)
    for tenant, name in ((TENANT, "acme"), (OTHER, "other")):
        made.set("INSERT INTO tenant (id, name, created_us) VALUES (?, ?, 0)", pack(tenant), name)
    yield made
    writer.stop(10)


def test_masks() -> None:
    assert events_of(mask_of(["call.ended", "call.dialing", "call.ended"])) == ("call.dialing", "call.ended")
    assert mask_of(EventName) == sum(EVENT_BITS.values())


def test_what_is_anothers_is_not_there(room: Room) -> None:
    mine, theirs = room.endpoint(), room.endpoint(OTHER)
    room.tell(1, OTHER)
    ((delivery,), total) = room.endpoints.deliveries(OTHER, {}, 1, 10)
    assert total == 1
    assert room.endpoints.page(TENANT, 1, 10) == ([mine], 1)
    for endpoint_id in (theirs.id, "no uuid", "0191f0a6-7c7a-7d31-a4f3-3a5e5f3f2b10"):
        for ask in (
            lambda e: room.endpoints.get(TENANT, e),
            lambda e: room.endpoints.change(TENANT, e, {"url": "x"}),
            lambda e: room.endpoints.remove(TENANT, e),
            lambda e: room.endpoints.replace_secret(TENANT, e, SECRET, None),
            lambda e: room.endpoints.secrets(TENANT, e, T0),
            lambda e: room.endpoints.deliveries(TENANT, {"endpoint_id": e}, 1, 10),
            lambda e: room.endpoints.delivery(TENANT, e, delivery.event_id),
            lambda e: room.endpoints.replay(TENANT, e, delivery.event_id, T0),
            lambda e: room.endpoints.replay_dead(TENANT, e, 0, T0),
        ):
            with pytest.raises(NoSuchEndpoint):
                ask(endpoint_id)
    for event_id in (delivery.event_id, "no uuid"):
        with pytest.raises(NoSuchDelivery):
            room.endpoints.delivery(TENANT, mine.id, event_id)
    assert room.endpoints.deliveries(TENANT, {}, 1, 10) == ([], 0)
    assert room.endpoints.get(OTHER, theirs.id) == theirs


def test_no_more_than_allowed(room: Room) -> None:
    for _ in range(3):
        room.endpoint(most=3)
    with pytest.raises(TooManyEndpoints):
        room.endpoint(most=3)
    room.endpoint(OTHER, most=3)


def test_a_change_has_it_tried_anew(room: Room) -> None:
    made = room.endpoint()
    room.set("UPDATE endpoint SET failures = 9, retry_us = ?, failing_since_us = 5", T0 * 2)
    assert room.endpoints.change(TENANT, made.id, {"description": "x"}).failures == 9
    assert room.endpoints.change(TENANT, made.id, {"url": made.url}).failures == 9
    moved = room.endpoints.change(TENANT, made.id, {"url": "https://y.example/", "events": ["call.ended"]})
    assert (moved.failures, moved.retry_us, moved.failing_since_us, moved.events) == (0, 0, None, ("call.ended",))


def test_the_old_secret_signs_for_as_long_as_it_is_to(room: Room) -> None:
    made = room.endpoint()
    room.endpoints.replace_secret(TENANT, made.id, "whsec_new", T0 + 10)
    assert room.endpoints.secrets(TENANT, made.id, T0) == (made.url, ("whsec_new", SECRET))
    assert room.endpoints.secrets(TENANT, made.id, T0 + 10) == (made.url, ("whsec_new",))
    room.endpoints.replace_secret(TENANT, made.id, "whsec_newer", None)
    assert room.endpoints.secrets(TENANT, made.id, T0)[1] == ("whsec_newer",)


def test_filters_and_pages_of_the_log(room: Room) -> None:
    first, second = room.endpoint(), room.endpoint()
    room.tell(30)
    room.set("UPDATE delivery SET status = 'dead' WHERE event_position <= 10")
    room.set("UPDATE delivery SET status = 'delivered' WHERE event_position > 20")
    seen = []
    for page in (1, 2, 3, 4):
        found, total = room.endpoints.deliveries(TENANT, {"endpoint_id": first.id}, page, 9)
        assert total == 30
        seen += [one.event_id for one in found]
    assert len(set(seen)) == len(seen) == 30
    assert room.endpoints.deliveries(TENANT, {}, 1, 5)[1] == 60
    for status in ("pending", "dead", "delivered"):
        found, total = room.endpoints.deliveries(TENANT, {"status": status}, 1, 200)
        assert total == len(found) == 20
        assert {one.status for one in found} == {status}
    assert room.endpoints.deliveries(TENANT, {"event": "call.ended"}, 1, 5) == ([], 0)
    call_id = found[0].call_id
    assert {one.endpoint_id for one in room.endpoints.deliveries(TENANT, {"call_id": call_id}, 1, 5)[0]} == {
        first.id,
        second.id,
    }
    assert room.endpoints.deliveries(TENANT, {}, 10**15, 200)[0] == []


@pytest.mark.parametrize("status", [None, "pending", "dead", "delivered"])
def test_pages_of_all_endpoints_are_merged_in_order(
    room: Room, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [room.endpoint(), room.endpoint()]
    room.tell(20)
    room.set("UPDATE delivery SET status = 'dead' WHERE mod(event_position, 3) = 0")
    room.set("UPDATE delivery SET status = 'delivered' WHERE mod(event_position, 3) = 1")
    made.append(room.endpoint())
    room.endpoint(OTHER)
    room.tell(20)
    room.tell(3, OTHER)
    filters = {} if status is None else {"status": status}
    expected = room.store.run(
        lambda db: sql.query(
            db,
            "SELECT event_id, endpoint_id FROM delivery WHERE tenant_id = (SELECT id FROM tenant WHERE name = 'acme')"
            + ("" if status is None else f" AND status = '{status}'")
            + " ORDER BY event_position DESC, endpoint_id",
        ).fetchall(),
        5,
    )
    asked: list[tuple[str, Any]] = []
    query = sql.query

    def spy(db: Any, text: str, values: Any = ()) -> Any:
        asked.append((text, values))
        return query(db, text, values)

    def listed(page_size: int) -> list[tuple[str, str]]:
        found, page = [], 1
        while more := room.endpoints.deliveries(TENANT, filters, page, page_size)[0]:
            found += [(one.event_id, one.endpoint_id) for one in more]
            page += 1
        return found

    monkeypatch.setattr(sql, "query", spy)
    merged = listed(7)
    monkeypatch.undo()
    assert merged == [(text_of(event_id), text_of(endpoint_id)) for event_id, endpoint_id in expected]
    monkeypatch.setattr(webhooks, "_MERGED", 0)
    assert listed(7) == merged, "pages that are too far behind to be merged go on in the same order"
    if room.store.kind == "sqlite":
        for text, values in asked:
            plan = room.store.run(
                lambda db, q=(text, values): query(db, f"EXPLAIN QUERY PLAN {q[0]}", q[1]).fetchall(), 5
            )  # type: ignore[misc]
            assert "TEMP B-TREE" not in str(plan), text


def test_the_log_of_a_call_is_read_off_its_index(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.endpoint()
    room.tell(3)
    call_id = room.endpoints.deliveries(TENANT, {}, 1, 1)[0][0].call_id
    asked: list[tuple[str, Any]] = []
    query = sql.query

    def spy(db: Any, text: str, values: Any = ()) -> Any:
        asked.append((text, values))
        return query(db, text, values)

    monkeypatch.setattr(sql, "query", spy)
    for filters in ({}, {"status": "pending"}, {"event": "call.dialing"}):
        assert room.endpoints.deliveries(TENANT, {"call_id": call_id, **filters}, 1, 5)[1] == 1
    deliveries = [(text, values) for text, values in asked if "delivery AS d" in text]
    assert len(deliveries) == 6
    if room.store.kind == "sqlite":  # Postgres looks through so small a table
        for text, values in deliveries:
            plan = room.store.run(
                lambda db, q=(text, values): query(db, f"EXPLAIN QUERY PLAN {q[0]}", q[1]).fetchall(), 5
            )  # type: ignore[misc]
            assert "delivery_of_call" in str(plan)


def test_deleting_takes_the_log_along(room: Room) -> None:
    first, second = room.endpoint(), room.endpoint()
    room.tell(1200)
    room.endpoints.remove(TENANT, first.id)
    assert room.count("delivery") == 1200
    assert {one.endpoint_id for one in room.endpoints.deliveries(TENANT, {}, 1, 200)[0]} == {second.id}


def test_what_is_pruned_and_what_stays(room: Room) -> None:
    kept, disabled = room.endpoint(), room.endpoint()
    room.tell(1300)  # two chunks
    room.tell(5, OTHER)  # nobody is told of these
    pack = rows.id_for(room.store.kind)
    attempt = (
        "INSERT INTO attempt (endpoint_id, event_position, n, at_us, duration_ms)"
        " SELECT endpoint_id, event_position, 1, 0, 0 FROM delivery"
    )
    room.set(attempt)
    room.set("UPDATE delivery SET status = 'delivered' WHERE endpoint_id = ?", pack(kept.id))
    room.set("UPDATE delivery SET status = 'dead' WHERE event_position <= 10 AND endpoint_id = ?", pack(kept.id))
    still = "UPDATE delivery SET status = 'pending' WHERE event_position = 11 AND endpoint_id = ?"
    room.set(still, pack(kept.id))
    room.set(
        "UPDATE delivery SET status = 'delivered' WHERE event_position > 20 AND endpoint_id = ?", pack(disabled.id)
    )
    room.endpoints.change(TENANT, disabled.id, {"enabled": False})
    pruner = Pruner(room.writer, Settings(keep_days=7, dead_keep_days=30), lambda: room.now[0])
    room.now[0] += 7 * DAY_US
    pruner.once()
    assert room.count("outbox") == 1305
    room.tell(3)
    room.now[0] += DAY_US
    pruner.once()
    found = room.endpoints.deliveries(TENANT, {"endpoint_id": disabled.id}, 1, 100)[0]
    assert {(one.status, one.last_error) for one in found} == {("dead", pruning.DISABLED)}
    assert len(found) == 20
    assert room.endpoints.deliveries(TENANT, {"endpoint_id": kept.id}, 1, 100)[1] == 11 + 3
    assert room.count("attempt") == 31
    assert room.count("outbox") == 20 + 3
    room.now[0] += 23 * DAY_US
    pruner.once()
    assert room.endpoints.deliveries(TENANT, {"status": "dead"}, 1, 100)[1] == 0
    assert room.endpoints.deliveries(TENANT, {}, 1, 100)[1] == 4  # what is pending, whatever its age
    assert room.count("outbox") == 1 + 3
    assert room.count("attempt") == 1
