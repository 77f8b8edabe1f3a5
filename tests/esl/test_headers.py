"""Event bodies as facts: the same fact from either form, and nothing that a caller can send forges another one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.calls import facts
from callengine.calls.facts import MAX_US, ChannelFact, Fact, Heartbeat, JobAnswered, Source, SwitchShutdown
from callengine.errors import MalformedEvent
from callengine.esl.headers import SUBSCRIBED_EVENTS, Translator, Variables, parse_plain
from callengine.esl.wire import Framer
from tests.calls import streams

BASE: dict[str, Any] = {
    "Core-UUID": "core-1",
    "Event-Date-Timestamp": "1795343615301165",
    "Unique-ID": "A",
    "Caller-Channel-Created-Time": "1795343615301165",
}
TRANSLATOR = Translator()


def as_json(name: str, headers: dict[str, Any]) -> bytes:
    return orjson.dumps({"Event-Name": name} | headers)


def as_plain(name: str, headers: dict[str, Any]) -> bytes:
    """As switch_event_serialize does: each value URL-encoded, a body behind an inner Content-Length."""
    body = headers.get("_body", "").encode()
    lines = [f"Event-Name: {name}"]
    for key, value in headers.items():
        if key != "_body":
            text = "ARRAY::" + "|:".join(value) if isinstance(value, list) else value
            lines.append(f"{key}: {quote(text, safe='')}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\n".join(lines).encode() + b"\n\n" + body


def fact(name: str, translator: Any = TRANSLATOR, **headers: Any) -> Any:
    """The fact that both forms state."""
    given = BASE | {key.replace("__", "-"): value for key, value in headers.items()}
    one, two = translator.json(as_json(name, given)), translator.plain(as_plain(name, given))
    assert one == two
    assert type(one).__name__ == type(two).__name__
    digest = translator.digest(as_json(name, given))
    assert (None if digest is None else translator.json(digest)) == one
    return one


def told(fact: Any) -> dict[str, Any]:
    own = (f.name for f in msgspec.structs.fields(type(fact)) if not f.name.startswith(("more_", "link_")))
    return {name: getattr(fact, name) for name in own}


# -- which fact ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("CHANNEL_CREATE", facts.LegCreated),
        ("CHANNEL_PROGRESS", facts.LegRang),
        ("CHANNEL_PROGRESS_MEDIA", facts.LegRang),
        ("CHANNEL_ANSWER", facts.LegAnswered),
        ("CHANNEL_BRIDGE", facts.LegBridged),
        ("CHANNEL_UNBRIDGE", facts.LegUnbridged),
        ("CHANNEL_HOLD", facts.LegHeld),
        ("CHANNEL_UNHOLD", facts.LegUnheld),
        ("CHANNEL_HANGUP", facts.LegHungUp),
        ("CHANNEL_HANGUP_COMPLETE", facts.LegEnded),
        ("CHANNEL_DESTROY", facts.LegDestroyed),
        ("CHANNEL_DATA", facts.LegListed),
        ("RECORD_START", facts.RecordingStarted),
        ("RECORD_STOP", facts.RecordingStopped),
    ],
)
def test_each_channel_event_states_its_fact(event: str, kind: type[ChannelFact]) -> None:
    found = fact(event)
    assert isinstance(found, kind)
    assert type(found).__name__ == kind.__name__
    assert (found.uuid, found.core_uuid, found.at_us, found.created_us) == (
        "A",
        "core-1",
        1795343615301165,
        1795343615301165,
    )
    assert found.source is (Source.SNAPSHOT if event == "CHANNEL_DATA" else Source.EVENT)
    # What is absent is None or 0.
    rest = told(found).keys() - {"uuid", "core_uuid", "at_us", "created_us", "path", "discarded"}
    assert {getattr(found, name) for name in rest} <= {None, 0}


@pytest.mark.parametrize("name", ["CHANNEL_EXECUTE_COMPLETE", "CUSTOM", "RE_SCHEDULE", "x", "CHANNEL_CREATE2"])
def test_other_events_state_none(name: str) -> None:
    assert fact(name) is None


def test_what_is_subscribed_is_what_can_be_read() -> None:
    assert "CHANNEL_DATA" not in SUBSCRIBED_EVENTS
    for name in SUBSCRIBED_EVENTS:
        assert fact(name, **{"Job-UUID": "j"}) is not None


def test_every_header_is_read() -> None:
    headers = {
        "Call-Direction": "outbound",
        "Channel-Name": "sofia/x",
        "Caller-Channel-Progress-Time": "2",
        "Caller-Channel-Progress-Media-Time": "3",
        "Caller-Channel-Answered-Time": "4",
        "Caller-Caller-ID-Number": "100",
        "Caller-Caller-ID-Name": "Ada",
        "Caller-Destination-Number": "200",
        "Other-Leg-Unique-ID": "O",
        "variable_originator": "P",
        "variable_loopback_leg": "B",
        "variable_other_loopback_leg_uuid": "Q",
        "variable_cc_side": "agent",
        "variable_cc_member_session_uuid": "M",
        "variable_cc_queue": "support",
        "variable_user_name": "1000",
        "variable_callengine_voice_agent": "true",
        "variable_callengine_tenant_id": "acme",
        "variable_callengine_campaign_id": "spring",
        "variable_callengine_lead_id": "l-1",
        "variable_sip_gateway_name": "lab",
        "variable_sip_call_id": "c-1",
        "variable_amd_result": "HUMAN",
    }
    assert told(fact("CHANNEL_CREATE", **headers)) == {
        "uuid": "A",
        "core_uuid": "core-1",
        "at_us": 1795343615301165,
        "created_us": 1795343615301165,
        "direction": "outbound",
        "channel_name": "sofia/x",
        "progress_us": 2,
        "progress_media_us": 3,
        "answered_us": 4,
        "caller_number": "100",
        "caller_name": "Ada",
        "callee_number": "200",
        "other_uuid": "O",
        "originator": "P",
        "loopback_leg": "B",
        "loopback_other": "Q",
        "queue_side": "agent",
        "queue_member": "M",
        "queue": "support",
        "user_name": "1000",
        "voice_agent": "true",
        "tenant": "acme",
        "campaign": "spring",
        "lead": "l-1",
        "gateway": "lab",
        "sip_call_id": "c-1",
        "amd_result": "HUMAN",
        "own_agent": None,
        "leg_agent": None,
    }


def test_an_end_in_full() -> None:
    headers = {
        "Caller-Channel-Hangup-Time": "9",
        "Hangup-Cause": "USER_BUSY",
        "variable_sip_term_status": "486",
        "variable_sip_invite_failure_status": "487",
        "variable_sip_hangup_disposition": "recv_refuse",
    }
    for event in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
        end = fact(event, **headers)
        assert (end.hangup_us, end.hangup_cause, end.sip_disposition) == (9, "USER_BUSY", "recv_refuse")
        assert (end.sip_term_status, end.sip_failure_status) == ("486", "487")
    assert fact("CHANNEL_HANGUP", **headers).hangup_cause == "USER_BUSY"


def test_a_hangup_tells_of_its_variables_whose_it_is_and_no_more() -> None:
    before = STAMPED + b',"Hangup-Cause":"USER_BUSY","variable_sip_call_id":"c"'
    plain = TRANSLATOR.json(raw("CHANNEL_HANGUP", before))
    named = TRANSLATOR.json(raw("CHANNEL_HANGUP", before + b',"variable_callengine_tenant_id":"acme"'))
    for found, tenant in ((plain, None), (named, "acme")):
        assert isinstance(found, facts.LegHungUp)
        assert (found.hangup_cause, found.tenant, found.sip_call_id) == ("USER_BUSY", tenant, None)


def test_bridges() -> None:
    headers = {"Bridge-A-Unique-ID": "A", "Bridge-B-Unique-ID": "B", "Caller-Channel-Bridged-Time": "7"}
    bridge = fact("CHANNEL_BRIDGE", **headers)
    assert (bridge.bridge_a, bridge.bridge_b, bridge.bridged_us) == ("A", "B", 7)
    parted = fact("CHANNEL_UNBRIDGE", **headers, **{"Other-Leg-Unique-ID": "B"})
    assert (parted.bridge_a, parted.bridge_b, parted.other_uuid) == ("A", "B", "B")


def test_recordings() -> None:
    stop = fact("RECORD_STOP", **{"Record-File-Path": "/r/1.wav", "variable_record_ms": "4020"})
    assert (stop.path, stop.duration_ms, stop.discarded) == ("/r/1.wav", 4020, False)
    for text, discarded in (("true", True), ("TRUE", True), ("false", False), ("whatever", False)):
        assert fact("RECORD_STOP", variable_RECORD_DISCARDED=text).discarded is discarded
    assert fact("RECORD_STOP").duration_ms is None


def test_a_snapshot_shows_the_caller_of_the_creation() -> None:
    headers = {"Caller-Caller-ID-Number": "200", "Caller-Caller-ID-Name": "Outbound Call", "variable_bridge_to": "B"}
    original = {"Caller-Orig-Caller-ID-Number": "100", "Caller-Orig-Caller-ID-Name": "Ada"}
    found = fact("CHANNEL_DATA", **headers, **original)
    assert (found.caller_number, found.caller_name, found.bridged_to) == ("100", "Ada", "B")
    found = fact("CHANNEL_DATA", **headers)
    assert (found.caller_number, found.caller_name) == ("200", "Outbound Call")
    assert fact("CHANNEL_CREATE", **headers, **original).caller_number == "200"


def test_jobs() -> None:
    job = fact("BACKGROUND_JOB", **{"Job-UUID": "j-1", "_body": "-ERR USER_BUSY\n"})
    assert job == JobAnswered(job_uuid="j-1", text="-ERR USER_BUSY", core_uuid="core-1", at_us=1795343615301165)
    assert fact("BACKGROUND_JOB", **{"Job-UUID": "j-1"}).text == ""
    assert fact("BACKGROUND_JOB", **{"Job-UUID": "j-1", "_body": "+OK é中\n\nmore\n"}).text == "+OK é中\n\nmore"


def test_the_switchs_own() -> None:
    beat = fact("HEARTBEAT", **{"Session-Count": "12"})
    assert beat == Heartbeat(core_uuid="core-1", at_us=1795343615301165, session_count=12)
    assert fact("SHUTDOWN") == SwitchShutdown(core_uuid="core-1", at_us=1795343615301165)


def test_facts_of_another_translator_are_the_same() -> None:
    assert Translator(Variables()).json(as_json("CHANNEL_ANSWER", BASE)) == fact("CHANNEL_ANSWER")


# -- agents ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "own", "leg"),
    [
        ({}, None, None),
        ({"callengine_agent_id": "a"}, "a", "a"),
        ({"cc_agent": "b"}, None, "b"),
        ({"dialed_user": "c"}, None, "c"),
        ({"dialed_user": "c", "cc_agent": "b"}, None, "b"),
        ({"dialed_user": "c", "cc_agent": "b", "callengine_agent_id": "a"}, "a", "a"),
        ({"cc_agent": "", "dialed_user": "c"}, None, "c"),
        ({"callengine_agent_id": "", "cc_agent": ""}, None, None),
    ],
)
@pytest.mark.parametrize("event", ["CHANNEL_CREATE", "CHANNEL_BRIDGE", "CHANNEL_DATA", "RECORD_STOP"])
def test_the_first_variable_set_names_the_agent(
    event: str, variables: dict[str, str], own: str | None, leg: str | None
) -> None:
    headers = BASE | {f"variable_{name}": value for name, value in variables.items()}
    for found in (TRANSLATOR.json(as_json(event, headers)), TRANSLATOR.plain(as_plain(event, headers))):
        assert isinstance(found, ChannelFact)
        assert (found.own_agent or None, found.leg_agent) == (own, leg)


@pytest.mark.parametrize(
    ("agents", "leg"),
    [
        (("x_agent",), "x"),
        (("x_agent", "y_agent"), "x"),
        (("y_agent", "x_agent"), "y"),
        (("dialed_user", "callengine_agent_id"), "own"),
        (("callengine_agent_id",), "own"),
        (("x_agent", "x_agent"), "x"),
        (("user_name", "x_agent"), "1000"),
        (("cc_queue",), "support"),
        ((), None),
    ],
)
@pytest.mark.parametrize("event", ["CHANNEL_CREATE", "CHANNEL_ANSWER"])
def test_the_names_are_settings(event: str, agents: tuple[str, ...], leg: str | None) -> None:
    headers = {
        "variable_callengine_agent_id": "own",
        "variable_x_agent": "x",
        "variable_y_agent": "y",
        "variable_user_name": "1000",
        "variable_cc_queue": "support",
    }
    found = fact(event, Translator(Variables(agents=agents)), **headers)
    assert (found.own_agent, found.leg_agent, found.queue) == ("own", leg, "support")
    if event == "CHANNEL_CREATE":
        assert found.user_name == "1000"


def test_tenant_campaign_and_lead_too() -> None:
    names = Variables(tenant="domain_name", campaign="sip_gateway_name", lead="domain_name")
    headers = {"variable_domain_name": "acme", "variable_sip_gateway_name": "lab"}
    found = fact("CHANNEL_CREATE", Translator(names), **headers)
    assert (found.tenant, found.campaign, found.lead, found.gateway) == ("acme", "lab", "acme", "lab")
    found = fact("CHANNEL_ANSWER", Translator(names), **headers)
    assert (found.tenant, found.campaign, found.lead) == ("acme", "lab", "acme")


def test_a_field_of_ours_is_no_header() -> None:
    forged = {"leg_agent": "eve", "source": "cdr", "own_agent": "eve", "discarded": "true", "more_0": "eve"}
    found = fact("RECORD_STOP", **forged)
    assert (found.leg_agent, found.own_agent, found.source, found.discarded) == (None, None, Source.EVENT, False)


# -- damaged or hostile
# --------------------------------------------------------------------------------------------------


def raw(name: str, text: bytes) -> bytes:
    return b'{"Event-Name":"' + name.encode() + b'",' + text + b"}"


STAMPED = b'"Event-Date-Timestamp":"5","Unique-ID":"A"'


def test_doubled_keys_are_one() -> None:
    body = raw("CHANNEL_HANGUP_COMPLETE", STAMPED + b',"Hangup-Cause":"USER_BUSY","Hangup-Cause":"USER_BUSY"')
    assert TRANSLATOR.json(body).hangup_cause == "USER_BUSY"  # type: ignore[union-attr]


def test_of_an_array_the_first_counts() -> None:
    found = fact("CHANNEL_CREATE", variable_cc_queue=["one", "two"], variable_unknown=["x", "y"])
    assert found.queue == "one"
    assert fact("CHANNEL_ANSWER", variable_sip_call_id=["c-1", "c-2"]).sip_call_id == "c-1"
    assert TRANSLATOR.json(as_json("CHANNEL_ANSWER", BASE | {"variable_cc_queue": []})).queue is None  # type: ignore[union-attr]


@pytest.mark.parametrize("header", ["Caller-Channel-Answered-Time", "Caller-Channel-Created-Time", "variable_cc_agent"])
def test_an_empty_value_is_an_absent_one(header: str) -> None:
    given = {k: v for k, v in BASE.items() if k != header}
    empty = TRANSLATOR.json(as_json("CHANNEL_ANSWER", given | {header: ""}))
    assert isinstance(empty, facts.LegAnswered)
    assert (empty.answered_us, empty.leg_agent) == (0, None)
    assert TRANSLATOR.plain(as_plain("CHANNEL_ANSWER", given | {header: ""})) == empty


def test_what_is_no_utf_8_is_replaced() -> None:
    body = raw("CHANNEL_CREATE", STAMPED + b',"Caller-Caller-ID-Name":"J\xf6rg \xff"')
    assert TRANSLATOR.json(body).caller_name == "J\ufffdrg \ufffd"  # type: ignore[union-attr]
    plain = (
        b"Event-Name: CHANNEL_CREATE\nEvent-Date-Timestamp: 5\nUnique-ID: A\nCaller-Caller-ID-Name: J%F6rg%20\xff\n\n"
    )
    assert TRANSLATOR.plain(plain).caller_name == "J\ufffdrg \ufffd"  # type: ignore[union-attr]


def test_what_is_utf_8_stays() -> None:
    assert fact("CHANNEL_CREATE", **{"Caller-Caller-ID-Name": "Мария 中 é 🎧"}).caller_name == "Мария 中 é 🎧"


@pytest.mark.parametrize(
    ("json_text", "plain_text", "read"),
    [
        (rb"a\u0000b", b"a%00b", "a\ufffdb"),
        (rb"a\ud800b", b"a%ED%A0%80b", None),
        (rb"a\udc00b", b"a%ED%B0%80b", None),
        (rb"\ud83c\udfa7", b"%F0%9F%8E%A7", "🎧"),
        (rb"a\\u0000b", b"a%5Cu0000b", "a\\u0000b"),
        (rb"a\nb\tc", b"a%0Ab%09c", "a\nb\tc"),
    ],
)
@pytest.mark.parametrize(
    ("event", "header", "field"),
    [
        ("CHANNEL_CREATE", "Caller-Caller-ID-Name", "caller_name"),
        ("CHANNEL_ANSWER", "variable_cc_agent", "leg_agent"),
        ("CHANNEL_HANGUP_COMPLETE", "Hangup-Cause", "hangup_cause"),
        ("CHANNEL_ANSWER", "Unique-ID", "uuid"),
        ("RECORD_START", "Record-File-Path", "path"),
    ],
)
def test_text_that_json_or_a_database_would_refuse_is_mended(
    event: str, header: str, field: str, json_text: bytes, plain_text: bytes, read: str | None
) -> None:
    stamped = {"Event-Date-Timestamp": b"5", "Unique-ID": b"A"}
    in_json = stamped | {header: json_text}
    body = raw(event, b",".join(b'"%b":"%b"' % (key.encode(), value) for key, value in in_json.items()))
    in_plain = stamped | {header: plain_text}
    plain = b"\n".join(b"%b: %b" % (k.encode(), v) for k, v in ({"Event-Name": event.encode()} | in_plain).items())
    for found in (TRANSLATOR.json(body), TRANSLATOR.plain(plain + b"\n\n")):
        text = getattr(found, field)
        assert "\0" not in text
        text.encode()
        if read is not None:
            assert text == read
        else:
            assert text.replace("\ufffd", "") == "ab"


def test_a_newline_in_a_callers_name_forges_no_header() -> None:
    name = 'x"\nHangup-Cause: FORGED\nUnique-ID: B\n\nContent-Length: 99\nvariable_callengine_tenant_id: acme'
    found = fact("CHANNEL_CREATE", **{"Caller-Caller-ID-Name": name})
    assert (found.uuid, found.caller_name, found.tenant) == ("A", name, None)


def test_a_body_forges_no_header() -> None:
    job = fact("BACKGROUND_JOB", **{"Job-UUID": "j", "_body": '+OK\nJob-UUID: k\n\n{"Job-UUID":"k"}'})
    assert job.job_uuid == "j"


@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize("header", ["Unique-ID", "Event-Date-Timestamp"])
@pytest.mark.parametrize("event", ["CHANNEL_CREATE", "CHANNEL_DESTROY", "RECORD_STOP", "CHANNEL_DATA"])
def test_without_channel_or_stamp_it_is_set_aside(event: str, header: str, value: str | None) -> None:
    given = {k: v for k, v in BASE.items() if k != header} | ({} if value is None else {header: value})
    for read, body in ((TRANSLATOR.json, as_json(event, given)), (TRANSLATOR.plain, as_plain(event, given))):
        with pytest.raises(MalformedEvent, match=event):
            read(body)


def test_a_uuid_longer_than_any_is_set_aside() -> None:
    assert fact("CHANNEL_ANSWER", **{"Unique-ID": "x" * 256}).uuid == "x" * 256
    for read, form in ((TRANSLATOR.json, as_json), (TRANSLATOR.plain, as_plain)):
        with pytest.raises(MalformedEvent, match="Unique-ID"):
            read(form("CHANNEL_ANSWER", BASE | {"Unique-ID": "x" * 257}))


@pytest.mark.parametrize(
    "header", ["Event-Date-Timestamp", "Caller-Channel-Created-Time", "Caller-Channel-Hangup-Time"]
)
@pytest.mark.parametrize("value", [str(10**30), str(2**63), str(MAX_US + 1), "-1", "12.5", "yesterday", "0x10", "²"])
def test_a_stamp_that_is_none_is_set_aside(header: str, value: str) -> None:
    for read, form in ((TRANSLATOR.json, as_json), (TRANSLATOR.plain, as_plain)):
        with pytest.raises(MalformedEvent, match="CHANNEL_DESTROY"):
            read(form("CHANNEL_DESTROY", BASE | {header: value}))


def test_a_stamp_of_the_year_2500_is_one() -> None:
    assert (
        fact("CHANNEL_ANSWER", **{"Caller-Channel-Answered-Time": "16725225600000000"}).answered_us == 16725225600000000
    )


DEEP = b"[" * 100_000
NO_EVENTS = [b"", b"{}", b"[]", b"null", b'"CHANNEL_CREATE"', b"{", b"\xff\xfe", b'{"Unique-ID":"A"}', DEEP]
NO_EVENTS += [
    b'{"Event-Name":' + rest for rest in (b"", b'""}', b"5}", b'["CHANNEL_CREATE"]}', b'"x\\ud800","x":' + DEEP)
]
NO_EVENTS += [raw("CHANNEL_CREATE", STAMPED) + b" trailing", raw("CHANNEL_CREATE", STAMPED)[:-1]]
NO_EVENTS += [raw("CHANNEL_CREATE", b'"Unique-ID":'), raw("CHANNEL_CREATE", b'"x":"\\ud800"' + DEEP)]


@pytest.mark.parametrize("body", NO_EVENTS)
def test_what_is_no_event_is_set_aside(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        TRANSLATOR.json(body)


@pytest.mark.parametrize("body", [b"", b"\n\n", b"no header at all", b"Event-Name: \n\n", b"Unique-ID: A\n\n"])
def test_so_in_the_plain_form(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        TRANSLATOR.plain(body)


def test_keys_may_stand_in_any_order_and_with_spaces() -> None:
    headers = BASE | {"Event-Name": "CHANNEL_ANSWER"}
    for body in (json.dumps(headers, indent=2), json.dumps(dict(reversed(headers.items())))):
        assert TRANSLATOR.json(body.encode()) == fact("CHANNEL_ANSWER")
    assert TRANSLATOR.json(raw("CHANNEL\\u005fANSWER", STAMPED)).uuid == "A"  # type: ignore[union-attr]


def test_a_length_that_is_none_gives_no_body() -> None:
    for length in ("", "²", "-1", "9" * 5000, "x"):
        head = f"Event-Name: BACKGROUND_JOB\nContent-Length: {quote(length)}\n\nbody".encode()
        assert "_body" not in parse_plain(head)
    assert parse_plain(b"Content-Length: 2\n\nbody")["_body"] == "bo"
    assert parse_plain(b"Content-Length: 99\n\nbody")["_body"] == "body"


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_worse_than_being_set_aside(data: bytes) -> None:
    for body in (
        data,
        raw("CHANNEL_CREATE", data),
        raw("CHANNEL_CREATE", STAMPED + b',"Caller-Caller-ID-Name":"' + data),
    ):
        for read in (TRANSLATOR.json, TRANSLATOR.plain):
            try:
                read(body)
            except MalformedEvent:
                continue


@given(st.dictionaries(st.sampled_from(["Unique-ID", "Hangup-Cause", "variable_cc_agent", "x"]), st.text(min_size=1)))
@settings(max_examples=200, deadline=None)
def test_both_forms_state_the_same(headers: dict[str, str]) -> None:
    headers = {k: v for k, v in headers.items() if not v.startswith("ARRAY::") and v.isprintable()}
    fact("CHANNEL_HANGUP", **headers)


# -- the recorded ones
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", streams.names("json"))
def test_the_quick_way_and_the_full_way_agree(name: str) -> None:
    for frame in Framer().feed(streams.stream(name)):
        if frame.is_event:
            quick: Fact | None = TRANSLATOR.json(frame.body)
            assert quick == TRANSLATOR.headers(orjson.loads(frame.body))
