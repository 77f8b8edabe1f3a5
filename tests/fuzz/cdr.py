"""CDRs, from bytes and files to rows: records of a real mod_json_cdr, changed in every way.

python -m tests.fuzz.cdr --minutes 20 [--seed N] [--only PROPERTY] [--again FILE]
"""

from __future__ import annotations

import sys
from typing import Final

# Folders and posts are worked on by greenlets and native threads, as in the daemon.
import callengine.patched  # noqa: F401
from tests.fuzz import running
from tests.fuzz.folders import Folders, Posts
from tests.fuzz.records import AmongEvents, ChangedRecords, SameInAnyWrapping
from tests.fuzz.running import Property
from tests.fuzz.scaling import CdrsScale

PROPERTIES: Final[tuple[Property, ...]] = (
    ChangedRecords(),
    SameInAnyWrapping(),
    AmongEvents(),
    CdrsScale(),
    Folders(),
    Posts(),
)

if __name__ == "__main__":
    sys.exit(running.main("cdr", __doc__, PROPERTIES))
