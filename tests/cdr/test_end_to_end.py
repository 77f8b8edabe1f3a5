"""The daemon's own engine on the stand-in, which writes CDRs: what ends while nobody listens ends truly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from callengine.cdr.audit import Audit
from callengine.cdr.reading import CdrReader
from callengine.cdr.service import Cdrs
from callengine.config.settings import Settings
from callengine.engine import Engine, Storage
from callengine.metrics import Metrics
from callengine.standin import Options, StandIn, legs
from callengine.store.accounts import Accounts
from callengine.store.database import open_database
from callengine.store.holder import Holder
from callengine.store.lease import Lease
from callengine.store.reads import Reads
from callengine.store.writer import Writer
from callengine.supervise import Supervisor
from tests.conformance.client import CHANNEL_EVENTS, Switch
from tests.standin.conftest import QUICK, answered, place


class Daemon:
    """The engine and its CDRs, as the daemon puts them together; several in turn on one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.supervisor = Supervisor()
        self.store = open_database(settings.database, settings.state.directory)
        self.writer = Writer(self.store)
        self.supervisor.spawn("writer", self.writer.run, once=True)
        accounts = Accounts(self.store, self.writer)
        self.tenant = accounts.ensure_tenant("default").id
        self.reads = Reads(self.store)
        storage = Storage(self.writer, self.reads, accounts, Lease(self.writer), Holder(settings.state.directory))
        self.engine = Engine(settings, storage, self.supervisor, self.metrics)
        self.cdrs = Cdrs(settings, self.engine, self.store, self.writer, self.metrics)
        self.cdrs.start(self.supervisor)
        self.engine.start()
        self.until(lambda: self.engine.ready)

    def until(self, condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        with gevent.Timeout(timeout_s, False):
            while not condition():
                gevent.sleep(0.02)
        assert condition(), list(self.rows().values())

    def rows(self) -> dict[str, Any]:
        records, _ = self.reads.calls(self.tenant, {}, 1, 200)
        return {record.fs_uuid: record for record in records}

    def stop(self) -> None:
        self.engine.stop(2)
        self.engine.give_back()
        self.writer.stop(5)
        self.supervisor.stop(3)
        self.cdrs.close()
        self.store.close()

    def audit(self, folder: Path) -> Audit:
        audit = Audit(self.store, CdrReader(), [folder], 0, 1 << 60, node=self.engine.node)
        audit.run()
        return audit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "json_cdr"
    made.mkdir()
    return made


@pytest.fixture
def standin(folder: Path) -> Iterator[StandIn]:
    with StandIn(Options(**{**QUICK, "cdr": folder})) as running:
        yield running


@pytest.fixture
def switch(standin: StandIn) -> Iterator[Switch]:
    made = Switch.login(standin.host, standin.port, "ClueCon", CHANNEL_EVENTS)
    yield made
    made.close()


@pytest.fixture
def settings(standin: StandIn, folder: Path, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "esl": {"host": standin.host, "port": standin.port, "backoff_min_s": 0.1, "backoff_max_s": 0.2},
            "state": {"directory": tmp_path / "state"},
            "cdr": {"directories": [folder], "grace_s": 2.0, "poll_s": 0.2},
        }
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], Daemon]]:
    settings.state.directory.mkdir()
    running: list[Daemon] = []

    def begin() -> Daemon:
        running.append(Daemon(settings))
        return running[-1]

    yield begin
    running[-1].stop()


def truth(folder: Path, uuid: str) -> tuple[int, str]:
    """End and cause, by the switch's own record."""
    variables = json.loads((folder / f"{uuid}.cdr.json").read_bytes())["variables"]
    return int(variables["end_uepoch"]), variables["hangup_cause"]


def test_three_of_five_end_while_the_connection_is_cut(
    start: Callable[[], Daemon], standin: StandIn, folder: Path
) -> None:
    daemon = start()
    setup = Switch.login(standin.host, standin.port, "ClueCon", CHANNEL_EVENTS)
    calls = [answered(setup) for _ in range(5)]
    daemon.until(lambda: sum(r.status == "answered" for r in daemon.rows().values()) == 5)
    setup.close()
    standin.refuse_connections()
    standin.drop_connections(reset=True)
    for uuid in calls[:3]:
        legs.hangup(standin.switch, standin.switch.channels[uuid], "MANAGER_REQUEST")
    daemon.until(lambda: all((folder / f"{uuid}.cdr.json").exists() for uuid in calls[:3]))
    standin.accept_connections()
    daemon.until(lambda: daemon.engine.ready)
    daemon.until(lambda: sum(not r.live for r in daemon.rows().values()) == 3)
    rows = daemon.rows()
    for uuid in calls[:3]:
        assert (rows[uuid].end_us, rows[uuid].hangup_cause) == truth(folder, uuid)
        assert rows[uuid].end_source == "cdr"
    assert all(rows[uuid].live for uuid in calls[3:])
    assert daemon.audit(folder).found.clean


def test_calls_that_begin_and_end_while_the_daemon_is_down(
    start: Callable[[], Daemon], switch: Switch, folder: Path
) -> None:
    first = start()
    ended_with_us = answered(switch)
    switch.api(f"uuid_kill {ended_with_us}")
    lives_on, ends_without_us = answered(switch), answered(switch)
    first.until(lambda: len(first.rows()) == 3)
    first.stop()
    switch.api(f"uuid_kill {ends_without_us}")
    never_seen = place(switch, "486")
    switch.wait(never_seen, "CHANNEL_DESTROY")
    agent = place(
        switch,
        "201",
        "standin_ring_s=0.04",
        "'&bridge({standin_ring_s=0.04,callengine_agent_id=bob}sofia/gateway/agents/1001)'",
    )
    switch.pump(lambda: bool(switch.of(agent, "CHANNEL_BRIDGE")), 5)
    switch.api(f"uuid_kill {agent}")
    for uuid in (ends_without_us, agent):
        switch.wait(uuid, "CHANNEL_DESTROY")
    second = start()
    second.until(lambda: len(second.rows()) == 5 and sum(r.live for r in second.rows().values()) == 1)
    second.until(lambda: second.rows()[agent].agent_id == "bob")
    rows = second.rows()
    assert rows[lives_on].live
    assert rows[ended_with_us].end_source == "event"
    for uuid in (ends_without_us, never_seen, agent):
        assert (rows[uuid].end_us, rows[uuid].hangup_cause) == truth(folder, uuid)
        assert rows[uuid].end_source == "cdr"
    assert rows[never_seen].status == "failed"
    audit = second.audit(folder)
    assert audit.found.clean, audit.found
    assert audit.found.compared == 4


def test_a_channel_whose_record_never_comes_is_closed_after_its_grace(
    start: Callable[[], Daemon], standin: StandIn, switch: Switch, folder: Path
) -> None:
    daemon = start()
    uuid = answered(switch)
    daemon.until(lambda: len(daemon.rows()) == 1)
    standin.kill()
    standin.restart()
    daemon.until(lambda: not daemon.rows()[uuid].live)
    row = daemon.rows()[uuid]
    assert (row.end_us, row.end_source, row.hangup_cause) == (None, "bounds", None)
