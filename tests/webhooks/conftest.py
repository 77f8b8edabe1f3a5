"""A store with two tenants, calls that publish, and a receiver that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest

from callengine.calls.call import Call, EventName
from callengine.config.sections import Webhooks as Settings
from callengine.store import sql
from callengine.store.database import Store
from callengine.store.deliveries import Deliveries
from callengine.store.holder import Holder
from callengine.store.lease import Lease
from callengine.store.webhooks import Endpoint
from callengine.store.writer import Writer
from callengine.webhooks import signature
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import POSTPONED, UNREACHABLE, Reply, Sender
from callengine.webhooks.service import Webhooks
from callengine.webhooks.worker import Deliverer, Storage
from tests.databases import database_settings, postgres_server, postgres_settings, sqlite_settings, store
from tests.store.build import T0, TENANT, a_call, changed, published

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]

EVENTS = (EventName.DIALING, EventName.RINGING, EventName.ANSWERED, EventName.ENDED)
DOWN = Reply(duration_s=0.001, error="the connection was refused", kind=UNREACHABLE)

NOWHERE = Path("no such folder")
"""A state directory in which nobody is known to be dead."""


@dataclass
class Clock:
    """Our wall clock, as the test has it."""

    us: int = T0

    def __call__(self) -> int:
        return self.us

    def pass_s(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)

    def monotonic(self) -> float:
        """Where the wall clock is never set, one is as good as the other."""
        return self.us / 1_000_000


@dataclass
class Got:
    """One request as a receiver has it."""

    url: str
    id: str
    call: str
    seq: int
    body: dict[str, Any]
    headers: dict[str, str]
    at_us: int


@dataclass
class FakeReceivers:
    """In the sender's place: every URL answers as ``answers`` says (default 200)."""

    clock: Clock
    answers: Callable[[str, Got], Reply] | None = None
    got: list[Got] = field(default_factory=list)
    delivered: list[Got] = field(default_factory=list)
    tenants: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0

    def send(self, url: str, headers: dict[str, str], body: bytes, *, tenant_id: str = "") -> Reply:
        decoded = orjson.loads(body)
        call = decoded["data"]["call"]["id"]
        got = Got(url, headers["webhook-id"], call, decoded["seq"], decoded, dict(headers), self.clock())
        self.got.append(got)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            gevent.sleep(0)
            self.tenants.add(tenant_id)
            reply = self.answers(url, got) if self.answers else Reply(duration_s=0.001, status=200)
        finally:
            self.at_once -= 1
        if reply.kind == POSTPONED:
            self.got.remove(got)  # nothing was sent
        if reply.ok:
            self.delivered.append(got)
        return reply

    def tidy(self) -> None:
        """Nothing is kept open."""

    def close(self) -> None:
        """Nothing is kept open."""


@dataclass
class House:
    """Everything around a deliverer."""

    store: Store
    writer: Writer
    clock: Clock
    receivers: FakeReceivers
    service: Webhooks
    settings: Settings

    def deliverer(self, sender: Any = None, **more: Any) -> Deliverer:
        """An engine's deliverer, as one process has it."""
        lease = Lease(self.writer, clock=self.clock.monotonic)
        storage = Storage(Deliveries(self.store), self.writer, lease, Holder(NOWHERE))
        given = {"now_us": self.clock, "monotonic": self.clock.monotonic, "jitter": lambda: 0.5, **more}
        return Deliverer(storage, sender or self.receivers, self.settings, **given)

    def takes_over(self, deliverer: Deliverer) -> Deliverer:
        """It watches the lease of one that was killed stand still for as long as a lease lasts."""
        for _ in range(10):
            if deliverer._hold(told=True):
                return deliverer
            self.clock.pass_s(2)
        raise AssertionError("it does not get the lease")

    def endpoint(self, url: str = "https://receiver.test/hook", tenant: str = TENANT, **more: Any) -> Endpoint:
        made, _ = self.service.create(tenant, url, more.pop("events", ()), None, True)
        return made

    def tell(self, calls: int = 1, events: tuple[EventName, ...] = EVENTS, tenant: str = TENANT) -> list[Call]:
        """Calls of which each publishes ``events``."""
        made = [a_call(self.clock() + n, tenant_id=tenant) for n in range(calls)]
        for call in made:
            self.tell_of(call, events)
        self.writer.flush(10)
        return made

    def tell_of(self, call: Call, events: tuple[EventName, ...], first: int = 1) -> None:
        for seq, event in enumerate(events, first):
            now = changed(call, seq=seq)
            self.writer.put(now)
            self.writer.publish(published(now, event, seq))

    def query(self, text: str, *values: Any) -> list[Any]:
        return list(self.store.run(lambda db: sql.run(db, text, values).fetchall(), 10))

    def counts(self) -> dict[str, int]:
        return dict(self.query("SELECT status, count(*) FROM delivery GROUP BY status"))

    def next_us(self) -> int | None:
        """When the next attempt is due."""
        found = self.query(
            "SELECT min(CASE WHEN e.retry_us > d.next_us THEN e.retry_us ELSE d.next_us END) FROM delivery AS d"
            " JOIN endpoint AS e ON e.id = d.endpoint_id WHERE d.status = 'pending' AND e.enabled"
        )
        return found[0][0]

    def run_until_quiet(self, deliverer: Deliverer, until_us: int) -> None:
        """Steps from one due moment to the next."""
        while True:
            assert deliverer.step(30)
            due_us = self.next_us()
            if due_us is None or due_us > until_us:
                self.clock.us = max(self.clock.us, until_us)
                return
            self.clock.us = max(self.clock.us + 1, due_us)


@pytest.fixture
def house(store: Store) -> Iterator[House]:
    clock = Clock()
    writer = Writer(store, now_us=clock)
    writer.start()
    text = "INSERT INTO tenant (id, name, created_us) VALUES (?, ?, 0)"
    from callengine.store import rows
    from tests.store.build import OTHER

    pack = rows.id_for(store.kind)
    for tenant, name in ((TENANT, "acme"), (OTHER, "other")):
        writer.execute(lambda db, t=tenant, n=name: sql.run(db, text, (pack(t), n)), 5)  # type: ignore[misc]
    settings = Settings()
    guard = Guard(resolve=lambda host, port: [(2, 1, 6, "", ("93.184.216.34", port))])
    receivers = FakeReceivers(clock)
    service = Webhooks(store, writer, settings, guard, Sender(guard, timeout_s=5), now_us=clock)
    yield House(store, writer, clock, receivers, service, settings)
    writer.stop(10)


def secret_of(house: House, endpoint: Endpoint) -> bytes:
    """The key that signs for an endpoint."""
    return signature.key_of(house.query("SELECT secret FROM endpoint")[0][0])
