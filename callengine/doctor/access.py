"""What our user, and the switch's, may do with a folder. Only looked at: nothing is written to find out."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path
from typing import Final, NamedTuple

_NAME: Final = "freeswitch"


def may(path: Path, mode: int) -> bool:
    """Whether the user that we act as may do that (``os.R_OK`` and so on)."""
    return os.access(path, mode, effective_ids=True)


def us() -> str:
    """The name of the user that we act as."""
    return name_of(os.geteuid())


def name_of(uid: int) -> str:
    """A user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Process(NamedTuple):
    """A process on this machine: whose it is, and its groups."""

    pid: int
    uid: int
    groups: frozenset[int]

    def may_write_in(self, folder: Path) -> bool:
        """By the folder's mode; access control lists beyond that are not looked at."""
        status = folder.stat()
        if self.uid == 0:
            return True
        wanted = stat.S_IWOTH | stat.S_IXOTH
        if status.st_uid == self.uid:
            wanted = stat.S_IWUSR | stat.S_IXUSR
        elif status.st_gid in self.groups:
            wanted = stat.S_IWGRP | stat.S_IXGRP
        return status.st_mode & wanted == wanted


def switch_process(run_dir: str) -> Process | None:
    """FreeSWITCH's, by the pid file in its ``run_dir``, else by its name; None where this machine shows none."""
    try:
        named = int((Path(run_dir) / f"{_NAME}.pid").read_text().strip()) if run_dir else 0
    except (OSError, ValueError):
        named = 0
    if named and (found := process(named)) is not None:
        return found
    for entry in Path("/proc").glob("[0-9]*/comm"):
        try:
            if entry.read_text().strip() == _NAME and (found := process(int(entry.parent.name))) is not None:
                return found
        except OSError:
            continue
    return None


def process(pid: int) -> Process | None:
    """What /proc says of it (proc(5), status); None where there is no such process, or we may not see it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(re.findall(r"^(Uid|Gid|Groups):[ \t]*(.*)$", text, re.MULTILINE))
    groups = {int(fields["Gid"].split()[3]), *map(int, fields.get("Groups", "").split())}
    return Process(pid, int(fields["Uid"].split()[3]), frozenset(groups))
