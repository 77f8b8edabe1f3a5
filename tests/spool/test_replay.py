"""kill -9 at any event, with anything committed before: the same rows, timelines and events as without."""

from __future__ import annotations

import random
from pathlib import Path
from zlib import crc32

import msgspec
import orjson
import pytest

from callengine.calls.call import Told
from callengine.calls.facts import CallQueued, CommandIssued, Fact, LegListed, OriginateAbandoned, OriginateSent
from callengine.calls.record import record_of
from callengine.errors import StoreUnavailable
from callengine.spool.segments import ASIDE
from tests.calls import streams
from tests.engine.fakes import event, headers
from tests.engine.test_tracker import T, whole_call
from tests.spool.lives import TRANSLATOR, Kept, Life, bodies_of

TRACES = streams.names("json")
_POINTS = 8


def undisturbed(bodies: list[bytes], folder: Path) -> dict[str, object]:
    store = Kept()
    life = Life(store, folder)
    life.take(bodies)
    life.end()
    return store.told()


@pytest.mark.parametrize("name", TRACES)
def test_a_crash_at_any_event_changes_nothing(name: str, tmp_path: Path) -> None:
    bodies = bodies_of(name)
    expected = undisturbed(bodies, tmp_path / "undisturbed")
    dice = random.Random(name)
    step = max(1, len(bodies) // _POINTS)
    for at in range(0, len(bodies) + 1, step):
        store, folder = Kept(), tmp_path / str(at)
        first = Life(store, folder)
        commits = {dice.randint(0, at) for _ in range(4)}
        for number, body in enumerate(bodies[:at]):
            if number in commits:
                # Not each call is committed with the others: a group is bounded.
                part = dice.randint(1, 3)
                store.commit(lambda call_id: crc32(call_id.encode()) % part == 0)  # noqa: B023  called at once
                if part == 1 and not first.book.sizes()["strays"] and not first.awaits_destroy:
                    first.tend()
            first.take([body])
        first.receive(bodies[at : at + 3])
        first.crash()
        second = Life(store, folder)
        second.begin()
        second.take(bodies[at + 3 :])
        second.end()
        assert store.told() == expected, (name, commits, at)
        assert not second.poison


@pytest.mark.parametrize("name", TRACES)
def test_a_replay_over_what_was_committed_changes_nothing(name: str, tmp_path: Path) -> None:
    bodies = bodies_of(name)
    store = Kept()
    first = Life(store, tmp_path)
    first.take(bodies)
    first.end()
    told, writes = store.told(), store.writes
    first.crash()
    for _ in range(2):
        life = Life(store, tmp_path)
        life.begin()
        life.end()
        assert (store.told(), store.writes) == (told, writes)
        life.crash()


# -- facts of ours -----------------------------------------------------------------------------------------------------

OURS = 1_795_343_600_000_000
QUEUED = CallQueued(
    uuid="01949c5c-0000-7000-8000-000000000001",
    call_id="01949c5c-0000-7000-8000-000000000001",
    job_uuid="j1",
    tenant_id="t",
    at_us=OURS,
)
UUID = QUEUED.uuid
JOB_FAILED = orjson.dumps(
    {"Event-Name": "BACKGROUND_JOB", "Job-UUID": "j1", "Event-Date-Timestamp": str(T), "_body": "-ERR USER_BUSY\n"}
)
OWN: dict[str, list[bytes | Fact]] = {
    "no channel": [OriginateSent(uuid=UUID, at_us=OURS + 50), JOB_FAILED],
    "abandoned": [OriginateAbandoned(uuid=UUID, at_us=OURS + 90, reason="queue_timeout")],
    "commands": [
        OriginateSent(uuid=UUID, at_us=OURS + 50),
        *whole_call(UUID)[:2],
        CommandIssued(uuid=UUID, at_us=OURS + 70, command="hold"),
        CommandIssued(uuid=UUID, at_us=OURS + 80, command="hold"),
        CommandIssued(uuid=UUID, at_us=OURS + 80, command="dtmf", detail="1"),
        *whole_call(UUID)[2:],
        JOB_FAILED.replace(b"-ERR USER_BUSY", b"+OK " + UUID.encode()),
    ],
}


@pytest.mark.parametrize("story", OWN)
def test_facts_of_ours_are_told_again_once(story: str, tmp_path: Path) -> None:
    """Also the second of two commands that are alike, and none of them twice."""
    facts = OWN[story]
    told: set[str] = set()
    for at in range(len(facts) + 1):
        for committed_at in range(at + 1):
            store, folder = Kept(), tmp_path / f"{at}-{committed_at}"
            first = Life(store, folder)
            first.take([QUEUED])
            store.commit()
            first.take(facts[:committed_at])
            store.commit()
            first.take(facts[committed_at:at])
            first.crash()
            second = Life(store, folder)
            second.begin()
            second.take(facts[at:])
            second.end()
            told.add(repr(store.told()))
    assert len(told) == 1


def test_what_our_clock_stamps_is_stamped_as_it_was_then(tmp_path: Path) -> None:
    """The end of a call without a channel is when its job answered, not when that was read again; later ones go on."""
    store = Kept()
    first = Life(store, tmp_path)
    first.now_us = OURS
    later = "01949c5c-0000-7000-8000-000000000002"
    other = msgspec.structs.replace(QUEUED, uuid=later, call_id=later, job_uuid="j2")
    first.take([QUEUED, other])
    store.commit()
    first.take([OriginateSent(uuid=UUID, at_us=OURS + 50), JOB_FAILED])
    first.crash()
    second = Life(store, tmp_path)
    second.now_us = OURS + 60_000_000
    second.begin()
    record = record_of(second.book.calls[UUID])
    assert (record.dial_us, record.end_us) == (OURS + 50, OURS + 50)
    second.take([JOB_FAILED.replace(b"j1", b"j2")])
    assert record_of(second.book.calls[later]).end_us == OURS + 60_000_050


def test_a_call_that_was_found_on_the_switch_is_not_lost_with_its_end(tmp_path: Path) -> None:
    """Its creation was never heard of: what the switch answered when asked is kept as well."""
    store = Kept()
    first = Life(store, tmp_path)
    listed = TRANSLATOR.json(event("CHANNEL_DATA", headers("u1", T, answered=T + 1_000_000)))
    assert isinstance(listed, LegListed)
    first.take([listed, *whole_call("u1")[2:]])
    first.crash()
    second = Life(store, tmp_path)
    second.begin()
    second.end()
    ((record, notes, outbox),) = store.told().values()  # type: ignore[misc]
    assert b"NORMAL_CLEARING" in record
    assert notes[0].source == "snapshot"
    assert len(outbox) == 3


# -- what cannot be used -----------------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def test_another_switchs_segments_are_set_aside(tmp_path: Path) -> None:
    other = Life(Kept(), tmp_path, node="n2")
    other.take(whole_call())
    other.crash()
    store = Kept()
    life = Life(store, tmp_path)
    assert life.begin() == (0, 0, 0)
    life.end()
    assert store.told() == {}
    assert (life.spool.set_aside, life.spool.bytes, life.spool.left_behind) == (1, 0, [])
    assert names(tmp_path / ASIDE) == ["000000000001.json", "000000000001.spool"]


def test_segments_from_before_the_switch_told_its_name(tmp_path: Path) -> None:
    """They are ours where the address is; one in which it was told then is ours by that."""
    store = Kept()
    for named in (False, True):
        first = Life(store, tmp_path)
        first.spool.node = ""
        first.take(whole_call("u1" if named else "u2"))
        if named:
            first.spool.name_node("n1")
            first.spool.switch = ""
        first.crash()
    life = Life(store, tmp_path)
    assert life.begin().segments == 2
    life.end()
    assert len(store.told()) == 2
    elsewhere = Life(Kept(), tmp_path)
    elsewhere.spool.switch = "10.0.0.1:8021"
    elsewhere.begin()
    assert elsewhere.spool.set_aside == 1


def test_poison_is_set_aside_one_by_one(tmp_path: Path) -> None:
    store = Kept()
    first = Life(store, tmp_path)
    bad = [b"{", b"\xff\xfe"]
    first.receive([bad[0], *whole_call(), bad[1]])
    first.crash()
    life = Life(store, tmp_path)
    life.begin()
    life.end()
    assert [body for body, _ in life.poison] == bad
    assert len(store.told()) == 1


def test_damage_in_the_middle_costs_no_more_than_itself(tmp_path: Path) -> None:
    """The rest is told; the file is kept for people, after what came of it was committed."""
    store = Kept()
    first = Life(store, tmp_path)
    for number in range(3):
        first.receive(whole_call(f"u{number}"))
    first.crash()
    (path,) = tmp_path.glob("*.spool")
    data = bytearray(path.read_bytes())
    at = data.index(b'"u1"')
    at = data.rindex(b"\x89CeS", 0, at)
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    life = Life(store, tmp_path)
    life.begin()
    life.end()
    assert {call.own.uuid for call in life.book.calls.values()} == {"u0", "u2"}
    assert (life.spool.set_aside, path.exists()) == (0, True)
    life.tend()
    assert (life.spool.set_aside, path.exists()) == (1, False)
    assert names(tmp_path / ASIDE) == [f"{path.stem}.json", path.name]


def test_the_database_away_during_a_replay_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Kept()
    first = Life(store, tmp_path, segment_bytes=1)
    for number in range(3):
        first.take(whole_call(f"u{number}"))
    first.crash()
    life = Life(store, tmp_path)
    real, asked = store.calls_of_channels, []

    def away(node: str, uuids: object) -> object:
        asked.append(uuids)
        if len(asked) == 2:
            raise StoreUnavailable("away")
        return real(node, uuids)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "calls_of_channels", away)
    with pytest.raises(StoreUnavailable):
        life.begin()
    assert len(life.spool.left_behind) == 8
    life.begin()
    life.end()
    assert len(store.told()) == 3
    assert life.spool.left_behind == []


def test_who_hung_up_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """A call over and committed, whose end was to be told once the other side's is known; that never comes."""
    store = Kept()
    first = Life(store, tmp_path)
    for body in bodies_of("f3_uuid_bridge.json"):
        first.take([body])
        waiting = [call.id for call in first.book.calls.values() if call.over and not call.told & Told.ENDED]
        if waiting:
            break
    store.commit()
    first.crash()
    second = Life(store, tmp_path)
    second.begin()
    second.end()
    assert [told for (call_id, _), (told, _) in store.outbox.items() if call_id in waiting][-1] == "call.ended"
