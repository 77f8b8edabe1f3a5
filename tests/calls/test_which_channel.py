"""Which channel is the call, which is a leg, and of what: by what a channel says at its creation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.calls.build import PATIENT, Channel, Desk, leg, us

ROOTS: dict[str, Channel] = {
    "inbound": Channel("X"),
    "outbound": Channel("X", direction="outbound"),
    "loopback A": Channel("X", direction="outbound", loopback_leg="A", loopback_other="Y"),
    "a queue's member": Channel("X", queue_side="member"),
    "an outbound member with its agent's name": Channel("X", direction="outbound", queue_side="member"),
    "inbound that carries an agent": Channel("X"),
    "a user's phone that carries its agent": Channel("X", user_name="1000"),
    "its own parent": Channel("X", other_uuid="X", originator="X"),
}
for name in list(ROOTS)[4:7]:
    ROOTS[name].variables |= {"leg_agent": "bob", "own_agent": "bob"}


@pytest.mark.parametrize("name", ROOTS)
def test_a_channel_that_was_not_created_for_another_one_is_a_call(name: str) -> None:
    assert Desk().take(ROOTS[name].created()).roots() == {"X"}


LEGS: dict[str, dict[str, Any]] = {
    "Other-Leg-Unique-ID": {"other_uuid": "A"},
    "originator": {"originator": "A"},
    "the member's agent": {"queue_side": "agent", "queue_member": "A"},
    "loopback B": {"loopback_leg": "B", "loopback_other": "A"},
}


@pytest.mark.parametrize("name", LEGS)
def test_a_channel_created_for_another_one_is_a_leg_of_its_call(name: str) -> None:
    a, b = Channel(), Channel("B", 1, "outbound", **LEGS[name])
    desk = Desk().take(a.created(), b.created(), b.answered(2))
    assert desk.roots() == {"A"}
    assert desk.legs()["B"]["answer_time"] is not None


@pytest.mark.parametrize("name", LEGS)
def test_in_either_order(name: str) -> None:
    a, b = Channel(), Channel("B", 1, "outbound", **LEGS[name])
    desk = Desk().take(b.created(), b.answered(2))
    assert desk.roots() == set()
    desk.take(a.created())
    assert desk.roots() == {"A"}
    assert desk.legs()["B"]["answer_time"] is not None


@pytest.mark.parametrize(
    "described",
    [{"queue_side": "agent"}, {"loopback_leg": "B"}],
    ids=["an agent of a queue without its member", "loopback B without its other half"],
)
def test_a_leg_of_nobody_is_no_call(described: dict[str, Any]) -> None:
    x = Channel("X", direction="outbound", **described)
    desk = Desk().take(x.created(), *x.life(1, 2, 3)[1:])
    assert desk.roots() == set()
    desk.tick(100)
    assert not any(desk.book.sizes().values())


@pytest.mark.parametrize("variable", ["own_agent", "leg_agent"])
def test_an_outbound_leg_that_carries_an_agent_at_create_is_no_call(variable: str) -> None:
    x = Channel("X", direction="outbound")
    x.variables[variable] = "bob"
    assert Desk().take(x.created()).roots() == set()


def test_an_agent_named_after_the_creation_makes_no_leg_of_a_call() -> None:
    x = Channel("X", direction="outbound")
    desk = Desk().take(x.created())
    x.variables["own_agent"] = "bob"
    assert desk.take(x.answered(1)).roots() == {"X"}


def test_legs_of_legs_are_legs_of_the_same_call() -> None:
    chain = [Channel("A"), leg("B", "A"), leg("C", "B", 2), leg("D", "C", 3)]
    for order in itertools.permutations(chain):
        desk = Desk(timing=PATIENT).take(*(c.created() for c in order))
        assert desk.roots() == {"A"}
        assert desk.legs().keys() == {"B", "C", "D"}


def test_a_loopback_pair_is_one_call() -> None:
    a = Channel("A", direction="outbound", loopback_leg="A", loopback_other="B")
    b = Channel("B", direction="outbound", loopback_leg="B", loopback_other="A")
    c = leg("C", "B", 2)
    desk = Desk().take(a.answered(1), b.created(), a.created(), c.created(), *(x.ended(3) for x in (c, b, a)))
    assert desk.roots() == {"A"}
    assert {u: v["role"] for u, v in desk.legs().items()} == {"B": "loopback", "C": "leg"}


# -- direction ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_direction_is_the_channels_call_direction(direction: str) -> None:
    assert Desk().take(Channel(direction=direction).created()).shown()["direction"] == direction


def test_a_call_that_an_authenticated_user_places_is_outbound() -> None:
    assert Desk().take(Channel(user_name="1000").created()).shown()["direction"] == "outbound"


def test_an_authenticated_user_who_hangs_up_is_the_caller_still() -> None:
    a = Channel(user_name="1000")
    shown = Desk().take(a.created(), a.answered(1), a.ended(2, sip_disposition="recv_bye")).shown()
    assert (shown["direction"], shown["hangup_by"]) == ("outbound", "caller")


def test_numbers_are_those_of_the_creation() -> None:
    a = Channel(caller_number="100", callee_number="200", caller_name="Ada")
    later = Channel(caller_number="200", callee_number="300", caller_name="Outbound Call")
    desk = Desk().take(a.created(), later.listed(5), later.created())
    shown = desk.shown()
    assert (shown["caller_number"], shown["callee_number"], shown["caller_name"]) == ("100", "200", "Ada")


# -- whom something else rings first -----------------------------------------------------------------------------------


def agent(uuid: str = "G", at: float = 0.0, name: str = "bob") -> Channel:
    channel = Channel(uuid, at, "outbound")
    channel.variables["leg_agent"] = name
    return channel


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_where_an_agent_is_rung_first_by_something_else_the_call_is_who_is_rung_for_him(order: tuple[int, ...]) -> None:
    g, c = agent(), leg("C", "G")
    g.stamps["answered_us"] = us(1)
    c.stamps["answered_us"] = us(2)
    facts = [g.created(), c.created(), g.bridged("C", 3)]
    desk = Desk(timing=PATIENT).take(*(facts[i] for i in order))
    assert desk.roots() == {"C"}
    assert desk.shown("C")["agent_id"] == "bob"
    assert desk.shown("C")["status"] == "agent_connected"


def test_so_too_if_the_call_was_met_before_it_was_known_to_be_one() -> None:
    a, g, c = Channel("A"), agent(), leg("C", "G")
    c.stamps["answered_us"] = us(2)
    desk = Desk(timing=PATIENT).take(a.created(), a.bridged("C", 3), c.created(), c.answered(2))
    assert desk.roots() == {"A"}
    desk.take(g.created())
    assert desk.roots() == {"A", "C"}
    assert (desk.shown("C")["status"], desk.shown("C")["caller_number"]) == ("answered", "+15550100")
    assert desk.told("C") == ["dialing", "answered"]
    assert desk.legs("A")["C"]["call_id"] == desk.call("C").id


@pytest.mark.parametrize("variables", [{"leg_agent": "eve"}, {"voice_agent": "true"}])
def test_an_agent_whom_an_agent_rings_is_a_leg_of_the_call_that_one_serves(variables: dict[str, str]) -> None:
    g, c, second = agent(), leg("C", "G"), leg("H", "G", 4)
    second.variables |= variables
    desk = Desk().take(g.created(), c.created(), g.bridged("C", 3), second.created())
    assert desk.roots() == {"C"}
    assert "H" in desk.legs("C")


def test_he_rings_nobody_for_a_call_that_is_over() -> None:
    g, c, second = agent(), leg("C", "G"), leg("H", "G", 9)
    second.variables["leg_agent"] = "eve"
    desk = Desk().take(g.created(), c.created(), g.bridged("C", 3), c.ended(5), second.created())
    assert "H" not in desk.legs("C")


# -- transfers --------------------------------------------------------------------------------------------------------


def test_a_blind_transfer_of_the_call_keeps_one_call() -> None:
    """The agent sends the caller on: the call's channel stays, its second leg is another one."""
    a, b, c = Channel(), leg("B", "A"), leg("C", "A", 10)
    desk = Desk().take(a.created(), b.created(), b.answered(2), a.answered(2), a.bridged("B", 2))
    desk.take(a.unbridged("B", 8), b.ended(8, "BLIND_TRANSFER"), c.created(), c.answered(12), a.bridged("C", 12))
    desk.take(a.unbridged("C", 20), a.ended(20), c.ended(20))
    assert desk.roots() == {"A"}
    assert desk.legs().keys() == {"B", "C"}
    assert desk.told() == ["dialing", "answered", "ended"]


def test_a_blind_transfer_of_the_other_end_keeps_one_call() -> None:
    """The caller sends the agent on and leaves: the call ends with its channel, and no second one begins."""
    a, b, c = Channel(), leg("B", "A"), leg("C", "B", 10)
    desk = Desk().take(a.created(), b.created(), b.answered(2), a.answered(2), a.bridged("B", 2))
    desk.take(a.unbridged("B", 8), a.ended(8, "BLIND_TRANSFER"), c.created(), c.answered(12), b.bridged("C", 12))
    assert desk.roots() == {"A"}
    assert (desk.shown()["status"], desk.shown()["hangup_cause"]) == ("completed", "BLIND_TRANSFER")
    desk.take(b.ended(20), c.ended(20))
    assert desk.told() == ["dialing", "answered", "ended"]


def met(desk: Desk, one: str, two: str) -> bool:
    return desk.legs(one)[two]["call_id"] == desk.call(two).id


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_two_calls_that_are_bridged_stay_two_each_naming_the_other(order: tuple[int, ...]) -> None:
    a, b = Channel("A"), Channel("B", 1)
    a.stamps["answered_us"] = b.stamps["answered_us"] = us(2)
    facts = [a.created(), b.created(), a.bridged("B", 3)]
    desk = Desk(timing=PATIENT).take(*(facts[i] for i in order))
    assert desk.roots() == {"A", "B"}
    assert met(desk, "A", "B")
    assert met(desk, "B", "A")
    assert desk.legs()["B"]["role"] == "call"


def test_they_end_each_at_its_own_time_and_with_its_own_cause() -> None:
    a, b = Channel("A"), Channel("B", 1)
    desk = Desk().take(a.created(), b.created(), a.answered(2), b.answered(2), a.bridged("B", 3))
    desk.take(b.ended(5, "NORMAL_CLEARING"), a.unbridged("B", 5), a.ended(9, "MANAGER_REQUEST"))
    assert [desk.shown(u)["hangup_cause"] for u in "AB"] == ["MANAGER_REQUEST", "NORMAL_CLEARING"]
    assert [desk.shown(u)["total_duration_s"] for u in "AB"] == [9, 4]
    assert [desk.told(u) for u in "AB"] == [["dialing", "answered", "ended"]] * 2


@pytest.mark.parametrize("disorder", range(24))
def test_an_attended_transfer_leaves_two_calls_each_naming_the_other(disorder: int) -> None:
    """A talks to B; B's second line X rings C; B leaves both, A and C remain connected: neither is X's own channel."""
    a, b, x, c = Channel("A"), leg("B", "A"), Channel("X", 5, user_name="1001"), leg("C", "X", 6)
    for channel in (a, b, x, c):
        channel.stamps["answered_us"] = us(7)
    created = list(itertools.permutations([a.created(), b.created(), x.created(), c.created()]))[disorder]
    facts = [*created[:2], a.bridged("B", 3), x.bridged("C", 7), a.bridged("C", 9), *created[2:]]
    desk = Desk(timing=PATIENT).take(*facts)
    desk.take(b.ended(9, "ATTENDED_TRANSFER"), x.ended(9, "ATTENDED_TRANSFER"), a.ended(20), c.ended(20))
    assert desk.roots() == {"A", "X"}
    assert desk.legs("A")["C"]["call_id"] == desk.call("X").id
    assert desk.legs("X")["A"]["call_id"] == desk.call("A").id
    assert desk.legs("X")["C"]["call_id"] is None
    assert [desk.shown(u)["status"] for u in "AX"] == ["completed", "completed"]


# -- only our own
# -------------------------------------------------------------------------------------------------------


def test_own_only_tracks_what_we_originate_and_nothing_else() -> None:
    desk = Desk(tracking_others=False)
    other, its_leg, mine, my_leg = Channel("O"), leg("P", "O"), Channel("A", 1, "outbound"), leg("B", "A", 2)
    desk.take(other.created(), its_leg.created()).originate("A")
    desk.take(mine.created(), my_leg.created(), mine.answered(3), mine.bridged("B", 4))
    assert desk.roots() == {"A"}
    assert desk.legs().keys() == {"B"}
    desk.take(other.ended(5), other.destroyed(5), its_leg.destroyed(5), mine.ended(5), my_leg.ended(5)).job("+OK A", 5)
    desk.tick(100)
    assert not any(desk.book.sizes().values())


@pytest.mark.parametrize("side", [0, 1])
def test_own_only_a_call_of_ours_that_is_bridged_to_anothers_notes_it(side: int) -> None:
    desk = Desk(tracking_others=False)
    other, mine = Channel("O"), Channel("A", 1, "outbound")
    other.variables["leg_agent"] = "bob"
    desk.take(other.created()).originate("A").take(mine.created(), mine.answered(2))
    desk.take((mine.bridged("O", 3), other.bridged("A", 3))[side], other.ended(9))
    assert desk.roots() == {"A"}
    assert (desk.shown()["agent_id"], desk.legs()["O"]["role"]) == ("bob", "agent")
