"""Every recorded stream ends in the right calls: by golden files, and by the switch's own closing figures."""

from __future__ import annotations

import json
import os
from typing import Any

import orjson
import pytest

from callengine.calls.book import Book, Rules
from callengine.calls.call import Call
from callengine.calls.machine import Refused
from callengine.calls.record import record_of
from callengine.calls.view import iso, show
from callengine.esl.headers import parse_plain
from callengine.replay import replay
from tests.calls import streams

# What a live channel's state says when its stream was cut: SIGKILL and a reloaded event socket leave calls open.
CUT = {"j5_sigkill.json", "j6_reload_mod_event_socket.json", "load_slice.json"}


def shown(calls: list[Call]) -> list[dict[str, Any]]:
    return [show(record_of(c)) for c in calls]


@pytest.mark.parametrize("name", streams.names())
def test_golden(name: str) -> None:
    calls, effects = replay(streams.facts(name), "golden")
    assert not [e for e in effects if isinstance(e, Refused)]
    got = shown(calls)
    file = streams.GOLDEN / f"{name}.json"
    if os.environ.get("CALLENGINE_WRITE_GOLDEN"):
        file.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in got))
    expected = [json.loads(line) for line in file.read_text().splitlines()]
    assert got == expected


def closing_words(name: str) -> dict[str, dict[str, Any]]:
    """By channel, the last HANGUP_COMPLETE's headers: its figures are what mod_json_cdr would write."""
    last: dict[str, dict[str, Any]] = {}
    for frame in streams.frames(name):
        if not frame.is_event:
            continue
        read = orjson.loads if frame.content_type == "text/event-json" else parse_plain
        event = read(frame.body)
        if event["Event-Name"] == "CHANNEL_HANGUP_COMPLETE":
            last[event["Unique-ID"]] = event
    return last


@pytest.mark.parametrize("name", streams.names())
def test_the_switch_agrees(name: str) -> None:
    """Cause and stamps are those that the switch itself computed at the channel's end; so are the durations."""
    calls, _ = replay(streams.facts(name), "golden")
    words = closing_words(name)
    told = 0
    for call in shown(calls):
        event = words.get(call["fs_uuid"])
        if event is None:
            assert name in CUT
            assert (call["end_time"], call["hangup_cause"]) == (None, None)
            continue
        told += 1
        stamp = {k: int(event[f"variable_{k}_uepoch"]) or None for k in ("start", "answer", "end", "progress")}
        media = int(event["variable_progress_media_uepoch"]) or None
        ring = min((t for t in (stamp["progress"], media) if t), default=None)
        if name != "o_failover_forked.json":
            assert call["dial_time"] == iso(stamp["start"])
        assert call["ring_time"] == iso(ring)
        assert call["answer_time"] == iso(stamp["answer"])
        assert call["end_time"] == iso(stamp["end"])
        assert call["hangup_cause"] == event["variable_hangup_cause"]
        assert call["status"] == ("completed" if stamp["answer"] else "failed")
        assert call["sip_call_id"] == event.get("variable_sip_call_id")
        # billsec and duration are differences of whole seconds (switch_channel.c): at most one more than ours.
        assert (call["talk_duration_s"] or 0) in (int(event["variable_billsec"]), int(event["variable_billsec"]) - 1)
    assert told or name in CUT


@pytest.mark.parametrize("name", streams.names())
def test_one_call_a_root_channel(name: str) -> None:
    """No loopback half, agent's leg or leg created for another one is a call; every other created channel is one."""
    calls, _ = replay(streams.facts(name), "golden")
    roots: set[str] = set()
    for frame in streams.frames(name):
        if not frame.is_event:
            continue
        event = (orjson.loads if frame.content_type == "text/event-json" else parse_plain)(frame.body)
        if event["Event-Name"] != "CHANNEL_CREATE":
            continue
        leg = (
            event.get("Other-Leg-Unique-ID")
            or event.get("variable_originator")
            or event.get("variable_cc_side") == "agent"
            or event.get("variable_loopback_leg") == "B"
        )
        if not leg:
            roots.add(event["Unique-ID"])
    assert {c.fs_uuid for c in calls} == roots


@pytest.mark.parametrize("name", streams.names("json"))
def test_what_was_told_last_is_the_row(name: str) -> None:
    book = Book("golden", Rules(default_tenant="t"), epoch_us=0)
    told = 0
    for fact in streams.facts(name):
        out = book.apply(fact, 1.0)
        for call_id, record in out.records.items():
            told += 1
            assert record == record_of(out.changed[call_id])
    assert told or not book.calls
