"""All that the first engines need, also where several of them share one Postgres."""

from __future__ import annotations

from typing import Any

import peewee

from callengine.store import sql

_SQLITE = {
    "id": "BLOB",
    "bytes": "BLOB",
    "int": "INTEGER",
    "bool": "INTEGER",
    "key": "TEXT",
    "position": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
    "clustered": "WITHOUT ROWID",
    "hot": "",
    # What has not been dialled sorts as the newest. SQLite cannot put NULLS FIRST into an index; an expression can.
    "newest": "coalesce(dial_us, 9223372036854775807) DESC, id DESC",
}
# "C": keys are compared byte by byte, as SQLite does. fillfactor: a live call is rewritten several times, in its page
# if there is room. autovacuum: what it has visited is counted and paged through off the index alone.
_POSTGRES = {
    "id": "UUID",
    "bytes": "BYTEA",
    "int": "BIGINT",
    "bool": "BOOLEAN",
    "key": 'TEXT COLLATE "C"',
    "position": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "clustered": "",
    "hot": (
        "WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05)"
    ),
    "newest": "dial_us DESC NULLS FIRST, id DESC",
}

_STATEMENTS = (
    """
    CREATE TABLE tenant (
        id {id} NOT NULL PRIMARY KEY,
        name {key} NOT NULL UNIQUE,
        created_us {int} NOT NULL
    )
    """,
    """
    CREATE TABLE tenant_number (
        number {key} NOT NULL PRIMARY KEY,
        tenant_id {id} NOT NULL REFERENCES tenant (id),
        created_us {int} NOT NULL
    ) {clustered}
    """,
    """
    CREATE TABLE api_key (
        id {id} NOT NULL PRIMARY KEY,
        prefix {key} NOT NULL UNIQUE,
        hash {bytes} NOT NULL,
        tenant_id {id} NOT NULL REFERENCES tenant (id),
        name TEXT,
        scopes TEXT NOT NULL,
        created_us {int} NOT NULL,
        last_used_us {int},
        revoked_us {int}
    )
    """,
    """
    CREATE TABLE campaign (
        tenant_id {id} NOT NULL,
        id {key} NOT NULL,
        name TEXT,
        created_us {int} NOT NULL,
        PRIMARY KEY (tenant_id, id)
    ) {clustered}
    """,
    """
    CREATE TABLE lead (
        tenant_id {id} NOT NULL,
        id {key} NOT NULL,
        campaign_id {key},
        name TEXT,
        phone_number TEXT,
        created_us {int} NOT NULL,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaign (tenant_id, id)
    ) {clustered}
    """,
    """
    CREATE TABLE call (
        id {id} NOT NULL PRIMARY KEY,
        tenant_id {id} NOT NULL,
        node TEXT NOT NULL,
        core_uuid TEXT,
        fs_uuid TEXT NOT NULL,
        direction TEXT NOT NULL,
        status TEXT NOT NULL,
        live {bool} NOT NULL,
        campaign_id {key},
        lead_id {key},
        agent_id {key},
        queued_us {int},
        dial_us {int},
        ring_us {int},
        answer_us {int},
        agent_connect_us {int},
        end_us {int},
        hangup_cause TEXT,
        caller_number TEXT,
        caller_name TEXT,
        callee_number TEXT,
        gateway TEXT,
        sip_call_id TEXT,
        sip_status {int},
        hangup_by TEXT,
        answered_by TEXT,
        queue TEXT,
        failure_reason TEXT,
        end_source TEXT,
        ended_after_us {int},
        ended_before_us {int},
        overlong {bool} NOT NULL,
        has_recording {bool} NOT NULL,
        agents TEXT NOT NULL,
        legs TEXT NOT NULL,
        recordings TEXT NOT NULL,
        seq {int} NOT NULL,
        disposition TEXT,
        disposition_by TEXT,
        notes TEXT,
        ai_summary TEXT,
        ai_sentiment TEXT,
        ai_next_action TEXT,
        analysis_status TEXT,
        state TEXT NOT NULL,
        UNIQUE (node, fs_uuid)
    ) {hot}
    """,
    "CREATE INDEX call_of_campaign ON call (tenant_id, campaign_id, {newest})",
    "CREATE INDEX call_of_tenant ON call (tenant_id, {newest})",
    "CREATE INDEX call_live ON call (tenant_id, {newest}) WHERE live",
    "CREATE INDEX call_of_lead ON call (tenant_id, lead_id, {newest}) WHERE lead_id IS NOT NULL",
    """
    CREATE TABLE call_event (
        call_id {id} NOT NULL,
        n {int} NOT NULL,
        at_us {int} NOT NULL,
        name TEXT NOT NULL,
        leg TEXT,
        source TEXT NOT NULL,
        detail TEXT,
        PRIMARY KEY (call_id, n)
    ) {clustered}
    """,
    """
    CREATE TABLE outbox (
        position {position},
        id {id} NOT NULL UNIQUE,
        call_id {id} NOT NULL,
        tenant_id {id} NOT NULL,
        seq {int} NOT NULL,
        event TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_us {int} NOT NULL
    )
    """,
    """
    CREATE TABLE idempotency (
        tenant_id {id} NOT NULL,
        key {key} NOT NULL,
        fingerprint TEXT NOT NULL,
        status {int},
        response TEXT,
        call_id {id},
        created_us {int} NOT NULL,
        PRIMARY KEY (tenant_id, key)
    ) {clustered}
    """,
    "CREATE INDEX idempotency_age ON idempotency (created_us)",
    """
    CREATE TABLE lease (
        node {key} NOT NULL PRIMARY KEY,
        holder TEXT NOT NULL,
        core_uuid TEXT,
        epoch {int} NOT NULL,
        expires_us {int} NOT NULL
    ) {clustered}
    """,
    """
    CREATE TABLE engine (
        node {key} NOT NULL PRIMARY KEY,
        version TEXT NOT NULL,
        data_as_of_us {int} NOT NULL
    ) {clustered}
    """,
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Create everything."""
    types = _SQLITE if isinstance(db, peewee.SqliteDatabase) else _POSTGRES
    for statement in _STATEMENTS:
        sql.query(db, statement.format(**types))
