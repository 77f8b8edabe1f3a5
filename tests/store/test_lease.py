"""One engine holds a switch."""

from __future__ import annotations

import gevent
import pytest

from callengine.errors import LeaseHeld
from callengine.store.database import Store
from callengine.store.lease import Lease


@pytest.fixture
def lease(store: Store) -> Lease:
    return Lease(store, ttl_s=15)


def test_a_second_engine_waits_until_the_lease_has_expired(lease: Lease) -> None:
    assert lease.acquire("sw1", "a", 1000.0) == 1
    for now_s in (1000.0, 1014.999):
        with pytest.raises(LeaseHeld) as caught:
            lease.acquire("sw1", "b", now_s)
        assert (caught.value.node, caught.value.holder) == ("sw1", "a")
    assert lease.acquire("sw1", "b", 1015.0) == 2
    with pytest.raises(LeaseHeld):
        lease.renew("sw1", "a", 1016.0)


def test_a_lease_that_is_renewed_stays(lease: Lease) -> None:
    lease.acquire("sw1", "a", 1000.0, "core-1")
    for now_s in range(1005, 1100, 5):
        assert lease.renew("sw1", "a", float(now_s)) == 1
    with pytest.raises(LeaseHeld):
        lease.acquire("sw1", "b", 1109.0)


def test_a_lease_is_of_one_switch(lease: Lease) -> None:
    lease.acquire("sw1", "a", 1000.0)
    assert lease.acquire("sw2", "b", 1000.0) == 1


def test_a_lease_that_was_given_back_is_free_at_once(lease: Lease) -> None:
    lease.acquire("sw1", "a", 1000.0)
    lease.release("sw1", "b")
    with pytest.raises(LeaseHeld):
        lease.acquire("sw1", "b", 1001.0)
    lease.release("sw1", "a")
    assert lease.acquire("sw1", "b", 1001.0) == 2
    assert lease.acquire("sw1", "b", 1002.0) == 2


def test_of_many_at_once_one_gets_it(lease: Lease) -> None:
    def try_it(holder: str) -> bool:
        try:
            lease.acquire("sw1", holder, 1000.0)
        except LeaseHeld:
            return False
        return True

    engines = [gevent.spawn(try_it, f"engine-{n}") for n in range(8)]
    gevent.joinall(engines, timeout=20)
    assert [g.value for g in engines].count(True) == 1
    assert [g.value for g in engines].count(False) == 7


def test_it_is_renewed_several_times_before_it_expires(lease: Lease) -> None:
    assert lease.renew_every_s * 3 <= 15
