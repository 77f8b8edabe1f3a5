"""``callengine demo`` itself."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from callengine.cli.demo.lines import analysis_line, delivery_line, ended_line, fetching
from callengine.cli.exits import OK, Failed
from callengine.cli.parser import Commands, config_option, positive, whole

if TYPE_CHECKING:
    from callengine.cli.demo.screen import Line
    from callengine.cli.demo.stage import Stage, Stopping
    from callengine.cli.demo.traffic import Traffic
    from callengine.cli.demo.watch import Watch

_FRAME_S = 0.25
_DEFAULT_RATE = 2.0
_INBOUND_SHARE = 0.3


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "demo",
        _demo,
        "live calls in this terminal, on a stand-in switch",
        "Starts a stand-in switch (it speaks the event socket as FreeSWITCH does, but is none), the daemon on a "
        "SQLite database in a temporary folder, and a stream of varied calls; shows them live, and the URL of the "
        "page, a key for it and a curl line. Some calls are recorded; their recordings are analysed by a stand-in for "
        "Gemini, which understands nothing and says so, and a webhook receiver is told of each step. Ctrl-C ends it "
        "and leaves nothing behind.\n\n"
        "With GEMINI_API_KEY in the environment the real Gemini analyses them instead, for half a dollar at most, as "
        "reckoned by the prices in the settings.\n\n"
        "Where the settings name an event socket (esl.host or esl.port), that switch is watched instead; the demo "
        "then places no call of its own unless --dial says where to.",
        [
            "callengine demo",
            "callengine demo --seconds 30 --plain",
            "GEMINI_API_KEY=KEY callengine demo",
            "CALLENGINE_ESL__HOST=127.0.0.1 CALLENGINE_ESL__PASSWORD=ClueCon callengine demo",
        ],
    )
    add = parser.add_argument
    add("--seconds", type=positive, metavar="N", help="end by itself after so long (default: when you say so)")
    add("--rate", type=positive, metavar="R", help=f"calls to place a second (default: {_DEFAULT_RATE:g})")
    add(
        "--plain",
        action="store_true",
        help="a line for each ended call, analysis and delivery instead of the live view",
    )
    add("--port", type=whole(1, 65535), metavar="P", help="where to serve HTTP (default: 8088, else any free one)")
    add("--standin", action="store_true", help="the stand-in, also where the settings name a switch")
    add("--dial", metavar="NUMBER", help="on a real switch: place calls to this number, through the settings' gateways")
    add("--gateway", metavar="NAME", help="the gateway for --dial, where the settings have several")
    config_option(parser)


def _demo(args: argparse.Namespace) -> int:
    from callengine.cli.demo.stage import Stage, Stopping, configured_switch

    switch = None if args.standin else configured_switch(args.config, os.environ)
    if switch is None and args.dial:
        raise Failed("--dial needs a real switch: name it with esl.host; the stand-in gets calls by itself")
    if switch is not None:
        _say(
            f"the settings name an event socket at {switch.address}: watching that switch (--standin for the stand-in)"
        )
    rate = args.rate or _DEFAULT_RATE
    with Stopping() as stopping:
        stage = Stage(switch, args.port, inbound_rate=rate * _INBOUND_SHARE)
        try:
            if not stage.start(stopping, _say):
                return OK
            return _show(args, stage, rate, stopping)
        finally:
            stage.stop()


def _say(text: str) -> None:
    sys.stderr.write(f"callengine demo: {text}\n")


def _traffic(args: argparse.Namespace, stage: Stage, rate: float) -> Traffic | None:
    from callengine.cli.client import Client
    from callengine.cli.demo import traffic

    client = Client(stage.url, stage.key, timeout_s=5.0)
    if stage.switch.is_standin:
        return traffic.Traffic(client, rate, traffic.varied(seed=os.getpid()))
    return traffic.Traffic(client, rate, traffic.always(args.dial, args.gateway)) if args.dial else None


def _show(args: argparse.Namespace, stage: Stage, rate: float, stopping: Stopping) -> int:
    from callengine.cli.client import Client
    from callengine.cli.demo.screen import is_for_screens
    from callengine.cli.demo.watch import Watch

    watch = Watch(Client(stage.url, stage.key, timeout_s=5.0), webhooks=stage.receiver is not None)
    calls = _traffic(args, stage, rate)
    until = None if args.seconds is None else time.monotonic() + args.seconds

    def over() -> bool:
        return stopping() or (until is not None and time.monotonic() >= until)

    watch.start()
    if calls is not None:
        calls.start()
    try:
        show = _plain if args.plain or not is_for_screens(os.environ) else _live
        show(stage, watch, calls, over)
    finally:
        if calls is not None:
            calls.stop()
        watch.stop()
    _sum_up(watch)
    if calls is not None and until is not None and not stopping() and not any(watch.view.totals.values()):
        raise Failed(f"no call was seen in {args.seconds:g} s: {_problem(watch, calls) or 'nobody knows why'}")
    return OK


def _problem(watch: Watch, calls: Traffic | None) -> str | None:
    return watch.view.problem or (calls.problem if calls is not None else None)


def header(stage: Stage) -> list[Line]:
    """What somebody has to know to look for themselves. The curl lines work as they stand."""
    from callengine.cli.demo.screen import Line

    curl = f"curl -s -H 'Authorization: Bearer {stage.key}' '{stage.url}/v1"
    lines = [
        Line(f"callengine demo · {' · '.join(_parts(stage))} · Ctrl-C ends it", 0),
        Line(f"Page {stage.url}/ · open it, paste the key{_beside(stage)}", 3),
        Line(f"Key  {stage.key}", 4),
        Line(f"{curl}/calls?page_size=3'", 1),
    ]
    if stage.switch.is_standin:
        from callengine.cli.demo.traffic import CAMPAIGNS

        lines.append(Line(f"{curl}/campaigns/{next(iter(CAMPAIGNS))}/calls?page_size=3'", 5))
    return lines


def _parts(stage: Stage) -> list[str]:
    """What is real and what is not."""
    if stage.switch.is_standin:
        parts = ["the switch: a stand-in, not FreeSWITCH"]
    else:
        parts = [f"the switch: FreeSWITCH at {stage.switch.address}"]
    if stage.switch.is_analysed:
        parts.append("analysis: Gemini, as the settings say")
    if stage.analysis is not None:
        parts.append(f"analysis: {stage.analysis.described()}")
    return parts


def _beside(stage: Stage) -> str:
    """Where the processes beside the daemon are, of which the screen says elsewhere what they are."""
    switch = f" · switch {stage.switch.address}" if stage.switch.is_standin else ""
    return switch + (f" · webhooks {stage.receiver.address}" if stage.receiver is not None else "")


def _live(stage: Stage, watch: Watch, calls: Traffic | None, over: Callable[[], bool]) -> None:
    from callengine.cli.demo.screen import Painter, Terminal

    painter = Painter(header(stage), colour=not os.environ.get("NO_COLOR"))
    started = time.monotonic()
    with Terminal(sys.stdout.fileno()) as terminal:
        while not over() and not terminal.gone:
            stage.check()
            now = time.monotonic()
            size = terminal.size()
            doing = "watching" if calls is None else f"{calls.placed} calls placed by the demo"
            line = f"{_clock(now - started)}  {doing}"
            terminal.draw(painter.sheet(watch.view, line, _problem(watch, calls), now, *size), size)
            time.sleep(_FRAME_S)


def _plain(stage: Stage, watch: Watch, calls: Traffic | None, over: Callable[[], bool]) -> None:
    sys.stdout.write("\n".join(line.text for line in header(stage)) + "\n")
    sys.stdout.flush()
    told: str | None = None
    url: str | None = None
    while not over():
        stage.check()
        problem = _problem(watch, calls)
        if problem is not None and problem != told:
            _say(problem)
        told = problem
        lines = _news(watch)
        if (latest := watch.view.recording_url) is not None and latest != url:
            lines.append(fetching(latest))
            url = latest
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
        time.sleep(_FRAME_S)


def _news(watch: Watch) -> list[str]:
    return [
        *map(ended_line, watch.take_ended()),
        *map(analysis_line, watch.take_analysed()),
        *map(delivery_line, watch.take_delivered()),
    ]


def _sum_up(watch: Watch) -> None:
    totals = watch.view.totals
    live = sum(count for status, count in totals.items() if status not in {"completed", "failed"})
    completed, failed = totals.get("completed", 0), totals.get("failed", 0)
    _say(f"{completed + failed + live} calls: {completed} completed, {failed} failed, {live} were live when it ended")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
