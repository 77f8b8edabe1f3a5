"""The table of what goes wrong, small, on the stand-in. The long runs: ``python -m tests.chaos --help``."""

from __future__ import annotations

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.options import parse
from tests.chaos.row import run


@pytest.mark.parametrize(("database", "fault", "times"), [("sqlite", "everything", 12), ("postgres", "database", 5)])
def test_whatever_breaks(database: str, fault: str, times: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--database", database, "--seconds", "3", "--rate", "15", "--heartbeat-s", "2", "--times", str(times)]
    row = run(parse(words, tuple(FAULTS)), FAULTS[fault])
    said = capsys.readouterr().out
    assert row["clean"], said
    assert row["at_far_end"] > 20 * times, said
    assert row["not_ready_in_time"] == 0, said
