"""What comes after the call: its recordings and their analysis, endpoints and what they are told."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import peewee

from callengine.store import sql

_FIRST = import_module("callengine.store.migrations.0001_initial")

_STATEMENTS = (
    "ALTER TABLE tenant ADD COLUMN record TEXT",
    "ALTER TABLE tenant ADD COLUMN recordings_days {int}",
    "ALTER TABLE tenant ADD COLUMN ai_daily_spend_micros {int}",
    "ALTER TABLE campaign ADD COLUMN goal TEXT",
    "ALTER TABLE campaign ADD COLUMN dispositions TEXT",
    "ALTER TABLE campaign ADD COLUMN record TEXT",
    # Side: what is told of a call from outside the book counts here, and the sum of both is what a reader sees.
    "ALTER TABLE call ADD COLUMN side_seq {int} NOT NULL DEFAULT 0",
    "ALTER TABLE call ADD COLUMN files TEXT",
    "ALTER TABLE outbox ADD COLUMN detail TEXT",
    "ALTER TABLE outbox ADD COLUMN disposition TEXT",
    "ALTER TABLE outbox ADD COLUMN disposition_by TEXT",
    "ALTER TABLE outbox ADD COLUMN notes TEXT",
    "ALTER TABLE outbox ADD COLUMN ai_summary TEXT",
    "ALTER TABLE outbox ADD COLUMN ai_sentiment TEXT",
    "ALTER TABLE outbox ADD COLUMN ai_next_action TEXT",
    "ALTER TABLE outbox ADD COLUMN analysis_status TEXT",
    "ALTER TABLE outbox ADD COLUMN files TEXT",
    """
    CREATE TABLE recording (
        id {id} NOT NULL PRIMARY KEY,
        call_id {id} NOT NULL,
        tenant_id {id} NOT NULL,
        node TEXT NOT NULL,
        leg TEXT NOT NULL,
        path TEXT NOT NULL,
        started_us {int},
        stopped_us {int},
        claimed_ms {int},
        discarded {bool} NOT NULL,
        status TEXT NOT NULL,
        reason TEXT,
        attempts {int} NOT NULL,
        next_us {int} NOT NULL,
        storage TEXT,
        object_key TEXT,
        bytes {int},
        duration_ms {int},
        channels {int},
        sha256 TEXT,
        loudness_cb {int},
        created_us {int} NOT NULL,
        looked_us {int},
        deleted_us {int}
    )
    """,
    "CREATE INDEX recording_of_call ON recording (call_id)",
    # Two: of live calls many are open, and who looks for those that are stopped must not walk over them.
    "CREATE INDEX recording_stopped ON recording (node, next_us) WHERE status = 'stopped'",
    "CREATE INDEX recording_open ON recording (node, next_us) WHERE status = 'open'",
    "CREATE INDEX recording_lost ON recording (node, looked_us) WHERE status = 'failed'",
    """
    CREATE INDEX recording_kept ON recording (tenant_id, looked_us)
        WHERE status IN ('ready', 'failed') AND sha256 IS NOT NULL
    """,
    """
    CREATE TABLE analysis (
        call_id {id} NOT NULL PRIMARY KEY,
        tenant_id {id} NOT NULL,
        node TEXT NOT NULL,
        status TEXT NOT NULL,
        due {bool} NOT NULL,
        run {int} NOT NULL,
        attempts {int} NOT NULL,
        unusable {int} NOT NULL,
        next_us {int} NOT NULL,
        holder TEXT,
        lease_us {int} NOT NULL,
        sdk TEXT,
        model TEXT,
        prompt_version TEXT,
        audio_ms {int},
        input_tokens {int},
        output_tokens {int},
        cost_micros {int},
        spent_micros {int} NOT NULL,
        error TEXT,
        uploads TEXT,
        statements TEXT,
        transcript TEXT,
        created_us {int} NOT NULL,
        done_us {int}
    )
    """,
    "CREATE INDEX analysis_due ON analysis (next_us) WHERE due",
    "CREATE INDEX analysis_uploads ON analysis (lease_us) WHERE uploads IS NOT NULL",
    "CREATE INDEX analysis_spent ON analysis (tenant_id, done_us)",
    """
    CREATE TABLE endpoint (
        id {id} NOT NULL PRIMARY KEY,
        tenant_id {id} NOT NULL REFERENCES tenant (id),
        url TEXT NOT NULL,
        description TEXT,
        events {int} NOT NULL,
        enabled {bool} NOT NULL,
        disabled_reason TEXT,
        secret TEXT NOT NULL,
        old_secret TEXT,
        old_secret_until_us {int},
        failures {int} NOT NULL,
        failing_since_us {int},
        retry_us {int} NOT NULL,
        created_us {int} NOT NULL
    )
    """,
    "CREATE INDEX endpoint_of_tenant ON endpoint (tenant_id)",
    """
    CREATE TABLE delivery (
        endpoint_id {id} NOT NULL,
        event_position {int} NOT NULL,
        event_id {id} NOT NULL,
        call_id {id} NOT NULL,
        tenant_id {id} NOT NULL,
        event TEXT NOT NULL,
        seq {int} NOT NULL,
        status TEXT NOT NULL,
        attempts {int} NOT NULL,
        next_us {int} NOT NULL,
        last_status {int},
        last_error TEXT,
        created_us {int} NOT NULL,
        ended_us {int},
        PRIMARY KEY (endpoint_id, event_position)
    ) {clustered}
    """,
    "CREATE INDEX delivery_pending ON delivery (endpoint_id, call_id, event_position) WHERE status = 'pending'",
    "CREATE INDEX delivery_due ON delivery (endpoint_id, next_us, event_position) WHERE status = 'pending'",
    # status, though it is always the same: SQLite reads the row to compare it once more where it is not in the index.
    "CREATE INDEX delivery_waiting ON delivery (endpoint_id, event_position, status) WHERE status = 'pending'",
    "CREATE INDEX delivery_dead ON delivery (endpoint_id, event_position, status) WHERE status = 'dead'",
    "CREATE INDEX delivery_of_event ON delivery (event_position)",
    "CREATE INDEX delivery_of_call ON delivery (call_id)",
    """
    CREATE TABLE attempt (
        endpoint_id {id} NOT NULL,
        event_position {int} NOT NULL,
        n {int} NOT NULL,
        at_us {int} NOT NULL,
        duration_ms {int} NOT NULL,
        status {int},
        error TEXT,
        response TEXT,
        PRIMARY KEY (endpoint_id, event_position, n)
    ) {clustered}
    """,
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Add to what is there; nothing is rewritten."""
    types = _FIRST._SQLITE if isinstance(db, peewee.SqliteDatabase) else _FIRST._POSTGRES
    for statement in _STATEMENTS:
        sql.query(db, statement.format(**types))
