"""``callengine quarantine``: what could not be handled and was set aside, each with the reason."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from callengine.cli.exits import NOT_FOUND, OK, Failed
from callengine.cli.output import print_json, say, table
from callengine.cli.parser import Commands, config_option, json_option
from callengine.cli.settings import load_settings

_NAME = re.compile(r"[0-9]+-[0-9a-f]+")


def register(commands: Commands) -> None:
    """Declares both."""
    group = commands.group(
        "quarantine",
        "events and CDRs that could not be read and were set aside",
        "An event or a CDR that cannot be handled stops nothing: it is set aside with its bytes and the reason, in the "
        "folder `quarantine` of the state directory. A CDR can be tried again, after an update say.",
        [
            "callengine quarantine list",
            "callengine quarantine show 1795343615301-5f2c9b1a77de | jq .",
            "callengine quarantine retry 1795343615301-5f2c9b1a77de",
        ],
    )
    listing = group.add("list", _list, "what was set aside, when and why")
    config_option(listing)
    json_option(listing)
    show = group.add("show", _show, "the bytes of one, as the switch sent them")
    show.add_argument("id", metavar="ID", help="as `list` shows it")
    config_option(show)
    retry = group.add("retry", _retry, "have the running daemon take a CDR in again; it leaves the quarantine")
    retry.add_argument("id", metavar="ID", help="as `list` shows it")
    config_option(retry)


def _folder(args: argparse.Namespace) -> Path:
    return load_settings(args).state.directory / "quarantine"


def _kept(folder: Path) -> list[dict[str, Any]]:
    """All that was set aside, the oldest first. An entry whose note is missing or half written is told without it."""
    from callengine.calls.view import iso

    entries: list[dict[str, Any]] = []
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix == ".bin")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failed(f"{folder}: cannot be read ({error.strerror})") from None
    for file in files:
        try:
            note = json.loads(file.with_suffix(".json").read_bytes())
        except (OSError, ValueError):
            note = {}
        at = note.get("at")
        entries.append(
            {
                "id": file.stem,
                "kind": note.get("kind", "event"),
                "time": iso(int(at * 1_000_000)) if isinstance(at, int | float) else None,
                "bytes": note.get("bytes"),
                "reason": note.get("reason"),
            }
        )
    return entries


def _list(args: argparse.Namespace) -> int:
    folder = _folder(args)
    entries = _kept(folder)
    if args.json:
        print_json(entries)
        return OK
    if entries:
        sys.stdout.write(table(("ID", "KIND", "TIME", "BYTES", "REASON"), ([*entry.values()] for entry in entries)))
    say(f"callengine: {len(entries)} set aside in {folder}")
    return OK


def _show(args: argparse.Namespace) -> int:
    file = _folder(args) / f"{args.id}.bin"
    if not _NAME.fullmatch(args.id):
        raise Failed("there is nothing set aside by that id", NOT_FOUND)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise Failed("there is nothing set aside by that id", NOT_FOUND) from None
    except OSError as error:
        raise Failed(f"{file}: cannot be read ({error.strerror})") from None
    if sys.stdout.isatty():  # what nobody could read may hold anything, also what a terminal would obey
        text = content.decode("utf-8", "backslashreplace")
        sys.stdout.write("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text) + "\n")
    else:
        sys.stdout.buffer.write(content)
    return OK


def _retry(args: argparse.Namespace) -> int:
    """Puts the bytes where posted CDRs wait, whole from its first moment there; the daemon looks there either way."""
    folder = _folder(args)
    if not _NAME.fullmatch(args.id) or not (folder / f"{args.id}.bin").is_file():
        raise Failed("there is nothing set aside by that id", NOT_FOUND)
    kind = next((entry["kind"] for entry in _kept(folder) if entry["id"] == args.id), "event")
    if kind != "cdr":
        raise Failed("an event cannot be tried again: those behind it were taken in long ago")
    inbox = folder.parent / "cdr-inbox"
    try:
        inbox.mkdir(mode=0o700, exist_ok=True)
        (folder / f"{args.id}.bin").rename(inbox / f"{args.id}.json")
        (folder / f"{args.id}.json").unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"{inbox}: cannot be written ({error.strerror})") from None
    say(f"callengine: {args.id} is in {inbox}, where the daemon takes it in")
    return OK
