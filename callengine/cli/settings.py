"""The settings, for commands that need them."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callengine.config.settings import Settings


def load_settings(args: argparse.Namespace) -> Settings:
    """As ``--config``, environment and credentials say. Raises ``ConfigurationError``."""
    from callengine.config.settings import load

    return load(args.config, os.environ)


def local_url(settings: Settings) -> str:
    """Where a process on this machine reaches the API that these settings describe."""
    host = settings.http.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - told apart, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"
