"""From a request to the call's end, over a real socket: against the stand-in, or a FreeSWITCH whose address is given.

``CALLENGINE_TEST_SWITCH=host:port:password`` names one with gateways ``lab`` and ``agents``, a queue
``support@default``, an extension 9001 that plays a tone, and a folder ``CALLENGINE_TEST_RECORDINGS`` that it may write
to. The numbers mean the same to both: 6201 answers and stays, 1200 hangs up after a while, 2486 is busy, 3180 rings for
ever, 4404 is unknown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from callengine.errors import CallOver, WrongState
from callengine.standin.launch import launch
from tests.originate.fakes import TENANT, settings
from tests.originate.live import Live, live

AGENT = {"type": "agent", "agents": "desk", "agent_id": "7201"}
BUSY_AGENT = {"type": "agent", "agents": "lab", "agent_id": "2486"}
DEAF_AGENT = {"type": "agent", "agents": "lab", "agent_id": "3180"}
QUEUE = {"type": "queue", "queue": "support@default"}

REAL = os.environ.get("CALLENGINE_TEST_SWITCH")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, str, Path]]:
    if REAL:
        host, port, password = REAL.split(":")
        yield host, int(port), password, Path(os.environ["CALLENGINE_TEST_RECORDINGS"])
        return
    folder = tmp_path_factory.mktemp("recordings")
    with launch(["--port", "0", "--time-scale", "10"]) as process:
        yield process.host, process.port, "ClueCon", folder


@pytest.fixture
def rig(address: tuple[str, int, str, Path]) -> Iterator[Live]:
    host, port, password, folder = address
    configured = settings(
        {
            "recordings": {"directories": [str(folder)]},
            "originate": {
                "max_concurrent": 50,
                "queue_max": 50,
                "gateways": {"lab": {}, "nowhere": {}},
                "agents": {
                    "desk": {"dial_string": "sofia/gateway/agents/{agent}"},
                    "lab": {"dial_string": "sofia/gateway/lab/{agent}"},
                },
                "ring_timeout_s": 3,
            },
        }
    )
    with gevent.Timeout(60, AssertionError("it hung")), live(configured, host, port, password) as made:
        yield made
        for call in [c for c in made.book.live() if c.origination is not None]:
            made.control.hangup(TENANT, call.id)
            made.ended(call.id)
        assert made.originator.in_flight == made.originator.queued == 0


def test_the_lead_answers_and_hangs_up(rig: Live) -> None:
    call = rig.place(destination="1200", caller_id_number="4930", caller_id_name="O'Brien, (Sales)", lead_id="it's 1")
    record = rig.ended(call)
    assert (record.status, record.hangup_cause, record.lead_id) == ("completed", "NORMAL_CLEARING", "it's 1")
    assert (record.caller_number, record.caller_name, record.callee_number) == ("4930", "O'Brien, (Sales)", "1200")
    assert rig.words(call)[:3] == ["queued", "originate_sent", "created"]


@pytest.mark.parametrize(
    ("number", "cause"), [("2486", "USER_BUSY"), ("4404", "UNALLOCATED_NUMBER"), ("3180", "NO_ANSWER")]
)
def test_the_lead_does_not_answer(rig: Live, number: str, cause: str) -> None:
    record = rig.ended(rig.place(destination=number))
    assert (record.status, record.hangup_cause, record.answer_us) == ("failed", cause, None)


def test_a_gateway_that_the_switch_does_not_know(rig: Live) -> None:
    record = rig.ended(rig.place(destination="1200", gateway="nowhere"))
    assert (record.status, record.hangup_cause) == ("failed", "INVALID_GATEWAY")


def test_the_switch_ends_what_lasts_too_long(rig: Live) -> None:
    record = rig.ended(rig.place(destination="6201", max_duration_s=2))
    assert (record.status, record.hangup_cause) == ("completed", "ALLOTTED_TIMEOUT")


def test_the_lead_first_then_an_agent(rig: Live) -> None:
    call = rig.place(destination="6201", on_answer=AGENT)
    record = rig.until(call, lambda r: r.status == "agent_connected")
    assert record.agent_id == "7201"
    assert record.answer_us is not None
    assert record.agent_connect_us is not None
    assert record.answer_us <= record.agent_connect_us


def test_the_agent_first_then_the_lead(rig: Live) -> None:
    call = rig.place(
        destination="6201", on_answer=AGENT, first="agent", caller_id_name="O'Brien, (Sales)", lead_id="it's (1)"
    )
    record = rig.until(call, lambda r: r.status == "agent_connected")
    assert (record.agent_id, record.lead_id, record.caller_name) == ("7201", "it's (1)", "O'Brien, (Sales)")
    own = rig.book.calls[call].own
    assert (own.uuid, own.lead) == (call, "it's (1)")
    rig.control.hangup(TENANT, call)
    assert rig.ended(call).status == "completed"


@pytest.mark.parametrize(("target", "cause"), [(BUSY_AGENT, "USER_BUSY"), (DEAF_AGENT, "NO_ANSWER")])
def test_the_agent_first_and_does_not_answer(rig: Live, target: dict[str, str], cause: str) -> None:
    record = rig.ended(rig.place(destination="6201", on_answer=target, first="agent"))
    assert (record.status, record.hangup_cause, record.answer_us) == ("failed", cause, None)


def test_the_agent_first_and_the_lead_is_busy(rig: Live) -> None:
    record = rig.ended(rig.place(destination="2486", on_answer=AGENT, first="agent"))
    assert (record.status, record.hangup_cause) == ("failed", "USER_BUSY")


def test_the_lead_first_and_the_agent_is_busy(rig: Live) -> None:
    record = rig.ended(rig.place(destination="6201", on_answer=BUSY_AGENT))
    assert (record.status, record.hangup_cause, record.agent_id) == ("completed", "USER_BUSY", None)


def test_a_queue_and_its_agent(rig: Live) -> None:
    call = rig.place(destination="6201", on_answer=QUEUE)
    record = rig.until(call, lambda r: r.status == "agent_connected")
    assert (record.queue, record.agent_id is not None) == ("support@default", True)


def test_a_transfer_to_an_extension(rig: Live) -> None:
    call = rig.place(destination="6201", on_answer={"type": "extension", "extension": "9001"})
    rig.until(call, lambda r: r.status == "answered")
    rig.control.transfer(TENANT, call, {"type": "park"})
    rig.control.transfer(TENANT, call, QUEUE)
    rig.until(call, lambda r: r.status == "agent_connected")
    rig.control.transfer(TENANT, call, {"type": "extension", "extension": "9001"})
    rig.control.hangup(TENANT, call)
    assert rig.ended(call).status == "completed"
    assert rig.words(call).count("transfer") == 3


def test_a_call_is_hung_up_while_it_rings(rig: Live) -> None:
    call = rig.place(destination="3180")
    rig.until(call, lambda r: r.status == "ringing")
    rig.control.hangup(TENANT, call)
    record = rig.ended(call)
    assert (record.status, record.hangup_cause) == ("failed", "ORIGINATOR_CANCEL")
    rig.control.hangup(TENANT, call)


def test_a_call_is_hung_up_as_soon_as_it_was_placed(rig: Live) -> None:
    call = rig.place(destination="3180")
    rig.until(call, lambda r: not rig.originator.waits(call))
    rig.control.hangup(TENANT, call)
    assert rig.ended(call).hangup_cause == "ORIGINATOR_CANCEL"


def test_agents_one_after_the_other(rig: Live) -> None:
    call = rig.place(destination="6201")
    rig.until(call, lambda r: r.status == "answered")
    rig.control.bridge(TENANT, call, AGENT)
    rig.control.bridge(TENANT, call, AGENT)
    rig.until(call, lambda r: r.agent_id == "7201")
    rig.control.bridge(TENANT, call, {**AGENT, "agent_id": "8201"})
    record = rig.until(call, lambda r: len(r.agents) == 2)
    assert [agent["agent_id"] for agent in record.agents] == ["7201", "8201"]
    assert record.agent_id == "7201"
    rig.control.hangup(TENANT, call)
    assert rig.ended(call).status == "completed"


def test_an_agent_who_is_rung_for_a_call_that_ends(rig: Live) -> None:
    call = rig.place(destination="6201")
    rig.until(call, lambda r: r.status == "answered")
    rig.control.bridge(TENANT, call, DEAF_AGENT)
    gevent.sleep(0.3)
    rig.control.hangup(TENANT, call)
    rig.ended(call)
    with gevent.Timeout(2.0):
        while (rows := rig.link.api("show channels as json", timeout_s=5)) and "3180" in rows:
            gevent.sleep(0.05)


def test_two_calls_are_connected(rig: Live) -> None:
    one, two = rig.place(destination="6201"), rig.place(destination="6201")
    for call in (one, two):
        rig.until(call, lambda r: r.status == "answered")
    rig.control.bridge(TENANT, one, {"type": "call", "call_id": two})
    rig.until(one, lambda r: any(leg["call_id"] == two for leg in r.legs))
    rig.control.bridge(TENANT, one, {"type": "call", "call_id": two})
    assert rig.words(one).count("bridge") == 1


def test_hold_and_digits(rig: Live) -> None:
    call = rig.place(destination="6201")
    with pytest.raises(WrongState):
        rig.control.hold(TENANT, call)
    rig.until(call, lambda r: r.status == "answered")
    for _ in range(2):
        rig.control.hold(TENANT, call)
    for _ in range(2):
        rig.control.unhold(TENANT, call)
    rig.control.dtmf(TENANT, call, "12w#", 100)
    words = rig.words(call)
    assert (words.count("hold"), words.count("unhold"), words.count("dtmf")) == (1, 1, 1)
    rig.control.hangup(TENANT, call)
    rig.ended(call)
    with pytest.raises(CallOver):
        rig.control.hold(TENANT, call)


def test_recording_from_the_answer_on(rig: Live) -> None:
    call = rig.place(destination="6201", record=True)
    rig.until(call, lambda r: r.recordings and r.recordings[0]["start_us"])
    gevent.sleep(3.5)
    rig.control.hangup(TENANT, call)
    record = rig.ended(call)
    (recording,) = record.recordings
    assert recording["path"].endswith(f"/{call}.wav")
    assert record.has_recording


def test_recording_on_request(rig: Live) -> None:
    call = rig.place(destination="6201")
    rig.until(call, lambda r: r.status == "answered")
    for action in ("start", "start", "pause", "pause", "resume"):
        rig.control.recording(TENANT, call, action)
    gevent.sleep(3.5)
    for action in ("stop", "stop"):
        rig.control.recording(TENANT, call, action)
    record = rig.until(call, lambda r: r.recordings and r.recordings[0]["stop_us"])
    assert record.has_recording
    words = [word for word in rig.words(call) if word.startswith("recording_")]
    assert [w for w in words if w not in {"recording_started", "recording_stopped"}] == [
        "recording_start",
        "recording_paused",
        "recording_resumed",
        "recording_stop",
    ]
