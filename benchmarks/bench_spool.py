"""What the spool costs: an event in it, the reader beside it, and the whole engine with and without.

The first two in this process, on events of the recorded mixed load; the engine as in ``bench_intake``, rounds in turn.

    python benchmarks/bench_spool.py [--rounds 5] [--copies 8] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import bench_intake
from callengine.esl.headers import Translator
from callengine.esl.intake import IntakeQueue
from callengine.esl.wire import Framer
from callengine.spool.replay import _read
from callengine.spool.segments import Spool

_RECV_BYTES = 256 * 1024


def batches(data: bytes) -> list[list[bytes]]:
    """As the reader hands them over."""
    framer = Framer()
    fed = (framer.feed(data[at : at + _RECV_BYTES]) for at in range(0, len(data), _RECV_BYTES))
    return [[frame.body for frame in frames] for frames in fed if frames]


def median_s(run: Callable[[], object], rounds: int) -> float:
    """The median of the processor time, in seconds."""
    took = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return statistics.median(took)


def in_memory(data: bytes, folder: Path, rounds: int) -> None:
    """Microseconds an event: written, written with the intake around it, cut from the stream, read again."""
    work = batches(data)
    count = sum(map(len, work))
    spool = Spool(folder / "spool", max_bytes=64 << 30)
    spool.open()

    def write() -> None:
        for bodies in work:
            assert spool.keep(bodies, 0) is not None

    def take(disk: Spool | None) -> None:
        intake = IntakeQueue(max_events=count, max_bytes=1 << 40, disk=disk, spill_events=count, spill_bytes=1 << 40)
        for bodies in work:
            assert intake.put_many(bodies)

    def replay() -> None:
        _read(path, translator)

    translator = Translator()
    rows = {
        "cut the stream": median_s(lambda: batches(data), rounds),
        "intake alone": median_s(lambda: take(None), rounds),
        "spool alone": median_s(write, rounds),
        "intake with spool": median_s(lambda: take(spool), rounds),
    }
    for name, seconds in rows.items():
        print(f"  {name:20} {seconds / count * 1e6:6.2f} us an event")
    path = min((folder / "spool").glob("*.spool"))
    found = _read(path, translator)
    assert not isinstance(found, str)
    each = median_s(replay, rounds) / len(found.records) * 1e6
    print(f"  {'read and decoded':20} {each:6.2f} us an event (in a thread, at the start)")


def children_s() -> float:
    """Processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def engine(data: bytes, count: int, rounds: int, folder: Path) -> None:
    """Events a second of the whole engine, with and without; and the processor time of that, the server's included."""
    file = folder / "events"
    file.write_bytes(data)
    rates: dict[str, list[float]] = {"with": [], "without": []}
    cpu: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(rounds):
        for which, found in rates.items():
            os.environ["CALLENGINE_STATE__SPOOL"] = "true" if which == "with" else "false"
            before = children_s()
            found.append(bench_intake.one_round("callengine", str(file), count))
            cpu[which].append((children_s() - before) / count * 1e6)
    medians = {which: statistics.median(found) for which, found in rates.items()}
    for which, found in rates.items():
        print(
            f"  engine {which:8} spool {medians[which]:9,.0f} events/s  ({min(found):,.0f}-{max(found):,.0f}),"
            f" {statistics.median(cpu[which]):.1f} us of processor time an event"
        )
    print(f"  with / without: {medians['with'] / medians['without']:.2f}")
    print(json.dumps({"events": count, "rounds": rounds, "median_events_per_s": medians}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: a temporary one")
    args = parser.parse_args()
    data, count = bench_intake.events(args.copies)
    print(f"{count} events, {len(data) / count:.0f} bytes each, {args.rounds} rounds, medians")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        in_memory(data, Path(folder), args.rounds)
        engine(data, count, args.rounds, Path(folder))


if __name__ == "__main__":
    main()
