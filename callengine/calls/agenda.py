"""What is to be done later, by key: one deadline a key, set again or cancelled at will."""

from __future__ import annotations

import heapq

_SLACK = 64


class Agenda:
    """Deadlines in seconds of the clock that ``due`` is asked with. Its size is bounded by the number of keys."""

    __slots__ = ("_heap", "_when")

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, key: object) -> bool:
        return key in self._when

    def set(self, key: str, when: float) -> None:
        """Let ``key`` fall due at ``when``, and not at any time set before."""
        self._when[key] = when
        heapq.heappush(self._heap, (when, key))
        # What was set again or cancelled stays in the heap until its time; not longer than it weighs more than the
        # rest.
        if len(self._heap) > 2 * len(self._when) + _SLACK:
            self._heap = [(when, key) for key, when in self._when.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: str) -> None:
        """Let ``key`` never fall due."""
        if self._when.pop(key, None) is not None and not self._when:
            self._heap.clear()

    def due(self, now: float) -> list[str]:
        """The keys whose time has come, the earliest first; each is taken off."""
        heap = self._heap
        found: list[str] = []
        while heap and heap[0][0] <= now:
            when, key = heapq.heappop(heap)
            if self._when.get(key) == when:
                del self._when[key]
                found.append(key)
        return found
