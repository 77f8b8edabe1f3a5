"""Recordings: their events, their files, what cannot be recorded."""

from __future__ import annotations

import wave
from pathlib import Path

from tests.conformance.client import Switch, assert_order
from tests.conformance.conftest import Target


def answered(target: Target, switch: Switch, uuid: str, variables: str = "") -> None:
    assert switch.job(switch.bgapi(target.originate("stay", uuid, variables=variables))).startswith("+OK")


def test_recorded_and_stopped(target: Target, switch: Switch, uuid: str) -> None:
    path = str(target.recordings / "talk.wav")
    answered(target, switch, uuid)
    assert switch.api(f"uuid_record {uuid} start {path}") == "+OK Success\n"
    assert switch.wait(uuid, "RECORD_START")["Record-File-Path"] == path
    switch.settle(1.0)
    assert switch.api(f"uuid_record {uuid} stop {path}") == "+OK Success\n"
    stopped = switch.wait(uuid, "RECORD_STOP")
    assert stopped["Record-File-Path"] == path
    assert not [value for name, value in stopped.items() if name.startswith("variable_") and value == path]
    assert int(stopped["variable_record_ms"]) > 300
    assert int(stopped["variable_record_seconds"]) == int(stopped["variable_record_ms"]) // 1000
    assert "variable_record_ms" not in switch.first(uuid, "RECORD_START")
    with wave.open(path) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        assert file.getnframes() == int(stopped["variable_record_samples"])
    assert Path(path).stat().st_size == int(stopped["variable_record_file_size"])


def test_cut_by_the_hangup(target: Target, switch: Switch, uuid: str) -> None:
    path = str(target.recordings / "cut.wav")
    answered(target, switch, uuid)
    switch.api(f"uuid_record {uuid} start {path}")
    switch.wait(uuid, "RECORD_START")
    switch.settle(0.5)
    switch.api(f"uuid_kill {uuid}")
    switch.wait(uuid, "CHANNEL_DESTROY")
    assert_order(switch.sequence(uuid), "RECORD_START", "HANGUP", "RECORD_STOP", "HANGUP_COMPLETE", "DESTROY")
    stopped = switch.first(uuid, "RECORD_STOP")
    assert stopped["Channel-State"] == "CS_HANGUP"
    assert stopped["Caller-Channel-Hangup-Time"] != "0"


def test_recorded_from_the_answer_on(target: Target, switch: Switch, uuid: str) -> None:
    path = str(target.recordings / "answer.wav")
    given = f"RECORD_STEREO=true,execute_on_answer='record_session {path}'"
    answered(target, switch, uuid, given)
    start = switch.wait(uuid, "RECORD_START")
    assert start["Record-File-Path"] == path
    switch.wait(uuid, "CHANNEL_EXECUTE_COMPLETE")
    assert_order(switch.sequence(uuid), "ANSWER", "RECORD_START", "EXECUTE_COMPLETE")
    switch.settle(0.5)
    switch.api(f"uuid_kill {uuid}")
    switch.wait(uuid, "CHANNEL_DESTROY")
    with wave.open(path) as file:
        assert file.getnchannels() == 2


def test_too_short_for_its_channel(target: Target, switch: Switch, uuid: str) -> None:
    path = target.recordings / "short.wav"
    answered(target, switch, uuid, "RECORD_MIN_SEC=5,RECORD_APPEND=false")
    switch.api(f"uuid_record {uuid} start {path}")
    switch.settle(0.5)
    switch.api(f"uuid_record {uuid} stop {path}")
    stopped = switch.wait(uuid, "RECORD_STOP")
    assert stopped["variable_RECORD_DISCARDED"] == "true"
    assert stopped["Record-Completion-Cause"] == "input-too-short"
    assert not path.exists()


def test_bad_paths_and_words(target: Target, switch: Switch, uuid: str) -> None:
    answered(target, switch, uuid)
    assert switch.api(f"uuid_record {uuid} start /proc/nowhere/x.wav") == "-ERR Cannot record session!\n"
    assert switch.api(f"uuid_record {uuid} start {target.recordings}/x.nosuchformat") == "-ERR Cannot record session!\n"
    assert switch.api(f"uuid_record {uuid} stop {target.recordings}/none.wav") == "-ERR Cannot stop record session!\n"
    assert switch.api(f"uuid_record {uuid} mask {target.recordings}/none.wav") == (
        "-ERR Cannot mask recording session!\n"
    )
    assert switch.api("uuid_record nobody start /tmp/x.wav") == "-ERR Cannot locate session!\n"
    assert switch.api(f"uuid_record {uuid} sing x").startswith("-USAGE: <uuid> [start|stop|mask|unmask]")
    switch.settle(0.2)
    assert not switch.of(uuid, "RECORD_START")


def test_masked_and_unmasked(target: Target, switch: Switch, uuid: str) -> None:
    path = str(target.recordings / "masked.wav")
    answered(target, switch, uuid)
    switch.api(f"uuid_record {uuid} start {path}")
    switch.wait(uuid, "RECORD_START")
    assert switch.api(f"uuid_record {uuid} mask {path}") == "+OK Success\n"
    assert switch.api(f"uuid_record {uuid} unmask {path}") == "+OK Success\n"


def test_a_limit_ends_it(target: Target, switch: Switch, uuid: str) -> None:
    path = str(target.recordings / "limit.wav")
    answered(target, switch, uuid)
    switch.api(f"uuid_record {uuid} start {path} 1")
    stopped = switch.wait(uuid, "RECORD_STOP", 6)
    assert stopped["Record-File-Path"] == path
    assert stopped["Answer-State"] == "answered"
