"""What an attacker would write into each field of each request, and the bytes that then go to the switch.

The patterns of the configuration are as wide as they can be, so that nothing but the code stands in the way. Either the
request is refused and not a byte is sent, or the switch reads the same command as ever, with that text as that value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.errors import RequestRefused
from callengine.esl.client import EslClient
from callengine.esl.commands import is_number
from callengine.esl.exchange import encode_command
from tests.esl.clients import new_client
from tests.esl.parser import Read, originate
from tests.esl.switches import Peer, Switch, reply, response, switch
from tests.originate.fakes import REQUEST, TENANT, Rig
from tests.security.hostile import ATTACKS, WIDE

# What a request says before the attack: a text, the destination, and who or what is at the other end.
MARK, LEAD, OTHER = "4711", "4712", "42"
AGENT = {"type": "agent", "agents": "desk", "agent_id": OTHER}

Request = dict[str, Any]


class Wire:
    """The real client; ``ready`` as the link has it."""

    def __init__(self, client: EslClient) -> None:
        self.api, self.bgapi = client.api, client.bgapi
        self.client = client

    @property
    def ready(self) -> bool:
        return self.client.loss is None


def listen(peer: Peer) -> None:
    """A switch that takes every command on, so that nothing stops an attack but us."""
    peer.greet()
    while True:
        first, *rest = peer.command().split("\n")
        if first.startswith("bgapi "):
            job = rest[0].removeprefix("Job-UUID: ")
            peer.say(reply(f"+OK Job-UUID: {job}", f"Job-UUID: {job}"))
        else:
            peer.say(response(b"+OK\n"))


@contextmanager
def on_the_wire(changes: dict[str, Any] | None = None) -> Iterator[tuple[Rig, Switch]]:
    with gevent.Timeout(60, AssertionError("it hung")), switch(listen) as server:
        client = new_client(server.port)
        client.connect()
        rig = Rig(WIDE if changes is None else changes)
        rig.link = Wire(client)  # type: ignore[assignment]
        try:
            yield rig, server
        finally:
            client.close()


def received(server: Switch) -> list[str]:
    return server.peers[0].commands


def place(rig: Rig, request: Request) -> None:
    rig.control.originate(TENANT, request)
    rig.work()


def set_at(request: Request, path: str, value: Any) -> Request:
    """A copy with another value in one place; ``variables.*`` is the name of a variable."""
    head, _, rest = path.partition(".")
    if rest == "*":
        return {**request, head: {value: "1"}}
    return {**request, head: set_at(request[head], rest, value) if rest else value}


LEAD_FIRST = {
    **REQUEST,
    "destination": LEAD,
    "caller_id_number": MARK,
    "caller_id_name": MARK,
    "campaign_id": MARK,
    "lead_id": MARK,
    "variables": {"sip_h_X-A": MARK, "crm_a": MARK, "zz": "last"},
    "record": True,
}
WITH = {
    "agent": {**LEAD_FIRST, "on_answer": AGENT},
    "agent first": {**LEAD_FIRST, "first": "agent", "on_answer": AGENT},
    "queue": {**LEAD_FIRST, "on_answer": {"type": "queue", "queue": "support@default"}},
    "extension": {**LEAD_FIRST, "on_answer": {"type": "extension", "extension": OTHER}},
    "application": {**LEAD_FIRST, "on_answer": {"type": "application", "application": "ivr"}},
    "park": LEAD_FIRST,
}
COMMON = [
    "destination",
    "gateway",
    "caller_id_number",
    "caller_id_name",
    "campaign_id",
    "lead_id",
    "variables.sip_h_X-A",
    "variables.*",
    "first",
    "on_answer.type",
    "ring_timeout_s",
    "record",
]
FIELDS = [
    *((kind, field) for kind in ("park", "agent", "agent first") for field in COMMON),
    ("agent", "on_answer.agents"),
    ("agent", "on_answer.agent_id"),
    ("agent first", "on_answer.agent_id"),
    ("queue", "on_answer.queue"),
    ("extension", "on_answer.extension"),
    ("application", "on_answer.application"),
]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def anonymous(read: Read | None) -> Read | None:
    """Without what is another with each call."""
    if read is None:
        return None
    variables = {name: _UUID.sub("UUID", value) for name, value in read.variables.items()}
    return replace(read, variables=variables, arguments="", second=anonymous(read.second))


def with_value(read: Read | None, field: str, value: str) -> Read | None:
    """What the switch should read where ``field`` is ``value``: that text in its places, and nothing else."""
    if read is None:
        return None
    names = {
        "caller_id_number": {"origination_caller_id_number"},
        "caller_id_name": {"origination_caller_id_name"},
        "campaign_id": {"callengine_campaign_id"},
        "lead_id": {"callengine_lead_id"},
        "variables.sip_h_X-A": {"sip_h_X-A"},
        "on_answer.agent_id": {"callengine_agent_id"},
    }.get(field, set())
    said = OTHER if field == "on_answer.agent_id" else MARK
    variables = {
        name: value if name.removeprefix("_nolocal_") in names and old == said else old
        for name, old in read.variables.items()
    }
    target, application = read.target, read.application
    if field == "destination":
        # An agent's phone shows the lead's number, where it is one.
        shown = is_number(value)
        variables = {n: value if v == LEAD else v for n, v in variables.items() if shown or v != LEAD}
        target = target.replace(LEAD, value)
    if field == "on_answer.agent_id":
        target = target.replace(OTHER, value)
    if field == "on_answer.extension":
        application = application.replace(OTHER, value)
    return replace(
        read, variables=variables, target=target, application=application, second=with_value(read.second, field, value)
    )


def check(rig: Rig, server: Switch, kind: str, field: str, value: str, benign: Read) -> None:
    before, rows = len(received(server)), len(rig.book.calls)
    try:
        place(rig, set_at(WITH[kind], field, value))
    except RequestRefused:
        assert len(received(server)) == before
        assert len(rig.book.calls) == rows
        return
    rig.now += 1
    command, job, *more = received(server)[-1].split("\n")
    assert len(received(server)) == before + 1
    assert not more
    assert re.fullmatch(rf"Job-UUID: {_UUID.pattern}", job)
    read = originate(command.removeprefix("bgapi "))
    if field in {"gateway", "first", "on_answer.type", "ring_timeout_s", "record"}:
        pytest.fail(f"{field} let {value!r} through: {command}")
    if field == "variables.*":
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", value)
        return
    assert anonymous(read) == with_value(benign, field, value)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_attack_on_every_field_of_an_originate(kind: str, field: str) -> None:
    with on_the_wire() as (rig, server):
        place(rig, WITH[kind])
        rig.now += 1
        found = anonymous(originate(received(server)[-1].split("\n")[0].removeprefix("bgapi ")))
        assert found is not None
        for attack in ATTACKS:
            check(rig, server, kind, field, attack, found)
        assert {command.split(" ")[0] for command in received(server)} == {"auth", "bgapi"}


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.one_of(st.sampled_from("'\\,=|:;()[]<>\"%#&^ nrst_$}{"), st.characters()), max_size=20),
    field=st.sampled_from(["caller_id_name", "campaign_id", "variables.sip_h_X-A"]),
    kind=st.sampled_from(["park", "agent", "agent first"]),
)
def test_any_text_in_any_field_of_text(text: str, field: str, kind: str) -> None:
    """Without the socket: the plan's command, as the client would encode it."""
    rig = Rig(WIDE)
    benign = anonymous(originate(rig.plan(**WITH[kind]).command))
    try:
        command = rig.plan(**set_at(WITH[kind], field, text)).command
    except RequestRefused:
        return
    assert encode_command(f"bgapi {command}").count(b"\n") == 2
    assert anonymous(originate(command)) == with_value(benign, field, text)


def test_ill_typed_times_and_flags_are_refused() -> None:
    with on_the_wire() as (rig, server):
        for value in (True, 0, -5, 10**9, 1.5, "30", [30], {"a": 1}):
            with pytest.raises(RequestRefused):
                place(rig, {**LEAD_FIRST, "ring_timeout_s": value})
        assert len(received(server)) == 1


Order = Callable[[Rig, str, str], object]
ORDERS: dict[str, Order] = {
    "hangup cause": lambda rig, call, text: rig.control.hangup(TENANT, call, text),
    "hangup id": lambda rig, call, text: rig.control.hangup(TENANT, text, None),
    "bridge id": lambda rig, call, text: rig.control.bridge(TENANT, text, AGENT),
    "bridge to a call": lambda rig, call, text: rig.control.bridge(TENANT, call, {"type": "call", "call_id": text}),
    "bridge to agents": lambda rig, call, text: rig.control.bridge(TENANT, call, {**AGENT, "agents": text}),
    "bridge to an agent": lambda rig, call, text: rig.control.bridge(TENANT, call, {**AGENT, "agent_id": text}),
    "bridge kind": lambda rig, call, text: rig.control.bridge(TENANT, call, {**AGENT, "type": text}),
    "transfer id": lambda rig, call, text: rig.control.transfer(TENANT, text, {"type": "park"}),
    "transfer to": lambda rig, call, text: rig.control.transfer(TENANT, call, {"type": "extension", "extension": text}),
    "transfer to a queue": lambda rig, call, text: rig.control.transfer(TENANT, call, {"type": "queue", "queue": text}),
    "transfer to an application": lambda rig, call, text: rig.control.transfer(
        TENANT, call, {"type": "application", "application": text}
    ),
    "transfer kind": lambda rig, call, text: rig.control.transfer(TENANT, call, {"type": text, "extension": "1"}),
    "hold id": lambda rig, call, text: rig.control.hold(TENANT, text),
    "unhold id": lambda rig, call, text: rig.control.unhold(TENANT, text),
    "dtmf id": lambda rig, call, text: rig.control.dtmf(TENANT, text, "1", None),
    "dtmf digits": lambda rig, call, text: rig.control.dtmf(TENANT, call, text, None),
    "recording id": lambda rig, call, text: rig.control.recording(TENANT, text, "start"),
    "recording action": lambda rig, call, text: rig.control.recording(TENANT, call, text),
}


@pytest.mark.parametrize("name", ORDERS)
def test_every_attack_on_every_field_of_an_order(name: str) -> None:
    """Nothing gets through but what is one word: an id, a number."""
    with on_the_wire() as (rig, server):
        call_id = rig.answered()
        for attack in ATTACKS:
            before = len(received(server))
            try:
                ORDERS[name](rig, call_id, attack)
            except RequestRefused:
                assert len(received(server)) == before
                continue
            assert name in {"bridge to an agent", "transfer to"}, f"{attack!r} got through"
            assert re.fullmatch(r"[A-Za-z0-9+*#_.@-]+", attack)
            for command in received(server)[before:]:
                words = command.split("\n")[0].split(" ")
                assert words[:2] in (["api", "uuid_transfer"], ["bgapi", "originate"], ["api", "uuid_kill"])
                assert words[2:] == [call_id, attack, "XML", "default"] or words[1] != "uuid_transfer"
            rig.wait(6)


def test_a_configuration_may_be_narrower_and_is_then_obeyed() -> None:
    with on_the_wire({}) as (rig, server):
        for attack in ATTACKS:
            for kind, field in FIELDS:
                if field.split(".")[-1] in {"destination", "caller_id_number", "agent_id", "extension"}:
                    with pytest.raises(RequestRefused):
                        place(rig, set_at(WITH[kind], field, attack))
        assert len(received(server)) == 1
