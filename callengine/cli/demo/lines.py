"""One line for each thing that happened, where there is no screen to draw on."""

from __future__ import annotations

from callengine.cli.calls_shown import Shown, cause_of, number_of
from callengine.cli.demo.columns import answer_of, clock_of, delivery_number
from callengine.cli.output import clean


def ended_line(call: Shown) -> str:
    """``10:33:35.301 completed outbound +15550123200 NORMAL_CLEARING ring=3 talk=12 total=15 agent=alma``."""
    words = [
        clock_of(call["end_time"]),
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


def delivery_line(delivery: Shown) -> str:
    """``10:33:35.301 webhook call.ended +15550123200 seq=4 attempt=1 204``."""
    words = [
        clock_of(delivery["ended_time"] or delivery["created_time"]),
        "webhook",
        delivery["event"],
        delivery_number(delivery),
        f"seq={delivery['seq']}",
        f"attempt={delivery['attempts']}",
        answer_of(delivery),
    ]
    return " ".join(clean(word) for word in words)


def analysis_line(call: Shown) -> str:
    """``analysis of +15550123200: completed, RENEWED, neutral: Simulated analysis: …``."""
    found = [call["analysis_status"], call["disposition"], call["ai_sentiment"]]
    line = f"analysis of {clean(number_of(call))}: {', '.join(clean(word) for word in found if word is not None)}"
    return line if call["ai_summary"] is None else f"{line}: {clean(call['ai_summary'])}"


def summary_line(call: Shown) -> str:
    """``analysis of +15550123200: Simulated analysis: …``."""
    return f"analysis of {clean(number_of(call))}: {clean(call['ai_summary'])}"


def fetching(url: str) -> str:
    """The command that fetches a recording, to be pasted as it stands; the URL is quoted for a shell."""
    quoted = url.replace("'", "'\\''")
    return f"curl -s -o call.wav '{clean(quoted)}'"
