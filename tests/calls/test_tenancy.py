"""Whose a call is: the number map, the variable, the operator; campaign and lead."""

from __future__ import annotations

import pytest

from callengine.calls.machine import Rules
from tests.calls.build import OPERATOR, Channel, Desk

RULES = Rules(
    default_tenant=OPERATOR,
    tenants={"operator": OPERATOR, "acme": "t-acme", "globex": "t-globex"},
    numbers={"+15550199": "t-acme"},
)
UNMAPPED = "+15550999"


def channel(**variables: str) -> Channel:
    a = Channel(callee_number=UNMAPPED)
    a.variables |= variables
    return a


def test_a_call_is_the_operators_until_it_is_known_whose_it_is() -> None:
    a = channel()
    desk = Desk(RULES).take(a.created())
    assert (desk.record().tenant_id, desk.told()) == (OPERATOR, [])


def test_the_number_map_says_whose_it_is_at_the_creation() -> None:
    desk = Desk(RULES).take(Channel().created())
    assert (desk.record().tenant_id, desk.told()) == ("t-acme", ["dialing"])


def test_the_number_map_goes_before_the_variable() -> None:
    a = Channel()
    a.variables["tenant"] = "globex"
    desk = Desk(RULES).take(a.created(), a.answered(1))
    assert (desk.record().tenant_id, desk.unattributed()) == ("t-acme", [])


@pytest.mark.parametrize("described", [{"direction": "outbound"}, {"user_name": "1000"}])
def test_the_number_map_is_of_numbers_that_are_dialled_at_us(described: dict[str, str]) -> None:
    a = Channel(**{"direction": "inbound"} | described)  # type: ignore[arg-type]
    assert Desk(RULES).take(a.created()).record().tenant_id == OPERATOR


def test_else_the_variable_when_first_seen() -> None:
    a = channel()
    desk = Desk(RULES).take(a.created())
    a.variables["tenant"] = "globex"
    desk.take(a.rang(1))
    assert (desk.record().tenant_id, desk.told()) == ("t-globex", ["dialing", "ringing"])


def test_events_are_held_until_a_variable_names_one() -> None:
    a = channel()
    desk = Desk(RULES).take(a.created(), a.rang(1))
    assert desk.told() == []
    a.variables["tenant"] = "globex"
    desk.take(a.early_media(1.5))
    assert desk.told() == ["dialing", "ringing"]
    assert {p.record.tenant_id for p in desk.published()} == {"t-globex"}


def test_or_until_the_answer() -> None:
    a = channel()
    desk = Desk(RULES).take(a.created(), a.answered(1))
    assert desk.told() == ["dialing", "answered"]


def test_or_until_the_end() -> None:
    a = channel()
    assert Desk(RULES).take(a.created(), a.ended(1, "USER_BUSY")).told() == ["dialing", "ended"]


def test_or_2_s() -> None:
    desk = Desk(RULES).take(channel().created())
    desk.tick(1.999)
    assert desk.told() == []
    desk.tick(2)
    assert desk.told() == ["dialing"]


def test_or_until_the_stream_ends() -> None:
    desk = Desk(RULES).take(channel().created())
    desk._keep(desk.book.release())
    assert desk.told() == ["dialing"]


def test_it_moves_at_most_once() -> None:
    a = channel(tenant="globex")
    desk = Desk(RULES).take(a.created())
    a.variables["tenant"] = "acme"
    desk.take(a.answered(1), a.ended(2))
    assert desk.record().tenant_id == "t-globex"


@pytest.mark.parametrize("how", ["time", "answer"])
def test_and_never_after_anything_was_told(how: str) -> None:
    a = channel()
    desk = Desk(RULES).take(a.created())
    if how == "time":
        desk.tick(2)
    else:
        desk.take(a.answered(1))
    a.variables["tenant"] = "globex"
    desk.take(a.hung_up(3), a.ended(3))
    assert desk.record().tenant_id == OPERATOR
    assert {p.record.tenant_id for p in desk.published()} == {OPERATOR}
    assert desk.unattributed() == ["tenant"]


def test_an_unknown_tenants_name_is_counted_once_and_stays_with_the_operator() -> None:
    a = channel(tenant="nobody")
    desk = Desk(RULES).take(a.created(), a.rang(1), a.answered(2), a.ended(3))
    assert (desk.record().tenant_id, desk.unattributed()) == (OPERATOR, ["tenant"])
    assert desk.told() == ["dialing", "ringing", "answered", "ended"]


def test_the_operators_own_name_is_no_unknown_one() -> None:
    a = channel(tenant="operator")
    desk = Desk(RULES).take(a.created(), a.answered(1))
    assert (desk.record().tenant_id, desk.unattributed()) == (OPERATOR, [])


def test_with_one_tenant_there_is_nothing_to_wait_for() -> None:
    desk = Desk(Rules(default_tenant=OPERATOR, tenants={"operator": OPERATOR})).take(channel().created())
    assert desk.told() == ["dialing"]


def test_new_rules_hold_for_what_comes_next() -> None:
    desk = Desk(Rules(default_tenant=OPERATOR))
    desk.book.rules = RULES
    assert desk.take(Channel().created()).record().tenant_id == "t-acme"


# -- campaign and lead ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "spring 2027", "ü-中", "a" * 128, "'; DROP TABLE calls; --"])
def test_campaign_and_lead_ids_are_the_tenants_own_strings(text: str) -> None:
    a = channel(campaign=text, lead=text)
    shown = Desk().take(a.created()).shown()
    assert (shown["campaign_id"], shown["lead_id"]) == (text, text)


@pytest.mark.parametrize("text", ["a" * 129, "a\nb", "\x7f", "\x00", "a\tb", "\u200b", "\ud800", "\ue000"])
def test_what_no_id_can_be_is_counted_once_and_ignored(text: str) -> None:
    a = channel(campaign=text, lead=text)
    desk = Desk().take(a.created(), a.rang(1), a.answered(2), a.ended(3))
    shown = desk.shown()
    assert (shown["campaign_id"], shown["lead_id"]) == (None, None)
    assert desk.unattributed() == ["campaign", "lead"]


def test_a_usable_id_after_an_unusable_one_is_taken() -> None:
    a = channel(campaign="a\nb")
    desk = Desk().take(a.created())
    a.variables["campaign"] = "spring"
    assert desk.take(a.answered(1)).shown()["campaign_id"] == "spring"
    assert desk.unattributed() == ["campaign"]


def test_one_that_is_set_later_is_seen_with_the_next_event() -> None:
    a = channel()
    desk = Desk().take(a.created(), a.answered(1))
    assert desk.shown()["campaign_id"] is None
    a.variables |= {"campaign": "spring", "lead": "l-1"}
    desk.take(a.held(2))
    assert (desk.shown()["campaign_id"], desk.shown()["lead_id"]) == ("spring", "l-1")


def test_the_first_one_stays() -> None:
    a = channel(campaign="spring")
    desk = Desk().take(a.created())
    a.variables["campaign"] = "summer"
    assert desk.take(a.answered(1)).shown()["campaign_id"] == "spring"


def test_those_of_a_leg_are_not_the_calls() -> None:
    a, b = channel(), Channel("B", 1, "outbound", originator="A")
    b.variables["campaign"] = "spring"
    assert Desk().take(a.created(), b.created()).shown()["campaign_id"] is None


def test_those_asked_for_stand() -> None:
    a = Channel("A", 1, "outbound")
    a.variables |= {"campaign": "other", "lead": "other"}
    shown = Desk().originate(campaign="spring", lead="l-1").take(a.created()).shown()
    assert (shown["campaign_id"], shown["lead_id"]) == ("spring", "l-1")


def test_the_queue_is_that_of_the_calls_own_channel() -> None:
    a = channel()
    desk = Desk().take(a.created())
    a.variables["queue"] = "support@default"
    assert desk.take(a.answered(1)).shown()["queue"] == "support@default"
