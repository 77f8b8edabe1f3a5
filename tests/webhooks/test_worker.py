"""Everything arrives, in order for each call, whatever goes down in between."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import gevent
import orjson
import pytest
from gevent.event import Event

from callengine.calls.call import EventName
from callengine.errors import TooManyTests
from callengine.store import sql
from callengine.webhooks import schedule
from callengine.webhooks.courier import WITHHELD
from callengine.webhooks.guard import Guard
from callengine.webhooks.sender import NO_ANSWER, POSTPONED, Reply
from callengine.webhooks.service import Webhooks
from tests.store.build import OTHER, T0, TENANT
from tests.webhooks.conftest import DOWN, EVENTS, Got, House

HOUR_US = 3_600_000_000
_FILE = {"duration_ms": 5, "bytes": 9, "sha256": "x", "channels": 1, "storage": "disk"}
OK = Reply(duration_s=0.001, status=200)
BROKEN = Reply(duration_s=0.001, status=500, error="answered 500", response="oops")


def in_order(got: list[Got]) -> bool:
    """By call and endpoint, whether a seq ever came before one that is less was there."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    for one in got:
        key = (one.url, one.call)
        if one.seq > last[key] + 1:
            return False
        last[key] = max(last[key], one.seq)
    return True


def test_each_event_once_and_in_order(house: House) -> None:
    house.endpoint()
    house.tell(calls=30)
    assert house.deliverer().step(30)
    assert house.counts() == {"delivered": 120}
    assert len({one.id for one in house.receivers.got}) == len(house.receivers.got) == 120
    assert in_order(house.receivers.got)
    assert 1 < house.receivers.most_at_once <= house.settings.calls_at_once
    first = house.receivers.got[0].body
    assert (first["type"], first["seq"]) == ("call.dialing", 1)
    attempts = house.query("SELECT n, status, error FROM attempt")
    assert len(attempts) == 120
    assert set(attempts) == {(1, 200, None)}


def test_down_for_an_hour_with_two_restarts(house: House) -> None:
    house.endpoint()
    up_us = T0 + HOUR_US
    house.receivers.answers = lambda url, got: OK if house.clock() >= up_us else DOWN
    house.tell(calls=20)
    deliverer = house.deliverer()
    for restart_us in (T0 + HOUR_US // 3, T0 + HOUR_US // 2):
        house.run_until_quiet(deliverer, restart_us)
        house.tell(calls=20)
        deliverer = house.takes_over(house.deliverer())
    house.run_until_quiet(deliverer, up_us + HOUR_US)
    assert house.counts() == {"delivered": 240}
    assert in_order(house.receivers.delivered)
    assert len({one.id for one in house.receivers.delivered}) == len(house.receivers.delivered) == 240
    # It was probed, not flooded; and all went out soon after it came back.
    failed = [one for one in house.receivers.got if one.at_us < up_us]
    assert len(failed) < 40
    assert max(one.at_us for one in house.receivers.delivered) < up_us + 1000 * 1_000_000


def test_a_single_event_is_retried_for_a_day_and_then_dead(house: House) -> None:
    endpoint = house.endpoint()
    house.tell(events=(EventName.DIALING,))
    house.receivers.answers = lambda url, got: BROKEN
    house.run_until_quiet(house.deliverer(), T0 + 48 * HOUR_US)
    assert house.counts() == {"dead": 1}
    times = [one.at_us - T0 for one in house.receivers.got]
    assert len(times) == schedule.MAX_ATTEMPTS
    assert len({one.id for one in house.receivers.got}) == 1
    gaps = [(b - a) / 1_000_000 for a, b in pairwise(times)]
    assert gaps == sorted(gaps)
    assert 22 * HOUR_US < times[-1] < 30 * HOUR_US
    delivery, attempts = house.service.delivery(TENANT, endpoint.id, house.receivers.got[0].id)
    assert (delivery.status, delivery.last_status, delivery.last_error) == ("dead", 500, "answered 500")
    assert [one.n for one in attempts] == list(range(1, schedule.MAX_ATTEMPTS + 1))
    assert attempts[0].response == "oops"


def test_what_is_dead_stops_nothing_behind_it(house: House) -> None:
    house.endpoint()
    (call,) = house.tell(events=EVENTS)
    house.receivers.answers = lambda url, got: BROKEN if got.seq == 2 else OK
    deliverer = house.deliverer()
    house.run_until_quiet(deliverer, T0 + HOUR_US)
    assert [one.seq for one in house.receivers.delivered] == [1]  # 3 waits for 2
    house.run_until_quiet(deliverer, T0 + 48 * HOUR_US)
    assert [one.seq for one in house.receivers.delivered] == [1, 3, 4]
    assert house.counts() == {"delivered": 3, "dead": 1}
    assert {one.call for one in house.receivers.got} == {call.id}


def test_an_event_that_the_receiver_cannot_take_holds_up_no_other_call(house: House) -> None:
    house.endpoint()
    bad = house.tell(calls=2)
    refused = {call.id for call in bad}
    answer = Reply(duration_s=0.001, error="no answer within 15 s", kind=NO_ANSWER)
    house.receivers.answers = lambda url, got: answer if got.call in refused else OK
    house.tell(calls=30)
    deliverer = house.deliverer()
    deliverer.step(30)
    assert house.counts() == {"delivered": 120, "pending": 8}
    house.run_until_quiet(deliverer, T0 + 48 * HOUR_US)
    assert house.counts()["delivered"] == 120
    assert in_order(house.receivers.delivered)


def test_replayed_dead_letters_arrive_with_the_same_id(house: House) -> None:
    endpoint = house.endpoint()
    house.tell(calls=3)
    house.receivers.answers = lambda url, got: BROKEN
    deliverer = house.deliverer()
    house.run_until_quiet(deliverer, T0 + 400 * HOUR_US)
    assert house.counts() == {"dead": 12}
    before = {one.id for one in house.receivers.got} | {
        row.event_id for row in house.service.deliveries(TENANT, {"status": "dead"}, 1, 200)[0]
    }
    house.receivers.answers = None
    assert house.service.replay_dead(TENANT, endpoint.id, house.clock() + 1) == (0, True)
    assert house.service.replay_dead(TENANT, endpoint.id, 0) == (12, True)
    deliverer.step(30)
    assert house.counts() == {"delivered": 12}
    assert {one.id for one in house.receivers.delivered} == before
    assert in_order(house.receivers.delivered)
    again = house.receivers.delivered[0].id
    house.service.replay(TENANT, endpoint.id, again)
    deliverer.step(30)
    assert house.receivers.delivered[-1].id == again


def test_a_dead_endpoint_with_much_waiting_costs_a_probe_at_a_time_and_ends_in_dead_letters(house: House) -> None:
    house.endpoint()
    house.receivers.answers = lambda url, got: DOWN
    house.tell(calls=300)
    deliverer = house.deliverer()
    house.run_until_quiet(deliverer, T0 + 24 * HOUR_US)
    assert house.counts() == {"pending": 1200}
    assert len(house.receivers.got) < 130
    house.run_until_quiet(deliverer, T0 + 60 * HOUR_US)
    assert house.counts() == {"dead": 1200}
    assert len(house.receivers.got) < 300


def test_a_slow_endpoint_and_a_dead_one_delay_no_other(house: House) -> None:
    for name in ("slow", "dead", "quick"):
        house.endpoint(f"https://{name}.test/")
    released = gevent.event.Event()

    def answers(url: str, got: Got) -> Reply:
        if "slow" in url:
            released.wait(20)
        return DOWN if "dead" in url else OK

    house.receivers.answers = answers
    house.tell(calls=10)
    deliverer = house.deliverer()
    working = gevent.spawn(deliverer.step, 30)
    with gevent.Timeout(10):
        while len([one for one in house.receivers.delivered if "quick" in one.url]) < 40:
            gevent.sleep(0.01)
    assert not [one for one in house.receivers.delivered if "slow" in one.url]
    released.set()
    working.join(30)
    assert len([one for one in house.receivers.delivered if "slow" in one.url]) == 40
    assert in_order(house.receivers.delivered)


def test_a_call_that_hangs_holds_up_only_itself(house: House) -> None:
    house.endpoint()
    hung, *_ = house.tell(calls=1)
    released = gevent.event.Event()

    def answers(url: str, got: Got) -> Reply:
        if got.call == hung.id:
            released.wait(20)
        return OK

    house.receivers.answers = answers
    deliverer = house.deliverer()
    working = gevent.spawn(deliverer.run)
    gevent.sleep(0.2)
    house.tell(calls=10)
    deliverer.nudge()
    with gevent.Timeout(10):
        while house.counts().get("delivered") != 40:
            gevent.sleep(0.02)
    released.set()
    with gevent.Timeout(10):
        while house.counts() != {"delivered": 44}:
            gevent.sleep(0.02)
    assert deliverer.stop(5)
    working.join(5)
    assert working.dead
    assert in_order(house.receivers.delivered)


def test_more_endpoints_than_places(house: House) -> None:
    house.settings = house.settings.model_copy(update={"endpoints_at_once": 2})
    for n in range(9):
        house.endpoint(f"https://r{n}.test/")
    house.tell(calls=3)
    house.deliverer().step(30)
    assert house.counts() == {"delivered": 108}


def test_410_disables_the_endpoint(house: House) -> None:
    endpoint = house.endpoint()
    house.tell(calls=3)
    house.receivers.answers = lambda url, got: Reply(duration_s=0.001, status=410, error="answered 410")
    deliverer = house.deliverer()
    deliverer.step(30)
    found = house.service.endpoint(TENANT, endpoint.id)
    assert (found.enabled, found.disabled_reason) == (False, "it answered 410 Gone")
    count = len(house.receivers.got)
    house.tell(calls=3)  # while it is disabled nothing is made for it
    house.clock.pass_s(7200)
    deliverer.step(30)
    assert len(house.receivers.got) == count <= 4
    house.receivers.answers = None
    house.service.update(TENANT, endpoint.id, {"enabled": True})
    house.run_until_quiet(deliverer, house.clock() + HOUR_US)
    assert house.counts() == {"delivered": 12}


def test_deleted_while_pending(house: House) -> None:
    endpoint = house.endpoint()
    house.tell(calls=3)
    house.service.delete(TENANT, endpoint.id)
    house.deliverer().step(30)
    assert house.receivers.got == []
    assert house.service.deliveries(TENANT, {}, 1, 10) == ([], 0)


def test_retry_after_is_honoured_within_bounds(house: House) -> None:
    house.endpoint()
    house.tell(calls=5)
    busy = Reply(duration_s=0.001, status=429, error="answered 429", retry_after_s=500)
    house.receivers.answers = lambda url, got: busy if house.clock() < T0 + 400_000_000 else OK
    deliverer = house.deliverer()
    deliverer.step(30)
    assert len(house.receivers.got) <= 4
    assert house.next_us() == T0 + 500_000_000
    house.run_until_quiet(deliverer, T0 + HOUR_US)
    assert house.counts() == {"delivered": 20}
    again = schedule.Health(0, None, 0)
    again.took(Reply(duration_s=0, status=503, error="x", retry_after_s=10**8), T0, T0, 0.5)
    assert again.retry_us == T0 + schedule.RETRY_AFTER_MAX_S * 1_000_000


def test_two_engines_one_delivers(house: House) -> None:
    house.endpoint()
    house.tell(calls=5)
    first, second = house.deliverer(), house.deliverer()
    assert first.step(30)
    assert not second.step(30)
    assert house.counts() == {"delivered": 20}
    house.tell(calls=5)
    assert not second.step(30)
    first.stop(1)
    assert second.step(30)
    assert house.counts() == {"delivered": 40}
    assert len(house.receivers.got) == 40


@pytest.mark.parametrize("ahead_s", [-7200, -20, 20, 7200])
def test_a_host_with_another_clock_does_not_deliver_as_well(house: House, ahead_s: int) -> None:
    first, second = house.deliverer(), house.deliverer(now_us=lambda: house.clock() + ahead_s * 1_000_000)
    for _ in range(20):
        assert first.step(1)
        assert not second.step(1)
        house.clock.pass_s(2)
    house.takes_over(second)
    assert not first.step(1)


def test_one_that_lost_its_lease_sends_nothing_more(house: House) -> None:
    house.endpoint()
    house.tell(calls=40)
    first, second = house.deliverer(), house.deliverer()

    def answers(url: str, got: Got) -> Reply:
        if len(house.receivers.got) == 5:
            house.clock.pass_s(60)  # so long it hung
        return OK

    house.receivers.answers = answers
    first.step(30)
    sent = len(house.receivers.got)
    assert sent < 60
    assert house.takes_over(second).step(30)
    assert house.counts() == {"delivered": 160}
    assert len(house.receivers.got) <= 160 + 8


def test_killed_in_the_middle_repeats_under_the_same_ids(house: House) -> None:
    house.endpoint()
    house.tell(calls=40)
    deliverer = house.deliverer()
    killed = False

    def answers(url: str, got: Got) -> Reply:
        nonlocal killed
        if len(house.receivers.got) >= 30 and not killed:
            killed = True
            for courier in list(deliverer._couriers.values()):
                gevent.spawn(courier.kill)
        return OK

    house.receivers.answers = answers
    working = gevent.spawn(deliverer.step, 10)
    with gevent.Timeout(20):
        while not killed:
            gevent.sleep(0.01)
    working.kill()
    house.takes_over(house.deliverer()).step(30)
    assert house.counts() == {"delivered": 160}
    assert in_order(house.receivers.delivered)
    assert len({one.id for one in house.receivers.delivered}) == 160


def test_a_database_that_is_away_loses_nothing(house: House) -> None:
    house.endpoint()
    house.tell(calls=4)
    deliverer = house.deliverer()
    failing = [2]
    real = house.writer.execute

    def execute(fn: Any, timeout_s: float, **more: Any) -> Any:
        from callengine.errors import StoreUnavailable

        if fn.__closure__ and failing[0] and house.receivers.got:
            failing[0] -= 1
            raise StoreUnavailable("it is locked by another process")
        return real(fn, timeout_s, **more)

    house.writer.execute = execute  # type: ignore[method-assign]
    deliverer.step(30)
    house.writer.execute = real  # type: ignore[method-assign]
    assert failing == [0]
    assert house.counts() == {"delivered": 16}
    assert in_order(house.receivers.got)


def test_each_tenant_is_told_of_its_own_calls_and_what_it_asked_for(house: House) -> None:
    house.endpoint("https://acme.test/", events=("call.ended",))
    house.endpoint("https://other.test/", tenant=OTHER)
    (mine,) = house.tell()
    (theirs,) = house.tell(tenant=OTHER)
    house.deliverer().step(30)
    assert [(one.call, one.body["type"]) for one in house.receivers.got if "acme" in one.url] == [
        (mine.id, "call.ended")
    ]
    assert {one.call for one in house.receivers.got if "other" in one.url} == {theirs.id}


def test_an_event_that_is_no_longer_kept_is_a_dead_letter(house: House) -> None:
    house.endpoint()
    house.tell(events=EVENTS[:2])
    house.writer.execute(lambda db: sql.run(db, "DELETE FROM outbox WHERE seq = 1"), 5)
    house.deliverer().step(30)
    assert house.counts() == {"delivered": 1, "dead": 1}


def test_recordings_urls_are_rendered_for_each_attempt_and_never_logged(house: House) -> None:
    house.endpoint(events=("call.ended",))
    (call,) = house.tell()
    files = orjson.dumps(
        [{"id": "r-1", "leg": "x", "path": "/x.wav", "status": "ready", "reason": None} | _FILE]
    ).decode()
    house.writer.execute(lambda db: sql.run(db, "UPDATE outbox SET files = ?", (files,)), 5)
    made: list[str] = []

    def url_of(recording_id: str) -> str:
        made.append(f"https://calls.example.com/v1/recordings/{recording_id}?expires=9&signature={len(made):032x}")
        return made[-1]

    def answers(url: str, got: Got) -> Reply:
        said = f"got {got.body['data']['call']['recording_url']}"
        return Reply(duration_s=0.001, status=200 if len(house.receivers.got) > 1 else 500, response=said)

    house.receivers.answers = answers
    house.run_until_quiet(house.deliverer(url_of=url_of, probed=True), T0 + HOUR_US)
    urls = [one.body["data"]["call"]["recording_url"] for one in house.receivers.got]
    assert len(set(urls)) == 2
    assert set(urls) <= set(made)
    assert house.query("SELECT response FROM attempt") == [(WITHHELD,), (WITHHELD,)]
    assert "signature=" not in str(house.query("SELECT * FROM delivery"))
    assert call.id == house.receivers.got[0].call


def test_quick_endpoints_find_a_place_beside_slow_ones(house: House) -> None:
    house.settings = house.settings.model_copy(update={"endpoints_at_once": 2})
    deliverer = house.deliverer()
    for name in ("slow1", "slow2", "slow3", "quick"):
        endpoint = house.endpoint(f"https://{name}.test/")
        if name != "quick":
            deliverer._slow.add(endpoint.id)  # as it was learned when they were served before
    released = gevent.event.Event()

    def answers(url: str, got: Got) -> Reply:
        if "slow" in url:
            released.wait(20)
        return OK

    house.receivers.answers = answers
    house.tell(calls=3)
    working = gevent.spawn(deliverer.run)
    with gevent.Timeout(10):
        while house.counts().get("delivered") != 12:
            gevent.sleep(0.02)
    released.set()
    with gevent.Timeout(10):
        while house.counts() != {"delivered": 48}:
            gevent.sleep(0.02)
    deliverer.stop(5)
    working.join(5)


def test_the_census(house: House) -> None:
    house.endpoint()
    house.tell(calls=2)
    deliverer = house.deliverer()
    census = deliverer._storage.deliveries.census()
    assert (census.pending, census.dead, census.oldest_us is not None) == (8, 0, True)
    deliverer.step(30)
    assert deliverer._storage.deliveries.census().pending == 0


def test_the_census_tells_of_endpoints_that_are_not_well(house: House) -> None:
    answers = {"https://down.test/": DOWN, "https://gone.test/": Reply(duration_s=0.001, status=410, error="gone")}
    house.receivers.answers = lambda url, got: answers.get(url, OK)
    well, down, gone = (house.endpoint(url) for url in ("https://well.test/", *answers))
    house.tell(events=(EventName.DIALING,))
    deliverer = house.deliverer()
    assert deliverer.oldest_s == 0
    deliverer.step(30)
    house.clock.pass_s(600)
    deliverer._count()
    census = deliverer.census
    assert (census.pending, census.paused, census.disabled) == (2, 1, 1)
    assert deliverer.oldest_s == pytest.approx(600, abs=1)
    house.service.update(TENANT, gone.id, {"enabled": False})  # as its tenant wants it: nobody has to look
    house.service.update(TENANT, down.id, {"url": well.url})
    deliverer._count()
    assert (deliverer.census.paused, deliverer.census.disabled) == (0, 0)


def test_who_no_longer_delivers_has_counted_nothing(house: House) -> None:
    house.endpoint()
    house.receivers.answers = lambda url, got: DOWN
    house.tell()
    deliverer = house.deliverer()
    working = gevent.spawn(deliverer.run)
    with gevent.Timeout(10):
        while not deliverer.census.pending:
            gevent.sleep(0.02)
        house.clock.pass_s(60)  # its lease is over
        house.takes_over(house.deliverer())
        while deliverer.census.pending:
            gevent.sleep(0.02)
    assert deliverer.oldest_s == 0
    deliverer.stop(5)
    working.join(5)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failed_attempt(status: int) -> None:
    health = schedule.Health(0, None, 0)
    for n in range(8):
        health.took(Reply(duration_s=0, status=status, error="x"), T0 + n, T0 + n, 0.5)
        assert health.paused == (n == 7)
        health.struck_us = 0


def test_what_could_not_be_tried_counts_against_nobody(house: House) -> None:
    """No thread was free to look a name up: that says nothing of the endpoint, and nothing of the event."""
    house.endpoint()
    house.tell(calls=6)
    busy = Reply(duration_s=0.001, error="too many names are being looked up", kind=POSTPONED)
    house.receivers.answers = lambda url, got: busy
    results: list[str] = []
    deliverer = house.deliverer(on_attempt=lambda result, reply: results.append(result))
    for _ in range(5):
        deliverer.step(30)
        house.clock.pass_s(6)
    assert house.receivers.got == []
    assert house.receivers.tenants == {TENANT}
    assert set(results) == {"postponed"}
    assert house.query("SELECT failures, retry_us FROM endpoint") == [(0, 0)]
    assert house.query("SELECT DISTINCT status, attempts FROM delivery") == [("pending", 0)]
    assert house.query("SELECT count(*) FROM attempt") == [(0,)]
    house.receivers.answers = None
    deliverer.step(30)
    assert house.counts() == {"delivered": 24}
    assert in_order(house.receivers.got)


def test_one_test_at_a_time_for_a_tenant(house: House) -> None:
    made, theirs = house.endpoint(), house.endpoint(tenant=OTHER)
    going = Event()

    asked: set[str] = set()

    class Slow:
        def send(self, url: str, headers: dict[str, str], body: bytes, *, tenant_id: str) -> Reply:
            asked.add(tenant_id)
            assert going.wait(10)
            return OK

    service = Webhooks(house.store, house.writer, house.settings, Guard(), Slow(), now_us=house.clock)  # type: ignore[arg-type]
    first, other = gevent.spawn(service.test, TENANT, made.id), gevent.spawn(service.test, OTHER, theirs.id)
    with gevent.Timeout(10):
        while len(service._testing) < 2:
            gevent.sleep(0.005)
    for _ in range(3):
        with pytest.raises(TooManyTests):
            service.test(TENANT, made.id)
    going.set()
    assert first.get(timeout=5) == other.get(timeout=5) == OK
    assert service.test(TENANT, made.id) == OK
    assert asked == {TENANT, OTHER}  # whose lookups they are
