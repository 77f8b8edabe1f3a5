"""The files: when they go, what bounds them, and what happens where they cannot be written."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.calls.facts import CallQueued, CommandIssued, LegGone
from callengine.spool import frames, segments
from callengine.spool.segments import Spool
from tests.engine.test_tracker import whole_call
from tests.spool.lives import Kept, Life

KB = b"x" * 1000


class Rig:
    """A spool with a clock that stands still, and a writer of whom it is told what is committed."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.now_s = 100.0
        self.marks = 0
        self.committed_upto = -1
        options = {"max_bytes": 1 << 20, "segment_bytes": 4096, "reserve_bytes": 0} | options
        self.spool = Spool(folder, node="n1", clock=lambda: self.now_s, **options)
        self.spool.open()

    def keep(self, upto: int, *bodies: bytes) -> bool:
        return self.spool.keep(bodies or (KB,), upto) is not None

    def _mark(self) -> int:
        self.marks += 1
        return self.marks

    def tend(self, done: int, *, last: bool = False) -> None:
        worker = gevent.spawn(self.spool.tend, done, self._mark, lambda mark: mark <= self.committed_upto, last=last)
        worker.join(5)
        worker.get(block=False)


def on_disk(folder: Path) -> list[bytes]:
    """All events in all segments."""
    found = []
    for path in sorted(folder.glob("*.spool")):
        data = path.read_bytes()
        begun = frames.beginning_of(data)
        assert begun is not None
        assert frames.damage(data, begun[1], begun[0].seed) == 0
        found += [body for f in frames.frames(data, begun[1], begun[0].seed) for body in f.bodies]
    return found


def test_a_segment_goes_once_it_is_applied_and_committed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, linger_s=3.0)
    for number in range(1, 9):
        assert rig.keep(number)
    assert rig.spool.segments == 2
    rig.tend(3)
    assert (rig.spool.segments, rig.marks) == (2, 0)
    rig.tend(8)
    assert (rig.spool.segments, rig.marks) == (2, 1)  # applied, not committed; the other one is being written
    rig.committed_upto = 1
    rig.tend(8)
    assert rig.spool.segments == 2  # a fact may still wait in the book for what explains it
    rig.now_s += 3.0
    rig.tend(8)
    assert rig.spool.segments == 1
    rig.now_s += 5.0
    rig.tend(8)
    rig.now_s += 3.0
    rig.tend(8)
    assert rig.spool.segments == 1  # its own mark is not committed
    rig.committed_upto = 2
    rig.tend(8)
    assert (rig.spool.segments, rig.spool.bytes, list(tmp_path.iterdir())) == (0, 0, [])


def test_segments_linger_side_by_side(tmp_path: Path) -> None:
    """One after the other, more than a segment every few seconds would fill the spool for good."""
    rig = Rig(tmp_path, linger_s=3.0)
    for number in range(1, 31):
        assert rig.keep(number)
    assert rig.spool.segments == 8
    rig.committed_upto = 10**6
    rig.tend(20)
    rig.now_s += 3.0
    rig.tend(20)
    assert rig.spool.segments == 3  # five are applied and were long enough; the sixth is in part


def test_an_end_in_order_leaves_nothing_behind(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.keep(1)
    rig.committed_upto = 9
    rig.tend(1, last=True)
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "spool")
    rig.keep(1)
    (path,) = (tmp_path / "spool").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_one_write_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    rig.keep(1)
    real, sizes = os.write, []

    def write(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(segments.os, "write", write)
    rig.keep(3, KB, KB)
    assert sizes == [2000 + 28 + 8]


def test_only_facts_that_exist_nowhere_else_are_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.spool.keep_fact(LegGone(uuid="u1"))
    rig.spool.keep_fact(CallQueued(uuid="u", call_id="c", job_uuid="j", tenant_id="t", at_us=1))
    rig.spool.keep_fact(CommandIssued(uuid="u1", at_us=1, command="hold"))
    assert len([body for body in on_disk(tmp_path) if b"hold" in body]) == 1
    assert rig.spool.bytes < 1000


def test_beyond_its_bound_what_is_there_stays_and_it_resumes_by_itself(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_bytes=20_000, linger_s=0.0)
    kept = 0
    while rig.keep(kept + 1, b"%04d" % kept + KB):
        kept += 1
    assert rig.spool.bytes <= 20_000
    assert rig.spool.reason is not None
    assert "as much as it may" in rig.spool.status
    for number in range(50):
        rig.now_s += 1.1
        assert not rig.keep(kept + number)
    assert rig.spool.skipped == 51
    assert [int(body[:4]) for body in on_disk(tmp_path) if body[:4].isdigit()] == list(range(kept))
    rig.committed_upto = 10**6
    rig.tend(kept)
    rig.now_s += 1.1
    assert rig.keep(kept + 60)
    assert (rig.spool.status, rig.spool.skipped) == ("ok", 51)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("part", [0, 1, 500, 1500])
def test_a_full_disk_is_survived_said_once_and_over_when_it_is_over(
    number: int, part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, segment_bytes=1 << 16)
    assert rig.keep(1, b"before")
    real, failing = os.write, [part]

    def write(fd: int, data: bytes) -> int:
        if failing and failing[0]:
            written, failing[0] = real(fd, data[: failing[0]]), 0
            return written
        if failing:
            raise OSError(number, os.strerror(number))
        return real(fd, data)

    monkeypatch.setattr(segments.os, "write", write)
    for _ in range(5):
        assert not rig.keep(2, KB, KB)
        rig.now_s += 1.1
    assert rig.spool.reason == os.strerror(number)
    assert rig.spool.skipped == 10
    assert rig.spool.has_room is False
    failing.clear()
    assert rig.keep(3, b"after")
    assert on_disk(tmp_path) == [b"before", b"after"]
    assert (rig.spool.reason, rig.spool.segments) == (None, 2)
    assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING"]


def test_it_is_not_tried_for_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    tried = []

    def write(fd: int, data: bytes) -> int:
        tried.append(fd)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(segments.os, "write", write)
    for _ in range(1000):
        rig.keep(1)
    assert len(tried) == 1


def test_some_of_the_disk_is_left_to_the_database(tmp_path: Path) -> None:
    rig = Rig(tmp_path, reserve_bytes=1 << 62)
    assert not rig.keep(1)
    assert rig.spool.status == "the disk is all but full"


def test_a_folder_that_cannot_be_made_is_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_bytes(b"")
    rig = Rig(tmp_path / "spool")
    assert not rig.keep(1)
    assert rig.spool.status == "off"
    assert "cannot be used" in caplog.text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, timeout=10).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    """Whole calls are taken while there is room, and all of them are told by the next life; then it goes on."""
    store = Kept()
    first = Life(store, small_disk / "spool", segment_bytes=1 << 17)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    number = 0
    while first.spool.reason is None:
        first.take(whole_call(f"u{number}"))
        number += 1
    assert first.spool.reason == os.strerror(errno.ENOSPC)
    assert len(first.book.calls) == number  # the tracker works on
    ballast.unlink()
    first.now_s += 2
    first.take(whole_call("after"))
    assert first.spool.reason is None
    first.crash()
    second = Life(store, small_disk / "spool")
    second.begin()
    second.end()
    uuids = {call.own.uuid for call in second.book.calls.values() if call.over}
    assert len(uuids) >= number - 1
    assert "after" in uuids
    assert second.spool.set_aside == 0
