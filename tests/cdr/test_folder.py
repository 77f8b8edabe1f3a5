"""What is new in a directory, and what is done with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callengine.cdr import folder as folders
from callengine.cdr.folder import Folder, Found, Unusable
from callengine.cdr.marks import Marks


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Folder:
    return Folder(tmp_path, clock=clock)


def write(folder: Folder, name: str, at_s: int, body: bytes = b"{}") -> None:
    path = folder.directory / name
    path.write_bytes(body)
    os.utime(path, ns=(at_s * 10**9, at_s * 10**9))


def names(found: list[Found]) -> list[str]:
    return [each.name for each in found]


def test_the_oldest_first_and_each_once(folder: Folder) -> None:
    for name, at_s in (("b.json", 2), ("a.json", 3), ("c.json", 1), ("note.txt", 1)):
        write(folder, name, at_s)
    found = folder.look(10)
    assert names(found) == ["c.json", "b.json", "a.json"]
    assert folder.look(10) == []
    assert (folder.in_hand, folder.oldest_ns) == (3, 10**9)
    for each in found:
        folder.finish(each)
    assert (folder.in_hand, folder.oldest_ns, folder.mark_ns) == (0, None, 3 * 10**9)
    write(folder, "d.json", 4)
    assert names(folder.look(10)) == ["d.json"]


def test_more_than_the_limit_is_left_for_the_next_look(folder: Folder) -> None:
    for n in range(5):
        write(folder, f"{n}.json", n + 1)
    assert names(folder.look(2)) == ["0.json", "1.json"]
    assert folder.cut
    assert names(folder.look(9)) == ["2.json", "3.json", "4.json"]
    assert not folder.cut


def test_the_mark_stays_before_what_is_in_hand(folder: Folder) -> None:
    write(folder, "a.json", 5)
    write(folder, "b.json", 9)
    first, second = folder.look(10)
    folder.finish(second)
    assert folder.mark_ns == 5 * 10**9 - 1
    folder.finish(first)
    assert folder.mark_ns == 9 * 10**9


def test_what_is_put_back_is_found_again(folder: Folder) -> None:
    write(folder, "a.json", 5)
    write(folder, "b.json", 6)
    first, second = folder.look(10)
    folder.put_back(first)
    assert folder.look(10) == [first]
    folder.put_back_all_but({second})
    assert folder.look(10) == [first]


def test_what_is_not_newer_than_the_floor_is_not_looked_at(tmp_path: Path) -> None:
    folder = Folder(tmp_path, floor_ns=5 * 10**9)
    write(folder, "old.json", 5)
    write(folder, "new.json", 6)
    assert names(folder.look(10)) == ["new.json"]


def test_a_directory_as_it_was_is_not_listed_again_for_a_while(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a.json", 5)
    os.utime(folder.directory, ns=(10**9, 10**9))
    folder.finish(folder.look(10)[0])
    scans: list[object] = []
    scandir = os.scandir

    def counted(path: Path) -> object:
        scans.append(path)
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", counted)
    write(folder, "a.json", 6, b"written over")
    for _ in range(5):
        assert folder.look(10) == []
    assert not scans
    clock.now += 31
    assert names(folder.look(10)) == ["a.json"]
    assert len(scans) == 1


def test_a_directory_that_has_just_changed_is_listed_again(folder: Folder) -> None:
    write(folder, "a.json", 5)
    assert len(folder.look(10)) == 1
    stamp = os.stat(folder.directory).st_mtime_ns
    write(folder, "b.json", 5)
    os.utime(folder.directory, ns=(stamp, stamp))  # within its clock's tick
    assert names(folder.look(10)) == ["b.json"]


def test_what_is_remembered_is_bounded(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_MAX_SEEN", 10)
    for n in range(30):
        write(folder, f"{n}.json", n + 1)
        for found in folder.look(10):
            folder.finish(found)
    assert len(folder._seen) <= 12
    assert folder.floor_ns > 0
    assert folder.look(10) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "none")
    assert folder.look(10) == []
    assert folder.problem == "No such file or directory"
    folder.directory.mkdir()
    write(folder, "a.json", 1)
    assert len(folder.look(10)) == 1
    assert folder.problem is None


def test_reading_has_bounds(folder: Folder) -> None:
    write(folder, "a.json", 1, b"x" * 11)
    (folder.directory / "link.json").symlink_to(folder.directory / "a.json")
    with pytest.raises(Unusable, match="11 bytes"):
        folder.read(Found(1, "a.json", 11), 10)
    assert folder.read(Found(1, "a.json", 11), 11) == b"x" * 11
    with pytest.raises(OSError, match=r"symbolic links|loop"):
        folder.read(Found(1, "link.json", 11), 100)


def test_only_the_file_that_was_found_is_deleted(folder: Folder) -> None:
    write(folder, "a.json", 1)
    (found,) = folder.look(10)
    write(folder, "a.json", 2)
    folder.delete(found)
    assert (folder.directory / "a.json").exists()
    (found,) = folder.look(10) or [Found(2 * 10**9, "a.json", 2)]
    folder.delete(found)
    folder.delete(found)
    assert not (folder.directory / "a.json").exists()


def test_marks_survive_and_bad_ones_are_nothing(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    assert marks.load() == {}
    assert marks.save({"/a": 5, "/b": 7})
    assert Marks(tmp_path).load() == {"/a": 5, "/b": 7}
    assert (tmp_path / "cdr-marks.json").stat().st_mode & 0o777 == 0o600
    for content in (b"", b"[]", b'{"/a": "x", "/b": -1}'):
        (tmp_path / "cdr-marks.json").write_bytes(content)
        assert marks.load() == {}
    assert not Marks(tmp_path / "none").save({"/a": 1})
