"""One engine holds a switch, whatever becomes of clocks, of processes, and of the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import gevent
import peewee
import pytest

from callengine.calls.record import record_of
from callengine.errors import LeaseHeld, StoreUnavailable
from callengine.store import sql
from callengine.store.database import Store
from callengine.store.group import Committer
from callengine.store.lease import Fence, Lease
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from tests.store.away import locked
from tests.store.build import TENANT, a_call, ended, noted

Away = Callable[[], AbstractContextManager[None]]


class Host:
    """An engine's side of leases: its own two clocks, in seconds, and a lease that reads them."""

    def __init__(self, store: Store, wall_s: float = 1_000_000.0) -> None:
        self.now_s, self.wall_s = 50.0, wall_s
        self.lease = Lease(store, ttl_s=15, clock=lambda: self.now_s, wall_s=lambda: self.wall_s)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds

    def refused(self, holder: str, node: str = "sw1") -> bool:
        try:
            self.lease.hold(node, holder)
        except LeaseHeld:
            return True
        return False


def both_pass(first: Host, second: Host, seconds: float) -> None:
    first.pass_s(seconds)
    second.pass_s(seconds)


def test_a_second_engine_waits_until_the_lease_has_stood_still(store: Store) -> None:
    first, second = Host(store), Host(store)
    fence = first.lease.hold("sw1", "a")
    assert fence.epoch == 1
    for _ in range(7):  # from its first look on
        with pytest.raises(LeaseHeld) as caught:
            second.lease.hold("sw1", "b")
        assert (caught.value.node, caught.value.holder) == ("sw1", "a")
        second.pass_s(2)
    second.pass_s(1)
    assert second.lease.hold("sw1", "b").epoch == 2
    with pytest.raises(LeaseHeld):
        first.lease.renew(fence)


def test_a_lease_that_is_renewed_stays(store: Store) -> None:
    first, second = Host(store), Host(store)
    fence = first.lease.hold("sw1", "a")
    for _ in range(20):
        assert second.refused("b")
        both_pass(first, second, 5)
        first.lease.renew(fence)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
@pytest.mark.parametrize("whose", ["first", "second"])
def test_a_clock_that_is_set_neither_loses_a_lease_nor_gets_one(store: Store, jump_s: float, whose: str) -> None:
    first, second = Host(store), Host(store)
    fence = first.lease.hold("sw1", "a")
    for turn in range(12):
        if turn in {3, 7}:
            {"first": first, "second": second}[whose].wall_s += jump_s * (1 if turn == 3 else -1)
        assert second.refused("b")
        both_pass(first, second, 4)
        first.lease.renew(fence)
    assert fence.epoch == 1


def test_a_host_with_another_clock_takes_what_was_left_alone(store: Store) -> None:
    first, second = Host(store), Host(store, wall_s=500.0)
    first.lease.hold("sw1", "a")
    for _ in range(3):
        assert second.refused("b")
        second.pass_s(5)
    assert second.lease.hold("sw1", "b").epoch == 2


def test_after_an_outage_the_holder_comes_first(store: Store) -> None:
    """While nobody could renew it, standing still says nothing."""
    first, second = Host(store), Host(store)
    fence = first.lease.hold("sw1", "a")
    assert second.refused("b")
    both_pass(first, second, 60)
    assert second.refused("b")
    both_pass(first, second, 5)
    first.lease.renew(fence)
    both_pass(first, second, 14)
    assert second.refused("b")


def test_a_lease_is_of_one_switch(store: Store) -> None:
    host = Host(store)
    host.lease.hold("sw1", "a")
    assert host.lease.hold("sw2", "b").epoch == 1


def test_a_lease_that_was_given_back_is_free_at_once(store: Store) -> None:
    host = Host(store)
    fence = host.lease.hold("sw1", "a")
    host.lease.release("sw1", "b")
    assert host.refused("b")
    fence.let_go()
    host.lease.release("sw1", "a")
    host.pass_s(60)
    store.execute(fence.check, 5)  # the last rows
    other = host.lease.hold("sw1", "b")
    assert (other.epoch, host.lease.hold("sw1", "b").epoch) == (2, 2)
    with pytest.raises(LeaseHeld):
        store.execute(fence.check, 5)


def test_one_that_had_it_before_does_not_have_it_again(store: Store) -> None:
    """Another one had it in between, and gave it back: what we know of the calls is old."""
    host = Host(store)
    fence = host.lease.hold("sw1", "a")
    host.lease.release("sw1", "a")
    host.lease.hold("sw1", "b")
    host.lease.release("sw1", "b")
    for way in (fence.check, fence.renew):
        with pytest.raises(LeaseHeld):
            store.execute(way, 5)


def test_a_database_without_the_row_is_nobodys(store: Store) -> None:
    host = Host(store)
    fence = host.lease.hold("sw1", "a")
    store.execute(lambda db: sql.run(db, "DELETE FROM lease"), 5)
    store.execute(fence.check, 5)
    assert host.refused("b")


def test_of_many_at_once_one_gets_it(store: Store) -> None:
    host = Host(store)
    engines = [gevent.spawn(host.refused, f"engine-{n}") for n in range(8)]
    gevent.joinall(engines, timeout=20)
    assert [g.value for g in engines].count(False) == 1
    assert [g.value for g in engines].count(True) == 7


def test_it_is_renewed_several_times_before_it_expires(store: Store) -> None:
    assert Lease(store, ttl_s=15).renew_every_s * 3 <= 15


# -- rows are written by the holder alone ----------------------------------------------------------------------------


class Lost:
    """What a writer tells of a lease that was lost."""

    def __init__(self) -> None:
        self.errors: list[LeaseHeld] = []

    def __call__(self, error: LeaseHeld) -> None:
        self.errors.append(error)


def guarded(store: Store, fence: Fence) -> tuple[Writer, Lost]:
    writer, lost = Writer(store), Lost()
    writer.start()
    writer.guard(fence, lost)
    return writer, lost


def test_who_lost_the_switch_writes_no_row_of_it(store: Store, reads: Reads) -> None:
    host = Host(store)
    call, other = a_call(), a_call()
    writer, lost = guarded(store, host.lease.hold("sw1", "a"))
    writer.put(call)
    writer.flush(5)
    successor = host.lease.hold("sw1", "b", dead=frozenset({"a"}))
    theirs, _ = guarded(store, successor)
    theirs.put(by_them := ended(call, seq=3))
    theirs.flush(5)
    writer.put(ended(call, seq=9))
    writer.put(other)
    writer.note(noted(call, "stale"))
    with pytest.raises(StoreUnavailable, match="another engine"):
        writer.flush(5)
    assert [error.holder for error in lost.errors] == ["b"]
    assert reads.call(TENANT, call.id) == record_of(by_them)
    assert reads.call(TENANT, other.id) is None
    assert reads.timeline(TENANT, call.id) == []
    # Nothing is taken for committed that is not, and what is no row of a call is written as before.
    assert not writer.committed(writer.mark())
    with pytest.raises(StoreUnavailable, match="another engine"):
        writer.flush(5)
    assert writer.execute(lambda db: int(sql.query(db, "SELECT 7").fetchone()[0]), 5) == 7
    writer.put(other)
    assert (writer.depth, writer.reason) == (0, None)
    assert writer.stop(5)
    assert theirs.stop(5)
    assert len(lost.errors) == 1


def test_work_beside_rows_that_are_lost_is_done(store: Store) -> None:
    host = Host(store)
    writer, lost = Writer(store), Lost()
    writer.guard(host.lease.hold("sw1", "a"), lost)
    host.lease.hold("sw1", "b", dead=frozenset({"a"}))
    writer.put(a_call())
    working: Any = gevent.spawn(writer.execute, lambda db: sql.query(db, "SELECT count(*) FROM call").fetchone()[0], 5)
    gevent.sleep(0)
    writer.start()
    working.join(10)
    assert working.value == 0
    assert len(lost.errors) == 1
    assert writer.stop(5)


def test_who_was_stopped_for_a_minute_and_not_missed_goes_on(store: Store, reads: Reads) -> None:
    host = Host(store)
    writer, lost = guarded(store, host.lease.hold("sw1", "a"))
    writer.put(call := a_call())
    writer.flush(5)
    expired_us = _expires_us(store)
    host.pass_s(60)
    writer.put(last := ended(call, seq=2))
    writer.flush(5)
    assert reads.call(TENANT, call.id) == record_of(last)
    assert lost.errors == []
    # Written in the very transaction of the rows.
    assert _expires_us(store) == expired_us + 60_000_000
    assert writer.stop(5)


def _expires_us(store: Store) -> int:
    return store.run(lambda db: int(sql.query(db, "SELECT expires_us FROM lease").fetchone()[0]), 5)


def test_a_transaction_that_wrote_rows_is_waited_for_by_who_takes_over(postgres_store: Store) -> None:
    store, host = postgres_store, Host(postgres_store)
    fence = host.lease.hold("sw1", "a")
    db = store.connection(readonly=False)
    db.connect()
    with db.transaction():
        fence.check(db)
        taking: Any = gevent.spawn(host.lease.hold, "sw1", "b", dead=frozenset({"a"}))
        taking.join(0.3)
        assert not taking.ready()
    taking.join(5)
    assert taking.value.epoch == 2
    with pytest.raises(LeaseHeld):
        fence.check(db)
    db.close()


# -- and renewed ahead of them ---------------------------------------------------------------------------------------


def test_a_lease_is_renewed_ahead_of_a_backlog(store: Store) -> None:
    """A slow database: rows wait for far longer than a lease lasts."""
    writer = Writer(store)
    for _ in range(6000):
        writer.put(a_call())
    seen: list[int] = []
    lease = Lease(writer)
    fence = lease.hold  # taken before the writer runs: the first thing that it does
    holding: Any = gevent.spawn(fence, "sw1", "a")
    behind: Any = gevent.spawn(writer.execute, lambda db: seen.append(_calls(db)), 30)
    gevent.sleep(0)
    ahead: Any = gevent.spawn(writer.execute, lambda db: seen.append(_calls(db)), 30, ahead=True)
    gevent.sleep(0)
    writer.start()
    gevent.joinall([holding, behind, ahead], timeout=30)
    assert holding.value.epoch == 1
    assert seen == [0, 6000]
    lease.renew(holding.value)
    assert writer.stop(10)


def _calls(db: Any) -> int:
    return int(sql.query(db, "SELECT count(*) FROM call").fetchone()[0])


class _Impatient(Committer):
    """Waits for locks for a moment only."""

    def _connected(self) -> peewee.Database:
        fresh = self._db is None
        db = super()._connected()
        if fresh:
            sql.query(db, "SET lock_timeout = '300ms'")
        return db


def test_a_lease_is_renewed_while_rows_cannot_be_written(postgres_store: Store) -> None:
    """Somebody holds the table of calls: our rows wait, and the lease stays ours."""
    store = postgres_store
    writer = Writer(store)
    writer._committer = _Impatient(store)
    writer.start()
    lease = Lease(writer)
    fence = lease.hold("sw1", "a")
    writer.guard(fence, Lost())
    with locked(store):
        writer.put(a_call())
        gevent.sleep(0.1)  # its group is under way, and waits for the lock until its bound
        before_us = _expires_us(store)
        lease.renew(fence)
        assert _expires_us(store) > before_us
        assert writer.depth == 1
        assert writer.reason is not None
    writer.flush(10)
    assert writer.reason is None
    assert writer.stop(5)


def test_after_an_outage_the_lease_is_the_first_thing_written(store: Store, database_away: Away) -> None:
    writer = Writer(store)
    writer.start()
    lease = Lease(writer)
    fence = lease.hold("sw1", "a")
    writer.put(a_call())
    writer.flush(5)
    with database_away():
        for _ in range(100):
            writer.put(a_call())
        renewing: Any = gevent.spawn(lease.renew, fence)
        order: list[int] = []
        watching: Any = gevent.spawn(writer.execute, lambda db: order.append(_calls(db)), 20, ahead=True)
        gevent.sleep(0.3)
    gevent.joinall([renewing, watching], timeout=20)
    assert renewing.exception is None
    assert order == [1]
    writer.flush(10)
    assert writer.stop(5)


def test_it_stands_still_from_when_it_was_seen(store: Store) -> None:
    """However long the look took to be made: what was seen then may have been renewed while it was asked for."""
    first, second = Host(store), Host(store)
    first.lease.hold("sw1", "a")
    real = store.execute

    def slow(fn: Any, timeout_s: float) -> Any:
        second.pass_s(4.9)
        return real(fn, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "execute", slow)
        assert second.refused("b")
    for _ in range(3):
        second.pass_s(4)
        assert second.refused("b")
    second.pass_s(2.9)
    assert second.refused("b")
    second.pass_s(0.2)
    assert not second.refused("b")


def test_it_has_lapsed_when_it_was_not_renewed_for_its_time(store: Store) -> None:
    host = Host(store)
    fence = host.lease.hold("sw1", "a")
    host.pass_s(14)
    assert not fence.lapsed
    host.lease.renew(fence)
    host.pass_s(14)
    assert not fence.lapsed
    host.pass_s(1)
    assert fence.lapsed
