"""What is answered 200 is on the disk, and what does not fit is refused at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.cdr import inbox as inboxes
from callengine.cdr.inbox import Inbox


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    made = Inbox(tmp_path / "inbox", max_files=3, max_bytes=100, timeout_s=0.3)
    made.prepare()
    yield made
    made.close()


def kept(inbox: Inbox) -> list[bytes]:
    return sorted(path.read_bytes() for path in inbox.directory.iterdir())


def test_kept_before_it_is_answered(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(inboxes.os, "fsync", noted)
    assert inbox.put(b"one")
    assert kept(inbox) == [b"one"]
    assert [path.endswith(".tmp") for path in synced] == [True, False]
    (path,) = inbox.directory.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert inbox.directory.stat().st_mode & 0o777 == 0o700


def test_bounded_in_files_and_bytes(inbox: Inbox) -> None:
    assert not inbox.put(b"x" * 101)
    assert inbox.put(b"x" * 60)
    assert not inbox.put(b"x" * 41)
    assert inbox.put(b"x" * 40)
    inbox.taken(60)
    inbox.taken(40)
    for _ in range(3):
        assert inbox.put(b"x")
    assert not inbox.put(b"x")
    assert (inbox.files, inbox.bytes, inbox.refused) == (3, 3, 3)


def test_what_waits_from_before_counts(inbox: Inbox, tmp_path: Path) -> None:
    for n in range(3):
        inbox.put(b"%d" % n)
    other = Inbox(tmp_path / "inbox", max_files=3, max_bytes=100)
    other.prepare()
    assert (other.files, other.bytes) == (3, 3)
    assert not other.put(b"x")
    other.close()


def test_a_disk_that_refuses(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inboxes.os, "fsync", full)
    assert not inbox.put(b"x")
    assert kept(inbox) == []
    assert (inbox.files, inbox.bytes) == (0, 0)


def test_a_disk_that_hangs_holds_nobody_up(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_max_files", 100)
    released = threading.Event()
    sleep: Any = gevent.monkey.get_original("time", "sleep")

    def hang(descriptor: int) -> None:
        while not released.is_set():
            sleep(0.005)

    monkeypatch.setattr(inboxes.os, "fsync", hang)
    began = time.monotonic()
    answers = gevent.joinall([gevent.spawn(inbox.put, b"x") for _ in range(20)], timeout=5)
    assert [greenlet.value for greenlet in answers] == [False] * 20
    assert time.monotonic() - began < 2
    released.set()
    with gevent.Timeout(5):
        while inbox.files != len(list(inbox.directory.iterdir())) or inbox._writing:
            gevent.sleep(0.01)
    # What came through after all is there to be taken in; the switch has it elsewhere as well.
    assert inbox.files == 8
    monkeypatch.undo()
    inbox.taken(8)
    inbox.files = 0
    assert inbox.put(b"y")


def test_the_hub_goes_on_meanwhile(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep: Any = gevent.monkey.get_original("time", "sleep")
    monkeypatch.setattr(inboxes.os, "fsync", lambda descriptor: sleep(0.05))
    ticks: list[float] = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.002)

    ticking = gevent.spawn(tick)
    assert inbox.put(b"x")
    ticking.kill()
    assert len(ticks) > 10
