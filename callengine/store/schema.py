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


_BINARY: Final = (bytes, memoryview)


def text_of(value: bytes | UUID | str) -> str:
    """An id in lower case with hyphens, from what either database returns."""
    if isinstance(value, _BINARY):
        h = value.hex()
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
    """Whose calls they are, and the tenant's own rules; null: as the settings have it."""

    id = IdField(primary_key=True)
    name = peewee.TextField(unique=True)
    created_us = peewee.BigIntegerField()
    record = peewee.TextField(null=True)
    recordings_days = peewee.BigIntegerField(null=True)
    ai_daily_spend_micros = peewee.BigIntegerField(null=True)


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
    """A campaign; ``id`` is the tenant's own string, ``dispositions`` a JSON list of the codes its calls can have."""

    tenant_id = IdField()
    id = peewee.TextField()
    name = peewee.TextField(null=True)
    created_us = peewee.BigIntegerField()
    goal = peewee.TextField(null=True)
    dispositions = peewee.TextField(null=True)
    record = peewee.TextField(null=True)

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
    side_seq = peewee.BigIntegerField()
    files = peewee.TextField(null=True)


class CallCount(_Model):
    """How many calls of a campaign are over, by time, status and disposition; the database keeps it (migration 0003).

    ``bucket`` is the dial time divided by ``span`` (s); no disposition is an empty one.
    """

    tenant_id = IdField()
    campaign_id = peewee.TextField()
    span = peewee.BigIntegerField()
    bucket = peewee.BigIntegerField()
    status = peewee.TextField()
    disposition = peewee.TextField()
    n = peewee.BigIntegerField()

    class Meta:
        primary_key = peewee.CompositeKey("tenant_id", "campaign_id", "span", "bucket", "status", "disposition")


class CallNumber(_Model):
    """That a call has a number, the caller's or the callee's; the database keeps it (migration 0004).

    ``number`` as ``calls.numbers.comparable`` has it; ``batch`` says with which calls it was sorted in.
    """

    batch = peewee.BigIntegerField()
    tenant_id = IdField()
    number = peewee.TextField()
    dialled_us = peewee.BigIntegerField()
    call_id = IdField()

    class Meta:
        primary_key = peewee.CompositeKey("batch", "tenant_id", "number", "dialled_us", "call_id")


class CallNumberBatch(_Model):
    """A batch: its calls were dialled from ``first_us`` to ``last_us``."""

    batch = peewee.BigIntegerField(primary_key=True)
    first_us = peewee.BigIntegerField()
    last_us = peewee.BigIntegerField()


class CallNumberRecent(_Model):
    """The numbers of a call that is in no batch yet. ``dialled_us``: ``MAX_INT`` where it has not been dialled."""

    call_id = IdField(primary_key=True)
    tenant_id = IdField()
    dialled_us = peewee.BigIntegerField()
    caller = peewee.TextField(null=True)
    callee = peewee.TextField(null=True)


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
    """An event to be told; ``payload`` is the ``CallRecord`` of that moment as JSON, without what people and the
    analysis had set by then: that stands in the columns after ``detail``, which is what it is about besides the call.
    """

    position = peewee.BigAutoField()
    id = IdField(unique=True)
    call_id = IdField()
    tenant_id = IdField()
    seq = peewee.BigIntegerField()
    event = peewee.TextField()
    payload = peewee.TextField()
    created_us = peewee.BigIntegerField()
    detail = peewee.TextField(null=True)
    disposition = peewee.TextField(null=True)
    disposition_by = peewee.TextField(null=True)
    notes = peewee.TextField(null=True)
    ai_summary = peewee.TextField(null=True)
    ai_sentiment = peewee.TextField(null=True)
    ai_next_action = peewee.TextField(null=True)
    analysis_status = peewee.TextField(null=True)
    files = peewee.TextField(null=True)


class Recording(_Model):
    """A file that the switch said it records. ``path`` and the claims up to ``discarded`` are the switch's words.

    ``status``: ``open`` (started), ``stopped`` (to be looked at), ``ready``, ``failed`` (``reason`` says why) or
    ``deleted``. ``next_us``: not to be looked at before. ``loudness_cb``: RMS of the loudest second, in hundredths of a
    dBFS.
    """

    id = IdField(primary_key=True)
    call_id = IdField()
    tenant_id = IdField()
    node = peewee.TextField()
    leg = peewee.TextField()
    path = peewee.TextField()
    started_us = peewee.BigIntegerField(null=True)
    stopped_us = peewee.BigIntegerField(null=True)
    claimed_ms = peewee.BigIntegerField(null=True)
    discarded = peewee.BooleanField()
    status = peewee.TextField()
    reason = peewee.TextField(null=True)
    attempts = peewee.BigIntegerField()
    next_us = peewee.BigIntegerField()
    storage = peewee.TextField(null=True)
    object_key = peewee.TextField(null=True)
    bytes = peewee.BigIntegerField(null=True)
    duration_ms = peewee.BigIntegerField(null=True)
    channels = peewee.BigIntegerField(null=True)
    sha256 = peewee.TextField(null=True)
    loudness_cb = peewee.BigIntegerField(null=True)
    created_us = peewee.BigIntegerField()
    looked_us = peewee.BigIntegerField(null=True)
    deleted_us = peewee.BigIntegerField(null=True)


class Analysis(_Model):
    """The analysis of a call: one row a call, made with its first recording. ``due``: it is still to be worked on.

    ``uploads`` is a JSON list of names at Google that are to be deleted, ``spent_micros`` what all runs cost together
    (USD, 1e-6), ``statements`` and ``transcript`` are JSON lists.
    """

    call_id = IdField(primary_key=True)
    tenant_id = IdField()
    node = peewee.TextField()
    status = peewee.TextField()
    due = peewee.BooleanField()
    run = peewee.BigIntegerField()
    attempts = peewee.BigIntegerField()
    unusable = peewee.BigIntegerField()
    next_us = peewee.BigIntegerField()
    holder = peewee.TextField(null=True)
    lease_us = peewee.BigIntegerField()
    sdk = peewee.TextField(null=True)
    model = peewee.TextField(null=True)
    prompt_version = peewee.TextField(null=True)
    audio_ms = peewee.BigIntegerField(null=True)
    input_tokens = peewee.BigIntegerField(null=True)
    output_tokens = peewee.BigIntegerField(null=True)
    cost_micros = peewee.BigIntegerField(null=True)
    spent_micros = peewee.BigIntegerField()
    error = peewee.TextField(null=True)
    uploads = peewee.TextField(null=True)
    statements = peewee.TextField(null=True)
    transcript = peewee.TextField(null=True)
    created_us = peewee.BigIntegerField()
    done_us = peewee.BigIntegerField(null=True)


class Endpoint(_Model):
    """Where a tenant wants to be told. ``events`` is a mask of ``calls.call.EVENT_BITS``.

    ``failures`` counts the failed attempts since the last success, ``retry_us``: nothing is sent before.
    """

    id = IdField(primary_key=True)
    tenant_id = IdField()
    url = peewee.TextField()
    description = peewee.TextField(null=True)
    events = peewee.BigIntegerField()
    enabled = peewee.BooleanField()
    disabled_reason = peewee.TextField(null=True)
    secret = peewee.TextField()
    old_secret = peewee.TextField(null=True)
    old_secret_until_us = peewee.BigIntegerField(null=True)
    failures = peewee.BigIntegerField()
    failing_since_us = peewee.BigIntegerField(null=True)
    retry_us = peewee.BigIntegerField()
    created_us = peewee.BigIntegerField()


class Delivery(_Model):
    """An event for an endpoint; made in the transaction of the event. ``status``: pending, delivered or dead."""

    endpoint_id = IdField()
    event_position = peewee.BigIntegerField()
    event_id = IdField()
    call_id = IdField()
    tenant_id = IdField()
    event = peewee.TextField()
    seq = peewee.BigIntegerField()
    status = peewee.TextField()
    attempts = peewee.BigIntegerField()
    next_us = peewee.BigIntegerField()
    last_status = peewee.BigIntegerField(null=True)
    last_error = peewee.TextField(null=True)
    created_us = peewee.BigIntegerField()
    ended_us = peewee.BigIntegerField(null=True)

    class Meta:
        primary_key = peewee.CompositeKey("endpoint_id", "event_position")


class Attempt(_Model):
    """One attempt of a delivery: the answer's HTTP status, or what went wrong, and the beginning of its body."""

    endpoint_id = IdField()
    event_position = peewee.BigIntegerField()
    n = peewee.BigIntegerField()
    at_us = peewee.BigIntegerField()
    duration_ms = peewee.BigIntegerField()
    status = peewee.BigIntegerField(null=True)
    error = peewee.TextField(null=True)
    response = peewee.TextField(null=True)

    class Meta:
        primary_key = peewee.CompositeKey("endpoint_id", "event_position", "n")


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
    CallCount,
    CallNumber,
    CallNumberBatch,
    CallNumberRecent,
    CallEvent,
    Outbox,
    Recording,
    Analysis,
    Endpoint,
    Delivery,
    Attempt,
    Idempotency,
    Lease,
    Engine,
)
