"""What could not be handled, set aside with its bytes and the reason: nothing is lost, the next goes on.

A *shelf* is a folder in which each thing has three files at most: its bytes, a note (``.json``: kind, time, reason, and
what else is known), and a mark (``.again``) that somebody wants it tried again, which the running daemon looks for. The
bytes stay where they are until they were handled: whatever is killed at whatever moment, nothing is lost or doubled.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
import orjson

from callengine.threads import Threads

log = logging.getLogger(__name__)

KINDS: Final = ("event", "cdr", "row", "segment", "recording", "job")
"""What can be set aside. The first three are files of the quarantine, segments are files of the spool, the last two
are rows of the database."""

_MAX_FILES: Final = 1000
_MAX_BYTES: Final = 256 << 20
_MAX_WAITING: Final = 100
_SHOWN_REASON: Final = 300
_MAX_NOTE_BYTES: Final = 64 << 10
_STALE_S: Final = 60.0
_LOOK_S: Final = 0.01
_NOTE, _MARK, _DRAFT = ".json", ".again", ".tmp"
_STEM: Final = re.compile(r"(?:(event|cdr|row)-)?[0-9]{1,20}(?:-[0-9a-f]{2,64})?")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on a shelf. ``at_s`` is our clock, None where its note cannot be read; ``again``: it is to be tried.

    ``node`` names the switch that it came from, ``call_id`` the call it is about, where that was known.
    """

    id: str
    kind: str
    at_s: float | None = None
    bytes: int
    reason: str | None = None
    node: str = ""
    call_id: str | None = None
    again: bool = False


class Shelf:
    """A folder of things set aside, each in a file that ends in ``suffix``. All of it blocks: for a thread, a command.

    ``prefix`` stands before the file's stem in an ``Entry.id``. Nothing here trusts an id: it may name nothing else.
    """

    def __init__(self, directory: Path, *, suffix: str, kind: str, prefix: str = "") -> None:
        self.directory = directory
        self._suffix, self._kind, self._prefix = suffix, kind, prefix

    def entries(self) -> list[Entry]:
        """All that is there, the oldest first. A folder that was never made is empty. Raises OSError."""
        found = (self._entry(stem, size, again) for stem, size, again in self._files())
        return sorted(found, key=lambda entry: (entry.at_s or 0.0, entry.id))

    def marked(self) -> list[Entry]:
        """Those that are to be tried again, the oldest first. Raises OSError."""
        found = (self._entry(stem, size, again) for stem, size, again in self._files() if again)
        return sorted(found, key=lambda entry: (entry.at_s or 0.0, entry.id))

    def find(self, id: str) -> Entry | None:  # noqa: A002  the operator's own word
        """The one of that id; None where there is none. Raises OSError."""
        path = self.path(id)
        if path is None:
            return None
        try:
            size = path.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return None
        return self._entry(path.stem, size, path.with_suffix(_MARK).exists())

    def read(self, id: str) -> bytes:  # noqa: A002
        """Its bytes. Raises OSError, FileNotFoundError where there is none of that id."""
        path = self.path(id)
        if path is None:
            raise FileNotFoundError(id)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return file.read()

    def mark(self, id: str) -> None:  # noqa: A002
        """Have it tried again. Raises OSError."""
        if (path := self.path(id)) is not None:
            path.with_suffix(_MARK).touch(mode=0o600)

    def refuse(self, entry: Entry, reason: str) -> None:
        """It was tried again, in vain: it stays, with the reason of this time. Raises OSError."""
        if (path := self.path(entry.id)) is not None:
            known = self._note(path.stem)
            self._put(path.with_suffix(_NOTE), _encoded({**known, **_told(entry), "reason": reason}))
            path.with_suffix(_MARK).unlink(missing_ok=True)

    def remove(self, id: str) -> bool:  # noqa: A002
        """Delete it, the bytes first. False where there was none of that id. Raises OSError."""
        path = self.path(id)
        if path is None:
            return False
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        finally:
            for suffix in (_MARK, _NOTE):
                path.with_suffix(suffix).unlink(missing_ok=True)
        return True

    def annotate(self, stem: str, note: Mapping[str, Any]) -> None:
        """Write down why what is (or is about to be) there was set aside. Never raises: the bytes count."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._put(self.directory / (stem + _NOTE), _encoded(note))
        except OSError as error:
            log.error("why %s is set aside could not be written down: %s", stem, error.strerror)

    def path(self, id: str) -> Path | None:  # noqa: A002
        """Where the bytes of that id lie, or would lie; None where it is no id of this shelf."""
        stem = id.removeprefix(self._prefix)
        if not id.startswith(self._prefix) or not _STEM.fullmatch(stem):
            return None
        return self.directory / (stem + self._suffix)

    def counts(self) -> dict[str, int]:
        """How many there are, by kind; what the names do not tell counts as ``event``. Raises OSError."""
        found: dict[str, int] = {}
        for stem, _, _ in self._files():
            kind = self._kind_of(stem)
            found[kind] = found.get(kind, 0) + 1
        return found

    def _files(self) -> list[tuple[str, int, bool]]:
        """Stem, size, and whether it is marked, of each. Only regular files: a link leads elsewhere."""
        try:
            with os.scandir(self.directory) as entries:
                files = {e.name: e for e in entries if not e.name.startswith(".")}
        except FileNotFoundError:
            return []
        found = []
        for name, entry in files.items():
            stem = name.removesuffix(self._suffix)
            if stem == name or not _STEM.fullmatch(stem) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError):  # the daemon, or a command, was quicker
                found.append((stem, entry.stat(follow_symlinks=False).st_size, stem + _MARK in files))
        return found

    def _kind_of(self, stem: str) -> str:
        named = _STEM.fullmatch(stem)
        return (named and named[1]) or self._kind

    def _entry(self, stem: str, size: int, again: bool) -> Entry:
        note = self._note(stem)
        at, kind = note.get("at"), note.get("kind")
        return Entry(
            id=self._prefix + stem,
            kind=kind if kind in KINDS else self._kind_of(stem),
            at_s=float(at) if isinstance(at, int | float) else None,
            bytes=size,
            reason=_text(note.get("reason")),
            node=_text(note.get("node")) or "",
            call_id=_text(note.get("call_id")),
            again=again,
        )

    def _note(self, stem: str) -> dict[str, Any]:
        """What was written down of it; empty where that is missing, or was cut off."""
        try:
            with (self.directory / (stem + _NOTE)).open("rb") as file:
                note = orjson.loads(file.read(_MAX_NOTE_BYTES))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _put(self, path: Path, content: bytes) -> None:
        """Under its name it is whole, or not there. Raises OSError."""
        draft = path.with_name(f".{path.name}{_DRAFT}")
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise


class Quarantine(Shelf):
    """The folder of events, CDRs and refused rows.

    Bounded in files and bytes, where the oldest stay: what comes beyond is still counted (the metric
    ``callengine_poison``), and logged; ``lost`` counts what could not be kept.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, suffix=".bin", kind="event")
        self.lost = 0
        self._waiting: deque[tuple[bytes, str, str, float, dict[str, str]]] = deque()
        self._threads: Threads | None = None
        self._writing = False

    def keep(self, body: bytes, reason: str, kind: str = "event", **known: str) -> None:
        """Set something aside, from the hub: a thread writes it. Never waits or raises. ``known``: as of ``Entry``."""
        log.error("%s of %d bytes is set aside: %s", _A[kind], len(body), reason[:_SHOWN_REASON])
        if len(self._waiting) >= _MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append((body, reason, kind, time.time(), known))
        self._next()

    def close(self, timeout_s: float) -> None:
        """Let what waits be written, for so long; then its thread ends."""
        until = time.monotonic() + timeout_s
        while (self._waiting or self._writing) and time.monotonic() < until:
            gevent.sleep(_LOOK_S)
        self._waiting.clear()
        if self._threads is not None:
            self._threads.kill()
            self._threads = None

    def _next(self) -> None:
        """One at a time, in a thread of our own: to hand something to a pool that is busy would be to wait for it."""
        if self._writing or not self._waiting:
            return
        self._writing = True
        if self._threads is None:
            self._threads = Threads(1)
        self._threads.spawn(self._keep, *self._waiting.popleft()).rawlink(lambda _: self._written())

    def _written(self) -> None:
        self._writing = False
        self._next()

    def _keep(self, body: bytes, reason: str, kind: str, at_s: float, known: Mapping[str, str]) -> None:
        self.write(body, reason, kind, at_s, **known)

    def write(self, body: bytes, reason: str, kind: str, at_s: float, **known: str) -> bool:
        """Set something aside, in a native thread: blocks. False where there is no room, or the disk refuses.

        What lies there already, byte for byte, is not kept twice.
        """
        digest = hashlib.blake2b(body, digest_size=6).hexdigest()
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = self._files()
            if any(self._is_same(stem, size, kind, digest, body) for stem, size, _ in files):
                return True
            if len(files) >= _MAX_FILES or sum(size for _, size, _ in files) + len(body) > _MAX_BYTES:
                return self._lose("it is full")
            path = self.directory / f"{kind}-{int(at_s * 1000)}-{digest}.bin"
            # The note first: what is listed is the bytes, and those have it from their first moment.
            note = {"kind": kind, "at": at_s, "reason": reason, "bytes": len(body), **known}
            self._put(path.with_suffix(_NOTE), _encoded(note))
            try:
                self._put(path, body)
            except OSError:
                path.with_suffix(_NOTE).unlink(missing_ok=True)
                raise
        except OSError as error:
            return self._lose(error.strerror or type(error).__name__)
        return True

    def _is_same(self, stem: str, size: int, kind: str, digest: str, body: bytes) -> bool:
        if size != len(body) or not stem.endswith(digest) or self._kind_of(stem) != kind:
            return False
        with suppress(OSError):
            return (self.directory / f"{stem}.bin").read_bytes() == body
        return False

    def _lose(self, reason: str) -> bool:
        self.lost += 1
        log.error("what cannot be handled could not be set aside in %s: %s", self.directory, reason)
        return False

    def tidy(self, now_s: Callable[[], float] = time.time) -> None:
        """Remove what was never finished: drafts, and notes and marks of nothing. Blocks; never raises."""
        try:
            with os.scandir(self.directory) as entries:
                files = {entry.name: entry for entry in entries}
            for name, entry in files.items():
                stem = name.removesuffix(_NOTE).removesuffix(_MARK)
                alone = stem != name and f"{stem}.bin" not in files
                if (alone or name.endswith(_DRAFT)) and now_s() - entry.stat().st_mtime > _STALE_S:
                    os.unlink(entry.path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s could not be tidied up: %s", self.directory, error.strerror)


def segments_aside(spool: Path) -> Shelf:
    """The segments of the spool that were set aside, see ``spool.replay``; ``spool`` is its folder."""
    return Shelf(spool / "aside", suffix=".spool", kind="segment", prefix="segment-")


_A: Final = {"event": "an event", "cdr": "a CDR", "row": "the row of a call"}


def _told(entry: Entry) -> dict[str, Any]:
    """What is known of an entry, for its note: also where that could not be read."""
    known = {"kind": entry.kind, "bytes": entry.bytes}
    return known if entry.at_s is None else {**known, "at": entry.at_s}


def _encoded(note: Mapping[str, Any]) -> bytes:
    text = str(note.get("reason", ""))[:_SHOWN_REASON]
    return orjson.dumps({**note, "reason": text.encode("utf-8", "replace").decode()})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
