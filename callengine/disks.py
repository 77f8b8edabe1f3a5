"""How much room is left where callengine keeps things, looked at now and then, off the hub: a network disk may hang."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import gevent

from callengine.config.settings import Settings
from callengine.metrics import Metrics
from callengine.threads import Threads, in_thread

log = logging.getLogger(__name__)

_EVERY_S: Final = 15.0


class Room(NamedTuple):
    """Of one file system, in bytes; ``free`` is what an ordinary user may still take."""

    free: int
    size: int


class Disks:
    """``run`` is to be supervised. Of several directories of recordings the fullest counts."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        places: dict[str, Sequence[Path]] = {
            "state": (settings.state.directory,),
            "recordings": settings.recordings.directories,
        }
        self._places = {place: paths for place, paths in places.items() if paths}
        self._found: dict[str, Room] = {}
        metrics.gauge(
            "callengine_disk_free_bytes",
            "Room that is left on the disk, as looked at every 15 s.",
            lambda: [((place,), float(room.free)) for place, room in self._found.items()],
            ("place",),
        )
        metrics.gauge(
            "callengine_disk_size_bytes",
            "The size of that disk.",
            lambda: [((place,), float(room.size)) for place, room in self._found.items()],
            ("place",),
        )

    def run(self) -> None:
        """Until it is killed."""
        threads = Threads(1)
        try:
            while True:
                self._found = in_thread(self.look, threads)
                gevent.sleep(_EVERY_S)
        finally:
            threads.kill()

    def look(self) -> dict[str, Room]:
        """By place; one that cannot be looked at is left out. Blocks."""
        found = {}
        for place, paths in self._places.items():
            rooms = [room for path in paths if (room := _room_of(path)) is not None]
            if rooms:
                found[place] = min(rooms, key=lambda room: room.free / max(room.size, 1))
        return found


def _room_of(path: Path) -> Room | None:
    try:
        stat = os.statvfs(path)
    except OSError as error:
        log.debug("the room in %s cannot be told: %s", path, error.strerror)
        return None
    return Room(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
