"""What of one connection's events is worth keeping: who reads the socket looks at each of them once, and what goes on
from here, into the spool and the queue, is a tenth as many bytes.

Where it was built, `_sieve`, which is the same in C, does so as it cuts the stream (``COMPILED``); what is not plain
to it comes here. ``CALLENGINE_PURE_PYTHON`` in the environment leaves all to Python.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

from callengine.calls.facts import MAX_US
from callengine.esl.headers import COMPLETE, COMPLETES, DESTROY, DESTROYS, Translator, ended_life_of, life_of
from callengine.esl.wire import EVENT_JSON, MAX_BODY_BYTES, Events

_VERSION: Final = 2
try:
    from callengine.esl import _sieve
except ImportError:  # built where there was a C compiler
    COMPILED = False
else:
    COMPILED = _sieve.VERSION == _VERSION and os.environ.get("CALLENGINE_PURE_PYTHON", "0") in ("", "0")

log = logging.getLogger(__name__)

# A channel is destroyed within milliseconds of its completion.
_MAX_ENDED: Final = 10_000


class Sieve(Events):
    """One a connection: which ends it has told is remembered for as long as it lasts.

    Taken out are events that state nothing of ours, and a CHANNEL_DESTROY that repeats the CHANNEL_HANGUP_COMPLETE
    before it: most of them do, and they are the largest of all events; ``on_repeat`` is told how many. Of the others
    everything goes that is never read (`Translator.digest`). What cannot be read goes on as it is.
    """

    def __init__(
        self,
        translator: Translator,
        on_repeat: Callable[[int], None] = lambda count: None,
        *,
        compiled: bool = COMPILED,
    ) -> None:
        super().__init__()
        self._digest = translator.digest
        self._on_repeat = on_repeat
        self._ended: dict[bytes, bytes] = {}
        self._repeated = 0
        self._cutter: _sieve.Cutter | None = None
        if compiled:
            self._cutter = _sieve.Cutter(
                layout=translator.layout(),
                completes=COMPLETES,
                destroys=DESTROYS,
                ended=self._ended,
                max_ended=_MAX_ENDED,
                max_body=MAX_BODY_BYTES,
                max_number=MAX_US,
                other=self._left,
            )

    def __call__(self, bodies: Sequence[bytes]) -> list[bytes]:
        """What is left of them, in their order. Raises nothing."""
        for body in bodies:
            self.take(EVENT_JSON, body)
        return self.handed()[1]

    def cut(self, chunk: bytes, at: int) -> int:
        """See `Events.cut`."""
        return at if self._cutter is None else self._cutter.cut(chunk, at, self._bodies)

    def take(self, kind: str, body: bytes) -> None:
        """See `Events.take`."""
        if self._cutter is not None:
            self._cutter.take(body, self._bodies)
        else:
            self._count += 1
            if (left := self._left(body)) is not None:
                self._bodies.append(left)

    def handed(self) -> tuple[int, list[bytes]]:
        """See `Events.handed`."""
        if self._cutter is not None:
            seen, repeated = self._cutter.counted()
            self._count += seen
            self._repeated += repeated
        repeated, self._repeated = self._repeated, 0
        if repeated:
            self._on_repeat(repeated)
        return super().handed()

    def _left(self, body: bytes) -> bytes | None:
        """What is left of one event; None where nothing is."""
        try:
            if body.startswith(DESTROY) and self._repeats(body):
                self._repeated += 1
                return None
            digest = self._digest(body)
        except Exception:
            log.exception("an event could not be looked at; it is kept as it came")
            return body
        if digest is not None and digest is not body and digest.startswith(COMPLETE):
            self._note(digest)
        return digest

    def _repeats(self, body: bytes) -> bool:
        gone = life_of(body)
        return gone is not None and self._ended.pop(gone.uuid, None) == gone.created_us

    def _note(self, digest: bytes) -> None:
        ended = ended_life_of(digest)
        if ended is not None:
            if len(self._ended) >= _MAX_ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[ended.uuid] = ended.created_us
