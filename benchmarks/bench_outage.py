"""The database away for a minute, under load: the reader's lag, /livez, memory, and how everything catches up.

A stand-in switch with incoming calls, a daemon as a process with CDR folder, spool and one webhook endpoint, and a
private Postgres, or SQLite. Each way of being away is a run of its own:

  Postgres  hangs (all its processes stopped), down (refuses connections), both (half of each), locked, slow, nothing
  SQLite    locked (another process writes, and does not end), slow, full (with --small-disk), nothing

``nothing`` takes nothing away, to compare with. Afterwards every call is compared with the switch's CDRs, and every
milestone with what the webhook receiver took. ``unread``: the most bytes that the switch had sent and the daemon not
read; ``lag``: the longest that an event waited for the tracker; ``ours``: how late the benchmark itself was.

    python benchmarks/bench_outage.py [--database postgres] [--ways hangs,down] [--away-s 60] [--events 200]
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from outages import Postgres, Sqlite, Way, ways_of
from watching import Inbound, Watch, quantile

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance import cdrs
from tests.acceptance.daemon import Daemon, free_port, launched
from tests.chaos.databases import PostgresUnderTest

_EVENTS_A_CALL: Final = 7.9
"""Of the mix of incoming calls, those that are subscribed to."""
_TIME_SCALE: Final = 4.0
_CAUGHT_UP_S: Final = 180.0
_TOLD_S: Final = 300.0
_LIVES_S: Final = 20.0
"""Longer than any call lives at that time scale."""


class Outcome(NamedTuple):
    """One run. ``figures`` are printed as a row, by their names; ``wrong``: what should not be, a line each."""

    figures: dict[str, float]
    wrong: list[str]
    words: list[str]
    logged: dict[str, int]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--ways", default="", help="with commas between; default: all of that database")
    parser.add_argument("--away-s", type=float, default=60.0)
    parser.add_argument("--before-s", type=float, default=20.0, help="load before that, for memory to settle")
    parser.add_argument("--events", type=float, default=200.0, help="events a second, about")
    parser.add_argument("--readers", type=int, default=0, help="clients of the API that keep asking besides")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--small-disk", type=Path, help="an empty folder on a small file system of its own (300 MB)")
    parser.add_argument("--keep", type=Path, help="a new folder for everything, which is left there")
    return parser.parse_args(argv)


class Stage:
    """What a run needs: the switch, the daemon and the receiver, in ``folder``."""

    def __init__(self, folder: Path, state: Path, database_url: str, stack: ExitStack) -> None:
        self.cdrs = folder / "cdr"
        self.cdrs.mkdir()
        self.switch: StandInProcess = stack.enter_context(
            launch(["--cdr", str(self.cdrs), "--time-scale", str(_TIME_SCALE), "--heartbeat", "5"])
        )
        secrets = {"CALLENGINE_DATABASE__URL": database_url} if database_url else {}
        self.daemon = Daemon(state, self._configuration(), {"CALLENGINE_ESL__PASSWORD": "ClueCon", **secrets})
        stack.callback(self._end_daemon)
        self.daemon.start()
        self._bodies = folder / "delivered.jsonl"
        receiver = self._receiver(folder)
        stack.callback(receiver.wait, 10)
        stack.callback(receiver.terminate)

    def _configuration(self) -> str:
        return f"""
[esl]
host = "{self.switch.host}"
port = {self.switch.port}
[cdr]
directories = ["{self.cdrs}"]
[webhooks]
allow_networks = ["127.0.0.0/8"]
"""

    def _receiver(self, folder: Path) -> subprocess.Popen[bytes]:
        port = free_port()
        made = self.daemon.ask("POST", "/v1/webhooks/endpoints", {"url": f"http://127.0.0.1:{port}/"})
        secret = folder / "secret"
        secret.write_text(made["secret"])
        self._bodies.touch()
        given = ["--port", str(port), "--secret-file", str(secret), "--log", str(self._bodies)]
        return launched("callengine.standin.receiver", given, folder / "receiver.log")

    def _end_daemon(self) -> None:
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.stop()

    def told(self) -> dict[str, set[int]]:
        """The numbers of the events that were delivered, by call."""
        found: dict[str, set[int]] = {}
        for line in self._bodies.read_bytes().splitlines():
            body = json.loads(line)
            found.setdefault(body["data"]["call"]["id"], set()).add(body["seq"])
        return found

    def missing(self, calls: list[dict[str, Any]]) -> int:
        """How many events of these calls were not delivered."""
        told = self.told()
        return sum(len(set(range(1, call["seq"] + 1)) - told.get(call["id"], set())) for call in calls)


def one_run(stage: Stage, way: Way, args: argparse.Namespace) -> Outcome:
    """Load, then the database away, then until everything is caught up with."""
    daemon = stage.daemon
    load = Inbound(stage.switch.host, stage.switch.port, args.events / _EVENTS_A_CALL)
    with Watch(daemon, stage.switch.port, args.readers) as watch:
        load.start()
        time.sleep(args.before_s)
        away_s = time.monotonic()
        with way(args.away_s):
            time.sleep(max(0.0, away_s + args.away_s - time.monotonic()))
            back_s = time.monotonic()
        usable_s = time.monotonic()
        caught_s = _until(lambda: _is_level(watch), _CAUGHT_UP_S)
        load.end()
        time.sleep(_LIVES_S)
        _until(lambda: all(c["end_source"] for c in daemon.calls()), 60)
        calls = list(daemon.calls())
        told_s = _until(lambda: stage.missing(calls) == 0, _TOLD_S)
        time.sleep(1)
    # An inactive agent's leg and the like are no calls; the CDRs know which are.
    wrong = cdrs.differences(calls, cdrs.read(stage.cdrs))
    if len(calls) != load.placed:
        wrong.append(f"{load.placed} calls were placed, {len(calls)} are in the book")
    if missing := stage.missing(calls):
        wrong.append(f"{missing} events were not delivered")
    if daemon.process is None or daemon.process.poll() is not None:
        wrong.append("the daemon has ended")
    wrong += _lost(watch)
    figures = _figures(watch, away_s, back_s, usable_s + caught_s)
    figures |= {"calls": len(calls), "caught up s": caught_s, "told s": told_s + _LIVES_S + caught_s}
    return Outcome(figures, wrong, sorted(watch.words), _counted(daemon.complaints()))


def _counted(lines: list[str]) -> dict[str, int]:
    """How often each was logged, whatever numbers are in it; most often first."""
    heads: Counter[str] = Counter()
    for line in lines:
        text = json.loads(line).get("message", line) if line.startswith("{") else line
        heads[re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "N", text)[:110]] += 1
    return dict(heads.most_common())


def _is_level(watch: Watch) -> bool:
    """Nothing waits that has waited for long, and nothing is on the disk alone."""
    last = watch.last
    return (
        last.get("callengine_writer_oldest_seconds", 1.0) < 0.5
        and last.get("callengine_intake_events", 1.0) < 100
        and last.get("callengine_intake_oldest_seconds", 1.0) < 0.1
    )


def _until(condition: Any, timeout_s: float) -> float:
    """How long it took; the bound where it did not come."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        try:
            if condition():
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.25)
    return timeout_s


def _lost(watch: Watch) -> list[str]:
    names = (
        "callengine_intake_overflows",
        "callengine_intake_unreadable_events",
        "callengine_writer_dropped_notes",
        "callengine_writer_refused_calls",
        "callengine_dropped_facts",
    )
    found = [f"{name} is {watch.last[name]:g}" for name in names if watch.last.get(name)]
    by_label = ("callengine_greenlet_crashes", "callengine_poison_total")
    return found + [f"{name} is {v:g}" for name, v in watch.last.items() if name.startswith(by_label) and v]


def _figures(watch: Watch, away_s: float, back_s: float, level_s: float) -> dict[str, float]:
    before = (away_s - 10, away_s)
    away, after = (away_s, back_s), (back_s, level_s + 2)
    rss_mb = statistics.median(watch.values("rss_mb", *before))
    figures = {"events/s": watch.grown("facts", *away) / (back_s - away_s)}
    for name, span in (("away", away), ("after", after)):
        livez = watch.values("livez_ms", *span)
        hub = watch.grown("callengine_hub_lateness_seconds>0.01", *span)
        figures |= {
            f"livez p99 {name}": quantile(livez, 0.99),
            f"livez max {name}": max(livez, default=0.0),
            f"hub>10ms % {name}": 100 * hub / max(watch.grown("callengine_hub_lateness_seconds_count", *span), 1),
            f"hub>50ms {name}": watch.grown("callengine_hub_lateness_seconds>0.05", *span),
            f"lag>100ms {name}": watch.grown("callengine_event_lag_seconds>0.1", *span),
            f"lag ms {name}": 1000 * watch.peak("lag_s", *span),
            f"unread kB {name}": watch.peak("unread_bytes", *span) / 1000,
            f"calls ms p50 {name}": quantile(watch.values("calls_ms", *span), 0.5),
            f"calls ms max {name}": watch.peak("calls_ms", *span),
            f"calls 200 % {name}": _share(watch.values("calls_status", *span), 200),
            f"readyz ms max {name}": watch.peak("readyz_ms", *span),
            f"RSS + MB {name}": watch.peak("rss_mb", *span) - rss_mb,
            f"cpu % {name}": 100 * watch.grown("cpu_s", *span) / max(span[1] - span[0], 1),
            f"threads {name}": watch.peak("threads", *span),
            f"ours ms p99 {name}": quantile(watch.values("ours_ms", *span), 0.99),
            f"ours ms max {name}": watch.peak("ours_ms", *span),
        }
    return figures | {
        "RSS MB before": rss_mb,
        "RSS + MB end": watch.values("rss_mb")[-1] - rss_mb,
        "rows waiting": watch.peak("depth"),
        "spilled": watch.peak("spilled"),
        "spool MB": watch.peak("spool_bytes") / 1e6,
        "behind s": watch.peak("behind_s"),
        "as of": _as_of(watch, away_s, back_s),
    }


def _as_of(watch: Watch, away_s: float, back_s: float) -> float:
    """How much the book claims to have of the outage, in seconds, just before its end: 0 is right, or just below."""
    offset_s = time.time() - time.monotonic()
    found = watch.values("data_as_of_s", back_s - 2, back_s)
    return found[-1] - offset_s - away_s if found else float("nan")


def _share(values: list[float], wanted: float) -> float:
    return 100 * sum(v == wanted for v in values) / max(len(values), 1)


@contextmanager
def staged(args: argparse.Namespace, name: str) -> Iterator[tuple[Stage, dict[str, Way]]]:
    """A stage of its own with a database of its own, and the ways in which that can be away."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.keep, prefix=f"{name}-")))
        folder.chmod(0o755)
        state = folder / "state"
        if name == "full":
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.small_disk)))
        state.mkdir(exist_ok=True)
        if args.database == "postgres":
            database = Postgres(stack.enter_context(PostgresUnderTest()))
            yield Stage(folder, state, database.url, stack), ways_of(database)
        else:
            yield Stage(folder, state, "", stack), ways_of(Sqlite(state / "callengine.db"))


def shown(way: str, outcomes: list[Outcome]) -> None:
    """A block for each way: medians of the rounds, and whatever went wrong in any."""
    print(f"\n{way}")
    medians = {name: statistics.median(o.figures[name] for o in outcomes) for name in outcomes[0].figures}
    pairs = [f"{name} {value:,.{0 if abs(value) >= 100 else 1}f}" for name, value in medians.items()]
    plain = [pair for pair in pairs if " away" not in pair and " after" not in pair]
    for title in ("away", "after"):
        print(f"  {title:6}", "; ".join(p.replace(f" {title}", "") for p in pairs if f" {title}" in p))
    print("  whole ", "; ".join(plain))
    for outcome in outcomes:
        print(f"  /readyz: {'; '.join(outcome.words)}")
        for text, number in outcome.logged.items():
            print(f"  logged {number:4} {text}")
        for line in outcome.wrong[:10]:
            print("  WRONG", line)


def main(argv: list[str]) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = [name for name in args.ways.split(",") if name]
    if not names:
        names = ["hangs", "down", "both", "locked", "slow", "nothing"]
        if args.database == "sqlite":
            names = ["locked", "slow", *(["full"] if args.small_disk else []), "nothing"]
    print(f"{args.database}, away for {args.away_s:g} s at {args.events:g} events/s, {args.rounds} rounds, medians")
    result: dict[str, dict[str, float]] = {}
    bad = 0
    for name in names:
        outcomes = []
        for _ in range(args.rounds):
            with staged(args, name) as (stage, ways):
                outcomes.append(one_run(stage, ways[name], args))
        shown(name, outcomes)
        bad += sum(len(outcome.wrong) for outcome in outcomes)
        result[name] = {n: statistics.median(o.figures[n] for o in outcomes) for n in outcomes[0].figures}
    print(json.dumps({"database": args.database, "away_s": args.away_s, "median": result}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
