"""What the demo has beside the daemon and its switch: who analyses recordings, and who is told by webhooks."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from callengine.cli.client import Client, Refused
from callengine.cli.demo.children import Child, free_port, is_listening, wait_for

KEY_VARIABLE: Final = "GEMINI_API_KEY"
_OTHER_KEY_VARIABLE: Final = "GOOGLE_API_KEY"
_STARTED_WITHIN_S: Final = 30.0
_STOPS_WITHIN_S: Final = 2.0
_LATENCY_MS: Final = 1500
_SPEND_USD: Final = 0.5


class Spawns(Protocol):
    """Starts a child process that the stage then looks after."""

    def __call__(
        self, name: str, arguments: list[str], environ: Mapping[str, str], log: str, stops_within_s: float
    ) -> Child: ...


def without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without keys of Google's: only the daemon gets one, as a setting."""
    return {name: value for name, value in environ.items() if name not in {KEY_VARIABLE, _OTHER_KEY_VARIABLE}}


class Analysis:
    """Gemini where the environment has a key for it, else the stand-in with a key of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._key = environ.get(KEY_VARIABLE, "").strip()
        self.is_gemini = bool(self._key)
        self.is_possible = _is_installed()
        self._port = 0

    def __repr__(self) -> str:
        return f"Analysis(is_gemini={self.is_gemini}, is_possible={self.is_possible})"

    def described(self) -> str:
        """For the screen's first line."""
        if not self.is_possible:
            return "off, google-genai is not installed"
        return f"Gemini (your {KEY_VARIABLE})" if self.is_gemini else "a stand-in, not Gemini"

    def start(self, spawn: Spawns, environ: Mapping[str, str], stopping: Callable[[], bool]) -> bool:
        """The stand-in, where it is needed; False where we are told to stop meanwhile. Raises ``Failed``."""
        if self.is_gemini or not self.is_possible:
            return True
        self._key = secrets.token_hex(24)  # one in URL's base64 can begin with a hyphen, as an option does
        self._port = port = free_port()
        arguments = ["callengine.standin.gemini", "--port", str(port), "--key", self._key]
        arguments += ["--latency-ms", str(_LATENCY_MS)]
        child = spawn("the stand-in for Gemini", arguments, environ, "gemini.log", _STOPS_WITHIN_S)
        return wait_for(child.name, lambda: is_listening(port), child, stopping, _STARTED_WITHIN_S)

    def settings(self) -> dict[str, str]:
        """For the daemon alone; the key is among them."""
        if not self.is_possible:
            return {}
        settings = {"CALLENGINE_AI__ENABLED": "true", "CALLENGINE_AI__API_KEY": self._key}
        if self.is_gemini:  # a demo that is forgotten must not cost more than this
            return settings | {"CALLENGINE_AI__DAILY_SPEND_USD": str(_SPEND_USD)}
        return settings | {"CALLENGINE_AI__BASE_URL": f"http://127.0.0.1:{self._port}"}


def _is_installed() -> bool:
    with contextlib.suppress(ModuleNotFoundError, ValueError):
        return importlib.util.find_spec("google.genai") is not None
    return False


class Receiver:
    """A webhook receiver, and its endpoint with the daemon. ``folder`` is readable by nobody else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    def settings(self) -> dict[str, str]:
        """So that the daemon calls it, though it is on this machine and without TLS."""
        return {"CALLENGINE_WEBHOOKS__ALLOW_NETWORKS": json.dumps(["127.0.0.1/32"])}

    def start(self, client: Client, spawn: Spawns, environ: Mapping[str, str], stopping: Callable[[], bool]) -> bool:
        """Registers the endpoint, starts the receiver with the endpoint's secret, and only then enables it: a delivery
        to nobody would be tried again much later. False where we are told to stop meanwhile. Raises ``Failed``."""
        body = {"url": f"http://{self.address}/", "description": "the demo's receiver", "enabled": False}
        made = client.post("/v1/webhooks/endpoints", body)
        secret = self._folder / "webhook.secret"
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{made['secret']}\n")
        arguments = ["callengine.standin.receiver", "--port", str(self._port), "--secret-file", str(secret)]
        child = spawn("the webhook receiver", arguments, environ, "receiver.log", _STOPS_WITHIN_S)
        if not wait_for(child.name, lambda: is_listening(self._port), child, stopping, _STARTED_WITHIN_S):
            return False
        client.close()
        answer = client.ask("PATCH", f"/v1/webhooks/endpoints/{made['id']}", {"enabled": True})
        if answer.status != 200:
            raise Refused(answer.status, answer.data)
        return True
