"""``callengine replay``: a recorded event socket stream, applied to an empty book by the daemon's own code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from callengine.cli.exits import FAILED, OK
from callengine.cli.output import say, to_json
from callengine.cli.parser import Commands, Parser, json_option

if TYPE_CHECKING:
    from callengine.calls.facts import Fact
    from callengine.esl.headers import Translator

_CHUNK_BYTES = 1 << 20
_TOLD = 10
_GZIP = b"\x1f\x8b"


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


@dataclass
class _Stream:
    """One file on its way into the book, and what could not be read of it."""

    name: str
    events: int = 0
    poison: list[str] = field(default_factory=list)
    broken: str | None = None

    def facts(self, file: BinaryIO, translator: Translator) -> Iterator[Fact]:
        """The facts in it, up to its end or to where it is no event stream any longer."""
        from callengine.errors import MalformedStream
        from callengine.esl.wire import Framer

        framer = Framer()
        try:
            for chunk in _chunks(file):
                for frame in framer.feed(chunk):
                    if frame.is_event and (fact := self._fact(translator, frame.content_type, frame.body)) is not None:
                        yield fact
            if framer.eof():
                self.broken = f"ends inside a frame, {framer.pending_bytes} bytes after its beginning"
        except MalformedStream as error:
            self.broken = str(error)
        except (OSError, EOFError) as error:
            self.broken = f"cannot be read to its end ({getattr(error, 'strerror', None) or error})"

    def _fact(self, translator: Translator, content_type: str, body: bytes) -> Fact | None:
        from callengine.errors import MalformedEvent

        self.events += 1
        try:
            return translator.json(body) if content_type == "text/event-json" else translator.plain(body)
        except MalformedEvent as error:
            self.poison.append(f"event {self.events} is set aside: {error}")
            return None

    def tell(self) -> bool:
        """Says what was wrong; whether nothing was."""
        for line in self.poison[:_TOLD]:
            say(f"callengine: {self.name}: {line}")
        if len(self.poison) > _TOLD:
            say(f"callengine: {self.name}: and {len(self.poison) - _TOLD} more events that cannot be read")
        if self.broken:
            say(f"callengine: {self.name}: {self.broken}; the calls are told as far as it could be read")
        return not (self.poison or self.broken)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    import zlib

    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except zlib.error as error:
        raise OSError(str(error)) from None


def _open(name: str) -> BinaryIO:
    """The file, unpacked where its first bytes say gzip."""
    import gzip
    from typing import cast

    raw = cast(BinaryIO, sys.stdin.buffer if name == "-" else Path(name).open("rb"))  # noqa: SIM115 - the caller does
    packed = raw.peek(2)[:2] == _GZIP  # type: ignore[attr-defined]
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw


def _translator(config: Path | None) -> Translator:
    from callengine.esl.headers import Translator, Variables

    if config is None and not os.environ.get("CALLENGINE_CONFIG"):
        return Translator()
    from callengine.config.settings import load

    tracking = load(config, os.environ).tracking
    return Translator(
        Variables(
            agents=tracking.agent_variables,
            tenant=tracking.tenant_variable,
            campaign=tracking.campaign_variable,
            lead=tracking.lead_variable,
        )
    )


def _replay(args: argparse.Namespace) -> int:
    translator = _translator(args.config)
    good = True
    for name in args.file:
        stream = _Stream("standard input" if name == "-" else name)
        try:
            calls, refusals = _calls(stream, name, translator, args.node)
        except OSError as error:
            say(f"callengine: {name}: cannot be read ({error.strerror})")
            good = False
            continue
        if args.json:
            sys.stdout.writelines(to_json(call) + "\n" for call in calls)
        else:
            _print(calls, stream, heading=len(args.file) > 1)
        if refusals:
            say(f"callengine: {stream.name}: {refusals} transitions were refused; nothing is lost by it")
        good = stream.tell() and good
    return OK if good else FAILED


def _calls(stream: _Stream, name: str, translator: Translator, node: str) -> tuple[list[dict[str, Any]], int]:
    from callengine.calls.machine import Refused
    from callengine.calls.record import record_of
    from callengine.calls.view import show
    from callengine.replay import replay

    with _open(name) as file:
        calls, effects = replay(stream.facts(file, translator), node)
    return [show(record_of(call)) for call in calls], sum(isinstance(effect, Refused) for effect in effects)


def _print(calls: list[dict[str, Any]], stream: _Stream, *, heading: bool) -> None:
    from callengine.cli.calls_shown import calls_table

    if heading:
        sys.stdout.write(f"== {stream.name}\n")
    sys.stdout.write(calls_table(calls) if calls else "no calls\n")
    count = "1 call" if len(calls) == 1 else f"{len(calls)} calls"
    sys.stdout.write(f"{count} in {stream.events} events\n" + ("\n" if heading else ""))
