"""How the daemon is doing, in words and numbers: what ``/readyz`` tells who has a key, and the live page shows.

Nothing is asked for here: it is read off what runs, so that it can be told at any time, also without a database.
"""

from __future__ import annotations

from collections.abc import Mapping

from callengine.api.services import Readiness
from callengine.calls.view import iso
from callengine.engine import Engine
from callengine.followup import FollowUp
from callengine.retries import Retries
from callengine.store.writer import Writer
from callengine.stream import Feed


def readiness(engine: Engine, writer: Writer, followup: FollowUp, retries: Retries, feed: Feed) -> Readiness:
    """Ready: compared with the switch, and the database takes what is written."""
    parts = {
        "switch": engine.link.state.value,
        "waiting_for": engine.waiting_for or "nothing",
        "database": writer.reason or "ok",
        "data_as_of": iso(engine.data_as_of) or "",
        "rows_waiting": str(writer.depth),
        "events_waiting": str(len(engine.intake)),
        "spool": engine.spool.status,
        "spool_bytes": str(engine.spool.bytes),
        "node": engine.node,
        **behind(engine, writer, followup, retries),
        "stream_readers": str(feed.readers),
    }
    return Readiness(engine.ready and writer.reason is None, parts)


def behind(engine: Engine, writer: Writer, followup: FollowUp, retries: Retries) -> Mapping[str, str]:
    """What waits, and for how long (seconds). What does not run here is left out."""
    webhooks = followup.deliverer.census
    found = {
        "rows_oldest_s": _seconds(writer.oldest_age_s),
        "events_oldest_s": _seconds(engine.intake.oldest_age_s),
        "calls_queued": str(engine.originator.queued),
        "webhooks_waiting": str(webhooks.pending),
        "webhooks_oldest_s": _seconds(followup.deliverer.oldest_s),
        "webhooks_dead": str(webhooks.dead),
        "endpoints_paused": str(webhooks.paused),
        "endpoints_disabled": str(webhooks.disabled),
        "set_aside": str(retries.set_aside),
    }
    if followup.keeper is not None:
        found["recordings_waiting"] = str(followup.keeper.waiting)
        found["recordings_oldest_s"] = _seconds(followup.keeper.oldest_s)
    if followup.analyses is not None:
        found["analyses_waiting"] = str(followup.analyses.waiting)
    return found


def _seconds(age_s: float) -> str:
    return f"{max(age_s, 0.0):.1f}"
