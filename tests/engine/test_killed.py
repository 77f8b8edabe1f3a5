"""A daemon that is killed between a hangup and the last webhook. The long run: ``python -m tests.acceptance.kills``."""

from __future__ import annotations

from tests.acceptance import kills


def test_nothing_is_lost_and_each_call_is_analysed_once() -> None:
    outcome = kills.run(kills.parse(["--kills", "2", "--seed", "7"]))
    assert outcome.wrong == []
    assert outcome.analysed == {"completed": 2 * kills.CALLS}
