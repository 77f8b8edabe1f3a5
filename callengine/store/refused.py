"""What the database refused of a call, as bytes: its row, timeline entries and milestones, all that was handed over.

Plain JSON with every character above ASCII escaped: what no database holds (NUL, halves of surrogate pairs, numbers
beyond 64 bits) may be the very reason, and is kept as it was.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import msgspec
import peewee

from callengine.calls.call import Call
from callengine.calls.leg import Note
from callengine.calls.machine import Published
from callengine.errors import MalformedEvent
from callengine.store import rows, sql


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One call's. ``call`` is None where only its timeline or milestones waited."""

    call_id: str
    call: Call | None = None
    notes: tuple[Note, ...] = ()
    published: tuple[Published, ...] = ()


def encode(refused: Refused) -> bytes:
    """For ``decode``, and for people."""
    return json.dumps(msgspec.to_builtins(refused)).encode()


def decode(body: bytes) -> Refused:
    """What ``encode`` was given. Raises MalformedEvent."""
    try:
        found = msgspec.convert(json.loads(body), Refused)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise MalformedEvent(f"these are no rows of a call: {type(error).__name__}") from None
    return found


def unknown_notes(db: peewee.Database, refused: Refused) -> tuple[Note, ...]:
    """Those of its timeline entries that the store does not have."""
    text = "SELECT name, at_us, leg, source, detail FROM call_event WHERE call_id = ?"
    found: Collection[Any] = sql.run(db, text, (rows.packed(db, refused.call_id),)).fetchall()
    known = {rows.note_from(row) for row in found}
    return tuple(note for note in refused.notes if note not in known)
