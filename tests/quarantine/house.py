"""An engine's rooms around what was set aside: a real store, writer, book and tracker, and a switch that is asked."""

from __future__ import annotations

from pathlib import Path

from callengine.calls.call import Call
from callengine.errors import EslDisconnected
from callengine.esl.headers import Translator
from callengine.quarantine import Quarantine, segments_aside
from callengine.retries import Retries
from callengine.spool.replay import Replay
from callengine.spool.segments import Spool
from callengine.store.database import Store
from callengine.store.reads import Reads
from tests.cdr import house as cdrs
from tests.cdr.house import NODE


class House(cdrs.House):
    """``alive`` are the channels that the switch knows; ``away``: it cannot be asked."""

    def __init__(self, store: Store, tmp_path: Path) -> None:
        super().__init__(store, tmp_path)
        self.alive: set[str] = set()
        self.away = False
        self.asked: list[str] = []
        self.suspects: list[str] = []
        self.reads = Reads(store)
        self.quarantine = Quarantine(tmp_path / "quarantine")
        self.spool = Spool(tmp_path / "spool", node=NODE, switch="s", max_bytes=1 << 30, reserve_bytes=0)
        self.segments = segments_aside(tmp_path / "spool")
        self.tracker._on_poison = lambda body, reason: self.quarantine.keep(body, reason, node=NODE)
        self.retries = Retries(
            self.quarantine,
            self.segments,
            self.tracker,
            Translator(),
            Replay(self.spool, self.tracker, Translator(), self.reads, clock=lambda: self.now_s),
            store,
            self.writer,
            self.reads,
            self.metrics,
            lives=self._lives,
            suspect=self.suspects.append,
            cdr_inbox=tmp_path / "cdr-inbox",
            now_us=lambda: self.now_us,
            clock=lambda: self.now_s,
        )
        self.writer.on_set_aside = self.retries.refused

    def _lives(self, uuid: str) -> bool:
        if self.away:
            raise EslDisconnected("not connected")
        self.asked.append(uuid)
        return uuid in self.alive

    def keep(self, body: bytes, kind: str = "event", **known: str) -> str:
        """Set something aside. Returns its id."""
        assert self.quarantine.write(body, "it was odd", kind, self.now_us / 1e6, **known)
        (entry,) = [entry for entry in self.quarantine.entries() if self.quarantine.read(entry.id) == body]
        return entry.id

    def again(self, *bodies: bytes, kind: str = "event") -> list[str | None]:
        """Set aside and tried again: the reason for which each stays there, None where it was taken."""
        ids = [self.keep(body, kind) for body in bodies]
        for entry_id in ids:
            self.quarantine.mark(entry_id)
        assert self.retries.once() == len(ids)
        self.tick(3)
        left = {entry.id: entry for entry in self.quarantine.entries()}
        assert not any(entry.again for entry in left.values())
        return [left[entry_id].reason if entry_id in left else None for entry_id in ids]

    def call(self, channel: str) -> Call:
        """As the book has it."""
        found = self.book.call_of(channel)
        assert found is not None
        return found

    def sample(self, name: str, **labels: str) -> float:
        """Of the metrics."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def close(self) -> None:
        """Ends its threads too."""
        self.quarantine.close(5)
        super().close()
