"""The settings, for commands that need them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from callengine.config.settings import Settings


def load_settings(args: argparse.Namespace) -> Settings:
    """As ``--config``, environment and credentials say. Raises ``ConfigurationError``."""
    from callengine.config.settings import load

    return load(args.config, os.environ)


def database_file(settings: Settings) -> Path | None:
    """SQLite's file; None for Postgres."""
    if settings.database.is_postgres:
        return None
    path = unquote(urlsplit(settings.database.url.get_secret_value()).path[1:])
    return settings.state.directory / path


def is_missing(settings: Settings) -> bool:
    """Whether there is no SQLite file yet."""
    file = database_file(settings)
    return file is not None and not file.exists()


def make_state_directory(settings: Settings) -> None:
    """Raises ``ConfigurationError`` where it cannot be made."""
    from callengine.errors import ConfigurationError

    directory = settings.state.directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError([f"state.directory: {directory} cannot be made ({error.strerror})"]) from None


def local_url(settings: Settings) -> str:
    """Where a process on this machine reaches the API that these settings describe."""
    host = settings.http.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - told apart, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
