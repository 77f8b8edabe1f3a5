"""How the arguments of applications are expanded: ``${variable}``, and one level of backslashes goes.

``switch_channel_expand_variables_check``: nothing is touched unless there is a ``${`` or an escape in the text; then
``\\\\`` becomes one backslash, ``\\'`` vanishes, ``\\$`` is a dollar. A function, ``${name(arguments)}``, is not run
here and leaves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_TOUCHED: Final = re.compile(r"\$[$\\]*\{|\\[\\nst']")
_MAX_DEPTH: Final = 100

Lookup = Callable[[str], str]


def expand(text: str, look_up: Lookup, depth: int = 0) -> str:
    """The text with its variables, which ``look_up`` knows (``""`` for one that it does not)."""
    if depth > _MAX_DEPTH or not _TOUCHED.search(text):
        return text
    out: list[str] = []
    index = 0
    while index < len(text):
        char, following = text[index], text[index + 1 : index + 2]
        if char == "\\" and following in {"\\", "'"} and following:
            out.append("\\" if following == "\\" else "")
            index += 2
        elif char == "\\" and following == "$":
            index += 3 if text[index + 2 : index + 3] == "$" else 2
            out.append("$")
        elif char == "$" and text[index : index + 3] != "$${" and following != "{":
            out.append("$")
            index += 2 if following == "$" else 1
        elif char == "$":
            name, index = _braced(text, index + (2 if following == "{" else 3))
            out.append(_value(name, look_up, depth))
            if index < len(text) and text[index] != "$":
                out.append(text[index])  # the character behind a variable is taken as it is
                index += 1
        else:
            out.append(char)
            index += 1
    return "".join(out)


def _braced(text: str, begin: int) -> tuple[str, int]:
    """What stands up to the brace that closes, and where it goes on."""
    depth = 1
    for index in range(begin, len(text)):
        if text[index] == "{" and index > begin:
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[begin:index], index + 1
    return text[begin:], len(text)


def _value(name: str, look_up: Lookup, depth: int) -> str:
    if " " in name or "(" in name:
        return ""
    name, _, span = expand(name, look_up, depth + 1).partition(":")
    value = expand(look_up(name.partition("[")[0]), look_up, depth + 1)
    offset, _, length = span.partition(":")
    begin = int(offset) if offset.lstrip("-").isdigit() else 0
    value = value[max(begin, -len(value)) :] if begin else value
    return value[: int(length)] if length.isdigit() and int(length) > 0 else value
