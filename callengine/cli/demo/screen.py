"""The live view: what stands on the screen (pure), and how it gets there without flicker."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from callengine.cli.demo.columns import DELIVERIES, Column, ended_columns, fitting, live_columns
from callengine.cli.demo.lines import fetching, summary_line
from callengine.cli.demo.watch import LIVE, OVER, View
from callengine.cli.output import clean, fit, width_of

_BODY_ROWS = 12
"""What the header has to leave: the totals, and some calls of each table."""

_FULL_BODY_ROWS = 17
"""The same with a summary and some deliveries, which a screen has to be ``_FULL_HEIGHT`` rows high for."""
_FULL_HEIGHT = 24
_MAX_DELIVERIES = 8
_FETCH_RANK = 2

_STYLES = {
    "dialing": "2",
    "ringing": "33",
    "answered": "32",
    "agent_connected": "1;32",
    "completed": "32",
    "failed": "31",
    "delivered": "36",
    "pending": "33",
    "dead": "31",
    "summary": "36",
    "title": "1",
    "head": "2",
    "problem": "1;31",
}


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

    def _fitting_header(self, view: View, width: int, height: int) -> tuple[str, ...]:
        lines = list(self._header)
        if view.recording_url is not None:
            lines.append(Line(fetching(view.recording_url), _FETCH_RANK))
        full = view.deliveries is not None and height >= _FULL_HEIGHT
        most = height - (_FULL_BODY_ROWS if full else _BODY_ROWS)
        while len(lines) > 1 and sum(rows_of(line.text, width) for line in lines) > most:
            lines.remove(max(lines, key=lambda line: line.rank))
        return tuple(line.text for line in lines)

    def sheet(self, view: View, status_line: str, problem: str | None, now: float, width: int, height: int) -> Sheet:
        """The whole screen: at most ``height`` rows, where the header leaves that much."""
        header = self._fitting_header(view, width, height)
        left = height - sum(rows_of(line, width) for line in header)
        body = [self._style("title", fit(status_line, width)), self._totals(view, width)]
        if problem is not None:
            body.append(self._style("problem", fit(clean(problem), width)))
        if view.summarized is not None and left >= _BODY_ROWS:
            body.append(self._style("summary", fit(summary_line(view.summarized), width)))
        told = self._deliveries(view, left - len(body), width)
        rest = left - len(body) - len(told) - 4  # a blank line and a head above each table
        live_rows = min(max(rest - min(len(view.ended), rest // 2), 0), max(rest, 0))
        live = self._table("no calls live yet", live_columns(view.seen, now), view.live, live_rows, width)
        ended_rows = rest - max(len(live) - 2, 0)
        ended = ended_columns(analysed=view.analyses)
        body += live + self._table("no calls ended yet", ended, view.ended, ended_rows, width, more=False)
        return Sheet(header, tuple([*body, *told][: max(left, 0)]))

    def _deliveries(self, view: View, left: int, width: int) -> list[str]:
        """The last part, where there is room for it below the calls; as high whether full or not, so that it stays."""
        rows = min(max(left - 6, 0) // 4, _MAX_DELIVERIES)
        if view.deliveries is None or rows < 2:
            return []
        lines = self._table("no webhooks delivered yet", DELIVERIES, view.deliveries, rows, width, more=False)
        return lines + [""] * (rows + 2 - len(lines))

    def _totals(self, view: View, width: int) -> str:
        texts = {status: f"{status.replace('_', ' ')} {view.totals.get(status, 0)}" for status in (*LIVE, *OVER)}
        gaps = (gap for gap in (3, 2, 1) if sum(map(width_of, texts.values())) + gap * (len(texts) - 1) <= width)
        gap = next(gaps, 1)
        parts: list[str] = []
        used = 0
        for status, text in texts.items():
            used += width_of(text) + (gap if parts else 0)
            if used > width:
                break
            parts.append(self._style(status, text))
        return (" " * gap).join(parts)

    def _table(
        self,
        empty: str,
        columns: Sequence[Column],
        items: Sequence[Mapping[str, Any]],
        rows: int,
        width: int,
        *,
        more: bool = True,
    ) -> list[str]:
        if rows < 1:
            return []
        chosen = fitting(columns, width)
        head = "  ".join(fit(column.title, column.width, right=column.right) for column in chosen)
        lines = ["", self._style("head", fit(head, width))]
        shown = items[: rows - 1] if more and len(items) > rows else items[:rows]
        for item in shown:
            cells = "  ".join(fit(clean(column.cell(item)), column.width, right=column.right) for column in chosen)
            lines.append(self._style(str(item["status"]), fit(cells, width)))
        if len(shown) < len(items) and more:
            lines.append(self._style("head", fit(f"… and {len(items) - len(shown)} more", width)))
        if not items:
            lines.append(self._style("head", fit(empty, width)))
        return lines

    def _style(self, name: str, text: str) -> str:
        code = _STYLES.get(name)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


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
