"""What a daemon talks to besides its switch: a stand-in for Gemini, and a webhook receiver. Each is a process."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callengine.standin.gemini.launch import GeminiProcess, launch
from tests.acceptance.daemon import Daemon, free_port, launched

KEY = "a-key-that-no-log-may-have"


class Surroundings:
    """A context manager that ends both. ``settings`` and ``environ`` tell a daemon where they are.

    ``with_gemini`` false: there is none, and nothing is analysed. ``bodies``: the file of what was delivered.
    """

    def __init__(self, folder: Path, *, latency_ms: int = 300, with_gemini: bool = True) -> None:
        self._folder = folder
        self._latency_ms = latency_ms
        self._with_gemini = with_gemini
        self._secret_file = folder / "webhook.secret"
        self.bodies = folder / "delivered.jsonl"
        self._receiver_url = f"http://127.0.0.1:{free_port()}/"
        self._receiver: subprocess.Popen[bytes] | None = None
        self.gemini: GeminiProcess | None = None

    def __enter__(self) -> Self:
        if self._with_gemini:
            self.gemini = launch(["--key", KEY, "--latency-ms", str(self._latency_ms)])
        self.bodies.touch()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._receiver is not None:
            self._receiver.terminate()
            self._receiver.wait(timeout=10)
        if self.gemini is not None:
            self.gemini.stop()

    def settings(self) -> str:
        """TOML."""
        words = '[webhooks]\nallow_networks = ["127.0.0.0/8"]\n'
        if self.gemini is None:
            return words
        return f'{words}[ai]\nenabled = true\nbase_url = "{self.gemini.base_url}"\nmin_audio_s = 1\n'

    def environ(self) -> dict[str, str]:
        """The secrets."""
        return {"CALLENGINE_AI__API_KEY": KEY}

    def register(self, daemon: Daemon) -> None:
        """Makes the endpoint, and starts the receiver with its secret."""
        made = daemon.ask("POST", "/v1/webhooks/endpoints", {"url": self._receiver_url})
        self._secret_file.write_text(made["secret"])
        self.start_receiver()

    def start_receiver(self) -> None:
        """Also again, after ``stop_receiver``."""
        port = self._receiver_url.rstrip("/").rsplit(":", 1)[1]
        self._receiver = launched(
            "callengine.standin.receiver",
            ["--port", port, "--secret-file", str(self._secret_file), "--log", str(self.bodies)],
            self._folder / "receiver.log",
        )

    def stop_receiver(self) -> None:
        """Nobody listens there any more."""
        assert self._receiver is not None
        self._receiver.terminate()
        self._receiver.wait(timeout=10)

    def delivered(self) -> list[dict[str, Any]]:
        """Every body that the receiver took, repeats too."""
        return [json.loads(line) for line in self.bodies.read_text().splitlines()]

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """The bodies by call, each event once, in the order of their first arrival."""
        calls: dict[str, dict[str, dict[str, Any]]] = {}
        for body in self.delivered():
            if body["type"].startswith("call."):
                calls.setdefault(body["data"]["call"]["id"], {}).setdefault(body["id"], body)
        return {call: list(events.values()) for call, events in calls.items()}

    def asked(self) -> list[dict[str, Any]]:
        """What the stand-in for Gemini received."""
        assert self.gemini is not None
        with urllib.request.urlopen(f"{self.gemini.base_url}/_log", timeout=10) as answer:
            entries: list[dict[str, Any]] = json.load(answer)
        return entries

    def stored(self) -> list[dict[str, Any]]:
        """The uploads that were not deleted."""
        assert self.gemini is not None
        with urllib.request.urlopen(f"{self.gemini.base_url}/_files", timeout=10) as answer:
            files: list[dict[str, Any]] = json.load(answer)
        return files
