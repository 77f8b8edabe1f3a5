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
from callengine.errors import StoreUnavailable
from callengine.store.database import Store
from tests.cdr.house import NODE, House, T, cdr, uuid

END = 1 << 60
A, B, C = uuid(1), uuid(2), uuid(3)
BRIDGED = str(T + 2_000_000)
HOUR_US = 3_600_000_000


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


class Night:
    """A nightly audit at three o'clock, and the hours that pass."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.node = NODE
        self.now_us = house.now_us - house.now_us % (24 * HOUR_US) + 26 * HOUR_US
        self.now_s = 50.0
        self.start()

    def start(self) -> None:
        """A new life."""
        chosen = {
            "cdr": {"directories": [self.house.folder], "audit_hour": 3},
            "state": {"directory": self.house.tmp_path},
        }
        self.nightly = NightlyAudit(
            Settings.model_validate(chosen),
            self.house.store,
            CdrReader(),
            lambda: self.node,
            now_us=lambda: self.now_us,
            clock=lambda: self.now_s,
        )

    def pass_h(self, hours: float) -> None:
        self.now_us += int(hours * HOUR_US)
        self.now_s += hours * 3600

    def since_h(self) -> float:
        """How far back the next one looks, in hours from now."""
        until_us = self.now_us - 600_000_000
        return (self.now_us - self.nightly._since_us(until_us)) / HOUR_US


def after_the_first(house: House) -> Night:
    """Its first audit was made, of one call."""
    taken_in(house, A)
    night = Night(house)
    night.pass_h(1)
    assert night.nightly.look()
    night.nightly.once()
    return night


def test_once_a_day_at_its_hour(house: House) -> None:
    taken_in(house, A)
    house.write(B, cdr(B))
    night = Night(house)
    night.node = ""
    nightly = night.nightly
    assert (nightly.due, nightly.found(), nightly.at_s) == (False, {}, 0.0)
    night.pass_h(1)
    assert not nightly.look()  # nobody knows which switch this is
    night.node = NODE
    assert nightly.look()
    nightly.once()
    assert nightly.found() == {"compared": 1, "missing": 1, "extra": 0, "different": 0, "unreadable": 0}
    assert nightly.at_s == night.now_us / 1e6
    assert not nightly.due
    night.pass_h(24)
    assert nightly.look()
    assert night.since_h() == pytest.approx(24 + 1 / 6)
    nightly.once()
    night.now_us -= 24 * HOUR_US  # the clock was a day ahead
    night.now_s += 3600
    assert nightly.look()
    assert night.since_h() == pytest.approx(24 + 1 / 6)


def test_where_the_database_was_away_it_catches_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    night = after_the_first(house)
    night.pass_h(24)
    house.now_us = night.now_us
    house.write(B, cdr(B, at=(night.now_us - T) / 1e6 - 3600))
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "run", _away)
        for _ in range(40):  # for longer than a day
            assert night.nightly.look()
            with pytest.raises(StoreUnavailable):
                night.nightly.once()
            night.pass_h(1)
    assert night.nightly.look()
    assert night.since_h() == pytest.approx(64 + 1 / 6)
    night.nightly.once()
    assert night.nightly.found()["missing"] == 1
    assert not night.nightly.due
    night.pass_h(24)
    assert night.nightly.look()


def test_what_comes_back_is_left_alone_for_a_while(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came meanwhile is not committed at once."""
    taken_in(house, A)
    night = Night(house)
    night.pass_h(1)
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "run", _away)
        with pytest.raises(StoreUnavailable):
            night.nightly.once()
    night.pass_h(0.16)
    assert (night.nightly.due, night.nightly.look()) == (True, False)
    night.pass_h(0.01)
    assert night.nightly.look()


@pytest.mark.parametrize(("hours", "back"), [(6, 26), (30, 50), (24 * 30, 24 * 7)])
def test_where_the_daemon_was_down_it_catches_up(house: House, hours: int, back: int) -> None:
    night = after_the_first(house)
    night.pass_h(20)
    night.start()
    assert not night.nightly.look()
    assert not night.nightly.due  # today's was made in the life before
    night.pass_h(hours)
    night.start()
    assert not night.nightly.look()
    assert night.nightly.due
    night.pass_h(0.2)
    assert night.nightly.look()
    assert night.since_h() == pytest.approx(back + 1 / 6 + (0.2 if hours < 100 else 0))


def test_a_first_day_has_none(house: House) -> None:
    night = Night(house)
    assert not night.nightly.look()
    night.pass_h(0.9)
    assert not night.nightly.look()


def _away(*_: object, **__: object) -> None:
    raise StoreUnavailable("away")
