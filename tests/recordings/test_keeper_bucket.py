"""The keeper with a bucket: ready only once the file is there, however long that takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.errors import BucketError
from callengine.store.database import Store
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import House


class Shelf:
    """A bucket in memory, with the interface of ``s3.Bucket``; ``away`` makes it fail."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str, str]] = {}
        self.away: Exception | None = None
        self.asked = 0

    def key(self, tenant_id: str, call_id: str, recording_id: str, at_us: int, ending: str) -> str:
        return f"rec/{tenant_id}/{at_us}/{call_id}/{recording_id}.{ending}"

    def upload(self, descriptor: int, key: str, sha256: str, content_type: str) -> int:
        self.asked += 1
        if self.away is not None:
            raise self.away
        content = os.pread(descriptor, 1 << 30, 0)
        self.objects[key] = (content, sha256, content_type)
        return len(content)

    def delete(self, key: str) -> None:
        if self.away is not None:
            raise self.away
        self.objects.pop(key, None)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def house(store: Store, tmp_path: Path, shelf: Shelf) -> Iterator[House]:
    made = House(store, tmp_path / "rec", bucket=shelf)
    yield made
    made.close()


def test_a_file_goes_up_and_only_then_it_is_ready_and_gone_here(house: House, shelf: Shelf) -> None:
    path = write_wav(house.path("a.WAV"), tone(4))
    content = path.read_bytes()
    call = house.recorded("a.WAV")
    house.settle()
    row = house.row(call)
    assert (row.status, row.storage) == ("ready", "s3")
    assert row.object_key == f"rec/{row.tenant_id}/{row.created_us}/{call.id}/{row.id}.wav"
    assert shelf.objects == {row.object_key: (content, row.sha256, "audio/wav")}
    assert not path.exists()
    assert house.record(call).files[0]["storage"] == "s3"


def test_an_upload_is_tried_again_for_as_long_as_it_takes(house: House, shelf: Shelf) -> None:
    path = write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    shelf.away = BucketError("upload", "AccessDenied", status=403)
    for _ in range(3 * 360):
        house.settle()
        house.tick(10)
    assert 20 <= shelf.asked <= 40  # pauses of up to ten minutes
    assert (house.row(call).status, house.events(call)) == ("stopped", [])
    shelf.away = None
    house.tick(600)
    house.settle(house.new_keeper(bucket=shelf))
    assert house.row(call).status == "ready"
    assert len(house.events(call)) == 1
    assert not path.exists()


def test_what_nobody_expected_sets_one_aside_and_not_all(
    house: House, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    odd, plain = (write_wav(house.path(f"{name}.wav"), tone(4)) for name in "ab")
    call = house.recorded("a.wav")
    shelf.away = KeyError("a-secret")
    assert house.keeper.once()
    assert not any(_leads_to(n, odd) for n in os.listdir("/proc/self/fd"))
    assert (house.row(call).status, house.row(call).attempts, house.row(call).reason) == ("stopped", 1, None)
    assert house.row(call).id in caplog.text
    assert "KeyError" in caplog.text
    assert "a-secret" not in caplog.text
    assert house.counted("error") == 1
    shelf.away = None
    other = house.recorded("b.wav")
    house.settle()
    assert (house.row(call).status, house.row(other).status, plain.exists()) == ("stopped", "ready", False)
    house.tick(600)
    house.settle()
    assert house.row(call).status == "ready"


def _leads_to(descriptor: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path)
    except FileNotFoundError:
        return False


def test_a_failed_one_is_not_uploaded(house: House, shelf: Shelf) -> None:
    write_wav(house.path("a.wav"), tone(0))
    house.recorded("a.wav")
    for _ in range(5):
        house.settle()
        house.tick(1)
    assert shelf.asked == 0


def test_the_local_file_stays_where_it_is_wanted(store: Store, tmp_path: Path, shelf: Shelf) -> None:
    house = House(store, tmp_path / "rec", bucket=shelf, recordings={"keep_local": True})
    path = write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    house.settle()
    assert house.row(call).storage == "s3"
    assert path.exists()
    house.close()


def test_one_stopped_anew_takes_its_own_place_in_the_bucket(house: House, shelf: Shelf) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", live=True)
    house.settle()
    house.tick(86_400)
    write_wav(house.path("a.wav"), tone(6))
    call = house.recorded("a.wav", call=call, stopped_us=call.recordings[0].stopped_us + 1, duration_ms=6000)
    house.settle()
    assert [sha256 for _, sha256, _ in shelf.objects.values()] == [house.row(call).sha256]


def test_a_stop_that_is_learned_of_late_loses_nothing(house: House, shelf: Shelf) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", stopped_us=0, duration_ms=None)
    for _ in range(60):
        house.settle()
        house.tick(1)
    before = house.row(call)
    assert (before.status, before.storage, house.path("a.wav").exists()) == ("ready", "s3", False)
    call = house.recorded("a.wav", call=call)
    house.settle()
    after = house.row(call)
    assert (after.status, after.claimed_ms) == ("ready", 4000)
    assert (after.object_key, after.sha256, after.duration_ms) == (before.object_key, before.sha256, 4000)
    assert len(shelf.objects) == 1
