"""What the API says of the calls, read again and again: the one source of all that the demo shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from callengine.cli.calls_shown import Shown
from callengine.cli.client import Client
from callengine.cli.exits import Failed

LIVE = ("dialing", "ringing", "answered", "agent_connected")
OVER = ("completed", "failed")
_EVERY_S = 0.4
_ENDED_PAGE = 50
_ENDED_KEPT = 200
_KNOWN = 5000


@dataclass(frozen=True)
class View:
    """The calls at one moment: of ``live`` first what changed last, of ``ended`` first what ended last.

    ``seen`` is when we first saw each live call, by our monotonic clock, which is never compared with the switch's.
    """

    totals: dict[str, int] = field(default_factory=dict)
    live: tuple[Shown, ...] = ()
    ended: tuple[Shown, ...] = ()
    seen: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


class Watch:
    """Polls in a thread of its own. ``view`` is the latest; ``take_ended`` hands out each ended call once."""

    def __init__(self, client: Client) -> None:
        self.view = View()
        self._client = client
        self._stop = threading.Event()
        self._ended: deque[Shown] = deque(maxlen=_ENDED_KEPT)
        self._fresh: deque[Shown] = deque(maxlen=_KNOWN)
        self._known: dict[str, None] = {}
        self._changes: dict[str, tuple[str, float]] = {}
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, within the bound of one request."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self._client.timeout_s)

    def take_ended(self) -> list[Shown]:
        """The calls that ended since the last time, in the order of their end."""
        taken = []
        while self._fresh:
            taken.append(self._fresh.popleft())
        return taken

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look(time.monotonic())
            except Failed as error:
                old = self.view
                self.view = View(old.totals, old.live, old.ended, old.seen, problem=error.message)
            self._stop.wait(_EVERY_S)

    def look(self, now: float) -> None:
        """One look. Raises ``Failed``."""
        totals: dict[str, int] = {}
        live: list[Shown] = []
        for status in LIVE:
            page = self._page(status, 200)
            totals[status] = page["total"]
            live += page["data"]
        over: dict[str, Shown] = {}
        for status in OVER:
            page = self._page(status, _ENDED_PAGE)
            totals[status] = page["total"]
            over |= {call["id"]: call for call in page["data"]}
        # A call may have moved on between two of these requests; it then shows under its later status only.
        unique = {call["id"]: call for call in live if call["id"] not in over}
        for gone in [call_id for call_id in self.view.seen if call_id not in unique and call_id not in over]:
            call = self._client.get(f"/v1/calls/{gone}")
            if call["status"] in OVER:
                over[gone] = call
            else:
                unique[gone] = call
        self._note_ended(over)
        seen = {call_id: self.view.seen.get(call_id, now) for call_id in unique}
        order = sorted(unique.values(), key=lambda call: self._changed_at(call, now), reverse=True)
        self._changes = {call["id"]: self._changes[call["id"]] for call in order}
        self.view = View(totals, tuple(order), tuple(self._ended), seen)

    def _changed_at(self, call: Shown, now: float) -> float:
        """When we first saw it in its present status."""
        known = self._changes.get(call["id"])
        if known is None or known[0] != call["status"]:
            known = self._changes[call["id"]] = (call["status"], now)
        return known[1]

    def _page(self, status: str, size: int) -> dict[str, Any]:
        page: dict[str, Any] = self._client.get("/v1/calls", {"status": status, "page_size": size})
        return page

    def _note_ended(self, over: dict[str, Shown]) -> None:
        fresh = [call for call in over.values() if call["id"] not in self._known]
        for call in sorted(fresh, key=lambda call: call["end_time"] or call["ended_before"] or ""):
            self._known[call["id"]] = None
            self._ended.appendleft(call)
            self._fresh.append(call)
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
