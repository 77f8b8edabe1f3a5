"""Faults, set up one by one: each is told by its own line, with what to type, and nothing else is."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from gevent.server import StreamServer

from callengine.config.sections import Database
from callengine.doctor import access, database, http, machine, switch, visit
from callengine.doctor.access import Process
from callengine.doctor.finding import Finding, Level
from callengine.standin.gemini.launch import launch
from callengine.store.database import open_database
from callengine.store.holder import Holder
from tests.acceptance.daemon import free_port
from tests.doctor.house import KEY, PASSWORD, SECRET, House, without_rights


@pytest.fixture(scope="module")
def gemini_url() -> Iterator[str]:
    with launch(["--key", KEY]) as gemini:
        yield gemini.base_url


@pytest.fixture
def house(gemini_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(switch, "EVENT_S", 0.5)
    monkeypatch.setattr(database, "_BUSY_S", 0.2)
    monkeypatch.setattr(http, "_TIMEOUT_S", 1.0)
    with House(gemini_url) as made:
        yield made


class Told(NamedTuple):
    """One line that is not ``ok``; ``words`` and ``remedy`` are parts of it."""

    check: str
    level: Level
    words: str
    remedy: str


def fails(check: str, words: str, remedy: str) -> Told:
    return Told(check, Level.FAIL, words, remedy)


def warns(check: str, words: str, remedy: str) -> Told:
    return Told(check, Level.WARN, words, remedy)


def assert_told(found: list[Finding], *expected: Told, skipped: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Exactly these lines, these looks skipped, and all the other looks well."""
    bad = [finding for finding in found if finding.level in {Level.FAIL, Level.WARN}]
    assert [(one.check, one.level) for one in bad] == [(told.check, told.level) for told in expected], bad
    for finding, told in zip(bad, expected, strict=True):
        assert told.words in finding.text, finding
        assert told.remedy in finding.remedy, finding
        assert "\n" not in finding.text + finding.remedy
    assert {finding.check for finding in found if finding.level is Level.SKIP} == skipped
    well = {finding.check for finding in found if finding.level is Level.OK}
    assert well == set(visit.LOOKS) - skipped - {told.check for told in expected}
    for secret in (KEY, PASSWORD, SECRET):
        assert secret not in repr(found)


def test_a_healthy_house(house: House) -> None:
    house.set("ai", enabled=True)
    found = house.look()
    assert_told(found)
    assert len(found) == len(visit.LOOKS)


SWITCHLESS = {"events", "freeswitch", "clock", "gateways", "lease"}
DAEMONLESS = {"public url", "metrics"}

# -- the event socket -------------------------------------------------------------------------------------------------


def test_nothing_listens(house: House) -> None:
    port = free_port()
    house.set("esl", port=port)
    told = fails("event socket", f"nothing takes connections at 127.0.0.1:{port}", "systemctl status freeswitch")
    assert_told(house.look(), told, skipped=SWITCHLESS)


def test_the_name_does_not_resolve(house: House) -> None:
    house.set("esl", host="no-such-host.invalid")
    found = house.look()
    (told,) = [finding for finding in found if finding.level is Level.FAIL]
    assert told.text == "the name no-such-host.invalid has no address"
    assert told.remedy == "set esl.host"


def test_the_wrong_password(house: House) -> None:
    house.set("esl", password="hunter2-is-wrong")
    told = fails("event socket", "refuses the password", "/etc/callengine/credentials/esl.password")
    found = house.look()
    assert_told(found, told, skipped=SWITCHLESS)
    assert "hunter2" not in repr(found)


def test_the_acl_denies_us(house: House) -> None:
    house.standin.options.acl_denies = True
    told = fails("event socket", "denies this host by its ACL", "fs_cli -x reloadacl")
    assert_told(house.look(), told, skipped=SWITCHLESS)


@contextmanager
def listening(handle: Callable[[object, object], None]) -> Iterator[int]:
    server = StreamServer(("127.0.0.1", 0), handle)
    server.start()
    try:
        yield server.server_port or 0
    finally:
        server.stop()


def test_a_black_hole(house: House) -> None:
    with listening(lambda sock, _: sock.recv(1)) as port:  # type: ignore[attr-defined]
        house.set("esl", port=port)
        told = fails("event socket", "says nothing within 0.5 s", f"nc 127.0.0.1 {port}")
        assert_told(house.look(), told, skipped=SWITCHLESS)


def test_no_event_socket_but_something_else(house: House) -> None:
    with listening(lambda sock, _: sock.sendall(b"SSH-2.0-OpenSSH_9.2\n\n")) as port:  # type: ignore[attr-defined]
        house.set("esl", port=port)
        found = house.look()
    (told,) = [finding for finding in found if finding.level is Level.FAIL]
    assert told.check == "event socket"
    assert "esl.port" in told.remedy


def test_no_events_come(house: House) -> None:
    house.standin.faults.silent = True
    told = fails("events", "none came within 0.5 s", "reload mod_event_socket")
    assert_told(house.look(), told, skipped={"clock"})


def test_it_is_paused(house: House) -> None:
    house.standin.switch.paused_inbound = house.standin.switch.paused_outbound = True
    assert_told(house.look(), warns("freeswitch", "it is paused", "fsctl resume"))


@pytest.mark.parametrize(("ahead_s", "level"), [(90.0, Level.FAIL), (-4.0, Level.WARN)])
def test_the_clocks_differ(house: House, ahead_s: float, level: Level) -> None:
    house.clock_ahead_s = ahead_s
    words = f"the switch's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
    assert_told(house.look(), Told("clock", level, words, "fsctl sync_clock"))


def test_a_gateway_that_the_switch_does_not_have(house: House) -> None:
    house.set("originate", gateways={"carrier": {}, "nocarrier": {}})
    told = fails("gateways", "no gateway nocarrier", "originate.gateways.nocarrier.dial_string")
    assert_told(house.look(), told)


# -- what we keep -----------------------------------------------------------------------------------------------------


def test_the_state_directory_is_open_to_all(house: House) -> None:
    house.state.chmod(0o755)
    assert_told(house.look(), warns("state", "everybody can look into", f"chmod 750 {house.state}"))


def test_a_file_of_somebody_else_in_the_state_directory(house: House) -> None:
    (house.state / "spool").mkdir(exist_ok=True)
    file = house.state / "spool" / "1.spool"
    file.write_bytes(b"")
    with without_rights_but(house, file):
        found = house.look()
    assert_told(found, fails("state", f"{file} is not", f"{house.state}"))


@contextmanager
def without_rights_but(house: House, path: Path) -> Iterator[None]:
    """As a user who may do nothing with ``path``."""
    with ExitStack() as stack:
        before = path.stat().st_mode
        if os.geteuid() == 0:
            stack.enter_context(without_rights(house))
        path.chmod(0)
        try:
            yield
        finally:
            path.chmod(before)


def test_the_database_is_locked(house: House) -> None:
    other = sqlite3.connect(house.state / "callengine.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        told = fails("database", "locked by another", "fuser -v")
        assert_told(house.look(), told, skipped={"lease", "webhooks"})
    finally:
        other.close()


def test_the_database_is_newer(house: House) -> None:
    with sqlite3.connect(house.state / "callengine.db") as other:
        columns = [row[1] for row in other.execute("PRAGMA table_info(schema_migration)")]
        values = {"name": "9999_of_tomorrow"}
        known = [column for column in columns if column in values]
        rest = [column for column in columns if column not in values]
        old = other.execute(f"SELECT {', '.join(rest)} FROM schema_migration LIMIT 1").fetchone()
        names = ", ".join([*known, *(r for r in rest if r != "id")])
        more = [value for name, value in zip(rest, old, strict=True) if name != "id"]
        marks = ", ".join("?" for _ in [*known, *more])
        other.execute(f"INSERT INTO schema_migration ({names}) VALUES ({marks})", [*(values[k] for k in known), *more])
    told = fails("database", "9999_of_tomorrow", "install the newer callengine")
    assert_told(house.look(), told, skipped={"lease", "webhooks"})


def test_the_database_is_older(house: House) -> None:
    house.set("database", url=f"sqlite:///{house.state}/old.db")
    sqlite3.connect(house.state / "old.db").close()
    (house.state / "old.db").touch(0o600)
    told = warns("database", "migrations are still to be applied", "callengine migrate run")
    assert_told(house.look(), told, skipped={"lease", "webhooks"})


def test_the_database_is_no_database(house: House) -> None:
    (house.state / "odd.db").write_bytes(b"no SQLite" * 1000)
    house.set("database", url=f"sqlite:///{house.state}/odd.db")
    told = fails("database", "no SQLite database", "database.url")
    assert_told(house.look(), told, skipped={"lease", "webhooks"})


def test_postgres_is_away(house: House) -> None:
    house.set("database", url=f"postgresql://anna:hunter2@127.0.0.1:{free_port()}/calls")
    told = fails("database", "nothing accepts connections there", "psql -h 127.0.0.1 calls")
    found = house.look()
    assert_told(found, told, skipped={"lease", "webhooks"})
    assert "hunter2" not in repr(found)


def test_a_healthy_postgres(house: House, postgres_settings: Database) -> None:
    house.set("database", url=postgres_settings.url.get_secret_value())
    (pending,) = [finding for finding in house.look() if finding.check == "database"]
    assert pending.level is Level.WARN
    open_database(postgres_settings, house.state).close()
    assert_told(house.look())


def test_another_engine_has_the_switch(house: House) -> None:
    with sqlite3.connect(house.state / "callengine.db") as other:
        row = ("standin", "elsewhere:17:abcd", 1, int((time.time() + 30) * 1e6))
        other.execute("INSERT INTO lease (node, holder, epoch, expires_us) VALUES (?, ?, ?, ?)", row)
    told = warns("lease", "held by another engine (elsewhere:17:abcd)", "switch.name")
    assert_told(house.look(), told)


def test_our_own_daemon_is_no_other_engine(house: House) -> None:
    holder = Holder(house.state)
    with sqlite3.connect(house.state / "callengine.db") as other:
        row = ("standin", holder.name, 1, int((time.time() + 30) * 1e6))
        other.execute("INSERT INTO lease (node, holder, epoch, expires_us) VALUES (?, ?, ?, ?)", row)
    assert_told(house.look())
    holder.release()


def test_the_disk_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine.shutil.disk_usage(house.state)._replace(free=50 << 20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert_told(house.look(), fails("disk", "50 MiB are left", "df -h"))


# -- the daemon -------------------------------------------------------------------------------------------------------


def test_the_daemon_does_not_run(house: House) -> None:
    house.set("http", port=free_port())
    told = warns("daemon", "no callengine answers", "systemctl enable --now callengine")
    assert_told(house.look(), told, skipped=DAEMONLESS)


def test_the_daemon_is_not_ready(house: House) -> None:
    house.answers["/readyz"] = "503 Service Unavailable"
    assert_told(house.look(), fails("daemon", "is not ready", "journalctl -u callengine"))


def test_the_port_is_taken(house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(0)
        port = other.getsockname()[1]
        house.set("http", port=port)
        taken = fails("http", f"127.0.0.1:{port} is taken by another program", f"ss -ltnp 'sport = :{port}'")
        gone = warns("daemon", "no callengine answers", "systemctl")
        assert_told(house.look(), gone, taken, skipped=DAEMONLESS)


def test_recordings_are_linked_by_what_leads_nowhere(house: House) -> None:
    house.set("http", public_url="http://0.0.0.0:8088")
    assert_told(house.look(), fails("public url", "leads nowhere", "http.public_url"))


def test_the_public_url_is_not_ours(house: House) -> None:
    house.set("http", public_url=f"http://127.0.0.1:{free_port()}")
    assert_told(house.look(), warns("public url", "does not lead to us", "http.public_url"))


def test_whoever_only_tracks_has_no_gateway(house: House) -> None:
    house.set("originate", gateways={})
    assert_told(house.look())


def test_what_is_allowed_but_not_meant(house: House) -> None:
    house.set("http", signing_key="short")
    assert_told(house.look(), warns("settings", "http.signing_key is short", "the test"))


# -- CDRs -------------------------------------------------------------------------------------------------------------


def test_no_cdrs_are_read(house: House) -> None:
    house.set("cdr", directories=[])
    assert_told(house.look(), warns("cdr", "none are read", "cdr.directories"))


def test_mod_json_cdr_is_not_loaded(house: House) -> None:
    house.standin.options.modules -= {"mod_json_cdr"}
    assert_told(house.look(), fails("cdr", "no mod_json_cdr", "load mod_json_cdr"))


def test_the_folder_of_the_cdrs_is_not_there(house: House) -> None:
    missing = house.root / "nowhere"
    house.set("cdr", directories=[str(missing), str(house.cdr)])
    assert_told(house.look(), fails("cdr", f"{missing} is not there", "cdr.directories"))


def test_cdrs_are_written_elsewhere(house: House) -> None:
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    house.standin.options.json_cdr["log-dir"] = str(elsewhere)
    told = fails("cdr", f"writes to {elsewhere}", f'add "{elsewhere}" to cdr.directories')
    assert_told(house.look(), told)


def test_a_cdr_that_we_cannot_read(house: House) -> None:
    file = house.cdr / "a.cdr.json"
    with without_rights_but(house, file):
        found = house.look()
    assert_told(found, fails("cdr", f"cannot read {file}", "SupplementaryGroups=freeswitch"))


def test_no_cdr_has_come(house: House) -> None:
    (house.cdr / "a.cdr.json").unlink()
    assert_told(house.look())
    house.standin.switch.sessions_ever = 12
    assert_told(house.look(), warns("cdr", "12 channels", "reload mod_json_cdr"))


def test_posted_cdrs_are_not_taken(house: House) -> None:
    house.standin.options.json_cdr["url"] = "http://127.0.0.1:8088/fs/cdr"
    house.standin.options.json_cdr["cred"] = f"freeswitch:{SECRET}"
    assert_told(house.look(), fails("cdr", "answered 404", "cdr.http_secret"))
    house.set("cdr", http_secret=SECRET)
    assert_told(house.look())


def test_posted_cdrs_come_with_another_password(house: House) -> None:
    house.standin.options.json_cdr.update(url="http://127.0.0.1:8088/fs/cdr", cred="freeswitch:another-one")
    house.set("cdr", http_secret=SECRET)
    found = house.look()
    assert_told(found, fails("cdr", "(cred)", "reload mod_json_cdr"))
    assert "another-one" not in repr(found)


# -- recordings -------------------------------------------------------------------------------------------------------


def test_the_folder_of_the_recordings_is_not_there(house: House) -> None:
    missing = house.root / "nowhere"
    house.set("recordings", directories=[str(missing)])
    assert_told(house.look(), fails("recordings", f"{missing} is not there", "recordings.directories"))


def test_a_recording_that_we_cannot_read(house: House) -> None:
    file = house.recordings / "a.wav"
    with without_rights_but(house, file):
        found = house.look()
    assert_told(found, fails("recordings", f"cannot read {file}", "UMask=0027"))


def test_a_folder_of_recordings_that_we_cannot_read(house: House) -> None:
    with without_rights_but(house, house.recordings):
        found = house.look()
    assert_told(found, fails("recordings", f"cannot read {house.recordings}", "chmod g+rx"))


def test_the_switch_cannot_write_recordings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "switch_process", lambda _: Process(17, 54321, frozenset({54321})))
    told = fails("recordings", f"runs as 54321, cannot write in {house.recordings}", f"chown 54321 {house.recordings}")
    assert_told(house.look(), told)
    house.recordings.chmod(0o757)
    assert_told(house.look())


def test_whose_process_it_is(tmp_path: Path) -> None:
    (tmp_path / "freeswitch.pid").write_text(f"{os.getpid()}\n")
    found = access.switch_process(str(tmp_path))
    assert found is not None
    assert (found.pid, found.uid) == (os.getpid(), os.geteuid())
    assert os.getegid() in found.groups
    assert found.may_write_in(tmp_path)


def test_a_path_that_the_switch_does_not_have(house: House) -> None:
    house.set("recordings", path_map={"/no/such/folder/of/the/switch": str(house.recordings)})
    told = fails("recordings", "FreeSWITCH has no /no/such/folder/of/the/switch", "recordings.path_map")
    assert_told(house.look(), told)


# -- what we call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])
def test_gemini_refuses_the_key(house: House, sdk: str) -> None:
    house.set("ai", enabled=True, api_key="AIzaSy-another-key", sdk=sdk)
    found = house.look()
    notes = [warns("settings", "without support", "ai.sdk")] if sdk == "google-generativeai" else []
    assert_told(found, *notes, fails("gemini", "the API key is not valid", "credentials/ai.api_key"))
    assert "another-key" not in repr(found)


@pytest.mark.parametrize("sdk", ["google-genai", "google-generativeai"])
def test_gemini_has_no_such_model(house: House, sdk: str) -> None:
    house.set("ai", enabled=True, model="gemini-e404", sdk=sdk)
    notes = [warns("settings", "without support", "ai.sdk")] if sdk == "google-generativeai" else []
    assert_told(house.look(), *notes, fails("gemini", "no model gemini-e404", "ai.model"))


def test_gemini_is_not_reached(house: House) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    house.set("ai", enabled=True, base_url=url)
    assert_told(house.look(), fails("gemini", "the connection to Gemini failed", f"curl -sI {url}"))


def test_an_endpoint_takes_no_connections(house: House) -> None:
    house.add_endpoint(f"http://127.0.0.1:{free_port()}/hook?token=secret-in-the-path")
    found = house.look()
    assert_told(found, warns("webhooks", "the connection was refused", "callengine webhook list --tenant acme"))
    assert "secret-in-the-path" not in repr(found)


def test_an_endpoint_without_tls(house: House) -> None:
    house.add_endpoint(f"https://127.0.0.1:{house.endpoint.server_port}/hook")
    (told,) = [finding for finding in house.look() if finding.level is not Level.OK]
    assert (told.check, told.level) == ("webhooks", Level.WARN)
    assert "TLS failed" in told.text or "no connection" in told.text


def test_an_endpoint_whose_name_does_not_resolve(house: House) -> None:
    house.add_endpoint("https://no-such-host.invalid/hook")
    assert_told(house.look(), warns("webhooks", "does not resolve", "callengine webhook list"))


# -- the round itself -------------------------------------------------------------------------------------------------


def test_a_look_that_hangs_or_breaks_is_a_line_of_its_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_: object) -> Iterator[Finding]:
        yield from ()
        switch.AsyncResult().wait()

    def breaks(_: object) -> Iterator[Finding]:
        raise RuntimeError("of a kind that nobody thought of")
        yield

    monkeypatch.setitem(visit.LOOKS, "disk", hangs)
    monkeypatch.setitem(visit.LOOKS, "cdr", breaks)

    def goes_away(patient: visit.Patient) -> Iterator[Finding]:
        house.standin.kill()
        assert patient.client is not None
        patient.client.closed.wait(2)
        patient.api("version of the one that went")
        yield from ()

    monkeypatch.setitem(visit.LOOKS, "gateways", goes_away)
    monkeypatch.setattr(House, "look", lambda self: list(visit.visit(visit.Patient(self.settings(), "x"), 1.0)))
    told = house.look()
    by_check = {finding.check: finding for finding in told if finding.level is not Level.OK}
    assert by_check["disk"].text == "no answer within 1 s"
    assert by_check["gateways"].text.startswith("the switch stopped answering: ")
    assert by_check["cdr"].text == "could not be looked at (RuntimeError)"
