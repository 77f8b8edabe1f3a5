"""Starting the stand-in for Gemini as a process of its own, and stopping it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from callengine.standin.launch import Running, StandInNotStarted, give_up, started


class GeminiNotStarted(StandInNotStarted):
    """The process ended, or did not say its address in time. The message holds what it said instead."""


@dataclass
class GeminiProcess(Running):
    """The stand-in for Gemini. ``base_url`` is what ``ai.base_url`` is to be set to."""

    base_url: str


def launch(arguments: Sequence[str] = (), *, timeout_s: float = 15.0) -> GeminiProcess:
    """Start ``python -m callengine.standin.gemini`` with these arguments and wait till it listens.

    Raises ``GeminiNotStarted``.
    """
    process, word = started("callengine.standin.gemini", arguments, timeout_s)
    if not word.startswith("http://"):
        give_up(process)
        raise GeminiNotStarted(f"the stand-in for Gemini did not start: {word or 'it said nothing'}")
    return GeminiProcess(process, word)
