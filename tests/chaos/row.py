"""One row of the table: a world of its own, its load, its fault so many times, and the verdict."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final

import gevent

from tests.chaos import results
from tests.chaos.disk import SmallDisk
from tests.chaos.faults import Fault
from tests.chaos.judge import Verdict, judge
from tests.chaos.options import Options
from tests.chaos.world import World

_BEFORE_S: Final = 3.0
_AFTER_S: Final = 3.0
_SHOWN: Final = 40


def available(options: Options, fault: Fault) -> str:
    """Why this row cannot be had here; empty where it can."""
    if "switch" in fault.needs and options.real and not (options.switch_kill and options.switch_start):
        return "it needs --switch-kill and --switch-start"
    if "disk" in fault.needs and not SmallDisk.available():
        return "no small file system can be mounted here"
    if "sqlite" in fault.needs and options.database != "sqlite":
        return "it needs --database sqlite"
    return ""


def run(options: Options, fault: Fault) -> dict[str, Any]:
    """The row; also appended to the file of results."""
    times = options.times or fault.times
    began = time.monotonic()
    print(f"{fault.name}: {fault.title}, {times} x; seed {options.seed}", flush=True)
    with World(options, fault.needs, options.seed) as world:
        load = gevent.spawn(world.load.run)
        watching = gevent.spawn(world.witness.run) if "switch" in fault.needs else None
        gevent.sleep(_BEFORE_S)
        for number in range(1, times + 1):
            gevent.sleep(world.dice.uniform(*fault.pause_s))
            fault.strike(world, options.seconds)
            print(f"  {number} of {times}, {time.monotonic() - began:.0f} s", flush=True)
        world.until_ready()
        gevent.sleep(_AFTER_S)
        world.load.stop()
        load.get(timeout=120)
        if watching is not None and watching.dead:
            watching.get()
        world.settle()
        verdict = judge(world.evidence())
        figures = world.daemon.figures()
        code = world.daemon.stop()
        broken = world.integrity()
    _show(verdict, world, figures, code, broken)
    row = _row(options, fault, times, verdict, world, code, broken)
    row["took_s"] = round(time.monotonic() - began)
    if options.results is not None:
        results.append(options.results, row)
    return row


def _row(
    options: Options, fault: Fault, times: int, verdict: Verdict, world: World, code: int, broken: list[str]
) -> dict[str, Any]:
    return {
        "fault": fault.title,
        "name": fault.name,
        "times": times,
        "calls": verdict.calls,
        "lost": verdict.lost,
        "wrong": verdict.wrong,
        "stuck": verdict.stuck,
        "doubled": verdict.doubled,
        "webhooks_missing": verdict.webhooks_missing,
        "at_far_end": verdict.at_far_end,
        "untold": verdict.untold,
        "with_cdr": verdict.with_cdr,
        "without_cdr": verdict.without_cdr,
        "undialled": dict(verdict.undialled),
        "gave_up": world.gave_up,
        "not_ready_in_time": world.ready_late,
        "refused": sum(world.load.placed.refused.values()),
        "unanswered": sum(world.load.placed.unanswered.values()),
        "broken_answers": world.load.placed.broken,
        "clean": _is_clean(fault, verdict, world, code, broken),
        "switch": "FreeSWITCH" if options.real else "stand-in",
        "database": "postgres" if world.postgres is not None else "sqlite",
        "rate": options.rate,
        "seconds": options.seconds,
        "seed": options.seed,
        "commit": results.commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _is_clean(fault: Fault, verdict: Verdict, world: World, code: int, broken: list[str]) -> bool:
    """All zero, and something to know it by: where the far end's list or the CDRs are missing, nothing would be."""
    known = bool(verdict.at_far_end and verdict.with_cdr and (world.witness.heard or "switch" not in fault.needs))
    return verdict.clean and known and not broken and not world.load.placed.broken and code == 0


def _show(verdict: Verdict, world: World, figures: str, code: int, broken: list[str]) -> None:
    placed = world.load.placed
    print(
        f"  placed {placed.total}; in the book {verdict.calls}, with a CDR {verdict.with_cdr},"
        f" without one {verdict.without_cdr}; at the far end {verdict.at_far_end}, untold {verdict.untold};"
        f" the daemon gave up {world.gave_up} x, exit code {code}"
    )
    print(f"  without a channel {dict(verdict.undialled)}")
    print(f"  refused {dict(placed.refused)}; without an answer {dict(placed.unanswered)}")
    print(f"  {figures}")
    for line in [*(f"database: {text}" for text in broken), *verdict.lines][:_SHOWN]:
        print(f"  {line}")
