"""Calls that never had a channel: what is told of them, and what is not."""

from __future__ import annotations

import pytest

from tests.conformance.client import Switch
from tests.conformance.conftest import Target


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("sofia/gateway/nosuchgateway/1000", "INVALID_GATEWAY"),
        ("sofia/nosuchprofile/1000@127.0.0.1", "INVALID_PROFILE"),
        ("sofia/internal/nobody%127.0.0.1", "USER_NOT_REGISTERED"),
    ],
)
def test_a_lone_destroy(target: Target, switch: Switch, uuid: str, endpoint: str, cause: str) -> None:
    job = switch.bgapi(f"originate {{origination_uuid={uuid},campaign_id=c}}{endpoint} &park")
    assert switch.job(job) == f"-ERR {cause}"
    switch.settle(0.1)
    [event] = switch.of(uuid)
    assert event["Event-Name"] == "CHANNEL_DESTROY"
    assert event["Channel-State"] == "CS_NONE"
    assert event["Channel-Name"] == "N/A"
    assert "Hangup-Cause" not in event
    assert "Caller-Channel-Created-Time" not in event
    assert "variable_campaign_id" not in event


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("user/9999", "SUBSCRIBER_ABSENT"),
        ("error/USER_BUSY", "USER_BUSY"),
        ("error/NO_ANSWER", "NO_ANSWER"),
        ("nosuchendpoint/1000", "CHAN_NOT_IMPLEMENTED"),
    ],
)
def test_the_job_alone(target: Target, switch: Switch, uuid: str, endpoint: str, cause: str) -> None:
    job = switch.bgapi(f"originate {{origination_uuid={uuid}}}{endpoint} &park")
    assert switch.job(job) == f"-ERR {cause}"
    switch.settle(0.1)
    assert not switch.of(uuid)


def test_a_duplicate_uuid(target: Target, switch: Switch, uuid: str) -> None:
    switch.job(switch.bgapi(target.originate("stay", uuid)))
    again = switch.bgapi(target.originate("stay", uuid))
    assert switch.job(again) == "-ERR DESTINATION_OUT_OF_ORDER"
    assert len(switch.of(uuid, "CHANNEL_CREATE")) == 1
    assert switch.api(f"uuid_exists {uuid}") == "true"


def test_paused(target: Target, switch: Switch, uuid: str) -> None:
    if not target.exclusive:
        pytest.skip("others use this switch")
    assert switch.api("fsctl pause") == "+OK\n"
    try:
        assert switch.job(switch.bgapi(target.originate("stay", uuid))) == "-ERR DESTINATION_OUT_OF_ORDER"
    finally:
        assert switch.api("fsctl resume") == "+OK\n"
    assert not switch.of(uuid)


@pytest.mark.parametrize("arguments", ["", "foo", "sofia/internal/1000@127.0.0.1"])
def test_too_few_arguments(target: Target, switch: Switch, arguments: str) -> None:
    job = switch.bgapi(f"originate {arguments}".strip())
    assert switch.job(job).startswith("-USAGE: <call url> <exten>|&<application_name>(<app_args>)")


def test_no_such_application(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("stay", uuid, "&nosuchapp(x)"))
    assert switch.job(job) == f"+OK {uuid}"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == "DESTINATION_OUT_OF_ORDER"
    assert not switch.of(uuid, "CHANNEL_EXECUTE_COMPLETE")


def test_no_such_extension(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("stay", uuid, "no_such_extension XML default"))
    assert switch.job(job) == f"+OK {uuid}"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == "NO_ROUTE_DESTINATION"
    assert end["Caller-RDNIS"] == target.numbers["stay"]


def test_an_extension_runs(target: Target, switch: Switch, uuid: str) -> None:
    if not target.extension:
        pytest.skip("no extension given")
    job = switch.bgapi(target.originate("stay", uuid, f"{target.extension} XML default"))
    assert switch.job(job) == f"+OK {uuid}"
    end = switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")
    assert end["Hangup-Cause"] == "NORMAL_CLEARING"
    assert end["Caller-Profile-Index"] == "2"
    assert end["Caller-Destination-Number"] == target.extension


def test_an_inline_dialplan_runs(target: Target, switch: Switch, uuid: str) -> None:
    job = switch.bgapi(target.originate("stay", uuid, "'sleep:200,hangup:USER_BUSY' inline"))
    assert switch.job(job) == f"+OK {uuid}"
    assert switch.wait(uuid, "CHANNEL_HANGUP_COMPLETE")["Hangup-Cause"] == "USER_BUSY"
