"""One record: facts or MalformedEvent, the same however it is wrapped, and among events never less than they told."""

from __future__ import annotations

import base64
import copy
import json
import random
from typing import Any, Final
from urllib.parse import quote

from callengine.calls.facts import Fact, LegReported
from callengine.calls.record import record_of
from callengine.calls.view import show
from callengine.cdr.comparing import compare, expected, is_call
from callengine.cdr.reading import _BRIDGED, _BRIDGED_TO, _STAMPS, _TEXTS, CdrReader, unwrap
from callengine.errors import MalformedEvent
from callengine.esl.headers import Variables
from tests.cdr import records_of_events
from tests.fuzz import corpus, hostile, stories
from tests.fuzz.running import Parts
from tests.fuzz.watching import PATIENT, SEVERAL, SINGLE, Watched, look_at_fact, look_at_reason, told

_READERS: Final = (
    CdrReader(),
    CdrReader(Variables(agents=("cc_agent", "user_name"), tenant="cc_queue", campaign="x", lead="x")),
)
_VARIABLES: Final = (
    *_TEXTS.values(),
    *(variable for variable, _ in _STAMPS.values()),
    *(*_BRIDGED_TO, _BRIDGED[0], "uuid", "start_stamp", "channel_cid_flipped", "pre_transfer_caller_id_number"),
    *("callengine_tenant_id", "callengine_campaign_id", "callengine_lead_id", "cc_agent", "dialed_user"),
)
_PROFILE: Final = ("caller_id_name", "caller_id_number", "destination_number", "uuid", "originatee")
_TIMES: Final = (*(time for _, time in _STAMPS.values()), _BRIDGED[1])


def changed_record(record: dict[str, Any], dice: random.Random) -> bytes:
    """The same with something wrong about it."""
    if dice.random() < 0.25:
        return hostile.change_bytes(json.dumps(record).encode(), dice, times=dice.choice((1, 2, 5)))
    record = copy.deepcopy(record)
    for _ in range(dice.choice((1, 1, 2, 5))):
        _change(record, dice)
    return hostile.dump(list(record.items()), dice if dice.random() < 0.2 else None)


def _change(record: dict[str, Any], dice: random.Random) -> None:
    flow = record.get("callflow")
    profile = flow[0] if isinstance(flow, list) and flow and isinstance(flow[0], dict) else {}
    match dice.randrange(8):
        case 0:
            name = dice.choice(("variables", "callflow", "core-uuid", "switchname", "channel_data"))
            record[name] = hostile.value(dice)
        case 1 if isinstance(flow, list) and flow:
            at = dice.randrange(len(flow))
            more = [copy.deepcopy(flow[at])] * dice.choice((1, 3, 100))
            flow[at:at] = dice.choice((more, [hostile.value(dice)], []))
        case 2 if isinstance(profile.get("caller_profile"), dict):
            profile["caller_profile"][dice.choice(_PROFILE)] = _nested(dice)
        case 3 if isinstance(profile.get("times"), dict):
            times = profile["times"]
            name = dice.choice(_TIMES)
            times[name] = hostile.near(times.get(name), dice)
        case 4 if profile:
            profile[dice.choice(("caller_profile", "times"))] = hostile.value(dice)
        case _ if isinstance(record.get("variables"), dict):
            members = hostile.change_members(list(record["variables"].items()), dice, times=1, favour=_VARIABLES)
            record["variables"] = dict(members)
        case _:
            record.pop(dice.choice(sorted(record)), None)


def _nested(dice: random.Random) -> Any:
    legs: Any = dice.choice(([{"uuid": hostile.value(dice)}], [{}], [hostile.value(dice)], hostile.value(dice)))
    return dice.choice((hostile.value(dice), {"originatee_caller_profiles": legs}))


def read(body: bytes, reader: CdrReader = _READERS[0]) -> LegReported | None:
    """The fact, looked at; None where the record is refused."""
    try:
        cdr = reader.read(body)
    except MalformedEvent as error:
        look_at_reason(error)
        return None
    look_at_fact(cdr.fact)
    assert cdr.switchname is None or cdr.switchname.encode()
    assert cdr.fact.created_us
    assert cdr.fact.hangup_us
    assert len(cdr.fact.bridges) <= 64
    return cdr.fact


def a_record(dice: random.Random) -> dict[str, Any]:
    """Some record; not to be changed."""
    return corpus.record(dice.randrange(len(corpus.records())))


class ChangedRecords:
    """A fact or MalformedEvent, and what the audit makes of it raises nothing."""

    name = "changed-records"
    share = 10

    def make(self, dice: random.Random) -> Parts:
        body = changed_record(a_record(dice), dice)
        if dice.random() < 0.2:
            body = b"cdr=" + quote(body).encode()
            body = hostile.change_bytes(body, dice) if dice.random() < 0.5 else body
        elif dice.random() < 0.1:
            body = hostile.change_bytes(base64.b64encode(body), dice)
        return (body,)

    def check(self, parts: Parts, dice: random.Random) -> None:
        fact = read(b"".join(parts), dice.choice(_READERS))
        if fact is None:
            return
        leg = read(corpus.records()[dice.randrange(len(corpus.records()))])
        legs: dict[str, LegReported | None] = {other: leg for _, other in fact.bridges}
        is_call(fact, legs.get)
        expected(fact, legs.get)
        watched = Watched(timing=PATIENT)
        watched.apply(fact, 0.0)
        for call in watched.calls.values():
            list(compare(show(record_of(call)), fact, legs.get))


class SameInAnyWrapping:
    """As it is, with its values encoded, encoded as a whole, in base64, in a form: the same fact."""

    name = "wrappings"
    share = 3

    def make(self, dice: random.Random) -> Parts:
        record = copy.deepcopy(a_record(dice))
        variables = record["variables"]
        for _ in range(dice.choice((0, 1, 3))):
            name = dice.choice([name for name in _VARIABLES if name != "start_stamp"])
            text = dice.choice(hostile.TEXTS).encode("utf-8", "replace").decode()
            if name not in ("uuid", "start_uepoch", "end_uepoch"):
                variables[name] = text
        variables["start_stamp"] = "2026-11-22 17:32:34"
        return (json.dumps(record, ensure_ascii=dice.random() < 0.5).encode(),)

    def check(self, parts: Parts, dice: random.Random) -> None:
        body = b"".join(parts)
        fact = read(body)
        record = json.loads(body)
        safe = dice.choice(("", "/", "/.-_~"))
        variables = record["variables"]
        values = {name: quote(v, safe=safe) if isinstance(v, str) else v for name, v in variables.items()}
        values["start_stamp"] = quote(variables["start_stamp"])
        encoded = json.dumps(record | {"variables": values}).encode()
        for way in (
            encoded,
            b"\n " + body + b"\n",
            quote(body, safe=safe).encode(),
            b"cdr=" + quote(body, safe="").encode() + b"&uuid=x",
            b"cdr=" + quote(encoded, safe="").encode().replace(b"%7B", b"%7b"),
            base64.b64encode(body),
            b"cdr=" + base64.b64encode(encoded),
        ):
            assert unwrap(way).strip()[:1] == b"{"
            assert read(way) == fact, f"wrapped as {way[:40]!r}…, it tells {read(way)} for {fact}"


class AmongEvents:
    """Somewhere among the events of its channels: the same rows; where it was changed, nothing known is lost by it."""

    name = "among-events"
    share = 3

    def make(self, dice: random.Random) -> Parts:
        name = dice.choice([name for name in corpus.JSON if records_of_events.of_trace(name)])
        given = list(records_of_events.of_trace(name))
        dice.shuffle(given)
        return (name.encode(), *given[: dice.choice((1, 3, 12))])

    def check(self, parts: Parts, dice: random.Random) -> None:
        name = parts[0].decode("latin-1") if parts else ""
        if name not in corpus.JSON:
            return
        events = [fact for body in corpus.bodies(name) if (fact := stories.fact_of(body)) is not None]
        reports = [fact for body in parts[1:] if (fact := read(body)) is not None]
        _same_rows(events, reports, dice)
        changed = [changed_record(json.loads(body), dice) for body in parts[1:]]
        self._nothing_is_lost(events, [fact for body in changed if (fact := read(body)) is not None], dice)

    def _nothing_is_lost(self, events: list[Fact], reports: list[LegReported], dice: random.Random) -> None:
        watched = Watched(dice.choice((SINGLE, SEVERAL)), timing=PATIENT)
        for fact in _mixed(events, reports, dice):
            watched.apply(fact, 0.0)
        if dice.random() < 0.1:
            watched.store_all()


def _mixed(events: list[Fact], reports: list[LegReported], dice: random.Random) -> list[Fact]:
    mixed = list(events)
    for report in reports * dice.choice((1, 1, 2)):
        mixed.insert(dice.randrange(len(mixed) + 1), report)
    return mixed


def _same_rows(events: list[Fact], reports: list[LegReported], dice: random.Random) -> None:
    rows = []
    for told_in_order in (events, _mixed(events, reports, dice)):
        watched = Watched(timing=PATIENT)
        for fact in told_in_order:
            watched.apply(fact, 0.0)
        watched._look(watched.book.release(), None)
        found = told(watched.calls.values())
        for row in found.values():
            row.end_source = None
        rows.append(found)
    alone, together = rows
    assert together.keys() == alone.keys()
    for uuid, row in alone.items():
        assert together[uuid] == row, stories._difference(together[uuid], row)
