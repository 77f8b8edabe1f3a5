"""The state directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from callengine.doctor import access
from callengine.doctor.finding import Findings, fail, ok, warn
from callengine.doctor.patient import Patient


def state(patient: Patient) -> Findings:
    """Whether it is ours, and nobody else's."""
    folder = patient.settings.state.directory
    user = access.us()
    try:
        status = folder.stat()
    except FileNotFoundError:
        above = next(parent for parent in folder.parents if parent.exists())
        if access.may(above, os.W_OK | os.X_OK):
            yield ok("state", f"{folder} is not there yet: callengine run makes it")
        else:
            yield fail("state", f"{folder} is not there, and {user} cannot make it", _made(folder, user))
        return
    except OSError as error:
        yield fail("state", f"{folder}: {error.strerror}", "set state.directory")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield fail("state", f"{folder} is no directory", "set state.directory")
    elif not access.may(folder, os.R_OK | os.W_OK | os.X_OK):
        owner = access.name_of(status.st_uid)
        yield fail("state", f"{user} cannot write in {folder}, which is {owner}'s", _owned(folder, user))
    elif foreign := _foreign(folder):
        text = f"{foreign} is not {user}'s: the daemon cannot write it (was callengine run as another user?)"
        yield fail("state", text, _owned(folder, user))
    elif status.st_mode & stat.S_IRWXO:
        yield warn("state", f"everybody can look into {folder}, where the calls are", f"chmod 750 {folder}")
    else:
        yield ok("state", f"{folder} is {user}'s")


def _made(folder: Path, user: str) -> str:
    return f"install -d -o {user} -m 750 {folder}; or set state.directory"


def _owned(folder: Path, user: str) -> str:
    return f"chown -R {user} {folder}"


def _foreign(folder: Path) -> str | None:
    """A file there, or in the folders right below, that we cannot write."""
    try:
        for entry in [*folder.iterdir(), *folder.glob("*/*")]:
            if entry.exists() and not access.may(entry, os.W_OK):
                return str(entry)
    except OSError as error:
        return str(error.filename)
    return None
