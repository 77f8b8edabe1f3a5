"""The seam: one question to Gemini about one call, asked through either of Google's packages.

``load`` imports the chosen package, and no other; that takes a third of a second and holds the hub, so the daemon does
it before it serves. What comes back is the model's text: JSON, but not yet held against the schema. What goes wrong is
one of callengine.ai.faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Literal, Protocol

from callengine.errors import ConfigurationError

SdkName = Literal["google-genai", "google-generativeai"]

GOOGLE: Final = "https://generativelanguage.googleapis.com"
INLINE_MAX_BYTES: Final = 200_000
"""Up to here in all, recordings are sent within the request; encoding more of it would hold the hub."""


@dataclass(frozen=True, slots=True)
class Audio:
    """One recording to send.

    ``open()`` gives a plain binary file object of a regular file. It is called, read and closed in a native thread.
    ``mime_type`` is ``audio/wav`` or ``audio/mpeg``. Google gets to see ``label``, so it must not be a path.
    """

    open: Callable[[], BinaryIO] = field(repr=False)
    size_bytes: int
    mime_type: str
    duration_ms: int
    label: str

    def __post_init__(self) -> None:
        if self.size_bytes <= 0:
            raise ValueError("an empty recording cannot be sent")
        if "/" in self.label or "\\" in self.label:
            raise ValueError("a label must not look like a path: Google gets to see it")


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. ``audios`` in order of time; ``schema`` is JSON Schema; ``deadline_s`` bounds all, uploads too."""

    prompt: str = field(repr=False)
    schema: dict[str, Any] = field(repr=False)
    audios: tuple[Audio, ...]
    model: str
    max_output_tokens: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said: ``text`` is JSON. ``output_tokens`` counts its thoughts as well, since they are paid too."""

    text: str = field(repr=False)
    finish_reason: str
    input_tokens: int
    output_tokens: int
    model_version: str


class Uploads(Protocol):
    """Told what is about to be stored at Google's, so that it can be deleted after a crash."""

    def began(self, name: str) -> None:
        """``name`` (``files/ce-…``) is about to be uploaded; when this returns, it has to be committed."""

    def ended(self, name: str) -> None:
        """``name`` is stored no more. If this is not called, ``Sdk.delete`` is to be tried later."""


class Sdk(Protocol):
    """One of Google's packages, made to behave. For the greenlets of one hub."""

    @property
    def name(self) -> SdkName: ...

    def ask(self, ask: Ask, uploads: Uploads) -> Answer:
        """Raises AnalysisFault, and whatever ``uploads.began`` raises. What was uploaded is deleted in every case,
        also when the greenlet is killed; that takes another few seconds at most."""
        ...

    def delete(self, name: str) -> None:
        """Delete a leftover upload; one that is gone already is fine. Raises AnalysisFault."""
        ...

    def look_up(self, model: str, timeout_s: float) -> None:
        """Ask whether the key is good and there is such a model; costs nothing. Raises AnalysisFault."""
        ...

    def close(self) -> None:
        """Close its connections. Nothing may be asked any more."""
        ...


def load(name: SdkName, api_key: str, base_url: str = "") -> Sdk:
    """Import the package and prepare it. ``base_url`` is another address for Gemini's API; empty: Google's.

    Raises ConfigurationError if the extra is not installed.
    """
    from callengine.ai.exchange import Exchange

    base_url = base_url.rstrip("/") or GOOGLE
    try:
        if name == "google-genai":
            from callengine.ai.genai import GoogleGenai

            return Exchange(GoogleGenai.rehearsed(api_key, base_url))
        from callengine.ai.generativeai import GoogleGenerativeai

        return Exchange(GoogleGenerativeai.rehearsed(api_key, base_url))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("callengine"):
            raise
    raise ConfigurationError([f"ai.sdk: {name} is not installed: pip install 'callengine[ai]'"])
