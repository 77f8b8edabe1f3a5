"""The audit: the rows of a switch against folders of its CDRs, over a stretch of time.

*Missing* is a call that has a CDR and no row, *extra* one that has a row with an end and no CDR (only within the time
that the CDRs there cover), *different* one whose row says something else. It works in steps, so that a daemon can do it
beside its work; it reads, and changes nothing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import peewee

from callengine.calls.facts import LegReported
from callengine.calls.record import CallRecord
from callengine.calls.view import show
from callengine.cdr.comparing import Difference, compare, is_call
from callengine.cdr.folder import Folder, Found, Unusable
from callengine.cdr.reading import Cdr, CdrReader
from callengine.errors import MalformedEvent
from callengine.store import cdrs
from callengine.store.database import Store

_STEP: Final = 200
_ROWS: Final = 1000
_TIMEOUT_S: Final = 60.0
_MAX_LISTED: Final = 10_000
_REMEMBERED: Final = 20_000
# A file may have been written late, by another machine's clock, or touched.
_MARGIN_NS: Final = 86_400_000_000_000


class Audited(msgspec.Struct):
    """What an audit found. ``compared`` counts calls that have both; of each kind ten thousand are listed at most.

    ``from_us`` and ``to_us`` are the first and the last end that the CDRs tell, None where there are none.
    ``unreadable`` has the names of files that say nothing.
    """

    compared: int = 0
    records: int = 0
    missing_count: int = 0
    extra_count: int = 0
    different_count: int = 0
    from_us: int | None = None
    to_us: int | None = None
    missing: list[str] = []
    extra: list[str] = []
    different: list[Difference] = []
    unreadable: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether every call is as its CDR tells."""
        return not (self.missing_count or self.extra_count or self.different_count or self.unreadable)


class Audit:
    """One audit, of records that ended from ``since_us`` to before ``until_us``.

    ``node`` is the name of the switch on the rows; None: the ``switchname`` in the records. ``switchname``: only
    records that carry it. ``others`` false: only calls that have a row, since others' calls are not tracked.
    """

    def __init__(
        self,
        store: Store,
        reader: CdrReader,
        directories: Sequence[Path],
        since_us: int,
        until_us: int,
        *,
        node: str | None = None,
        switchname: str = "",
        others: bool = True,
        max_bytes: int = 1 << 20,
    ) -> None:
        self.found = Audited()
        self._store, self._reader = store, reader
        floor_ns = max(0, since_us * 1000 - _MARGIN_NS)
        self._folders = [Folder(directory, floor_ns=floor_ns) for directory in directories]
        self._since_us, self._until_us = since_us, until_us
        self._node, self._switchname, self._others, self._max_bytes = node, switchname, others, max_bytes
        self._nodes: set[str] = {node} if node else set()
        self._known: OrderedDict[str, LegReported | None] = OrderedDict()
        self._seen: set[bytes] = set()

    def run(self) -> Audited:
        """All of it at once. Raises StoreUnavailable, and OSError for a folder that cannot be listed."""
        for _ in self.steps():
            pass
        return self.found

    def steps(self) -> Iterator[None]:
        """The same, piece by piece; each blocks for a while."""
        for folder in self._folders:
            files = folder.list_all()
            yield
            for at in range(0, len(files), _STEP):
                self._compare([fact for found in files[at : at + _STEP] if (fact := self._read(folder, found))])
                yield
        for node in sorted(self._nodes):
            yield from self._extra(node)

    # -- records -----------------------------------------------------------------------------------------------------

    def _read(self, folder: Folder, found: Found) -> tuple[str, LegReported] | None:
        """The record of a file that counts, with the node of its switch."""
        try:
            cdr = self._reader.read(folder.read(found, self._max_bytes))
        except FileNotFoundError:
            return None
        except (MalformedEvent, Unusable, OSError):
            if len(self.found.unreadable) < _MAX_LISTED:
                self.found.unreadable.append(found.name)
            return None
        fact = cdr.fact
        if self._is_foreign(cdr):
            return None
        self._remember(fact.uuid, fact)
        if not self._since_us <= fact.hangup_us < self._until_us:
            return None
        audited = self.found
        audited.records += 1
        audited.from_us = min(audited.from_us or fact.hangup_us, fact.hangup_us)
        audited.to_us = max(audited.to_us or 0, fact.hangup_us)
        node = self._node or cdr.switchname or ""
        self._nodes.add(node)
        self._seen.add(_digest(node, fact.uuid))
        return node, fact

    def _is_foreign(self, cdr: Cdr) -> bool:
        return bool(self._switchname) and cdr.switchname != self._switchname

    def _leg(self, uuid: str) -> LegReported | None:
        """The CDR of a channel: remembered, or from the file that has its name."""
        if uuid in self._known:
            self._known.move_to_end(uuid)
            return self._known[uuid]
        fact = self._look_up(uuid)
        self._remember(uuid, fact)
        return fact

    def _look_up(self, uuid: str) -> LegReported | None:
        if "/" in uuid or "\0" in uuid:
            return None
        for folder in self._folders:
            for name in (f"{uuid}.cdr.json", f"a_{uuid}.cdr.json"):
                try:
                    return self._reader.read(folder.read(Found(0, name, 0), self._max_bytes)).fact
                except (OSError, Unusable, MalformedEvent):
                    continue
        return None

    def _remember(self, uuid: str, fact: LegReported | None) -> None:
        self._known[uuid] = fact
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    # -- against rows ------------------------------------------------------------------------------------------------

    def _compare(self, records: Sequence[tuple[str, LegReported]]) -> None:
        by_node: dict[str, list[LegReported]] = {}
        for node, fact in records:
            by_node.setdefault(node, []).append(fact)
        for node, facts in by_node.items():
            rows = self._rows(node, [fact.uuid for fact in facts])
            for fact in facts:
                self._one(fact, rows.get(fact.uuid))

    def _rows(self, node: str, uuids: Sequence[str]) -> dict[str, CallRecord]:
        def read(db: peewee.Database) -> dict[str, CallRecord]:
            return cdrs.records_of_channels(db, node, uuids)

        return self._store.run(read, _TIMEOUT_S)

    def _one(self, fact: LegReported, row: CallRecord | None) -> None:
        audited = self.found
        if row is None:
            if self._others and is_call(fact, self._leg):
                audited.missing_count += 1
                _list(audited.missing, fact.uuid)
            return
        audited.compared += 1
        differences = list(compare(show(row), fact, self._leg))
        if differences:
            audited.different_count += 1
            for difference in differences:
                _list(audited.different, difference)

    def _extra(self, node: str) -> Iterator[None]:
        audited, after = self.found, ""
        if audited.from_us is None or audited.to_us is None:
            return
        since_us, until_us = audited.from_us, audited.to_us + 1
        while True:

            def read(db: peewee.Database, after: str = after) -> list[tuple[str, str]]:
                return cdrs.ended_channels(db, node, since_us, until_us, after, _ROWS)

            page = self._store.run(read, _TIMEOUT_S)
            for _, fs_uuid in page:
                # Its record may have ended elsewhere in time by its own word: then it is different, not extra.
                if _digest(node, fs_uuid) not in self._seen and self._leg(fs_uuid) is None:
                    audited.extra_count += 1
                    _list(audited.extra, fs_uuid)
            yield
            if len(page) < _ROWS:
                return
            after = page[-1][0]


def _digest(node: str, uuid: str) -> bytes:
    return blake2b(f"{node}\0{uuid}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _list(found: list[Any], what: Any) -> None:
    if len(found) < _MAX_LISTED:
        found.append(what)


def facts_in(directory: Path, reader: CdrReader, names: Iterable[str] | None = None) -> dict[str, LegReported]:
    """The records of a folder by channel UUID, for small ones. Raises MalformedEvent and OSError."""
    wanted = sorted(os.listdir(directory)) if names is None else names
    found = {}
    for name in wanted:
        if name.endswith(".json") and not name.startswith("."):
            fact = reader.read((directory / name).read_bytes()).fact
            found[fact.uuid] = fact
    return found
