"""Rows against records: missing, extra, different, each with the field; and nothing where all is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callengine.cdr.audit import Audit, Audited
from callengine.cdr.nightly import NightlyAudit
from callengine.cdr.reading import CdrReader
from callengine.config.settings import Settings
from callengine.store.database import Store
from tests.cdr.house import NODE, House, T, cdr, uuid

END = 1 << 60
A, B, C = uuid(1), uuid(2), uuid(3)
BRIDGED = str(T + 2_000_000)


@pytest.fixture
def house(store: Store, tmp_path: Path) -> Iterator[House]:
    made = House(store, tmp_path)
    yield made
    made.close()


def audited(house: House, since_us: int = 0, until_us: int = END, **more: Any) -> Audited:
    return Audit(house.store, CdrReader(), [house.folder], since_us, until_us, **{"node": NODE, **more}).run()


def taken_in(house: House, *channels: str, **more: Any) -> None:
    """Calls with their rows and their records."""
    for at, channel in enumerate(channels):
        house.write(channel, cdr(channel, at=at * 100.0, **more))
    house.settle()
    assert house.rows(*channels).keys() == set(channels)


def test_all_is_well(house: House) -> None:
    taken_in(house, A, B)
    found = audited(house)
    assert found.clean
    assert (found.records, found.compared) == (2, 2)
    assert (found.from_us, found.to_us) == (T + 5_000_000, T + 105_000_000)


def test_missing_is_a_call_with_a_record_and_no_row(house: House) -> None:
    taken_in(house, A)
    house.write(B, cdr(B))
    house.write(C, cdr(C, originator=B, direction="outbound"))
    found = audited(house)
    assert (found.missing, found.missing_count, found.clean) == ([B], 1, False)
    assert audited(house, others=False).clean


def test_extra_is_a_row_without_a_record_within_the_time_that_records_cover(house: House) -> None:
    taken_in(house, A, B, C)
    (house.folder / f"{B}.cdr.json").unlink()
    assert audited(house).extra == [B]
    (house.folder / f"{C}.cdr.json").unlink()
    # The records now end before it does: nobody can say.
    assert audited(house).clean


def test_different_names_the_field_and_both_words(house: House) -> None:
    taken_in(house, A)
    house.write(A, cdr(A, ended=6.0, hangup_cause="ALLOTTED_TIMEOUT"))
    found = audited(house)
    told = {each.field: (each.ours, each.theirs) for each in found.different}
    assert told["hangup_cause"] == ("NORMAL_CLEARING", "ALLOTTED_TIMEOUT")
    assert told.keys() == {"hangup_cause", "end_time", "talk_duration_s", "total_duration_s"}
    assert found.different_count == 1


def test_agents_are_compared_by_the_legs_record(house: House) -> None:
    house.write(B, cdr(B, at=1.0, direction="outbound", originator=A, dialed_user="bob"))
    house.write(A, cdr(A, bridge_uepoch=BRIDGED, last_bridge_to=B))
    house.settle()
    assert house.row(A).agent_id == "bob"
    assert audited(house).clean
    house.write(B, cdr(B, at=1.0, direction="outbound", originator=A, dialed_user="eve"))
    (different,) = audited(house).different
    assert (different.field, different.ours, different.theirs) == ("agent_id", "bob", "eve")


def test_only_the_time_that_is_asked_for(house: House) -> None:
    taken_in(house, A, B)
    house.write(C, cdr(C, at=1000.0))
    assert audited(house, until_us=T + 100_000_000).records == 1
    assert audited(house, until_us=T + 500_000_000).clean
    assert audited(house, since_us=T + 500_000_000).missing == [C]


def test_a_record_that_cannot_be_read_is_told(house: House) -> None:
    taken_in(house, A)
    house.write("bad", b"{")
    found = audited(house)
    assert (found.unreadable, found.clean) == (["bad.cdr.json"], False)


def test_the_switch_is_named_by_the_records_where_nobody_does(house: House) -> None:
    taken_in(house, A)
    assert audited(house, node=None).compared == 1
    assert audited(house, node="other").missing == [A]
    assert audited(house, switchname="fs9").records == 0


def test_many_rows_are_paged(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callengine.cdr.audit._ROWS", 3)
    monkeypatch.setattr("callengine.cdr.audit._STEP", 2)
    channels = [uuid(n) for n in range(10, 20)]
    taken_in(house, *channels)
    for channel in channels[1:-1:2]:
        (house.folder / f"{channel}.cdr.json").unlink()
    assert audited(house).extra == channels[1:-1:2]


def test_once_a_day_at_its_hour(house: House) -> None:
    taken_in(house, A)
    house.write(B, cdr(B))
    settings = Settings.model_validate({"cdr": {"directories": [house.folder], "audit_hour": 3}})
    node = ""
    hour = 3_600_000_000
    now_us = house.now_us - house.now_us % (24 * hour) + 26 * hour
    nightly = NightlyAudit(settings, house.store, CdrReader(), lambda: node, now_us=lambda: now_us)
    assert (nightly.due, nightly.found(), nightly.at_s) == (False, {}, 0.0)
    now_us += hour
    assert not nightly.due  # nobody knows which switch this is
    node = NODE
    assert nightly.due
    nightly.once()
    assert nightly.found() == {"compared": 1, "missing": 1, "extra": 0, "different": 0, "unreadable": 0}
    assert nightly.at_s == now_us / 1e6
    assert not nightly.due
    now_us += 24 * hour
    assert nightly.due
    nightly.once()
    now_us -= 24 * hour  # the clock was a day ahead
    assert nightly.due
