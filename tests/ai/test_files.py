"""What is handed over to the analysis is what was found, or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from callengine.ai.files import RecordingFiles
from callengine.errors import RecordingChanged
from callengine.recordings.paths import Folders
from callengine.store.analyses import Playable


def playable(path: Path) -> Playable:
    return Playable(
        id="r1",
        leg="l1",
        path=str(path),
        storage="disk",
        object_key=None,
        bytes=path.stat().st_size,
        duration_ms=1000,
        channels=1,
        loudness_cb=-2000,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def test_a_file_that_another_call_was_recorded_over_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "4930.wav"
    path.write_bytes(b"one tenant's")
    recording = playable(path)
    with RecordingFiles(Folders([tmp_path], {})).ready([recording]) as (opener,):
        with opener() as file:
            assert file.read() == b"one tenant's"
        path.write_bytes(b"another tenant's")
        with pytest.raises(RecordingChanged):
            opener()
