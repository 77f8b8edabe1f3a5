"""Facts that came too early: of channels that nobody described yet, and of those whose parent is unknown."""

from __future__ import annotations

from callengine.calls.facts import ChannelFact, LegDescribed

_MAX_FACTS_A_CHANNEL = 64
_MEAN_FACTS_A_CHANNEL = 4


class _Stray:
    __slots__ = ("facts", "parent", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.facts: list[ChannelFact] = []
        self.parent: str | None = None


class Waiting:
    """Channels that are not placed yet, the oldest first, with their facts and the channel they were created for.

    Bounded in channels, in facts a channel and in facts altogether: where it is full, the oldest channel gives way.
    ``dropped`` counts the facts that were given up.
    """

    def __init__(self, max_channels: int) -> None:
        self.dropped = 0
        self._max_channels = max_channels
        self._max_facts = max_channels * _MEAN_FACTS_A_CHANNEL
        self._held = 0
        self._strays: dict[str, _Stray] = {}
        self._children: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._strays)

    @property
    def facts(self) -> int:
        """How many facts wait."""
        return self._held

    @property
    def parents(self) -> int:
        """How many channels are waited for by others."""
        return len(self._children)

    def put(self, fact: ChannelFact, now: float) -> None:
        """Keep a fact until its channel is placed."""
        stray = self._strays.get(fact.uuid)
        if stray is None:
            stray = self._strays[fact.uuid] = _Stray(now)
        if fact in stray.facts:
            return
        if len(stray.facts) >= _MAX_FACTS_A_CHANNEL:
            self.dropped += 1
            return
        stray.facts.append(fact)
        self._held += 1
        while len(self._strays) > self._max_channels or self._held > self._max_facts:
            self.drop(next(iter(self._strays)))

    def await_parent(self, child: str, parent: str) -> None:
        """Remember that a channel which waits does so for another one."""
        stray = self._strays.get(child)
        if stray is not None and stray.parent is None:
            stray.parent = parent
            self._children.setdefault(parent, {})[child] = None

    def known(self, uuid: str) -> list[ChannelFact]:
        """The facts that wait for this channel to be placed; they go on waiting."""
        stray = self._strays.get(uuid)
        return [] if stray is None else list(stray.facts)

    def take(self, uuid: str) -> list[ChannelFact]:
        """The facts that waited for this channel to be placed, what describes it first."""
        stray = self._remove(uuid)
        return [] if stray is None else sorted(stray.facts, key=lambda fact: not isinstance(fact, LegDescribed))

    def take_children(self, parent: str) -> list[ChannelFact]:
        """The facts of all channels that waited for this one."""
        return [fact for child in list(self._children.get(parent, ())) for fact in self.take(child)]

    def drop(self, uuid: str) -> None:
        """Give a channel's facts up."""
        stray = self._remove(uuid)
        if stray is not None:
            self.dropped += len(stray.facts)

    def expire(self, before: float) -> None:
        """Give up what has waited since ``before`` or longer."""
        while self._strays:
            uuid, stray = next(iter(self._strays.items()))
            if stray.since > before:
                return
            self.drop(uuid)

    def _remove(self, uuid: str) -> _Stray | None:
        stray = self._strays.pop(uuid, None)
        if stray is None:
            return None
        self._held -= len(stray.facts)
        if stray.parent is not None:
            siblings = self._children[stray.parent]
            del siblings[uuid]
            if not siblings:
                del self._children[stray.parent]
        return stray
