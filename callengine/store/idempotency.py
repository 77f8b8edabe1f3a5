"""Idempotency-Keys of a tenant. Each function works on the connection at hand, in the transaction of the work."""

from __future__ import annotations

from typing import Final, NamedTuple

import peewee

from callengine.errors import IdempotencyConflict, IdempotencyInProgress
from callengine.store.schema import Idempotency as Row

KEPT_US: Final = 24 * 3600 * 1_000_000


class Answer(NamedTuple):
    """What the first request with a key was answered. ``call_id`` is the call it made, if it made one."""

    status: int
    response: str
    call_id: str | None


def claim(db: peewee.Database, tenant_id: str, key: str, fingerprint: str, now_us: int) -> Answer | None:
    """None where the key is new, and now claimed; else what its first request was answered.

    Raises IdempotencyInProgress where that is not known yet, IdempotencyConflict where it had another body.
    """
    mine = (Row.tenant_id == tenant_id) & (Row.key == key)
    Row.delete().where(mine & (Row.created_us <= now_us - KEPT_US)).execute(db)
    added = (
        Row.insert(tenant_id=tenant_id, key=key, fingerprint=fingerprint, created_us=now_us)
        .on_conflict(action="IGNORE")
        .as_rowcount()
        .execute(db)
    )
    if added:
        return None
    columns = (Row.fingerprint, Row.status, Row.response, Row.call_id)
    row = Row.select(*columns).where(mine).tuples().execute(db)[0]
    if row[0] != fingerprint:
        raise IdempotencyConflict
    if row[1] is None:
        raise IdempotencyInProgress
    return Answer(row[1], row[2], row[3])


def answer(db: peewee.Database, tenant_id: str, key: str, given: Answer) -> None:
    """Keeps what a claimed key was answered."""
    mine = (Row.tenant_id == tenant_id) & (Row.key == key)
    Row.update(status=given.status, response=given.response, call_id=given.call_id).where(mine).execute(db)


def drop(db: peewee.Database, tenant_id: str, key: str) -> None:
    """Lets go of a key whose request was refused: what was refused keeps none."""
    Row.delete().where((Row.tenant_id == tenant_id) & (Row.key == key)).execute(db)


def prune(db: peewee.Database, now_us: int) -> int:
    """Forgets what is older than a day. Returns how many."""
    count: int = Row.delete().where(Row.created_us <= now_us - KEPT_US).execute(db)
    return count
