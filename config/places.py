"""Where things are that the settings describe, as a process on this machine finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from callengine.config.settings import Settings


def database_file(settings: Settings) -> Path | None:
    """SQLite's file; None for Postgres."""
    if settings.database.is_postgres:
        return None
    path = unquote(urlsplit(settings.database.url.get_secret_value()).path[1:])
    return settings.state.directory / path


def local_url(settings: Settings) -> str:
    """Where the API is reached."""
    host = settings.http.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - told apart, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
