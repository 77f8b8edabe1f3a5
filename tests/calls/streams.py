"""The recorded streams of a real FreeSWITCH 1.10.12, for the tests of the state machine."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from callengine.calls.facts import Fact
from callengine.esl.headers import Translator
from callengine.esl.wire import Frame, Framer
from callengine.replay import facts_in

TRACES = Path(__file__).parent.parent / "traces"
GOLDEN = TRACES / "golden"


def names(form: str = "*") -> list[str]:
    """The traces' names, without their endings."""
    return sorted(p.name.removesuffix(".esl.gz") for p in TRACES.glob(f"*.{form}.esl.gz"))


@cache
def stream(name: str) -> bytes:
    """The bytes as the switch sent them."""
    return gzip.decompress((TRACES / f"{name}.esl.gz").read_bytes())


@cache
def facts(name: str) -> tuple[Fact, ...]:
    """The facts in a trace."""
    poison: list[object] = []
    found = tuple(facts_in([stream(name)], Translator(), poison))  # type: ignore[arg-type]
    assert not poison
    return found


def frames(name: str) -> list[Frame]:
    """The frames in a trace."""
    return Framer().feed(stream(name))
