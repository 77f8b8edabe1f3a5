"""What mod_json_cdr says of calls: the ground truth to compare what the API shows with (``callengine.cdr``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from callengine.calls.facts import LegReported
from callengine.cdr.audit import facts_in
from callengine.cdr.comparing import compare, is_call
from callengine.cdr.reading import CdrReader


def read(directory: Path) -> dict[str, LegReported]:
    """Every leg's CDR, by channel UUID."""
    return facts_in(directory, CdrReader())


def differences(
    calls: Iterable[Mapping[str, Any]],
    cdrs: Mapping[str, LegReported],
    without_channel: Mapping[str, str | None] | None = None,
) -> list[str]:
    """Every disagreement, one line each. ``without_channel``: cause by UUID of calls that only their job told of."""
    told = {c["fs_uuid"]: c for c in calls}
    jobs = without_channel or {}
    roots = {uuid: cdr for uuid, cdr in cdrs.items() if uuid in told or is_call(cdr, cdrs.get)}
    lines = [f"{uuid}: in the CDRs, not in the book" for uuid in roots.keys() - told.keys()]
    lines += [f"{uuid}: in the book, not in the CDRs" for uuid in told.keys() - roots.keys() - jobs.keys()]
    for uuid, cdr in roots.items():
        if uuid in told:
            lines += [
                f"{uuid}: {found.field} is {found.ours!r}, the CDR says {found.theirs!r}"
                for found in compare(told[uuid], cdr, cdrs.get)
            ]
    for uuid, cause in jobs.items():
        call = told.get(uuid)
        if call is None:
            lines.append(f"{uuid}: its job failed, and it is not in the book")
        elif (call["status"], call["hangup_cause"]) != ("failed", cause):
            lines.append(f"{uuid}: {call['status']} {call['hangup_cause']}, its job says {cause}")
    return lines
