"""``callengine completion``: what a shell needs to complete the command line."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from callengine.cli.exits import OK
from callengine.cli.parser import Commands

SHELLS: Final = ("bash", "zsh", "fish")
_FILES: Final = ("PATH", "FILE")
_FOLDERS: Final = ("FOLDER",)


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "completion",
        _print,
        "a script that completes commands and options in your shell",
        "Prints the script for bash, zsh or fish: every command, its options, and the values of those that have a "
        "closed set. It needs nothing of callengine when it runs; make it anew after an upgrade.",
        [
            "callengine completion bash | sudo tee /etc/bash_completion.d/callengine",
            "callengine completion zsh > ~/.zfunc/_callengine",
            "callengine completion fish > ~/.config/fish/completions/callengine.fish",
        ],
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _print(args: argparse.Namespace) -> int:
    sys.stdout.write(script(args.shell))
    return OK


def script(shell: str) -> str:
    """The script for one of ``SHELLS``."""
    import shtab

    from callengine.cli.main import build_parser

    parser = build_parser()
    _name_paths(parser, {**dict.fromkeys(_FILES, shtab.FILE), **dict.fromkeys(_FOLDERS, shtab.DIRECTORY)})
    return f"{shtab.complete(parser, shell=shell).rstrip()}\n"


def _name_paths(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Says of each option that takes a path that it does; it can be told by what help calls its value."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _name_paths(below, kinds)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
