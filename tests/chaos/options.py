"""What a run is told: the switch, the database, the fault, how often and how fast."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

_EPILOG = """
The far ends of a real FreeSWITCH have to go by the first digit of the number that is dialled: 1 rings, answers, talks
for some seconds and hangs up; 2 is busy; 3 rings and never answers; 4 is not found; 5 plays early media, then answers.
The agents' gateway answers whatever is dialled. --far-end names a file in which the far end keeps a list of its own:
a line of JSON for each call, with "number" and "t" (when it arrived, seconds since the epoch).

The folder of CDRs is emptied before each row; what the switch has live is hung up.
"""


@dataclass(frozen=True)
class Options:
    """As parsed. ``real``: a FreeSWITCH that is there already; else a stand-in is started."""

    faults: tuple[str, ...]
    seed: int
    rate: float
    times: int | None
    seconds: float
    database: str
    results: Path | None
    keep: Path | None
    settle_s: float
    real: bool
    host: str
    port: int
    password: str
    cdr: Path | None
    recordings: Path | None
    far_end: Path | None
    gateway: str
    agents_gateway: str
    loopback: str
    heartbeat_s: float
    switch_kill: str
    switch_start: str


def parse(argv: list[str], known: tuple[str, ...]) -> Options:
    """Ends the process with a usage message where the words are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Breaks things under load, by a seeded plan, and compares every call with the switch's own CDRs.",
        epilog=_EPILOG + "\nFaults: " + ", ".join(known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("fault", nargs="*", help="the rows, each alone; default: all that can be had here")
    add("--seed", type=int, default=1)
    add("--rate", type=float, default=50.0, help="calls a second")
    add("--times", type=int, help="how often; default: as in the table")
    add("--seconds", type=float, default=60.0, help="how long a fault that lasts, lasts")
    add("--database", choices=("sqlite", "postgres"), default="sqlite")
    add("--results", type=Path, help="append the rows to this file (JSON lines), and print its whole table at the end")
    add("--keep", type=Path, help="a folder for the daemon's state and log, which is left there")
    add("--settle-s", type=float, default=60.0, help="a call that is live so long after the load has ended is stuck")
    add("--esl", help="host:port:password of a FreeSWITCH; default: a stand-in is started")
    add("--cdr", type=Path, help="with --esl: the folder that mod_json_cdr writes to")
    add("--recordings", type=Path, help="with --esl: a folder that the switch may write recordings to")
    add("--far-end", type=Path, help="with --esl: the far end's own list")
    add("--gateway", default="far", help="the sofia gateway to the far end")
    add("--agents-gateway", default="agents", help="the sofia gateway to the agents")
    add("--loopback", default="loopback/9004/default", help="a dial string for the loopback calls")
    add("--heartbeat-s", type=float, default=20.0, help="the switch's event-heartbeat-interval")
    add("--switch-kill", default="", help="a shell command that kills FreeSWITCH (SIGKILL)")
    add("--switch-start", default="", help="one that starts it, and returns when it listens")
    given = parser.parse_args(argv)
    for name in given.fault:
        if name not in known:
            parser.error(f"there is no fault {name!r}: " + ", ".join(known))
    host, port, password = "127.0.0.1", "0", "ClueCon"
    if given.esl:
        if given.cdr is None or given.far_end is None:
            parser.error("--esl goes with --cdr and --far-end")
        host, port, password = given.esl.split(":", 2)
    return Options(
        faults=tuple(given.fault),
        seed=given.seed,
        rate=given.rate,
        times=given.times,
        seconds=given.seconds,
        database=given.database,
        results=given.results,
        keep=given.keep,
        settle_s=given.settle_s,
        real=bool(given.esl),
        host=host,
        port=int(port),
        password=password,
        cdr=given.cdr,
        recordings=given.recordings,
        far_end=given.far_end,
        gateway=given.gateway,
        agents_gateway=given.agents_gateway,
        loopback=given.loopback,
        heartbeat_s=given.heartbeat_s,
        switch_kill=given.switch_kill,
        switch_start=given.switch_start,
    )
