"""What an event states."""

from __future__ import annotations

from callengine.calls.facts import Fact
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator

TRANSLATOR = Translator()


def stated(body: bytes) -> Fact | str | None:
    """The fact of a JSON event, or why there is none."""
    try:
        return TRANSLATOR.json(body)
    except MalformedEvent as error:
        return str(error)
