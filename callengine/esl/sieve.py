"""What of one connection's events is worth keeping: who reads the socket looks at each of them once, and what goes on
from here, into the spool and the queue, is a tenth as many bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from callengine.esl.headers import COMPLETE, DESTROY, Translator, ended_life_of, life_of

log = logging.getLogger(__name__)

# A channel is destroyed within milliseconds of its completion.
_MAX_ENDED: Final = 10_000


class Sieve:
    """One a connection: which ends it has told is remembered for as long as it lasts.

    Taken out are events that state nothing of ours, and a CHANNEL_DESTROY that repeats the CHANNEL_HANGUP_COMPLETE
    before it (``on_repeat``): most of them do, and they are the largest of all events. Of the others everything goes
    that is never read (`Translator.digest`). What cannot be read goes on as it is.
    """

    def __init__(self, translator: Translator, on_repeat: Callable[[], None] = lambda: None) -> None:
        self._digest = translator.digest
        self._on_repeat = on_repeat
        self._ended: dict[bytes, bytes] = {}

    def __call__(self, bodies: Sequence[bytes]) -> list[bytes]:
        """What is left of them, in their order. Raises nothing."""
        kept = []
        for body in bodies:
            try:
                if body.startswith(DESTROY) and self._repeats(body):
                    self._on_repeat()
                    continue
                digest = self._digest(body)
            except Exception:
                log.exception("an event could not be looked at; it is kept as it came")
                digest = body
            if digest is None:
                continue
            if digest.startswith(COMPLETE) and digest is not body:
                self._note(digest)
            kept.append(digest)
        return kept

    def _repeats(self, body: bytes) -> bool:
        gone = life_of(body)
        return gone is not None and self._ended.pop(gone.uuid, None) == gone.created_us

    def _note(self, digest: bytes) -> None:
        ended = ended_life_of(digest)
        if ended is not None:
            if len(self._ended) >= _MAX_ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[ended.uuid] = ended.created_us
