"""What the operator writes may be meant in every word, but nothing of it ends a command or begins another one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from callengine.config.settings import Settings
from callengine.errors import RequestRefused
from callengine.esl import commands
from callengine.esl.exchange import UnsafeCommand, encode_command
from callengine.originate.request import Planner
from tests.originate.fakes import REQUEST, settings
from tests.security.hostile import ATTACKS
from tests.security.wire import SHAPES

CHANNEL = "0199a2b4-0000-7000-8000-000000000000"
NOW_US = 1_795_343_615_000_000


def planned(configured: Settings, **changes: Any) -> str:
    (gateway,) = configured.originate.gateways
    request = {**REQUEST, "gateway": gateway, "campaign_id": "c", "record": True, **changes}
    return f"bgapi {Planner(configured).plan(request, NOW_US).command}"


def transferred(configured: Settings, **target: Any) -> str:
    planner = Planner(configured)
    if target["type"] == "extension":
        return f"api {commands.uuid_transfer(CHANNEL, planner.extension('to', target))}"
    return f"api {commands.uuid_execute(CHANNEL, planner.application('to', target))}"


def recorded(configured: Settings) -> str:
    path = Planner(configured).recording_path(CHANNEL, NOW_US)
    return f"api {commands.uuid_record(CHANNEL, 'start', path)}"


AGENT = {"type": "agent", "agents": "desk", "agent_id": "1"}
# By setting: the sections that it changes, and a command in which it then stands.
PLACES: dict[str, tuple[Any, Any]] = {
    "esl.password": (
        lambda text: {"esl": {"password": text}},
        lambda configured: f"auth {configured.esl.password.get_secret_value()}",
    ),
    "a gateway's name": (lambda text: {"originate": {"gateways": {text: {}}}}, planned),
    "a gateway's dial_string": (
        lambda text: {"originate": {"gateways": {"g": {"dial_string": text + "/{destination}"}}}},
        planned,
    ),
    "a gateway's caller_id_number": (
        lambda text: {"originate": {"gateways": {"g": {"caller_id_number": text, "caller_id_pattern": "(?s).*"}}}},
        planned,
    ),
    "an agent's dial_string": (
        lambda text: {"originate": {"agents": {"desk": {"dial_string": text + "/{agent}"}}}},
        lambda configured: planned(configured, on_answer=AGENT),
    ),
    "the same, rung first": (
        lambda text: {"originate": {"agents": {"desk": {"dial_string": text + "/{agent}"}}}},
        lambda configured: planned(configured, on_answer=AGENT, first="agent"),
    ),
    "an application's arguments": (
        lambda text: {"originate": {"applications": {"a": {"application": "playback", "arguments": text}}}},
        lambda configured: planned(configured, on_answer={"type": "application", "application": "a"}),
    ),
    "the same, of a live call": (
        lambda text: {"originate": {"applications": {"a": {"application": "playback", "arguments": text}}}},
        lambda configured: transferred(configured, type="application", application="a"),
    ),
    "originate.queues": (
        lambda text: {"originate": {"queues": [text]}},
        lambda configured: transferred(configured, type="queue", queue=configured.originate.queues[0]),
    ),
    "originate.extension_context": (
        lambda text: {"originate": {"extension_context": text}},
        lambda configured: transferred(configured, type="extension", extension="1"),
    ),
    "recordings.directories": (lambda text: {"recordings": {"directories": [f"/{text}"]}}, recorded),
    "the same, from the answer on": (lambda text: {"recordings": {"directories": [f"/{text}"]}}, planned),
    "tracking.campaign_variable": (lambda text: {"tracking": {"campaign_variable": text}}, planned),
    "tracking.agent_variables": (
        lambda text: {"tracking": {"agent_variables": [text]}},
        lambda configured: planned(configured, on_answer=AGENT),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_setting_ends_a_command(place: str) -> None:
    change, command = PLACES[place]
    sent = 0
    for text in ATTACKS:
        try:
            raw = encode_command(command(settings(change(text))))
        except (ValidationError, RequestRefused, UnsafeCommand):
            continue
        sent += 1
        assert raw.count(b"\n") == 2, (text, raw)
        assert raw.endswith(b"\n\n")
        assert b"\r" not in raw
        assert b"\0" not in raw
        if place != "esl.password":  # which may be any word
            assert not set(raw[:-2].split(b"\n")[0]) & {*range(32), 127}, (text, raw)
            assert raw.startswith((b"bgapi originate ", b"api uuid_transfer ", b"api uuid_record ")), (text, raw)
    if place not in {"originate.queues", "originate.extension_context", "tracking.agent_variables"}:
        assert sent, "nothing at all got as far as a command"


def test_a_harmless_setting_gets_through() -> None:
    """So that the above refuses for what is in the text, and nothing else."""
    for change, command in PLACES.values():
        raw = encode_command(command(settings(change("plain"))))
        assert raw.startswith((b"auth ", b"bgapi ", b"api "))
    assert SHAPES["park"].fullmatch(f"api {commands.uuid_park(CHANNEL)}")
