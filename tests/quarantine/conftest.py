"""The database, for the tests that need a real one."""

from __future__ import annotations

from tests.databases import database_settings, postgres_server, postgres_settings, sqlite_settings, store

__all__ = ["database_settings", "postgres_server", "postgres_settings", "sqlite_settings", "store"]
