"""The judge of the table finds what is lost, wrong, stuck, doubled or missing: one call, falsified in each way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from callengine.calls.facts import LegReported
from callengine.calls.view import iso
from callengine.cdr.comparing import expected
from tests.chaos.judge import Evidence, judge
from tests.chaos.load import Placed
from tests.chaos.switches import FarCall
from tests.chaos.witness import Heard

UUID = "0b6a54a1-0c3f-4b5e-9f6c-5f1f0a2f7c11"
NUMBER = "1123000001200"
US = 1_795_343_615_000_000
CDR = LegReported(
    uuid=UUID,
    at_us=US,
    created_us=US,
    progress_us=US + 100_000,
    answered_us=US + 500_000,
    hangup_us=US + 3_000_000,
    hangup_cause="NORMAL_CLEARING",
    direction="outbound",
    callee_number=NUMBER,
)
DEATH = (US / 1e6 + 2, US / 1e6 + 2.1)


def the_call(**changes: Any) -> dict[str, Any]:
    told = {**expected(CDR, lambda _: None), "id": "c1", "fs_uuid": UUID, "callee_number": NUMBER, "seq": 2}
    return told | {"end_source": "event", "failure_reason": None, "ended_after": None, "ended_before": None} | changes


def evidence(call: Mapping[str, Any]) -> Evidence:
    """All of it agrees with the call that is given."""
    return Evidence(
        told=[dict(call)],
        cdrs={UUID: CDR},
        far=[FarCall(NUMBER, US / 1e6)],
        placed=Placed(),
        deaths=[],
        heard={},
        delivered={"c1": ({1, 2}, {n: call[n] for n in ("status", "hangup_cause", "end_time", "answer_time")})},
    )


def closed_with_bounds(**changes: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("end_time", "hangup_cause", "talk_duration_s", "total_duration_s"))
    bounds = {"ended_after": iso(US + 500_000), "ended_before": iso(US + 2_100_000), "end_source": "bounds"}
    return the_call(**nothing | bounds | changes)


def died(call: Mapping[str, Any], heard: Heard | None) -> Evidence:
    return replace(evidence(call), cdrs={}, deaths=[DEATH], heard={} if heard is None else {UUID: heard})


HEARD = Heard(created_us=US, answered_us=US + 500_000)


def test_what_agrees_is_clean() -> None:
    assert judge(evidence(the_call())).lines == []
    assert judge(died(closed_with_bounds(), HEARD)).lines == []


def counts(e: Evidence) -> dict[str, int]:
    names = ("lost", "wrong", "stuck", "doubled", "webhooks_missing")
    verdict = judge(e)
    found = {name: getattr(verdict, name) for name in names if getattr(verdict, name)}
    assert verdict.clean == (not found)
    return found


def test_each_column() -> None:
    right = evidence(the_call())
    assert counts(replace(right, told=[])) == {"lost": 3}  # by its CDR, by the far end, and by a webhook
    assert counts(replace(right, told=[], delivered={}, cdrs={})) == {"lost": 1}
    assert counts(replace(right, told=[], delivered={}, far=[])) == {"lost": 1}
    assert counts(replace(right, placed=Placed(accepted={"c1", "c2"}))) == {"lost": 1}
    assert counts(evidence(the_call(hangup_cause="USER_BUSY"))) == {"wrong": 1}
    assert counts(evidence(the_call(end_source=None))) == {"stuck": 1}
    assert counts(replace(right, far=right.far * 2)) == {"doubled": 1}
    assert counts(replace(right, told=right.told * 2)) == {"doubled": 2}
    again = the_call(id="c2", fs_uuid="another", end_source="clock", status="failed", failure_reason="no_channel")
    told_too = {**right.delivered, "c2": right.delivered["c1"]}
    twice = replace(right, told=[*right.told, again], far=[], delivered=told_too, placed=Placed(numbers={NUMBER}))
    assert counts(twice)["doubled"] == 1
    assert counts(replace(right, retold={"c1"})) == {"doubled": 1}
    assert counts(replace(right, delivered={})) == {"webhooks_missing": 2}
    never_told = replace(evidence(the_call(seq=0)), delivered={})
    assert counts(never_told) == {"webhooks_missing": 1}
    assert counts(evidence(the_call(seq=1))) == {"wrong": 1}  # the book has forgotten what it told
    stale = {"c1": ({1, 2}, {**right.delivered["c1"][1], "status": "answered"})}
    assert counts(replace(right, delivered=stale)) == {"webhooks_missing": 1}


def test_a_call_whose_switch_told_nobody_of_it() -> None:
    died_at = replace(evidence(the_call()), told=[], cdrs={}, delivered={}, deaths=[(US / 1e6 - 0.1, US / 1e6 + 0.5)])
    verdict = judge(died_at)
    assert (verdict.lost, verdict.untold) == (0, 1)


@pytest.mark.parametrize(
    "claim",
    [
        {"end_time": iso(US + 2_000_000)},
        {"hangup_cause": "NORMAL_CLEARING", "ended_after": iso(US - 500_000)},
        {"talk_duration_s": 1},
        {"answer_time": None},
        {"status": "failed"},
        {"dial_time": iso(US - 1_000_000)},
        {"ended_before": None},
        {"ended_before": iso(US + 100_000)},
        {"ended_after": iso(US + 2_900_000), "ended_before": iso(US + 3_000_000)},
    ],
    ids=str,
)
def test_a_claim_that_nobody_told(claim: dict[str, Any]) -> None:
    assert counts(died(closed_with_bounds(**claim), HEARD)) == {"wrong": 1}


def test_what_the_switch_told_while_the_daemon_was_down_too() -> None:
    ringing = closed_with_bounds(answer_time=None, status="failed", ring_time=None, ended_after=iso(US + 100_000))
    assert counts(died(ringing, HEARD)) == {"wrong": 1}
    both_down = [(US / 1e6 + 0.4, DEATH[1])]
    assert counts(replace(died(ringing, HEARD), unheard=both_down)) == {}
    assert counts(replace(died(ringing, replace(HEARD, answered_us=US + 300_000)), unheard=both_down)) == {"wrong": 1}
    # What is claimed is held against the witness, who went on listening.
    for claim in (
        {"answer_time": iso(US + 600_000)},
        {"dial_time": iso(US - 1_000_000)},
        {"hangup_cause": "NORMAL_CLEARING", "ended_after": iso(US - 500_000)},
        {"ended_before": iso(US + 100_000)},
    ):
        assert counts(replace(died(closed_with_bounds(**claim), HEARD), unheard=both_down)) == {"wrong": 1}


def test_a_call_that_came_while_the_daemon_was_down_too() -> None:
    gone = replace(evidence(the_call()), told=[], cdrs={}, delivered={}, deaths=[(US / 1e6 + 5, US / 1e6 + 5.1)])
    assert counts(gone) == {"lost": 1}
    both_down = replace(gone, unheard=[(US / 1e6 - 0.1, US / 1e6 + 5.1)])
    assert (judge(both_down).lost, judge(both_down).untold) == (0, 1)
    assert counts(replace(gone, unheard=[(US / 1e6 + 0.1, US / 1e6 + 5.1)])) == {"lost": 1}


def test_a_call_that_got_its_channel_while_the_daemon_was_down_too() -> None:
    nothing = dict.fromkeys(("answer_time", "ring_time", "hangup_cause"))
    call = the_call(**nothing, status="failed", end_source="clock", failure_reason="engine_restarted")
    heard = replace(HEARD, answered_us=0)
    assert counts(died(call, heard)) == {"wrong": 1}
    both_down = [(US / 1e6 - 0.1, DEATH[1])]
    assert counts(replace(died(call, heard), unheard=both_down)) == {}
    assert counts(replace(died(call | {"failure_reason": "cancelled"}, heard), unheard=both_down)) == {"wrong": 1}


def test_an_end_that_the_switch_told_before_it_died() -> None:
    said = replace(HEARD, hangup_cause="NORMAL_CLEARING")
    assert counts(died(the_call(), said)) == {}
    assert counts(died(the_call(), HEARD)) == {"wrong": 1}
    assert counts(died(the_call(hangup_cause="USER_BUSY"), said)) == {"wrong": 1}


def test_what_the_switch_told_is_not_told_otherwise() -> None:
    early = {"end_time": iso(US + 700_000), "talk_duration_s": 0, "total_duration_s": 0}
    said = replace(HEARD, hangup_cause="NORMAL_CLEARING", ended_us=US + 700_000)
    assert counts(died(the_call(**early), said)) == {}
    assert counts(died(the_call(), said)) == {"wrong": 1}
    assert counts(died(closed_with_bounds(hangup_cause="USER_BUSY"), said)) == {"wrong": 1}
    silent = Heard(created_us=US, from_birth=True)
    assert counts(died(closed_with_bounds(), silent)) == {"wrong": 1}  # nobody told of an answer
    last_moment = iso(US + 1_900_000)
    assert counts(died(closed_with_bounds(answer_time=last_moment), silent)) == {}


def test_an_earlier_stamp_than_the_cdrs_is_wrong() -> None:
    """An audit has to allow for what a CDR cannot tell; no call of a run is like that."""
    earlier = {"dial_time": iso(US - 1_000_000), "total_duration_s": 4}
    assert counts(evidence(the_call(**earlier))) == {"wrong": 1}


def test_a_leg_in_the_book_is_no_call() -> None:
    agent = replace(evidence(the_call()), cdrs={UUID: msgspec.structs.replace(CDR, leg_agent="1001")})
    assert counts(agent)["wrong"] == 1


def test_a_cause_that_the_daemon_alone_heard_in_the_last_moment() -> None:
    assert (
        counts(died(closed_with_bounds(hangup_cause="NORMAL_CLEARING", ended_after=iso(US + 1_900_000)), HEARD)) == {}
    )


def test_without_a_cdr_and_without_a_reason() -> None:
    assert counts(replace(evidence(the_call()), cdrs={})) == {"wrong": 1}


def test_a_call_that_got_no_channel() -> None:
    nothing = dict.fromkeys(("answer_time", "ring_time", "hangup_cause"))
    call = the_call(**nothing, status="failed", end_source="clock", failure_reason="queue_timeout")
    unseen = replace(evidence(call), cdrs={}, far=[])
    assert counts(unseen) == {}
    assert judge(unseen).undialled == {"queue_timeout": 1}
    assert counts(died(call | {"failure_reason": "not_committed"}, None)) == {"wrong": 1}  # the far end saw it
    assert counts(died(call | {"failure_reason": "outcome_unknown"}, None)) == {}
    assert counts(replace(unseen, far=[FarCall(NUMBER, US / 1e6)])) == {"wrong": 1}
    assert counts(replace(evidence(call | {"failure_reason": None}), cdrs={}, far=[])) == {"wrong": 1}
    told = replace(evidence(call | {"hangup_cause": "USER_BUSY", "failure_reason": None}), cdrs={}, far=[])
    assert counts(told) == {"wrong": 1}
    assert counts(replace(told, placed=Placed(jobs={UUID: "USER_BUSY"}))) == {}
