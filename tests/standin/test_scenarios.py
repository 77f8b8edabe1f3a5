"""Numbers and what they do; the same seed draws the same; a time scale shortens lives and nothing else."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from callengine.standin import StandIn
from callengine.standin.scenarios import BY_DIGITS, BY_NAME, MIX, choose
from tests.conformance.client import Switch
from tests.standin.conftest import LogIn, StartStandIn, answered, place


@pytest.mark.parametrize(("digits", "name"), sorted(BY_DIGITS.items()))
def test_the_last_digits_decide(digits: str, name: str) -> None:
    assert choose(f"+1 555 010{digits}", seed=1) == name
    assert choose(f"15550100{digits}", seed=2, agent=True) == name


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("486", "sip486"),
        ("15550100603", "sip603"),
        ("busy", "busy"),
        ("sip480", "sip480"),
        ("answer*800", "answer"),
        ("agent7", "agent"),
        ("AGENT", "agent"),
    ],
)
def test_names_and_responses(number: str, name: str) -> None:
    assert choose(number, seed=1) == name


def test_everything_that_is_drawn_exists() -> None:
    assert sum(weight for weight, _ in MIX) == 100
    assert {name for _, name in MIX if not name.startswith("sip")} <= set(BY_NAME)
    assert set(BY_DIGITS.values()) <= set(BY_NAME)


def test_the_mix_follows_the_seed() -> None:
    numbers = [f"1555{number:07d}" for number in range(2_000_700, 2_000_999)]
    drawn = [choose(number, seed=1) for number in numbers]
    assert drawn == [choose(number, seed=1) for number in numbers]
    assert drawn != [choose(number, seed=2) for number in numbers]
    counts = Counter(drawn)
    assert counts["answer"] > 100
    assert counts["busy"] > 5


def test_an_agent_is_not_drawn() -> None:
    assert choose("1001", seed=1, agent=True) == "agent"
    assert choose("1486", seed=1, agent=True) == "sip486"


def lengths(start: StartStandIn, login: LogIn, seed: int) -> list[int]:
    """How many ticks passed between answer and hangup, call by call."""
    switch = login(start(seed=seed, time_scale=40.0))
    uuids = [place(switch, "200") for _ in range(8)]
    ticks = []
    for uuid in uuids:
        end = switch.wait(uuid, "CHANNEL_DESTROY", 10)
        lived_us = int(end["Caller-Channel-Hangup-Time"]) - int(end["Caller-Channel-Answered-Time"])
        ticks.append(round(lived_us / 20_000))
    return ticks


def test_the_same_seed_gives_the_same_lengths(start: StartStandIn, login: LogIn) -> None:
    first, again, other = (lengths(start, login, seed) for seed in (3, 3, 4))
    assert all(abs(a - b) <= 2 for a, b in zip(first, again, strict=True))
    assert any(abs(a - b) > 2 for a, b in zip(first, other, strict=True))


def test_stamps_are_real_time_whatever_the_scale(start: StartStandIn, login: LogIn) -> None:
    switch = login(start(time_scale=40.0))
    begun_us = time.time_ns() // 1000
    uuid = place(switch, "200")
    end = switch.wait(uuid, "CHANNEL_DESTROY", 5)
    created, ended = (int(end[f"Caller-Channel-{name}-Time"]) for name in ("Created", "Hangup"))
    now_us = time.time_ns() // 1000
    assert begun_us - 20_000 <= created < ended <= now_us + 20_000
    assert abs(int(end["Event-Date-Timestamp"]) - now_us) < 200_000
    for name in ("Created", "Progress", "Answered", "Hangup"):
        own = int(end[f"Caller-Channel-{name}-Time"])
        assert abs((own - created) / 20_000 - round((own - created) / 20_000)) < 0.01


def test_a_time_that_was_asked_for_is_not_shortened(standin: StandIn, switch: Switch) -> None:
    begun = time.monotonic()
    uuid = place(switch, "180", "originate_timeout=2")
    assert switch.wait(uuid, "CHANNEL_HANGUP", 5)["Hangup-Cause"] == "NO_ANSWER"
    assert 0.9 < time.monotonic() - begun < 2.5


def test_a_machine(switch: Switch) -> None:
    uuid = place(switch, "202")
    end = switch.wait(uuid, "CHANNEL_DESTROY", 10)
    assert end["variable_amd_result"] == "machine"


def test_the_near_end_hangs_up(switch: Switch) -> None:
    uuid = answered(switch)
    switch.settle(0.3)
    assert not switch.of(uuid, "CHANNEL_HANGUP")
    switch.api(f"uuid_kill {uuid} CALL_REJECTED")
    assert switch.wait(uuid, "CHANNEL_HANGUP")["Hangup-Cause"] == "CALL_REJECTED"


@pytest.mark.parametrize(
    ("digits", "steps", "cause"),
    [
        ("204", ["CREATE", "ANSWER", "HANGUP"], "NORMAL_CLEARING"),
        ("183", ["CREATE", "PROGRESS_MEDIA", "ANSWER", "HANGUP"], "NORMAL_CLEARING"),
        ("182", ["CREATE", "PROGRESS", "PROGRESS_MEDIA", "ANSWER", "HANGUP"], "NORMAL_CLEARING"),
        ("187", ["CREATE", "PROGRESS_MEDIA", "HANGUP"], "USER_BUSY"),
        ("302", ["CREATE", "PROGRESS", "HANGUP"], "NO_USER_RESPONSE"),
        ("480", ["CREATE", "HANGUP"], "NO_USER_RESPONSE"),
        ("603", ["CREATE", "HANGUP"], "CALL_REJECTED"),
        ("503", ["CREATE", "HANGUP"], "NORMAL_TEMPORARY_FAILURE"),
    ],
)
def test_what_is_told(switch: Switch, digits: str, steps: list[str], cause: str) -> None:
    uuid = place(switch, digits)
    switch.wait(uuid, "CHANNEL_DESTROY", 10)
    wanted = ("CREATE", "PROGRESS", "PROGRESS_MEDIA", "ANSWER", "HANGUP")
    assert [each for each in switch.sequence(uuid) if each in wanted] == steps
    assert switch.first(uuid, "CHANNEL_HANGUP")["Hangup-Cause"] == cause
