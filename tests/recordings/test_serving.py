"""A link leads to what the store, the disk and the bucket say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from callengine.errors import (
    BucketError,
    LinkExpired,
    LinkInvalid,
    RecordingChanged,
    RecordingMissing,
    RecordingOutside,
)
from callengine.recordings import contents
from callengine.recordings.reading import Reading
from callengine.recordings.serving import Served, Serving
from callengine.recordings.signing import Signer
from callengine.store.database import Store
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import House

NOW = 1_795_343_615.0


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path / "recordings")
    yield made
    made.close()


@pytest.fixture
def serving(house: House) -> Iterator[Serving]:
    reading = Reading(house.folders, threads=1)
    signer = Signer(["k" * 32], "https://calls.example.com", 60)
    yield Serving(house.store, signer, house.folders, reading, now_s=lambda: NOW)
    reading.close()


def served(serving: Serving, recording_id: str) -> Served:
    found = serving.find(recording_id)
    assert found is not None
    return found


def test_what_the_store_knows_is_opened_where_the_path_map_leads(house: House, serving: Serving) -> None:
    call = house.recorded("deep/a.call.WAV")
    found = served(serving, house.row(call).id)
    assert (found.call_id, found.status, found.storage, found.format) == (call.id, "stopped", "disk", "wav")
    with pytest.raises(RecordingMissing):
        serving.open(found)
    house.path("deep").mkdir()
    house.path("deep/a.call.WAV").write_bytes(b"0123456789")
    opened = serving.open(found)
    assert opened.size == 10
    assert (opened.read_at(3, 4), opened.read_at(8, 100), opened.read_at(10, 1)) == (b"3456", b"89", b"")
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.read_at(0, 1)
    assert serving.find(call.id) is None


def test_a_path_of_the_switch_that_leads_elsewhere_opens_nothing(house: House, serving: Serving) -> None:
    for name in ("/etc/passwd", "/switch/../../etc/passwd"):
        call = house.recorded(name)
        with pytest.raises(RecordingOutside):
            serving.open(served(serving, house.row(call).id))


def test_another_calls_audio_under_the_same_name_is_not_served(house: House, serving: Serving) -> None:
    write_wav(house.path("4930.wav"), tone(4, 0.5))
    first = house.recorded("4930.wav")
    house.settle()
    listening = serving.open(served(serving, house.row(first).id))
    assert listening.read_at(0, 4) == b"RIFF"
    house.tick(60)
    write_wav(house.path("4930.wav"), tone(4, 0.1))
    second = house.recorded("4930.wav")
    house.settle()
    assert [house.row(call).status for call in (first, second)] == ["ready", "ready"]
    with pytest.raises(RecordingChanged):
        serving.open(served(serving, house.row(first).id))
    serving.open(served(serving, house.row(second).id)).close()
    with pytest.raises(OSError, match="changed while it was read"):
        listening.read_at(0, 4)  # nor to who began to listen before
    listening.close()


def test_a_file_is_hashed_once(house: House, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    house.settle()
    hashed = []
    sha256_of = contents.sha256_of
    monkeypatch.setattr(contents, "sha256_of", lambda descriptor: hashed.append(descriptor) or sha256_of(descriptor))
    found = served(serving, house.row(call).id)
    serving.open(found).close()
    assert hashed == []  # the keeper did
    house.folders._contents = contents.Contents()  # as after a restart
    for _ in range(3):
        serving.open(found).close()
    assert len(hashed) == 1
    os.utime(path, (1, 1))
    serving.open(found).close()
    assert len(hashed) == 2


def test_what_is_remembered_is_bounded() -> None:
    known = contents.Contents(remembered=2)
    stamps = [(1, inode, 1, 1, 1) for inode in range(3)]
    for stamp in stamps[:2]:
        known.learn(stamp, "ab")
    assert known.known(stamps[0]) == "ab"
    known.learn(stamps[2], "cd")
    assert [known.known(stamp) for stamp in stamps] == ["ab", None, "cd"]


def test_links_are_signed_and_checked_by_the_same_clock(house: House, serving: Serving) -> None:
    url = urlsplit(serving.url("an-id"))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert query["expires"] == f"{int(NOW) + 60}"
    serving.verify("an-id", **query)
    with pytest.raises(LinkInvalid):
        serving.verify("another", **query)
    serving._now_s = lambda: NOW + 60
    with pytest.raises(LinkExpired):
        serving.verify("an-id", **query)


def test_a_bucket_that_is_no_longer_configured(house: House, serving: Serving) -> None:
    found = served(serving, house.row(house.recorded("a.wav")).id)
    with pytest.raises(BucketError, match="NoBucketConfigured"):
        serving.presigned(found, "a.wav", "audio/wav", "GET")
