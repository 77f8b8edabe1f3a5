"""One line for each call, where there is no screen to draw on."""

from __future__ import annotations

from callengine.cli.calls_shown import Shown, cause_of, number_of
from callengine.cli.output import clean


def ended_line(call: Shown) -> str:
    """``10:33:35.301 completed outbound +15550123200 NORMAL_CLEARING ring=3 talk=12 total=15 agent=alma``."""
    end = call["end_time"]
    words = [
        end[11:23] if end else "-",
        call["status"],
        call["direction"],
        number_of(call),
        cause_of(call),
        *(
            f"{name}={call[f'{name}_duration_s']}"
            for name in ("ring", "talk", "total")
            if call[f"{name}_duration_s"] is not None
        ),
        f"agent={clean(call['agent_id'])}" if call["agent_id"] is not None else None,
        "recorded" if call["has_recording"] else None,
    ]
    fixed, rest = words[:5], words[5:]
    return " ".join([*(clean(word) for word in fixed), *(str(word) for word in rest if word is not None)])
