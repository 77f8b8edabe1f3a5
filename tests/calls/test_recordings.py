"""Recordings: of any leg they are the call's; what RECORD_STOP says is a claim."""

from __future__ import annotations

import itertools

import pytest

from tests.calls.build import Channel, Desk, leg, time


def test_a_recording_of_any_leg_is_the_calls() -> None:
    a, b, c = Channel(), leg("B", "A"), leg("C", "B", 2)
    desk = Desk().take(a.created(), b.created(), c.created())
    desk.take(a.started("/a.wav", 1), b.started("/b.wav", 2), c.started("/c.wav", 3))
    assert [(r["path"], r["leg"]) for r in desk.record().recordings] == [
        ("/a.wav", "A"),
        ("/b.wav", "B"),
        ("/c.wav", "C"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_in_whatever_order_it_is_told(order: tuple[int, ...]) -> None:
    a = Channel()
    facts = [a.started("/a.wav", 1), a.stopped("/a.wav", 9, 8000), a.created()]
    desk = Desk().take(*(facts[i] for i in order))
    (recording,) = desk.shown()["recordings"]
    assert (recording["start_time"], recording["stop_time"], recording["duration_ms"]) == (time(1), time(9), 8000)
    assert desk.shown()["has_recording"]


@pytest.mark.parametrize(
    ("stop", "playable"),
    [
        ({}, True),
        ({"duration_ms": 0}, False),
        ({"duration_ms": None}, False),
        ({"discarded": True}, False),
    ],
)
def test_only_a_closed_one_with_audio_that_was_not_discarded_is_one(stop: dict[str, object], playable: bool) -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.started("/a.wav", 1))
    assert not desk.shown()["has_recording"]
    desk.take(a.stopped("/a.wav", 9, **stop))  # type: ignore[arg-type]
    assert desk.shown()["has_recording"] is playable


def test_paths_are_not_shown() -> None:
    a = Channel()
    assert "path" not in Desk().take(a.created(), a.started("/secret.wav", 1)).shown()["recordings"][0]


def test_a_second_recording_over_the_same_file_is_one_recording_still() -> None:
    a = Channel()
    desk = Desk().take(a.created(), a.started("/a.wav", 1), a.stopped("/a.wav", 5, 4000))
    desk.take(a.started("/a.wav", 6), a.stopped("/a.wav", 9, 7000), a.stopped("/a.wav", 5, 4000))
    (recording,) = desk.record().recordings
    assert recording["duration_ms"] == 7000


def test_cut_by_the_hangup() -> None:
    a = Channel()
    desk = Desk().take(
        a.created(), a.answered(1), a.started("/a.wav", 2), a.hung_up(9), a.stopped("/a.wav", 9), a.ended(9)
    )
    assert desk.shown()["has_recording"]
    assert desk.told() == ["dialing", "answered", "ended"]


def test_a_transfer_loses_none() -> None:
    a, b, c = Channel(), leg("B", "A"), leg("C", "A", 10)
    desk = Desk().take(a.created(), a.answered(1), a.started("/a.wav", 1), b.created(), a.bridged("B", 3))
    desk.take(
        a.unbridged("B", 8), b.ended(8), c.created(), a.bridged("C", 12), a.ended(20), a.stopped("/a.wav", 20, 19000)
    )
    (recording,) = desk.record().recordings
    assert recording["duration_ms"] == 19000


def test_that_of_another_call_it_was_bridged_to_is_that_calls() -> None:
    a, b = Channel("A"), Channel("B", 1)
    desk = Desk().take(a.created(), b.created(), a.answered(2), a.bridged("B", 3), b.started("/b.wav", 4))
    assert desk.record("A").recordings == ()
    assert len(desk.record("B").recordings) == 1


def test_without_a_path_it_is_none() -> None:
    a = Channel()
    assert Desk().take(a.created(), a.started("", 1), a.stopped("", 2)).record().recordings == ()
