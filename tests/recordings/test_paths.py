"""Nothing outside the configured directories is ever reached, by whatever path."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from callengine.errors import (
    RecordingMissing,
    RecordingNotPermitted,
    RecordingNotRegular,
    RecordingOutside,
    RecordingUnreadable,
)
from callengine.recordings import paths
from callengine.recordings.paths import Folders

CONTENT = b"RIFF of a call"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with ``recordings/a/b/call.wav`` in it, and ``secret.wav`` outside of that."""
    folder = tmp_path / "recordings" / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "call.wav").write_bytes(CONTENT)
    (tmp_path / "secret.wav").write_bytes(b"secret")
    return tmp_path


@pytest.fixture
def folders(home: Path) -> Folders:
    return Folders([home / "recordings"], {})


def content(folders: Folders, path: Path | str) -> bytes:
    descriptor, status = folders.open(path)
    with os.fdopen(descriptor, "rb") as stream:
        read = stream.read()
    assert status.st_size == len(read)
    return read


def test_what_lies_below_a_directory_is_read(folders: Folders, home: Path) -> None:
    assert content(folders, home / "recordings/a/b/call.wav") == CONTENT
    assert content(folders, f"{home}/recordings//a/./b/call.wav") == CONTENT
    assert content(folders, f"/{home}/recordings/a/b/call.wav") == CONTENT
    assert folders.holds(home / "recordings/none.wav")


def _leads_into(home: Path, number: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{number}").startswith(str(home))
    except OSError:
        return False


def test_a_descriptor_is_not_inherited_and_none_is_left_open(folders: Folders, home: Path) -> None:
    def count() -> int:
        return sum(_leads_into(home, number) for number in os.listdir("/proc/self/fd"))

    descriptor, _ = folders.open(home / "recordings/a/b/call.wav")
    assert not os.get_inheritable(descriptor)
    assert count() == 1
    os.close(descriptor)
    for path in ("recordings/a/none", "recordings/a/b/call.wav/x", "recordings/a", "secret.wav", "recordings/x/y/z"):
        with pytest.raises((RecordingMissing, RecordingNotRegular, RecordingOutside)):
            folders.open(home / path)
    assert count() == 0


@pytest.mark.parametrize(
    "path",
    [
        "{home}/secret.wav",
        "{home}/recordings",
        "{home}/recordings/",
        "{home}/recordings/../secret.wav",
        "{home}/recordings/a/../../secret.wav",
        "{home}/recordings/a/b/../b/call.wav",
        "{home}/recordings-too/call.wav",
        "{home}/recordings/a/b/call.wav\0.txt",
        "recordings/a/b/call.wav",
        "a/b/call.wav",
        "",
        ".",
        "/",
        "//",
        "/etc/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
        "{home}/recordings/\udcff\ud800.wav",
    ],
)
def test_what_lies_elsewhere_is_not(folders: Folders, home: Path, path: str) -> None:
    for act in (folders.open, folders.unlink):
        with pytest.raises(RecordingOutside):
            act(path.format(home=home))
    assert (home / "secret.wav").exists()


def link_at_the_end(home: Path) -> str:
    (home / "recordings/link.wav").symlink_to(home / "secret.wav")
    return "link.wav"


def link_inside(home: Path) -> str:
    (home / "recordings/link.wav").symlink_to("a/b/call.wav")
    return "link.wav"


def link_on_the_way(home: Path) -> str:
    (home / "recordings/way").symlink_to(home)
    return "way/secret.wav"


def link_to_the_root(home: Path) -> str:
    (home / "recordings/root").symlink_to("/")
    return "root/etc/passwd"


def link_to_itself(home: Path) -> str:
    (home / "recordings/loop").symlink_to("loop")
    return "loop/x.wav"


def a_fifo(home: Path) -> str:
    os.mkfifo(home / "recordings/fifo.wav")
    return "fifo.wav"


def a_folder(home: Path) -> str:
    return "a"


def below_a_file(home: Path) -> str:
    return "a/b/call.wav/x"


@pytest.mark.parametrize(
    "trick",
    [link_at_the_end, link_inside, link_on_the_way, link_to_the_root, link_to_itself, a_fifo, a_folder, below_a_file],
)
def test_only_regular_files_and_no_links(folders: Folders, home: Path, trick: Callable[[Path], str]) -> None:
    path = home / "recordings" / trick(home)
    for act in (folders.open, folders.unlink):
        with pytest.raises(RecordingNotRegular):
            act(path)
    assert (home / "secret.wav").read_bytes() == b"secret"
    assert os.path.lexists(path) == (trick is not below_a_file) or trick is link_to_itself


def test_a_file_that_turns_into_a_link_is_not_followed(
    folders: Folders, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between looking and opening, which is all that an attacker has."""
    path, look = home / "recordings/a/b/call.wav", os.stat

    def look_then_swap(name: str, **more: object) -> os.stat_result:
        status: os.stat_result = look(name, **more)  # type: ignore[arg-type]
        path.unlink()
        path.symlink_to(home / "secret.wav")
        return status

    monkeypatch.setattr(paths.os, "stat", look_then_swap)
    with pytest.raises(RecordingNotRegular):
        folders.open(path)


def test_a_file_that_turns_into_a_fifo_neither_waits_nor_passes(
    folders: Folders, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = home / "recordings/a/b/call.wav", os.stat

    def look_then_swap(name: str, **more: object) -> os.stat_result:
        status: os.stat_result = look(name, **more)  # type: ignore[arg-type]
        path.unlink()
        os.mkfifo(path)
        return status

    monkeypatch.setattr(paths.os, "stat", look_then_swap)
    with pytest.raises(RecordingNotRegular):
        folders.open(path)


def test_folders_that_are_swapped_meanwhile_lead_nowhere(folders: Folders, home: Path) -> None:
    """A thread swaps a folder for a link to the outside, over and over: what is read is ours, or nothing."""
    inside, outside = home / "recordings/a", home / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b/call.wav").write_bytes(b"secret")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(inside, home / "recordings/aside")
            os.symlink(outside, inside)
            os.unlink(inside)
            os.rename(home / "recordings/aside", inside)

    from gevent.threadpool import ThreadPool

    pool = ThreadPool(1)
    swapping = pool.spawn(swap)
    seen = set()
    for _ in range(3000):
        try:
            seen.add(content(folders, inside / "b/call.wav"))
        except (RecordingMissing, RecordingNotRegular):
            seen.add(b"")
    over.set()
    swapping.get(timeout=5)
    pool.kill()
    assert seen <= {CONTENT, b""}


def test_what_is_not_there_and_what_is_not_ours(folders: Folders, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("none.wav", "none/none.wav", "x" * 300):
        with pytest.raises(RecordingMissing):
            folders.open(home / "recordings" / missing)
    real = os.open

    def refuse(path: object, *more: object, **named: object) -> int:
        if path == "call.wav":
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(paths.os, "open", refuse)
    with pytest.raises(RecordingNotPermitted):
        folders.open(home / "recordings/a/b/call.wav")


def test_whatever_else_the_system_says(folders: Folders, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(paths.os, "stat", fail)
    with pytest.raises(RecordingUnreadable, match="Input/output error"):
        folders.open(home / "recordings/a/b/call.wav")


def test_no_directories_no_recordings(home: Path) -> None:
    none = Folders([], {})
    with pytest.raises(RecordingOutside):
        none.open(home / "secret.wav")
    assert list(none.walk()) == []


def test_the_directory_itself_may_be_a_link(home: Path) -> None:
    (home / "alias").symlink_to("recordings")
    assert content(Folders([home / "alias"], {}), home / "alias/a/b/call.wav") == CONTENT


def test_a_file_is_deleted_and_only_that(folders: Folders, home: Path) -> None:
    folders.unlink(home / "recordings/a/b/call.wav")
    assert list((home / "recordings/a/b").iterdir()) == []
    with pytest.raises(RecordingMissing):
        folders.unlink(home / "recordings/a/b/call.wav")


# -- the switch's paths --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("/fs/rec/x.wav", "/mnt/x.wav"),
        ("/fs/rec//x.wav", "/mnt/x.wav"),
        ("/fs/rec/deep/x.wav", "/deep/x.wav"),
        ("/fs/rec/deeper/x.wav", "/mnt/deeper/x.wav"),
        ("/fs/recordings/x.wav", "/fs/recordings/x.wav"),
        ("/elsewhere/x.wav", "/elsewhere/x.wav"),
        ("//fs/rec/x.wav", "/mnt/x.wav"),
    ],
)
def test_the_switchs_paths_are_mapped_by_the_longest_prefix(theirs: str, ours: str) -> None:
    mapped = {"/fs/rec/": Path("/mnt"), "/fs/rec/deep": Path("/deep")}
    assert Folders([], mapped).ours(theirs) == Path(ours)


@pytest.mark.parametrize("path", ["x.wav", "", "/fs/rec/../../etc/passwd", "/fs/rec/x\0.wav", "{a=b}/fs/rec/x.wav"])
def test_a_path_of_the_switch_that_is_no_plain_path(path: str) -> None:
    with pytest.raises(RecordingOutside):
        Folders([], {"/fs/rec": Path("/mnt")}).ours(path)


# -- the walk ------------------------------------------------------------------------------------------------------


def test_a_walk_finds_regular_files_and_follows_nothing(folders: Folders, home: Path) -> None:
    (home / "recordings/link.wav").symlink_to(home / "secret.wav")
    (home / "recordings/way").symlink_to(home)
    os.mkfifo(home / "recordings/fifo.wav")
    (home / "recordings/new.wav").write_bytes(b"new")
    os.utime(home / "recordings/a/b/call.wav", (1000, 1000))
    os.close(os.open(os.fsencode(home / "recordings") + b"/\xff.wav", os.O_CREAT | os.O_WRONLY))
    found = dict(folders.walk())
    assert set(found) == {home / "recordings/a/b/call.wav", home / "recordings/new.wav"}
    assert all(stat.S_ISREG(status.st_mode) for status in found.values())
    assert [path.name for path, _ in folders.walk(newer_than_s=1001)] == ["new.wav"]
    assert all(content(folders, path) for path in found)


def test_a_walk_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = Folders([home / "recordings", home / "recordings/a", home / "none"], {})
    assert len(list(folders.walk())) == 1  # what lies in two of them is found once
    for n in range(20):
        (home / f"recordings/{n}.wav").touch()
    assert len(list(folders.walk(limit=10))) <= 10
    monkeypatch.setattr(paths, "MAX_DEPTH", 1)
    assert not [path for path, _ in folders.walk() if path.name == "call.wav"]
