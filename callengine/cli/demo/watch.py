"""What the API says of the calls, read again and again: the one source of all that the demo shows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from callengine.cli.calls_shown import Shown
from callengine.cli.client import Client
from callengine.cli.demo.told import Analyses, Deliveries, LastRecording, drained, forget_oldest, is_under_way
from callengine.cli.exits import Failed

LIVE = ("dialing", "ringing", "answered", "agent_connected")
OVER = ("completed", "failed")
_EVERY_S = 0.4
_ENDED_PAGE = 50
_ENDED_KEPT = 200
_KNOWN = 5000
_DELIVERIES_PAGE = 200
_FOLLOWED = 8


@dataclass(frozen=True)
class View:
    """The calls at one moment: of ``live`` first what changed last, of ``ended`` first what ended last.

    ``seen`` is when we first saw each live call, by our monotonic clock, which is never compared with the switch's.
    ``analyses``: whether calls are analysed. ``summarized`` is the call whose summary came last. ``deliveries``, the
    newest first, is None where nobody is told by webhooks.
    """

    totals: dict[str, int] = field(default_factory=dict)
    live: tuple[Shown, ...] = ()
    ended: tuple[Shown, ...] = ()
    seen: dict[str, float] = field(default_factory=dict)
    analyses: bool = False
    summarized: Shown | None = None
    recording_url: str | None = None
    deliveries: tuple[Mapping[str, Any], ...] | None = None
    problem: str | None = None


class Watch:
    """Polls in a thread of its own. ``view`` is the latest; ``take_ended`` hands out each ended call once, the other
    two what followed calls. ``webhooks``: whether there is an endpoint whose deliveries are to be shown."""

    def __init__(self, client: Client, *, webhooks: bool = False) -> None:
        self.view = View(deliveries=() if webhooks else None)
        self._client = client
        self._webhooks = webhooks
        self._analyses = Analyses()
        self._deliveries = Deliveries()
        self._recording = LastRecording()
        self._looks = 0
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
        return drained(self._fresh)

    def take_analysed(self) -> list[Shown]:
        """The calls whose analysis has come to its end since the last time."""
        return self._analyses.take()

    def take_delivered(self) -> list[Mapping[str, Any]]:
        """The attempts to deliver since the last time, as the API lists deliveries, each with the call's ``number``."""
        return self._deliveries.take()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look(time.monotonic())
            except Failed as error:
                self.view = replace(self.view, problem=error.message)
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
        self._follow(over)
        self._note_ended(over)
        self._note_rest(over, unique, now)
        seen = {call_id: self.view.seen.get(call_id, now) for call_id in unique}
        order = sorted(unique.values(), key=lambda call: self._changed_at(call, now), reverse=True)
        self._changes = {call["id"]: self._changes[call["id"]] for call in order}
        self.view = View(
            totals,
            tuple(order),
            tuple(self._ended),
            seen,
            analyses=self._analyses.any,
            summarized=self._analyses.summarized,
            recording_url=self._recording.url,
            deliveries=self._deliveries.shown if self._webhooks else None,
        )

    def _follow(self, over: dict[str, Shown]) -> None:
        """What is still to come of a call that is on no first page any more: some of them at each look, in turn."""
        waiting = [call["id"] for call in self._ended if is_under_way(call) and call["id"] not in over]
        self._looks += 1
        begin = self._looks * _FOLLOWED % len(waiting) if waiting else 0
        for call_id in [*waiting[begin:], *waiting[:begin]][:_FOLLOWED]:
            over[call_id] = self._client.get(f"/v1/calls/{call_id}")

    def _note_rest(self, over: dict[str, Shown], live: dict[str, Shown], now: float) -> None:
        self._analyses.note(over.values())
        self._recording.note(over.values(), now)
        if self._webhooks:
            self._deliveries.learn([*live.values(), *over.values()])
            page = self._client.get("/v1/webhooks/deliveries", {"page_size": _DELIVERIES_PAGE})
            self._deliveries.note(page["data"])

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
        # What follows a call is learned after its end: those that are shown already are shown as they are now.
        self._ended = deque((over.get(call["id"], call) for call in self._ended), maxlen=_ENDED_KEPT)
        fresh = [call for call in over.values() if call["id"] not in self._known]
        for call in sorted(fresh, key=lambda call: call["end_time"] or call["ended_before"] or ""):
            self._known[call["id"]] = None
            self._ended.appendleft(call)
            self._fresh.append(call)
        forget_oldest(self._known, _KNOWN)
