"""Answers that live long: a route says that its body is one, and the server then bounds it in another way.

The server offers ``environ["callengine.long_lived"]``, called as ``(kind, endless) -> bool``: False where all places of
that kind are taken. In another server than ours there is no such thing, and nothing is bounded by us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from flask import request

from callengine.api.problems import Refusal

Kind = Literal["recording", "stream"]
PIECE_BYTES = 65_536
"""Bodies come in pieces of at most so many bytes: the least speed of a reader is one in ``http.request_timeout_s``."""
_RETRY_AFTER_S = "10"


class BodyEnded(Exception):
    """The body cannot be sent to its announced end. Raised while it is iterated over: the connection is then closed,
    which alone tells the peer that something is missing."""


def claim_place(kind: Kind, *, endless: bool = False) -> None:
    """To be called by a view before it answers with a long-lived body; raises ``Refusal`` (503).

    ``endless``: the body never ends by itself, so that a server that stops does not wait for it.
    """
    begin: Callable[[str, bool], bool] | None = request.environ.get("callengine.long_lived")
    if begin is not None and not begin(kind, endless):
        raise Refusal(503, "too-many", "too many are being served at once", headers={"Retry-After": _RETRY_AFTER_S})


class Places:
    """The places of the answers that live long: ``limit`` for each kind."""

    KINDS = 2
    """How many kinds there are: recordings, and readers of the stream."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.endless: set[Any] = set()
        """Who sends what never ends by itself."""
        self._inside: dict[str, set[Any]] = {}

    def count(self, kind: str) -> int:
        """How many answers of a kind are being sent."""
        return len(self._inside.get(kind, ()))

    def enter(self, kind: str, who: Any, endless: bool) -> bool:
        """Takes a place; False where there is none."""
        inside = self._inside.setdefault(kind, set())
        if len(inside) >= self.limit:
            return False
        inside.add(who)
        if endless:
            self.endless.add(who)
        return True

    def leave(self, kind: str, who: Any) -> None:
        """Gives it back."""
        self._inside[kind].discard(who)
        self.endless.discard(who)
