"""The engine's own wiring: what its parts are handed, and when it may speak for the switch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from callengine import engine as engines
from callengine.calls.ids import call_id_of
from callengine.calls.machine import Rules
from callengine.config.settings import Settings
from callengine.engine import Engine, Storage
from callengine.errors import EslDisconnected, LeaseHeld
from callengine.esl.link import LinkState
from callengine.esl.wire import Framer
from callengine.metrics import Metrics
from callengine.store.accounts import Accounts
from callengine.store.database import open_database
from callengine.store.holder import Holder
from callengine.store.lease import Fence, Lease
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.supervise import Supervisor
from tests.calls.build import Channel, us
from tests.engine.fakes import event, headers
from tests.esl.switches import event as framed


class Rig:
    """An engine with a real store and no switch; nothing of it runs but its writer."""

    def __init__(self, state: Path) -> None:
        settings = Settings.model_validate({"state": {"directory": state}, "switch": {"name": "sw1"}})
        self.store = open_database(settings.database, state)
        self.writer = Writer(self.store)
        self.writer.start()
        self.reads = Reads(self.store)
        self.supervisor = Supervisor()
        accounts = Accounts(self.store, self.writer)
        self.tenant = accounts.ensure_tenant("default").id
        storage = Storage(self.writer, self.reads, accounts, Lease(self.writer), Holder(state))
        self.engine = Engine(settings, storage, self.supervisor, Metrics())
        self.engine.book.node = "sw1"
        self.engine.book.rules = Rules(default_tenant=self.tenant)

    def tick(self, now: float) -> None:
        self.engine.tracker._settle(self.engine.book.tick(now))


class Client:
    """A connection that stays."""

    loss = None

    def __init__(self) -> None:
        self.closed = Event()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.supervisor.stop(1)
    assert made.writer.stop(5)
    made.store.close()


def test_a_uuid_that_lives_again_is_one_row_of_the_daemon(rig: Rig) -> None:
    one = Channel(at=1.0)
    two, tracker = one.again(300), rig.engine.tracker
    for fact in (one.created(), one.rang(2), one.ended(3, "USER_BUSY")):
        tracker.apply(fact, 0.0)
    for now in (5, 200, 201):
        rig.tick(now)
    rig.writer.flush(5)
    (first,) = rig.reads.calls_of_channels("sw1", ["A"])
    assert rig.engine.book.call_of("A") is None
    tracker.apply(two.created(), 300.0)
    rig.writer.flush(5)
    gevent.sleep(0)
    rig.tick(300)
    rig.writer.flush(5)
    assert rig.writer.refused == 0
    (last,) = rig.reads.calls_of_channels("sw1", ["A"])
    assert (last.id, last.over, last.own.first_created_us) == (first.id, False, us(1))


def test_an_opener_that_dies_opens_on_the_same_connection(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, crashes = rig.engine, [KeyError("no such tenant")]

    def open_book(client: object) -> None:
        if crashes:
            raise crashes.pop()
        engine._opened = True

    monkeypatch.setattr(engine, "_open", open_book)
    monkeypatch.setattr(engine._reconciler, "run", lambda switch: [])
    monkeypatch.setattr(engine.link, "client", Client())
    engine._connected.set()
    rig.supervisor.spawn("opener", engine._run_opener)
    assert engine.reconciled.wait(5)


def test_as_long_as_a_connection_lasts_the_switch_is_asked_again_for_its_channels(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, client, asked = rig.engine, Client(), list[object]()

    def look_again(switch: object) -> None:
        asked.append(switch)
        if len(asked) == 2:
            raise EslDisconnected("no answer")
        if len(asked) == 4:
            client.closed.set()

    monkeypatch.setattr(engines, "_LOOK_SOON_S", (0.0, 0.001))
    monkeypatch.setattr(engines, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(engine, "_open", lambda client: None)
    monkeypatch.setattr(engine._reconciler, "run", lambda switch: [])
    monkeypatch.setattr(engine._reconciler, "look_again", look_again)
    monkeypatch.setattr(engine.link, "client", client)
    engine._connected.set()
    rig.supervisor.spawn("opener", engine._run_opener)
    assert client.closed.wait(5)
    gevent.sleep(0.02)
    assert asked == [client] * 4


def test_who_reads_a_call_has_all_that_came_of_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing else would commit it for a minute; and not where the database takes nothing."""
    engine, came = rig.engine, [event("CHANNEL_CREATE", headers("u1", us(1)))]
    rig.writer._interval_s = 60

    class Switch(Client):
        def hurry(self) -> None:
            if came:
                engine.intake.put_many([came.pop()])

    monkeypatch.setattr(engine.link, "client", Switch())
    engine._opened, engine._held = True, Fence("sw1", "us", 1, 15)
    rig.supervisor.spawn("tracker", engine.tracker.run)
    call_id = call_id_of("sw1", "u1", us(1))
    engine.catch_up(call_id)
    record = rig.reads.call(rig.tenant, call_id)
    assert record is not None
    assert record.ring_us is None
    came.append(event("CHANNEL_PROGRESS", headers("u1", us(1), progress=us(2))))
    rig.writer.reason = "it is away"
    engine.catch_up(call_id)
    assert rig.writer.depth
    rig.writer.reason = None
    engine.catch_up(call_id)
    record = rig.reads.call(rig.tenant, call_id)
    assert record is not None
    assert record.ring_us == us(2)


def test_who_lost_the_lease_is_not_ready(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, now = rig.engine, [100.0]
    monkeypatch.setattr(engine.link, "state", LinkState.READY)
    engine._opened, engine._held = True, Fence("sw1", "us", 1, 15, clock=lambda: now[0])
    engine.reconciled.set()
    assert (engine.ready, engine.holds) == (True, True)
    now[0] += 15  # another may have it by now
    assert (engine.ready, engine.holds) == (True, False)
    engine._held.committed()
    engine._lost_lease(LeaseHeld("sw1", "them"))
    assert (engine.ready, engine.holds) == (False, False)


def test_ends_told_twice_are_left_out_and_counted_by_who_holds_the_lease(rig: Rig) -> None:
    engine, counts = rig.engine, rig.engine.metrics.events.counts
    ended = headers("u1", us(1), hangup=us(5))
    twice = [event("CHANNEL_HANGUP_COMPLETE", ended), event("CHANNEL_DESTROY", ended)]
    stream = b"".join(map(framed, twice))

    def receive() -> None:
        client = engine.link._new_client()
        client._take(Framer(events=client._events), stream)
        assert client.events_received == 2

    receive()
    # Another engine has the switch, and takes them in.
    assert (engine.intake.accepted, counts["LegDestroyed"]) == (1, 0)
    engine._held = Fence("sw1", "us", 1, 15)
    receive()
    assert (engine.intake.accepted, counts["LegDestroyed"]) == (2, 1)


def gauges(rig: Rig, name: str) -> dict[str, float]:
    value = rig.engine.metrics.registry.get_sample_value
    return {s: value(name, {"status": s}) or 0.0 for s in ("dialing", "ringing", "answered", "agent_connected")}


def test_the_age_of_the_oldest_live_call_is_by_the_switchs_clock(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = rig.engine.tracker
    for name, at in (("A", 1.0), ("B", 4.0), ("C", 2.0)):
        channel = Channel(name, at)
        tracker.apply(channel.created(), 0.0)
        if name != "C":
            tracker.apply(channel.rang(at + 1), 0.0)
    monkeypatch.setattr(tracker, "switch_now_us", lambda: us(11.0))
    assert gauges(rig, "callengine_live_calls") == {"dialing": 1, "ringing": 2, "answered": 0, "agent_connected": 0}
    found = gauges(rig, "callengine_live_call_oldest_seconds")
    assert found == {"dialing": 9.0, "ringing": 10.0, "answered": 0, "agent_connected": 0}


def test_before_any_event_nothing_is_old(rig: Rig) -> None:
    rig.engine.tracker.apply(Channel("A", 1.0).created(), 0.0)
    assert gauges(rig, "callengine_live_call_oldest_seconds")["dialing"] == 0


def test_calls_flagged_as_overlong_are_counted(rig: Rig) -> None:
    rig.engine.tracker.apply(Channel("A", 1.0).created(), 0.0)
    value = rig.engine.metrics.registry.get_sample_value
    assert value("callengine_overlong_calls") == 0
    rig.tick(20_000.0)
    gevent.sleep(0.6)  # a scrape's look is kept for half a second
    assert value("callengine_overlong_calls") == 1


def test_the_switch_is_named_once_it_is_known(rig: Rig) -> None:
    assert rig.engine.metrics.registry.get_sample_value("callengine_switch_info", {"node": "sw1"}) == 1
    rig.engine.book.node = ""
    assert b"callengine_switch_info{" not in rig.engine.metrics.render()
