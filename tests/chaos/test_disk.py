"""A small disk is full when it is filled, stays so, and is whole again afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.disk import SmallDisk

pytestmark = pytest.mark.skipif(not SmallDisk.available(), reason="needs root and the right to mount")
_FULL_S = 5.0


def _write(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(b"x")


def _assert_refused(path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        _write(path)


def test_full_to_the_last_byte_and_kept_so(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir(mode=0o750)
    with SmallDisk(folder, 2) as disk:
        assert (folder.stat().st_mode & 0o777, disk.free_bytes) == (0o750, 2 << 20)
        others = folder / "others"
        others.write_bytes(bytes(300_000))
        disk.fill()
        assert disk.free_bytes == 0
        _assert_refused(folder / "new")
        others.unlink()
        until = time.monotonic() + _FULL_S
        while disk.free_bytes and time.monotonic() < until:
            time.sleep(0.01)
        _assert_refused(folder / "another")
        disk.free()
        _write(folder / "another")
        assert disk.free_bytes == (2 << 20) - 4096
        disk.fill()
    assert list(folder.iterdir()) == []
