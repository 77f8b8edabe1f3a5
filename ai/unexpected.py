"""What to say of an error of a package that nobody foresaw: where it came from, and none of its words."""

from __future__ import annotations

import traceback
from pathlib import Path

from callengine.ai.faults import Permanent


def unexpected(error: Exception) -> Permanent:
    """The text of such an error may hold anything, also the key; its kind and place do not."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    fault = Permanent(f"unexpected {type(error).__name__}{place}")
    fault.unknown_cost = True
    return fault
