"""The clock of our machine is set back and forth by an hour."""

from __future__ import annotations

from typing import Any

import pytest

from callengine.calls.call import EventName
from callengine.config.sections import Webhooks as Settings
from callengine.store import rows, setback, sql
from callengine.store.accounts import Accounts
from callengine.store.clock import SetBack
from callengine.store.database import Store
from callengine.store.upkeep import Upkeep
from callengine.store.webhooks import Endpoint, EndpointStore
from callengine.store.writer import Writer
from callengine.webhooks.schedule import GAPS_S
from tests.store.build import T0, TENANT, a_call, published

HOUR_US = 3_600_000_000
ENDPOINT = "018f0000-0000-7000-8000-00000000e001"


class Clocks:
    """A wall clock that is set, and one that is not."""

    def __init__(self) -> None:
        self.us = T0
        self.s = 1000.0

    def wall_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.s

    def pass_s(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)
        self.s += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.mark.parametrize(
    ("moves_us", "told_us"),
    [
        ((0, 0), [0, 0]),
        ((HOUR_US, -HOUR_US), [0, HOUR_US]),
        ((-HOUR_US, HOUR_US), [HOUR_US, 0]),
        ((-500_000, -400_000), [0, 0]),
    ],
)
def test_only_a_clock_that_is_set_back_is_told_of(clocks: Clocks, moves_us: Any, told_us: list[int]) -> None:
    watch = SetBack(clocks.wall_us, clocks.monotonic)
    told = []
    for move_us in moves_us:
        clocks.pass_s(7)
        clocks.us += move_us
        told.append(watch.by_us())
    assert told == told_us


class Told:
    """An endpoint, and calls that are told to it."""

    def __init__(self, store: Store, clocks: Clocks) -> None:
        self.store, self.clocks = store, clocks
        self.writer = Writer(store, now_us=clocks.wall_us)
        self.writer.start()
        accounts = Accounts(store, self.writer, now_us=clocks.wall_us)
        pack = rows.id_for(store.kind)
        self.set("INSERT INTO tenant (id, name, created_us) VALUES (?, 'acme', ?)", pack(TENANT), T0)
        made = Endpoint(
            id=ENDPOINT,
            url="https://receiver.test/",
            description=None,
            events=tuple(name.value for name in EventName),
            enabled=True,
            disabled_reason=None,
            failures=0,
            failing_since_us=None,
            retry_us=0,
            old_secret_until_us=None,
            created_us=T0,
        )
        EndpointStore(store, self.writer).add(TENANT, made, "whsec_eA==", 5)
        self.upkeep = Upkeep(self.writer, accounts, clocks.wall_us, Settings(), clocks.monotonic)

    def tell(self, calls: int) -> None:
        for n in range(calls):
            call = a_call(self.clocks.us + n, seq=1)
            self.writer.put(call)
            self.writer.publish(published(call, EventName.DIALING, 1))
        self.writer.flush(10)

    def set(self, text: str, *values: Any) -> None:
        self.writer.execute(lambda db: sql.run(db, text, values), 5)

    def waits_s(self) -> list[float]:
        """For how long each delivery, in order; 0 for those that are due."""
        text = "SELECT next_us FROM delivery ORDER BY event_position"
        found = self.store.run(lambda db: sql.run(db, text).fetchall(), 5)
        return [max(0, us - self.clocks.us) / 1e6 for (us,) in found]

    def one(self, text: str) -> Any:
        return self.store.run(lambda db: sql.run(db, text).fetchone()[0], 5)


@pytest.fixture
def told(store: Store, clocks: Clocks) -> Any:
    made = Told(store, clocks)
    yield made
    made.writer.stop(5)


def test_what_was_told_while_the_clock_was_ahead_is_due_once_it_is_right(told: Told, clocks: Clocks) -> None:
    told.upkeep.look_at_clock()
    told.tell(3)
    told.set("UPDATE delivery SET next_us = ?, attempts = 9", T0 + GAPS_S[8] * 1_000_000)
    clocks.us += HOUR_US
    clocks.pass_s(1)
    told.upkeep.look_at_clock()
    told.tell(1200)
    told.set("UPDATE endpoint SET retry_us = ?", clocks.us + 5_000_000)
    clocks.us -= HOUR_US
    clocks.pass_s(1)
    assert min(told.waits_s()) > 3590
    told.upkeep.look_at_clock()
    waits = told.waits_s()
    assert set(waits[3:]) == {0.0}
    # A schedule of hours goes on, a little early.
    assert set(waits[:3]) == {GAPS_S[8] - 2 - 3600.0}
    assert told.one("SELECT retry_us FROM endpoint") - clocks.us < 6_000_000
    told.upkeep.look_at_clock()
    assert told.waits_s() == waits


def test_what_an_earlier_life_wrote_with_a_clock_that_was_ahead_is_found(told: Told, clocks: Clocks) -> None:
    clocks.us += HOUR_US
    told.tell(2)
    clocks.us -= HOUR_US
    clocks.pass_s(10)
    told.tell(2)
    fresh = Upkeep(told.writer, Accounts(told.store, told.writer), clocks.wall_us, Settings(), clocks.monotonic)
    assert max(told.waits_s()) > 3580
    fresh.look_at_clock()
    assert set(told.waits_s()) == {0.0}


def test_rows_of_recordings_and_analyses_are_due_earlier_too(told: Told, clocks: Clocks) -> None:
    call = a_call(T0)
    told.writer.put(call)
    told.writer.flush(5)
    pack = rows.id_for(told.store.kind)
    ahead_us = clocks.us + HOUR_US + 7_000_000
    told.set(
        "INSERT INTO recording (id, call_id, tenant_id, node, leg, path, discarded, status, attempts, next_us,"
        " created_us) VALUES (?, ?, ?, 'sw1', 'leg', '/a.wav', ?, 'stopped', 1, ?, ?)",
        *(pack(ENDPOINT), pack(call.id), pack(TENANT), False, ahead_us, T0),
    )
    told.set(
        "INSERT INTO analysis (call_id, tenant_id, node, status, due, run, attempts, unusable, next_us, lease_us,"
        " spent_micros, created_us) VALUES (?, ?, 'sw1', 'retrying', ?, 1, 1, 0, ?, ?, 0, ?)",
        *(pack(call.id), pack(TENANT), True, ahead_us, clocks.us + HOUR_US + 300_000_000, T0),
    )
    setback.bring_forward(told.writer, clocks.us, HOUR_US)
    assert told.one("SELECT next_us FROM recording") == clocks.us + 7_000_000
    assert told.one("SELECT next_us FROM analysis") == clocks.us + 7_000_000
    assert told.one("SELECT lease_us FROM analysis") == clocks.us + 300_000_000


def test_a_lease_that_is_right_stays_as_it_is(told: Told, clocks: Clocks) -> None:
    call = a_call(T0)
    told.writer.put(call)
    told.writer.flush(5)
    pack = rows.id_for(told.store.kind)
    told.set(
        "INSERT INTO analysis (call_id, tenant_id, node, status, due, run, attempts, unusable, next_us, lease_us,"
        " spent_micros, created_us) VALUES (?, ?, 'sw1', 'running', ?, 1, 1, 0, 0, ?, 0, ?)",
        *(pack(call.id), pack(TENANT), True, clocks.us + 300_000_000, T0),
    )
    setback.bring_forward(told.writer, clocks.us, HOUR_US)
    assert told.one("SELECT lease_us FROM analysis") == clocks.us + 300_000_000
