"""What the switch writes and we read: CDRs and recordings."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from callengine.doctor import access
from callengine.doctor.finding import Finding, Findings, fail, ok, warn
from callengine.doctor.patient import Patient
from callengine.errors import EslError

_GROUP_REMEDY: Final = (
    "give callengine FreeSWITCH's group (SupplementaryGroups=freeswitch in systemctl edit callengine)"
)
_SAMPLE: Final = 20
_LISTED: Final = 20_000
_MAX_XML: Final = 1 << 20


# -- CDRs -------------------------------------------------------------------------------------------------------------


def cdr(patient: Patient) -> Findings:
    """Whether the switch writes them, where we read them, and that some have come."""
    settings = patient.settings.cdr
    posted = bool(settings.http_secret.get_secret_value())
    if not settings.directories and not posted:
        text = "none are read: what ends while nobody is connected gets no end time and no cause"
        yield warn("cdr", text, "load mod_json_cdr, and set cdr.directories (docs/cdr.md)")
        return
    found = [*_cdr_folders(patient), *_cdr_module(patient)]
    yield from found
    if not found:
        yield from _cdrs_come(patient)


def _cdr_folders(patient: Patient) -> Iterator[Finding]:
    for folder in patient.settings.cdr.directories:
        if (found := _unreadable("cdr", "cdr.directories", folder)) is not None:
            yield found
        elif patient.settings.cdr.after == "delete" and not access.may(folder, os.W_OK | os.X_OK):
            text = f"cdr.after is delete, and {access.us()} cannot delete in {folder}"
            yield fail("cdr", text, f"chmod g+w {folder}, and ReadWritePaths={folder} in systemctl edit callengine")
        elif (file := _unreadable_file(folder, "*.json")) is not None:
            yield fail("cdr", f"{access.us()} cannot read {file}", f"{_GROUP_REMEDY}; UMask=0027 in FreeSWITCH's unit")


def _cdr_module(patient: Patient) -> Iterator[Finding]:
    """What mod_json_cdr says of itself, as far as the switch shows it."""
    if patient.client is None:
        return
    if patient.api("module_exists mod_json_cdr") == "false":
        remedy = "fs_cli -x 'load mod_json_cdr', and load it in modules.conf.xml"
        yield fail("cdr", "FreeSWITCH has no mod_json_cdr loaded: no record is written", remedy)
        return
    given = _json_cdr(patient)
    if given is None:
        return
    settings = patient.settings.cdr
    written = [folder for name in ("log-dir", "err-log-dir") if (folder := _log_dir(patient, given.get(name)))]
    if settings.directories and given.get("log-dir") is not None and written[:1] and not _reads(patient, written[0]):
        text = f"mod_json_cdr writes to {written[0]}, which is not in cdr.directories"
        yield fail("cdr", text, f'add "{patient.ours(written[0])}" to cdr.directories')
    url, secret = given.get("url", ""), settings.http_secret.get_secret_value()
    if url.rstrip("/").endswith("/fs/cdr"):
        wanted = f"{settings.http_user}:{secret}"
        if not secret:
            text = "mod_json_cdr posts records, and cdr.http_secret is not set: they are answered 404"
            yield fail("cdr", text, "set cdr.http_secret to what follows the colon of cred in json_cdr.conf.xml")
        elif given.get("cred", "") != wanted:
            text = "user and password of mod_json_cdr (cred) are not cdr.http_user and cdr.http_secret"
            yield fail("cdr", text, "make them the same in json_cdr.conf.xml, then: fs_cli -x 'reload mod_json_cdr'")
    elif secret and not settings.directories:
        text = "cdr.http_secret is set, and mod_json_cdr posts nothing to /fs/cdr"
        yield warn("cdr", text, "set its url in json_cdr.conf.xml, or cdr.directories here")
    if given.get("rotate", "false") == "true" and settings.directories:
        text = "mod_json_cdr begins another folder at each HUP (rotate), and those below are not read"
        yield warn("cdr", text, "set rotate to false in json_cdr.conf.xml")


def _json_cdr(patient: Patient) -> dict[str, str] | None:
    """The settings of mod_json_cdr; None where the switch does not show them."""
    try:
        text = patient.api("xml_locate configuration configuration name json_cdr.conf")
        if not text.startswith("<") or len(text) > _MAX_XML or "<!" in text.replace("<!--", ""):
            return None
        root = ElementTree.fromstring(text)  # noqa: S314  without declarations it can expand nothing
    except (EslError, ElementTree.ParseError):
        return None
    return {param.get("name", ""): param.get("value", "") for param in root.iter("param")}


def _log_dir(patient: Patient, given: str | None) -> str:
    """The folder as the switch means it (mod_json_cdr.c, ``load_config``): relative ones lie in its log folder."""
    if given is None or given.startswith("/"):
        return given or ""
    log_dir = patient.variable("log_dir")
    return str(Path(log_dir) / (given or "json_cdr")) if log_dir else ""


def _reads(patient: Patient, theirs: str) -> bool:
    """Whether what the switch writes there is read; a link, or a name of another machine's, may lead to the same."""
    ours = patient.ours(theirs)
    for folder in patient.settings.cdr.directories:
        try:
            if folder == ours or folder.samefile(ours):
                return True
        except OSError:
            continue
    # What the switch names and this machine does not have is somebody's mount under another name.
    return not patient.is_local and not ours.exists()


def _cdrs_come(patient: Patient) -> Iterator[Finding]:
    folders = patient.settings.cdr.directories
    count = sum(1 for folder in folders for _ in _names(folder, ".json"))
    if not folders:
        yield ok("cdr", "they are posted to us, by the user and the password that we know")
    elif count == 0 and _calls_so_far(patient):
        text = (
            f"FreeSWITCH had {_calls_so_far(patient)} channels since its start, and no record lies in cdr.directories"
        )
        yield warn("cdr", text, "fs_cli -x 'reload mod_json_cdr', and see FreeSWITCH's log for it")
    else:
        yield ok("cdr", f"{count}{'+' if count >= _LISTED else ''} records in {', '.join(map(str, folders))}")


def _calls_so_far(patient: Patient) -> int:
    if patient.client is None:
        return 0
    found = re.search(r"^(\d+) session\(s\) since startup", patient.api("status"), re.MULTILINE)
    return int(found[1]) if found else 0


# -- recordings -------------------------------------------------------------------------------------------------------


def recordings(patient: Patient) -> Findings:
    """Whether we can read, and the switch can write, where recordings lie; and both mean the same folders."""
    settings = patient.settings.recordings
    if not settings.directories:
        yield ok("recordings", "recordings.directories is empty: none are read")
        return
    bad = False
    for folder in settings.directories:
        for found in _recordings_in(patient, folder):
            bad = True
            yield found
    for theirs in settings.path_map:
        if _sees(patient, theirs) is False:
            bad = True
            text = f"FreeSWITCH has no {theirs}, which recordings.path_map names as its"
            yield fail("recordings", text, "set the left side of recordings.path_map to the path in its dialplan")
    if not bad:
        yield ok("recordings", f"{', '.join(map(str, settings.directories))}: ours to read, the switch's to write")


def _recordings_in(patient: Patient, folder: Path) -> Iterator[Finding]:
    settings = patient.settings.recordings
    theirs = patient.theirs(folder)
    if (found := _unreadable("recordings", "recordings.directories", folder)) is not None:
        yield found
        return
    if (file := _unreadable_file(folder, "**/*")) is not None:
        yield fail(
            "recordings", f"{access.us()} cannot read {file}", f"{_GROUP_REMEDY}; UMask=0027 in FreeSWITCH's unit"
        )
    deletes = settings.keep_days or (settings.storage == "s3" and not settings.keep_local)
    if deletes and not access.may(folder, os.W_OK | os.X_OK):
        text = f"recordings are to be deleted after a while, and {access.us()} cannot delete in {folder}"
        yield fail("recordings", text, f"chmod g+w {folder}, and ReadWritePaths={folder} in systemctl edit callengine")
    # What path_map names is looked at by itself.
    if theirs == str(folder) and _sees(patient, theirs) is False:
        text = f"FreeSWITCH has no {theirs}"
        yield fail("recordings", text, "name its path for it: recordings.path_map, its path = ours")
        return
    writer = access.switch_process(patient.variable("run_dir")) if patient.is_local else None
    if writer is not None and not writer.may_write_in(folder):
        user = access.name_of(writer.uid)
        text = f"FreeSWITCH, which runs as {user}, cannot write in {folder}"
        yield fail("recordings", text, f"chown {user} {folder} && chmod u+rwx {folder}")


def _sees(patient: Patient, theirs: str) -> bool | None:
    """Whether the switch has that path; None where it does not say."""
    try:
        said = patient.api(f"file_exists {theirs}") if not re.search(r"\s", theirs) else ""
    except EslError:
        return None
    return {"true": True, "false": False}.get(said)


# -- both -------------------------------------------------------------------------------------------------------------


def _unreadable(check: str, setting: str, folder: Path) -> Finding | None:
    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except FileNotFoundError:
        return fail(
            check, f"{folder} is not there", f"set {setting} to where FreeSWITCH writes, or make it: mkdir -p {folder}"
        )
    except NotADirectoryError:
        return fail(check, f"{folder} is no directory", f"set {setting}")
    except PermissionError:
        return fail(check, f"{access.us()} cannot read {folder}", f"{_GROUP_REMEDY}; chmod g+rx {folder}")
    except OSError as error:
        return fail(check, f"{folder}: {error.strerror}", f"set {setting}")
    if not access.may(folder, os.R_OK | os.X_OK):
        return fail(check, f"{access.us()} cannot read {folder}", f"{_GROUP_REMEDY}; chmod g+rx {folder}")
    return None


def _unreadable_file(folder: Path, pattern: str) -> Path | None:
    """One of the newest files, or a folder, that we cannot read."""
    listed = (entry for entry, _ in zip(folder.glob(pattern), range(_LISTED), strict=False))
    newest = heapq.nlargest(_SAMPLE, listed, key=_changed)
    return next((entry for entry in newest if not access.may(entry, os.R_OK) and entry.exists()), None)


def _changed(entry: Path) -> float:
    try:
        return entry.lstat().st_mtime
    except OSError:
        return 0.0


def _names(folder: Path, ending: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(_LISTED), strict=False):
            if entry.name.endswith(ending):
                yield entry.name
