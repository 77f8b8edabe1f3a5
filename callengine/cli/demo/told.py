"""What follows calls, as the demo sees it: analyses that came to an end, recordings, and deliveries of webhooks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from callengine.cli.calls_shown import Shown, number_of

_UNDER_WAY = frozenset({"pending", "running", "retrying", "parked"})
_KEPT = 100
_KNOWN = 5000
_URL_STANDS_S = 30.0


class Analyses:
    """Tells each analysis once. ``summarized`` is the call whose summary came last."""

    def __init__(self) -> None:
        self.any = False
        self.summarized: Shown | None = None
        self._fresh: deque[Shown] = deque(maxlen=_KNOWN)
        self._known: dict[str, None] = {}

    def note(self, calls: Iterable[Shown]) -> None:
        """Calls that are over, as they are now."""
        for call in calls:
            status = call["analysis_status"]
            if status is None:
                continue
            self.any = True
            if status in _UNDER_WAY or call["id"] in self._known:
                continue
            self._known[call["id"]] = None
            forget_oldest(self._known, _KNOWN)
            self._fresh.append(call)
            if call["ai_summary"] is not None:
                self.summarized = call

    def take(self) -> list[Shown]:
        """Those since the last time."""
        return drained(self._fresh)


def is_under_way(call: Shown) -> bool:
    """Whether something is still to come of its analysis."""
    return call["analysis_status"] in _UNDER_WAY


class LastRecording:
    """The URL of the last recorded call. It stands for a while: somebody may be about to copy it."""

    def __init__(self) -> None:
        self.url: str | None = None
        self._since = 0.0
        self._known: dict[str, None] = {}

    def note(self, calls: Iterable[Shown], now: float) -> None:
        """Calls that are over, as they are now. ``now`` is of our monotonic clock."""
        found = [call for call in calls if call["recording_url"] is not None and call["id"] not in self._known]
        for call in found:
            self._known[call["id"]] = None
        forget_oldest(self._known, _KNOWN)
        if found and (self.url is None or now - self._since >= _URL_STANDS_S):
            last = max(found, key=lambda call: call["end_time"] or "")
            self.url, self._since = last["recording_url"], now


class Deliveries:
    """Tells each attempt to deliver once. ``shown`` has the last ones, the newest first."""

    def __init__(self) -> None:
        self.shown: tuple[Mapping[str, Any], ...] = ()
        self._fresh: deque[Mapping[str, Any]] = deque(maxlen=_KNOWN)
        self._known: dict[tuple[str, str, int], None] = {}
        self._numbers: dict[str, str | None] = {}

    def learn(self, calls: Iterable[Shown]) -> None:
        """Whose number is which."""
        for call in calls:
            self._numbers.setdefault(call["id"], number_of(call))
        forget_oldest(self._numbers, _KNOWN)

    def note(self, page: Iterable[Mapping[str, Any]]) -> None:
        """The newest deliveries, as the API lists them."""
        fresh = []
        for delivery in page:
            key = (delivery["event_id"], delivery["endpoint_id"], delivery["attempts"])
            if delivery["attempts"] and key not in self._known:
                self._known[key] = None
                fresh.append({**delivery, "number": self._numbers.get(delivery["call_id"])})
        fresh.sort(key=lambda delivery: (delivery["ended_time"] or delivery["created_time"], delivery["seq"]))
        self._fresh.extend(fresh)
        self.shown = (*reversed(fresh), *self.shown)[:_KEPT]
        forget_oldest(self._known, _KNOWN)

    def take(self) -> list[Mapping[str, Any]]:
        """Those since the last time."""
        return drained(self._fresh)


def drained(queue: deque[Any]) -> list[Any]:
    """All of it, in order; another thread may be adding to it."""
    taken = []
    while queue:
        taken.append(queue.popleft())
    return taken


def forget_oldest(known: dict[Any, Any], most: int) -> None:
    """Down to the ``most`` that came last."""
    while len(known) > most:
        del known[next(iter(known))]
