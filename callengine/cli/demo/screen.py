"""The live view: what stands on the screen (pure), and how it gets there without flicker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from callengine.cli.calls_shown import Shown, cause_of, number_of
from callengine.cli.demo.watch import LIVE, OVER, View
from callengine.cli.output import clean, fit, width_of

_BODY_ROWS = 12
"""What the header has to leave: the totals, and some calls of each table."""

_STYLES = {
    "dialing": "2",
    "ringing": "33",
    "answered": "32",
    "agent_connected": "1;32",
    "completed": "32",
    "failed": "31",
    "title": "1",
    "head": "2",
    "problem": "1;31",
}


@dataclass(frozen=True)
class Column:
    """A column of a table. Of those that do not fit, the ones with the highest ``rank`` are left out."""

    title: str
    width: int
    rank: int
    cell: Callable[[Shown], object]
    right: bool = False


def _direction(call: Shown) -> str:
    return "in" if call["direction"] == "inbound" else "out"


def _status(call: Shown) -> str:
    return str(call["status"]).replace("_", " ")


def _seconds(name: str) -> Callable[[Shown], object]:
    return lambda call: None if call[name] is None else f"{call[name]} s"


_ENDED = (
    Column("STATUS", 9, 0, _status),
    Column("CAUSE", 24, 0, cause_of),
    Column("RING", 5, 3, _seconds("ring_duration_s"), right=True),
    Column("TALK", 5, 1, _seconds("talk_duration_s"), right=True),
    Column("TOTAL", 5, 2, _seconds("total_duration_s"), right=True),
    Column("DIR", 3, 4, _direction),
    Column("NUMBER", 14, 1, number_of),
    Column("AGENT", 12, 5, lambda call: call["agent_id"]),
    Column("HUNG UP BY", 10, 6, lambda call: call["hangup_by"]),
    Column("REC", 3, 7, lambda call: "yes" if call["has_recording"] else None),
    Column("CAMPAIGN", 14, 8, lambda call: call["campaign_id"]),
    Column("ANSWERED BY", 11, 9, lambda call: call["answered_by"]),
)


def _live_columns(seen: dict[str, float], now: float) -> tuple[Column, ...]:
    return (
        Column("STATE", 15, 0, _status),
        Column("AGE", 5, 1, lambda call: _age(now - seen.get(call["id"], now)), right=True),
        Column("DIR", 3, 2, _direction),
        Column("NUMBER", 14, 1, number_of),
        Column("AGENT", 12, 3, lambda call: call["agent_id"]),
        Column("QUEUE", 16, 6, lambda call: call["queue"]),
        Column("CAMPAIGN", 14, 4, lambda call: call["campaign_id"]),
        Column("GATEWAY", 10, 5, lambda call: call["gateway"]),
    )


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


@dataclass(frozen=True)
class Line:
    """A line of the header. Where the screen is too small for all, those with the highest ``rank`` are left out."""

    text: str
    rank: int


@dataclass(frozen=True)
class Sheet:
    """What is drawn. ``header`` lines may be wider than the screen: the terminal wraps them itself, so that a line that
    somebody copies stays one line. ``body`` lines are no wider than the screen."""

    header: tuple[str, ...]
    body: tuple[str, ...]


class Painter:
    """Builds sheets for a terminal of a given size."""

    def __init__(self, header: Sequence[Line], *, colour: bool) -> None:
        self._header = tuple(header)
        self._colour = colour

    def _fitting_header(self, width: int, height: int) -> tuple[str, ...]:
        lines = list(self._header)
        while len(lines) > 1 and sum(rows_of(line.text, width) for line in lines) > height - _BODY_ROWS:
            lines.remove(max(lines, key=lambda line: line.rank))
        return tuple(line.text for line in lines)

    def sheet(self, view: View, status_line: str, problem: str | None, now: float, width: int, height: int) -> Sheet:
        """The whole screen: at most ``height`` rows, where the header leaves that much."""
        header = self._fitting_header(width, height)
        left = height - sum(rows_of(line, width) for line in header)
        body = [self._style("title", fit(status_line, width)), self._totals(view, width)]
        if problem is not None:
            body.append(self._style("problem", fit(clean(problem), width)))
        rest = left - len(body) - 4  # a blank line and a head above each table
        live_rows = min(max(rest - min(len(view.ended), rest // 2), 0), max(rest, 0))
        live = self._table("LIVE", _live_columns(view.seen, now), view.live, live_rows, width)
        ended_rows = rest - max(len(live) - 2, 0)
        body += live + self._table("ENDED", _ENDED, view.ended, ended_rows, width, more=False)
        return Sheet(header, tuple(body[: max(left, 0)]))

    def _totals(self, view: View, width: int) -> str:
        parts: list[str] = []
        used = 0
        for status in (*LIVE, *OVER):
            text = f"{status.replace('_', ' ')} {view.totals.get(status, 0)}"
            used += width_of(text) + (3 if parts else 0)
            if used > width:
                break
            parts.append(self._style(status, text))
        return "   ".join(parts)

    def _table(
        self, title: str, columns: Sequence[Column], calls: Sequence[Shown], rows: int, width: int, *, more: bool = True
    ) -> list[str]:
        if rows < 1:
            return []
        chosen = _fitting(columns, width)
        head = "  ".join(fit(column.title, column.width, right=column.right) for column in chosen)
        lines = ["", self._style("head", fit(f"{head}", width))]
        shown = calls[: rows - 1] if more and len(calls) > rows else calls[:rows]
        for call in shown:
            cells = "  ".join(fit(clean(column.cell(call)), column.width, right=column.right) for column in chosen)
            lines.append(self._style(str(call["status"]), fit(cells, width)))
        if len(shown) < len(calls) and more:
            lines.append(self._style("head", fit(f"… and {len(calls) - len(shown)} more", width)))
        if not calls:
            lines.append(self._style("head", fit(f"no calls {title.lower()} yet", width)))
        return lines

    def _style(self, name: str, text: str) -> str:
        code = _STYLES.get(name)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    chosen = list(columns)
    while len(chosen) > 1 and sum(column.width + 2 for column in chosen) - 2 > width:
        chosen.remove(max(chosen, key=lambda column: (column.rank, columns.index(column))))
    return chosen


def rows_of(line: str, width: int) -> int:
    """How many rows a header line takes once the terminal has wrapped it."""
    return max(1, -(-width_of(line) // max(width, 1)))


class Terminal:
    """Draws sheets on the alternate screen; only rows that changed are written, all of a frame at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size: tuple[int, int] = (0, 0)
        self._header: tuple[str, ...] = ()
        self._body: tuple[str, ...] = ()
        self.gone = False
        """Whether nobody looks any more: the terminal was closed."""

    def __enter__(self) -> Self:
        self._write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\x1b[?2026l\x1b[0m\x1b[?25h\x1b[?1049l")

    def size(self) -> tuple[int, int]:
        """Columns and rows, now."""
        try:
            found = os.get_terminal_size(self._descriptor)
        except OSError:
            return 80, 24
        return max(found.columns, 1), max(found.lines, 1)

    def draw(self, sheet: Sheet, size: tuple[int, int]) -> None:
        """Brings the screen from the last sheet to this one."""
        out: list[str] = []
        if size != self._size or sheet.header != self._header:
            out.append("\x1b[2J\x1b[H")
            out.append("\r\n".join(sheet.header))
            self._size, self._header, self._body = size, sheet.header, ()
        top = 1 + sum(rows_of(line, size[0]) for line in sheet.header)
        for row in range(max(len(sheet.body), len(self._body))):
            line = sheet.body[row] if row < len(sheet.body) else ""
            if row >= len(self._body) or self._body[row] != line:
                # Cleared first: behind a line as wide as the screen the cursor still stands on its last column.
                out.append(f"\x1b[{top + row};1H\x1b[K{line}")
        self._body = sheet.body
        if out:
            # A terminal that knows synchronized output shows the frame whole; others ignore the request.
            self._write(f"\x1b[?2026h{''.join(out)}\x1b[?2026l")

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self.gone = True


def is_for_screens(environ: Any) -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and environ.get("TERM", "dumb") != "dumb"
