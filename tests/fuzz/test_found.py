"""What the fuzzers have found, one plain test each."""

from __future__ import annotations

import pytest

from callengine.calls import facts
from callengine.calls.facts import Fact
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator
from tests.calls.build import Channel, Desk

CREATE = b'{"Event-Name":"CHANNEL_CREATE","Unique-ID":"A","Event-Date-Timestamp":"1795343615301165"'


@pytest.mark.parametrize("depth", [900, 2_000, 100_000])
@pytest.mark.parametrize("inner", [b"[%s]", b'{"a":%s}'])
def test_json_of_any_depth_is_read_or_set_aside(depth: int, inner: bytes) -> None:
    before, after = inner.split(b"%s")
    body = CREATE + b',"x":' + before * depth + b"1" + after * depth + b"}"
    try:
        fact = Translator().json(body)
    except MalformedEvent as error:
        assert "no JSON" in str(error)  # noqa: PT017
    else:
        assert isinstance(fact, facts.LegCreated)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Event-Name":"BACKGROUND_JOB","Job-UUID":"a\\u0000b","Core-UUID":"\\u0000","_body":"+OK \\u0000"}',
        b'{"Event-Name":"HEARTBEAT","Core-UUID":"a\\u0000b"}',
        b'{"Event-Name":"SHUTDOWN","Core-UUID":"a\\u0000b"}',
    ],
)
def test_no_fact_holds_a_nul(body: bytes) -> None:
    fact = Translator().json(body)
    assert fact is not None
    assert "\0" not in repr(fact)
    assert "\\x00" not in repr(fact)


def test_what_was_said_of_a_channel_before_a_bridge_counts_where_its_creation_was_missed() -> None:
    """The agent's leg was there before us; its answer, which names the agent, comes before the bridge or after it."""
    a, b = Channel("A"), Channel("B", 1)
    b.variables["leg_agent"] = "1001"
    first: list[Fact] = [a.created(), a.answered(2)]
    answer, bridge = b.answered(3), a.bridged("B", 3)
    told = [Desk().take(*first, *rest).shown("A") for rest in ((answer, bridge), (bridge, answer))]
    assert told[0]["agent_id"] == "1001"
    for shown in told:
        del shown["seq"]
    assert told[0] == told[1]


def test_no_text_of_the_switch_is_kept_at_any_length() -> None:
    a, long = Channel("A", channel_name="n" * 70_000), "x" * 70_000
    desk = Desk().take(a.created(), a.answered(1), a.bridged(long, 2), a.started(f"/{long}", 2), a.hung_up(3, long))
    assert len(str(desk.shown())) < 5_000
    assert len(str(desk.effects)) < 20_000
    assert desk.refused() == ["path_too_long"]


def test_too_many_legs_of_which_something_was_said_before_end_in_refusals() -> None:
    a, others = Channel("A"), [Channel(f"B{n}", 1) for n in range(300)]
    desk = Desk().take(a.created(), a.answered(1), *(b.answered(2) for b in others))
    desk.take(*(b.bridged("A", 3) for b in others), *(a.bridged(b.uuid, 3) for b in others))
    assert len(desk.shown("A")["legs"]) == 256
