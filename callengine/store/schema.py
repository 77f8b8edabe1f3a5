"""The tables as peewee models. Unbound: a query is run with ``query.execute(db)`` on the connection at hand.

The migrations create the tables; a test compares the two. Instants are integers, µs since the epoch.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple
from uuid import UUID

import peewee

MAX_INT: Final = (1 << 63) - 1
_DIALLED: Final = f"coalesce(call.dial_us, {MAX_INT})"


class Dialled(NamedTuple):
    """The contract's order, what has not been dialled first, as the newest; and bounds. As in each one's indexes."""

    order: str
    from_then: str
    before: str


# SQLite cannot put NULLS FIRST into an index, and Postgres cannot read an expression off an index alone.
DIALLED: Final = {
    "sqlite": Dialled(
        f"{_DIALLED} DESC, call.id DESC", f"{_DIALLED} >= ? AND {_DIALLED} < {MAX_INT}", f"{_DIALLED} < ?"
    ),
    "postgres": Dialled("call.dial_us DESC NULLS FIRST, call.id DESC", "call.dial_us >= ?", "call.dial_us < ?"),
}

sqlite3.register_adapter(UUID, lambda value: value.bytes)


def text_of(value: bytes | UUID | str) -> str:
    """An id in lower case with hyphens, from what either database returns."""
    if isinstance(value, bytes | memoryview):
        h = bytes(value).hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    return str(value)


class IdField(peewee.Field):
    """A UUID: ``str`` to us, ``uuid`` on Postgres, a 16-byte BLOB on SQLite."""

    field_type = "UUIDB"

    def db_value(self, value: Any) -> Any:
        return UUID(value) if isinstance(value, str) else value

    def python_value(self, value: Any) -> Any:
        return None if value is None else text_of(value)


class _Model(peewee.Model):
    class Meta:
        legacy_table_names = False


class Tenant(_Model):
    """Whose calls they are."""

    id = IdField(primary_key=True)
    name = peewee.TextField(unique=True)
    created_us = peewee.BigIntegerField()


class TenantNumber(_Model):
    """A dialled number that tells the tenant of an inbound call."""

    number = peewee.TextField(primary_key=True)
    tenant_id = IdField()
    created_us = peewee.BigIntegerField()


class ApiKey(_Model):
    """An API key: ``prefix`` finds it, ``hash`` (SHA-256 of the whole) proves it. ``scopes`` are joined by spaces."""

    id = IdField(primary_key=True)
    prefix = peewee.TextField(unique=True)
    hash = peewee.BlobField()
    tenant_id = IdField()
    name = peewee.TextField(null=True)
    scopes = peewee.TextField()
    created_us = peewee.BigIntegerField()
    last_used_us = peewee.BigIntegerField(null=True)
    revoked_us = peewee.BigIntegerField(null=True)


class Campaign(_Model):
    """A campaign; ``id`` is the tenant's own string."""

    tenant_id = IdField()
    id = peewee.TextField()
    name = peewee.TextField(null=True)
    created_us = peewee.BigIntegerField()

    class Meta:
        primary_key = peewee.CompositeKey("tenant_id", "id")


class Lead(_Model):
    """A lead; ``id`` is the tenant's own string."""

    tenant_id = IdField()
    id = peewee.TextField()
    campaign_id = peewee.TextField(null=True)
    name = peewee.TextField(null=True)
    phone_number = peewee.TextField(null=True)
    created_us = peewee.BigIntegerField()

    class Meta:
        primary_key = peewee.CompositeKey("tenant_id", "id")


class Call(_Model):
    """A call: the fields of ``CallRecord``, and ``state``, the ``Call`` that they follow from, as JSON."""

    id = IdField(primary_key=True)
    tenant_id = IdField()
    node = peewee.TextField()
    core_uuid = peewee.TextField(null=True)
    fs_uuid = peewee.TextField()
    direction = peewee.TextField()
    status = peewee.TextField()
    live = peewee.BooleanField()
    campaign_id = peewee.TextField(null=True)
    lead_id = peewee.TextField(null=True)
    agent_id = peewee.TextField(null=True)
    queued_us = peewee.BigIntegerField(null=True)
    dial_us = peewee.BigIntegerField(null=True)
    ring_us = peewee.BigIntegerField(null=True)
    answer_us = peewee.BigIntegerField(null=True)
    agent_connect_us = peewee.BigIntegerField(null=True)
    end_us = peewee.BigIntegerField(null=True)
    hangup_cause = peewee.TextField(null=True)
    caller_number = peewee.TextField(null=True)
    caller_name = peewee.TextField(null=True)
    callee_number = peewee.TextField(null=True)
    gateway = peewee.TextField(null=True)
    sip_call_id = peewee.TextField(null=True)
    sip_status = peewee.BigIntegerField(null=True)
    hangup_by = peewee.TextField(null=True)
    answered_by = peewee.TextField(null=True)
    queue = peewee.TextField(null=True)
    failure_reason = peewee.TextField(null=True)
    end_source = peewee.TextField(null=True)
    ended_after_us = peewee.BigIntegerField(null=True)
    ended_before_us = peewee.BigIntegerField(null=True)
    overlong = peewee.BooleanField()
    has_recording = peewee.BooleanField()
    agents = peewee.TextField()
    legs = peewee.TextField()
    recordings = peewee.TextField()
    seq = peewee.BigIntegerField()
    disposition = peewee.TextField(null=True)
    disposition_by = peewee.TextField(null=True)
    notes = peewee.TextField(null=True)
    ai_summary = peewee.TextField(null=True)
    ai_sentiment = peewee.TextField(null=True)
    ai_next_action = peewee.TextField(null=True)
    analysis_status = peewee.TextField(null=True)
    state = peewee.TextField()


class CallEvent(_Model):
    """One entry of a call's timeline; ``n`` counts from 1 in the order in which we learned of it."""

    call_id = IdField()
    n = peewee.BigIntegerField()
    at_us = peewee.BigIntegerField()
    name = peewee.TextField()
    leg = peewee.TextField(null=True)
    source = peewee.TextField()
    detail = peewee.TextField(null=True)

    class Meta:
        primary_key = peewee.CompositeKey("call_id", "n")


class Outbox(_Model):
    """A milestone to be told; ``payload`` is the ``CallRecord`` of that moment as JSON."""

    position = peewee.BigAutoField()
    id = IdField(unique=True)
    call_id = IdField()
    tenant_id = IdField()
    seq = peewee.BigIntegerField()
    event = peewee.TextField()
    payload = peewee.TextField()
    created_us = peewee.BigIntegerField()


class Idempotency(_Model):
    """A request that came with an Idempotency-Key, and what it was answered (null: not yet)."""

    tenant_id = IdField()
    key = peewee.TextField()
    fingerprint = peewee.TextField()
    status = peewee.BigIntegerField(null=True)
    response = peewee.TextField(null=True)
    call_id = IdField(null=True)
    created_us = peewee.BigIntegerField()

    class Meta:
        primary_key = peewee.CompositeKey("tenant_id", "key")


class Lease(_Model):
    """Which engine holds a switch; ``epoch`` grows when it changes hands."""

    node = peewee.TextField(primary_key=True)
    holder = peewee.TextField()
    core_uuid = peewee.TextField(null=True)
    epoch = peewee.BigIntegerField()
    expires_us = peewee.BigIntegerField()


class Engine(_Model):
    """What an engine says of itself: its version, and up to when the store has everything of its switch."""

    node = peewee.TextField(primary_key=True)
    version = peewee.TextField()
    data_as_of_us = peewee.BigIntegerField()


MODELS: Final = (
    Tenant,
    TenantNumber,
    ApiKey,
    Campaign,
    Lead,
    Call,
    CallEvent,
    Outbox,
    Idempotency,
    Lease,
    Engine,
)
