"""How long anything has to wait for the hub while it does everything at once.

A daemon at a switch that tells 3,000 events a second. Besides: 20 pages of 200 calls and 50 single reads a second, a
scrape each second, a webhook for each call that ends, and analyses of its recordings by a stand-in for Gemini, four at
a time. A greenlet in the daemon wants to run each millisecond: how late it comes is the stall. Before that the same
with nothing to do, to see what the machine itself adds.

    python benchmarks/bench_stall.py [--events 3000] [--seconds 20] [--calls 20000]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import filling
import load
import plots
from bench_analysis import record
from common import Report, parser, pin, quantile, sized
from http_client import Client
from running import Many, Subject, made, started
from switch import Switch

from callengine.store import schema, sql
from tests.acceptance.surroundings import Surroundings

_PAGES, _SINGLES, _SCRAPES = 20, 50, 1
_AUDIO_S = 33
_AT: Path = Path(__file__).with_name("ticking.py")


def ticks(path: Path, since_s: float, until_s: float) -> tuple[list[float], list[float]]:
    """The latenesses (ms) and the longest turns of that time."""
    late, turns = [], []
    for line in path.read_text().splitlines():
        found = json.loads(line)
        if since_s < found["at_s"] - 1 and found["at_s"] < until_s:
            late += found["late_ms"]
            turns.append(found["turn_ms"])
    return late, turns


def recordings(folder: Path) -> None:
    """A file of 1 MB for each recording that the load tells of."""
    names = set()
    for event in load.template().events:
        headers = json.loads(load.body_of(event).decode("utf-8", "replace"))
        if path := headers.get("Record-File-Path"):
            names.add(Path(path).name)
    first, *others = sorted(names)
    record(folder / first, _AUDIO_S)
    for name in others:
        os.link(folder / first, folder / name)


def at_once(subject: Subject, ids: list[str], pages: int) -> Many:
    """Whoever reads, at work once it is entered. Each reader has two connections, since one may have to wait."""
    many = Many()
    dice = random.Random(1)
    readers: list[tuple[str, int, Any]] = [
        ("page of 200", _PAGES, lambda: f"/v1/calls?page_size=200&page={dice.randint(1, pages)}"),
        ("single call", _SINGLES, lambda: f"/v1/calls/{dice.choice(ids)}"),
        ("scrape", _SCRAPES, lambda: "/metrics"),
    ]
    for name, per_s, path in readers:
        for _ in range(2 if per_s > 1 else 1):
            client = Client(subject.port, subject.daemon.key)
            many.add(name, per_s / (2 if per_s > 1 else 1), lambda client=client, path=path: _got(client, path()))  # type: ignore[misc]
    return many


def _got(client: Client, path: str) -> None:
    status, _, _ = client.get(path)
    if status != 200:
        raise AssertionError(f"{path}: {status}")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--events", type=float, default=3000, help="a second")
    arguments.add_argument("--seconds", type=float)
    arguments.add_argument("--calls", type=int, help="how many are in the store before")
    args = arguments.parse_args()
    seconds = args.seconds or sized(args, 2, 20, 60)
    rounds = args.rounds or sized(args, 1, 3, 5)
    calls = args.calls or sized(args, 2000, 20_000, 200_000)
    events_per_s = sized(args, 300, args.events)
    report = Report(
        "stall", "Stall: the hub under a mixed load", {"events/s": events_per_s, "s": seconds, "calls": calls}
    )
    pin(0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state, audio = folder / "state", folder / "audio"
        for path in (state, audio):
            path.mkdir()
        recordings(audio)
        around = stack.enter_context(Surroundings(folder, latency_ms=300))
        switch = stack.enter_context(Switch())
        file = folder / "ticks"
        os.environ |= {"TICKING": str(file), **around.environ()}
        more = f'{around.settings()}[recordings]\ndirectories = ["{audio}"]\n'
        more += f'path_map = {{ "/var/lib/freeswitch/recordings" = "{audio}" }}\n'
        daemon = made(state, switch, more=more, program=(str(_AT),))
        store = filling.opened(state, f"sqlite:///{state / 'callengine.db'}")
        filling.fill(store, calls)
        ids = store.run(lambda db: [schema.text_of(r[0]) for r in sql.run(db, "SELECT id FROM call LIMIT 1000")], 60)
        store.close()
        started(daemon)
        stack.callback(daemon.kill)
        subject = Subject(daemon, switch)
        around.register(daemon)
        for endpoint in daemon.ask("GET", "/v1/webhooks/endpoints")["data"]:
            daemon.ask("PATCH", f"/v1/webhooks/endpoints/{endpoint['id']}", {"events": ["call.ended"]})
        readers = partial(at_once, subject, ids, calls // 200)
        _measure(report, subject, file, readers, (events_per_s, seconds), rounds)
        report.add("webhooks delivered", "", [len(around.delivered())])
        asked = sum(1 for entry in around.asked() if "generateContent" in json.dumps(entry))
        report.add("analyses answered by the stand-in", "", [asked])
    report.note("The daemon on core 1; the switch, the stand-ins and whoever reads on core 0.")
    report.note("The longest turn is processor time of the hub's thread: what others on the machine do is not in it.")
    report.finish(args.out)


def _measure(
    report: Report, subject: Subject, file: Path, readers: Callable[[], Many], load_of: tuple[float, float], rounds: int
) -> None:
    """``load_of``: events a second, and for how many seconds."""
    events_per_s, seconds = load_of
    template = load.template()
    rate = events_per_s * len(template.created) / len(template.events)
    time.sleep(2)
    began_s = time.monotonic()
    time.sleep(min(5.0, seconds) + 1)
    idle = ticks(file, began_s, time.monotonic())
    loaded, told, used, many = [], [], [], []
    for _ in range(rounds):
        with readers() as at_work:
            began_s, before_s = time.monotonic(), subject.cpu_s()
            subject.switch.rule("pace", rate, seconds + 1, 0)
            told.append(subject.switch.expect("paced", seconds + 120))
            ended_s, after_s = time.monotonic(), subject.cpu_s()
        time.sleep(1.2)
        loaded.append(ticks(file, began_s, ended_s))
        used.append((after_s - before_s) / (ended_s - began_s))
        many.append((at_work, ended_s - began_s))
        subject.settled()
    for name, found in (("idle", [idle]), ("under load", loaded)):
        for share in (0.5, 0.99, 0.999):
            values = [quantile(late, share) for late, _ in found]
            report.add(f"{name}: lateness of the hub, p{share * 100:g}", "ms", values)
        report.add(f"{name}: lateness of the hub, max", "ms", [max(late, default=0.0) for late, _ in found])
        report.add(f"{name}: longest turn of a greenlet", "ms", [max(turns, default=0.0) for _, turns in found])
    report.add("events told", "events/s", [one["paced"] / one["seconds"] for one in told])
    report.add("the switch waited for us at most", "ms", [one["waited_s"] * 1000 for one in told])
    report.add("processor of the daemon", "% of a core", [100 * share for share in used])
    for name in many[0][0].took_ms:
        report.add(f"{name}: answered", "a second", [len(one.took_ms[name]) / took_s for one, took_s in many])
        report.add(f"{name}: p99", "ms", [quantile(one.took_ms[name], 0.99) for one, _ in many])
    report.add("reads that failed", "", [len(one.errors) for one, _ in many])
    busy = [late for found, _ in loaded for late in found]
    curve = [(share, quantile(busy, share)) for share in (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)]
    flat = [(share, quantile(idle[0], share)) for share, _ in curve]
    turns_ms = [turn for _, turns in loaded for turn in turns]
    report.series = {"under_load": curve, "idle": flat, "turns_ms": turns_ms}
    report.plot(
        "late", plots.lines("Lateness of the hub", "share", "ms", {"under load": curve, "idle": flat}, log_y=True)
    )


if __name__ == "__main__":
    main()
