"""What the looks share: the settings, one connection to the switch, the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from callengine.config.sections import is_loopback
from callengine.config.settings import Settings
from callengine.errors import EslError
from callengine.esl.client import EslClient

if TYPE_CHECKING:
    from callengine.store.database import Store


@dataclass
class Patient:
    """``place`` names where the settings come from. ``wall_s`` is our clock, in seconds since the epoch."""

    settings: Settings
    place: str
    wall_s: Callable[[], float] = time.time
    client: EslClient | None = None
    """The connection to the switch, once it was made."""
    node: str = ""
    """The name of the switch, once it is known."""
    store: Store | None = None
    """The database, once it can be read."""
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the switch runs on this machine, as far as its address tells."""
        return is_loopback(self.settings.esl.host)

    def api(self, command: str) -> str:
        """What the switch answers, asked once. Raises EslError."""
        if command not in self.answers:
            if self.client is None:
                raise EslError("the switch is not connected")
            self.answers[command] = self.client.api(command, timeout_s=5.0).strip()
        return self.answers[command]

    def variable(self, name: str) -> str:
        """A global variable of the switch, empty where it has none or cannot be asked."""
        try:
            value = self.api(f"global_getvar {name}")
        except EslError:
            return ""
        return "" if value.startswith("-ERR") else value

    def theirs(self, ours: Path) -> str:
        """How the switch names a path of ours, by ``recordings.path_map``."""
        for theirs, mapped in self.settings.recordings.path_map.items():
            if ours.is_relative_to(mapped):
                return str(Path(theirs) / ours.relative_to(mapped))
        return str(ours)

    def ours(self, theirs: str) -> Path:
        """How we name a path of the switch's."""
        for their_root, mapped in self.settings.recordings.path_map.items():
            if Path(theirs).is_relative_to(their_root):
                return mapped / Path(theirs).relative_to(their_root)
        return Path(theirs)

    def close(self) -> None:
        """Closes what the looks opened."""
        if self.client is not None:
            self.client.close()
        if self.store is not None:
            self.store.close()
