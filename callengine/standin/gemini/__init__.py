"""The stand-in for Gemini's REST API, for tests and for the demo: a process of its own, and it says that it is one.

``launch`` (or ``python -m callengine.standin.gemini``) runs it. It shares no code with the seam that speaks to Gemini,
so that it can be a witness against it.
"""

from __future__ import annotations

from callengine.standin.gemini.launch import GeminiNotStarted, GeminiProcess, launch

__all__ = ["GeminiNotStarted", "GeminiProcess", "launch"]
