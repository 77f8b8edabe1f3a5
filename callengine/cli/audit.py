"""``callengine audit``: our calls against the switch's CDRs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callengine.cli.exits import FAILED, OK, UNAVAILABLE, Failed
from callengine.cli.opened import existing
from callengine.cli.output import clean, print_json, say
from callengine.cli.parser import Commands, config_option, instant, json_option
from callengine.cli.progress import Progress
from callengine.cli.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.cdr.audit import Audited
    from callengine.config.settings import Settings
    from callengine.store.database import Store

_READ_S = 10.0
_NAMED = 20


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "audit",
        _run,
        "compare the calls with FreeSWITCH's CDRs",
        "Holds every call against the record that mod_json_cdr wrote of its channel. Missing: a record, and no call. "
        "Extra: a call that ended, and no record, within the time that the records cover. Different: a field of which "
        "the two say different things. Changes nothing.\n\n"
        "Exit code 0 only if there is none of these, and every record can be read. What ends at this moment may have "
        "its record and not its row yet: --until leaves it out.",
        [
            "callengine audit --since 2026-11-21 --until 2026-11-22",
            "callengine audit --cdr /var/log/freeswitch/json_cdr --json | jq .different",
        ],
    )
    parser.add_argument(
        "--cdr",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="where the records are; may be repeated (default: cdr.directories)",
    )
    parser.add_argument("--since", type=instant, metavar="TIME", help="calls that ended then or later: 2026-11-22")
    parser.add_argument("--until", type=instant, metavar="TIME", help="before then; without an offset it is UTC")
    parser.add_argument(
        "--node",
        metavar="NAME",
        help="the switch, by a name that calls have (default: switch.name, else the switchname in the records)",
    )
    config_option(parser)
    json_option(parser)


def _run(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    folders: Sequence[Path] = args.cdr or settings.cdr.directories
    if not folders:
        args.parser.error("name a folder with --cdr: cdr.directories is empty")
    with existing(settings) as store:
        if args.node:
            _check_node(args, store)
        found = _audit(args, settings, store, folders)
    if args.json:
        print_json(_shown(found))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(found))
    say(
        f"callengine: {found.records} records, {found.compared} calls compared: {found.missing_count} missing,"
        f" {found.extra_count} extra, {found.different_count} different, {len(found.unreadable)} records unreadable"
    )
    return OK if found.clean else FAILED


def _check_node(args: argparse.Namespace, store: Store) -> None:
    """A name that no call has is a mistake: else every record would be told as missing."""
    from callengine.store.cdrs import nodes

    there = store.run(nodes, _READ_S)
    if args.node not in there:
        more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
        known = f"there are: {', '.join(there[:_NAMED])}{more}" if there else "there are no calls"
        args.parser.error(f"argument --node: no call has the node {args.node!r}; {known}")


def _audit(args: argparse.Namespace, settings: Settings, store: Store, folders: Sequence[Path]) -> Audited:
    from callengine.calls.facts import MAX_US
    from callengine.cdr.audit import Audit
    from callengine.cdr.reading import CdrReader
    from callengine.variables import variables_of

    try:
        audit = Audit(
            store,
            CdrReader(variables_of(settings.tracking)),
            folders,
            args.since or 0,
            args.until or MAX_US,
            node=args.node or settings.switch.name or None,
            switchname=settings.cdr.switchname,
            others=not settings.tracking.own_only,
            max_bytes=settings.cdr.max_bytes,
        )
        with Progress("auditing", "records") as progress:
            for _ in audit.steps():
                progress.at(audit.found.records)
        return audit.found
    except OSError as error:
        raise Failed(f"{error.filename}: cannot be read ({error.strerror})", UNAVAILABLE) from None


def _shown(found: Audited) -> dict[str, Any]:
    from callengine.calls.view import iso

    return {
        "records": found.records,
        "compared": found.compared,
        "from": iso(found.from_us),
        "to": iso(found.to_us),
        "missing": found.missing,
        "extra": found.extra,
        "different": [each._asdict() for each in found.different],
        "unreadable": found.unreadable,
    }


def _lines(found: Audited) -> list[str]:
    lines = [f"missing    {clean(uuid)}" for uuid in found.missing]
    lines += [f"extra      {clean(uuid)}" for uuid in found.extra]
    lines += [
        f"different  {clean(each.fs_uuid)}  {each.field}: ours {clean(each.ours)}, the CDR's {clean(each.theirs)}"
        for each in found.different
    ]
    return lines + [f"unreadable {clean(name)}" for name in found.unreadable]
