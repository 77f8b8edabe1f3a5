"""What holds for every test: no setting of whoever runs them leaks in."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline would be a timed test, and the machine may be busy; what hangs is ended by faulthandler_timeout.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("CALLENGINE_") and "__" in name]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CALLENGINE_CONFIG", raising=False)
