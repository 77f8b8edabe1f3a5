"""The demo's live view: what it shows, that it fits, and that it draws only what changed."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from typing import Any

import gevent
import pytest

from callengine.calls.record import CallRecord
from callengine.calls.view import show
from callengine.cli.demo.columns import analysis_of
from callengine.cli.demo.lines import analysis_line, delivery_line, ended_line, fetching
from callengine.cli.demo.screen import Line, Painter, Terminal, rows_of
from callengine.cli.demo.watch import View
from callengine.cli.output import fit, width_of

CURL = (
    "curl -s -H 'Authorization: Bearer ce_0123456789ab_" + "x" * 43 + "' 'http://127.0.0.1:8088/v1/calls?page_size=3'"
)
HEADER = [
    Line("callengine demo · the switch: a stand-in, not FreeSWITCH · Ctrl-C ends it", 0),
    Line("URL  http://127.0.0.1:8088", 2),
    Line("Key  ce_0123456789ab_" + "x" * 43, 3),
    Line(CURL, 1),
    Line(CURL.replace("calls?", "campaigns/spring-2026/calls?"), 4),
]
SGR = re.compile("\x1b\\[[0-9;]*m")


def call(number: int, **fields: Any) -> dict[str, Any]:
    record = CallRecord(id=f"id-{number}", tenant_id="t", node="n", fs_uuid="f", callee_number=f"+1555{number:07d}")
    return show(record) | fields


URL = (
    "http://127.0.0.1:8088/v1/recordings/d5e2343f-7458-5d9a-ae01-0eb706a281bd?expires=1795378030&signature=" + "y" * 43
)


def delivery(n: int, **fields: Any) -> dict[str, Any]:
    return {
        "endpoint_id": "endpoint",
        "event_id": f"event-{n}",
        "event": "call.recording_failed",
        "call_id": f"01a204aa-099a-75e3-b7db-{n:012d}",
        "number": f"+1666{n:07d}",
        "seq": 5,
        "status": "delivered",
        "attempts": 1,
        "last_status": 204,
        "last_error": None,
        "created_time": "2026-11-22T10:33:35.301Z",
        "ended_time": "2026-11-22T10:33:35.334Z",
    } | fields


def with_rest(before: View, deliveries: int) -> View:
    """With all that follows calls."""
    analysed = call(
        7, analysis_status="completed", ai_sentiment="neutral", disposition="RENEWED", ai_summary="x \x1b " * 60
    )
    return replace(
        before,
        analyses=True,
        ended=tuple({**item, "analysis_status": "skipped_too_short"} for item in before.ended),
        summarized=analysed,
        recording_url=URL,
        deliveries=tuple(delivery(i) for i in range(deliveries)),
    )


def view(live: int, ended: int) -> View:
    calls = tuple(call(i, status="agent_connected", agent_id="almá 王小明 \x1b[2J") for i in range(live))
    over = tuple(
        call(1000 + i, status="failed", hangup_cause="NO_ANSWER", total_duration_s=5, caller_name="x")
        for i in range(ended)
    )
    totals = {"agent_connected": live, "failed": ended}
    return View(totals, calls, over, {item["id"]: 0.0 for item in calls})


SIZES = [(20, 5), (40, 10), (60, 18), (80, 24), (100, 30), (120, 40), (160, 50), (300, 100), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("live", "ended"), [(0, 0), (1, 0), (0, 1), (3, 200), (200, 3), (500, 500)])
@pytest.mark.parametrize("problem", [None, "the daemon does not answer " * 9])
@pytest.mark.parametrize("deliveries", [None, 0, 2, 100])
def test_it_fits(size: tuple[int, int], live: int, ended: int, problem: str | None, deliveries: int | None) -> None:
    width, height = size
    seen = view(live, ended)
    if deliveries is not None:
        seen = with_rest(seen, deliveries)
    sheet = Painter(HEADER, colour=True).sheet(seen, "00:42  12 calls", problem, 61.0, width, height)
    assert all(width_of(SGR.sub("", line)) <= width for line in sheet.body)
    assert all("\x1b" not in SGR.sub("", line) for line in sheet.body)
    header_rows = sum(rows_of(line, width) for line in sheet.header)
    assert header_rows + len(sheet.body) <= height or len(sheet.header) == 1


def text_of(width: int, height: int, live: int = 3, ended: int = 3) -> str:
    sheet = Painter(HEADER, colour=False).sheet(view(live, ended), "00:42", None, 61.0, width, height)
    return "\n".join([*sheet.header, *sheet.body])


def test_what_is_shown() -> None:
    text = text_of(160, 50)
    assert "\x1b" not in text
    for expected in (
        "http://127.0.0.1:8088",
        CURL,
        "agent connected 3",
        "failed 3",
        "NO_ANSWER",
        "5 s",
        "1:01",
        "almá 王",
    ):
        assert expected in text, expected
    assert text.count("+1555") == 6


def test_a_small_screen_keeps_the_curl_line_and_both_tables() -> None:
    text = text_of(80, 16, live=50, ended=50)
    assert CURL in text
    assert "Key  " not in text
    assert "NO_ANSWER" in text
    assert "agent connected" in text.partition("STATE")[2]
    assert re.search("… and [0-9]+ more", text)


def test_a_narrow_screen_leaves_columns_out() -> None:
    assert "CAMPAIGN" in text_of(160, 50)
    narrow = text_of(46, 50)
    assert "CAMPAIGN" not in narrow
    assert "NUMBER" in narrow


def test_rows_fill_the_screen() -> None:
    """Where one table has little to show the other one takes the room."""
    for live, ended in ((200, 2), (2, 200), (200, 200)):
        for seen in (view(live, ended), with_rest(view(live, ended), 0), with_rest(view(live, ended), 50)):
            sheet = Painter(HEADER, colour=False).sheet(seen, "", None, 0.0, 100, 40)
            assert sum(rows_of(line, 100) for line in sheet.header) + len(sheet.body) == 40


def rest_of(width: int, height: int, deliveries: int = 50) -> str:
    sheet = Painter(HEADER, colour=False).sheet(with_rest(view(50, 50), deliveries), "00:42", None, 0.0, width, height)
    return "\n".join([*sheet.header, *sheet.body])


def test_a_usual_screen_has_a_bit_of_everything() -> None:
    text = rest_of(80, 24)
    assert CURL in text
    assert fetching(URL) in text  # in one line, however the terminal wraps it
    assert "analysis of +15550000007: x" in text
    assert text.count("+1666") == 2
    assert text.count("+1555") == 6  # two live, three ended, the one of the summary
    assert "skipped too short" in text
    assert "CAMPAIGN" in text.partition("STATE")[2]


def test_a_large_screen_has_all_of_the_header() -> None:
    text = rest_of(120, 40)
    assert all(line.text in text for line in HEADER)
    assert text.count("+1666") >= 4
    assert text.count("NO_ANSWER") >= 7


def test_a_small_screen_has_the_calls_first() -> None:
    text = rest_of(80, 16)
    assert "WEBHOOK" not in text
    assert "NO_ANSWER" in text
    assert "agent connected" in text.partition("STATE")[2]


def test_nothing_of_what_is_not_there() -> None:
    """On a switch of somebody's own: no endpoint, and perhaps no analysis."""
    text = text_of(160, 50)
    assert "WEBHOOK" not in text
    assert "ANALYSIS" not in text
    assert "no webhooks delivered yet" in rest_of(120, 40, deliveries=0)


def test_the_totals_are_all_there() -> None:
    totals = {"dialing": 0, "ringing": 6, "answered": 13, "agent_connected": 12, "completed": 114, "failed": 70}
    sheet = Painter(HEADER, colour=False).sheet(View(totals), "", None, 0.0, 80, 24)
    assert "completed 114  failed 70" in sheet.body[1]


def test_a_new_recording_is_a_new_header_and_nothing_else_is() -> None:
    painter = Painter(HEADER, colour=False)
    one, two = with_rest(view(2, 2), 3), with_rest(view(3, 5), 9)
    assert painter.sheet(one, "", None, 0.0, 120, 40).header == painter.sheet(two, "", None, 1.0, 120, 40).header
    other = replace(two, recording_url=f"{URL}z")
    assert painter.sheet(two, "", None, 0.0, 120, 40).header != painter.sheet(other, "", None, 0.0, 120, 40).header


def drawn(terminal: Terminal, reader: int, sheet: Any, size: tuple[int, int]) -> str:
    terminal.draw(sheet, size)
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 20).decode()
    except BlockingIOError:
        return ""


def test_only_changes_are_drawn() -> None:
    reader, writer = os.pipe()
    terminal, painter, size = Terminal(writer), Painter(HEADER, colour=False), (100, 30)
    first = painter.sheet(view(2, 2), "00:01", None, 0.0, *size)
    assert CURL in drawn(terminal, reader, first, size)
    assert drawn(terminal, reader, first, size) == ""
    later = drawn(terminal, reader, painter.sheet(view(2, 2), "00:02", None, 0.0, *size), size)
    assert "00:02" in later
    assert CURL not in later  # what somebody may be marking stays untouched
    assert later.count("\x1b[K") == 1
    fewer = drawn(terminal, reader, painter.sheet(view(1, 0), "00:02", None, 0.0, *size), size)
    assert "\x1b[K" in fewer
    resized = drawn(terminal, reader, painter.sheet(view(1, 0), "00:02", None, 0.0, 90, 30), (90, 30))
    assert "\x1b[2J" in resized
    assert CURL in resized
    os.close(reader)
    os.close(writer)


def test_a_terminal_that_was_closed() -> None:
    reader, writer = os.pipe()
    terminal = Terminal(writer)
    os.close(reader)
    gevent.sleep(0.05)  # gevent's close, which the tests run under, closes when the hub runs next
    terminal.draw(Painter(HEADER, colour=False).sheet(View(), "", None, 0.0, 80, 24), (80, 24))
    assert terminal.gone
    os.close(writer)


def test_the_screen_is_given_back() -> None:
    reader, writer = os.pipe()
    with pytest.raises(RuntimeError), Terminal(writer):
        raise RuntimeError
    written = os.read(reader, 1000).decode()
    assert written.endswith("\x1b[?25h\x1b[?1049l")
    os.close(reader)
    os.close(writer)


def test_line_of_an_ended_call() -> None:
    over = call(
        1,
        status="completed",
        end_time="2026-11-22T10:33:35.301Z",
        hangup_cause="NORMAL_CLEARING",
        ring_duration_s=0,
        talk_duration_s=12,
        agent_id="al\nma",
        has_recording=True,
    )
    assert ended_line(over) == (
        "10:33:35.301 completed outbound +15550000001 NORMAL_CLEARING ring=0 talk=12"
        " agent=al\N{REPLACEMENT CHARACTER}ma recorded"
    )
    assert ended_line(call(2, status="failed", failure_reason="queue_timeout")).startswith("- failed outbound +1555")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, None),
        ({"disposition": "SOLD"}, None),  # an agent set it
        ({"analysis_status": "running"}, "running"),
        ({"analysis_status": "skipped_too_short"}, "skipped too short"),
        ({"analysis_status": "unsupported", "disposition": "SOLD"}, "unsupported"),
        ({"analysis_status": "completed", "ai_summary": "x", "ai_sentiment": "neutral"}, "neutral"),
        (
            {"analysis_status": "completed", "ai_summary": "x", "ai_sentiment": "negative", "disposition": "NO"},
            "NO negative",
        ),
    ],
)
def test_what_came_of_an_analysis(fields: dict[str, Any], shown: str | None) -> None:
    assert analysis_of(call(1, **fields)) == shown


def test_line_of_an_analysis() -> None:
    over = call(
        1, analysis_status="completed", ai_sentiment="neutral", disposition="NO", ai_summary="Simulated\nanalysis"
    )
    assert analysis_line(over) == (
        "analysis of +15550000001: completed, NO, neutral: Simulated\N{REPLACEMENT CHARACTER}analysis"
    )
    assert analysis_line(call(1, analysis_status="skipped_silent")) == "analysis of +15550000001: skipped_silent"


def test_line_of_a_delivery() -> None:
    assert delivery_line(delivery(1)) == "10:33:35.334 webhook call.recording_failed +16660000001 seq=5 attempt=1 204"
    failing = delivery(1, status="pending", ended_time=None, last_status=None, last_error="refused\x1b", number=None)
    assert delivery_line(failing) == (
        "10:33:35.301 webhook call.recording_failed …000000000001 seq=5 attempt=1"
        " refused\N{REPLACEMENT CHARACTER}, again"
    )
    assert delivery_line(delivery(1, status="dead", last_status=500, attempts=9)).endswith("attempt=9 500, given up")


def test_a_url_is_quoted_for_the_shell() -> None:
    assert shlex.split(fetching(URL)) == ["curl", "-s", "-o", "call.wav", URL]
    assert shlex.split(fetching("http://x/'$(id)'")) == ["curl", "-s", "-o", "call.wav", "http://x/'$(id)'"]


@pytest.mark.parametrize(
    ("text", "width", "fitted"), [("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("王小明", 4, "王… "), ("x", 0, "")]
)
def test_fit(text: str, width: int, fitted: str) -> None:
    assert fit(text, width) == fitted
    assert width_of(fit(text, width)) == width
