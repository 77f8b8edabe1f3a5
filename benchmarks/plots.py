"""Small drawings as SVG, by hand: lines over a linear or a logarithmic axis, and bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 170, 40, 48
_COLOURS: Final = ("#2b6cb0", "#c05621", "#2f855a", "#97266d", "#744210", "#4a5568", "#b83280", "#2c7a7b")
_STYLE: Final = "font-family:sans-serif;font-size:12px"

Points = Sequence[tuple[float, float]]


def lines(title: str, x: str, y: str, series: Mapping[str, Points], *, log_x: bool = False, log_y: bool = False) -> str:
    """One line for each of ``series``, by its name."""
    points = [p for found in series.values() for p in found]
    if not points:
        return bars(title, y, {})
    across = _Axis([p[0] for p in points], _LEFT, _WIDTH - _RIGHT, log=log_x, zero=not log_x)
    up = _Axis([p[1] for p in points], _HEIGHT - _BOTTOM, _TOP, log=log_y, zero=not log_y)
    parts = []
    for at, label in across.ticks():
        parts.append(_text(at, _HEIGHT - _BOTTOM + 18, label, "middle"))
    parts += _grid(up)
    for i, (name, found) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in found)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(found) <= 40:
            parts += [f'<circle cx="{across.at(a):.1f}" cy="{up.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in found]
        parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 14 + 18 * i, name, "start", colour))
    return _page(title, x, y, parts)


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """One bar for each, lying, with its figure."""
    height = _TOP + 30 * max(len(values), 1) + 16
    widest = max(values.values(), default=1) or 1
    parts = []
    for i, (name, value) in enumerate(values.items()):
        top = _TOP + 30 * i
        wide = 380 * value / widest
        parts.append(_text(218, top + 16, name, "end"))
        parts.append(f'<rect x="226" y="{top}" width="{wide:.1f}" height="22" fill="{_COLOURS[0]}"/>')
        parts.append(_text(232 + wide, top + 16, f"{_short(value)} {unit}", "start"))
    return _page(title, "", "", parts, height)


class _Axis:
    """From values to places. ``log``: in decades; ``zero``: it begins there."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool, zero: bool) -> None:
        self._log = log
        self._start, self._end = start, end
        low = min(values)
        high = max(values)
        if log:
            positive = [v for v in values if v > 0] or [1.0]
            self._low, self._high = math.log10(min(positive)), math.log10(max(positive))
        else:
            self._low, self._high = (min(0.0, low) if zero else low), high
        if self._high <= self._low:
            self._high = self._low + 1

    def at(self, value: float) -> float:
        """Its place."""
        if self._log:
            value = math.log10(value) if value > 0 else self._low
        return self._start + (self._end - self._start) * (value - self._low) / (self._high - self._low)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels."""
        if self._log:
            decades = range(math.ceil(self._low - 1e-9), math.floor(self._high + 1e-9) + 1)
            found = [10.0**d for d in decades]
            if len(found) < 3:
                steps = [
                    m * 10.0**d for d in range(math.floor(self._low), math.ceil(self._high) + 1) for m in (1, 2, 5)
                ]
                found = [v for v in steps if self._low - 1e-9 <= math.log10(v) <= self._high + 1e-9]
        else:
            span = self._high - self._low
            step = 10 ** math.floor(math.log10(span / 4))
            step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= 5)
            first = math.ceil(self._low / step)
            found = [i * step for i in range(first, int(self._high / step) + 1)]
        return [(self.at(v), _short(v)) for v in found]


def _grid(up: _Axis) -> list[str]:
    parts = []
    for at, label in up.ticks():
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, at + 4, label, "end"))
    return parts


def _short(value: float) -> str:
    for bound, word in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            return f"{value / (1000 if word == 'k' else bound):.3g}{word}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _page(title: str, x: str, y: str, parts: Sequence[str], height: int = _HEIGHT) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" style="{_STYLE}" role="img">'
    frame = f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
    names = [_text(12, 20, title, "start")]
    if x:
        names.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 10, x, "middle"))
    if y:
        names.append(_text(12, 36, y, "start", "#666"))
    return "\n".join([head, frame, *names, *parts, "</svg>", ""])
