"""Webhook endpoints in memory, as the real service keeps them; whether a URL may be called is tested with the guard."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from callengine.calls.call import EventName
from callengine.errors import NoSuchDelivery, NoSuchEndpoint
from callengine.store.webhooks import Attempt, Delivery, Endpoint
from callengine.webhooks.sender import Reply
from callengine.webhooks.signature import new_secret

if TYPE_CHECKING:
    from tests.api.fakes import World


class FakeWebhooks:
    """``World.webhooks`` holds, by tenant and id, endpoints; and by endpoint and event, deliveries with attempts."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def _endpoints(self) -> dict[tuple[str, str], Endpoint]:
        found: dict[tuple[str, str], Endpoint] = self.world.webhooks.setdefault("endpoints", {})
        return found

    @property
    def _deliveries(self) -> dict[tuple[str, str], tuple[Delivery, list[Attempt]]]:
        found: dict[tuple[str, str], tuple[Delivery, list[Attempt]]] = self.world.webhooks.setdefault("deliveries", {})
        return found

    def add_delivery(self, endpoint: Endpoint, status: str = "delivered", **more: Any) -> Delivery:
        """One that was tried once."""
        fields: dict[str, Any] = {
            "endpoint_id": endpoint.id,
            "event_id": str(uuid.uuid4()),
            "call_id": str(uuid.uuid4()),
            "event": "call.ended",
            "seq": 3,
            "status": status,
            "attempts": 1,
            "next_us": self.world.tick(),
            "last_status": 200 if status == "delivered" else 500,
            "last_error": None if status == "delivered" else "answered 500",
            "created_us": self.world.tick(),
            "ended_us": None if status == "pending" else self.world.tick(),
            **more,
        }
        delivery = Delivery(**fields)
        attempt = Attempt(n=1, at_us=self.world.tick(), duration_ms=12, status=200, error=None, response="thanks")
        self._deliveries[endpoint.id, delivery.event_id] = (delivery, [attempt])
        return delivery

    def create(
        self, tenant_id: str, url: str, events: Collection[str], description: str | None, enabled: bool
    ) -> tuple[Endpoint, str]:
        self.world.asked()
        made = Endpoint(
            id=str(uuid.uuid4()),
            url=url,
            description=description,
            events=tuple(events) or tuple(EventName),
            enabled=enabled,
            disabled_reason=None,
            failures=0,
            failing_since_us=None,
            retry_us=0,
            old_secret_until_us=None,
            created_us=self.world.tick(),
        )
        self._endpoints[tenant_id, made.id] = made
        return made, new_secret()

    def endpoints(self, tenant_id: str, page: int, page_size: int) -> tuple[list[Endpoint], int]:
        self.world.asked()
        mine = [one for (tenant, _), one in self._endpoints.items() if tenant == tenant_id]
        return mine[(page - 1) * page_size : page * page_size], len(mine)

    def endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        self.world.asked()
        try:
            return self._endpoints[tenant_id, endpoint_id]
        except KeyError:
            raise NoSuchEndpoint from None

    def update(self, tenant_id: str, endpoint_id: str, changes: Mapping[str, Any]) -> Endpoint:
        changed = msgspec.structs.replace(self.endpoint(tenant_id, endpoint_id), **changes)
        self._endpoints[tenant_id, endpoint_id] = changed
        return changed

    def delete(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        before = self.endpoint(tenant_id, endpoint_id)
        del self._endpoints[tenant_id, endpoint_id]
        return before

    def rotate_secret(self, tenant_id: str, endpoint_id: str, overlap_s: int) -> tuple[Endpoint, str]:
        until_us = self.world.now_us + overlap_s * 1_000_000 if overlap_s else None
        return self.update(tenant_id, endpoint_id, {"old_secret_until_us": until_us}), new_secret()

    def test(self, tenant_id: str, endpoint_id: str) -> Reply:
        self.endpoint(tenant_id, endpoint_id)
        return Reply(duration_s=0.02, status=204)

    def deliveries(
        self, tenant_id: str, filters: Mapping[str, str], page: int, page_size: int
    ) -> tuple[list[Delivery], int]:
        if "endpoint_id" in filters:
            self.endpoint(tenant_id, filters["endpoint_id"])
        mine = [
            delivery
            for delivery, _ in self._deliveries.values()
            if (tenant_id, delivery.endpoint_id) in self._endpoints
            and all(getattr(delivery, name) == value for name, value in filters.items())
        ]
        return mine[(page - 1) * page_size : page * page_size], len(mine)

    def delivery(self, tenant_id: str, endpoint_id: str, event_id: str) -> tuple[Delivery, list[Attempt]]:
        self.endpoint(tenant_id, endpoint_id)
        try:
            return self._deliveries[endpoint_id, event_id]
        except KeyError:
            raise NoSuchDelivery from None

    def replay(self, tenant_id: str, endpoint_id: str, event_id: str) -> Delivery:
        delivery, attempts = self.delivery(tenant_id, endpoint_id, event_id)
        again = msgspec.structs.replace(delivery, status="pending", attempts=0, ended_us=None)
        self._deliveries[endpoint_id, event_id] = (again, attempts)
        return again

    def replay_dead(self, tenant_id: str, endpoint_id: str, since_us: int) -> tuple[int, bool]:
        self.endpoint(tenant_id, endpoint_id)
        dead = [
            delivery
            for delivery, _ in list(self._deliveries.values())
            if (delivery.endpoint_id, delivery.status) == (endpoint_id, "dead") and delivery.created_us >= since_us
        ]
        for delivery in dead:
            self.replay(tenant_id, endpoint_id, delivery.event_id)
        return len(dead), True
