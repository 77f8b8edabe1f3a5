"""Files of recordings, reached only where the configuration allows: below ``recordings.directories``.

A path is walked component by component from a configured directory, each step by ``openat`` relative to the last and
without following a symbolic link (openat(2), O_NOFOLLOW). So neither a trick in the path nor somebody who renames
folders meanwhile leads anywhere else. The configured directory itself may be a link: it is the operator's word.

Everything here blocks, as file systems do: it is to be called in a native thread, never on the hub.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from gevent import monkey

from callengine.errors import (
    RecordingChanged,
    RecordingMissing,
    RecordingNotPermitted,
    RecordingNotRegular,
    RecordingOutside,
    RecordingUnreadable,
)
from callengine.recordings.contents import Contents, stamp_of

# gevent's own closes a folder's descriptor only when the hub comes round; here nothing is polled.
_close: Callable[[int], None] = monkey.get_original("os", "close")

MAX_DEPTH: Final = 32
"""Folders below folders that are walked at most."""
MAX_WALKED: Final = 1_000_000
"""Entries that one walk looks at, at most."""

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK the opening of a FIFO would wait for somebody to write into it.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Folders:
    """The directories that recordings are read from, and how the switch names them."""

    def __init__(self, directories: Sequence[Path], path_map: Mapping[str, Path]) -> None:
        self._roots = sorted({_plain(root) for root in directories}, key=lambda root: -len(root.parts))
        mapped = {_plain(theirs): ours for theirs, ours in path_map.items()}
        self._map = sorted(mapped.items(), key=lambda item: -len(item[0].parts))
        self._contents = Contents()

    def ours(self, switch_path: str) -> Path:
        """The path as this machine sees it, by the longest entry of ``recordings.path_map`` that it lies in.

        Raises ``RecordingOutside`` for what is no absolute path, or has ``..`` or a NUL in it.
        """
        path = _checked(switch_path)
        for theirs, ours in self._map:
            if path.is_relative_to(theirs):
                return ours / path.relative_to(theirs)
        return Path(path)

    def holds(self, path: Path | str) -> bool:
        """Whether ``path`` lies below one of the directories, by its text alone."""
        try:
            self._place(path)
        except RecordingOutside:
            return False
        return True

    def open(self, path: Path | str) -> tuple[int, os.stat_result]:
        """A descriptor for reading the regular file at ``path`` (ours), and its status. The caller closes it.

        Raises ``RecordingOutside``, ``RecordingMissing``, ``RecordingNotRegular``, ``RecordingNotPermitted``, and
        ``RecordingUnreadable`` for whatever else the system says.
        """
        with self._parent(path) as (folder, name), _told(path):
            # Looked at before it is opened: with some devices the opening alone does something.
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise RecordingNotRegular(path)
            descriptor = os.open(name, _FILE, dir_fd=folder)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise RecordingNotRegular(path)
            except BaseException:
                _close(descriptor)
                raise
            return descriptor, status

    def open_same(self, path: Path | str, sha256: str | None, *, hashing: bool = True) -> tuple[int, os.stat_result]:
        """As ``open``, of a file that has the content of ``sha256`` (None: whichever it has).

        It is hashed where that was not done since it was last changed; not ``hashing``: BlockingIOError then. Raises
        ``RecordingChanged`` too.
        """
        descriptor, status = self.open(path)
        try:
            if sha256 is None:
                return descriptor, status
            found = self._contents.known(stamp_of(status))
            if found is None and not hashing:
                raise BlockingIOError(errno.EAGAIN, "it is not hashed yet")
            if found is None:
                with _told(path):
                    found = self._contents.of(descriptor, status)
            if found != sha256:
                raise RecordingChanged(path)
        except BaseException:
            _close(descriptor)
            raise
        return descriptor, status

    def learn(self, status: os.stat_result, sha256: str) -> None:
        """The file of that status was hashed just now, and not changed meanwhile."""
        self._contents.learn(stamp_of(status), sha256)

    def unlink(self, path: Path | str) -> None:
        """Deletes the regular file at ``path`` (ours). Raises as ``open`` does."""
        with self._parent(path) as (folder, name), _told(path):
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise RecordingNotRegular(path)
            os.unlink(name, dir_fd=folder)

    def walk(
        self,
        newer_than_s: float = 0.0,
        limit: int = MAX_WALKED,
        on_limit: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Path, os.stat_result]]:
        """The regular files below the directories that were changed at ``newer_than_s`` (epoch) or later.

        Follows no symbolic link, goes ``MAX_DEPTH`` deep, and looks at no more than ``limit`` entries (``on_limit()``
        says that there are more). What cannot be read, what vanishes meanwhile, and names that are no UTF-8 are passed
        over.
        """
        left = limit
        for root in self._roots:
            if any(root != other and root.is_relative_to(other) for other in self._roots):
                continue  # it is walked with the one that it lies in
            for path, status in self._walk_root(Path(root)):
                left -= 1
                if left < 0:
                    on_limit()
                    return
                if status is not None and stat.S_ISREG(status.st_mode) and status.st_mtime >= newer_than_s:
                    yield path, status

    def _walk_root(self, root: Path) -> Iterator[tuple[Path, os.stat_result | None]]:
        try:
            top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            for below, folders, files, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=top):
                here = root / below
                if len(PurePosixPath(below).parts) >= MAX_DEPTH:
                    folders.clear()
                for _ in folders:
                    yield here, None
                for name in files:
                    yield here / name, _status(name, descriptor)
        finally:
            _close(top)

    # -- the way to a file -------------------------------------------------------------------------------------------

    def _place(self, path: Path | str) -> tuple[PurePosixPath, tuple[str, ...]]:
        """The directory that ``path`` lies in, and the components below it."""
        checked = _checked(path)
        for root in self._roots:
            if checked.is_relative_to(root) and checked != root:
                return root, checked.relative_to(root).parts
        raise RecordingOutside(path)

    @contextmanager
    def _parent(self, path: Path | str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that the file lies in, and the file's name."""
        root, (*folders, name) = self._place(path)
        with _told(path):
            descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in folders:
                with _told(path):
                    below = os.open(part, _FOLDER, dir_fd=descriptor)
                _close(descriptor)
                descriptor = below
            yield descriptor, name
        finally:
            _close(descriptor)


def _plain(path: Path | str) -> PurePosixPath:
    """``path`` by its components; of a directory in the settings ``..`` is resolved, as its writer meant it."""
    return PurePosixPath(os.path.normpath(path))


def _checked(path: Path | str) -> PurePosixPath:
    text = str(path)
    pure = PurePosixPath(text)
    if not pure.is_absolute() or ".." in pure.parts or "\0" in text:
        raise RecordingOutside(path)
    # pathlib keeps two slashes at the beginning apart, as POSIX allows; Linux takes them for one.
    return PurePosixPath("/", *pure.parts[1:])


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        name.encode()
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return None


@contextmanager
def _told(path: Path | str) -> Iterator[None]:
    """The system's errors as ours."""
    try:
        yield
    except UnicodeEncodeError:
        raise RecordingOutside(path) from None
    except OSError as error:
        match error.errno:
            case errno.ENOENT | errno.ENAMETOOLONG:
                raise RecordingMissing(path) from None
            case errno.ENOTDIR | errno.ELOOP | errno.ENXIO | errno.EISDIR:  # a link, or a file where a folder should be
                raise RecordingNotRegular(path) from None
            case errno.EACCES | errno.EPERM:
                raise RecordingNotPermitted(path) from None
            case _:
                raise RecordingUnreadable(path, error.strerror or type(error).__name__) from None
