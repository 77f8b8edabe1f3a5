"""Whether any version in requirements.lock is known to be vulnerable: pip-audit against PyPI's advisories.

``make audit`` and ``make check`` run it. Where the advisories cannot be had, on a machine without a network or behind a
mirror without them, it says so in one line and lets the check go on. A finding fails it, unless pyproject.toml accepts
it with a reason and a date::

    [tool.callengine.audit]
    accepted = [{ id = "PYSEC-2026-1", reason = "we never call it", until = 2026-12-31 }]
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from packaging.version import Version
from pip_audit._service import PyPIService, ResolvedDependency, ServiceError

ROOT = Path(__file__).resolve().parent.parent
PROBE = ("pip", "24.0")
REACH_S = 4
SOCKET_S = 5
WHOLE_S = 60.0


class NoAdvisories(Exception):
    """They cannot be had at the moment, for reasons outside of this repository."""


class BrokenAudit(Exception):
    """The audit itself does not work: pip-audit, the lock, or what is accepted."""


@dataclass(frozen=True)
class Accepted:
    """A finding that we live with until a day."""

    id: str
    reason: str
    until: datetime.date


def accepted(project: Path) -> list[Accepted]:
    """What pyproject.toml accepts. Raises ``BrokenAudit``."""
    entries = tomllib.loads(project.read_text()).get("tool", {}).get("callengine", {}).get("audit", {})
    found = []
    for entry in entries.get("accepted", []):
        one = Accepted(str(entry.get("id", "")), str(entry.get("reason", "")).strip(), entry.get("until"))
        if not one.id or not one.reason or type(one.until) is not datetime.date:
            raise BrokenAudit(f"tool.callengine.audit.accepted: id, reason and until (a date) are needed: {entry}")
        found.append(one)
    return found


def reach() -> None:
    """Raises ``NoAdvisories``, within seconds: pip-audit would take its time, and take a 404 for "nothing known"."""
    probe = ResolvedDependency(PROBE[0], Version(PROBE[1]))
    with tempfile.TemporaryDirectory() as nothing_cached:
        try:
            found, _ = PyPIService(cache_dir=Path(nothing_cached), timeout=REACH_S).query(probe)
        except (ServiceError, requests.RequestException, ValueError) as error:
            raise NoAdvisories(f"the service cannot be asked ({type(error.__cause__ or error).__name__})") from None
    if found.is_skipped():
        raise NoAdvisories(f"the service does not know {' '.join(PROBE)}, so it has none")


def report(lock: Path) -> list[dict[str, Any]]:
    """pip-audit's, by dependency. Nothing is installed or resolved for it: the lock has every version."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(lock)),
            *("--format", "json", "--output", str(written)),
            *("--progress-spinner", "off", "--timeout", str(SOCKET_S), "--cache-dir", str(Path(sys.prefix, ".audit"))),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=WHOLE_S)
        except subprocess.TimeoutExpired:
            raise NoAdvisories(f"not all of them came within {WHOLE_S:g} s") from None
        if not written.exists() or not written.stat().st_size:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            lost = "ConnectionError" in done.stderr or "Timeout" in done.stderr or "ServiceError" in done.stderr
            raise (NoAdvisories if lost else BrokenAudit)(last[:200])
        return list(json.loads(written.read_text())["dependencies"])


def findings(dependencies: list[dict[str, Any]], allowed: list[Accepted], today: datetime.date) -> list[str]:
    """What is known and not accepted, or no longer, a line each."""
    lines = []
    for dependency in dependencies:
        for known in dependency.get("vulns", []):
            names = {known["id"], *known.get("aliases", [])}
            matching = [one for one in allowed if one.id in names]
            if any(today <= one.until for one in matching):
                continue
            expired = "".join(f"; accepted until {one.until}" for one in matching)
            fixed = ", ".join(known.get("fix_versions", [])) or "nothing yet"
            lines.append(f"{dependency['name']} {dependency['version']}: {known['id']} (fixed in: {fixed}{expired})")
    return lines


def main(lock: Path, project: Path) -> int:
    """The exit code: 1 where something was found, or nothing can be."""
    try:
        allowed = accepted(project)
        reach()
        dependencies = report(lock)
    except NoAdvisories as error:
        sys.stdout.write(f"audit: skipped, no advisories from here: {error}\n")
        return 0
    except BrokenAudit as error:
        sys.stdout.write(f"audit: broken: {error}\n")
        return 1
    found = findings(dependencies, allowed, datetime.datetime.now(datetime.UTC).date())
    for line in found:
        sys.stdout.write(f"audit: {line}\n")
    skipped = sum("skip_reason" in dependency for dependency in dependencies)
    unknown = f", {skipped} of them unknown to PyPI" if skipped else ""
    sys.stdout.write(f"audit: {len(dependencies)} packages{unknown}, {len(found)} findings\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(ROOT / "requirements.lock", ROOT / "pyproject.toml"))
