"""docs/commands.md, written from the command line itself.

``python -m callengine.cli.describe > docs/commands.md`` writes it; a test fails where it is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from callengine.cli.exits import EXPLAINED
from callengine.cli.main import build_parser
from callengine.cli.parser import CONFIG_HELP, JSON_HELP

_HEAD = f"""\
# Commands

Each command and each group of them explains itself with `--help`. Options cannot be abbreviated. What a script reads
stands on standard output, hints and errors on standard error; an error is one line (the settings' errors: one each).

Two options mean the same everywhere and are not repeated below:

- `--config PATH`: {CONFIG_HELP}
- `--json`: {JSON_HELP}

*This page is made from the code: `python -m callengine.cli.describe > docs/commands.md`.*
"""


def describe() -> str:
    """The whole page."""
    codes = EXPLAINED.partition("\n")[2]
    return "\n".join([_HEAD, *_commands(build_parser()), "## Exit codes\n", f"```\n{codes}```\n"])


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield _section(below)
                yield from _commands(below)


def _section(parser: argparse.ArgumentParser) -> str:
    depth = len(parser.prog.split())
    paragraphs = [" ".join(part.split()) for part in (parser.description or "").split("\n\n")]
    lines = [f"{'#' * depth} `{parser.prog}`", "", "\n\n".join(paragraphs), ""]
    options = [_option(action) for action in parser._actions if _is_told(action)]
    if options:
        lines += [*options, ""]
    if parser.epilog:
        lines += ["```", *(line.removeprefix("  ") for line in parser.epilog.rstrip().splitlines()[1:]), "```", ""]
    return "\n".join(lines)


def _is_told(action: argparse.Action) -> bool:
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return False
    return action.help not in {CONFIG_HELP, JSON_HELP}


def _option(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if action.choices is not None:
        metavar = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    elif metavar is None and action.nargs != 0:
        metavar = action.dest.upper()
    names = ", ".join(action.option_strings)
    signature = " ".join(part for part in (names, metavar) if part)
    told = [action.help] if action.help else []
    if action.required and action.option_strings:
        told.append("(has to be given)")
    return f"- `{signature}`" + (f": {' '.join(told)}" if told else "")


if __name__ == "__main__":
    sys.stdout.write(describe())
