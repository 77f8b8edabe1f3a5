"""The doctor looks at SQLite, and once at Postgres."""

from __future__ import annotations

from tests.databases import postgres_server, postgres_settings

__all__ = ["postgres_server", "postgres_settings"]
