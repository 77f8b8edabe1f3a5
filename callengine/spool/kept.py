"""Facts of ours that exist nowhere else, as bodies of the spool.

Not among them: CallQueued, which counts only once it is committed; LegGone, which the next comparison finds again and
which must not close anew what was found alive since; LegReported, whose CDR is kept until it is committed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from callengine.calls.facts import CommandIssued, Fact, LegListed, OriginateAbandoned, OriginateSent
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator

KEPT: Final = (OriginateSent, OriginateAbandoned, CommandIssued, LegListed)
_BY_NAME: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in KEPT}
_FIELDS: Final = {kind: tuple(f.name for f in msgspec.structs.fields(kind)) for kind in KEPT}

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


def encode(fact: Fact) -> bytes | None:
    """The body of a fact; None for one that need not be kept."""
    for kind in KEPT:
        if isinstance(fact, kind):
            # By the fields of the kind itself: the translator's own subclass has names of headers.
            return _encode({kind.__name__: {name: getattr(fact, name) for name in _FIELDS[kind]}})
    return None


def decode(body: bytes) -> Fact:
    """The fact of a body. Raises MalformedEvent."""
    try:
        ((name, values),) = _decode(body).items()
        fact: Fact = msgspec.convert(values, _BY_NAME[name])
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise MalformedEvent(f"no fact of the spool: {type(error).__name__}") from None
    return fact


def read(body: bytes, translator: Translator) -> Fact | None:
    """The fact of what may be an event or one of ours; None for an event that states none. Raises MalformedEvent."""
    try:
        return translator.json(body)
    except MalformedEvent:
        try:
            return decode(body)
        except MalformedEvent:
            pass  # then what is wrong with the event is worth telling
        raise
