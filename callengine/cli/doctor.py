"""``callengine doctor``."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from callengine.cli.exits import CONFIGURATION, DOUBTFUL, FAILED, OK
from callengine.cli.output import clean, print_json, say
from callengine.cli.parser import Commands, config_option, json_option
from callengine.cli.settings import load_settings

if TYPE_CHECKING:
    from callengine.doctor.finding import Finding


def register(commands: Commands) -> None:
    """Declares it."""
    parser = commands.add(
        "doctor",
        _run,
        "look at the live system: what is wrong, and what to type",
        "Looks at the settings, FreeSWITCH's event socket, its events, version, clock and gateways, the state "
        "directory, the database, the lease of the switch, the daemon and its port, CDRs, recordings, disks, Gemini's "
        "key and model, and the webhooks' endpoints. Each look is a line: ok, warn (it works, and is probably not "
        "meant), fail (it does not work), or skip (something else is in the way); below it what to type. Nothing is "
        "changed, no call is placed, no event is sent, and each look has its bound.\n\n"
        "Run it as the user that the daemon runs as, since it looks with its own rights; the `callengine` that "
        "install.sh puts into /usr/local/bin does so for root.\n\n"
        "Exit code 0: all is ok. 1: something fails. 5: nothing fails, something is doubtful. 78: the settings cannot "
        "be used.",
        [
            "callengine doctor",
            "callengine doctor --json | jq '.findings[] | select(.level == \"fail\")'",
        ],
    )
    config_option(parser)
    json_option(parser)


def _run(args: argparse.Namespace) -> int:
    import callengine.patched  # noqa: F401
    from callengine.config.settings import find_file
    from callengine.doctor.patient import Patient
    from callengine.doctor.visit import visit
    from callengine.errors import ConfigurationError

    file = find_file(args.config, os.environ)
    try:
        settings = load_settings(args)
    except ConfigurationError as error:
        from callengine.doctor.finding import fail

        return _told(args, [fail("settings", problem, "") for problem in error.problems], CONFIGURATION)
    patient = Patient(settings, str(file) if file is not None else "no file, the defaults")
    return _told(args, visit(patient))


def _told(args: argparse.Namespace, findings: Iterable[Finding], code: int | None = None) -> int:
    """Each as it comes, or all as one JSON; and the exit code that they make, if none is given."""
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        if not args.json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()
    counts = Counter(finding.level.value for finding in found)
    worst = FAILED if counts["fail"] else DOUBTFUL if counts["warn"] else OK
    if args.json:
        print_json({"findings": [asdict(finding) for finding in found], "counts": dict(counts)})
    else:
        say(f"callengine: {', '.join(f'{counts[level]} {level}' for level in ('ok', 'warn', 'fail', 'skip'))}")
    return worst if code is None else code


def _line(finding: Finding) -> str:
    line = f"{finding.level:<5}{finding.check:<13}{clean(finding.text)}\n"
    return line + (f"{'':18}→ {clean(finding.remedy)}\n" if finding.remedy else "")
