"""What is mutated: the recorded streams, their events, and the records of a real mod_json_cdr."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from callengine.esl.wire import Framer
from tests.calls import streams
from tests.cdr import records_of_events
from tests.esl import transcripts
from tests.fuzz.hostile import Pairs

RECORDS: Final = Path(__file__).parent.parent / "cdr" / "records"
# Those that hold a few calls each: a case is small, and shrinks fast.
_LARGE: Final = {"load_slice", "h_bgapi_results", "j1_reloadxml_hupall_pause"}
JSON: Final = tuple(name for name in streams.names("json") if name.split(".")[0] not in _LARGE)
PLAIN: Final = tuple(name for name in streams.names("plain") if name.split(".")[0] not in _LARGE)
WIRE: Final = tuple(transcripts.names())


@cache
def bodies(name: str) -> tuple[bytes, ...]:
    """The bodies of a trace's events."""
    return tuple(frame.body for frame in Framer().feed(streams.stream(name)) if frame.is_event)


@cache
def transcript(name: str) -> bytes:
    """What the server said in a recorded conversation."""
    return transcripts.server_side(name)


def members(body: bytes) -> Pairs:
    """The members of a JSON object in their order, doubled ones too."""
    found: Pairs = json.loads(body.decode("utf-8", "replace"), object_pairs_hook=list)
    return found


@cache
def records() -> tuple[bytes, ...]:
    """CDRs: those of a real switch, and those that the traces' channels would have had."""
    real = [path.read_bytes() for path in sorted(RECORDS.glob("*.json"))]
    return (*real, *(record for name in JSON for record in records_of_events.of_trace(name)))


@cache
def record(at: int) -> dict[str, Any]:
    """One of these, decoded; not to be changed."""
    found: dict[str, Any] = json.loads(records()[at])
    return found
