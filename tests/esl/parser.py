"""How FreeSWITCH takes an originate apart, written after its sources and checked against it: the tests' own reading.

Strict where FreeSWITCH is lenient: what it would expand, drop, or take for another leg raises Astray.
"""

from __future__ import annotations

from dataclasses import dataclass

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "s": " "}


class Astray(Exception):
    """The command means something else than one leg with plain variables and one thing to do then."""


@dataclass(frozen=True)
class Read:
    """What the switch understood. ``second`` is the dial string of a ``bridge``, read the same way."""

    variables: dict[str, str]
    target: str
    application: str
    arguments: str = ""
    second: Read | None = None

    def of_second_leg(self) -> dict[str, str]:
        """All variables of the leg that is bridged to, with those that the first one exports."""
        assert self.second is not None
        exported = {}
        for name in filter(None, self.variables.get("export_vars", "").split(",")):
            if name in self.variables:
                exported[name.removeprefix("_nolocal_")] = self.variables[name]
        return {**exported, **self.second.variables}


def clean(part: str, delimiter: str) -> str:
    """``cleanup_separated_string``: blanks around it, quotes and escapes go."""
    part = part.lstrip(" ")
    out: list[str] = []
    keep = 0
    quoted = False
    at = 0
    while at < len(part):
        here, following = part[at], part[at + 1 : at + 2]
        if here == "\\" and following and (following in "'\"\\" + delimiter or following in _ESCAPES):
            out.append(following if following in "'\"\\" + delimiter else _ESCAPES[following])
            keep = len(out)
            at += 2
            continue
        if here == "'" and (quoted or "'" in part[at + 1 :]):
            quoted = not quoted
        else:
            out.append(here)
            keep = len(out) if here != " " or quoted else keep
        at += 1
    return "".join(out[:keep])


def words(text: str) -> list[str]:
    """``separate_string_blank_delim``."""
    found: list[str] = []
    at = 0
    while at < len(text):
        while text[at : at + 1] == " ":
            at += 1
        start, quoted = at, False
        while at < len(text) and (quoted or text[at] != " "):
            if text[at] == "\\":
                at += 1
            elif text[at] == "'":
                quoted = not quoted
            at += 1
        if at > start:
            found.append(clean(text[start:at], ""))
    return found


def split(text: str, delimiter: str, limit: int = 1000) -> list[str]:
    """``separate_string_char_delim``; ``^^`` before it chooses another delimiter."""
    if text.startswith("^^") and len(text) > 3:
        delimiter, text = text[2], text[3:]
    found, start, at, quoted = [], 0, 0, False
    while at < len(text) and len(found) < limit - 1:
        here = text[at]
        if here == "\\":
            at += 1
        elif here == "'" and (quoted or "'" in text[at + 1 :]):
            quoted = not quoted
        elif here == delimiter and not quoted:
            found.append(text[start:at])
            start = at + 1
        at += 1
    return [clean(part, delimiter) for part in [*found, text[start:]]]


def expanded(arguments: str) -> str:
    """``switch_channel_expand_variables`` of a text without variables."""
    if "$" in arguments:
        raise Astray("a variable is expanded")
    if "\\'" in arguments:
        raise Astray("FreeSWITCH drops an application whose arguments hold an escaped apostrophe")
    return arguments.replace("\\\\", "\\")


def dial_string(text: str) -> tuple[dict[str, str], str]:
    """The variables of ``{…}`` and the rest, which has to be a single leg."""
    if ":_:" in text:
        raise Astray("several originates")
    if "origination_nested_vars=true" in text.lower():
        raise Astray("variables in variables")
    variables: dict[str, str] = {}
    while text.startswith("{"):
        at = text.find("}")
        if at < 0 or "{" in text[1:at]:
            raise Astray("braces in braces, or without an end")
        for pair in split(text[1:at], ","):
            name, *value = split(pair, "=", 2)
            if not value or not value[0]:
                raise Astray("a variable without a value")
            if value[0].startswith("ARRAY::") or "$" in value[0]:
                raise Astray("a value that is more than text")
            if name in variables:
                raise Astray("a variable set twice")
            variables[name] = value[0]
        text = text[at + 1 :].lstrip(" ")
    if not text or set(text) & set("{}<>") or len(split(text, "|")) > 1 or len(split(text, ",")) > 1:
        raise Astray("not one leg")
    return variables, text


def originate(command: str) -> Read:
    """Take apart what follows ``bgapi `` or ``api ``."""
    if any(ord(here) < 32 or ord(here) == 127 for here in command):
        raise Astray("control characters")
    verb, *arguments = words(command)
    if verb != "originate" or len(arguments) not in (2, 4) or "undef" in (a.lower() for a in arguments):
        raise Astray(f"not the words of an originate: {arguments}")
    variables, target = dial_string(arguments[0])
    if not arguments[1].startswith("&"):
        dialplan, context = arguments[2:]
        if dialplan != "XML":
            raise Astray("another dialplan")
        return Read(variables, target, f"{context}/{arguments[1]}")
    if len(arguments) > 2:
        raise Astray("an application and a dialplan")
    inside, _, after = arguments[1][1:].partition(")")
    if after:
        raise Astray("the arguments end early")
    name, _, given = inside.partition("(")
    given = expanded(given)
    second = Read(*dial_string(given), "") if name == "bridge" else None
    return Read(variables, target, name, given, second)
