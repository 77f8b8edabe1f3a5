"""Files that come in every way a folder can have them, and posts: what is good is taken, the rest set aside."""

from __future__ import annotations

import atexit
import base64
import json
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import gevent
from flask import Flask
from pydantic import SecretStr

from callengine.cdr.audit import Audit
from callengine.cdr.inbox import Inbox
from callengine.cdr.reading import CdrReader
from callengine.config.sections import Database
from callengine.config.settings import Settings
from callengine.store.database import open_database
from tests.api import fakes
from tests.cdr import house
from tests.cdr.house import House
from tests.fuzz import records
from tests.fuzz.running import Parts

_MAX_BYTES: Final = 100_000
_STUCK_S: Final = 300.0
_SECRET: Final = "correct horse battery"
_STEPS: Final = (
    b"good half grow rename vanish swap symlink dangling directory fifo empty huge binary nul broken odd-name "
    b"over tick unreadable settle"
).split()


@contextmanager
def quiet() -> Iterator[list[str]]:
    """What is logged as a crash; the rest of the log is expected, and not shown."""
    crashes: list[str] = []

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info or "could not be applied" in record.getMessage():
                crashes.append(record.getMessage() + f": {record.exc_info[1]!r}" if record.exc_info else "")

    log, listener = logging.getLogger("callengine"), Listen()
    level, propagate = log.level, log.propagate
    log.addHandler(listener)
    log.propagate = False
    try:
        yield crashes
    finally:
        log.removeHandler(listener)
        log.propagate, log.level = propagate, level


@cache
def _template() -> Path:
    """A migrated database that each case gets a copy of."""
    folder = Path(tempfile.mkdtemp(prefix="callengine-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _open(folder).close()
    return folder / "calls.db"


def _open(folder: Path) -> Any:
    return open_database(Database(url=SecretStr(f"sqlite:///{folder / 'calls.db'}")), folder)


@contextmanager
def a_house() -> Iterator[House]:
    """An engine's rooms, with an inbox, in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="callengine-fuzz-"))
    try:
        shutil.copy(_template(), folder / "calls.db")
        store = _open(folder)
        opened = House(store, folder, posted=True, max_bytes=_MAX_BYTES, since_days=3650)
        try:
            yield opened
        finally:
            opened.close()
            store.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Folders:
    """Half written, grown, renamed, gone, linked, no file at all: good records are rows, and nothing stays in hand."""

    name = "folders"
    share = 1

    def make(self, dice: random.Random) -> Parts:
        return tuple(dice.choice(_STEPS) for _ in range(dice.choice((3, 8, 16))))

    def check(self, parts: Parts, dice: random.Random) -> None:
        with quiet() as crashes, a_house() as rooms, gevent.Timeout(_STUCK_S):
            story = _Story(rooms, dice)
            for step in parts:
                if step in _STEPS:
                    story.do(step.decode())
            story.end()
            assert not crashes, crashes


class _Story:
    """What happens to a folder, one step after another."""

    def __init__(self, rooms: House, dice: random.Random) -> None:
        self.rooms, self.dice = rooms, dice
        self.good: set[str] = set()
        self.files: dict[Path, str] = {}
        self.half: dict[Path, tuple[str, bytes]] = {}
        self.number = 0

    def do(self, step: str) -> None:
        """One step."""
        self.number += 1
        getattr(self, f"_{step.replace('-', '_')}")(self.rooms.folder / f"{self.number}.cdr.json")

    def _record(self) -> tuple[str, bytes]:
        channel = house.uuid(self.number)
        return channel, house.cdr(channel, at=self.number)

    def _write(self, path: Path, body: bytes) -> None:
        path.write_bytes(body)
        self._date(path)

    def _date(self, path: Path) -> None:
        at_ns = self.rooms.now_us * 1000 - self.dice.choice((0, 1, 10**9, 200 * 10**9)) + self.number
        os.utime(path, ns=(at_ns, at_ns), follow_symlinks=False)

    def _good(self, path: Path) -> None:
        channel, body = self._record()
        self._write(path, body)
        self.good.add(channel)
        self.files[path] = channel

    def _half(self, path: Path) -> None:
        channel, body = self._record()
        cut = self.dice.randrange(len(body))
        self._write(path, body[:cut])
        self.half[path] = (channel, body)

    def _grow(self, path: Path) -> None:
        for known, (channel, body) in list(self.half.items()):
            if known.exists():
                self._write(known, body)
                self.good.add(channel)
                self.files[known] = channel
            del self.half[known]

    def _rename(self, path: Path) -> None:
        known = self._some_file()
        if known is not None:
            known.rename(path)
            self.files[path] = self.files.pop(known)

    def _some_file(self) -> Path | None:
        there = [known for known in self.files if known.exists()]
        return self.dice.choice(there) if there else None

    def _vanish(self, path: Path) -> None:
        """A file goes between the look and the read."""
        self._good(path)
        folder = self.rooms.intake._sources[0].folder if self.rooms.intake._sources else None
        if folder is not None:
            folder.look(1000)
            folder.put_back_all_but(())
        path.unlink()
        self.good.discard(self.files.pop(path))

    def _swap(self, path: Path) -> None:
        """A file becomes something else between the look and the read."""
        source = self.rooms.intake._sources[0] if self.rooms.intake._sources else None
        self._good(path)
        if source is None:
            return
        found = source.folder.look(1000)
        path.unlink()
        self.good.discard(self.files.pop(path))
        self.dice.choice((path.mkdir, lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path)))()
        for at in range(0, len(found), 256):
            self.rooms.intake._take(source, found[at : at + 256])

    def _symlink(self, path: Path) -> None:
        path.symlink_to(self.dice.choice(("/dev/zero", "/etc/passwd", ".", path.name)))

    def _dangling(self, path: Path) -> None:
        path.symlink_to("nowhere")

    def _directory(self, path: Path) -> None:
        path.mkdir()

    def _fifo(self, path: Path) -> None:
        os.mkfifo(path)

    def _empty(self, path: Path) -> None:
        self._write(path, b"")

    def _huge(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(self.dice.choice((_MAX_BYTES + 1, 1 << 30)))
        self._date(path)

    def _binary(self, path: Path) -> None:
        self._write(path, self.dice.randbytes(self.dice.choice((1, 100, 5000))))

    def _nul(self, path: Path) -> None:
        """A file system that lost its power leaves a file of the right length."""
        self._write(path, b"\0" * len(self._record()[1]))

    def _broken(self, path: Path) -> None:
        record = json.loads(self._record()[1])
        self._write(path, records.changed_record(record, self.dice)[:_MAX_BYTES])

    def _odd_name(self, path: Path) -> None:
        names = (
            b"\xff\xfe%d.cdr.json",
            b"a\n%d.json",
            b".hidden%d.json",
            b"x" * 240 + b"%d.json",
            b"%d.JSON",
            b"%d.json.tmp",
        )
        name = os.path.join(os.fsencode(path.parent), self.dice.choice(names) % self.number)
        channel, body = self._record()
        with open(name, "wb") as file:
            file.write(body)
        if name.endswith(b".json") and b"/.hidden" not in name:
            self.good.add(channel)

    def _over(self, path: Path) -> None:
        """Another record over a file of the same name."""
        known = self._some_file()
        if known is not None:
            self.rooms.settle()
            channel, body = self._record()
            self._write(known, body + b"\n" * self.number)
            self.good.add(channel)

    def _tick(self, path: Path) -> None:
        self.rooms.tick(self.dice.choice((0.5, 3.0, 40.0, 100.0)))

    def _unreadable(self, path: Path) -> None:
        self._good(path)
        path.chmod(0)
        self.rooms.settle()
        path.chmod(0o600)

    def _settle(self, path: Path) -> None:
        self.rooms.settle()

    def end(self) -> None:
        """All that can be taken is taken."""
        for _ in range(6):
            self.rooms.tick(35.0)
            self.rooms.settle()
        missing = self.good - self.rooms.rows(*self.good).keys()
        assert not missing, f"no row of {missing}"
        assert self.rooms.intake.files == 0, f"{self.rooms.intake.files} files are still in hand"
        for kept in self.rooms.set_aside():
            assert kept["reason"]
        audit = Audit(self.rooms.store, CdrReader(), [self.rooms.folder], 0, 2**60, node=house.NODE)
        for found in audit.run().different:
            assert found.fs_uuid not in self.good, found


class _OpenInbox:
    """The inbox of the house that is open now: making an application takes longer than a case."""

    inbox: Inbox

    def put(self, body: bytes) -> bool:
        return self.inbox.put(body)


_OPEN_INBOX: Final = _OpenInbox()


@cache
def _app() -> Flask:
    chosen = fakes.settings().model_dump() | {"cdr": {"http_secret": _SECRET, "max_bytes": _MAX_BYTES}}
    return fakes.app(fakes.World(), Settings.model_validate(chosen), cdr=_OPEN_INBOX, sleep=lambda seconds: None)


class Posts:
    """Whatever is posted is kept, refused with its reason, and set aside or taken once; the answer never breaks."""

    name = "posts"
    share = 1

    def make(self, dice: random.Random) -> Parts:
        return tuple(_post(dice, n) for n in range(1, dice.choice((3, 8))))

    def check(self, parts: Parts, dice: random.Random) -> None:
        with quiet() as crashes, a_house() as rooms, gevent.Timeout(_STUCK_S):
            kept = self._post_all(rooms, parts, dice)
            for _ in range(6):
                rooms.tick(35.0)
                rooms.settle()
            read = {fact.uuid: fact for body in kept if (fact := records.read(body)) is not None}
            as_it_was = [records.read(house.cdr(house.uuid(n), at=n)) for n in range(1, 8)]
            good = {fact.uuid for fact in as_it_was if fact is not None and read.get(fact.uuid) == fact}
            assert rooms.intake.files == 0, f"{rooms.intake.files} files are still in hand"
            left = [path.name for path in (rooms.tmp_path / "cdr-inbox").iterdir()]
            assert not left, f"{left} are left in the inbox"
            assert rooms.rows(*good).keys() == good
            assert not crashes, crashes

    def _post_all(self, rooms: House, parts: Parts, dice: random.Random) -> list[bytes]:
        assert isinstance(rooms.inbox, Inbox)
        _OPEN_INBOX.inbox = rooms.inbox
        client = _app().test_client()
        token = base64.b64encode(f"freeswitch:{_SECRET}".encode()).decode()
        kept = []
        for body in parts:
            kinds = (
                "application/json",
                "application/json",
                "application/x-www-form-urlencoded",
                "text/plain",
                "\xff",
                "",
            )
            headers = {"Authorization": f"Basic {token}", "Content-Type": dice.choice(kinds)}
            if dice.random() < 0.1:
                headers["Authorization"] = dice.choice(("Basic", "Basic \xff", f"basic {token}x", "Digest a", ""))
            answer = client.post(
                f"/fs/cdr?uuid={dice.choice(('x', '%00', '%ff', ''))}",
                data=body,
                headers=headers,
                environ_overrides={
                    "REMOTE_ADDR": f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}"
                },  # a brake on one address is for another test
            )
            assert answer.status_code in (200, 400, 401, 413, 415, 429, 503), answer.text
            assert _SECRET not in answer.text
            if answer.status_code == 200:
                kept.append(body)
            else:
                assert answer.content_type == "application/problem+json"
        return kept


def _somewhere(dice: random.Random) -> str:
    """An address of its own for each request: wrong passwords from one address are slowed down, as tested elsewhere."""
    return f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}"


def _post(dice: random.Random, number: int) -> bytes:
    record = json.loads(house.cdr(house.uuid(number), at=number))
    body = records.changed_record(record, dice) if dice.random() < 0.6 else json.dumps(record).encode()
    match dice.randrange(4):
        case 0:
            return b"cdr=" + "".join(f"%{byte:02X}" for byte in body).encode()
        case 1:
            return b"cdr=" + base64.b64encode(body)
        case 2:
            return dice.choice((b"", b" ", b"\0", b"cdr=", b"cdr=%7B", b"x" * (_MAX_BYTES + 1), body))
        case _:
            return body
