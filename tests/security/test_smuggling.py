"""No field of any request carries a command to the switch.

Every operation of the document, every field of its body, every parameter, and the headers that are read: with hostile
texts in them, sent by hand to the daemon's own server, and held against the bytes that then went to the switch. Either
the request is refused and nothing goes out, or one command does, in which the text is that text and nothing more.

What the API's own patterns refuse never gets further here; ``tests/originate/test_attacks.py`` tries the same without
them. ``CALLENGINE_TEST_ALL_ATTACKS=1`` also tries every text where only some are tried else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from callengine.esl import commands
from callengine.esl.commands import is_number
from tests.security.hostile import ATTACKS, RAW
from tests.security.house import House, running
from tests.security.walk import KEY, Operation, Way, at, operations, ways_of
from tests.security.wire import ASKED_BY_ITSELF, Sent, Smuggled, replaced, understood

ALL = os.environ.get("CALLENGINE_TEST_ALL_ATTACKS") == "1"
NAMES = ["sip_h_X-undef", "crm_-both", *(f"sip_h_X-{attack}" for attack in ATTACKS[:8])]
"""Of variables, with a beginning that is allowed."""
TEXTS = [*ATTACKS, *NAMES, *RAW]

CALL: dict[str, Any] = {
    "destination": "7770486",
    "gateway": "carrier",
    "caller_id_number": "4911770",
    "caller_id_name": "Marked Name",
    "ring_timeout_s": 29,
    "first": "lead",
    "record": True,
    "campaign_id": "marked-campaign",
    "lead_id": "marked-lead",
    "variables": {"sip_h_X-Marked": "marked value", "zz": "last"},
}
AGENT = {"type": "agent", "agents": "desk", "agent_id": "7142"}
CALLS: list[dict[str, Any]] = [
    {**CALL, "on_answer": AGENT},
    {**CALL, "on_answer": AGENT, "first": "agent"},
    {**CALL, "on_answer": {"type": "queue", "queue": "support@default"}},
    {**CALL, "on_answer": {"type": "extension", "extension": "9001"}},
    {**CALL, "on_answer": {"type": "application", "application": "ivr"}},
]
CAMPAIGN: dict[str, Any] = {"name": "n", "goal": "g", "dispositions": ["D"], "record": "all"}
ENDPOINT: dict[str, Any] = {
    "url": "https://127.0.0.1:1/",
    "description": "d",
    "enabled": False,
    "events": ["call.ended"],
}
SOME_ID = "0199a2b4-0000-7000-8000-000000000000"
# Of each operation with a body: examples that have every field of it, between them.
BODIES: dict[str, list[dict[str, Any]]] = {
    "originate": CALLS,
    "hang_up": [{"cause": "NORMAL_CLEARING"}],
    "bridge": [{"to": AGENT}, {"to": {"type": "call", "call_id": SOME_ID}}],
    "transfer": [
        {"to": {"type": "extension", "extension": "9001"}},
        {"to": {"type": "application", "application": "ivr"}},
        {"to": {"type": "queue", "queue": "support@default"}},
    ],
    "send_dtmf": [{"digits": "12w#", "duration_ms": 100}],
    "edit_call": [{"disposition": "D", "notes": "n"}],
    "create_campaign": [{"id": "c", **CAMPAIGN}],
    "update_campaign": [CAMPAIGN],
    "create_lead": [{"id": "l", "campaign_id": "c", "name": "n", "phone_number": "+15550100"}],
    "create_endpoint": [ENDPOINT],
    "edit_endpoint": [ENDPOINT],
    "rotate_endpoint_secret": [{"overlap_s": 0}],
    "replay_dead_letters": [{"since": "2026-11-22T10:33:35Z"}],
}
# What each order has sent, where it is meant well. In this order they can be given to calls that are alive.
ORDERS = {
    "start_recording": {"setvar", "record"},
    "pause_recording": {"record"},
    "resume_recording": {"record"},
    "stop_recording": {"record"},
    "hold": {"hold"},
    "unhold": {"hold"},
    "send_dtmf": {"dtmf"},
    "bridge": {"originate"},
    "transfer": {"extension"},
    "hang_up": {"kill"},
}
HEADERS = [
    *("Idempotency-Key", "Authorization", "Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding"),
    *("Host", "X-Forwarded-For", "Forwarded", "Expect", "Range", "Cookie", "Last-Event-ID", "User-Agent"),
]
# The channel variable that a field becomes, on the lead's own channel.
VARIABLES: dict[Way, str] = {
    ("campaign_id",): "callengine_campaign_id",
    ("lead_id",): "callengine_lead_id",
    ("variables", KEY): "sip_h_X-Marked",
    ("caller_id_name",): "origination_caller_id_name",
}
# Those that no hostile text may ever be: names of what is configured, and what is no text.
CLOSED = {"gateway", "first", "ring_timeout_s", "record", "type", "agents", "queue", "application", "cause", "call_id"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("smuggling")) as made:
        yield made


@pytest.fixture(scope="module")
def document(house: House) -> dict[str, Any]:
    return dict(orjson.loads(house.ask("GET", "/openapi.json")[1]))


def some(texts: Sequence[Any], turn: int, every: int = 7) -> Sequence[Any]:
    """Each of them in its turn, where there are too many places to try all of them in each."""
    return texts if ALL else texts[turn % every :: every]


def raw_of(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def body_with(example: Any, way: Way, text: str | bytes) -> bytes:
    """JSON as it would be written by hand: bytes go in as they are, between the quotes."""
    if isinstance(text, str):
        return json.dumps(at(example, way, text)).encode()
    return json.dumps(at(example, way, "@here@")).encode().replace(b"@here@", text)


def text_at(example: Any, way: Way) -> str:
    for part in way[:-1]:
        example = example[int(part)] if isinstance(example, list) else example[part]
    return str(next(iter(example)) if way[-1] == KEY else example[way[-1]])


def asked(house: House) -> list[Sent]:
    """What was sent for requests since the last time."""
    return [sent for sent in house.relay.taken() if sent.shape not in ASKED_BY_ITSELF]


def refused(status: int, answer: bytes) -> bool:
    """Whether a request was refused, as a problem; fails where it is neither that nor done."""
    if 200 <= status < 300:
        return False
    assert 400 <= status < 500, (status, answer)
    assert orjson.loads(answer)["status"] == status
    return True


def nothing_sent(house: House) -> None:
    sent = asked(house)
    if sent:
        raise Smuggled(f"a refused request had this sent: {sent}")


# -- calls that are placed -------------------------------------------------------------------------------------------


def place(house: House, body: bytes, headers: bytes = b"") -> str | None:
    """The id of a call that was accepted."""
    status, answer = house.ask("POST", "/v1/calls", body=body, headers=headers)
    return None if refused(status, answer) else str(orjson.loads(answer)["id"])


def sent_for(house: House, calls: Sequence[str]) -> dict[str, Sent]:
    """The one originate of each of them; fails where anything else was sent."""
    sent: list[Sent] = []

    def all_there() -> bool:
        sent.extend(asked(house))
        return len(sent) >= len(calls)

    house.until(all_there)
    found = {call: one for one in sent for call in calls if call in one.line}
    if len(sent) != len(calls) or found.keys() != set(calls) or {one.shape for one in sent} - {"originate"}:
        raise Smuggled(f"{len(calls)} calls were placed, and this was sent: {sent}")
    return found


def expected(benign: Any, way: Way, marked: str, text: str) -> Any:
    """What the switch should understand with ``text`` in the place of ``marked``."""
    if way[-1] in CLOSED:
        raise Smuggled(f"{'.'.join(way)} let {text!r} through")
    if way == ("destination",) and not is_number(text):
        benign = _without(benign, marked)  # what cannot be shown as a number is not shown to an agent
    return replaced(benign, marked, text)


def _without(meaning: Any, value: str) -> Any:
    if isinstance(meaning, dict):
        return {name: _without(item, value) for name, item in meaning.items() if item != value}
    return [_without(item, value) for item in meaning] if isinstance(meaning, list) else meaning


def try_field(house: House, example: dict[str, Any], way: Way, texts: Sequence[str | bytes]) -> int:
    """Every text in one field of a call. How many were let through, as data."""
    first = place(house, json.dumps(example).encode())
    assert first is not None
    benign = understood(sent_for(house, [first])[first].line)
    calls: dict[str, str] = {}
    for text in texts:
        call = place(house, body_with(example, way, text))
        if call is not None:
            calls[call] = text if isinstance(text, str) else text.decode()
    sent = sent_for(house, list(calls))
    for call, text in calls.items():
        wanted = expected(benign, way, text_at(example, way), text)
        if understood(sent[call].line) != wanted:
            raise Smuggled(f"{'.'.join(way)} = {text!r}: {sent[call].line}")
        _check_channel(house, call, way, text)
    return len(calls)


def _check_channel(house: House, call: str, way: Way, text: str) -> None:
    """The stand-in's own channel has the text, where there is a variable for it; and it ran what we said."""
    channel = house.channels.get(call)
    if channel is None:  # the agent is rung first, or it was refused before there was one
        return
    variable = VARIABLES.get(way)
    if way == ("variables", KEY):
        assert channel.get(text) == "marked value"
    elif variable is not None and channel.get(variable) != text:
        raise Smuggled(f"{variable} is {channel.get(variable)!r}, not {text!r}")


def fields_of_calls() -> list[tuple[int, Way]]:
    """All fields with the lead first, then with the agent first, then those that other targets have."""
    seen: set[Way] = set()
    found = []
    for number, example in enumerate(CALLS):
        for way in dict.fromkeys(ways_of(example)):
            if number < 2 or way not in seen:
                found.append((number, way))
            seen.add(way)
    return [*found, *((number, ("variables", "sip_h_X-Marked")) for number in (0, 1))]


@pytest.mark.parametrize(("number", "way"), fields_of_calls())
def test_no_field_of_a_new_call(house: House, number: int, way: Way) -> None:
    texts = some(TEXTS, number, 3) if way[-1] in CLOSED else TEXTS
    assert (try_field(house, CALLS[number], way, texts) == 0) is (way[-1] in CLOSED)


def test_no_header_of_a_new_call(house: House) -> None:
    body = json.dumps(CALLS[0]).encode()
    first = place(house, body)
    assert first is not None
    benign = understood(sent_for(house, [first])[first].line)
    calls = []
    for turn, header in enumerate(HEADERS):
        for text in some(TEXTS, turn):
            call = place(house, body, header.encode() + b": " + raw_of(text) + b"\r\n")
            calls += [call] if call is not None else []
    assert calls
    assert all(understood(sent.line) == benign for sent in sent_for(house, calls).values())


def test_only_what_was_planned_ran_on_the_switch(house: House) -> None:
    """After all of the above: by the stand-in's own account of what it did."""
    ran = {name for _, name, _ in house.applications}
    assert ran <= {"park", "bridge", "callcenter", "playback", "record_session", "sched_hangup", "answer", "sleep"}, ran


# -- orders to calls -------------------------------------------------------------------------------------------------


def hostile_requests(
    operation: Operation, ids: dict[str, str], every: int = 13
) -> Iterator[tuple[bytes, bytes, bytes | None, Way, str | bytes]]:
    """(target, headers, body, where, text) with each place of the operation in turn made hostile.

    ``ids`` may change while this goes on.
    """
    examples = BODIES.get(operation.name, [{}])
    fine = json.dumps(examples[-1]).encode() if operation.method in {"POST", "PATCH"} else None

    def path() -> bytes:
        return operation.path.format(**ids).encode()

    for turn, (kind, name) in enumerate((*operation.parameters, ("query", "unknown"))):
        for text in some(TEXTS, turn, every):
            if kind == "header":
                yield path(), name.encode() + b": " + raw_of(text) + b"\r\n", fine, (kind, name), text
                continue
            for written in dict.fromkeys((quote(raw_of(text), safe="").encode(), raw_of(text))):
                if kind == "path":
                    before, _, after = operation.path.partition("{" + name + "}")
                    target = before.format(**ids).encode() + written + after.format(**ids).encode()
                else:
                    target = path() + b"?" + name.encode() + b"=" + written
                yield target, b"", fine, (kind, name), text
    if fine is not None:
        for text in some(TEXTS, len(operation.path), every):
            yield path(), b"", body_with({"@": "1", **examples[-1]}, (KEY,), text), ("body", KEY), text
    for example in examples:
        for turn, way in enumerate(dict.fromkeys(ways_of(example))):
            for text in TEXTS if operation.name in ORDERS else some(TEXTS, turn, every):
                yield path(), b"", body_with(example, way, text), ("body", *way), text


def expected_of_order(sent: Sequence[Sent], call: str, way: Way, text: str | bytes) -> bool:
    """Whether an order that was let through had one thing sent, with the text as one word of it."""
    if len(sent) != 1 or not isinstance(text, str) or call not in sent[0].line:
        return False
    if way[-1] == "extension":
        return sent[0].line == f"api uuid_transfer {call} {text} XML default"
    if way[-1] == "agent_id":
        legs = understood(sent[0].line)["dial"]["legs"]
        return bool(legs == [[["user", text, {}]]])
    return False


def test_no_field_of_any_order(house: House, document: dict[str, Any]) -> None:
    by_name = {operation.name: operation for operation in operations(document)}
    recorded = house.answered()
    for name, shapes in ORDERS.items():
        operation = by_name[name]
        ids = {"call_id": recorded if "recording" in name else house.answered()}
        asked(house)
        for target, headers, body, way, text in hostile_requests(operation, ids):
            status, answer = house.ask(operation.method, target, headers=headers, body=body)
            if refused(status, answer):
                nothing_sent(house)
            elif not expected_of_order(sent := asked(house), ids["call_id"], way, text):
                raise Smuggled(f"{name}: {'.'.join(way)} = {text!r}: {sent}")
            else:
                ids["call_id"] = house.answered()
                asked(house)
        example = BODIES.get(name, [{}])[0]
        status, answer = house.ask(operation.method, operation.path.format(**ids), body=example)
        assert status == 202, (name, answer)
        assert {sent.shape for sent in asked(house)} == shapes, name


# -- everything else -------------------------------------------------------------------------------------------------


def made(house: House) -> dict[str, str]:
    """What operations can name, all of it there."""
    for path, body in (("campaigns", {"id": "c"}), ("leads", {"id": "l"})):
        assert house.ask("POST", f"/v1/{path}", body=body)[0] == 201
    endpoint = orjson.loads(house.ask("POST", "/v1/webhooks/endpoints", body=ENDPOINT)[1])["id"]
    ids = {"campaign_id": "c", "lead_id": "l", "endpoint_id": endpoint, "call_id": house.answered()}
    return ids | {"event_id": SOME_ID, "recording_id": SOME_ID}


def test_nothing_else_sends_anything(house: House, document: dict[str, Any]) -> None:
    ids = made(house)
    asked(house)
    for operation in operations(document):
        if operation.name in ORDERS or operation.name == "originate":
            continue
        for target, headers, body, _way, _text in hostile_requests(operation, ids, 17):
            status, answer = house.ask(operation.method, target, headers=headers, body=body)
            assert status < 500, (operation.name, target, body, answer)
        nothing_sent(house)
    basic = [b"Authorization: Basic " + raw_of(text) + b"\r\n" for text in some(TEXTS, 0)]
    assert {house.ask("POST", "/fs/cdr", body=b"{}", headers=header)[0] for header in basic[:4]} <= {400, 401}
    nothing_sent(house)


def test_every_operation_and_every_field_has_an_example(document: dict[str, Any]) -> None:
    """What the document grows by is tried too, or this fails."""
    for operation in operations(document):
        examples = {way for example in BODIES.get(operation.name, [{}]) for way in ways_of(example)}
        assert examples == operation.body, operation.name
    assert {operation.name for operation in operations(document)} >= {*BODIES, *ORDERS}


# -- the tests of the tests ------------------------------------------------------------------------------------------


def _unquoted(text: str, _escapes: object = None) -> str:
    return text


HOLES: dict[str, tuple[str, Callable[..., Any], Way]] = {
    "values are not quoted": ("_undo", _unquoted, ("caller_id_name",)),
    "values are not checked": ("check_value", lambda _field, value: value, ("lead_id",)),
    "values of variables are not checked": ("check_value", lambda _f, v: v, ("variables", "sip_h_X-Marked")),
    "numbers are not checked": ("check_dialled", lambda _field, value: value, ("destination",)),
    "agents are not checked": ("check_dialled", lambda _field, value: value, ("on_answer", "agent_id")),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found(house: House, monkeypatch: pytest.MonkeyPatch, hole: str) -> None:
    name, without, way = HOLES[hole]
    with monkeypatch.context() as patch:
        patch.setattr(commands, name, without)
        with pytest.raises(Smuggled):
            try_field(house, CALLS[0], way, ATTACKS[13:40])
    house.relay.forget()


@pytest.mark.parametrize(
    "raw", [b"api system id\n\n", b"exit\n\n", b"api uuid_exists x\n\n", b"bgapi originate a b\n\n"]
)
def test_a_command_of_another_shape_is_found(house: House, raw: bytes) -> None:
    house.relay.taken()
    house.relay.raw += raw
    with pytest.raises(Smuggled):
        house.relay.taken()


def test_all_kinds_of_answers_were_seen(house: House) -> None:
    """So that nothing above passed because a request never got as far."""
    assert house.statuses.keys() >= {200, 202, 400, 401, 404, 415}
    assert house.statuses[202] > 100 or ALL


def test_it_left_nothing_behind(house: House, tmp_path: Path) -> None:
    assert house.ask("GET", "/readyz")[0] == 200
