"""``callengine check-config``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from callengine.cli.exits import OK
from callengine.cli.output import print_json, say, to_json
from callengine.cli.parser import Commands, config_option, json_option
from callengine.cli.settings import load_settings


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "check-config",
        _check,
        "check the settings: all errors at once, else what they come to",
        "Reads the settings as `callengine run` would. If they cannot be used, every problem is told, each in a "
        "line with its place, and the exit code is 78. Else the effective settings are printed, secrets masked, as "
        "a settings file would have them; what is allowed but probably not meant is told on standard error.",
        [
            "callengine check-config",
            "callengine check-config --config ./callengine.toml --json",
        ],
    )
    config_option(parser)
    json_option(parser)


def _check(args: argparse.Namespace) -> int:
    from callengine.config.advice import advise
    from callengine.config.settings import as_shown, find_file

    settings = load_settings(args)
    shown = as_shown(settings)
    if args.json:
        print_json(shown)
    else:
        sys.stdout.write("\n".join(_toml(shown)).lstrip("\n") + "\n")
    file = find_file(args.config, os.environ)
    say(f"callengine: the settings are good ({file if file is not None else 'no file, the defaults'})")
    for line in advise(settings):
        say(f"callengine: note: {line}")
    return OK


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """``table`` as TOML; what is unset stands in a comment, since TOML has no null."""
    for name, value in table.items():
        if value is None:
            yield f"# {_key(name)} is unset"
        elif not isinstance(value, dict) or (path and not value):
            yield f"{_key(name)} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, dict) and (value or not path):
            below = (*path, name)
            yield ""
            yield f"[{'.'.join(_key(part) for part in below)}]"
            yield from _toml(value, below)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists of them are TOML's as well, and so is an empty table.
    return to_json(value)
