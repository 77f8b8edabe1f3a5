"""What is read off an engine when the metrics are scraped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from callengine.calls.call import Call, Told
from callengine.esl.exchange import LossReason
from callengine.esl.link import LinkState

if TYPE_CHECKING:
    from callengine.engine import Engine


_STATUSES: Final = ("dialing", "ringing", "answered", "agent_connected")
_FRESH_S: Final = 0.5


def _status(call: Call) -> str:
    if call.told & Told.AGENT_CONNECTED:
        return "agent_connected"
    own = call.own
    return "answered" if own.answered_us else "ringing" if own.ring_us else "dialing"


class _Live:
    """One look at the live calls for all the gauges of one scrape: there may be tens of thousands of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looked_s = float("-inf")
        self._count: dict[str, int] = {}
        self._since_us: dict[str, int] = {}
        self._overlong = 0

    def by_status(self) -> list[tuple[tuple[str, ...], float]]:
        """How many there are."""
        self._look()
        return [((status,), float(self._count[status])) for status in _STATUSES]

    def oldest_s(self) -> list[tuple[tuple[str, ...], float]]:
        """The age of the oldest: by the switch's clock where it has a channel, else by ours. 0 where there is none."""
        self._look()
        return [((status,), max(self._since_us[status], 0) / 1_000_000) for status in _STATUSES]

    def overlong(self) -> float:
        """How many are flagged."""
        self._look()
        return float(self._overlong)

    def _look(self) -> None:
        now_s = self._engine.monotonic()
        if now_s - self._looked_s < _FRESH_S:
            return
        self._looked_s, self._overlong = now_s, 0
        self._count, self._since_us = dict.fromkeys(_STATUSES, 0), dict.fromkeys(_STATUSES, 0)
        our_us, switch_us = self._engine.now_us(), self._engine.tracker.switch_now_us()
        for call in self._engine.book.live():
            status = _status(call)
            self._count[status] += 1
            self._overlong += call.overlong
            began_us, now_us = call.own.first_created_us, switch_us
            if not began_us and call.origination is not None:
                began_us, now_us = call.origination.queued_us, our_us
            if began_us and now_us - began_us > self._since_us[status]:
                self._since_us[status] = now_us - began_us


def add_gauges(engine: Engine) -> None:
    """Declares them all."""
    m, intake, link, live = engine.metrics, engine.intake, engine.link, _Live(engine)

    def labelled(counts: Callable[[], dict[str, int]]) -> Callable[[], list[tuple[tuple[str, ...], float]]]:
        return lambda: [((name,), float(n)) for name, n in counts().items()]

    m.gauge("callengine_live_calls", "Calls that are not over.", live.by_status, ("status",))
    m.gauge(
        "callengine_live_call_oldest_seconds", "The age of the oldest of them; 0: none.", live.oldest_s, ("status",)
    )
    m.gauge("callengine_overlong_calls", "Those of them that are flagged as overlong.", live.overlong)
    m.gauge(
        "callengine_switch_info",
        "1, with the name of the switch whose calls these are, once it is known.",
        lambda: [((engine.node,), 1.0)] if engine.node else [],
        ("node",),
    )
    m.gauge(
        "callengine_esl_state",
        "1 for the state that the event socket is in.",
        labelled(lambda: {s.value: int(s is link.state) for s in LinkState}),
        ("state",),
    )
    m.gauge("callengine_ready", "1 when connected, leased and compared with the switch.", lambda: float(engine.ready))
    m.gauge("callengine_esl_connects", "Connections made since the start.", lambda: float(link.connects))
    m.gauge(
        "callengine_esl_losses",
        "Connections lost since the start, by reason.",
        labelled(lambda: {r.value: link.losses[r] for r in LossReason}),
        ("reason",),
    )
    m.gauge("callengine_intake_events", "Events that wait for the tracker.", lambda: float(len(intake)))
    m.gauge("callengine_intake_bytes", "The same in bytes.", lambda: float(intake.bytes))
    m.gauge("callengine_intake_oldest_seconds", "How long the oldest of them has waited.", lambda: intake.oldest_age_s)
    m.gauge(
        "callengine_intake_overflows",
        "Connections given up since the intake was full.",
        lambda: float(intake.overflows),
    )
    spool = engine.spool
    m.gauge(
        "callengine_intake_spilled_events",
        "Those of them that are on the disk alone.",
        lambda: float(intake.spilled),
    )
    m.gauge(
        "callengine_intake_unreadable_events",
        "Events lost since the start: they could not be read back from the disk.",
        lambda: float(intake.unreadable),
    )
    m.gauge("callengine_spool_bytes", "Bytes that the spool has on the disk.", lambda: float(spool.bytes))
    m.gauge(
        "callengine_spool_max_bytes",
        "How many it may have; 0: it is switched off.",
        lambda: float(spool.max_bytes if engine.settings.state.spool else 0),
    )
    m.gauge("callengine_spool_segments", "Files of the spool.", lambda: float(spool.segments))
    m.gauge("callengine_spool_writing", "1 while the spool is written.", lambda: float(spool.status == "ok"))
    m.gauge(
        "callengine_spool_skipped_events",
        "Events taken in since the start that the spool could not be given.",
        lambda: float(spool.skipped),
    )
    m.gauge(
        "callengine_spool_set_aside",
        "Segments set aside since the start: unreadable, or another switch's.",
        lambda: float(spool.set_aside),
    )
    m.gauge(
        "callengine_book_entries",
        "What the book of calls keeps in memory, by kind; a call leaves it within a minute of its end.",
        labelled(engine.book.sizes),
        ("kind",),
    )
    m.gauge(
        "callengine_dropped_facts",
        "Facts dropped that no channel's creation explained.",
        lambda: float(engine.book.dropped_facts),
    )
    m.gauge(
        "callengine_data_as_of_seconds",
        "Up to when the database has everything that was received, since the epoch.",
        lambda: engine.data_as_of / 1_000_000,
    )
    m.gauge(
        "callengine_database_writable",
        "1 while the database takes writes.",
        lambda: float(engine.writer.reason is None),
    )
    m.gauge("callengine_writer_depth", "Rows that wait to be committed.", lambda: float(engine.writer.depth))
    m.gauge(
        "callengine_writer_oldest_seconds",
        "How long the oldest row has waited to be committed.",
        lambda: engine.writer.oldest_age_s,
    )
    m.gauge(
        "callengine_writer_refused_calls",
        "Calls set aside since the start: no database would take their row.",
        lambda: float(engine.writer.refused),
    )
    m.gauge(
        "callengine_writer_dropped_notes",
        "Timeline entries dropped since the start: far too many rows waited.",
        lambda: float(engine.writer.dropped_notes),
    )
    m.gauge("callengine_writer_commit_age_seconds", "Since the last commit.", lambda: engine.writer.last_commit_age_s)
