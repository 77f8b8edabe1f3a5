"""Importing this module makes the standard library cooperate with gevent; it has to come before any other import.

Each entry point has ``import callengine.patched`` as its first statement, and so has the test run (``-p`` in
pyproject.toml). A library that was imported earlier keeps the blocking functions it took: psycopg then picks the wait
function that stops the whole daemon for the length of a query.
"""

from __future__ import annotations

from typing import Any

import gevent.events
from gevent import monkey

# gevent asks every package that is installed, some twenty times, for plug-ins that want a say in this. There are none
# of ours, and it takes a tenth of a second.
_events: Any = gevent.events  # these names are not in its stubs
_asking = getattr(_events, "notify_and_call_entry_points", None)
if _asking is not None:
    _events.notify_and_call_entry_points = _events.notify
monkey.patch_all()
if _asking is not None:
    _events.notify_and_call_entry_points = _asking
