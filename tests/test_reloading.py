"""SIGHUP: a file with errors changes nothing and is told of in full; systemd knows when it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from callengine.config.settings import Settings, load
from callengine.daemon import _on_reload
from callengine.metrics import Metrics
from callengine.notify import Notifier
from callengine.recordings.signing import KEY_FILE
from callengine.reloading import Reloader


class Told(Notifier):
    """What systemd would be told."""

    def __init__(self) -> None:
        super().__init__({})
        self.is_ready = True
        self.said: list[str] = []

    def _send(self, *assignments: str) -> None:
        self.said.append(assignments[0])


class House:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "callengine.toml"
        self.write('[log]\nlevel = "info"\n[esl]\npassword = "first-secret"')
        self.settings = self.read()
        self.notifier, self.metrics = Told(), Metrics()
        self.changed: list[frozenset[str]] = []
        self.reloader = Reloader(self.settings, self.read, self.metrics, self.notifier, self.changed.append)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self) -> Settings:
        return load(self.file, {})

    def count(self, outcome: str) -> float:
        name = f'callengine_reloads{{outcome="{outcome}"}} '
        (line,) = [line for line in self.metrics.render().decode().splitlines() if line.startswith(name)]
        return float(line.removeprefix(name))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_was_changed_is_handed_on(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    house.write('[log]\nlevel = "debug"\n[esl]\npassword = "second-secret"')
    assert house.reloader.once() == "applied"
    assert house.changed == [{"log.level"}]
    assert house.settings.log.level == "debug"
    assert "need a restart: esl.password" in caplog.text
    assert "changed: log.level" in caplog.text
    assert "-secret" not in caplog.text
    assert house.notifier.said == ["RELOADING=1", "READY=1"]
    assert house.reloader.once() == "unchanged"
    assert (house.count("applied"), house.count("unchanged"), house.count("refused")) == (1, 1, 0)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('[log]\nlevel = "loud"\n\n[esl]\nport = "x"', (":2: log.level", ":5: esl.port")),
        ("[log\nlevel", (":1",)),
        ('[lgo]\nlevel = "debug"\n[log]\nlevel = "debug"', ("lgo",)),
    ],
)
def test_a_file_with_errors_is_refused_as_a_whole(
    house: House, caplog: pytest.LogCaptureFixture, text: str, places: tuple[str, ...]
) -> None:
    house.write(text)
    assert house.reloader.once() == "refused"
    assert house.settings.log.level == "info"
    assert house.changed == []
    for place in places:
        assert place in caplog.text
    assert house.notifier.said == ["RELOADING=1", "READY=1"]
    assert house.count("refused") == 1


def test_a_file_that_is_gone_changes_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.file.unlink()
    assert house.reloader.once() == "refused"
    assert "cannot be read" in caplog.text


def test_each_signal_is_heard(house: House) -> None:
    worker = gevent.spawn(house.reloader.run)
    for n, level in enumerate(("debug", "error"), 1):
        house.write(f'[log]\nlevel = "{level}"')
        house.reloader.ask()
        _until(lambda n=n: house.count("applied") == n)  # type: ignore[misc]
        assert house.settings.log.level == level
    worker.kill()


def _until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.005)


def test_links_are_signed_anew_though_nothing_was_changed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be done at the last reload is done at the next."""
    signers: list[object] = []
    archive: Any = SimpleNamespace(serving=SimpleNamespace(sign_with=signers.append))
    key = house.file.parent / KEY_FILE
    chosen = Settings.model_validate({"state": {"directory": house.file.parent}})
    key.write_text("short")
    key.chmod(0o600)
    _on_reload(frozenset({"http.signing_key"}), chosen, archive)
    assert "signed as before" in caplog.text
    assert signers == []
    key.unlink()
    _on_reload(frozenset(), chosen, archive)
    assert len(signers) == 1
