"""How large the daemon is, and how long it takes to start.

Memory of a live call: a switch makes 10,000 calls (created, ringing, answered) and then 50,000, and keeps them; the
growth by each. After many calls: a recorded load goes through, as fast as the daemon takes it, and memory is looked at
on the way. A call stays in the book for a while after its end; at rest, once none is left there, memory has to be in
the end what it was after the first tenth. Start-up: killed with 10,000 live calls, and started again at a switch that
still lists them, until /readyz says so; the same with none, to compare with. Modules are compiled before, as an
installation has them.

    python benchmarks/bench_size.py [--live 10000,50000] [--through 1000000]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import tempfile
import time

import load
import plots
from common import Report, cpu_s, parser, pin, sized
from running import Subject, compiled, started, subject

_GIVEN_BACK_S = 4.0


def through(report: Report, watched: Subject, calls: int, step: int) -> list[tuple[float, float]]:
    """Memory over the number of calls that went through."""
    copies = max(1, step // len(load.template().created))
    done, found = 0, []
    first_mb = 0.0
    while done < calls:
        watched.switch.rule("play", copies)
        done += watched.switch.expect("played", 600)["calls"]
        watched.settled(600)
        found.append((float(done), watched.rss_mb()))
        if not first_mb and done >= calls / 10:
            first_mb = at_rest(watched)
            report.add(f"RSS at rest after {done:,} calls", "MB", [first_mb])
    last_mb = at_rest(watched)
    later = [mb for _, mb in found[len(found) // 2 :]]
    report.add("RSS on the way, most", "MB", [max(mb for _, mb in found)])
    report.add(f"RSS at rest after {done:,} calls", "MB", [last_mb])
    report.ratio("RSS at rest, in the end / after the first calls", last_mb / first_mb)
    report.ratio("RSS on the way, second half, most / least", max(later) / min(later))
    return found


def at_rest(watched: Subject) -> float:
    """RSS once all calls have left the book, and what they took was given back."""
    watched.until(lambda found: not found['callengine_book_entries{kind="calls"}'], 180)
    time.sleep(_GIVEN_BACK_S)
    return watched.rss_mb()


def live(report: Report, watched: Subject, counts: list[int]) -> None:
    """What a live call takes."""
    before_mb, before = watched.rss_mb(), 0
    report.add("RSS with no calls", "MB", [before_mb])
    for count in counts:
        watched.switch.rule("live", count)
        watched.switch.expect("live", 600)
        watched.settled(600)
        time.sleep(3)  # what is held back for a while is let go
        now_mb = watched.rss_mb()
        report.add(f"RSS with {count:,} live calls", "MB", [now_mb])
        report.add(
            f"RSS of a live call, {before:,} to {count:,}", "kB", [(now_mb - before_mb) * 1000 / (count - before)]
        )
        before_mb, before = now_mb, count


def start_up(report: Report, watched: Subject, name: str, rounds: int) -> None:
    """From the process's start until it is ready, and its processor time until then."""
    took, used = [], []
    for _ in range(rounds):
        watched.daemon.kill()
        took.append(started(watched.daemon))
        used.append(cpu_s(watched.pid))
    report.add(f"start-up {name}", "s", took)
    report.add(f"start-up {name}, processor", "s", used)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--live", default="", help="live calls, with commas between")
    arguments.add_argument("--through", type=int, help="calls that go through")
    args = arguments.parse_args()
    counts = [int(n) for n in (args.live or sized(args, "100", "10000,50000")).split(",")]
    calls = args.through or sized(args, 300, 60_000, 1_000_000)
    rounds = args.rounds or sized(args, 1, 3, 5)
    pin(0)
    compiled()
    report = Report("size", "Size: memory, and the time to start", {"live calls": counts, "calls through": calls})
    with tempfile.TemporaryDirectory() as name, subject(_made(name, "through")) as watched:
        grown = through(report, watched, calls, max(calls // 20, 299))
    with tempfile.TemporaryDirectory() as name, subject(_made(name, "live")) as watched:
        if not args.quick:
            start_up(report, watched, "with no live calls", rounds)
        live(report, watched, counts[:1])
        start_up(report, watched, f"with {counts[0]:,} live calls", rounds)
    if counts[1:]:
        with tempfile.TemporaryDirectory() as name, subject(_made(name, "more")) as watched:
            live(report, watched, counts[1:])
    report.series = {"rss_mb": grown}
    report.plot("rss", plots.lines("Memory while calls go through", "calls", "MB", {"RSS": grown}))
    report.finish(args.out)


def _made(name: str, which: str) -> Path:
    folder = Path(name, which)
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
