"""The queue of analyses: one row a call, claimed under a lease, each step one transaction. Queries only.

A row is ``due`` until its run is done. Whoever claimed it writes nothing any more once it is somebody else's: each step
looks at ``holder`` first. Several engines may share the queue: files on a disk are for the engine of that node,
what lies in the bucket is for anyone. ``analysis_status`` of the call changes in the same transaction as the row.
"""

# ruff: noqa: S608  what is pasted into SQL here are our own constants; values are always parameters

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, cast

import msgspec
import peewee

from callengine.calls.call import EventName
from callengine.calls.facts import Source
from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.store import outbox, rows, sql, tell
from callengine.store.schema import text_of


class Status(StrEnum):
    """What became of a call's analysis. No status at all: there is no recording, or analysis is off."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"
    COMPLETED = "completed"
    COMPLETED_WITHOUT_QUOTES = "completed_without_quotes"
    UNSUPPORTED = "unsupported"
    SKIPPED_TOO_SHORT = "skipped_too_short"
    SKIPPED_SILENT = "skipped_silent"
    SKIPPED_VOICEMAIL = "skipped_voicemail"
    SKIPPED_OVER_BUDGET = "skipped_over_budget"
    SKIPPED_NO_RECORDING = "skipped_no_recording"
    FAILED = "failed"


WAITING: Final = frozenset({Status.PENDING, Status.RUNNING, Status.RETRYING, Status.PARKED})
FINAL: Final = frozenset(Status) - WAITING
LATE: Final = frozenset({Status.SKIPPED_NO_RECORDING, Status.SKIPPED_TOO_SHORT, Status.SKIPPED_SILENT})
"""What a recording can change that turns ready later, and nothing was paid for."""

_DAY_US: Final = 24 * 3600 * 1_000_000


class Playable(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that is ready. ``path`` is the switch's; ``storage``: ``disk`` or ``s3`` (by ``object_key``)."""

    id: str
    leg: str
    path: str
    storage: str
    object_key: str | None
    bytes: int
    duration_ms: int
    channels: int | None
    loudness_cb: int | None
    sha256: str | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """An analysis that was claimed, with all that it needs. ``recordings`` in order of time."""

    call: CallRecord
    holder: str
    run: int
    attempts: int
    unusable: int
    recordings: tuple[Playable, ...]
    goal: str | None
    dispositions: tuple[str, ...]
    bound_micros: int | None
    """The tenant's own bound for a day; None: as the settings have it."""

    @property
    def call_id(self) -> str:
        """Of the call, and so of the analysis."""
        return self.call.id


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. ``changes`` are for the call, by the names of ``rows.SIDE_FIELDS``; ``columns`` for the row."""

    status: Status
    changes: Mapping[str, Any] = {}
    columns: Mapping[str, Any] = {}
    error: str | None = None


def mark_pending(db: peewee.Database, call_ids: Sequence[str]) -> None:
    """Tells of calls whose row was just made that their analysis waits; of others nothing changes."""
    pack = rows.id_for(sql.kind_of(db))
    text = f"UPDATE call SET analysis_status = '{Status.PENDING.value}' WHERE analysis_status IS NULL AND id"
    if sql.is_postgres(db):
        sql.query(db, f"{text} = ANY(%s::uuid[])", (list(call_ids),))
    else:
        cast(Any, db).cursor().executemany(f"{text} = ?", [(pack(call_id),) for call_id in call_ids])


# -- taking a job ------------------------------------------------------------------------------------------------------

# A lease that ends further away than any lasts was written before a clock was set back.
_LONGEST_LEASE_US: Final = 3600 * 1_000_000
# One of another node's is for us only where all that is playable lies in the bucket.
_OURS: Final = (
    "(a.node = ? OR EXISTS (SELECT 1 FROM recording r WHERE r.call_id = a.call_id AND r.status = 'ready'"
    " AND r.storage = 's3') AND NOT EXISTS (SELECT 1 FROM recording r WHERE r.call_id = a.call_id"
    " AND r.status = 'ready' AND coalesce(r.storage, 'disk') <> 's3'))"
)
_READY: Final = (
    "a.due AND a.next_us <= ? AND (a.lease_us <= ? OR a.lease_us > ?) AND NOT call.live"
    " AND NOT EXISTS (SELECT 1 FROM recording r WHERE r.call_id = a.call_id AND r.status IN ('open', 'stopped'))"
    f" AND {_OURS}"
)
_CANDIDATES: Final = (
    f"SELECT a.call_id FROM analysis a JOIN call ON call.id = a.call_id WHERE {_READY} ORDER BY a.next_us LIMIT ?"
)
# A daily quota that is used up is used up for all: one row finds out, and the others wait with it.
_PARKED: Final = "SELECT max(next_us) FROM analysis WHERE due AND next_us > ? AND status = 'parked' AND model = ?"


def parked_until(db: peewee.Database, model: str, now_us: int) -> int | None:
    """Until when nothing is to be asked of that model, since its daily quota is used up."""
    found = sql.run(db, _PARKED, (now_us, model)).fetchone()[0]
    return None if found is None else int(found)


def candidates(db: peewee.Database, node: str, now_us: int, limit: int) -> list[str]:
    """The ids of calls whose analysis can be claimed now, the longest due first. Only reads."""
    found = sql.run(db, _CANDIDATES, (now_us, *_free(now_us), node, limit)).fetchall()
    return [text_of(call_id) for (call_id,) in found]


def claim(db: peewee.Database, call_id: str, holder: str, node: str, now_us: int, lease_us: int) -> Job | None:
    """Takes the analysis of that call for ``lease_us``; None where somebody else was quicker, or it is not due."""
    key = rows.packed(db, call_id)
    # Whoever finds the row locked leaves it to the one who locked it, and waits for nobody.
    lock = " FOR UPDATE OF a SKIP LOCKED" if sql.is_postgres(db) else ""
    text = "SELECT a.run, a.attempts, a.unusable FROM analysis a JOIN call ON call.id = a.call_id WHERE a.call_id = ?"
    row = sql.run(db, f"{text} AND {_READY}{lock}", (key, now_us, *_free(now_us), node)).fetchone()
    if row is None:
        return None
    sql.run(
        db,
        "UPDATE analysis SET holder = ?, lease_us = ?, status = ? WHERE call_id = ?",
        (holder, now_us + lease_us, Status.RUNNING.value, key),
    )
    tell.change(db, call_id, {"analysis_status": Status.RUNNING.value})
    run, attempts, unusable = row
    call = tell.record_by_id(db, call_id)
    goal, dispositions = _campaign(db, call)
    bound = sql.run(db, "SELECT ai_daily_spend_micros FROM tenant WHERE id = ?", (rows.packed(db, call.tenant_id),))
    return Job(
        call=call,
        holder=holder,
        run=run,
        attempts=attempts,
        unusable=unusable,
        recordings=playable(db, call_id),
        goal=goal,
        dispositions=dispositions,
        bound_micros=(bound.fetchone() or (None,))[0],
    )


def playable(db: peewee.Database, call_id: str) -> tuple[Playable, ...]:
    """The call's recordings that are ready, in order of time."""
    found = sql.run(
        db,
        "SELECT id, leg, path, coalesce(storage, 'disk'), object_key, coalesce(bytes, 0), coalesce(duration_ms, 0),"
        " channels, loudness_cb, sha256 FROM recording WHERE call_id = ? AND status = 'ready'"
        " ORDER BY coalesce(started_us, stopped_us, created_us), id",
        (rows.packed(db, call_id),),
    ).fetchall()
    names = Playable.__struct_fields__
    return tuple(Playable(**dict(zip(names, (text_of(row[0]), *row[1:]), strict=True))) for row in found)


def _campaign(db: peewee.Database, call: CallRecord) -> tuple[str | None, tuple[str, ...]]:
    if call.campaign_id is None:
        return None, ()
    text = "SELECT goal, dispositions FROM campaign WHERE tenant_id = ? AND id = ?"
    row = sql.run(db, text, (rows.packed(db, call.tenant_id), call.campaign_id)).fetchone()
    if row is None:
        return None, ()
    codes = rows.decode_json(row[1]) if row[1] else []
    return row[0], tuple(code for code in codes if isinstance(code, str))


# -- while it is worked on ---------------------------------------------------------------------------------------------


def renew(db: peewee.Database, job: Job, now_us: int, lease_us: int) -> bool:
    """Keeps the job for another while; False where it is another's by now."""
    text = "UPDATE analysis SET lease_us = ? WHERE call_id = ? AND holder = ? AND due"
    return bool(sql.run(db, text, (now_us + lease_us, rows.packed(db, job.call_id), job.holder)).rowcount)


def reserve(
    db: peewee.Database, job: Job, most_micros: int, bound_micros: int | None, now_us: int, day_us: int
) -> bool:
    """Counts the most it can cost as spent, before anything is sent; False where the tenant's bound has no room for it.

    ``cost_micros`` is what a call's analyses cost on the day (UTC) of ``done_us``: paid, or reserved for what may have
    been paid. ``settle`` puts the real cost in its place. Repeated with the same ``now_us`` it changes nothing, as
    where nobody knows whether it was committed.
    """
    tenant = rows.packed(db, job.call.tenant_id)
    mine = "SELECT 1 FROM analysis WHERE call_id = ? AND holder = ? AND due AND done_us = ? AND cost_micros >= ?"
    if sql.run(db, mine, (rows.packed(db, job.call_id), job.holder, now_us, most_micros)).fetchone() is not None:
        return True
    if bound_micros is not None:
        if sql.is_postgres(db):  # two engines must not both find the last room
            sql.run(db, "SELECT 1 FROM tenant WHERE id = ? FOR UPDATE", (tenant,)).fetchone()
        if spent_since(db, job.call.tenant_id, day_us) + most_micros > bound_micros:
            return False
    text = (
        "UPDATE analysis SET cost_micros = CASE WHEN done_us >= ? THEN coalesce(cost_micros, 0) ELSE 0 END + ?,"
        " done_us = ? WHERE call_id = ? AND holder = ? AND due"
    )
    values = (day_us, most_micros, now_us, rows.packed(db, job.call_id), job.holder)
    return bool(sql.run(db, text, values).rowcount)


def settle(db: peewee.Database, job: Job, reserved_micros: int, paid_micros: int, tokens: tuple[int, int]) -> None:
    """Puts what was really paid in the place of what was reserved. ``tokens``: input and output, of this run so far."""
    sql.run(
        db,
        "UPDATE analysis SET cost_micros = CASE WHEN coalesce(cost_micros, 0) > ? THEN cost_micros - ? ELSE 0 END + ?,"
        " spent_micros = spent_micros + ?, input_tokens = coalesce(input_tokens, 0) + ?,"
        " output_tokens = coalesce(output_tokens, 0) + ? WHERE call_id = ? AND holder = ?",
        (reserved_micros, reserved_micros, paid_micros, paid_micros, *tokens, rows.packed(db, job.call_id), job.holder),
    )


def spent_since(db: peewee.Database, tenant_id: str, day_us: int) -> int:
    """What a tenant's analyses cost since the day began (UTC), what is reserved for those at work included."""
    text = "SELECT coalesce(sum(cost_micros), 0) FROM analysis WHERE tenant_id = ? AND done_us >= ?"
    return int(sql.run(db, text, (rows.packed(db, tenant_id), day_us)).fetchone()[0])


def began_upload(db: peewee.Database, job: Job, name: str) -> bool:
    """Notes the name under which something is about to be stored at Google's; False where the job is another's."""
    key = rows.packed(db, job.call_id)
    row = sql.run(
        db, "SELECT uploads FROM analysis WHERE call_id = ? AND holder = ? AND due", (key, job.holder)
    ).fetchone()
    if row is None:
        return False
    _set_uploads(db, key, [*_uploads(row[0]), name])
    return True


def ended_upload(db: peewee.Database, call_id: str, name: str) -> None:
    """It is stored there no more; whoever holds the job."""
    key = rows.packed(db, call_id)
    row = sql.run(db, "SELECT uploads FROM analysis WHERE call_id = ?", (key,)).fetchone()
    if row is not None and name in (names := _uploads(row[0])):
        _set_uploads(db, key, [other for other in names if other != name])


def _set_uploads(db: peewee.Database, key: Any, names: Sequence[str]) -> None:
    sql.run(db, "UPDATE analysis SET uploads = ? WHERE call_id = ?", (json.dumps(names) if names else None, key))


def _uploads(text: str | None) -> list[str]:
    return [str(name) for name in json.loads(text)] if text else []


# -- letting go of it --------------------------------------------------------------------------------------------------


def finish(db: peewee.Database, job: Job, outcome: Outcome, now_us: int) -> Status | None:
    """Ends the run: the row, the call, and ``call.analyzed``. None, and nothing changed, where it is another's by now.

    Else the row's status: the outcome's, or ``pending`` where that is one of ``LATE`` and another recording turned
    ready meanwhile: then the call is looked at again. A disposition that an agent set stands, whenever it was set.
    Repeated with the same ``now_us`` it changes nothing, and returns what the first time did.
    """
    outbox.lock(db)  # as ``tell`` does, before any row
    if not _holds(db, job):
        if outcome.status in LATE and _is_let_go(db, job, Status.PENDING, now_us):
            return Status.PENDING
        return outcome.status if _is_done(db, job, outcome.status, now_us) else None
    if outcome.status in LATE and _heard(playable(db, job.call_id)) != _heard(job.recordings):
        attempts, unusable = job.attempts, job.unusable
        postpone(db, job, Status.PENDING, now_us, attempts=attempts, unusable=unusable, error=None)
        return Status.PENDING
    changes = dict(outcome.changes)
    if "disposition" in changes and not _may_set_disposition(db, job.call_id):
        del changes["disposition"]
    if "disposition" in changes:
        changes["disposition_by"] = None if changes["disposition"] is None else "ai"
    columns = {**outcome.columns, "status": outcome.status.value, "error": outcome.error, "done_us": now_us}
    columns |= {"due": False, "holder": None, "lease_us": 0}
    names = ", ".join(f"{name} = ?" for name in columns)
    key = rows.packed(db, job.call_id)
    # What was paid on a day before stays there: done_us is of today from here on.
    cost = "cost_micros = CASE WHEN done_us < ? THEN 0 ELSE cost_micros END"
    values = (*columns.values(), now_us - now_us % _DAY_US, key)
    sql.run(db, f"UPDATE analysis SET {names}, {cost} WHERE call_id = ?", values)
    tell.tell(
        db,
        job.call_id,
        EventName.ANALYZED,
        f"analyzed:{job.run}",
        now_us,
        changes={**changes, "analysis_status": outcome.status.value},
        detail={"analysis": _told(db, key)},
        note=Note("analyzed", now_us, None, Source.CLOCK, outcome.status.value),
    )
    return outcome.status


def postpone(
    db: peewee.Database,
    job: Job,
    status: Status,
    next_us: int,
    *,
    attempts: int,
    unusable: int,
    error: str | None,
    asked: tuple[str, str] | None = None,
) -> bool:
    """Lets go of the job until ``next_us``; False where it is another's by now. ``asked``: the SDK and the model.

    Repeated it changes nothing, and returns what the first time did.
    """
    if not _holds(db, job):
        return _is_let_go(db, job, status, next_us)
    sql.run(
        db,
        "UPDATE analysis SET status = ?, next_us = ?, attempts = ?, unusable = ?, error = ?, holder = NULL,"
        " lease_us = 0, sdk = coalesce(?, sdk), model = coalesce(?, model) WHERE call_id = ?",
        (status.value, next_us, attempts, unusable, error, *(asked or (None, None)), rows.packed(db, job.call_id)),
    )
    tell.change(db, job.call_id, {"analysis_status": status.value})
    return True


def take_back(db: peewee.Database, node: str, holder: str) -> list[str]:
    """Frees what dead engines of ``node`` held: one engine holds a node, so each holder there but ours is dead.

    Holders are written ``…@node``. Returns the ids of the calls.
    """
    # "<>" keeps to the index of what is due; only a handful of those has a holder.
    found = sql.run(db, "SELECT call_id, holder FROM analysis WHERE due AND holder <> ?", (holder,)).fetchall()
    dead = [call_id for call_id, other in found if other.partition("@")[2] == node]
    for call_id in dead:
        text = "UPDATE analysis SET holder = NULL, lease_us = 0, status = ? WHERE call_id = ?"
        sql.run(db, text, (Status.PENDING.value, call_id))
        tell.change(db, text_of(call_id), {"analysis_status": Status.PENDING.value})
    return [text_of(call_id) for call_id in dead]


def leftovers(db: peewee.Database, now_us: int, limit: int) -> list[tuple[str, str]]:
    """Uploads that nobody works with any more, as (call id, name). Only reads."""
    text = "SELECT call_id, uploads FROM analysis WHERE uploads IS NOT NULL AND lease_us <= ? LIMIT ?"
    found = sql.run(db, text, (now_us, limit)).fetchall()
    return [(text_of(call_id), name) for call_id, names in found for name in _uploads(names)]


def waiting(db: peewee.Database, now_us: int) -> dict[str, tuple[int, int]]:
    """By status, how many analyses of ended calls wait, and since when the oldest of them could go on. Only reads."""
    text = (
        "SELECT a.status, count(*), min(a.next_us) FROM analysis a JOIN call ON call.id = a.call_id"
        " WHERE a.due AND NOT call.live GROUP BY a.status"
    )
    return {status: (count, min(oldest, now_us)) for status, count, oldest in sql.run(db, text).fetchall()}


# -- small parts -------------------------------------------------------------------------------------------------------


def _free(now_us: int) -> tuple[int, int]:
    return now_us, now_us + _LONGEST_LEASE_US


def _holds(db: peewee.Database, job: Job) -> bool:
    """Whether the job is still its holder's; its row is locked from then on."""
    lock = " FOR UPDATE" if sql.is_postgres(db) else ""
    text = f"SELECT 1 FROM analysis WHERE call_id = ? AND holder = ? AND run = ? AND due{lock}"
    return sql.run(db, text, (rows.packed(db, job.call_id), job.holder, job.run)).fetchone() is not None


def _is_done(db: peewee.Database, job: Job, status: Status, now_us: int) -> bool:
    """Whether this very end of the run is in the row: a commit whose answer got lost is repeated."""
    text = "SELECT 1 FROM analysis WHERE call_id = ? AND run = ? AND NOT due AND status = ? AND done_us = ?"
    return sql.run(db, text, (rows.packed(db, job.call_id), job.run, status.value, now_us)).fetchone() is not None


def _is_let_go(db: peewee.Database, job: Job, status: Status, next_us: int) -> bool:
    text = "SELECT 1 FROM analysis WHERE call_id = ? AND run = ? AND due AND holder IS NULL AND status = ?"
    values = (rows.packed(db, job.call_id), job.run, status.value, next_us)
    return sql.run(db, f"{text} AND next_us = ?", values).fetchone() is not None


def _heard(recordings: Sequence[Playable]) -> list[tuple[str, str | None]]:
    return [(recording.id, recording.sha256) for recording in recordings]


def _may_set_disposition(db: peewee.Database, call_id: str) -> bool:
    """Looked at under the lock of the call's row, so that an agent who sets it now is either seen or wins later."""
    lock = " FOR UPDATE" if sql.is_postgres(db) else ""
    text = f"SELECT disposition, disposition_by FROM call WHERE id = ?{lock}"
    row = sql.run(db, text, (rows.packed(db, call_id),)).fetchone()
    return row is not None and (row[0] is None or row[1] == "ai")


_TOLD: Final = ("status", "run", "sdk", "model", "prompt_version", "audio_ms", "input_tokens", "output_tokens")


def _told(db: peewee.Database, key: Any) -> dict[str, Any]:
    """What ``call.analyzed`` tells of the analysis; what was said on the call is read by who needs it."""
    text = f"SELECT {', '.join(_TOLD)}, spent_micros, error FROM analysis WHERE call_id = ?"
    *values, spent, error = sql.run(db, text, (key,)).fetchone()
    return {**dict(zip(_TOLD, values, strict=True)), "cost_usd": spent / 1_000_000, "error": error}
