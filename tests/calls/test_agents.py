"""Agents: who handled the call, by the first bridge to a human; later ones stand beside."""

from __future__ import annotations

import itertools

import pytest

from callengine.calls.facts import ChannelFact
from tests.calls.build import PATIENT, Channel, Desk, leg, time, us


def agent_leg(uuid: str = "B", parent: str = "A", at: float = 1.0, name: str | None = "bob") -> Channel:
    channel = leg(uuid, parent, at)
    if name:
        channel.variables["leg_agent"] = name
    return channel


def test_the_first_bridge_to_a_human_agent() -> None:
    a, b = Channel(), agent_leg()
    desk = Desk().take(a.created(), a.answered(1), b.created(), b.answered(3), a.bridged("B", 3.5))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agent_connect_time"], shown["status"]) == ("bob", time(3.5), "agent_connected")
    assert desk.legs()["B"]["role"] == "agent"


def test_an_agent_who_is_rung_and_not_bridged_handled_nothing() -> None:
    a, b = Channel(), agent_leg()
    desk = Desk().take(a.created(), b.created(), b.rang(2), b.ended(20, "NO_ANSWER"), a.ended(21))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agent_connect_time"], shown["agents"]) == (None, None, [])


def test_the_first_stays_and_later_ones_stand_in_agents() -> None:
    a, b, c = Channel(), agent_leg(), agent_leg("C", at=9, name="eve")
    desk = Desk().take(a.created(), a.answered(1), b.created(), a.bridged("B", 3), a.unbridged("B", 8), b.ended(8))
    desk.take(c.created(), a.bridged("C", 11), a.unbridged("C", 20), a.ended(20), c.ended(20))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agent_connect_time"]) == ("bob", time(3))
    assert shown["agents"] == [
        {"agent_id": "bob", "leg": "B", "connect_time": time(3), "disconnect_time": time(8)},
        {"agent_id": "eve", "leg": "C", "connect_time": time(11), "disconnect_time": time(20)},
    ]
    assert desk.told().count("agent_connected") == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_in_whatever_order_the_bridges_are_told(order: tuple[int, ...]) -> None:
    a, b, c = Channel(), agent_leg(), agent_leg("C", name="eve")
    a.stamps["answered_us"] = us(1)
    facts: list[ChannelFact] = [b.created(), c.created(), a.bridged("C", 11), a.bridged("B", 3)]
    desk = Desk(timing=PATIENT).take(a.created(), *(facts[i] for i in order))
    assert [x["agent_id"] for x in desk.shown()["agents"]] == ["bob", "eve"]
    assert desk.shown()["agent_id"] == "bob"


def test_one_who_comes_back_stands_there_twice() -> None:
    a, b = Channel(), agent_leg()
    desk = Desk().take(a.created(), b.created(), a.answered(1))
    desk.take(a.bridged("B", 3), a.unbridged("B", 5), a.bridged("B", 7), a.unbridged("B", 9))
    connected = [(x["connect_time"], x["disconnect_time"]) for x in desk.shown()["agents"]]
    assert connected == [(time(3), time(5)), (time(7), time(9))]


def test_a_bridge_to_nobody_with_a_name_is_no_agents() -> None:
    a, b = Channel(), agent_leg(name=None)
    shown = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3)).shown()
    assert (shown["agent_id"], shown["status"]) == (None, "answered")


def test_callengine_agent_id_on_the_calls_own_channel_names_whom_it_is_bridged_to() -> None:
    a, b = Channel(), agent_leg(name=None)
    a.variables["own_agent"] = "bob"
    shown = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3)).shown()
    assert (shown["agent_id"], shown["agent_connect_time"]) == ("bob", time(3))


def test_it_names_nobody_before_a_bridge() -> None:
    a = Channel()
    a.variables["own_agent"] = "bob"
    assert Desk().take(a.created(), a.answered(1)).shown()["agent_id"] is None


def test_it_may_name_another_one_before_the_next_bridge() -> None:
    a, b, c = Channel(), agent_leg(name=None), agent_leg("C", name=None)
    a.variables["own_agent"] = "bob"
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3), a.unbridged("B", 5), c.created())
    a.variables["own_agent"] = "eve"
    desk.take(a.bridged("C", 7))
    assert [x["agent_id"] for x in desk.shown()["agents"]] == ["bob", "eve"]


def test_who_is_named_after_a_bridge_was_not_part_of_it() -> None:
    """Transferred from somebody who is no agent to one: what the call's channel says then is of the second alone."""
    a, c, b = Channel(), agent_leg("C", name=None), agent_leg("B", at=20, name=None)
    desk = Desk().take(a.created(), a.answered(1), c.created(), a.bridged("C", 3), a.unbridged("C", 10), c.ended(10))
    a.variables["own_agent"] = "bob"
    desk.take(b.created(), a.bridged("B", 21))
    shown = desk.shown()
    assert [(x["agent_id"], x["leg"]) for x in shown["agents"]] == [("bob", "B")]
    assert (shown["agent_id"], shown["agent_connect_time"]) == ("bob", time(21))
    desk.take(a.unbridged("B", 30), a.held(31), a.ended(32))
    assert desk.shown()["agents"] == [
        {"agent_id": "bob", "leg": "B", "connect_time": time(21), "disconnect_time": time(30)}
    ]


def test_one_who_is_named_while_the_bridge_stands_is_its_agent() -> None:
    a, b = Channel(), agent_leg(name=None)
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3))
    a.variables["own_agent"] = "bob"
    desk.take(a.held(5), a.unbridged("B", 8), a.ended(9))
    assert (desk.shown()["agent_id"], desk.shown()["agent_connect_time"]) == ("bob", time(3))


def test_the_other_legs_name_goes_before_it() -> None:
    a, b = Channel(), agent_leg()
    a.variables["own_agent"] = "eve"
    assert Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3)).shown()["agent_id"] == "bob"


def test_the_same_for_outbound() -> None:
    a, b = Channel(direction="outbound"), agent_leg()
    shown = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3)).shown()
    assert (shown["direction"], shown["agent_id"]) == ("outbound", "bob")


@pytest.mark.parametrize("named_by", ["leg", "own"])
def test_a_voice_agent_is_never_one(named_by: str) -> None:
    a, b = Channel(), agent_leg(name="robot" if named_by == "leg" else None)
    b.variables["voice_agent"] = "true"
    if named_by == "own":
        a.variables["own_agent"] = "robot"
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3), a.ended(9))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agent_connect_time"], shown["agents"]) == (None, None, [])
    assert desk.legs()["B"]["role"] == "voice_agent"
    assert desk.legs()["B"]["agent_id"] is None
    assert "agent_connected" not in desk.told()


def test_a_human_after_a_voice_agent_is_the_agent() -> None:
    a, b, c = Channel(), agent_leg(name="robot"), agent_leg("C")
    b.variables["voice_agent"] = "true"
    desk = Desk().take(a.created(), b.created(), c.created(), a.answered(1), a.bridged("B", 3), a.bridged("C", 8))
    assert (desk.shown()["agent_id"], desk.shown()["agent_connect_time"]) == ("bob", time(8))


def test_what_was_told_of_one_who_turns_out_a_voice_agent_stands_until_the_end() -> None:
    """The variable was set on a leg that was bridged already: no status goes back, and the end tells the truth."""
    a, b = Channel(), agent_leg(name="robot")
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3))
    b.variables["voice_agent"] = "true"
    desk.take(b.held(5))
    shown = desk.shown()
    assert (shown["status"], shown["agent_id"], shown["agent_connect_time"]) == ("agent_connected", "robot", time(3))
    desk.take(b.ended(8), a.ended(9))
    shown = desk.shown()
    assert (shown["status"], shown["agent_id"], shown["agent_connect_time"]) == ("completed", None, None)
    assert desk.told() == ["dialing", "answered", "agent_connected", "ended"]
    told = [(p.record.status, p.record.agent_id) for p in desk.published()]
    assert told[-2:] == [("agent_connected", "robot"), ("completed", None)]


def test_a_human_after_one_who_turned_out_a_voice_agent_is_the_agent() -> None:
    a, b, c = Channel(), agent_leg(name="robot"), agent_leg("C")
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3))
    b.variables["voice_agent"] = "true"
    desk.take(b.held(5), c.created(), a.unbridged("B", 7), a.bridged("C", 8))
    assert (desk.shown()["agent_id"], desk.shown()["agent_connect_time"]) == ("bob", time(8))
    assert desk.told().count("agent_connected") == 1


def test_one_who_turns_out_a_voice_agent_after_the_end_is_a_correction() -> None:
    a, b = Channel(), agent_leg(name="robot")
    desk = Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3), a.ended(9))
    b.variables["voice_agent"] = "true"
    desk.take(b.ended(9), b.destroyed(9))
    assert desk.told() == ["dialing", "answered", "agent_connected", "ended", "corrected"]
    assert desk.published()[-1].record.agent_id is None


@pytest.mark.parametrize("value", ["false", "", "True", "1", "yes"])
def test_only_the_word_true_makes_a_voice_agent(value: str) -> None:
    a, b = Channel(), agent_leg()
    b.variables["voice_agent"] = value
    assert Desk().take(a.created(), b.created(), a.answered(1), a.bridged("B", 3)).shown()["agent_id"] == "bob"


def test_a_queues_member_who_is_bridged_to_another_call_is_no_agents_leg() -> None:
    """mod_callcenter sets cc_agent on the member's channel, too: it names who serves that one."""
    a, c = Channel(), Channel("C", 2)
    a.variables |= {"leg_agent": "bob", "queue": "support"}
    desk = Desk().take(a.created(), c.created(), a.answered(3), c.answered(3), c.bridged("A", 4))
    assert desk.shown("C")["agent_id"] is None


def test_a_bridge_without_any_stamp_names_the_agent_and_no_time() -> None:
    a, b = Channel(), agent_leg()
    desk = Desk().take(a.created(), a.answered(1), b.created())
    blank = a.bridged("B", 3, bridged_us=0)
    desk.take(type(blank)(uuid="A", bridge_a="A", bridge_b="B"))
    shown = desk.shown()
    assert (shown["agent_id"], shown["agent_connect_time"], shown["status"]) == ("bob", None, "answered")


# -- an agent's leg that serves many -----------------------------------------------------------------------------------


def nailed_up() -> Channel:
    channel = Channel("G", direction="outbound")
    channel.variables["leg_agent"] = "bob"
    return channel


def test_a_nailed_up_agent_serves_one_call_after_another() -> None:
    g = nailed_up()
    desk = Desk().take(g.created(), g.answered(1))
    for n in range(5):
        a = Channel(f"A{n}", 10 * n + 2)
        desk.take(a.created(), a.answered(10 * n + 3), g.bridged(a.uuid, 10 * n + 4), g.unbridged(a.uuid, 10 * n + 8))
        desk.take(a.ended(10 * n + 8, sip_disposition="recv_bye"))
        shown = desk.shown(a.uuid)
        assert (shown["agent_id"], shown["agent_connect_time"], shown["hangup_by"]) == (
            "bob",
            time(10 * n + 4),
            "caller",
        )
        assert [x["leg"] for x in shown["agents"]] == ["G"]
    assert "G" not in desk.roots()


def test_his_later_end_does_not_disturb_older_calls() -> None:
    g, a = nailed_up(), Channel("A", 2)
    desk = Desk().take(g.created(), g.answered(1), a.created(), a.answered(3), g.bridged("A", 4))
    desk.take(g.unbridged("A", 8), a.ended(8, sip_disposition="send_bye"))
    before, told = desk.record(), desk.told()
    desk.take(g.hung_up(20), g.ended(20, sip_disposition="recv_bye"), g.destroyed(20))
    assert desk.record() == before
    assert desk.told() == told
    assert before.hangup_by == "switch"


def test_who_hung_up_on_the_last_one_is_known_all_the_same() -> None:
    g, a = nailed_up(), Channel("A", 2)
    desk = Desk().take(g.created(), g.answered(1), a.created(), a.answered(3), g.bridged("A", 4))
    desk.take(g.hung_up(8), g.ended(8, sip_disposition="recv_bye"), g.unbridged("A", 8))
    desk.take(a.ended(8.1, sip_disposition="send_bye"))
    assert desk.shown()["hangup_by"] == "callee"


def test_memory_stays_bounded_through_a_long_shift() -> None:
    g = nailed_up()
    desk = Desk().take(g.created(), g.answered(1))
    most = 0
    for n in range(3000):
        at = 2.0 + n
        a = Channel(f"A{n}", at)
        desk.take(a.created(), a.answered(at), g.bridged(a.uuid, at), g.unbridged(a.uuid, at + 0.5), a.ended(at + 0.5))
        desk.tick(at + 0.9)
        assert desk.shown(a.uuid)["agent_id"] == "bob"
        desk.calls.clear()
        desk.effects.clear()
        most = max(most, *desk.book.sizes().values())
    assert most < 140
    desk.take(g.ended(3100))
    desk.tick(3200)
    desk.tick(3300)
    assert not any(desk.book.sizes().values())


def test_a_recording_of_his_leg_is_that_of_the_call_he_serves() -> None:
    g, a, b = nailed_up(), Channel("A", 2), Channel("C", 10)
    desk = Desk().take(g.created(), g.answered(1), a.created(), a.answered(3), g.bridged("A", 4))
    desk.take(g.started("/1.wav", 5), g.stopped("/1.wav", 8), g.unbridged("A", 8), a.ended(8))
    desk.take(b.created(), b.answered(11), g.bridged("C", 12), g.started("/2.wav", 13), b.ended(15))
    desk.take(g.stopped("/2.wav", 16))
    assert [r["path"] for r in desk.record("A").recordings] == ["/1.wav"]
    assert [(r["path"], r["stop_us"]) for r in desk.record("C").recordings] == [("/2.wav", us(16))]
