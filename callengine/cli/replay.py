"""``callengine replay``: a recorded event socket stream, applied to an empty book by the daemon's own code."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callengine.cli.exits import FAILED, OK
from callengine.cli.output import clean, say, to_json
from callengine.cli.parser import Commands, Parser, json_option
from callengine.cli.progress import Progress

if TYPE_CHECKING:
    from callengine.esl.headers import Translator
    from callengine.replay import Replayed

_TOLD = 10


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "replay",
        _replay,
        "the calls in a recorded event socket stream",
        "Reads streams as FreeSWITCH's event socket sent them, JSON or plain events, also gzipped, and tells the "
        "calls that the daemon would have made of them: each file into a book of its own, which starts empty. No "
        "database is touched. Events that cannot be read, or a stream cut short, are told on standard error, and "
        "the exit code is 1.",
        [
            "callengine replay capture.esl",
            "callengine replay --json capture.esl.gz | jq .hangup_cause",
            "ssh switch cat capture.esl | callengine replay -",
        ],
    )
    _arguments(parser)


def _arguments(parser: Parser) -> None:
    parser.add_argument("file", nargs="+", metavar="FILE", help="a recorded stream; - is standard input")
    parser.add_argument(
        "--node", default="replay", help="the name of the switch; the calls' ids depend on it (default: replay)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="take the names of channel variables from this file's [tracking] (default: $CALLENGINE_CONFIG, else the"
        " built-in names)",
    )
    json_option(parser, "one call a line as JSON, the API's object")


def _translator(config: Path | None) -> Translator:
    from callengine.esl.headers import Translator

    if config is None and not os.environ.get("CALLENGINE_CONFIG"):
        return Translator()
    from callengine.config.settings import load
    from callengine.variables import variables_of

    return Translator(variables_of(load(config, os.environ).tracking))


def _replay(args: argparse.Namespace) -> int:
    from callengine.calls.record import record_of
    from callengine.calls.view import show
    from callengine.errors import MalformedStream

    translator = _translator(args.config)
    good = True
    for file in args.file:
        name = "standard input" if file == "-" else clean(file)
        try:
            done = _read(file, name, args.node, translator)
        except OSError as error:
            say(f"callengine: {name}: cannot be read ({error.strerror})")
            good = False
            continue
        except MalformedStream as error:
            say(f"callengine: {error}")
            good = False
            continue
        calls = [show(record_of(call)) for call in done.calls]
        if args.json:
            sys.stdout.writelines(to_json(call) + "\n" for call in calls)
        else:
            _print(calls, done.events, name if len(args.file) > 1 else None)
        good = _tell(done, name) and good
    return OK if good else FAILED


def _read(file: str, name: str, node: str, translator: Translator) -> Replayed:
    from io import BufferedReader
    from typing import cast

    from callengine.replay import replay_file, replay_stream

    with Progress(f"replaying {name}", "bytes") as progress:
        if file == "-":
            return replay_stream(cast(BufferedReader, sys.stdin.buffer), name, node, translator, progress.at)
        size = Path(file).stat().st_size
        return replay_file(Path(file), node, translator, lambda read: progress.at(read, size))


def _tell(done: Replayed, name: str) -> bool:
    """Says what was wrong; whether nothing was."""
    if done.refusals:
        say(f"callengine: {name}: {done.refusals} transitions were refused; nothing is lost by it")
    for poison in done.poison[:_TOLD]:
        say(f"callengine: {name}: event {poison.number} is set aside: {poison.reason}")
    if len(done.poison) > _TOLD:
        say(f"callengine: {name}: and {len(done.poison) - _TOLD} more events that cannot be read")
    if done.fault:
        say(f"callengine: {done.fault}; the calls are told as far as it could be read")
    return not (done.poison or done.fault)


def _print(calls: list[dict[str, Any]], events: int, heading: str | None) -> None:
    from callengine.cli.calls_shown import calls_table

    if heading:
        sys.stdout.write(f"== {clean(heading)}\n")
    sys.stdout.write(calls_table(calls) if calls else "no calls\n")
    count = "1 call" if len(calls) == 1 else f"{len(calls)} calls"
    sys.stdout.write(f"{count} in {events} events\n" + ("\n" if heading else ""))
