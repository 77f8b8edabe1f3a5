"""A bounded run of each fuzzer, by a known seed and by one that is new; ``tests/api/test_fuzz.py`` is the API's."""

from __future__ import annotations

import importlib
import random
import tempfile
from pathlib import Path

import pytest

from tests.fuzz import running
from tests.fuzz.running import Parts, Property, Runner

KNOWN_SEED = 4711
KNOWN_S = 2.5
NEW_S = 1.0


def properties(target: str) -> tuple[Property, ...]:
    found: tuple[Property, ...] = importlib.import_module(f"tests.fuzz.{target}").PROPERTIES
    return found


@pytest.mark.parametrize("target", ["wire", "cdr"])
@pytest.mark.parametrize("known", [True, False], ids=["known-seed", "new-seed"])
def test_nothing_is_found(target: str, known: bool) -> None:
    seed = KNOWN_SEED if known else running.fresh_seed()
    running.say(f"seed {seed}")
    runner = Runner(target, properties(target), seed)
    report = runner.run(KNOWN_S if known else NEW_S)
    assert not report.found, str(report)
    assert set(report.execs) == {prop.name for prop in properties(target)}


class NoBug:
    """Fails where two parts together have a word, as a fault would that takes two events."""

    name = "no-bug"
    share = 1

    def make(self, dice: random.Random) -> Parts:
        return tuple(dice.choice((b"some words", b"and a bug here", b"nothing")) for _ in range(12))

    def check(self, parts: Parts, dice: random.Random) -> None:
        assert sum(b"bug" in part for part in parts) < 2, "two bugs"


class Endless:
    """Never ends."""

    name = "endless"
    share = 1

    def make(self, dice: random.Random) -> Parts:
        return ()

    def check(self, parts: Parts, dice: random.Random) -> None:
        while True:
            pass


def test_what_is_found_is_shrunk_and_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    runner = Runner("wire", [NoBug()], 1)
    report = runner.run(0.2, say=told.append)
    [found] = report.found.values()
    assert found.parts == (b"bug", b"bug")
    assert found.times > 1
    assert str(found.path) in told[0]
    failure = running.again(found.path, [NoBug()])
    assert failure is not None
    assert "two bugs" in failure.text
    assert tmp_path in found.path.parents


def test_what_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "HANG_S", 0.05)
    failure = running.attempt(Endless(), 1, ())
    assert failure is not None
    assert failure.signature.startswith("Hang")


def test_a_seed_is_all_that_it_takes_to_make_the_same_cases() -> None:
    for prop in (*properties("wire"), *properties("cdr")):
        made = [prop.make(random.Random("x")) for _ in range(2)]
        assert made[0] == made[1]
