"""What commands print: tables for people, JSON for programs. Neither lets a caller's name drive the terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from callengine.neutral import json_neutral, plain


def say(text: str) -> None:
    """A hint for whoever sits there: on standard error, so that standard output stays what was asked for."""
    sys.stderr.writelines(f"{plain(line)}\n" for line in text.split("\n"))


def to_json(value: object, *, indent: int | None = None) -> str:
    """``value`` as JSON in UTF-8, without characters that a terminal would obey."""
    return json_neutral(json.dumps(value, ensure_ascii=False, indent=indent))


def print_json(value: object) -> None:
    """One value, indented where a person looks at it."""
    sys.stdout.write(to_json(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def clean(value: object) -> str:
    """``value`` as text in one line that only prints: None is ``-``, what is not printable is U+FFFD."""
    if value is None or value == "":
        return "-"
    return plain(str(value))


def width_of(text: str) -> int:
    """How many columns ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` columns: cut with an ellipsis, or padded."""
    if width <= 0:
        return ""
    if width_of(text) > width:
        taken, used = [], 0
        for c in text:
            step = width_of(c)
            if used + step > width - 1:
                break
            taken.append(c)
            used += step
        text = "".join(taken) + "…"
    padding = " " * (width - width_of(text))
    return padding + text if right else text + padding


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two spaces apart; a column of numbers stands right."""
    lines = [list(row) for row in rows]
    cells = [[clean(cell) for cell in row] for row in lines]
    right = [any(isinstance(row[i], int | float) for row in lines) for i in range(len(head))]
    widths = [max([width_of(name), *(width_of(row[i]) for row in cells)]) for i, name in enumerate(head)]
    return "".join(
        "  ".join(fit(cell, widths[i], right=right[i]) for i, cell in enumerate(row)).rstrip() + "\n"
        for row in [list(head), *cells]
    )


def listing(values: Mapping[str, Any]) -> str:
    """One ``name  value`` a line, for a single thing."""
    width = max((len(name) for name in values), default=0)
    lines = []
    for name, value in values.items():
        shown = to_json(value) if isinstance(value, list | dict | bool) else clean(value)
        lines.append(f"{name:<{width}}  {'-' if value == [] else shown}")
    return "\n".join(lines) + "\n"
