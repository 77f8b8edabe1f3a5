"""What is read out of a record, in whatever way it is wrapped, and what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.calls.facts import LegReported
from callengine.calls.record import record_of
from callengine.calls.view import show
from callengine.cdr.audit import facts_in
from callengine.cdr.comparing import compare, is_call
from callengine.cdr.reading import CdrReader
from callengine.errors import MalformedEvent
from callengine.esl.headers import Variables
from callengine.replay import replay
from tests.calls.build import PATIENT

RECORDS = Path(__file__).parent / "records"
NAMES = sorted(path.name for path in RECORDS.glob("*.json"))


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / name).read_bytes())
    return found


def read(body: Any, variables: Variables | None = None) -> LegReported:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CdrReader(variables).read(text).fact


@pytest.fixture
def plain() -> dict[str, Any]:
    """A small record of an answered call."""
    return {
        "core-uuid": "core",
        "switchname": "fs1",
        "channel_data": {"direction": "inbound"},
        "variables": {
            "uuid": "A",
            "direction": "inbound",
            "start_stamp": "2026-11-22 17:32:34",
            "start_uepoch": "1795368754139951",
            "answer_uepoch": "1795368754459961",
            "end_uepoch": "1795368757039953",
            "hangup_cause": "NORMAL_CLEARING",
        },
        "callflow": [
            {
                "caller_profile": {"caller_id_number": "+15550100", "caller_id_name": "Ada", "destination_number": "9"},
                "times": {"created_time": "1795368754139951"},
            }
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_real_records(name: str) -> None:
    raw = record(name)
    variables, cdr = raw["variables"], CdrReader().read((RECORDS / name).read_bytes())
    fact = cdr.fact
    assert cdr.switchname == "fs1"
    assert (fact.uuid, fact.core_uuid) == (variables["uuid"], raw["core-uuid"])
    stamps = (fact.created_us, fact.answered_us, fact.hangup_us, fact.at_us)
    told = [int(variables[n]) for n in ("start_uepoch", "answer_uepoch", "end_uepoch", "end_uepoch")]
    assert stamps == tuple(told)
    assert fact.hangup_cause == variables["hangup_cause"]
    assert fact.originator == variables.get("originator")
    assert fact.campaign == variables.get("callengine_campaign_id")
    if variables["bridge_uepoch"] != "0":
        assert fact.bridges == ((int(variables["bridge_uepoch"]), variables["last_bridge_to"]),)
    else:
        assert fact.bridges == ()


def test_real_records_make_the_calls_that_they_tell() -> None:
    facts = facts_in(RECORDS, CdrReader())
    calls, _ = replay(sorted(facts.values(), key=lambda fact: fact.at_us), "n", timing=PATIENT)
    assert {call.fs_uuid for call in calls} == {uuid for uuid, fact in facts.items() if is_call(fact, facts.get)}
    for call in calls:
        assert not list(compare(show(record_of(call)), facts[call.fs_uuid], facts.get))
    assert sum(record_of(call).agent_id is not None for call in calls) == 3


@pytest.mark.parametrize("name", NAMES)
def test_however_it_is_encoded_it_is_the_same(name: str) -> None:
    body = (RECORDS / name).read_bytes()
    told = read(body)
    raw = json.loads(body)
    raw["variables"] = {name: quote(value, safe="/") for name, value in raw["variables"].items()}
    assert read(raw) == told
    assert read(quote(body).encode()) == told
    assert read(b"cdr=" + quote(body).encode() + b"&more=1") == told
    assert read(b"cdr=" + quote(json.dumps(raw).encode()).encode()) == told
    assert read(b"cdr=" + base64.b64encode(body)) == told
    assert read(base64.b64encode(body) + b"\n") == told


def test_a_percent_sign_that_is_no_encoding_stays(plain: dict[str, Any]) -> None:
    plain["variables"]["callengine_campaign_id"] = "100%25 sure"
    assert read(plain).campaign == "100%25 sure"
    del plain["variables"]["start_stamp"]
    assert read(plain).campaign == "100%25 sure"
    plain["variables"] = {k: quote(v) for k, v in plain["variables"].items()}
    assert read(plain).campaign == "100%25 sure"


def test_numbers_are_those_of_the_creation(plain: dict[str, Any]) -> None:
    fact = read(plain)
    assert (fact.caller_number, fact.caller_name, fact.callee_number) == ("+15550100", "Ada", "9")
    moved = {"caller_id_number": "9", "caller_id_name": "Outbound Call", "destination_number": "agents"}
    plain["callflow"].insert(0, {"caller_profile": moved, "times": {}})
    fact = read(plain)
    assert (fact.caller_number, fact.caller_name, fact.callee_number) == ("+15550100", "Ada", "9")
    plain["variables"] |= {"channel_cid_flipped": "yes", "pre_transfer_caller_id_number": "+15550101"}
    fact = read(plain)
    assert (fact.caller_number, fact.caller_name, fact.callee_number) == ("+15550101", None, "9")


def test_bridges_of_several_profiles(plain: dict[str, Any]) -> None:
    plain["callflow"].append(
        {
            "caller_profile": {"originatee": {"originatee_caller_profiles": [{"uuid": "B"}]}},
            "times": {"bridged_time": "1795368755000000"},
        }
    )
    plain["variables"] |= {"bridge_uepoch": "1795368756000000", "last_bridge_to": "C"}
    assert read(plain).bridges == ((1795368755000000, "B"), (1795368756000000, "C"))
    # Who of several that were dialled has answered is not told.
    plain["callflow"][1]["caller_profile"]["originatee"]["originatee_caller_profiles"].append({"uuid": "D"})
    assert read(plain).bridges == ((1795368756000000, "C"),)


def test_names_are_as_configured(plain: dict[str, Any]) -> None:
    plain["variables"] |= {"who": "bob", "whose": "acme", "which": "c1", "lead": "l1", "dialed_user": "x"}
    names = Variables(agents=("cc_agent", "who"), tenant="whose", campaign="which", lead="lead")
    fact = read(plain, names)
    assert (fact.leg_agent, fact.tenant, fact.campaign, fact.lead) == ("bob", "acme", "c1", "l1")


def test_stamps_that_no_variable_has_are_taken_from_the_profile(plain: dict[str, Any]) -> None:
    del plain["variables"]["start_uepoch"], plain["variables"]["end_uepoch"]
    plain["callflow"][0]["times"] |= {"hangup_time": "1795368757039953", "progress_time": "1795368754139999"}
    fact = read(plain)
    assert (fact.created_us, fact.progress_us, fact.hangup_us) == (1795368754139951, 1795368754139999, 1795368757039953)


def test_text_that_nothing_can_hold_is_mended(plain: dict[str, Any]) -> None:
    plain["callflow"][0]["caller_profile"]["caller_id_name"] = "a\0b\ud800c"
    assert read(plain).caller_name == "a\ufffdb\ufffdc"
    body = json.dumps(plain).encode().replace(b"+15550100", b"+1\xff")
    assert read(body).caller_number == "+1\ufffd"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "no JSON"),
        (b"cdr=", "no JSON"),
        (b'{"variables":{}}', "uuid"),
        (b'{"variables":[]}', "variables"),
        (b'{"variables":{"uuid":"A"}}', "creation"),
        (b'{"variables":{"uuid":"A","start_uepoch":"1"}}', "end"),
        (b'{"variables":{"uuid":"A","start_uepoch":"1","end_uepoch":"x"}}', "hangup_us|at_us"),
        (b'{"variables":{"uuid":"A","start_uepoch":"-1","end_uepoch":"1"}}', "created_us"),
        (b'{"variables":{"uuid":"A","start_uepoch":"1","end_uepoch":"999999999999999999999"}}', "hangup_us|at_us"),
        (b'{"variables":{"uuid":"A"},"callflow":{}}', "callflow"),
        (b'{"variables":{"uuid":"A"},"callflow":[1]}', "callflow"),
        (b'{"variables":{"uuid":"%s"}}' % (b"A" * 300), "uuid"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        CdrReader().read(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_record_it_is_read_or_refused(data: st.DataObject) -> None:
    raw = record(NAMES[0])
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.sampled_from([raw, raw.get("variables"), *_parts(raw)]))
        if isinstance(part, dict) and part:
            part[data.draw(st.sampled_from(sorted(part)))] = data.draw(_JSON)
    try:
        read(raw)
    except MalformedEvent:
        return


def _parts(raw: dict[str, Any]) -> list[Any]:
    flow = raw.get("callflow")
    first = flow[0] if isinstance(flow, list) and flow else None
    return [first, *(first.get(name) for name in ("caller_profile", "times"))] if isinstance(first, dict) else []


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_in_order(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        CdrReader().read(body)
