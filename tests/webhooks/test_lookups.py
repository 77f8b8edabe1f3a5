"""Names whose servers are silent hold up those who own them, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import gevent
import pytest
from gevent import monkey

from callengine.errors import LookupsBusy, NameNotResolved
from callengine.webhooks.guard import Guard, parse
from callengine.webhooks.lookups import Lookups
from callengine.webhooks.sender import POSTPONED, Sender

PUBLIC = ip_address("93.184.216.34")


class Silent:
    """A resolver in which names that begin with ``slow`` have no answer until ``go``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._gate = monkey.get_original("threading", "Event")()

    def __call__(self, host: str, port: int) -> list[Any]:
        assert threading.current_thread() is not threading.main_thread()
        self.asked.append(host)
        if host.startswith("slow"):
            self._gate.wait(20)
        return [(2, 1, 6, "", (str(PUBLIC), port))]

    def go(self) -> None:
        self._gate.set()


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    with gevent.Timeout(30):
        yield made
    made.go()


def until(true: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not true():
            gevent.sleep(0.005)


def quietly(look_up: Callable[..., Any], *arguments: Any) -> gevent.Greenlet[..., Any]:
    """In a greenlet whose error, which is expected, is not printed."""

    def run() -> Any:
        try:
            return look_up(*arguments)
        except (LookupsBusy, NameNotResolved) as error:
            return error

    return gevent.spawn(run)


def test_a_tenant_takes_no_more_than_its_share(silent: Silent) -> None:
    lookups = Lookups(silent, 8, 3, lookup_s=0.2, place_s=0.1)
    jobs = [quietly(lookups.addresses, f"slow{n}.example", 443, "a") for n in range(10)]
    until(lambda: lookups.under_way == 3)
    assert lookups.addresses("good.example", 443, "b") == [PUBLIC]
    outcomes = [type(job.get(timeout=5)) for job in jobs]
    assert (outcomes.count(NameNotResolved), outcomes.count(LookupsBusy)) == (3, 7)
    with pytest.raises(LookupsBusy):  # nobody waits any more, but the threads are still taken
        lookups.addresses("good.example", 443, "a")
    assert lookups.under_way == len([host for host in silent.asked if host.startswith("slow")]) == 3
    silent.go()
    until(lambda: lookups.under_way == 0)
    assert lookups.addresses("good.example", 443, "a") == [PUBLIC]


def test_all_threads_taken(silent: Silent) -> None:
    lookups = Lookups(silent, 4, 2, lookup_s=10, place_s=10)
    jobs = [quietly(lookups.addresses, f"slow{n}.example", 443, f"t{n}") for n in range(4)]
    until(lambda: lookups.under_way == 4)
    waiting = quietly(lookups.addresses, "good.example", 443, "b")
    gevent.sleep(0.05)
    assert not waiting.ready()
    silent.go()
    assert waiting.get(timeout=5) == [PUBLIC], "who waits has the next place"
    assert [job.get(timeout=5) for job in jobs] == [[PUBLIC]] * 4


def test_one_lookup_a_name(silent: Silent) -> None:
    lookups = Lookups(silent, 4, 2, lookup_s=5)
    jobs = [quietly(lookups.addresses, "slow.example", 443, tenant) for tenant in ("a", "a", "a", "b", "c")]
    until(lambda: silent.asked == ["slow.example"])
    silent.go()
    assert [job.get(timeout=5) for job in jobs] == [[PUBLIC]] * 5
    assert silent.asked == ["slow.example"]
    assert lookups.addresses("slow.example", 443, "a") == [PUBLIC]
    assert silent.asked == ["slow.example"] * 2, "what is over is not remembered"


def test_who_is_killed_while_it_waits_leaves_nothing_behind(silent: Silent) -> None:
    lookups = Lookups(silent, 1, 1, lookup_s=5, place_s=5)
    first, second = (quietly(lookups.addresses, f"slow{n}.example", 443, "a") for n in range(2))
    until(lambda: lookups.under_way == 1)
    for job in (second, first):
        job.kill()
    assert lookups.under_way == 1
    silent.go()
    until(lambda: lookups.under_way == 0)
    assert lookups.addresses("good.example", 443, "a") == [PUBLIC]


def test_new_endpoints_hold_up_no_deliveries(silent: Silent) -> None:
    guard = Guard(resolve=silent)
    jobs = [gevent.spawn(guard.addresses_of_new, parse(f"https://slow{n}.example/"), f"t{n}") for n in range(40)]
    until(lambda: len(silent.asked) == 8)
    assert guard.addresses(parse("https://good.example/"), "t0") == [PUBLIC]
    gevent.sleep(1.2)  # those that found no place have given up
    assert sum(job.ready() for job in jobs) == 32
    assert all(job.value == [] for job in jobs if job.ready())
    gevent.killall(jobs)


def test_a_tenant_changes_its_url_again_and_again(silent: Silent) -> None:
    """As the review did it: 32 silent names, and somebody else's endpoint."""
    sender = Sender(Guard(resolve=silent), timeout_s=3)
    jobs = [gevent.spawn(sender.send, f"https://slow{n}.example/", {}, b"{}", tenant_id="a") for n in range(32)]
    until(lambda: len(silent.asked) == 4)
    began = gevent.get_hub().loop.now()
    sender._guard.addresses(parse("https://good.example/"), "b")
    gevent.get_hub().loop.update_now()
    assert gevent.get_hub().loop.now() - began < 0.5
    replies = [job.get(timeout=10) for job in jobs]
    assert [reply.kind for reply in replies].count(POSTPONED) == 28
    sender.close()
