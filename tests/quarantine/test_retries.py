"""What was set aside is tried again: true or not at all, and twice like once."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import gevent
import msgspec
import pytest

from callengine.calls.call import EventName
from callengine.calls.facts import CallQueued, CommandIssued, JobAnswered, LegGone, OriginateSent
from callengine.errors import EslDisconnected, StoreUnavailable
from callengine.retries import NO_CALL, NO_JOB
from callengine.spool import kept, segments
from callengine.spool.segments import Spool
from callengine.store import refused
from callengine.store.database import Store
from callengine.store.refused import Refused
from tests.cdr.house import NODE, T, cdr, uuid
from tests.engine.fakes import event, headers
from tests.engine.test_tracker import whole_call
from tests.quarantine.house import House
from tests.store.build import a_call, ended, noted, published

A, B, C = uuid(1), uuid(2), uuid(3)


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path)
    yield made
    made.close()


def take(house: House, *bodies: bytes) -> None:
    for body in bodies:
        house.tracker._batch_left = 1
        house.tracker._one(body)
    house.tick(3)
    house.writer.flush(10)


def at(channel: str, number: int) -> list[bytes]:
    """The events of a whole call, as if that channel had been created ``number`` seconds after T."""
    shifted = number * 1_000_000
    begun = headers(channel, T + shifted)
    answered = headers(channel, T + shifted, answered=T + shifted + 1_000_000)
    over = headers(channel, T + shifted, answered=T + shifted + 1_000_000, hangup=T + shifted + 5_000_000)
    return [
        event("CHANNEL_CREATE", begun),
        event("CHANNEL_ANSWER", answered),
        event("CHANNEL_HANGUP", answered, **{"Hangup-Cause": "NORMAL_CLEARING"}),
        event("CHANNEL_HANGUP_COMPLETE", over, **{"Hangup-Cause": "NORMAL_CLEARING"}),
    ]


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_of_a_live_call(house: House) -> None:
    create, answer, *_ = at(A, 0)
    take(house, create)
    assert house.again(answer) == [None]
    assert house.row(A).status == "answered"
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED]
    assert house.asked == []


def test_an_end_that_could_not_be_read_corrects_a_call_that_was_closed_with_bounds(house: House) -> None:
    create, answer, _, end = at(A, 0)
    take(house, create, answer)
    house.take(LegGone(uuid=A, before_us=T + 9_000_000))
    house.forget()
    assert house.row(A).end_source == "bounds"
    for _ in range(2):
        assert house.again(end) == [None]
        row = house.row(A)
        assert (row.end_us, row.end_source, row.hangup_cause) == (T + 5_000_000, "event", "NORMAL_CLEARING")
        assert house.told(A)[-2:] == [EventName.ENDED, EventName.CORRECTED]
        house.forget()


def test_all_events_of_a_call_that_is_over_change_nothing_in_any_order(house: House) -> None:
    bodies = at(A, 0)
    take(house, *bodies)
    house.forget()
    before, told, notes = house.row(A), house.told(A), house.reads.timeline(house.tenant, house.row(A).id)
    random.Random(4).shuffle(bodies)
    assert house.again(*bodies) == [None] * 4
    house.forget()
    assert (house.row(A), house.told(A)) == (before, told)
    assert house.reads.timeline(house.tenant, before.id) == notes
    assert house.asked == []


def test_a_recording_of_a_call_that_is_over(house: House) -> None:
    take(house, *at(A, 0))
    house.forget()
    stopped = event(
        "RECORD_STOP",
        headers(A, T, answered=T + 1_000_000),
        **{"Record-File-Path": "/r/a.wav", "variable_record_ms": "3000"},
    )
    assert house.again(stopped) == [None]
    (recording,) = house.row(A).recordings
    assert (recording["path"], recording["duration_ms"]) == ("/r/a.wav", 3000)
    assert not house.row(A).live


def test_of_a_channel_that_nobody_knows_it_stays_until_a_cdr_makes_its_call(house: House) -> None:
    _, answer, hangup, end = at(A, 0)
    assert house.again(answer, hangup, end) == [NO_CALL] * 3
    assert house.rows(A) == {}
    house.write(A, cdr(A, hangup_cause="NORMAL_CLEARING"))
    house.settle()
    for entry in house.quarantine.entries():
        house.quarantine.mark(entry.id)
    house.retries.once()
    assert house.quarantine.entries() == []
    assert house.row(A).end_source == "cdr"


def test_a_creation_never_makes_a_live_call_of_a_channel_that_is_gone(house: House) -> None:
    live: list[bool] = []
    put = house.writer.put
    house.writer.put = lambda call, record=None: (live.append(not call.over), put(call, record))[1]  # type: ignore[method-assign]
    assert house.again(at(A, 0)[0]) == [None]
    row = house.row(A)
    assert (row.live, row.end_source, row.end_us, row.hangup_cause) == (False, "bounds", None, None)
    assert row.dial_us == T
    assert house.told(A) == [EventName.DIALING, EventName.ENDED]
    assert house.asked == [A]
    # Its end is then known from the record, as ever.
    house.write(A, cdr(A))
    house.settle()
    assert house.row(A).end_source == "cdr"


def test_a_creation_of_a_channel_that_lives(house: House) -> None:
    house.alive.add(A)
    assert house.again(at(A, 0)[0]) == [None]
    assert house.row(A).live


def test_a_creation_does_not_reopen_an_originated_call_that_ended_without_it(house: House) -> None:
    house.take(
        CallQueued(uuid=A, call_id=uuid(9), job_uuid="j", tenant_id=house.tenant, at_us=T),
        OriginateSent(uuid=A, at_us=T),
        JobAnswered(job_uuid="j", text="-ERR USER_BUSY"),
    )
    house.tick(1)
    house.forget()
    assert not house.row(A).live
    assert house.again(at(A, 0)[0]) == [None]
    assert not house.row(A).live
    assert house.asked == [A]


def test_while_the_switch_cannot_be_asked_it_waits(house: House) -> None:
    house.away = True
    house.quarantine.mark(house.keep(at(A, 0)[0]))
    with pytest.raises(EslDisconnected):
        house.retries.once()
    assert [entry.again for entry in house.quarantine.entries()] == [True]
    assert house.rows(A) == {}
    house.away = False
    house.retries.once()
    assert house.quarantine.entries() == []


def test_a_creation_of_long_ago_makes_no_call(house: House) -> None:
    house.tick(40 * 86_400)
    (reason,) = house.again(at(A, 0)[0])
    assert reason is not None
    assert "since_days" in reason
    assert house.rows(A) == {}


def test_what_tells_of_no_call_and_what_comes_too_late(house: House) -> None:
    stamp = {"Event-Date-Timestamp": str(T), "Core-UUID": "c"}
    job = event("BACKGROUND_JOB", stamp, **{"Job-UUID": "j", "_body": "-ERR USER_BUSY"})
    odd = event("CHANNEL_CREATE", headers("no uuid;", T))
    reasons = house.again(event("HEARTBEAT", stamp), event("CODEC", stamp), event("SHUTDOWN", stamp), job, odd, b"{")
    assert reasons[:4] == [None, None, None, NO_JOB]
    assert "nobody knows whether it lives" in str(reasons[4])
    assert reasons[5] is not None
    assert house.rows("no uuid;") == {}


def test_another_switchs_is_left_alone(house: House) -> None:
    entry_id = house.keep(at(A, 0)[0], node="elsewhere")
    house.quarantine.mark(entry_id)
    house.retries.once()
    (entry,) = house.quarantine.entries()
    assert entry.reason == f"it is of the switch elsewhere, not of {NODE}"
    assert (house.rows(A), house.asked) == ({}, [])


def test_facts_of_ours_are_told_once(house: House) -> None:
    take(house, at(A, 0)[0])
    body = kept.encode(CommandIssued(uuid=A, at_us=T + 5, command="hold"))
    assert body is not None
    for _ in range(2):
        assert house.again(body) == [None]
    house.writer.flush(10)
    names = [note.name for note in house.reads.timeline(house.tenant, house.row(A).id)]
    assert names.count("hold") == 1
    assert house.again(body.replace(A.encode(), B.encode())) == [NO_CALL]


def test_an_odd_one_stops_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    take(house, at(A, 0)[0], at(B, 1)[0])
    real = house.book.apply

    def apply(fact: object, now: float) -> object:
        if getattr(fact, "uuid", "") == A:
            raise RuntimeError("boom")
        return real(fact, now)  # type: ignore[arg-type]

    monkeypatch.setattr(house.book, "apply", apply)
    assert house.again(at(A, 0)[1], at(B, 1)[1]) == ["RuntimeError while it was tried again", None]
    assert house.row(B).status == "answered"


def test_while_the_database_is_away_it_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    take(house, at(A, 0)[0])

    def away(timeout_s: float) -> None:
        raise StoreUnavailable("it is away")

    house.quarantine.mark(house.keep(at(A, 0)[1]))
    with monkeypatch.context() as patch:
        patch.setattr(house.writer, "flush", away)
        with pytest.raises(StoreUnavailable):
            house.retries.once()
    assert [entry.again for entry in house.quarantine.entries()] == [True]
    house.retries.once()
    assert house.quarantine.entries() == []
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED]


# -- rows --------------------------------------------------------------------------------------------------------------


def kept_row(house: House) -> str:
    with gevent.Timeout(10):
        while not (found := [entry for entry in house.quarantine.entries() if entry.kind == "row"]):
            gevent.sleep(0.01)
    (entry,) = found
    return entry.id


def test_a_refused_row_is_kept_whole_and_written_once_it_can_be(house: House) -> None:
    blocker = a_call(T, tenant_id=house.tenant, node=NODE)
    house.writer.put(blocker)
    call = msgspec.structs.replace(
        ended(a_call(T + 5000, tenant_id=house.tenant, node=NODE, uuid=blocker.fs_uuid)), seq=1
    )
    house.writer.put(call)
    house.writer.note(noted(call, "created"))
    house.writer.note(noted(call, "ended"))
    house.writer.publish(published(call, EventName.ENDED, 1))
    other = a_call(tenant_id=house.tenant, node=NODE)
    house.writer.put(other)
    house.writer.flush(10)
    assert house.row(other.fs_uuid).id == other.id
    entry_id = kept_row(house)
    assert house.sample("callengine_poison_total", kind="row") == 1
    house.quarantine.mark(entry_id)
    house.retries.once()
    (entry,) = house.quarantine.entries()
    assert entry.reason == f"its channel is that of call {blocker.id}"
    assert entry.call_id == call.id
    pack = {"sqlite": "x'" + blocker.id.replace("-", "") + "'", "postgres": f"'{blocker.id}'"}[house.store.kind]
    house.writer.execute(lambda db: db.execute_sql(f"DELETE FROM call WHERE id = {pack}"), 10)
    body = house.quarantine.read(entry_id)
    for _ in range(2):
        house.quarantine.mark(house.keep(body, "row"))
        house.retries.once()
        assert house.quarantine.entries() == []
        assert house.row(call.fs_uuid).id == call.id
        assert [n.name for n in house.reads.timeline(house.tenant, call.id)] == ["created", "ended"]
        assert house.told(call.fs_uuid) == [EventName.ENDED]


def test_one_that_is_refused_again_stays_once(house: House) -> None:
    call = ended(a_call(tenant_id="nobody", node=NODE))
    house.writer.put(call)
    house.writer.flush(10)
    house.quarantine.mark(kept_row(house))
    house.retries.once()
    (entry,) = house.quarantine.entries()
    assert "the database refuses it" in str(entry.reason)
    assert not entry.again


def test_what_is_new_of_a_call_while_it_is_tried_is_kept_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ended(a_call(tenant_id="nobody", node=NODE))
    house.writer.put(call)
    house.writer.flush(10)
    house.quarantine.mark(kept_row(house))
    flush = house.writer.flush

    def meanwhile(timeout_s: float) -> None:
        if house.retries._trying is not None:
            house.writer.note(noted(call, "later"))
        flush(timeout_s)

    monkeypatch.setattr(house.writer, "flush", meanwhile)
    house.retries.once()
    with gevent.Timeout(10):
        while len(house.quarantine.entries()) < 2:
            gevent.sleep(0.01)
    found = [refused.decode(house.quarantine.read(entry.id)) for entry in house.quarantine.entries()]
    assert sorted([note.name for note in rows.notes] for rows in found) == [[], ["later"]]


def test_a_row_of_a_call_that_lived_then_is_never_said_to_live_now(house: House) -> None:
    call = msgspec.structs.replace(a_call(T, tenant_id=house.tenant, node=NODE), seq=1)
    body = refused.encode(Refused(call_id=call.id, call=call, notes=(noted(call, "created").note,)))
    assert house.again(body, kind="row") == [None]
    row = house.row(call.fs_uuid)
    assert (row.live, row.end_source) == (False, "bounds")
    house.forget()
    # An older state never takes the place of a newer one.
    assert house.again(body, kind="row") == [None]
    assert house.row(call.fs_uuid) == row


def test_what_no_database_holds_is_kept_as_it_was() -> None:
    call = a_call(caller_name="\0\ud800", hangup_us=1 << 70)
    rows = Refused(call_id=call.id, call=call, published=(published(call, EventName.DIALING, 1),))
    assert refused.decode(refused.encode(rows)) == rows


# -- CDRs and segments -------------------------------------------------------------------------------------------------


def test_a_cdr_goes_to_where_cdrs_are_taken_in(house: House) -> None:
    assert house.again(cdr(A), kind="cdr") == [None]
    house.settle()
    assert house.row(A).end_source == "cdr"
    house.retries._cdr_inbox = None
    (reason,) = house.again(cdr(B), kind="cdr")
    assert reason is not None
    assert "cdr.directories" in reason


def segment(house: House, node: str, *bodies: bytes, name: str = "000000000007") -> Path:
    """Set aside, as by an earlier life."""
    folder = house.tmp_path / name
    spool = Spool(folder, node=node, switch="s", max_bytes=1 << 30, reserve_bytes=0)
    spool.open()
    assert spool.keep(bodies, 1) is not None
    spool.close()
    (found,) = folder.glob("*.spool")
    house.segments.directory.mkdir(parents=True, exist_ok=True)
    path = house.segments.directory / f"{name}.spool"
    os.rename(found, path)
    house.segments.annotate(name, {"kind": "segment", "reason": "odd", "node": node})
    return path


def test_a_segment_is_replayed_where_it_lies(house: House) -> None:
    path = segment(house, NODE, *at(A, 0), at(B, 1)[0])
    house.segments.mark("segment-000000000007")
    house.retries.once()
    house.tick(3)
    assert house.row(A).hangup_cause == "NORMAL_CLEARING"
    assert not path.exists()
    assert house.segments.entries() == []
    assert house.suspects == [B]


def test_a_segment_that_still_cannot_be_used(house: House) -> None:
    other = segment(house, "elsewhere", *at(A, 0))
    cut = segment(house, NODE, *at(B, 0), *whole_call("u1"), name="000000000008")
    cut.write_bytes(cut.read_bytes() + b"garbage behind it")
    for name in (other.stem, cut.stem):
        house.segments.mark(f"segment-{name}")
    house.retries.once()
    reasons = {entry.id: entry.reason for entry in house.segments.entries()}
    assert reasons["segment-000000000007"] == f"it is of the switch elsewhere, not of {NODE}"
    assert "cannot be read" in str(reasons["segment-000000000008"])
    assert house.rows(A) == {}
    assert house.row(B).end_us is not None


def test_a_segment_never_takes_the_place_of_one_that_was_set_aside(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    for number in range(5, 106):
        for suffix in ("spool", "json"):
            (aside / f"{number:012d}.{suffix}").touch()
    spool = Spool(tmp_path, node=NODE, switch="s", max_bytes=1 << 30, reserve_bytes=0)
    spool.open()
    place = spool.keep([b"{}"], 1)
    assert place is not None
    assert place.path.name == "000000000106.spool"
    spool.close()
    assert segments._set_aside(place.path) is None
    names = sorted(path.name for path in aside.iterdir())
    assert len(names) == 2 * 99 + 1
    assert names[0] == "000000000007.json"
    assert names[-1] == "000000000106.spool"


# -- how much there is -------------------------------------------------------------------------------------------------


def test_how_many_there_are_is_told_by_kind(house: House) -> None:
    house.keep(b"{")
    house.keep(cdr(A), "cdr")
    segment(house, NODE, *at(A, 0))
    house.retries._count()
    found = {
        kind: house.sample("callengine_quarantined", kind=kind)
        for kind in ("event", "cdr", "row", "segment", "recording", "job")
    }
    assert found == {"event": 1, "cdr": 1, "row": 0, "segment": 1, "recording": 0, "job": 0}
