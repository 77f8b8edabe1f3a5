"""One suite, two switches: the stand-in always, a real FreeSWITCH where its address is given.

================================= ==================================================================================
``CALLENGINE_TEST_FREESWITCH``    ``host:port:password`` of a real event socket
``CALLENGINE_TEST_DIALSTRING``    how a number is dialled there, ``sofia/gateway/carrier/{number}``
``CALLENGINE_TEST_NUMBERS``       what its far end does at which number, ``answer=1000,busy=2000,…`` (names: below)
``CALLENGINE_TEST_AGENT``         a dial string that rings, answers within two seconds, and stays
``CALLENGINE_TEST_EXTENSION``     an extension of context ``default`` that answers and hangs up after a second
``CALLENGINE_TEST_EXCLUSIVE``     ``1``: nobody else uses that switch, so tests may pause it
================================= ==================================================================================

The numbers: ``answer`` (rings, answers, hangs up after a second or two), ``stay`` (rings, answers, stays), ``direct``
(answers without ringing), ``busy`` (486), ``unallocated`` (404), ``unavailable`` (503), ``ring`` (rings for ever),
``silent`` (no response), ``early`` (183, answers after a second, hangs up). A test whose number is missing is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from callengine.standin import launch
from tests.conformance.client import CHANNEL_EVENTS, Switch

REAL = os.environ.get("CALLENGINE_TEST_FREESWITCH", "")
STANDIN_NUMBERS = {
    "answer": "15550100200",
    "stay": "15550100201",
    "direct": "15550100204",
    "busy": "15550100486",
    "unallocated": "15550100404",
    "unavailable": "15550100503",
    "ring": "15550100180",
    "silent": "15550100100",
    "early": "15550100183",
}


@dataclass
class Target:
    """A switch under test and how to reach people on it."""

    name: str
    host: str
    port: int
    password: str
    dial_string: str
    numbers: dict[str, str]
    agent: str
    extension: str
    variables: str = ""
    exclusive: bool = False
    recordings: Path = Path()

    @property
    def is_standin(self) -> bool:
        return self.name == "standin"

    def far(self, what: str) -> str:
        """The endpoint whose far end does that; the test is skipped where nobody does."""
        if what not in self.numbers:
            pytest.skip(f"no number on {self.name} that does {what!r}")
        return self.dial_string.replace("{number}", self.numbers[what])

    def originate(self, what: str, uuid: str, then: str = "&park", variables: str = "") -> str:
        """The originate of a call to whom does that."""
        given = ",".join(part for part in (f"origination_uuid={uuid}", self.variables, variables) if part)
        return f"originate {{{given}}}{self.far(what)} {then}"


def _real_target() -> Target:
    host, port, password = REAL.split(":", 2)
    pairs = os.environ.get("CALLENGINE_TEST_NUMBERS", "").split(",")
    return Target(
        name="freeswitch",
        host=host,
        port=int(port),
        password=password,
        dial_string=os.environ.get("CALLENGINE_TEST_DIALSTRING", ""),
        numbers=dict(pair.split("=", 1) for pair in pairs if "=" in pair),
        agent=os.environ.get("CALLENGINE_TEST_AGENT", ""),
        extension=os.environ.get("CALLENGINE_TEST_EXTENSION", ""),
        exclusive=os.environ.get("CALLENGINE_TEST_EXCLUSIVE") == "1",
    )


@pytest.fixture(scope="session")
def _standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("standin")
    arguments = ["--seed", "7", "--recordings", str(folder / "recordings"), "--cdr", str(folder / "cdr")]
    # None by itself: ten times as fast it would come every 2 s, into a transcript that subscribes to it.
    with launch([*arguments, "--time-scale", "10", "--heartbeat", "1000000"]) as process:
        yield Target(
            name="standin",
            host=process.host,
            port=process.port,
            password="ClueCon",
            dial_string="sofia/gateway/carrier/{number}",
            numbers=STANDIN_NUMBERS,
            agent="{standin_ring_s=0.3}sofia/gateway/agents/2000",
            extension="9004",
            variables="standin_ring_s=0.2,standin_talk_s=0.4",
            exclusive=True,
        )


@pytest.fixture(params=["standin", *(["freeswitch"] if REAL else [])])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    found: Target = request.getfixturevalue("_standin") if request.param == "standin" else _real_target()
    found.recordings = tmp_path
    return found


@pytest.fixture
def switch(target: Target) -> Iterator[Switch]:
    """A logged-in connection; what the test leaves alive is hung up."""
    logged_in = Switch.login(target.host, target.port, target.password, CHANNEL_EVENTS)
    yield logged_in
    for uuid in {each["Unique-ID"] for each in logged_in.events if "Unique-ID" in each}:
        if not logged_in.of(uuid, "CHANNEL_DESTROY"):
            logged_in.api(f"uuid_kill {uuid}")
    logged_in.close()


@pytest.fixture
def uuid() -> str:
    return str(uuid4())


def _running_against() -> str:
    return f"the stand-in and FreeSWITCH at {REAL.rpartition(':')[0]}" if REAL else "the stand-in alone"


def pytest_report_header() -> str:
    return f"conformance: against {_running_against()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"conformance ran against {_running_against()}")
