"""The sweep: files that nothing told of become their call's recordings; all others are left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import gevent
import pytest

from callengine.calls.call import EventName
from callengine.errors import StoreUnavailable
from callengine.recordings import sweep as sweep_module
from callengine.recordings.paths import Folders
from callengine.recordings.sweep import SETTLE_S, WALK_EVERY_S, Sweep, theirs
from callengine.store import recordings
from callengine.store.database import Store
from callengine.store.sql import run as run_sql
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import NODE, House
from tests.recordings.test_keeper_bucket import Shelf
from tests.store.build import a_call, ended


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path / "rec")
    made.now_us = 1_795_343_900_000_000
    yield made
    made.close()


@pytest.fixture
def sweep(house: House) -> Sweep:
    return a_sweep(house)


def a_sweep(house: House) -> Sweep:
    return Sweep(
        house.writer,
        house.store,
        house.folders,
        house.settings,
        lambda: NODE,
        house.metrics,
        analyses=True,
        on_found=house.keeper.nudge,
        now_us=lambda: house.now_us,
        monotonic_s=lambda: house.now_us / 1_000_000,
    )


def untold(house: House, name: str, *, live: bool = False, node: str = NODE, seconds: float = 4, uuid: str = "") -> str:
    """A call with a file that nothing told of; ``{call}`` and ``{channel}`` in ``name`` are its UUIDs. Its id."""
    call = a_call(tenant_id=house.tenant, node=node, **({"uuid": uuid} if uuid else {}))
    call = call if live else ended(call)
    house.writer.put(call)
    house.writer.flush(10)
    file(house, name.format(call=call.id, channel=call.own.uuid), seconds)
    return call.id


def file(house: House, name: str, seconds: float = 4) -> Path:
    path = write_wav(house.path(name), tone(seconds))
    os.utime(path, (house.now_us / 1e6, house.now_us / 1e6))
    return path


def rows(house: House, call_id: str) -> list[recordings.Recording]:
    return house.store.run(lambda db: recordings.of_call(db, call_id), 10)


def swept(house: House, found: str) -> float:
    return house.metrics.registry.get_sample_value("callengine_recordings_swept_total", {"found": found}) or 0.0


def sweep_twice(house: House, sweep: Sweep) -> None:
    sweep.once()
    house.tick(SETTLE_S)
    sweep.once()


@pytest.mark.parametrize(
    "name", ["2026-11-22/{call}.wav", "{call}-2.wav", "{channel}.wav", "in/{channel}_agent.WAV", "a-{call}.wav"]
)
def test_a_file_with_its_calls_uuid_becomes_ready(house: House, sweep: Sweep, name: str) -> None:
    call_id = untold(house, name)
    sweep.once()
    assert rows(house, call_id) == []  # it may still be written to
    house.tick(SETTLE_S)
    sweep.once()
    for _ in range(3):
        house.settle()
        house.tick(1)
    (row,) = rows(house, call_id)
    assert (row.status, row.duration_ms, row.claimed_ms, row.stopped_us) == ("ready", 4000, None, None)
    assert row.path.startswith("/switch/")
    events = [event for event in house.reads.timeline(house.tenant, call_id) if event.name == "recording_ready"]
    assert len(events) == 1
    analysis = house.store.run(lambda db: run_sql(db, "SELECT status, due FROM analysis").fetchall(), 10)
    assert [(status, bool(due)) for status, due in analysis] == [("pending", True)]
    found = house.reads.call(house.tenant, call_id)
    assert found is not None
    assert found.analysis_status == "pending"
    assert swept(house, "adopted") == 1


def test_a_uuid_in_capitals_is_the_same(house: House, sweep: Sweep) -> None:
    uuid = str(uuid4())
    call_id = untold(house, uuid.upper() + ".wav", uuid=uuid)
    sweep_twice(house, sweep)
    assert len(rows(house, call_id)) == 1


def test_one_that_is_still_written_to_is_waited_for(house: House, sweep: Sweep) -> None:
    call_id = untold(house, "{call}.wav")
    sweep.once()
    for n in range(3):
        house.tick(SETTLE_S)
        file(house, f"{call_id}.wav", 5 + n)
        sweep.once()
        assert rows(house, call_id) == []
    house.tick(SETTLE_S)
    sweep.once()
    assert len(rows(house, call_id)) == 1


def test_a_live_calls_file_is_left_to_its_events(house: House, sweep: Sweep) -> None:
    call_id = untold(house, "{call}.wav", live=True)
    for _ in range(5):
        house.tick(SETTLE_S)
        sweep.once()
    assert rows(house, call_id) == []


def test_a_file_that_a_row_has_is_known(house: House, sweep: Sweep) -> None:
    call = a_call(tenant_id=house.tenant)
    file(house, f"{call.id}.wav")
    call = house.recorded(f"{call.id}.wav", call=call)
    house.settle()
    sweep_twice(house, sweep)
    assert len(house.rows(call)) == 1
    assert sweep.unknown == 0
    assert len(house.events(call)) == 1


def test_others_are_left_alone_and_counted(house: House, sweep: Sweep) -> None:
    elsewhere = untold(house, "{call}.wav", node="sw2")
    file(house, f"{uuid4()}.wav")
    file(house, "moh/music.wav")
    house.path("x.txt").write_text("no audio")
    house.path(f"{elsewhere}.cdr.json").write_text("{}")
    sweep_twice(house, sweep)
    assert sweep.unknown == 3
    assert rows(house, elsewhere) == []
    assert "callengine_recordings_unknown 3.0" in house.metrics.render().decode()
    house.tick(WALK_EVERY_S)
    sweep.once()
    assert sweep.unknown == 3
    for path in house.folder.rglob("*.wav"):
        path.unlink()
    house.tick(WALK_EVERY_S)
    sweep.once()
    assert sweep.unknown == 0


def test_no_file_is_kept_out_by_others_for_good(house: House, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "_MAX_KNOWN", 2)
    monkeypatch.setattr(sweep_module, "_MAX_PENDING", 3)
    for _ in range(6):
        file(house, f"{uuid4()}.wav")
    calls = [untold(house, "{call}.wav") for _ in range(6)]
    sweep_twice(house, sweep)
    assert "callengine_recordings_walk_incomplete 1.0" in house.metrics.render().decode()
    for _ in range(8):
        house.tick(WALK_EVERY_S)
        sweep_twice(house, sweep)
    assert [len(rows(house, call_id)) for call_id in calls] == [1] * 6


def test_a_walk_that_gets_to_all_says_so(house: House, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    file(house, f"{uuid4()}.wav")
    sweep.once()
    assert "callengine_recordings_walk_incomplete 0.0" in house.metrics.render().decode()
    monkeypatch.setattr(sweep_module.Folders.walk, "__defaults__", (0.0, 0, lambda: None))
    house.tick(WALK_EVERY_S)
    sweep.once()
    assert "callengine_recordings_walk_incomplete 1.0" in house.metrics.render().decode()


def test_what_is_too_old_is_not_looked_for(house: House, sweep: Sweep) -> None:
    call_id = untold(house, "{call}.wav")
    os.utime(house.path(f"{call_id}.wav"), (house.now_us / 1e6 - 3 * 86_400,) * 2)
    sweep_twice(house, sweep)
    assert rows(house, call_id) == []


def test_a_link_is_not_followed(house: House, sweep: Sweep, tmp_path: Path) -> None:
    call = ended(a_call(tenant_id=house.tenant))
    house.writer.put(call)
    house.writer.flush(10)
    outside = write_wav(tmp_path / "outside.wav", tone(4))
    os.symlink(outside, house.path(f"{call.id}.wav"))
    sweep_twice(house, sweep)
    assert rows(house, call.id) == []


def test_a_missing_one_that_turns_up_is_told_as_ready(house: House, sweep: Sweep) -> None:
    call = house.recorded("any-name.wav")
    for _ in range(60):
        house.settle()
        house.tick(1)
    assert house.row(call).reason == "missing"
    sweep.once()
    house.settle()
    assert house.row(call).reason == "missing"
    file(house, "any-name.wav")
    house.tick(WALK_EVERY_S)
    sweep.once()
    house.settle()
    assert (house.row(call).status, house.row(call).reason) == ("ready", None)
    events = house.events(call)
    assert [event.event for event in events] == [EventName.RECORDING_FAILED, EventName.RECORDING_READY]
    assert [event.seq for event in events] == [1, 2]
    assert swept(house, "revived") == 1


def test_what_was_left_behind_after_the_upload_is_deleted(store: Store, tmp_path: Path) -> None:
    house = House(store, tmp_path / "rec", bucket=Shelf())
    house.now_us = 1_795_343_900_000_000
    call = a_call(tenant_id=house.tenant)
    path = file(house, f"{call.id}.wav")
    content = path.read_bytes()
    call = house.recorded(f"{call.id}.wav", call=call)
    house.settle()
    assert not path.exists()
    path.write_bytes(content)  # as if we were killed just before
    os.utime(path, (house.now_us / 1e6,) * 2)
    sweep = a_sweep(house)
    sweep_twice(house, sweep)
    assert not path.exists()
    assert swept(house, "leftover") == 1
    path.write_bytes(content + b"more")  # another file by the same name
    os.utime(path, (house.now_us / 1e6,) * 2)
    house.tick(WALK_EVERY_S)
    sweep_twice(house, sweep)
    assert path.exists()
    house.close()


def test_a_restart_finds_what_is_left(house: House, sweep: Sweep) -> None:
    call_id = untold(house, "{call}.wav")
    sweep.once()
    other = a_sweep(house)
    sweep_twice(house, other)
    sweep_twice(house, sweep)
    assert len(rows(house, call_id)) == 1


def test_it_goes_on_after_the_database_was_away(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []

    def once() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise StoreUnavailable("away")
        if len(turns) == 2:
            raise TimeoutError("the disk is away")
        raise gevent.GreenletExit

    monkeypatch.setattr(sweep, "once", once)
    monkeypatch.setattr(gevent, "sleep", lambda _seconds: None)
    with pytest.raises(gevent.GreenletExit):
        sweep.run()
    assert turns == [0, 1, 2]


def test_the_switchs_name_of_a_file() -> None:
    path_map = {"/a": Path("/x"), "/a/deep": Path("/x/deep"), "/b": Path("/y")}
    folders = Folders([Path("/x"), Path("/y"), Path("/z")], path_map)
    for ours, expected in {"/x/1.wav": "/a/1.wav", "/x/deep/1.wav": "/a/deep/1.wav", "/z/1.wav": "/z/1.wav"}.items():
        assert theirs(folders, path_map, ours) == expected
        assert str(folders.ours(expected)) == ours
