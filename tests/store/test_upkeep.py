"""What is done from time to time."""

from __future__ import annotations

from callengine.calls.call import EventName
from callengine.store import idempotency, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store
from callengine.store.lease import Lease
from callengine.store.reads import Reads
from callengine.store.upkeep import Upkeep
from callengine.store.writer import Writer
from tests.store.build import T0, TENANT, a_call, published


def test_what_is_old_is_forgotten_and_what_is_not_stays(store: Store) -> None:
    now = [T0]
    writer = Writer(store, now_us=lambda: now[0])
    writer.start()
    accounts = Accounts(store, writer, now_us=lambda: now[0])
    accounts.create_tenant("acme")
    _, text = accounts.create_key("acme", ["calls:read"])
    calls = [a_call(T0 + n) for n in range(1500)]
    for call in calls[:1200]:
        writer.put(call)
        writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(5)
    writer.execute(lambda db: idempotency.claim(db, TENANT, "k", "body", T0), 5)
    now[0] += 7 * 24 * 3600 * 1_000_000 + 1
    for call in calls[1200:]:
        writer.put(call)
        writer.publish(published(call, EventName.DIALING, 1))
    writer.flush(5)
    accounts.find_key(text)

    Upkeep(writer, accounts, now_us=lambda: now[0]).once()

    def count(table: str) -> int:
        return int(store.run(lambda db: sql.query(db, f"SELECT count(*) FROM {table}").fetchone()[0], 5))

    assert count("outbox") == 300
    assert count("idempotency") == 0
    assert accounts.keys("acme")[0].last_used_us == now[0]
    writer.stop(5)


def test_an_idle_engine_keeps_its_data_as_of_fresh_with_its_lease(store: Store, reads: Reads) -> None:
    now = [T0]
    writer = Writer(store, now_us=lambda: now[0])
    writer.start()
    lease = Lease(writer)
    writer.put(a_call(node="sw1"))
    writer.flush(5)
    fence = lease.hold("sw1", "a")
    now[0] += 60_000_000
    lease.renew(fence)
    reads.check()
    assert reads.data_as_of == now[0]
    writer.stop(5)


def test_the_slowest_engine_at_work_tells_up_to_when_all_is_there(store: Store, reads: Reads) -> None:
    leases = Lease(store)
    for node, at_us in (("gone", T0), ("slow", T0 + 10), ("quick", T0 + 20)):
        leases.hold(node, "a")
        writer = Writer(store, now_us=lambda at_us=at_us: at_us)  # type: ignore[misc]
        writer.start()
        writer.put(a_call(node=node))
        assert writer.stop(5)
    leases.release("gone", "a")
    reads.check()
    assert reads.data_as_of == T0 + 10
