"""Idempotency-Keys of originates: claimed before there is a call, answered in the transaction that commits its row.

Between the two the key has no answer. Within that time the process may die; nothing was sent then, since only what is
committed gets in line, so a claim that has stood unanswered for longer than any commit may take is void.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from callengine.calls.record import CallRecord
from callengine.errors import IdempotencyInProgress, StoreUnavailable
from callengine.originate.originator import COMMIT_TIMEOUT_S
from callengine.originate.ports import RequestKey, Switchboard
from callengine.store import idempotency
from callengine.store.schema import Idempotency as Row

log = logging.getLogger(__name__)

ACCEPTED: Final = 202
_DROP_TIMEOUT_S: Final = 2.0
_VOID_AFTER_US: Final = int((COMMIT_TIMEOUT_S + 50) * 1_000_000)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CallRecord).decode


class Claims:
    """The keys of all tenants, in the store that the writer writes."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._running: set[tuple[str, str]] = set()

    def claim(self, tenant_id: str, key: RequestKey) -> CallRecord | None:
        """What the first request with this key was answered, or None: then the key is ours, until `settle` or `drop`.

        Raises IdempotencyInProgress, IdempotencyConflict, StoreUnavailable.
        """
        mine = (tenant_id, key.key)
        if mine in self._running:
            raise IdempotencyInProgress
        now_us = self._board.now_us()

        def run(db: Any) -> idempotency.Answer | None:
            void = (Row.tenant_id == tenant_id) & (Row.key == key.key) & Row.status.is_null()
            # One that is further in the future than that was claimed before a clock was set back.
            old = (Row.created_us <= now_us - _VOID_AFTER_US) | (Row.created_us > now_us + _VOID_AFTER_US)
            Row.delete().where(void & old).execute(db)
            return idempotency.claim(db, tenant_id, key.key, key.fingerprint, now_us)

        self._running.add(mine)
        kept = False
        try:
            earlier = self._board.writer.execute(run, COMMIT_TIMEOUT_S)
            kept = earlier is None
        finally:
            if not kept:
                self._running.discard(mine)
        return None if earlier is None else _decode(earlier.response)

    def settle(self, tenant_id: str, key: RequestKey, record: CallRecord) -> None:
        """Answer the key, together with whatever was changed before; returns once that is committed."""
        given = idempotency.Answer(ACCEPTED, _encode(record).decode(), record.id)
        self._board.writer.execute(lambda db: idempotency.answer(db, tenant_id, key.key, given), COMMIT_TIMEOUT_S)

    def release(self, tenant_id: str, key: RequestKey) -> None:
        """The request has been answered, or refused."""
        self._running.discard((tenant_id, key.key))

    def drop(self, tenant_id: str, key: RequestKey) -> None:
        """What was refused keeps no key. Where the store is away the claim becomes void by itself."""
        try:
            self._board.writer.execute(lambda db: idempotency.drop(db, tenant_id, key.key), _DROP_TIMEOUT_S)
        except StoreUnavailable as error:
            log.warning("an Idempotency-Key of a refused request was not let go: %s", error)
