"""What the demo sets up beside the daemon, and what it leaves to a switch of somebody's own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from callengine.cli.client import Answer, Client, Refused
from callengine.cli.demo import beside, stage
from callengine.cli.demo.beside import Analysis, Receiver, without_keys
from callengine.cli.demo.children import Child
from callengine.config.settings import load

KEY = "a-key-of-somebody"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def never() -> bool:
    return False


class Spawned:
    """Starts nothing that lasts; remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[list[str]] = []

    def __call__(
        self, name: str, arguments: list[str], environ: Mapping[str, str], log: str, stops_within_s: float
    ) -> Child:
        self.asked.append(arguments)
        return Child(name, ["this"], environ, self.folder / log)


def test_with_a_key_the_real_one_analyses_within_a_bound(tmp_path: Path) -> None:
    analysis = Analysis({"GEMINI_API_KEY": f" {KEY}\n"})
    spawned = Spawned(tmp_path)
    assert analysis.start(spawned, {}, never)
    assert spawned.asked == []
    assert analysis.described() == "Gemini (your GEMINI_API_KEY)"
    settings = load(None, analysis.settings() | {"CALLENGINE_CONFIG": str(empty(tmp_path))})
    assert settings.ai.enabled
    assert settings.ai.api_key.get_secret_value() == KEY
    assert settings.ai.base_url == ""
    assert 0 < settings.ai.daily_spend_usd <= 1
    assert KEY not in repr(analysis)


@pytest.mark.parametrize("environ", [{}, {"GEMINI_API_KEY": ""}, {"GEMINI_API_KEY": " "}, {"GOOGLE_API_KEY": KEY}])
def test_without_a_key_it_is_the_stand_in(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beside, "is_listening", lambda port: True)
    monkeypatch.setattr(beside, "wait_for", lambda what, done, child, stopping, timeout_s: done())
    analysis = Analysis(environ)
    spawned = Spawned(tmp_path)
    assert analysis.start(spawned, {}, never)
    assert spawned.asked[0][0] == "callengine.standin.gemini"
    assert analysis.described() == "a stand-in, not Gemini"
    settings = load(None, analysis.settings() | {"CALLENGINE_CONFIG": str(empty(tmp_path))})
    assert settings.ai.base_url.startswith("http://127.0.0.1:")
    assert settings.ai.api_key.get_secret_value() in spawned.asked[0]
    assert KEY not in analysis.settings().values()


def test_without_the_package_there_is_no_analysis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(beside, "_is_installed", lambda: False)
    analysis = Analysis({"GEMINI_API_KEY": KEY})
    assert analysis.start(Spawned(tmp_path), {}, never)
    assert analysis.settings() == {}
    assert "not installed" in analysis.described()


def test_no_child_but_the_daemon_gets_a_key() -> None:
    assert without_keys({"GEMINI_API_KEY": KEY, "GOOGLE_API_KEY": KEY, "PATH": "/bin"}) == {"PATH": "/bin"}


# -- the receiver ---------------------------------------------------------------------------------------------------


class Api(Client):
    """Takes an endpoint, and answers ``status`` where it is enabled."""

    def __init__(self, status: int = 200) -> None:
        super().__init__("http://127.0.0.1:1", "k")
        self.status = status
        self.asked: list[tuple[str, Any]] = []

    def ask(self, method: str, target: str, body: object = None, headers: Any = None) -> Answer:
        self.asked.append((f"{method} {target}", body))
        if method == "POST":
            return Answer(201, {"id": "e1", "secret": SECRET})
        return Answer(self.status, {"detail": "no"})


def started(api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    def waited(what: str, done: object, child: Child, stopping: object, timeout_s: float) -> bool:
        api.asked.append(("receiver is up", what))
        return True

    monkeypatch.setattr(beside, "wait_for", waited)
    return Receiver(folder).start(api, Spawned(folder), {}, never)


def test_the_endpoint_is_enabled_once_somebody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = Api()
    assert started(api, tmp_path, monkeypatch)
    assert [step for step, _ in api.asked] == [
        "POST /v1/webhooks/endpoints",
        "receiver is up",
        "PATCH /v1/webhooks/endpoints/e1",
    ]
    assert api.asked[0][1]["enabled"] is False
    assert api.asked[2][1] == {"enabled": True}
    secret = tmp_path / "webhook.secret"
    assert secret.read_text().split() == [SECRET]
    assert secret.stat().st_mode & 0o777 == 0o600


def test_an_endpoint_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="409"):
        started(Api(status=409), tmp_path, monkeypatch)


# -- a switch of somebody's own -------------------------------------------------------------------------------------


def empty(folder: Path, text: str = "") -> Path:
    file = folder / "callengine.toml"
    file.write_text(text)
    return file


def test_a_real_switch_is_only_watched(tmp_path: Path) -> None:
    """What the settings say stands, but for what would record others' calls, and move or delete recordings."""
    file = empty(
        tmp_path,
        """
[esl]
host = "127.0.0.9"
[recordings]
directories = ["/var/lib/recordings"]
start = "all"
storage = "s3"
keep_days = 3
[s3]
bucket = "calls"
access_key_id = "id"
[ai]
enabled = true
""",
    )
    secrets = {"CALLENGINE_AI__API_KEY": KEY, "CALLENGINE_S3__SECRET_ACCESS_KEY": "s", "GEMINI_API_KEY": "another"}
    switch = stage.configured_switch(file, secrets)
    assert switch is not None
    assert switch.address == "127.0.0.9:8021"
    assert switch.is_analysed
    assert KEY not in repr(switch)
    assert "GEMINI_API_KEY" not in switch.environ
    settings = load(file, switch.environ)
    assert settings.ai.api_key.get_secret_value() == KEY
    assert [str(folder) for folder in settings.recordings.directories] == ["/var/lib/recordings"]
    assert (settings.recordings.start, settings.recordings.storage, settings.recordings.keep_days) == (
        "answer",
        "disk",
        0,
    )
    assert not settings.webhooks.allow_networks


def test_a_real_switch_without_analysis(tmp_path: Path) -> None:
    switch = stage.configured_switch(empty(tmp_path), {"CALLENGINE_ESL__HOST": "127.0.0.9"})
    assert switch is not None
    assert not switch.is_analysed
    settings = load(empty(tmp_path), switch.environ)
    assert not settings.ai.enabled
    assert settings.recordings.start == "never"
