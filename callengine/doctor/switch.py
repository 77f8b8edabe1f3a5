"""The event socket, and what the switch says of itself."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

from gevent.event import AsyncResult

from callengine.calls.facts import JobAnswered
from callengine.doctor.finding import Finding, Findings, fail, ok, skip, warn
from callengine.doctor.patient import Patient
from callengine.errors import (
    CommandTimedOut,
    EslAccessDenied,
    EslAuthRejected,
    EslError,
    EslRefused,
    MalformedEvent,
    MalformedStream,
)
from callengine.esl.client import EslClient
from callengine.esl.headers import Translator

CONNECT_S: Final = 5.0
EVENT_S: Final = 5.0
CLOCK_WARN_S: Final = 1.0
CLOCK_FAIL_S: Final = 30.0
_OLDEST: Final = (1, 10)

_NOT_CONNECTED: Final = "not looked at: the event socket cannot be used"


def connection(patient: Patient) -> Findings:
    """Address, password, ACL."""
    esl = patient.settings.esl
    client = EslClient(
        esl.host,
        esl.port,
        esl.password.get_secret_value(),
        connect_timeout_s=_bound_s(patient),
        command_timeout_s=min(esl.command_timeout_s, 5.0),
    )
    try:
        client.connect()
    except EslError as error:
        yield _refused(patient, error)
        return
    patient.client = client
    yield ok("event socket", f"connected to {esl.address}, the password fits")


def _refused(patient: Patient, error: EslError) -> Finding:
    esl = patient.settings.esl
    if isinstance(error, EslAuthRejected):
        remedy = (
            "put the password of FreeSWITCH's event_socket.conf.xml into /etc/callengine/credentials/esl.password,"
            " or set esl.password"
        )
        return fail("event socket", f"{esl.address} refuses the password", remedy)
    if isinstance(error, EslAccessDenied):
        remedy = "add this host to the list that apply-inbound-acl names, then: fs_cli -x reloadacl"
        return fail("event socket", f"{esl.address} denies this host by its ACL", remedy)
    if isinstance(error, MalformedStream):
        return fail("event socket", f"what listens at {esl.address} is no event socket", "set esl.host and esl.port")
    if isinstance(error, EslRefused) and not _resolves(esl.host):
        return fail("event socket", f"the name {esl.host} has no address", "set esl.host")
    if isinstance(error, EslRefused) and "waited" in str(error):
        remedy = f"set esl.host and esl.port; or a firewall, or a FreeSWITCH that hangs: nc {esl.host} {esl.port}"
        return fail("event socket", f"{esl.address} says nothing within {_bound_s(patient):g} s", remedy)
    where = "on this machine: systemctl status freeswitch" if patient.is_local else f"on {esl.host}"
    remedy = f"see that FreeSWITCH runs {where}, with mod_event_socket listening there; or set esl.host and esl.port"
    return fail("event socket", f"nothing takes connections at {esl.address}", remedy)


def _bound_s(patient: Patient) -> float:
    return min(patient.settings.esl.connect_timeout_s, CONNECT_S)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def events(patient: Patient) -> Findings:
    """Whether events come: one is provoked, the result of a command that does nothing."""
    client = patient.client
    if client is None:
        yield skip("events", _NOT_CONNECTED)
        return
    came: AsyncResult[tuple[int, float, float]] = AsyncResult()
    job, translator = str(uuid.uuid4()), Translator()
    sent_s = 0.0

    def take(bodies: Sequence[bytes]) -> None:
        for body in bodies:
            try:
                fact = translator.json(body)
            except MalformedEvent:
                continue
            if isinstance(fact, JobAnswered) and fact.job_uuid == job and not came.ready():
                came.set((fact.at_us, sent_s, patient.wall_s()))

    client.register_handle("*", take)
    try:
        # No more than that: on a busy switch the others would pile up while other looks hold us up.
        client.subscribe(("BACKGROUND_JOB",))
        sent_s = patient.wall_s()
        client.bgapi("echo callengine", job)
    except CommandTimedOut:
        yield fail("events", "the switch does not answer commands", "see what holds FreeSWITCH up: fs_cli -x status")
        return
    except EslError as error:
        yield fail(
            "events", f"they cannot be subscribed to ({error})", "allow this user of the event socket all events"
        )
        return
    came.wait(EVENT_S)
    with suppress(EslError):
        client.send("noevents")
    if not came.ready():
        remedy = "see FreeSWITCH's log for its event queue, then: fs_cli -x 'reload mod_event_socket'"
        yield fail("events", f"subscribed to, and none came within {EVENT_S:g} s", remedy)
        return
    at_us, began_s, ended_s = cast("tuple[int, float, float]", came.value)
    patient.answers["clock offset"] = repr(at_us / 1e6 - (began_s + ended_s) / 2)
    yield ok("events", f"they come, {1000 * (ended_s - began_s):.0f} ms after they were asked for")


def version(patient: Patient) -> Findings:
    """What it is, and whether it takes calls."""
    if patient.client is None:
        yield skip("freeswitch", _NOT_CONNECTED)
        return
    said = patient.api("version")
    patient.node = patient.settings.switch.name or patient.api("switchname")
    found = re.search(r"Version (\d+)\.(\d+)(\.\d+)?", said)
    if found is None:
        yield warn(
            "freeswitch", "it does not tell its version", "see whether esl.host and esl.port lead to a FreeSWITCH"
        )
        return
    shown = found[0].removeprefix("Version ")
    if (int(found[1]), int(found[2])) < _OLDEST:
        yield warn("freeswitch", f"version {shown} is older than what callengine was tried with", "upgrade to 1.10")
    elif patient.api("fsctl pause_check") == "true":
        yield warn("freeswitch", "it is paused: no call can be placed, none comes in", "fs_cli -x 'fsctl resume'")
    else:
        yield ok("freeswitch", f"version {shown}, called {patient.node}")


def clock(patient: Patient) -> Findings:
    """Its clock against ours: a call's times are the switch's, what is due is by ours."""
    given = patient.answers.get("clock offset")
    if given is None:
        yield skip("clock", "not looked at: no event came to read its time from")
        return
    offset_s = float(given)
    text = f"the switch's clock is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} ours"
    if patient.is_local:
        remedy = "fs_cli -x 'fsctl sync_clock'"
    else:
        remedy = "on both machines: timedatectl set-ntp true; then fs_cli -x 'fsctl sync_clock'"
    if abs(offset_s) >= CLOCK_FAIL_S:
        yield fail("clock", text, remedy)
    elif abs(offset_s) >= CLOCK_WARN_S:
        yield warn("clock", text, remedy)
    else:
        yield ok("clock", f"{1000 * abs(offset_s):.0f} ms from the switch's")


def gateways(patient: Patient) -> Findings:
    """Whether the switch has the gateways that the settings name."""
    names = {
        found[1]: setting
        for setting, gateway in patient.settings.originate.gateways.items()
        if (found := re.search(r"sofia/gateway/([A-Za-z0-9_.-]+)/", gateway.dial_string.replace("{gateway}", setting)))
    }
    if patient.client is None:
        yield skip("gateways", _NOT_CONNECTED)
        return
    bad = False
    for name, setting in names.items():
        said = patient.api(f"sofia status gateway {name}")
        if said.startswith("Invalid Gateway"):
            bad = True
            remedy = (
                f"set originate.gateways.{setting}.dial_string; what there is says: fs_cli -x 'sofia status gateway'"
            )
            yield fail("gateways", f"FreeSWITCH has no gateway {name}", remedy)
        elif re.search(r"^Status\s+DOWN", said, re.MULTILINE):
            bad = True
            remedy = f"see why: fs_cli -x 'sofia status gateway {name}'"
            yield warn("gateways", f"the gateway {name} is down", remedy)
    if not bad:
        yield ok("gateways", f"{', '.join(names)}: there" if names else "none is set: calls are tracked, not placed")
