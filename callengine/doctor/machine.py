"""Room on the disks."""

from __future__ import annotations

import shutil
from typing import Final

from callengine.doctor.finding import Findings, fail, ok, warn
from callengine.doctor.patient import Patient

FAIL_BYTES: Final = 128 << 20
"""Below 64 MiB the spool is not written any more."""
WARN_BYTES: Final = 2 << 30
WARN_SHARE: Final = 0.05


def disk(patient: Patient) -> Findings:
    """Of the database and the spool, of recordings, of CDRs; each file system once."""
    settings = patient.settings
    folders = {
        settings.state.directory: "state.directory",
        **dict.fromkeys(settings.recordings.directories, "recordings.directories"),
        **dict.fromkeys(settings.cdr.directories, "cdr.directories"),
    }
    seen: dict[int, str] = {}
    bad = False
    for folder, setting in folders.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if (device := there.stat().st_dev) in seen:
            continue
        usage = shutil.disk_usage(there)
        seen[device] = f"{_size(usage.free)} free for {folder}"
        remedy = f"make room, or move {setting}: df -h {there}"
        if usage.free < FAIL_BYTES:
            bad = True
            yield fail("disk", f"{_size(usage.free)} are left where {folder} lies", remedy)
        elif usage.free < WARN_BYTES and usage.free < WARN_SHARE * usage.total:
            bad = True
            yield warn("disk", f"{_size(usage.free)} of {_size(usage.total)} are left where {folder} lies", remedy)
    if not bad:
        yield ok("disk", "; ".join(seen.values()))


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
