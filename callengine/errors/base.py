"""The root of the tree, and what a configuration can be told."""

from __future__ import annotations

from collections.abc import Sequence


class CallengineError(Exception):
    """Base of all of them."""


class ConfigurationError(CallengineError):
    """The settings cannot be used. ``problems`` has one line each: place, fact, remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))
