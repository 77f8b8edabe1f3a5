"""What a look at one part of the system comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How good it is: ``WARN`` works and is probably not meant, ``FAIL`` does not work, ``SKIP`` could not be told."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``check`` is one of a fixed set, ``text`` the fact, ``remedy`` what to type or to set."""

    check: str
    level: Level
    text: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(check: str, text: str) -> Finding:
    """As it should be."""
    return Finding(check, Level.OK, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """It works, and is probably not meant."""
    return Finding(check, Level.WARN, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.FAIL, text, remedy)


def skip(check: str, text: str) -> Finding:
    """It could not be told, since something else is in the way."""
    return Finding(check, Level.SKIP, text)
