"""argparse, as the commands use it: errors in one line, examples as they are written, one way to declare a command."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from callengine.cli.exits import USAGE
from callengine.neutral import plain

Handler = Callable[[argparse.Namespace], int]
"""What runs a command; returns the exit code."""


PATH_METAVARS: Final = ("PATH", "FILE", "FOLDER")
"""What help calls the value of an argument that is a path: these may be any bytes."""


def _is_utf8(value: object) -> bool:
    """Whether a value from the command line has no bytes that were no UTF-8 there."""
    texts = value if isinstance(value, list) else [value]
    return not any(isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text) for text in texts)


def _width() -> int:
    return min(shutil.get_terminal_size().columns - 1, 110)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, and room for the names of options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_width())

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += 2  # argparse forgets that commands are indented once more

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        if isinstance(action, argparse._SubParsersAction):
            text = text.partition("\n")[2]  # its own line only repeats the metavar
        return text


class Parser(argparse.ArgumentParser):
    """Options are never abbreviated: a script written today must not change its meaning with the next option."""

    def __init__(
        self, prog: str | None = None, *, description: str, epilog: str | None = None, add_help: bool = True
    ) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it, but it is the command's own help that an unknown option leads to."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        for action in parsed.parser._actions:
            if action.metavar not in PATH_METAVARS and not _is_utf8(getattr(parsed, action.dest, None)):
                name = "/".join(action.option_strings) or action.metavar or action.dest
                parsed.parser.error(f"argument {name}: is no UTF-8")
        return parsed

    def error(self, message: str) -> NoReturn:
        """One line, and where to read on."""
        one_line = plain(" ".join(message.split()))
        sys.stderr.write(f"{self.prog}: {one_line} (see {self.prog} --help)\n")
        sys.exit(USAGE)


class Commands:
    """The commands of one level. ``add`` declares one, ``group`` one that has commands below it."""

    def __init__(self, parser: Parser, what: str = "COMMAND") -> None:
        self._subparsers = parser.add_subparsers(title="commands", metavar=what, dest="", required=False)
        parser.set_defaults(handler=None, parser=parser)

    def add(
        self, name: str, handler: Handler, help_line: str, description: str = "", examples: Sequence[str] = ()
    ) -> Parser:
        """``help_line`` stands in the list above, ``description`` (paragraphs) and ``examples`` in its own help."""
        parser = self._new(name, help_line, description, examples)
        parser.set_defaults(handler=handler, parser=parser)
        return parser

    def group(self, name: str, help_line: str, description: str = "", examples: Sequence[str] = ()) -> Commands:
        """Commands such as ``callengine tenant create``."""
        return Commands(self._new(name, help_line, description, examples))

    def _new(self, name: str, help_line: str, description: str, examples: Sequence[str]) -> Parser:
        paragraphs = (description or f"{help_line[0].upper()}{help_line[1:]}.").split("\n\n")
        text = "\n\n".join(textwrap.fill(paragraph, _width()) for paragraph in paragraphs)
        epilog = "examples:\n" + "".join(f"  {line}\n" for line in examples) if examples else None
        return self._subparsers.add_parser(name, help=help_line, description=text, epilog=epilog)


CONFIG_HELP = "the settings file (default: $CALLENGINE_CONFIG, else /etc/callengine/callengine.toml if it is there)"
JSON_HELP = "print JSON, for programs"


def config_option(parser: Parser) -> None:
    """``--config PATH``, where settings are read."""
    parser.add_argument("--config", type=Path, metavar="PATH", help=CONFIG_HELP)


def json_option(parser: Parser, what: str = JSON_HELP) -> None:
    """``--json``, where a script reads."""
    parser.add_argument("--json", action="store_true", help=what)


def positive(text: str) -> float:
    """An argument that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def moment(text: str) -> datetime:
    """An argument that is a date or a time; without an offset it is UTC. Returns it in UTC."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be a date or a time as in 2026-11-22 or 2026-11-22T10:30Z") from None


def instant(text: str) -> int:
    """As ``moment``, in µs since the epoch."""
    at = moment(text)
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond


def rfc3339(text: str) -> str:
    """As ``moment``, as the API reads it."""
    return moment(text).isoformat().replace("+00:00", "Z")


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """An argument that is a whole number in these bounds."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read
