"""Byte for byte what the real switch says on its wire, and what it makes of broken input."""

from __future__ import annotations

import json
import re

import pytest

from tests.conformance.client import Closed, Switch, Wire
from tests.conformance.conftest import Target
from tests.conformance.transcripts import FOLDER, read, replay

#: These need users, an ACL or patience that only a stand-in of its own has (tests/standin).
ELSEWHERE = {"14_userauth", "15_userauth_limited", "16_userauth_wrong", "19_auth_timeout"}
ELSEWHERE |= {"20_acl_rejected", "21_acl_rejected_read_only"}
#: On a switch that others use, their events come between, and their channels are shown.
QUIET_ONLY = {"04_event_forms", "05_nixevent", "08_api", "09_bgapi", "12_sendevent"}
NAMES = sorted({path.stem for path in FOLDER.glob("*.txt")} - ELSEWHERE)


@pytest.mark.parametrize("name", NAMES)
def test_transcript(target: Target, name: str) -> None:
    if name in QUIET_ONLY and not target.exclusive:
        pytest.skip("others use this switch")
    if name in QUIET_ONLY:
        wait_until_quiet(target)
    wire = Wire.connect(target.host, target.port)
    try:
        replay(wire, read(name), target.password.encode())
    finally:
        wire.close()


def wait_until_quiet(target: Target) -> None:
    """What the tests before left alive comes to its end: its events and channels are no part of a transcript."""
    switch = logged_in(target, "ALL")
    for _ in range(75):
        switch.events.clear()
        switch.settle(0.2)
        if not switch.events and switch.api("show channels count") == "\n0 total.\n":
            break
    else:
        raise AssertionError("the switch does not come to rest")
    switch.close()


def logged_in(target: Target, events: str = "") -> Switch:
    return Switch.login(target.host, target.port, target.password, events)


def test_a_command_in_single_bytes(target: Target) -> None:
    switch = logged_in(target)
    for byte in b"api echo one\n\n":
        switch.wire.send(bytes([byte]))
    assert switch.wire.frame().text == "one"
    switch.close()


def test_many_commands_at_once_are_answered_in_order(target: Target) -> None:
    switch = logged_in(target)
    switch.wire.send(b"".join(b"api echo %d\n\n" % number for number in range(200)))
    assert [switch.wire.frame().text for _ in range(200)] == [str(number) for number in range(200)]
    switch.close()


def test_bytes_that_are_no_utf8_pass_through(target: Target) -> None:
    switch = logged_in(target)
    switch.wire.send(b"api echo \xff\xfe \xc3\n\n")
    assert switch.wire.frame().body == b"\xff\xfe \xc3"
    switch.close()


def test_the_last_format_wins_and_subscriptions_add_up(target: Target) -> None:
    switch = logged_in(target)
    assert switch.command("event plain CUSTOM conf::a").get("Reply-Text").endswith("enabled plain")
    assert switch.command("event json CUSTOM conf::b").get("Reply-Text").endswith("enabled json")
    for subclass in ("conf::a", "conf::b", "conf::c"):
        switch.wire.send(f"sendevent CUSTOM\nEvent-Subclass: {subclass}\nX: ä\n\n".encode())
    frames = [switch.wire.frame() for _ in range(5)]
    events = [json.loads(frame.body) for frame in frames if frame.kind == "text/event-json"]
    assert [each["Event-Subclass"] for each in events] == ["conf::a", "conf::b"]
    assert events[0]["X"] == "ä"
    switch.close()


def test_a_filter_drops_what_lacks_the_header(target: Target) -> None:
    switch = logged_in(target, "BACKGROUND_JOB CUSTOM conf::filtered")
    switch.command("filter Unique-ID nobody")
    switch.bgapi("status")
    switch.wire.send(b"sendevent CUSTOM\nEvent-Subclass: conf::filtered\n\n")
    switch.settle(0.4)
    assert not switch.events
    switch.command("filter delete all")
    assert switch.job(switch.bgapi("echo again")) == "again"
    switch.close()


def test_a_filter_by_expression(target: Target) -> None:
    switch = logged_in(target, "CUSTOM conf::one conf::two")
    switch.command("filter Event-Subclass /conf::t.*/")
    for name in ("one", "two"):
        switch.wire.send(f"sendevent CUSTOM\nEvent-Subclass: conf::{name}\n\n".encode())
    switch.settle(0.4)
    assert [each["Event-Subclass"] for each in switch.events] == ["conf::two"]
    switch.close()


def test_plain_events_are_url_encoded(target: Target) -> None:
    switch = logged_in(target)
    switch.command("event plain CUSTOM conf::plain")
    switch.wire.send("sendevent CUSTOM\nEvent-Subclass: conf::plain\nX: a b%41/é:\nContent-Length: 4\n\nbody".encode())
    frames = [switch.wire.frame(), switch.wire.frame()]
    [event] = [frame.text for frame in frames if frame.kind == "text/event-plain"]
    assert "\nX: a%20b%41/%C3%A9%3A\n" in event
    assert event.endswith("\nContent-Length: 4\n\nbody")
    switch.close()


def test_a_job_answers_once_with_its_own_uuid(target: Target) -> None:
    switch = logged_in(target, "BACKGROUND_JOB")
    job = switch.bgapi("uuid_exists nobody")
    assert switch.job(job) == "false"
    [event] = [each for each in switch.events if each.get("Job-UUID") == job]
    assert (event["Job-Command"], event["Job-Command-Arg"]) == ("uuid_exists", "nobody")
    assert event["Content-Length"] == "5"
    switch.close()


def test_heartbeats_carry_the_counts(target: Target) -> None:
    if not target.is_standin:
        pytest.skip("a heartbeat comes every 20 s")
    switch = logged_in(target, "HEARTBEAT")
    switch.wire.send(b"sendevent HEARTBEAT\nSession-Count: 7\n\n")
    switch.pump(lambda: bool(switch.events), 5)
    assert switch.events[0]["Event-Name"] == "HEARTBEAT"
    switch.close()


def test_exit_ends_with_a_notice(target: Target) -> None:
    switch = logged_in(target)
    switch.wire.send(b"exit\n\napi status\n\n")
    frames = switch.wire.to_the_end()
    assert [frame.kind for frame in frames] == ["command/reply", "text/disconnect-notice"]
    assert re.match("Disconnected, goodbye", frames[-1].text)
    switch.close()


def test_after_a_wrong_password_nothing_is_heard(target: Target) -> None:
    wire = Wire.connect(target.host, target.port)
    wire.frame()
    wire.send(b"auth nonsense\n\nauth " + target.password.encode() + b"\n\napi status\n\n")
    assert [frame.kind for frame in wire.to_the_end()] == ["command/reply", "text/disconnect-notice"]
    with pytest.raises((Closed, OSError)):
        wire.frame(1)
    wire.close()
