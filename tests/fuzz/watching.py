"""What has to hold of a book after every fact, whatever the fact is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec
import orjson
import peewee

from callengine.calls.book import Book, Outcome, Rules, Timing
from callengine.calls.call import Call, EventName
from callengine.calls.facts import MAX_US, ChannelFact, Fact, LegGone, LegReported
from callengine.calls.leg import DIRECTIONS
from callengine.calls.machine import Noted, Published, Refused
from callengine.calls.record import CallRecord, StoredEvent, record_of
from callengine.calls.view import show, show_event
from callengine.errors import MalformedEvent
from callengine.store import migrate, outbox, rows, sql

NODE: Final = "n"
TENANT: Final = "00000000-0000-7000-8000-00000000000a"
OTHER_TENANT: Final = "00000000-0000-7000-8000-00000000000b"
SINGLE: Final = Rules(default_tenant=TENANT)
SEVERAL: Final = Rules(
    default_tenant=TENANT, tenants={"default": TENANT, "A": OTHER_TENANT}, numbers={"1001": OTHER_TENANT}
)
# What the clock does is another matter: nothing leaves the book, nothing becomes a suspect.
PATIENT: Final = Timing(retire_s=1e9, stray_s=1e9, silent_s=1e9, hangup_grace_s=1e9, overlong_after_s=1e9)

_RANK: Final = {"dialing": 0, "ringing": 1, "answered": 2, "agent_connected": 3, "completed": 4, "failed": 4}
_ONCE: Final = frozenset(EventName) - {EventName.CORRECTED}
_DURATIONS: Final = ("ring_duration_s", "talk_duration_s", "total_duration_s")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# What the record says at an instant, and the fields of facts about its own channel that may have told it.
_TOLD_BY: Final = {
    "dial_us": ("created_us",),
    "ring_us": ("progress_us", "progress_media_us"),
    "answer_us": ("answered_us",),
    "end_us": ("hangup_us",),
}
_SET_ONCE: Final = ("answer_us", "end_us", "hangup_cause")
_MAX_PATH_CHARS: Final = 4096
_KNOWLEDGE: Final = (
    "core_uuid campaign_id lead_id agent_id dial_us ring_us answer_us agent_connect_us end_us hangup_cause"
    " caller_number caller_name callee_number gateway sip_call_id sip_status answered_by queue"
).split()


class Watched:
    """A book whose every change is looked at. ``calls`` has the last state of all calls that ever were in it."""

    def __init__(self, rules: Rules = SINGLE, *, timing: Timing | None = None, others: bool = True) -> None:
        self.book = Book(NODE, rules, timing=timing, tracking_others=others)
        self.calls: dict[str, Call] = {}
        self.records: dict[str, CallRecord] = {}
        self.published: list[Published] = []
        self._seq: dict[str, int] = {}
        self._told: defaultdict[str, set[EventName]] = defaultdict(set)
        self._claims: defaultdict[tuple[str, str], set[Any]] = defaultdict(set)
        self._bridged: set[int] = set()

    # -- taking in ---------------------------------------------------------------------------------------------------

    def apply(self, fact: Fact, now: float) -> None:
        """Take a fact in, and look at what came of it."""
        self._note_claims(fact)
        self.tick(now)
        self._look(self.book.apply(fact, now), fact)

    def tick(self, now: float) -> None:
        """Let the time be ``now``; suspects are left alone."""
        there = set(self.book.calls)
        self._look(self.book.tick(now), None)
        for call_id in there.difference(self.book.calls):
            # Whoever has another fact of it brings it back from the store; a book that was not told begins anew.
            self._seq.pop(call_id, None)
            self._told.pop(call_id, None)
            self.calls.pop(call_id, None)

    def drain(self, now: float) -> None:
        """Let every channel end: then nothing is left."""
        for _ in range(70):
            now += 950.0
            out = self.book.tick(now)
            for uuid in out.suspects:
                self.book.apply(LegGone(uuid=uuid, at_us=0), now)
        left = {name: n for name, n in self.book.sizes().items() if n}
        assert not left, f"the book keeps {left} for good"

    # -- what has to hold --------------------------------------------------------------------------------------------

    def _note_claims(self, fact: Fact) -> None:
        if not isinstance(fact, ChannelFact):
            return
        for info in msgspec.structs.fields(fact):
            found = getattr(fact, info.name)
            if found and info.name != "bridges":
                self._claims[fact.uuid, info.name].add(found)
        self._bridged.update((fact.at_us, getattr(fact, "bridged_us", 0)))
        if isinstance(fact, LegReported):
            self._bridged.update(at for at, _ in fact.bridges)

    def _look(self, out: Outcome, fact: Fact | None) -> None:
        for effect in out.effects:
            if isinstance(effect, Published):
                self._look_at_event(effect)
            elif isinstance(effect, Noted):
                assert len(effect.note.detail or "") <= _MAX_PATH_CHARS, "a note without bounds"
            elif isinstance(effect, Refused):
                assert len(effect.refusal.detail) <= _MAX_PATH_CHARS, "a refusal without bounds"
        for call_id, call in out.changed.items():
            record = record_of(call)
            known, before = self.calls.get(call_id), self.records.get(call_id)
            self._look_at_call(call, record)
            if known is not None and before is not None:
                _look_at_change(known, before, call, record, fact)
            self.calls[call_id], self.records[call_id] = call, record

    def _look_at_event(self, event: Published) -> None:
        call_id = event.call_id
        assert event.seq == self._seq.get(call_id, 0) + 1, f"seq {event.seq} follows {self._seq.get(call_id, 0)}"
        self._seq[call_id] = event.seq
        told = self._told[call_id]
        if event.event in _ONCE:
            assert event.event not in told, f"{event.event} told twice"
            assert EventName.ENDED not in told, f"{event.event} told behind the end"
        else:
            assert EventName.ENDED in told, "corrected before it ended"
        told.add(event.event)
        assert event.record.seq == event.seq
        stored = StoredEvent(
            position=1,
            id=call_id,
            call_id=call_id,
            tenant_id=TENANT,
            seq=event.seq,
            event=event.event.value,
            record=event.record,
            detail=None,
            created_us=1,
        )
        orjson.dumps(show_event(stored))
        self.published.append(event)

    def _look_at_call(self, call: Call, record: CallRecord) -> None:
        shown = show(record)
        text = orjson.dumps(shown)
        assert not _NUL.search(text), "a NUL is shown"
        assert orjson.loads(text) == shown
        for name in _DURATIONS:
            assert shown[name] is None or 0 <= shown[name] <= MAX_US // 1_000_000, f"{name} is {shown[name]}"
        for name, found in shown.items():
            if name.endswith("_time") and found is not None:
                assert _TIME.fullmatch(found), f"{name} is {found}"
        assert rows.decode_state(rows.encode_json(call)) == call, "its state is not read as it was written"
        _look_at_lengths(shown)
        assert shown["direction"] in DIRECTIONS
        assert all(leg["direction"] in (None, *DIRECTIONS) for leg in shown["legs"])
        assert shown["status"] in _RANK
        if call.origination is None:
            self._look_where_from(call, record)

    def _look_where_from(self, call: Call, record: CallRecord) -> None:
        """Every stamp of a tracked call was told by the switch, of this very channel: no talk is more than its own."""
        uuid = call.own.uuid
        for name, fields in _TOLD_BY.items():
            stamp = getattr(record, name)
            if stamp is not None:
                assert any(stamp in self._claims[uuid, field] for field in fields), f"nobody told that {name}"
        if record.agent_connect_us is not None:
            assert record.agent_connect_us in self._bridged, "nobody told of that bridge"
        if record.hangup_cause is not None:
            told = {cause[:256] for cause in self._claims[uuid, "hangup_cause"]}
            assert record.hangup_cause in told, "nobody told that cause"
        assert record.status == "completed" or record.live or record.answer_us is None

    def store_all(self) -> None:
        """Each call as a row, each event in the outbox: what is read is what was written."""
        db = _database()
        with db.atomic() as transaction:
            pack = rows.id_for("sqlite")
            rows.CALLS.run(db, [rows.call_row(call, None, pack) for call in self.calls.values()])
            milestones = [rows.outbox_row(event, 1, pack) for event in self.published]
            outbox.add_milestones(db, milestones)
            for *values, state in sql.query(db, f"SELECT {rows.columns_for('sqlite')}, state FROM call").fetchall():
                record = rows.record_from(values)
                assert record == record_of(self.calls[record.id]), "the row is not what was written"
                assert rows.decode_state(state) == self.calls[record.id]
            count = sql.query(db, "SELECT count(*) FROM outbox").fetchone()[0]
            assert count == len({row[0] for row in milestones})
            transaction.rollback()


def _look_at_change(known: Call, before: CallRecord, call: Call, record: CallRecord, fact: Fact | None) -> None:
    assert record.seq >= before.seq, "seq went back"
    reborn = call.own.created_us != known.own.created_us
    found_again = known.own.gone and not call.own.gone
    # Of a call of ours without a channel: that of the agent, rung first, was thought gone.
    goes_on = known.origination is not None and not known.own.created_us and known.over and not call.over
    if reborn or found_again or goes_on:
        return
    for name in _SET_ONCE:
        was, now = getattr(before, name), getattr(record, name)
        assert was is None or now == was, f"{name} was {was}, and became {now}"
    told_otherwise = {peer.leg.uuid for peer in call.peers if peer.leg.voice_agent or peer.is_call}
    assert _RANK[record.status] >= _RANK[before.status], f"{before.status} became {record.status}"
    if isinstance(fact, LegReported):
        for name in _KNOWLEDGE:
            if name.startswith("agent") and told_otherwise:
                continue
            lost = getattr(before, name) is not None and getattr(record, name) is None
            assert not lost, f"a CDR took {name} away"


def _look_at_lengths(shown: Any) -> None:
    """Whatever a switch says, a row has its bounds."""
    match shown:
        case str():
            assert len(shown) <= _MAX_PATH_CHARS, f"text of {len(shown)} characters is kept"
        case dict():
            for part in shown.values():
                _look_at_lengths(part)
        case list():
            assert len(shown) <= 256
            for part in shown:
                _look_at_lengths(part)
        case _:
            pass


@cache
def _database() -> peewee.SqliteDatabase:
    db = peewee.SqliteDatabase(":memory:", pragmas={"foreign_keys": 1})
    db.connect()
    migrate.upgrade(db)
    return db


def told(calls: Iterable[Call]) -> dict[str, CallRecord]:
    """The rows of calls by channel, without what depends on the order in which the facts came."""
    found = {}
    for call in calls:
        record = record_of(call)
        record.seq = 0
        record.id = ""  # of a UUID that lives twice, taken from the life that was seen first
        for leg in record.legs:
            leg["call_id"] = leg["call_id"] and "a call"
        found[call.fs_uuid] = record
    return found


_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


def look_at_reason(error: MalformedEvent) -> None:
    """Why something was set aside is kept, logged and shown."""
    assert 0 < len(str(error)) < 500
    str(error).encode()


def look_at_fact(fact: Fact) -> None:
    """What a fact must never hold, whatever it was read from: text or numbers that JSON or a database refuses."""
    for info in msgspec.structs.fields(fact):
        found = getattr(fact, info.name)
        match found:
            case bool() | None:
                pass
            case str():
                assert not _UNFIT.search(found), f"{info.name} holds what nothing can hold"
                found.encode()
            case int():
                assert 0 <= found <= MAX_US or not info.name.endswith(("_us", "_ms")), f"{info.name} is {found}"
            case tuple():
                assert all(0 <= at <= MAX_US and not _UNFIT.search(other) for at, other in found)
            case _:
                raise AssertionError(f"{info.name} is a {type(found).__name__}")
    assert not isinstance(fact, ChannelFact) or 0 < len(fact.uuid) <= 256
