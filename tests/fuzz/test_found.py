"""What the fuzzers have found, one plain test each."""

from __future__ import annotations

import pytest

from callengine.calls import facts
from callengine.calls.facts import Fact, LegGone
from callengine.config.settings import Settings
from callengine.errors import MalformedEvent
from callengine.esl.headers import Translator
from tests.api import fakes
from tests.calls.build import Channel, Desk, ours, us

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
        CREATE + b',"variable_originate_signal_bond":"a\\u0000b"}',
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


@pytest.mark.parametrize("direction", ["sideways", "INBOUND", "x" * 70_000])
def test_a_direction_that_is_none_is_not_told(direction: str) -> None:
    desk = Desk().take(Channel("A", direction=direction).created())
    assert desk.shown()["direction"] == "outbound"


def test_a_call_of_ours_that_goes_on_after_all_ends_when_it_ends() -> None:
    """The agent, rung first, is thought gone before anything was heard of the channel; then it answers after all."""
    agent = Channel("G", direction="outbound")
    desk = Desk().originate(agent="bob", agent_leg="G").job("+OK G", 1).take(LegGone(uuid="G", at_us=us(5)))
    assert desk.shown()["status"] == "failed"
    assert desk.record().end_us == ours(5)
    desk.take(agent.answered(8))
    assert (desk.shown()["status"], desk.shown()["end_time"]) == ("dialing", None)
    desk.take(agent.ended(20))
    assert desk.shown()["status"] == "failed"
    assert desk.record().end_us == ours(20)


def test_an_end_without_a_beginning_ends_no_call_of_ours_that_lives() -> None:
    a = Channel("A", direction="outbound")
    a.stamps.clear()
    desk = Desk().originate().take(a.ended(7))
    shown = desk.shown()
    assert (shown["status"], shown["end_time"], shown["hangup_cause"]) == ("dialing", None, None)
    desk.job("-ERR NO_ANSWER", 9)
    assert (desk.shown()["status"], desk.record().end_us) == ("failed", ours(9))


def test_too_many_legs_of_which_something_was_said_before_end_in_refusals() -> None:
    a, others = Channel("A"), [Channel(f"B{n}", 1) for n in range(300)]
    desk = Desk().take(a.created(), a.answered(1), *(b.answered(2) for b in others))
    desk.take(*(b.bridged("A", 3) for b in others), *(a.bridged(b.uuid, 3) for b in others))
    assert len(desk.shown("A")["legs"]) == 256


@pytest.mark.parametrize("token", ["\xff", "\xc3\xa9", "Og==\xff"])
def test_credentials_that_are_no_ascii_are_refused(token: str, caplog: pytest.LogCaptureFixture) -> None:
    secret = {"cdr": {"http_secret": "correct horse battery"}}
    chosen = Settings.model_validate(fakes.settings().model_dump() | secret)
    client = fakes.app(fakes.World(), chosen, cdr=NoInbox()).test_client()
    answer = client.post("/fs/cdr", data=b"{}", headers={"Authorization": f"Basic {token}"})
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert not [record for record in caplog.records if record.exc_info]


class NoInbox:
    """Nothing is to come here."""

    def put(self, body: bytes) -> bool:
        raise AssertionError("taken from anybody")


def test_the_name_of_an_agent_at_a_bridge_is_kept_at_no_length() -> None:
    a, b = Channel("A"), Channel("B")
    desk = Desk().take(a.created(), a.answered(1), b.created(other_uuid="A", originator="A"))
    desk.take(a.bridged("B", 2, own_agent="y" * 5_000))
    (agent,) = desk.shown()["agents"]
    assert agent["agent_id"] == "y" * 256
