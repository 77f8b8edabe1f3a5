"""What keeps failing is said once."""

from __future__ import annotations

import logging

import pytest

from callengine.errors import StoreUnavailable
from callengine.store.faults import Trouble


def test_what_fails_again_and_again_is_said_once_and_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble(logging.getLogger("test.trouble"), "it could not be read")
    caplog.set_level(logging.INFO, "test.trouble")
    for _ in range(2):
        trouble.over()
        for _ in range(100):
            trouble.met(StoreUnavailable("it is locked"))
    trouble.over()
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    failed = ("WARNING", "it could not be read: the database is not available: it is locked")
    over = ("INFO", "over: it could not be read")
    assert told == [failed, over, failed, over]
