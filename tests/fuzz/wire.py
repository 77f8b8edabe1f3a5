"""The event socket, from bytes to rows: recorded streams, changed in every way.

python -m tests.fuzz.wire --minutes 20 [--seed N] [--only PROPERTY] [--again FILE]
"""

from __future__ import annotations

import sys
from typing import Final

from tests.fuzz import running
from tests.fuzz.events import JsonEvents, SameInBothForms
from tests.fuzz.running import Property
from tests.fuzz.scaling import EventsScale, StreamsScale
from tests.fuzz.stories import AfterPoison, InAnyOrder, WholeStreams
from tests.fuzz.streams import Connections, Cuts

PROPERTIES: Final[tuple[Property, ...]] = (
    Cuts(),
    Connections(),
    JsonEvents(),
    SameInBothForms(),
    AfterPoison(),
    InAnyOrder(),
    WholeStreams(),
    StreamsScale(),
    EventsScale(),
)

if __name__ == "__main__":
    sys.exit(running.main("wire", __doc__, PROPERTIES))
