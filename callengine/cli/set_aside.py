"""All that is set aside, wherever it lies: in the quarantine's folder, in the spool's, and in the database."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from callengine.cli.exits import Failed
from callengine.cli.opened import existing
from callengine.cli.settings import is_missing

if TYPE_CHECKING:
    from callengine.config.settings import Settings
    from callengine.quarantine import Entry, Quarantine, Shelf
    from callengine.store.database import Store
    from callengine.store.quarantined import Failed as FailedRow

KINDS: Final = ("event", "cdr", "recording", "job", "row", "segment")
STORED: Final = frozenset({"recording", "job"})
"""Kinds that are rows of the database."""
LIMIT: Final = 1000
"""So many of each kind are read off the database at most, the newest."""
TIMEOUT_S: Final = 30.0
_MAX_READ_BYTES: Final = 8 << 20


class Found(NamedTuple):
    """``entries`` as ``list --json`` shows them. ``unseen``: what could not be looked at, and why; ``more``: kinds of
    which there are more than ``LIMIT``.
    """

    entries: list[dict[str, Any]]
    dead: list[dict[str, Any]]
    unseen: list[dict[str, str]]
    more: list[str]


class Shelves(NamedTuple):
    """The folders."""

    quarantine: Quarantine
    segments: Shelf

    def of(self, entry_id: str) -> Shelf:
        """The one that a thing of that id would lie on."""
        return self.segments if entry_id.startswith("segment-") else self.quarantine


def shelves(settings: Settings) -> Shelves:
    """Of the state directory."""
    from callengine.quarantine import Quarantine, segments_aside

    state = settings.state.directory
    return Shelves(Quarantine(state / "quarantine"), segments_aside(state / "spool"))


def collect(settings: Settings, kinds: frozenset[str], since_us: int) -> Found:
    """All of these kinds that was set aside since then, the oldest first."""
    found = Found([], [], [], [])
    told: dict[str, tuple[str, str]] = {}
    for shelf in shelves(settings):
        try:
            for entry in shelf.entries():
                if entry.kind in kinds and (entry.at_s or 0.0) * 1_000_000 >= since_us:
                    shown = shown_entry(settings, shelf, entry)
                    if (channel := shown.pop("channel")) and not entry.call_id:
                        told[entry.id] = (entry.node, channel)
                    found.entries.append(shown)
        except OSError as error:
            reason = f"{shelf.directory} cannot be read ({error.strerror})"
            found.unseen.append({"what": "files that were set aside", "reason": reason})
    _ask_store(settings, kinds, since_us, told, found)
    found.entries.sort(key=lambda entry: (entry["time"] or "", entry["id"]))
    return found


# -- files ------------------------------------------------------------------------------------------------------------


def shown_entry(settings: Settings, shelf: Shelf, entry: Entry) -> dict[str, Any]:
    """One as ``list --json`` shows it, and with its ``channel``, where that can be read."""
    from callengine.calls.view import iso

    channel, hopeless = _prospects(settings, shelf, entry)
    return {
        "id": entry.id,
        "kind": entry.kind,
        "time": None if entry.at_s is None else iso(int(entry.at_s * 1_000_000)),
        "bytes": entry.bytes,
        "reason": entry.reason,
        "node": entry.node or None,
        "call_id": entry.call_id,
        "waiting": entry.again,
        "retry": None if hopeless else f"callengine quarantine retry {entry.id}",
        "hopeless": hopeless,
        "channel": channel,
    }


def _prospects(settings: Settings, shelf: Shelf, entry: Entry) -> tuple[str | None, str | None]:
    """The channel that it is about, and why it cannot be taken in, as far as this version can tell."""
    from callengine.errors import MalformedEvent

    read = {"event": _event_channel, "cdr": _cdr_channel, "row": _row_channel}.get(entry.kind)
    if read is None or entry.bytes > _MAX_READ_BYTES:
        return None, None
    try:
        return read(settings, shelf.read(entry.id)), None
    except MalformedEvent as error:
        return None, f"this version cannot read it either: {error}"
    except OSError as error:
        return None, f"it cannot be read ({error.strerror})"


def _event_channel(settings: Settings, body: bytes) -> str | None:
    from callengine.esl.headers import Translator
    from callengine.spool import kept
    from callengine.variables import variables_of

    return getattr(kept.read(body, Translator(variables_of(settings.tracking))), "uuid", None)


def _cdr_channel(settings: Settings, body: bytes) -> str | None:
    from callengine.cdr.reading import CdrReader
    from callengine.variables import variables_of

    return CdrReader(variables_of(settings.tracking)).read(body).fact.uuid


def _row_channel(_settings: Settings, body: bytes) -> str | None:
    from callengine.store.refused import decode

    call = decode(body).call
    return None if call is None else call.own.uuid


# -- rows -------------------------------------------------------------------------------------------------------------


def _ask_store(
    settings: Settings, kinds: frozenset[str], since_us: int, told: dict[str, tuple[str, str]], found: Found
) -> None:
    """Adds what the database has; where it is away, that is said. One that is not made yet has nothing."""
    from callengine.errors import StoreError

    wanted = kinds & STORED
    whole = kinds == frozenset(KINDS)
    if is_missing(settings) or not (wanted or whole or told):
        return
    try:
        with existing(settings) as store:
            for kind in sorted(wanted):
                rows = failed(store, kind, since_us, LIMIT + 1)
                found.entries.extend(shown_row(kind, row) for row in rows[:LIMIT])
                if len(rows) > LIMIT:
                    found.more.append(kind)
            if whole:
                found.dead.extend(_dead(store))
            _name_calls(store, told, found)
    except (StoreError, Failed) as error:
        what = "recordings, jobs and dead letters" if whole else "recordings and jobs" if wanted else "calls"
        found.unseen.append({"what": what, "reason": str(error)})


def failed(store: Store, kind: str, since_us: int, limit: int) -> list[FailedRow]:
    """Recordings or jobs that failed since then, the newest first."""
    from callengine.store import quarantined

    read = quarantined.recordings if kind == "recording" else quarantined.jobs
    return store.run(lambda db: read(db, since_us, limit), TIMEOUT_S)


def shown_row(kind: str, row: FailedRow) -> dict[str, Any]:
    """One of the database as ``list --json`` shows it."""
    from callengine.calls.view import iso

    row_id = f"{kind}-{row.id}"
    return {
        "id": row_id,
        "kind": kind,
        "time": iso(row.at_us),
        "bytes": row.bytes,
        "reason": row.reason,
        "node": row.node,
        "call_id": row.call_id,
        "waiting": False,
        "retry": f"callengine quarantine retry {row_id}" if kind == "recording" else f"callengine analyze {row.id}",
        "hopeless": None,
    }


def _dead(store: Store) -> list[dict[str, Any]]:
    from callengine.store import quarantined

    return [
        {
            "tenant": one.tenant,
            "endpoint": one.endpoint_id,
            "dead_letters": one.letters,
            "list": f"callengine webhook deliveries --tenant {shlex.quote(one.tenant)} --status dead {one.endpoint_id}",
            "retry": f"callengine webhook replay --tenant {shlex.quote(one.tenant)} {one.endpoint_id}",
        }
        for one in store.run(quarantined.dead, TIMEOUT_S)
    ]


def _name_calls(store: Store, told: dict[str, tuple[str, str]], found: Found) -> None:
    """The calls of the channels that events and CDRs speak of; where nobody kept whose switch it is, if it is clear."""
    from callengine.store import quarantined

    if not told:
        return
    channels = {channel for _, channel in told.values()}
    calls = store.run(lambda db: quarantined.calls_of(db, channels), TIMEOUT_S)
    by_channel: dict[str, list[str]] = {}
    for (_, channel), call_id in calls.items():
        by_channel.setdefault(channel, []).append(call_id)
    for entry in found.entries:
        node, channel = told.get(entry["id"], ("", ""))
        with suppress(ValueError):
            (only,) = [calls[(node, channel)]] if (node, channel) in calls else by_channel.get(channel, [])
            entry["call_id"] = entry["call_id"] or only
