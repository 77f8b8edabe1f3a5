"""From files to rows: what is taken in, what is set aside, and what a restart remembers."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import gevent
import pytest

from callengine.calls.call import EventName
from callengine.calls.facts import LegAnswered, LegCreated, LegEnded, LegGone
from callengine.cdr.folder import Folder, Found
from callengine.errors import StoreUnavailable
from callengine.store.database import Store
from tests.cdr.house import DAY_US, House, T, cdr, uuid

MakeHouse: TypeAlias = Callable[..., House]
A, B, C = uuid(1), uuid(2), uuid(3)


@pytest.fixture
def build(store: Store, tmp_path: Path) -> Iterator[MakeHouse]:
    built: list[House] = []

    def make(**settings: Any) -> House:
        built.append(House(store, tmp_path, **settings))
        return built[-1]

    yield make
    for house in built:
        house.close()


@pytest.fixture
def house(build: MakeHouse) -> House:
    return build()


def begun(channel: str) -> LegCreated:
    return LegCreated(
        uuid=channel,
        core_uuid="core-1",
        at_us=T,
        created_us=T,
        direction="inbound",
        caller_number="+15550100",
        callee_number="+15550199",
    )


def answered(channel: str) -> LegAnswered:
    return LegAnswered(uuid=channel, core_uuid="core-1", at_us=T + 1_000_000, created_us=T, answered_us=T + 1_000_000)


def over(channel: str) -> LegEnded:
    return LegEnded(
        uuid=channel,
        core_uuid="core-1",
        at_us=T + 5_000_000,
        created_us=T,
        answered_us=T + 1_000_000,
        hangup_us=T + 5_000_000,
        hangup_cause="NORMAL_CLEARING",
    )


# -- calls -------------------------------------------------------------------------------------------------------------


def test_a_record_alone_makes_a_call(house: House) -> None:
    house.write(A, cdr(A))
    house.settle()
    row = house.row(A)
    assert (row.status, row.dial_us, row.answer_us, row.end_us) == ("completed", T, T + 1_000_000, T + 5_000_000)
    assert (row.hangup_cause, row.end_source, row.caller_number) == ("NORMAL_CLEARING", "cdr", "+15550100")
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED, EventName.ENDED]
    assert house.counted("taken") == 1


def test_a_live_call_whose_end_was_missed(house: House) -> None:
    house.take(begun(A), answered(A))
    house.write(A, cdr(A))
    house.settle()
    assert (house.row(A).end_us, house.row(A).end_source) == (T + 5_000_000, "cdr")
    assert house.told(A).count(EventName.ENDED) == 1


@pytest.mark.parametrize("order", ["before", "after", "twice", "weeks later"])
def test_with_the_events_in_any_order_it_is_the_same_row(house: House, order: str) -> None:
    house.take(begun(A), answered(A))
    if order != "before":
        house.take(over(A))
    if order == "weeks later":
        house.forget()
        house.tick(6 * 86_400)
    house.write(A, cdr(A))
    house.settle()
    if order == "before":
        house.take(over(A))
    if order == "twice":
        house.write(A, cdr(A), age_s=0.5)
        house.settle()
    row = house.row(A)
    assert (row.status, row.answer_us, row.end_us) == ("completed", T + 1_000_000, T + 5_000_000)
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED, EventName.ENDED]


@pytest.mark.parametrize("later", [False, True])
def test_a_call_closed_with_bounds_gets_its_true_end(house: House, later: bool) -> None:
    house.take(begun(A), answered(A))
    house.take(LegGone(uuid=A, at_us=T + 9_000_000, before_us=T + 9_000_000))
    before = house.row(A)
    assert (before.live, before.end_us, before.end_source) == (False, None, "bounds")
    if later:
        house.forget()
    house.write(A, cdr(A))
    house.settle()
    row = house.row(A)
    assert (row.id, row.end_us, row.hangup_cause) == (before.id, T + 5_000_000, "NORMAL_CLEARING")
    assert (row.end_source, row.ended_after_us, row.ended_before_us) == ("cdr", None, None)
    assert house.told(A)[-2:] == [EventName.ENDED, EventName.CORRECTED]
    house.write(A, cdr(A), age_s=0.5)
    house.settle()
    assert house.told(A).count(EventName.CORRECTED) == 1


def bridged_pair() -> tuple[bytes, bytes]:
    """A caller who was connected to an agent."""
    at = str(T + 2_000_000)
    caller = cdr(A, bridge_uepoch=at, last_bridge_to=B, sip_hangup_disposition="send_bye")
    agent = cdr(
        B,
        at=1.0,
        ended=3.9,
        direction="outbound",
        originator=A,
        dialed_user="1001",
        bridge_uepoch=at,
        last_bridge_to=A,
        sip_hangup_disposition="recv_bye",
    )
    return caller, agent


@pytest.mark.parametrize("first", ["caller", "agent", "together"])
def test_a_leg_and_its_call_in_any_order_are_told_once(house: House, first: str) -> None:
    caller, agent = bridged_pair()
    if first == "caller":
        house.write(A, caller)
        house.intake.once()
        house.tick(0.2)
        house.write(B, agent)
        house.intake.once()
    elif first == "agent":
        house.write(B, agent)
        house.settle()
        assert house.intake.files == 1
        house.write(A, caller)
    else:
        house.write(A, caller, age_s=1.0)
        house.write(B, agent, age_s=1.1)
    house.settle()
    row = house.row(A)
    assert (row.agent_id, row.agent_connect_us, row.hangup_by) == ("1001", T + 2_000_000, "callee")
    assert [leg["fs_uuid"] for leg in row.legs] == [B]
    assert house.rows(B) == {}
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED, EventName.AGENT_CONNECTED, EventName.ENDED]
    house.settle()
    assert house.intake.files == 0


def test_a_leg_of_a_call_that_has_left_the_book(house: House) -> None:
    caller, agent = bridged_pair()
    house.write(A, caller)
    house.settle()
    assert house.row(A).agent_id is None
    house.forget()
    house.write(B, agent)
    house.settle()
    assert house.row(A).agent_id == "1001"
    assert house.told(A)[-2:] == [EventName.ENDED, EventName.CORRECTED]
    assert house.rows(B) == {}


def test_a_leg_whose_call_never_comes_is_given_up(house: House) -> None:
    house.write(B, bridged_pair()[1])
    house.settle()
    assert house.intake.files == 1
    house.tick(61)
    house.settle()
    assert house.intake.files == 0
    assert house.counted("without_call") == 1


def test_what_is_restored_leaves_the_book_again(house: House) -> None:
    for number in range(50):
        house.write(uuid(number), cdr(uuid(number)), age_s=600)
    house.settle()
    assert len(house.rows(*(uuid(n) for n in range(50)))) == 50
    house.tick(6)
    assert not house.book.calls
    assert house.book.sizes() == dict.fromkeys(house.book.sizes(), 0)


def test_a_batch_costs_one_flush_and_one_query(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        house.write(uuid(number), cdr(uuid(number)))
    queries: list[object] = []
    run = house.store.run

    def counted(fn: Any, timeout_s: float) -> Any:
        queries.append(fn)
        return run(fn, timeout_s)

    monkeypatch.setattr(house.store, "run", counted)
    house.intake.once()
    assert len(queries) == 1


def test_too_old_for_a_call_of_its_own_but_not_for_a_correction(house: House) -> None:
    house.take(begun(A), answered(A))
    house.take(LegGone(uuid=A, before_us=T + 9_000_000))
    house.forget()
    house.tick(8 * 86_400)
    house.write(A, cdr(A))
    house.write(C, cdr(C))
    house.settle()
    assert house.row(A).end_source == "cdr"
    assert house.rows(C) == {}
    assert house.counted("too_old") == 1


def test_another_switchs_records_are_left_alone(build: MakeHouse) -> None:
    house = build(switchname="fs1", after="delete")
    path = house.write(A, cdr(A).replace(b'"fs1"', b'"fs2"'))
    house.write(B, cdr(B))
    house.settle()
    assert house.rows(A, B).keys() == {B}
    assert path.exists()
    assert house.counted("foreign") == 1


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_that_grows_is_read_when_it_has_grown(house: House) -> None:
    whole = cdr(A)
    for part in (0, 10, len(whole) // 2, len(whole) - 1):
        house.write(A, whole[:part])
        house.settle()
    assert house.rows(A) == {}
    assert not house.set_aside()
    house.write(A, whole)
    house.settle()
    assert house.row(A).end_source == "cdr"


def test_while_we_cannot_open_files_none_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(A, cdr(A))

    def out_of_files(folder: Folder, found: Found, max_bytes: int) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", out_of_files)
        for _ in range(4):
            house.settle()
    assert house.counted("unreadable") == 0
    house.settle()
    assert house.row(A).end_source == "cdr"


def test_one_that_has_stopped_growing_is_set_aside_and_the_next_is_read(house: House) -> None:
    bad = house.write(A, cdr(A)[:50])
    house.write(B, cdr(B))
    house.settle()
    assert house.row(B).end_source == "cdr"
    assert not house.set_aside()
    house.settle()
    house.settle()
    (note,) = house.set_aside()
    assert note["kind"] == "cdr"
    assert "no JSON" in note["reason"]
    assert bad.exists()
    assert house.counted("unreadable") == 1
    house.settle()
    assert house.intake.files == 0
    assert len(house.set_aside()) == 1


def test_links_folders_fifos_and_giants_are_no_records(build: MakeHouse, tmp_path: Path) -> None:
    house = build(max_bytes=1000)
    (tmp_path / "elsewhere.json").write_bytes(cdr(A))
    (house.folder / "link.json").symlink_to(tmp_path / "elsewhere.json")
    (house.folder / "folder.json").mkdir()
    os.mkfifo(house.folder / "fifo.json")
    house.write("giant", cdr(B) + b" " * 1000)
    house.write(".hidden", cdr(B))
    house.write(C, cdr(C))
    for _ in range(4):
        house.settle()
    assert house.rows(A, B, C).keys() == {C}
    assert house.counted("unreadable") == 1


def test_kept_files_are_read_once_and_again_when_they_were_written_over(house: House) -> None:
    house.write(A, cdr(A, answered=None, hangup_cause="USER_BUSY"))
    house.settle()
    house.settle()
    assert house.counted("taken") == 1
    # The UUID lived again: the second record takes the first one's place.
    house.write(A, cdr(A, at=10.0), age_s=0.1)
    house.settle()
    assert house.counted("taken") == 2
    row = house.row(A)
    assert (row.status, row.dial_us, row.end_us) == ("completed", T, T + 15_000_000)


def test_deleted_once_committed_if_so_set(build: MakeHouse) -> None:
    house = build(after="delete")
    path = house.write(A, cdr(A))
    house.settle()
    assert house.row(A).end_source == "cdr"
    assert not path.exists()


def test_nothing_is_done_with_while_the_database_is_away(build: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build(after="delete")
    path = house.write(A, cdr(A))

    def away(timeout_s: float) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(house.writer, "flush", away)
        with pytest.raises(StoreUnavailable):
            house.intake.once()
    assert path.exists()
    house.intake._forget_turn()
    house.settle()
    assert house.row(A).end_source == "cdr"
    assert not path.exists()


def test_a_restart_reads_what_is_new_and_a_margin(house: House) -> None:
    for number in range(10):
        house.write(uuid(number), cdr(uuid(number)), age_s=1000 - number)
    house.settle()
    house.restart()
    house.write(C + "x", cdr(uuid(99)), age_s=0)
    house.settle()
    assert house.counted("taken") == 1 + 10  # all within a minute of the last
    house.restart()
    house.settle()
    assert house.counted("taken") == 1
    marks = json.loads((house.tmp_path / "cdr-marks.json").read_bytes())
    assert list(marks) == [str(house.folder)]


def test_a_mark_of_the_future_hides_nothing(house: House) -> None:
    """The clock of the machine was an hour ahead, and was set back while we were away."""
    house.now_us += 3_600_000_000
    house.write(A, cdr(A), age_s=1)
    house.settle()
    house.now_us -= 3_600_000_000
    house.restart()
    house.write(C, cdr(C), age_s=1)
    house.settle()
    assert house.row(C).end_source == "cdr"


def test_a_mark_never_passes_what_waits(house: House) -> None:
    house.write(B, bridged_pair()[1], age_s=500)
    house.write(C, cdr(C), age_s=1)
    house.settle()
    house.restart()
    house.settle()
    assert house.intake.files == 1


def test_records_from_before_since_days_are_not_even_read(house: House) -> None:
    house.write(A, cdr(A), age_s=8 * 86_400)
    house.settle()
    assert house.rows(A) == {}
    assert house.counted("too_old") == 0


def test_without_its_directory_it_waits_for_it(house: House) -> None:
    house.folder.rmdir()
    house.settle()
    house.folder.mkdir()
    house.write(A, cdr(A))
    house.settle()
    assert house.row(A).end_source == "cdr"


# -- posted ------------------------------------------------------------------------------------------------------------


def test_posted_records_are_taken_in_and_gone(build: MakeHouse) -> None:
    house = build(posted=True)
    assert house.inbox is not None
    assert house.inbox.put(cdr(A))
    assert house.inbox.put(b"{ not a record")
    assert (house.inbox.files, len(list(house.inbox.directory.iterdir()))) == (2, 2)
    house.settle()
    assert house.row(A).end_source == "cdr"
    assert house.counted("taken", "inbox") == 1
    assert [note["bytes"] for note in house.set_aside()] == [14]
    assert (house.inbox.files, house.inbox.bytes) == (0, 0)
    assert not list(house.inbox.directory.iterdir())


def test_posted_records_survive_a_restart(build: MakeHouse) -> None:
    house = build(posted=True)
    assert house.inbox is not None
    assert house.inbox.put(cdr(A))
    (house.inbox.directory / ".1-1.json.tmp").write_bytes(b"half")
    house.inbox.prepare()
    assert house.inbox.files == 1
    house.intake = house.new_intake()
    house.settle()
    assert house.row(A).end_source == "cdr"


@pytest.mark.parametrize("posted", [True, False])
def test_a_record_is_kept_until_all_that_it_tells_is_told(build: MakeHouse, tmp_path: Path, posted: bool) -> None:
    """Its call's end waits a moment for the other side's record: killed in that moment, only the file still has it."""
    house = build(posted=posted, after="delete")
    caller, _ = bridged_pair()
    if house.inbox is not None:
        assert house.inbox.put(caller)
    else:
        house.write(A, caller)
    house.intake.once()
    assert house.told(A) == [EventName.DIALING, EventName.ANSWERED]
    house.intake.close()
    after = build(posted=posted, after="delete")
    after.settle()
    after.settle()
    assert after.told(A) == [EventName.DIALING, EventName.ANSWERED, EventName.ENDED]
    assert list(tmp_path.glob("*/*.json")) == []


def test_what_was_set_aside_is_tried_again_through_the_inbox(house: House) -> None:
    inbox = house.tmp_path / "cdr-inbox"
    inbox.mkdir()
    (inbox / "1-1.json").write_bytes(cdr(A))
    house.settle()
    assert house.row(A).end_source == "cdr"
    assert not list(inbox.iterdir())


# -- waiting for what is there -----------------------------------------------------------------------------------------


def test_catching_up_ends_when_the_records_are_in(build: MakeHouse) -> None:
    house = build(grace_s=30.0)
    house.take(begun(A), answered(A))
    house.write(A, cdr(A))
    worker = gevent.spawn(house.intake.run)
    try:
        with gevent.Timeout(5):
            house.intake.catch_up(lambda: (leg := house.book.leg(A)) is not None and leg.over)
    finally:
        worker.kill()
    assert house.row(A).end_source == "cdr"


def test_catching_up_ends_after_its_grace(build: MakeHouse) -> None:
    house = build(grace_s=2.0)
    worker = gevent.spawn(house.intake.run)

    def clock() -> None:
        while True:
            gevent.sleep(0.01)
            house.tick(0.1)

    ticking = gevent.spawn(clock)
    try:
        with gevent.Timeout(5):
            house.intake.catch_up(lambda: False)
    finally:
        worker.kill()
        ticking.kill()
    assert house.now_s >= 1002.0
    assert house.now_us < T + 3600_000_000 + DAY_US
