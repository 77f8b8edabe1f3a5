"""What is read off an engine when the metrics are scraped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from callengine.calls.call import Told
from callengine.esl.exchange import LossReason
from callengine.esl.link import LinkState

if TYPE_CHECKING:
    from callengine.engine import Engine


def add_gauges(engine: Engine) -> None:
    """Declares them all."""
    m, intake, link = engine.metrics, engine.intake, engine.link

    def by_status() -> list[tuple[tuple[str, ...], float]]:
        found = dict.fromkeys(("dialing", "ringing", "answered", "agent_connected"), 0)
        for call in engine.book.live():
            own = call.own
            if call.told & Told.AGENT_CONNECTED:
                status = "agent_connected"
            else:
                status = "answered" if own.answered_us else "ringing" if own.ring_us else "dialing"
            found[status] += 1
        return [((status,), float(n)) for status, n in found.items()]

    def labelled(counts: Callable[[], dict[str, int]]) -> Callable[[], list[tuple[tuple[str, ...], float]]]:
        return lambda: [((name,), float(n)) for name, n in counts().items()]

    m.gauge("callengine_live_calls", "Calls that are not over.", by_status, ("status",))
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
        "callengine_dropped_facts",
        "Facts dropped that no channel's creation explained.",
        lambda: float(engine.book.dropped_facts),
    )
    m.gauge(
        "callengine_data_as_of_seconds",
        "Up to when the database has everything that was received, since the epoch.",
        lambda: engine.data_as_of / 1_000_000,
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
