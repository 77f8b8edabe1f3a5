"""The settings, for commands that need them."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from callengine.config.places import database_file

if TYPE_CHECKING:
    from callengine.config.settings import Settings


def load_settings(args: argparse.Namespace) -> Settings:
    """As ``--config``, environment and credentials say. Raises ``ConfigurationError``."""
    from callengine.config.settings import load

    return load(args.config, os.environ)


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
