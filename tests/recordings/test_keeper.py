"""The keeper: from a claim to ready or failed, told once, whatever the file does meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.calls.call import EventName
from callengine.calls.view import show, show_event
from callengine.errors import StoreUnavailable
from callengine.recordings import keeper as keeper_module
from callengine.recordings.keeper import GRACE_S
from callengine.recordings.look import SETTLE_OPEN_S
from callengine.recordings.probe import SILENCE_CB, Probed
from callengine.store import recordings
from callengine.store.database import Store
from tests.recordings.audio import tone, with_data_size, write_mp3, write_wav
from tests.recordings.house import House
from tests.store.build import T0


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path / "rec")
    yield made
    made.close()


def until_failed(house: House) -> float:
    """Lets time pass until nothing is looked at any more; the seconds that took."""
    began_us = house.now_us
    while house.settle() or (house.counted("later") and house.keeper.waiting):
        house.tick(0.5)
    return (house.now_us - began_us) / 1_000_000


def test_a_stopped_recording_is_ready_at_the_first_look(house: House) -> None:
    path = write_wav(house.path("2026/a.wav"), tone(4, channels=2))
    call = house.recorded("2026/a.wav")
    assert house.settle() == 1
    row = house.row(call)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row.status, row.reason, row.duration_ms, row.channels) == ("ready", None, 4000, 2)
    assert (row.bytes, row.sha256, row.storage, row.looked_us) == (path.stat().st_size, sha256, "disk", house.now_us)
    assert (row.claimed_ms, row.stopped_us) == (4000, T0 + 5_000_000)
    assert row.loudness_cb == pytest.approx(-903, abs=8)
    assert list(house.record(call).files) == [
        {
            "id": row.id,
            "leg": call.own.uuid,
            "path": "/switch/2026/a.wav",
            "status": "ready",
            "reason": None,
            "duration_ms": 4000,
            "bytes": row.bytes,
            "sha256": sha256,
            "channels": 2,
            "storage": "disk",
        }
    ]
    assert house.done == [call.id]
    assert (house.counted("ready"), house.counted("later")) == (1, 0)
    assert house.settle() == 0


def test_it_is_told_and_noted_without_its_path(house: House) -> None:
    write_wav(house.path("secret-name.wav"), tone(4))
    call = house.recorded("secret-name.wav")
    house.settle()
    (event,) = house.events(call)
    assert (event.event, event.seq, event.created_us) == (EventName.RECORDING_READY, 1, house.now_us)
    shown = show_event(event, lambda recording_id: f"https://x/{recording_id}", probed=True)
    recording = shown["data"]["recording"]
    assert recording["id"] == house.row(call).id
    assert recording["url"] == shown["data"]["call"]["recording_url"] == f"https://x/{recording['id']}"
    assert recording == shown["data"]["call"]["recordings"][0]
    (note,) = [note for note in house.notes(call) if note.name == "recording_ready"]
    assert (note.detail, note.at_us, note.source.value) == (recording["id"], house.now_us, "clock")
    assert "secret-name" not in str(shown)
    assert show(house.record(call), probed=True)["has_recording"] is True


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_the_probed_length_is_shown_and_a_difference_counted(house: House, kind: str) -> None:
    (write_wav if kind == "wav" else write_mp3)(house.path(f"a.{kind}"), tone(5))
    call = house.recorded(f"a.{kind}", duration_ms=4000)
    house.settle()
    row = house.row(call)
    assert (row.claimed_ms, row.duration_ms) == (4000, pytest.approx(5000, abs=100))
    assert house.record(call).files[0]["duration_ms"] == row.duration_ms
    assert house.metrics.registry.get_sample_value("callengine_recording_differences_total") == 1


def test_less_audio_than_claimed_is_believed_at_the_second_look(house: House) -> None:
    path = write_wav(house.path("a.wav"), tone(2))
    call = house.recorded("a.wav", duration_ms=4000)
    assert house.settle() == 1
    assert house.row(call).status == "stopped"
    assert house.events(call) == []
    house.tick(1.0)
    write_wav(path, tone(3))  # still written to
    assert house.settle() == 1
    assert house.row(call).status == "stopped"
    house.tick(1.0)
    assert house.settle() == 1
    assert (house.row(call).status, house.row(call).duration_ms) == ("ready", 3000)


@pytest.mark.parametrize("claimed_ms", [1_375_000, 0, None])
def test_44_bytes_are_no_recording(house: House, claimed_ms: int | None) -> None:
    write_wav(house.path("a.wav"), tone(0))
    call = house.recorded("a.wav", duration_ms=claimed_ms)
    assert until_failed(house) <= 2
    assert (house.row(call).status, house.row(call).reason) == ("failed", "no_audio")
    (event,) = house.events(call)
    assert event.event == EventName.RECORDING_FAILED
    assert event.detail is not None
    assert event.detail["recording"]["reason"] == "no_audio"
    shown = show(house.record(call), lambda recording_id: recording_id, probed=True)
    assert (shown["has_recording"], shown["recording_url"]) == (False, None)
    assert (shown["recordings"][0]["status"], shown["recordings"][0]["url"]) == ("failed", None)
    assert house.done == [call.id]


def test_a_header_without_a_length_is_no_obstacle(house: House) -> None:
    with_data_size(write_wav(house.path("a.wav"), tone(4)), 0)
    call = house.recorded("a.wav")
    house.settle()
    assert (house.row(call).status, house.row(call).duration_ms) == ("ready", 4000)


def test_a_discarded_one_fails_without_a_look(house: House) -> None:
    call = house.recorded("never.wav", discarded=True, duration_ms=400)
    assert house.settle() == 1
    assert (house.row(call).status, house.row(call).reason) == ("failed", "discarded")
    (event,) = house.events(call)
    assert event.detail is not None
    assert (event.detail["recording"]["discarded"], event.detail["recording"]["reason"]) == (True, "discarded")


def test_one_that_is_not_there_is_waited_for(house: House) -> None:
    call = house.recorded("late.wav")
    house.settle()
    assert house.row(call).status == "stopped"
    house.tick(10)
    write_wav(house.path("late.wav"), tone(4))
    house.settle()
    assert house.row(call).status == "ready"


def test_one_that_never_comes_is_missing_after_half_a_minute(house: House) -> None:
    call = house.recorded("never.wav")
    assert 30 <= until_failed(house) <= 40
    assert (house.row(call).status, house.row(call).reason) == ("failed", "missing")
    assert house.counted("later") == 6  # with growing gaps
    assert [event.event for event in house.events(call)] == [EventName.RECORDING_FAILED]
    (note,) = [note for note in house.notes(call) if note.name == "recording_failed"]
    assert note.detail == f"{house.row(call).id} missing"


@pytest.mark.parametrize("path", ["/etc/passwd", "/switch/../../etc/passwd", "/switch/../switch/a.wav", "/switch"])
def test_a_path_that_leads_elsewhere_is_outside(house: House, path: str) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded(path)
    house.settle()
    assert [(row.status, row.reason) for row in house.rows(call)] == [("failed", "outside")]


def test_a_link_or_a_folder_in_its_place_is_unreadable(house: House) -> None:
    os.symlink("/etc/passwd", house.path("link.wav"))
    house.path("folder.wav").mkdir()
    calls = [house.recorded("link.wav"), house.recorded("folder.wav")]
    until_failed(house)
    assert [(house.row(c).status, house.row(c).reason) for c in calls] == [("failed", "unreadable")] * 2


@pytest.mark.parametrize(("body", "reason"), [(b"", "no_audio"), (b"<html>" * 100, "unreadable")])
def test_what_is_no_audio_fails_once_it_has_settled(house: House, body: bytes, reason: str) -> None:
    house.path("a.wav").write_bytes(body)
    call = house.recorded("a.wav")
    assert until_failed(house) <= 2
    assert (house.row(call).status, house.row(call).reason) == ("failed", reason)


def test_one_that_we_may_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    opened = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if path == "a.wav":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert 30 <= until_failed(house) <= 40
    assert (house.row(call).status, house.row(call).reason) == ("failed", "not_permitted")


def test_one_whose_stop_was_missed_is_found_after_its_call(house: House) -> None:
    path = write_wav(house.path("a.wav"), tone(3))
    call = house.recorded("a.wav", live=True, stopped_us=0, duration_ms=None)
    assert house.settle() == 0
    house.tick(3600)
    assert house.settle() == 0  # it lasts as long as it likes
    call = house.recorded("a.wav", call=call, stopped_us=0, duration_ms=None)
    house.tick(10)
    assert house.settle() == 1  # seen as over
    house.tick(GRACE_S)
    assert house.settle() == 1
    write_wav(path, tone(4))
    house.tick(SETTLE_OPEN_S)
    assert house.settle() == 1  # still written to
    assert house.events(call) == []
    house.tick(SETTLE_OPEN_S)
    assert house.settle() == 1
    row = house.row(call)
    assert (row.status, row.duration_ms, row.stopped_us, row.claimed_ms) == ("ready", 4000, None, None)
    assert [event.event for event in house.events(call)] == [EventName.RECORDING_READY]


def test_the_stop_that_comes_within_the_grace_is_taken(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", stopped_us=0, duration_ms=None)
    house.settle()
    house.tick(1)
    call = house.recorded("a.wav", call=call)
    house.settle()
    assert (house.row(call).status, house.row(call).claimed_ms) == ("ready", 4000)
    assert len(house.events(call)) == 1


def test_the_same_file_stopped_anew_is_looked_at_and_told_anew(house: House) -> None:
    path = write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", live=True)
    house.settle()
    write_wav(path, tone(9))  # RECORD_APPEND
    call = house.recorded("a.wav", call=call, stopped_us=T0 + 20_000_000, duration_ms=9000)
    house.settle()
    assert house.row(call).duration_ms == 9000
    events = house.events(call)
    assert [event.seq for event in events] == [1, 2]
    assert len({event.id for event in events}) == 2
    assert [file["duration_ms"] for file in house.record(call).files] == [9000]


def test_several_recordings_of_a_call(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    write_wav(house.path("b.wav"), tone(7))
    call = house.recorded("a.wav")
    call = house.recorded("b.wav", call=call, duration_ms=7000)
    call = house.recorded("c.wav", call=call, discarded=True)
    house.settle()
    assert [house.row(call, n).status for n in range(3)] == ["ready", "ready", "failed"]
    assert sorted(event.seq for event in house.events(call)) == [1, 2, 3]
    shown = show(house.record(call), lambda recording_id: recording_id, probed=True)
    assert shown["recording_url"] == house.row(call, 1).id
    assert len(shown["recordings"]) == 3


def test_a_restart_between_any_two_steps_tells_once(house: House) -> None:
    write_wav(house.path("short.wav"), tone(2))
    calls = [house.recorded("short.wav"), house.recorded("never.wav")]
    for _ in range(100):
        keeper = house.new_keeper()
        keeper.once()
        house.tick(0.7)
    assert [house.row(call).status for call in calls] == ["ready", "failed"]
    assert [len(house.events(call)) for call in calls] == [1, 1]


def test_a_repeated_commit_tells_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    execute = house.writer.execute

    def twice(fn: Callable[..., Any], timeout_s: float) -> Any:
        first = execute(fn, timeout_s)
        execute(fn, timeout_s)
        return first

    monkeypatch.setattr(house.writer, "execute", twice)
    house.settle()
    assert len(house.events(call)) == 1
    assert len([note for note in house.notes(call) if note.name == "recording_ready"]) == 1


def test_another_switchs_recordings_are_left_alone(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    keeper = house.new_keeper()
    keeper._node = lambda: "sw2"
    assert house.settle(keeper) == 0
    keeper._node = lambda: ""
    assert house.settle(keeper) == 0
    assert house.row(call).status == "stopped"


def test_a_file_that_breaks_the_library_stops_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from callengine.recordings import look as look_module

    probed = look_module.probe

    def odd(descriptor: int) -> Probed:
        if os.fstat(descriptor).st_size < 50_000:
            raise AssertionError("what nobody expected")
        return probed(descriptor)

    monkeypatch.setattr(keeper_module, "look", lambda folders, path: look_module.look(folders, path, odd))
    write_wav(house.path("a.wav"), tone(1))
    write_wav(house.path("b.wav"), tone(4))
    calls = [house.recorded("a.wav"), house.recorded("b.wav")]
    until_failed(house)
    assert [house.row(call).reason for call in calls] == ["unreadable", None]


def test_silence_is_ready_and_known_to_be_silent(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4, level=0))
    call = house.recorded("a.wav")
    house.settle()
    assert (house.row(call).status, house.row(call).loudness_cb) == ("ready", SILENCE_CB)


def test_what_waits_can_be_seen(house: House) -> None:
    house.recorded("never.wav")
    assert house.settle() == 1
    house.tick(60)
    house.keeper._fresh = True
    house.keeper._next()
    assert house.keeper.waiting == 1
    assert house.keeper.oldest_s == pytest.approx(59.5)
    text = house.metrics.render().decode()
    assert "callengine_recordings_waiting 1.0" in text
    assert "callengine_recordings_oldest_seconds 59.5" in text


def test_its_greenlets_are_woken(house: House) -> None:
    house.keeper._monotonic_s = lambda: 0.0  # the poll never comes
    workers = [gevent.spawn(house.keeper.run) for _ in range(4)]
    gevent.sleep(0.05)
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")
    house.keeper.nudge()
    with gevent.Timeout(5):
        while not house.done:
            gevent.sleep(0.01)
    gevent.killall(workers)
    assert house.done == [call.id]


def test_a_disk_that_hangs_stops_no_greenlet_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang(*_: object) -> None:
        free.wait(20)

    monkeypatch.setattr(keeper_module, "look", hang)
    monkeypatch.setattr(keeper_module, "_LOOK_TIMEOUT_S", 0.05)
    call = house.recorded("a.wav")
    assert house.settle() == 1
    assert house.row(call).status == "stopped"
    assert house.counted("later") == 1
    free.set()


def test_a_file_that_hangs_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    look = keeper_module.look
    looks = []

    def hang(folders: Any, path: str) -> Any:
        looks.append(path)
        if "hangs" in path:
            free.wait(20)
        return look(folders, path)

    monkeypatch.setattr(keeper_module, "look", hang)
    for name in ("hangs.wav", "a.wav"):
        write_wav(house.path(name), tone(4))
    first = house.recorded("hangs.wav")
    monkeypatch.setattr(keeper_module, "_LOOK_TIMEOUT_S", 0.05)
    house.settle()
    monkeypatch.setattr(keeper_module, "_LOOK_TIMEOUT_S", 10)
    second = house.recorded("a.wav")
    house.settle()
    assert [house.row(call).status for call in (first, second)] == ["stopped", "ready"]
    house.tick(60)
    house.settle()
    assert looks.count("/switch/hangs.wav") == 1  # not again while a thread still waits for it
    free.set()
    with gevent.Timeout(10):
        while house.row(first).status != "ready":
            gevent.sleep(0.01)
            house.tick(600)
            house.settle()
    assert house.keeper._hung == {}


def test_a_database_that_is_away_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav")

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    for part, name in ((house.store, "run"), (house.writer, "execute")):
        with monkeypatch.context() as patch:
            patch.setattr(part, name, away)
            house.keeper.nudge()
            assert house.keeper.once() is False
        house.tick(1)
    house.settle()
    assert house.row(call).status == "ready"


def test_a_stop_that_is_learned_of_late_is_no_other_recording(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", stopped_us=0, duration_ms=None)
    for _ in range(60):
        house.settle()
        house.tick(1)
    assert house.row(call).status == "ready"
    call = house.recorded("a.wav", call=call)
    house.settle()
    assert (house.row(call).status, house.row(call).claimed_ms) == ("ready", 4000)
    assert [event.event for event in house.events(call)] == [EventName.RECORDING_READY]
    assert len([note for note in house.notes(call) if note.name == "recording_ready"]) == 1


def test_ready_again_after_it_failed_is_told_again(house: House) -> None:
    content = write_wav(house.path("a.wav"), tone(4)).read_bytes()
    call = house.recorded("a.wav", live=True)
    house.settle()
    house.path("a.wav").unlink()
    call = house.recorded("a.wav", call=call, stopped_us=call.recordings[0].stopped_us + 1)
    for _ in range(60):
        house.settle()
        house.tick(1)
    house.path("a.wav").write_bytes(content)
    house.writer.execute(lambda db: recordings.revive(db, house.row(call), house.now_us), 10)
    house.settle()
    assert [(event.event, event.seq) for event in house.events(call)] == [
        (EventName.RECORDING_READY, 1),
        (EventName.RECORDING_FAILED, 2),
        (EventName.RECORDING_READY, 3),
    ]
