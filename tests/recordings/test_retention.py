"""Retention: what was kept long enough goes, and says so; a dry run names exactly that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.calls.call import Call
from callengine.calls.view import show
from callengine.errors import BucketError, NoSuchTenant
from callengine.recordings.retention import GRACE_DAYS, Retention
from callengine.store import recordings
from callengine.store.database import Store
from callengine.store.entities import Tenant
from callengine.store.sql import run as run_sql
from tests.recordings.audio import tone, write_wav
from tests.recordings.house import NODE, House
from tests.recordings.test_keeper_bucket import Shelf

DAY_S = 86_400


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path / "rec", recordings={"keep_days": 30})
    yield made
    made.close()


def retention(house: House, **more: object) -> Retention:
    given = {"node": lambda: NODE, "metrics": house.metrics, "bucket": house.bucket} | more
    return Retention(house.writer, house.store, house.folders, house.settings, now_us=lambda: house.now_us, **given)


def analysed(house: House) -> None:
    """Says that no analysis is due any more."""
    house.writer.execute(lambda db: run_sql(db, "UPDATE analysis SET due = ?", (False,)), 10)


def kept(house: House, name: str = "a.wav") -> Call:
    """A call with a recording that is ready and analysed."""
    write_wav(house.path(name), tone(4))
    call = house.recorded(name)
    house.settle()
    analysed(house)
    return call


def rule(house: House, days: int | None) -> Tenant:
    house.writer.execute(lambda db: recordings.keep(db, "default", days), 10)
    return house.writer.execute(lambda db: recordings.rule(db, "default"), 10)


def test_what_was_kept_long_enough_is_deleted_and_says_so(house: House, caplog: pytest.LogCaptureFixture) -> None:
    call = kept(house)
    size = house.path("a.wav").stat().st_size
    house.tick(30 * DAY_S)
    assert list(retention(house).once(0)) == []
    house.tick(1)
    with caplog.at_level(logging.INFO):
        (done,) = retention(house).once(0)
    assert (done.problem, done.row.bytes, done.age_s) == (None, size, 30 * DAY_S + 1)
    assert not house.path("a.wav").exists()
    row = house.row(call)
    assert (row.status, row.deleted_us) == ("deleted", house.now_us)
    assert row.id in caplog.text
    assert call.id in caplog.text
    assert f"{size} bytes, 30 days old" in caplog.text
    shown = show(house.record(call), lambda recording_id: recording_id, probed=True)
    assert (shown["has_recording"], shown["recording_url"]) == (False, None)
    assert (shown["recordings"][0]["status"], shown["recordings"][0]["url"]) == ("deleted", None)
    (note,) = [note for note in house.notes(call) if note.name == "recording_deleted"]
    assert note.detail == row.id
    assert len(house.events(call)) == 1  # of the recording that was ready
    assert house.metrics.registry.get_sample_value("callengine_recordings_deleted_bytes_total") == size
    assert list(retention(house).once(0)) == []


def test_a_dry_run_names_exactly_what_would_be_deleted(house: House) -> None:
    for n in range(3):
        kept(house, f"{n}.wav")
        house.tick(DAY_S)
    house.tick(28 * DAY_S + 1)
    tenant = rule(house, None)
    plan = list(retention(house).due(tenant))
    assert [doomed.age_s // DAY_S for doomed in plan] == [31, 30]
    assert plan[0].shown() == {
        "tenant": "default",
        "call_id": plan[0].row.call_id,
        "recording_id": plan[0].row.id,
        "storage": "disk",
        "bytes": 64_044,
        "duration_ms": 4000,
        "age_days": 31,
        "problem": None,
    }
    assert all(house.path(f"{n}.wav").exists() for n in range(3))
    assert [doomed.row.id for doomed in retention(house).once(0)] == [doomed.row.id for doomed in plan]
    assert [house.path(f"{n}.wav").exists() for n in range(3)] == [False, False, True]


def test_more_than_a_page_of_them(house: House) -> None:
    for n in range(60):
        write_wav(house.path(f"{n}.wav"), tone(0.1))
        house.recorded(f"{n}.wav", duration_ms=100)
    house.settle()
    analysed(house)
    house.tick(31 * DAY_S)
    assert len(list(retention(house).due(rule(house, None)))) == 60
    assert len(list(retention(house).once(0))) == 60
    assert list(house.folder.iterdir()) == []


def test_a_tenants_own_rule_comes_before_the_general_one(house: House) -> None:
    kept(house)
    house.tick(10 * DAY_S)
    assert list(retention(house).due(rule(house, None))) == []
    assert list(retention(house).due(rule(house, 0))) == []
    assert len(list(retention(house).due(rule(house, 9)))) == 1
    house.tick(1000 * DAY_S)
    assert list(retention(house).due(rule(house, 0))) == []
    with pytest.raises(NoSuchTenant):
        house.writer.execute(lambda db: recordings.keep(db, "nobody", 1), 10)


def test_for_ever_is_the_default(store: Store, tmp_path: Path) -> None:
    house = House(store, tmp_path / "rec")
    kept(house)
    house.tick(10_000 * DAY_S)
    assert list(retention(house).once(0)) == []
    house.close()


AI = {"enabled": True, "api_key": "k"}


@pytest.mark.parametrize("ends", [True, False])
def test_it_waits_for_the_analysis_but_not_for_ever(store: Store, tmp_path: Path, *, ends: bool) -> None:
    house = House(store, tmp_path / "rec", recordings={"keep_days": 30}, ai=AI)
    write_wav(house.path("a.wav"), tone(4))
    house.recorded("a.wav")
    house.settle()
    house.tick(31 * DAY_S)
    assert list(retention(house).once(0)) == []
    if ends:
        analysed(house)
    else:  # its model's quota was used up day after day
        house.tick((GRACE_DAYS - 1) * DAY_S)
        assert list(retention(house).once(0)) == []
        house.tick(1)
    assert len(list(retention(house).once(0))) == 1
    house.close()


def test_where_none_is_made_no_analysis_is_waited_for(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    house.recorded("a.wav")
    house.settle()
    assert house.store.run(lambda db: run_sql(db, "SELECT count(*) FROM analysis WHERE due").fetchone()[0], 10) == 1
    house.tick(30 * DAY_S + 1)
    assert len(list(retention(house).once(0))) == 1


def test_what_failed_goes_too_if_something_is_in_its_file(house: House) -> None:
    for name, content in (("odd.wav", b"speech in a form that we do not read"), ("none.wav", b"")):
        house.path(name).write_bytes(content)
    odd, none, missing = (house.recorded(name) for name in ("odd.wav", "none.wav", "missing.wav"))
    for _ in range(60):
        house.settle()
        house.tick(1)
    reasons = [house.row(call).reason for call in (odd, none, missing)]
    assert reasons == ["unreadable", "no_audio", "missing"]
    (file,) = house.record(odd).files
    assert (file["bytes"], file["sha256"]) == (None, None)  # nobody's business
    house.tick(31 * DAY_S)
    assert len(list(retention(house).once(0))) == 2
    assert [house.row(call).status for call in (odd, none, missing)] == ["deleted", "deleted", "failed"]
    assert list(house.folder.iterdir()) == []
    assert house.record(odd).files[0]["status"] == "deleted"
    assert list(retention(house).once(0)) == []


def test_it_deletes_one_after_the_other_as_they_are_asked_for(house: House) -> None:
    kept(house, "a.wav")
    kept(house, "b.wav")
    house.tick(31 * DAY_S)
    going = retention(house).once(0)
    next(going)
    assert len(list(house.folder.iterdir())) == 1


def test_a_file_that_is_gone_is_no_obstacle_where_its_switch_is_ours(house: House) -> None:
    call = kept(house)
    house.path("a.wav").unlink()
    house.tick(31 * DAY_S)
    (left,) = retention(house, node=None).once(0)
    assert left.problem == "its file is not on this machine"
    assert house.row(call).status == "ready"
    (done,) = retention(house).once(0)
    assert (done.problem, house.row(call).status) == (None, "deleted")


def test_another_switchs_are_left_to_its_engine(house: House) -> None:
    kept(house)
    house.tick(31 * DAY_S)
    assert list(retention(house, node=lambda: "sw2").once(0)) == []
    assert list(retention(house, node=lambda: "").once(0)) == []
    assert house.path("a.wav").exists()


def test_a_file_that_took_the_name_since_is_not_deleted(house: House) -> None:
    old = kept(house, "greeting.wav")
    house.tick(29 * DAY_S)
    write_wav(house.path("greeting.wav"), tone(6))
    new = house.recorded("greeting.wav", duration_ms=6000)
    house.settle()
    house.tick(2 * DAY_S)
    analysed(house)
    list(retention(house).once(0))
    assert (house.row(old).status, house.row(new).status) == ("deleted", "ready")
    assert house.path("greeting.wav").exists()


def test_what_cannot_be_deleted_stays_and_is_known(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    call = kept(house)
    house.tick(31 * DAY_S)
    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", _refuse)
        (left,) = retention(house).once(0)
    assert left.problem is not None
    assert "may not be used" in left.problem
    assert house.row(call).status == "ready"
    (done,) = retention(house).once(0)
    assert done.problem is None


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_in_a_bucket(store: Store, tmp_path: Path) -> None:
    shelf = Shelf()
    house = House(store, tmp_path / "rec", bucket=shelf, recordings={"keep_days": 30, "keep_local": True})
    call = kept(house)
    house.tick(31 * DAY_S)
    shelf.away = BucketError("deleting", "SlowDown", status=503, transient=True)
    (left,) = retention(house).once(0)
    assert left.problem == "the bucket: deleting failed: SlowDown (503)"
    assert house.row(call).status == "ready"
    assert next(retention(house, bucket=None).once(0)).problem is not None
    shelf.away = None
    (done,) = retention(house, node=None).once(0)
    assert (done.problem, house.row(call).status) == (None, "deleted")
    assert shelf.objects == {}
    assert not house.path("a.wav").exists()
    house.close()


def test_a_call_with_two_keeps_the_other(house: House) -> None:
    write_wav(house.path("a.wav"), tone(4))
    call = house.recorded("a.wav", live=True)
    house.settle()
    house.tick(20 * DAY_S)
    write_wav(house.path("b.wav"), tone(3))
    call = house.recorded("b.wav", call=call, duration_ms=3000)
    house.settle()
    analysed(house)
    house.tick(11 * DAY_S)
    assert len(list(retention(house).once(0))) == 1
    assert [file["status"] for file in house.record(call).files] == ["deleted", "ready"]
    shown = show(house.record(call), lambda recording_id: recording_id, probed=True)
    assert (shown["has_recording"], shown["recording_url"]) == (True, house.row(call, 1).id)
