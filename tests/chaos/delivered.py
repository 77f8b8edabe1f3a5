"""What the receiver of webhooks took, read on as its file grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

_TOLD: Final = ("status", "hangup_cause", "end_time", "answer_time")

Events = tuple[set[int], dict[str, Any]]
"""The ``seq`` of each event of a call that came, and what the last of them says of it."""


class Delivered:
    """``calls`` by id; ``retold``: those of which two events have the same number; ``events`` that came, once each."""

    def __init__(self, bodies: Path) -> None:
        self._bodies, self._read = bodies, 0
        self._ids: dict[tuple[str, int], str] = {}
        self.calls: dict[str, Events] = {}
        self.retold: set[str] = set()

    @property
    def events(self) -> int:
        """How many different ones came."""
        return len(self._ids)

    def look(self) -> None:
        """Reads what came since. The last line may be half written."""
        with self._bodies.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                self._take(orjson.loads(line))

    def _take(self, body: dict[str, Any]) -> None:
        if not body["type"].startswith("call."):
            return
        call, seq = body["data"]["call"], body["seq"]
        if self._ids.setdefault((call["id"], seq), body["id"]) != body["id"]:
            self.retold.add(call["id"])
        got, last = self.calls.setdefault(call["id"], (set(), {}))
        if not got or seq > max(got):
            last.update({name: call[name] for name in _TOLD})
        got.add(seq)
