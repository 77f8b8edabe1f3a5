"""The stand-in for Gemini in a process of its own, recordings to send to it, and questions to ask about them."""

from __future__ import annotations

import array
import json
import math
import traceback
import urllib.request
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from callengine.ai.faults import AnalysisFault
from callengine.ai.sdk import Ask, Audio, Sdk

KEY = "AIzaSy-the-key-that-must-not-be-seen"
RATE = 8000

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "statements": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "quote": {"type": "string"}},
                "required": ["text", "quote"],
            },
        },
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "next_action": {"type": "string"},
        "disposition": {"type": ["string", "null"], "enum": ["interested", "callback", None]},
        "transcript": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "speaker": {"type": "string", "enum": ["caller", "callee", "agent", "unknown"]},
                    "offset_ms": {"type": "integer"},
                    "text": {"type": "string"},
                },
                "required": ["speaker", "offset_ms", "text"],
            },
        },
    },
    "required": ["statements", "sentiment", "next_action", "disposition", "transcript"],
    "additionalProperties": False,
}


def record(path: Path, seconds: float, *, channels: int = 2) -> Path:
    """A WAV file whose channels take turns, a second each."""
    tone = [int(8000 * math.sin(at / 5)) for at in range(RATE)]
    turns = [
        array.array("h", [value if channel == turn else 0 for value in tone for channel in range(channels)]).tobytes()
        for turn in range(channels)
    ]
    frame_bytes = 2 * channels
    audio = b"".join(turns[at % channels] for at in range(math.ceil(seconds)))[: int(seconds * RATE) * frame_bytes]
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(audio)
    return path


def audio_of(path: Path, label: str = "recording", opener: Callable[[], BinaryIO] | None = None) -> Audio:
    with wave.open(str(path)) as opened:
        duration_ms = opened.getnframes() * 1000 // opened.getframerate()
    return Audio(
        open=opener or (lambda: path.open("rb")),
        size_bytes=path.stat().st_size,
        mime_type="audio/wav",
        duration_ms=duration_ms,
        label=label,
    )


def question(*audios: Audio, model: str = "gemini-test", deadline_s: float = 20.0) -> Ask:
    return Ask("What was said?", SCHEMA, audios, model, 4096, deadline_s)


@dataclass
class Noted:
    """An ``Uploads`` that remembers; ``on_began`` and ``on_ended`` are called in between."""

    began_names: list[str] = field(default_factory=list)
    ended_names: list[str] = field(default_factory=list)
    on_began: Callable[[str], object] = lambda name: None
    on_ended: Callable[[str], object] = lambda name: None

    def began(self, name: str) -> None:
        self.began_names.append(name)
        self.on_began(name)

    def ended(self, name: str) -> None:
        self.on_ended(name)
        self.ended_names.append(name)


@dataclass
class Fake:
    """The running stand-in, as seen by a test."""

    base_url: str
    _seen: int = 0
    _stored: frozenset[str] = frozenset()

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.base_url + path, timeout=10) as answer:
            return json.load(answer)

    def mark(self) -> None:
        """What came before is not looked at."""
        self._seen = max((entry["n"] for entry in self._get("/_log")), default=0)
        self._stored = frozenset(file["name"] for file in self._get("/_files"))

    def log(self, route: str = "") -> list[dict[str, Any]]:
        """What was received since ``mark``, of one route."""
        return [e for e in self._get("/_log") if e["n"] > self._seen and e.get("route", "").startswith(route)]

    def files(self) -> list[str]:
        """Names of what was stored since ``mark`` and still is."""
        return [file["name"] for file in self._get("/_files") if file["name"] not in self._stored]


def fault_of(sdk: Sdk, ask: Ask, uploads: Noted | None = None) -> AnalysisFault:
    """The fault that asking ends in, looked over for what it must not tell."""
    try:
        answer = sdk.ask(ask, uploads or Noted())
    except AnalysisFault as fault:
        check_secrecy(fault)
        return fault
    raise AssertionError(f"it was answered: {answer}")


def check_secrecy(fault: BaseException) -> None:
    """Nothing of Google's packages hangs on it, and neither text nor attributes hold a key, a URL, or the answer."""
    assert fault.__cause__ is None
    assert fault.__context__ is None
    told = "".join(traceback.format_exception_only(fault)) + repr(fault) + str(fault) + repr(vars(fault))
    for secret in (KEY, "http://", "https://", "?", "Simulated", "upload_id", "/tmp"):
        assert secret not in told
