"""How FreeSWITCH reads the arguments of a command and a dial string, with all its quirks.

The grammar::

    dial string  = { "{" variables "}" } group { "|" group }        failover: one group after another
    group        = leg { "," leg }                                  forked: all legs of a group at once
    leg          = { "[" variables "]" } endpoint "/" address
    variables    = [ "^^" delimiter ] name "=" value { delimiter name "=" value }

Quotes are taken away at several stages, each of which knows nothing of the others: that is why quotes do not protect a
comma inside braces, why an unquoted space ends an argument, and why ``}`` ends the braces wherever it stands
(``switch_utils.c``: ``switch_separate_string``; ``switch_event.c``: ``switch_event_create_brackets``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_VARIABLE: Final = re.compile(r"\$[$\\]*\{")
_UNESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "s": " "}


class DialStringMalformed(ValueError):
    """The braces of a dial string do not close, or it is empty; originate answers DESTINATION_OUT_OF_ORDER."""


@dataclass(slots=True)
class LegTarget:
    """One leg to be dialled: its own variables (of ``[…]``), its endpoint (``sofia``, ``user``, …) and address."""

    endpoint: str
    address: str
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class DialString:
    """A dial string as read: the variables for all legs, and the groups in order."""

    variables: dict[str, str]
    groups: list[list[LegTarget]]


def _clean(text: str, delimiter: str) -> str:
    """Take quotes and escapes out of a part and trim it, as ``cleanup_separated_string`` does."""
    text = text.lstrip(" ")
    if "\\" not in text and "'" not in text:
        return text.rstrip(" ") or text
    out: list[str] = []
    keep: int | None = None  # up to where it counts: spaces behind that are trailing ones
    quoted = False
    index = 0
    while index < len(text):
        char = text[index]
        following = text[index + 1] if index + 1 < len(text) else ""
        if char == "\\" and following and (following in "'\"\\" or following == delimiter or following in _UNESCAPED):
            exempt = following in "'\"\\" or following == delimiter
            out.append(following if exempt else _UNESCAPED[following])
            keep = len(out)
            index += 2
            continue
        if char == "'" and (quoted or "'" in text[index + 1 :]):
            quoted = not quoted
            if quoted:
                keep = len(out)
        else:
            out.append(char)
            if char != " " or quoted:
                keep = len(out)
        index += 1
    return "".join(out if keep is None else out[:keep])


def separate(text: str, delimiter: str, limit: int = 1024) -> list[str]:
    """Split at a delimiter, but not inside single quotes nor behind a backslash; at most ``limit`` parts."""
    if text.startswith("^^") and len(text) > 3:
        delimiter, text = text[2], text[3:]
    parts = _split_blank(text, limit) if delimiter == " " else _split_char(text, delimiter, limit)
    return [_clean(part, "" if delimiter == " " else delimiter) for part in parts]


def _split_char(text: str, delimiter: str, limit: int) -> list[str]:
    if "\\" not in text and "'" not in text:
        plain = text.split(delimiter, limit - 1)
        return plain if plain[-1] else plain[:-1]
    parts: list[str] = []
    begin = index = 0
    quoted = False
    while index < len(text):
        if len(parts) == limit - 1:
            break
        char = text[index]
        if char == "\\":
            index += 1
        elif char == "'" and (quoted or "'" in text[index + 1 :]):
            quoted = not quoted
        elif char == delimiter and not quoted:
            parts.append(text[begin:index])
            begin = index + 1
        index += 1
    if begin < len(text):
        parts.append(text[begin:])
    return parts


def _split_blank(text: str, limit: int) -> list[str]:
    if "\\" not in text and "'" not in text:
        plain = [part for part in text.split(" ") if part]
        if len(plain) <= limit:
            return plain
    parts: list[str] = []
    index = 0
    while index < len(text):
        while index < len(text) and text[index] == " ":
            index += 1
        begin = index
        quoted = False
        if len(parts) == limit - 1:
            index = len(text)
        while index < len(text) and (quoted or text[index] != " "):
            if text[index] == "\\":
                index += 1
            elif text[index] == "'":
                quoted = not quoted
            index += 1
        if begin < len(text):
            parts.append(text[begin:index])
    return parts


def arguments(text: str, limit: int = 10) -> list[str]:
    """A command's arguments, split at spaces."""
    return separate(text, " ", limit)


def _closing(text: str, opening: str, closing: str) -> int:
    """Where the bracket that ``text`` begins with is closed; -1 if nowhere."""
    depth = 0
    for index, char in enumerate(text):
        if char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return index
    return -1


def has_variable(value: str) -> bool:
    """Whether a value holds ``${…}``, for which FreeSWITCH drops it in silence."""
    return _VARIABLE.search(value) is not None


def _assignments(text: str, delimiter: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in separate(text, delimiter):
        pair = separate(part, "=", 2)
        if len(pair) == 2:
            values.pop(pair[0], None)
            values[pair[0]] = pair[1]
    return values


def _take_brackets(text: str, opening: str, closing: str, delimiter: str) -> tuple[dict[str, str], str]:
    """The variables of one or more bracketed lists at the head of ``text``, and the rest."""
    values: dict[str, str] = {}
    while text.startswith(opening):
        end = _closing(text, opening, closing)
        if end < 0:
            raise DialStringMalformed(text[:40])
        values.update(_assignments(text[1:end], delimiter))
        text = text[end + 1 :].lstrip(" ")
    return values, text


def _hide_commas(group: str) -> str:
    """Commas inside brackets separate variables there (\\x02) or, inside quotes, nothing (\\x01), but never legs."""
    out: list[str] = []
    index = 0
    while index < len(group):
        end = _closing(group[index:], "[", "]") if group[index] == "[" else -1
        if end < 0:
            out.append(group[index])
            index += 1
            continue
        inside = group[index : index + end + 1]
        quoted = False
        for place, char in enumerate(inside):
            quoted ^= char == "'"
            hidden = char == "," and inside[place - 1] != "\\"
            out.append(("\x01" if quoted or inside.startswith("[^^") else "\x02") if hidden else char)
        index += end + 1
    return "".join(out)


def _leg(text: str) -> LegTarget:
    values, rest = _take_brackets(text.lstrip(" ").replace("\x01", ","), "[", "]", "\x02")
    endpoint, _, address = rest.partition("/")
    return LegTarget(endpoint, address.replace("\x02", ","), values)


def parse(text: str) -> DialString:
    """Read a dial string; raises ``DialStringMalformed``."""
    rest = text.lstrip(" ")
    values: dict[str, str] = {}
    for opening, closing in (("<", ">"), ("{", "}")):
        more, rest = _take_brackets(rest, opening, closing, ",")
        values.update(more)
    parts = separate(rest, "|", 24)
    try:
        groups = [[_leg(leg) for leg in separate(_hide_commas(part), ",", 128)] for part in parts]
    except DialStringMalformed:
        if len(parts) < 2:
            raise
        groups = [[LegTarget("[", "")]]  # with failover the next group is tried, an endpoint that does not exist
    if not any(groups):
        raise DialStringMalformed("empty")
    return DialString(values, groups)


def assignable(values: dict[str, str]) -> dict[str, str]:
    """What becomes a channel variable: neither empty nor holding a ``${…}``."""
    return {name: value for name, value in values.items() if value and not has_variable(value)}
