"""Somebody else who listens to the switch: what it said of each channel before it died, when there is no CDR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import gevent
import orjson

from callengine.errors import EslError
from callengine.esl.client import EslClient
from tests.chaos.options import Options

_EVENTS: Final = (
    *("CHANNEL_CREATE", "CHANNEL_PROGRESS", "CHANNEL_PROGRESS_MEDIA", "CHANNEL_ANSWER"),
    *("CHANNEL_HANGUP", "CHANNEL_HANGUP_COMPLETE"),
)
_RETRY_S: Final = 0.3


@dataclass(slots=True)
class Heard:
    """Of one channel; stamps are the switch's, µs, 0 where it said nothing of them. ``from_birth``: nothing before."""

    created_us: int = 0
    answered_us: int = 0
    ended_us: int = 0
    from_birth: bool = False
    hangup_cause: str | None = None


class Witness:
    """``run`` listens until ``stop``; connects again by itself. Reads the events with nothing of the daemon's."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._client: EslClient | None = None
        self._stopping = False
        self.heard: dict[str, Heard] = {}

    def run(self) -> None:
        """Whoever spawns it looks at the end whether it still ran: without it there is less to compare with."""
        while not self._stopping:
            client = EslClient(self._options.host, self._options.port, self._options.password)
            client.register_handle("*", self._take)
            try:
                client.connect()
                client.subscribe(_EVENTS)
                self._client = client
                client.closed.wait()
            except EslError:
                pass
            gevent.sleep(_RETRY_S)

    def stop(self) -> None:
        """Ends it."""
        self._stopping = True
        if self._client is not None:
            self._client.stop()

    def _take(self, bodies: list[bytes]) -> bool:
        for body in bodies:
            event: dict[str, Any] = orjson.loads(body.decode("utf-8", "replace"))
            name = event.get("Event-Name", "")
            if name in _EVENTS:
                heard = self.heard.setdefault(event["Unique-ID"], Heard())
                heard.created_us = int(event.get("Caller-Channel-Created-Time") or 0)
                heard.answered_us = max(heard.answered_us, int(event.get("Caller-Channel-Answered-Time") or 0))
                heard.ended_us = max(heard.ended_us, int(event.get("Caller-Channel-Hangup-Time") or 0))
                heard.from_birth |= name == "CHANNEL_CREATE"
                if name.startswith("CHANNEL_HANGUP"):
                    heard.hangup_cause = event.get("Hangup-Cause")
        return True
