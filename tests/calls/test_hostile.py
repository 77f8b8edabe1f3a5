"""Whatever a stream holds: the book does not fall over, other calls are not harmed, and what is shown can be shown."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callengine.calls import facts
from callengine.calls.call import Call
from callengine.calls.facts import MAX_US, ChannelFact, CommandIssued, Fact, JobAnswered, LegGone, OriginateAbandoned
from callengine.calls.leg import Leg, merge
from callengine.calls.machine import Published, Rules
from callengine.calls.record import record_of
from callengine.calls.view import show
from tests.calls.build import OPERATOR, T0, Channel, Desk, us

UUIDS = st.sampled_from(["A", "B", "C", "D"])
MAYBE_UUID = st.none() | UUIDS
STAMPS = st.sampled_from([0, 1, us(0), us(1), us(1), us(2), us(3), us(60), us(100_000), T0 * 4, MAX_US])
TEXTS = st.none() | st.sampled_from(
    ["", "bob", "true", "support", "a" * 300, "\x00", "\ufffd", "é中\n", "²", "-1", "486"]
)
TOKENS = st.none() | st.sampled_from(["", "inbound", "outbound", "A", "B", "agent", "member", "recv_bye", "send_bye"])
_BY_NAME = {"uuid": UUIDS, "path": TEXTS.map(lambda text: text or ""), "discarded": st.booleans()}


def _field(name: str) -> st.SearchStrategy[Any]:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.endswith("_us"):
        return STAMPS
    if name.endswith("_ms"):
        return st.none() | st.integers(0, MAX_US)
    if name == "bridges":
        return st.lists(st.tuples(STAMPS, UUIDS), max_size=3).map(tuple)
    if name == "core_uuid":
        return st.sampled_from(["", "core-1", "core-2"])
    if name in ("originator", "other_uuid", "loopback_other", "queue_member", "bridge_a", "bridge_b", "bridged_to"):
        return MAYBE_UUID
    return TOKENS if name in ("direction", "loopback_leg", "queue_side", "sip_disposition") else TEXTS


CHANNEL_FACTS = [
    kind
    for kind in vars(facts).values()
    if isinstance(kind, type) and issubclass(kind, ChannelFact) and kind not in (ChannelFact, facts.LegDescribed)
]


def of(kind: type[ChannelFact], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[ChannelFact]:
    fields = {info.name: _field(info.name) for info in msgspec.structs.fields(kind)}
    return st.fixed_dictionaries(fields | fixed).map(lambda values: kind(**values))


ANY_FACT: st.SearchStrategy[Fact] = st.one_of(
    *(of(kind) for kind in CHANNEL_FACTS),
    st.builds(LegGone, uuid=UUIDS, at_us=STAMPS, after_us=STAMPS, before_us=STAMPS),
    st.builds(JobAnswered, job_uuid=st.sampled_from(["job-A", "job-X"]), text=st.sampled_from(["+OK A", "-ERR X", ""])),
    st.builds(OriginateAbandoned, uuid=UUIDS, at_us=STAMPS, reason=st.just("cancelled")),
    st.builds(CommandIssued, uuid=UUIDS, at_us=STAMPS, command=st.just("hold")),
)
RULES = Rules(default_tenant=OPERATOR, tenants={"operator": OPERATOR, "bob": "t-bob"}, numbers={"support": "t-bob"})


@given(
    told=st.lists(st.tuples(ANY_FACT, st.floats(0, 40)), max_size=25),
    ours=st.booleans(),
    others=st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_fact_in_any_order_makes_the_book_fall_over(
    told: list[tuple[Fact, float]], ours: bool, others: bool
) -> None:
    desk = Desk(RULES, tracking_others=others)
    if ours:
        desk.originate("A", agent_leg="B", agent="bob")
    now = 0.0
    left: dict[str, list[int]] = {}
    for fact, wait in told:
        now += wait
        there = set(desk.book.calls)
        desk._keep(desk.book.tick(now))
        for call_id in there.difference(desk.book.calls):
            left.setdefault(call_id, []).append(len(published_of(desk, call_id)))
        desk._keep(desk.book.apply(fact, now))
        desk._keep(desk.book.tick(now))
        for call in desk.book.calls.values():
            json.dumps(show(record_of(call)))
    check(desk, left)
    for _ in range(60):
        now += 50
        out = desk.book.tick(now)
        for uuid in out.suspects:
            desk._keep(desk.book.apply(LegGone(uuid=uuid, at_us=us(now)), now))
    if not ours:
        assert desk.book.sizes() == dict.fromkeys(desk.book.sizes(), 0)


def published_of(desk: Desk, call_id: str) -> list[Published]:
    return [e for e in desk.effects if isinstance(e, Published) and e.call_id == call_id]


def stays(published: list[Published], left: list[int]) -> list[list[Published]]:
    """What was told in each stay in the book. One that left it is known to the store alone: whoever has another fact of
    it restores it first, and a book that was not told begins anew, under the same ids.
    """
    bounds = [0, *left, len(published)]
    return [published[a:b] for a, b in pairwise(bounds) if a < b]


def check(desk: Desk, left: dict[str, list[int]] | None = None) -> None:
    by_call: dict[str, list[Published]] = {}
    for effect in desk.effects:
        if isinstance(effect, Published):
            by_call.setdefault(effect.call_id, []).append(effect)
    for published in (stay for call_id, all_ in by_call.items() for stay in stays(all_, (left or {}).get(call_id, []))):
        assert [p.seq for p in published] == list(range(1, len(published) + 1))
        names = [p.event.value for p in published if p.event.value != "call.corrected"]
        assert len(names) == len(set(names))
        events = [p.event.value for p in published]
        if "call.corrected" in events:
            assert events.index("call.ended") < events.index("call.corrected")
        assert len({p.record.tenant_id for p in published}) == 1
    for call in desk.calls.values():
        assert msgspec.json.decode(msgspec.json.encode(call), type=Call) == call


STAMPED = st.one_of(*(of(kind, uuid=st.just("A"), at_us=st.sampled_from([us(1), us(2)])) for kind in CHANNEL_FACTS))


@given(st.lists(STAMPED, max_size=8))
@settings(max_examples=100, deadline=None)
def test_taking_in_twice_is_taking_in_once(told: list[ChannelFact]) -> None:
    leg = Leg(uuid="A")
    for fact in told:
        once = merge(leg, fact).leg
        twice = merge(once, fact)
        assert twice.leg == once
        assert not twice.notes
        leg = once


# -- stamps gone wrong
# --------------------------------------------------------------------------------------------------


YEAR_2500 = 16_725_225_600_000_000
FIELDS = ["at_us", "created_us", "progress_us", "progress_media_us", "answered_us"]


@pytest.mark.parametrize("field", [*FIELDS, "hangup_us"])
@pytest.mark.parametrize("value", [0, 1, YEAR_2500, MAX_US])
def test_one_stamp_gone_wrong_harms_no_other_call_and_ends_its_own(field: str, value: int) -> None:
    a, other = Channel("A"), Channel("O")
    desk = Desk().take(a.created(), other.created())
    bad: ChannelFact = a.ended(5) if field == "hangup_us" else a.answered(1)
    a.stamps.pop("answered_us", None)
    bad = msgspec.structs.replace(bad, **{field: value})
    desk._keep(desk.book.apply(bad, 1.0))
    a.hangup_us = 0
    desk.take(a.answered(2), a.hung_up(6), a.ended(6), *other.life(1, 2, 6)[1:])
    assert desk.shown("A")["status"] == "completed"
    assert (desk.shown("O")["status"], desk.shown("O")["talk_duration_s"]) == ("completed", 4)


def test_facts_without_any_stamp_invent_none() -> None:
    a = facts.LegCreated(uuid="A", direction="inbound")
    desk = Desk()
    for fact in (a, facts.LegAnswered(uuid="A"), facts.RecordingStarted(uuid="A", path="/a.wav")):
        desk._keep(desk.book.apply(fact, 0.0))
    desk._keep(desk.book.apply(facts.LegBridged(uuid="A", bridge_a="A", bridge_b="B", leg_agent="x"), 0.0))
    shown = desk.shown()
    assert [v for k, v in shown.items() if k.endswith("_time")] == [None] * 6
    assert shown["recordings"][0]["start_time"] is None
    assert (shown["status"], desk.told()) == ("dialing", [])


def test_a_status_that_is_no_number_is_none() -> None:
    for text in ("²", "٤٨٦", "-48", "9" * 5000, "48", "abc"):
        a = Channel()
        assert Desk().take(a.created(), a.ended(1, sip_term_status=text)).shown()["sip_status"] is None
    a = Channel()
    assert Desk().take(a.created(), a.ended(1, sip_term_status="486")).shown()["sip_status"] == 486


def test_text_is_kept_at_no_length() -> None:
    a = Channel(caller_name="x" * 100_000, caller_number="1" * 100_000, callee_number="2" * 100_000)
    a.variables |= {"leg_agent": "y" * 100_000, "queue": "q" * 100_000, "sip_call_id": "c" * 100_000}
    desk = Desk().take(a.created(), a.ended(1, "Z" * 100_000, sip_term_status="9" * 100_000))
    assert len(json.dumps(desk.shown())) < 5_000
