"""The room that is left: of the fullest disk, and without a word of one that is not there."""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import pytest

from callengine.config.settings import Settings
from callengine.disks import Disks, Room
from callengine.metrics import Metrics


def disks(tmp_path: Path, *recordings: Path) -> tuple[Disks, Metrics]:
    metrics = Metrics()
    settings = Settings.model_validate(
        {"state": {"directory": tmp_path}, "recordings": {"directories": [str(path) for path in recordings]}}
    )
    return Disks(settings, metrics), metrics


def test_it_is_what_the_file_system_says(tmp_path: Path) -> None:
    made, metrics = disks(tmp_path)
    greenlet = gevent.spawn(made.run)
    for _ in range(200):
        gevent.sleep(0.02)
        if (size := metrics.registry.get_sample_value("callengine_disk_size_bytes", {"place": "state"})) is not None:
            break
    greenlet.kill(timeout=5)
    stat = os.statvfs(tmp_path)
    assert size == stat.f_blocks * stat.f_frsize
    assert metrics.registry.get_sample_value("callengine_disk_size_bytes", {"place": "recordings"}) is None


def test_of_several_directories_the_fullest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = {tmp_path / "a": Room(50, 100), tmp_path / "b": Room(400, 4000), tmp_path: Room(7, 9)}
    monkeypatch.setattr("callengine.disks._room_of", rooms.get)
    made, _ = disks(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "gone")
    assert made.look() == {"state": Room(7, 9), "recordings": Room(400, 4000)}


def test_a_directory_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    made, _ = disks(tmp_path, tmp_path / "gone")
    assert set(made.look()) == {"state"}
