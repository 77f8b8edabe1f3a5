"""Times, durations, the ring time: FreeSWITCH's own stamps, floored once, null until both of their ends are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.calls.facts import MAX_US
from callengine.calls.view import durations, iso
from tests.calls.build import Channel, Desk, time, us


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_343_615_301_165, "2026-11-22T10:33:35.301Z"),
        (1_795_343_615_301_999, "2026-11-22T10:33:35.301Z"),
        (1_795_343_615_999_999, "2026-11-22T10:33:35.999Z"),
        (951_782_399_999_999, "2000-02-28T23:59:59.999Z"),
        (951_868_800_000_000, "2000-03-01T00:00:00.000Z"),
        (MAX_US, "9999-12-31T23:59:59.999Z"),
        (None, None),
    ],
)
def test_times_are_iso_8601_in_utc_with_milliseconds_truncated(stamp: int | None, shown: str | None) -> None:
    assert iso(stamp) == shown


@given(st.integers(0, MAX_US))
def test_times_agree_with_the_calendar(stamp: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=stamp // 1000)
    assert iso(stamp) == expected.strftime("%Y-%m-%dT%H:%M:%S.") + f"{expected.microsecond // 1000:03d}Z".rjust(4, "0")


def test_times_are_the_switchs_stamps_not_the_moment_of_the_event() -> None:
    a = Channel(at=1.0)
    late = a.created().__class__(**(to_dict(a.created()) | {"at_us": us(9.0)}))
    shown = Desk().take(late, a.rang(2.0), a.answered(3.5), a.ended(9.25)).shown()
    times = [shown[f"{name}_time"] for name in ("dial", "ring", "answer", "end")]
    assert times == [time(1.0), time(2.0), time(3.5), time(9.25)]


def to_dict(fact: object) -> dict[str, object]:
    return {name: getattr(fact, name) for name in type(fact).__struct_fields__}  # type: ignore[attr-defined]


def test_no_time_is_invented() -> None:
    a = Channel()
    shown = Desk().take(a.created()).shown()
    assert [shown[f"{n}_time"] for n in ("ring", "answer", "agent_connect", "end", "queued")] == [None] * 5
    assert [shown[f"{n}_duration_s"] for n in ("ring", "talk", "total")] == [None] * 3


def test_durations_are_floored_once_from_microseconds() -> None:
    a = Channel(at=0.9)
    facts = [a.created(), a.rang(1.8), a.answered(3.7999), a.ended(6.7998)]
    shown = Desk().take(*facts).shown()
    assert (shown["ring_duration_s"], shown["talk_duration_s"], shown["total_duration_s"]) == (1, 2, 5)


def test_durations_wait_for_both_of_their_ends() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.rang(1.0))
    assert durations(desk.record()) == dict.fromkeys(("ring_duration_s", "talk_duration_s", "total_duration_s"))
    desk.take(a.answered(3.0))
    assert (desk.shown()["ring_duration_s"], desk.shown()["talk_duration_s"]) == (2, None)


def test_no_ring_duration_without_a_ring() -> None:
    a = Channel()
    shown = Desk().take(a.created(), a.answered(2.0), a.ended(3.0)).shown()
    assert (shown["ring_duration_s"], shown["talk_duration_s"], shown["total_duration_s"]) == (None, 1, 3)


def test_no_ring_duration_where_it_rang_after_the_answer() -> None:
    a = Channel()
    shown = Desk().take(a.created(), a.answered(2.0), a.early_media(2.5), a.ended(4.0)).shown()
    assert (shown["ring_time"], shown["ring_duration_s"]) == (time(2.5), None)


def test_a_ring_at_the_very_answer_lasted_zero_seconds() -> None:
    a = Channel()
    assert Desk().take(a.created(), a.rang(2.0), a.answered(2.0)).shown()["ring_duration_s"] == 0


def test_no_ring_or_talk_duration_without_an_answer() -> None:
    a = Channel()
    shown = Desk().take(a.created(), a.rang(1.0), a.ended(31.0, "NO_ANSWER")).shown()
    assert (shown["ring_duration_s"], shown["talk_duration_s"], shown["total_duration_s"]) == (None, None, 31)


@pytest.mark.parametrize(
    ("progress", "media", "ring"), [(1.0, 2.0, 1.0), (2.0, 1.0, 1.0), (0, 2.0, 2.0), (2.0, 0, 2.0)]
)
def test_ring_time_is_the_earlier_of_progress_and_progress_with_media(
    progress: float, media: float, ring: float
) -> None:
    a = Channel()
    desk = Desk().take(a.created())
    if progress:
        desk.take(a.rang(progress))
    if media:
        desk.take(a.early_media(media))
    assert desk.shown()["ring_time"] == time(ring)


def test_dial_time_is_the_creation_also_where_another_event_told_it_first() -> None:
    a = Channel(at=1.0)
    created, rang = a.created(), a.rang(2.0)
    assert Desk().take(rang, created).shown()["dial_time"] == time(1.0)
    assert Desk().take(created, rang).shown()["dial_time"] == time(1.0)


def test_every_field_is_always_there() -> None:
    a = Channel()
    desk = Desk().take(a.created())
    early = desk.shown().keys()
    assert desk.take(a.answered(1.0), a.bridged("B", 2.0), a.ended(3.0)).shown().keys() == early
    contract = """
        id campaign_id lead_id agent_id fs_uuid direction status dial_time ring_time answer_time agent_connect_time
        end_time ring_duration_s talk_duration_s total_duration_s hangup_cause has_recording recording_url disposition
        notes ai_summary ai_sentiment ai_next_action
    """
    assert list(early)[:23] == contract.split()
