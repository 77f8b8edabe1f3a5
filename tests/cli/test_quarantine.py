"""``callengine quarantine``: what is listed, wherever it lies, and what is marked to be tried again."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from callengine.calls.call import Recording
from callengine.calls.ids import recording_id_of
from callengine.cli import set_aside as set_aside_module
from callengine.cli.main import main
from callengine.config.sections import Database
from callengine.quarantine import Quarantine, segments_aside
from callengine.store import refused
from callengine.store.accounts import Accounts
from callengine.store.database import Store, open_database
from callengine.store.refused import Refused
from callengine.store.writer import Writer
from tests.cdr.house import cdr, uuid
from tests.cli.commands import environment, lines
from tests.engine.fakes import event, headers
from tests.store.build import T0, a_call, ended

Run = Callable[..., "Done"]
NAME = "1795343615301-5f2c9b1a77de"
BYTES = b'{"Event-Name":"CHANNEL_CREATE","x":"\x1b]0;\xff"}'
NOBODY = "0191f0a6-7c7a-7d31-a4f3-3a5e5f3f2b10"
AT_S = 1795343615.301


class Done(NamedTuple):
    """What a command printed, and how it ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process: one of its own would take a second."""

    def _run(*arguments: str, state: Path, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in environment(state, **settings).items():
                patch.setenv(name, value)
            capsysbinary.readouterr()
            try:
                code = main(arguments)
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, *capsysbinary.readouterr())

    return _run


def keep(state: Path) -> None:
    """As an earlier version did."""
    folder = state / "quarantine"
    folder.mkdir()
    (folder / f"{NAME}.bin").write_bytes(BYTES)
    note = {"at": AT_S, "reason": "no\x1b[31m Unique-ID", "bytes": len(BYTES)}
    (folder / f"{NAME}.json").write_text(json.dumps(note))
    (folder / "1795343615302-00.bin").write_bytes(b"")  # its note was not written


def set_aside(state: Path, body: bytes, kind: str = "event", **known: str) -> str:
    """As the daemon does. Returns the id."""
    kept = Quarantine(state / "quarantine")
    assert kept.write(body, "it was odd", kind, AT_S, **known)
    (entry,) = [entry for entry in kept.entries() if kept.read(entry.id) == body]
    return entry.id


def a_segment(state: Path) -> str:
    shelf = segments_aside(state / "spool")
    shelf.annotate("000000000007", {"kind": "segment", "at": AT_S, "reason": "it is of the switch n2, not of n1"})
    (shelf.directory / "000000000007.spool").write_bytes(b"abc")
    return "segment-000000000007"


def listed(run: Run, state: Path, *more: str, **settings: str) -> dict[str, Any]:
    done = run("quarantine", "list", "--json", *more, state=state, **settings)
    assert done.returncode in {0, 4}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nothing(run: Run, tmp_path: Path) -> None:
    done = run("quarantine", "list", state=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert listed(run, tmp_path) == {"entries": [], "dead_letters": [], "unseen": [], "more": []}
    assert b"0 of 0" in run("quarantine", "retry", "--all", state=tmp_path).stderr


def test_what_an_earlier_version_kept_is_listed_too(run: Run, tmp_path: Path) -> None:
    keep(tmp_path)
    second, first = listed(run, tmp_path)["entries"]
    assert (first["id"], first["bytes"], first["kind"]) == (NAME, len(BYTES), "event")
    assert first["time"].startswith("2026-11-22T")
    assert (second["reason"], second["time"]) == (None, None)
    shown = run("quarantine", "list", state=tmp_path)
    assert b"\x1b" not in shown.stdout + shown.stderr
    assert len(lines(shown.stdout)) == 3
    assert run("quarantine", "show", NAME, state=tmp_path).stdout == BYTES


def test_each_kind_of_file_is_listed_with_its_call_and_marked(run: Run, tmp_path: Path) -> None:
    call = a_call()
    good = set_aside(tmp_path, event("CHANNEL_ANSWER", headers("u1", T0, answered=T0 + 1)), node="sw1")
    row = set_aside(tmp_path, refused.encode(Refused(call_id=call.id, call=call)), "row", call_id=call.id)
    record = set_aside(tmp_path, cdr(uuid(1)), "cdr")
    bad = set_aside(tmp_path, b"{ no JSON")
    segment = a_segment(tmp_path)
    found = {entry["id"]: entry for entry in listed(run, tmp_path)["entries"]}
    assert set(found) == {good, row, record, bad, segment}
    assert {entry["kind"] for entry in found.values()} == {"event", "row", "cdr", "segment"}
    assert found[row]["call_id"] == call.id
    assert found[good]["retry"] == f"callengine quarantine retry {good}"
    assert (found[bad]["retry"], "JSON" in found[bad]["hopeless"]) == (None, True)
    assert [e["id"] for e in listed(run, tmp_path, "--kind", "row")["entries"]] == [row]
    assert listed(run, tmp_path, "--since", "2026-11-23")["entries"] == []
    done = run("quarantine", "retry", good, row, record, segment, bad, state=tmp_path)
    assert (done.returncode, b"4 of 5" in done.stderr) == (1, True), done.stderr
    assert {e["id"] for e in listed(run, tmp_path)["entries"] if e["waiting"]} == {good, row, record, segment}
    assert run("quarantine", "show", segment, state=tmp_path).stdout == b"abc"
    shown = json.loads(run("quarantine", "show", row, "--json", state=tmp_path).stdout)
    assert shown["call_id"] == call.id


def test_all_of_one_kind(run: Run, tmp_path: Path) -> None:
    ids = {set_aside(tmp_path, cdr(uuid(number)), "cdr") for number in range(3)}
    other = set_aside(tmp_path, event("HEARTBEAT", {"Core-UUID": "c"}))
    assert run("quarantine", "retry", "--kind", "cdr", "--all", state=tmp_path).returncode == 0
    waiting = {entry["id"]: entry["waiting"] for entry in listed(run, tmp_path)["entries"]}
    assert waiting == {**dict.fromkeys(ids, True), other: False}
    assert run("quarantine", "retry", state=tmp_path).returncode == 2
    assert run("quarantine", "retry", other, "--kind", "cdr", state=tmp_path).returncode == 2
    assert run("quarantine", "retry", "--kind", "job", state=tmp_path).returncode == 2


def test_drop_says_what_it_deletes(run: Run, tmp_path: Path) -> None:
    bad, segment = set_aside(tmp_path, b"{ no JSON"), a_segment(tmp_path)
    run("quarantine", "retry", segment, state=tmp_path)
    done = run("quarantine", "drop", bad, segment, state=tmp_path)
    assert done.returncode == 0
    assert b"event of 9 bytes (it was odd)" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "quarantine" in str(path)]
    assert list((tmp_path / "spool" / "aside").iterdir()) == []
    assert run("quarantine", "drop", bad, state=tmp_path).returncode == 3
    assert b"books of its call" in run("quarantine", "drop", f"recording-{NOBODY}", state=tmp_path).stderr


def test_an_id_names_nothing_else(run: Run, tmp_path: Path) -> None:
    keep(tmp_path)
    (tmp_path / "quarantine" / "event-7-aa.bin").symlink_to(tmp_path / "empty.toml")
    for other in ("1-00", "../empty", "/etc/passwd", "x/../" + NAME, "segment-../../empty", "event-7-aa", "job-x"):
        for command in ("show", "retry", "drop"):
            if (command, other) != ("drop", "event-7-aa"):
                done = run("quarantine", command, other, state=tmp_path)
                assert (done.returncode, done.stdout) in {(3, b""), (1, b"")}, (command, other)
    assert len(listed(run, tmp_path)["entries"]) == 2


# -- what lies in the database ---------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a database that is to be made, once of each kind."""
    if request.param == "sqlite":
        return {"CALLENGINE_DATABASE__URL": f"sqlite:///{tmp_path / 'calls.db'}"}
    made: Database = request.getfixturevalue("postgres_settings")
    return {"CALLENGINE_DATABASE__URL": made.url.get_secret_value()}


def failed_in(store: Store) -> tuple[str, str]:
    """A recording that failed and an analysis that failed, of one call. Returns both ids."""
    writer = Writer(store, recordings=True, analyses=True, now_us=lambda: T0)
    writer.start()
    tenant = Accounts(store, writer).ensure_tenant("acme").id
    said = [
        Recording(path=f"/r/{n}.wav", leg="l", started_us=T0, stopped_us=T0 + 9, duration_ms=900) for n in ("a", "b")
    ]
    call = ended(a_call(tenant_id=tenant, recordings=tuple(said)))
    writer.put(call)
    writer.flush(10)
    bad, good = (recording_id_of(call.id, "l", one.path) for one in said)
    texts = (
        f"UPDATE recording SET looked_us = {T0 + 5}, status = 'ready', duration_ms = 900",
        f"UPDATE recording SET status = 'failed', reason = 'unreadable' WHERE path = '{said[0].path}'",
        f"UPDATE analysis SET status = 'failed', error = 'http_400', due = NOT due, done_us = {T0 + 6}",
    )
    for text in texts:
        writer.execute(lambda db, text=text: db.execute_sql(text), 10)
    writer.stop(10)
    assert bad != good
    return bad, call.id


def test_what_failed_in_the_database(run: Run, settings: dict[str, str], tmp_path: Path) -> None:
    store = open_database(Database(url=settings["CALLENGINE_DATABASE__URL"]), tmp_path)
    try:
        recording, call_id = failed_in(store)
        found = {entry["kind"]: entry for entry in listed(run, tmp_path, **settings)["entries"]}
        assert set(found) == {"recording", "job"}
        assert (found["recording"]["id"], found["recording"]["call_id"]) == (f"recording-{recording}", call_id)
        assert (found["recording"]["reason"], found["recording"]["time"][:10]) == ("unreadable", "2026-11-22")
        assert found["job"]["retry"] == f"callengine analyze {call_id}"
        assert found["job"]["reason"] == "failed: http_400"
        shown = run("quarantine", "show", f"job-{call_id}", state=tmp_path, **settings)
        assert b"http_400" in shown.stdout
        done = run("quarantine", "retry", f"recording-{recording}", f"job-{call_id}", state=tmp_path, **settings)
        assert (done.returncode, b"2 of 2" in done.stderr) == (0, True), done.stderr
        assert listed(run, tmp_path, **settings)["entries"] == []
        again = run("quarantine", "retry", f"recording-{recording}", state=tmp_path, **settings)
        assert again.returncode == 3
        text = "SELECT r.status, a.status FROM recording r JOIN analysis a ON a.call_id = r.call_id ORDER BY r.path"
        rows = store.run(lambda db: db.execute_sql(text).fetchall(), 10)
        assert [tuple(row) for row in rows] == [("stopped", "pending"), ("ready", "pending")]
    finally:
        store.close()


def test_what_is_left_out_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    store = open_database(Database(url=url), tmp_path)
    failed_in(store)
    store.execute(lambda db: db.execute_sql("UPDATE recording SET status = 'failed', reason = 'missing'"), 10)
    store.close()
    monkeypatch.setattr(set_aside_module, "LIMIT", 1)
    said = b"there are more of kind recording than these, the newest 1"
    assert said in run("quarantine", "list", state=tmp_path, CALLENGINE_DATABASE__URL=url).stderr
    done = run("quarantine", "retry", "--kind", "recording", state=tmp_path, CALLENGINE_DATABASE__URL=url)
    assert said in done.stderr
    assert b"1 of 1 are tried again" in done.stderr
    again = run("quarantine", "retry", "--kind", "recording", state=tmp_path, CALLENGINE_DATABASE__URL=url)
    assert said not in again.stderr
    assert b"1 of 1 are tried again" in again.stderr


def test_a_terminal_is_shown_escapes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = set_aside(tmp_path, "\x1b[2J \u202e\n".encode() + b"\xff")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run("quarantine", "show", bad, state=tmp_path).stdout == b"\\x1b[2J \\u202e\n\\xff\n"


def test_an_event_names_its_call(run: Run, settings: dict[str, str], tmp_path: Path) -> None:
    store = open_database(Database(url=settings["CALLENGINE_DATABASE__URL"]), tmp_path)
    try:
        _, call_id = failed_in(store)
        text = "SELECT fs_uuid FROM call"
        ((channel,),) = store.run(lambda db: db.execute_sql(text).fetchall(), 10)
        body = event("CHANNEL_ANSWER", headers(channel, T0, answered=T0 + 1))
        for node in ("sw1", ""):
            set_aside(tmp_path / (node or "none"), body, node=node)
            found = listed(run, tmp_path / (node or "none"), "--kind", "event", **settings)["entries"]
            assert [entry["call_id"] for entry in found] == [call_id]
    finally:
        store.close()


def test_dead_letters_are_counted_with_what_to_type(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    store = open_database(Database(url=url), tmp_path)
    failed_in(store)
    made = run(
        *("webhook", "create", "--tenant", "acme", "--url", "http://127.0.0.1:9/", "--json"),
        state=tmp_path,
        CALLENGINE_DATABASE__URL=url,
        CALLENGINE_WEBHOOKS__ALLOW_NETWORKS="127.0.0.0/8",
    )
    endpoint = json.loads(made.stdout)["id"]
    columns = "endpoint_id, event_position, event_id, call_id, tenant_id, event, seq, status, attempts, next_us"
    store.execute(
        lambda db: db.execute_sql(
            f"INSERT INTO delivery ({columns}, created_us) SELECT e.id, 1, c.id, c.id, e.tenant_id, 'call.ended', 1,"
            " 'dead', 9, 0, 0 FROM endpoint AS e, call AS c"
        ),
        10,
    )
    store.close()
    (dead,) = listed(run, tmp_path, CALLENGINE_DATABASE__URL=url)["dead_letters"]
    assert (dead["tenant"], dead["dead_letters"]) == ("acme", 1)
    again = run(*dead["retry"].split()[1:], state=tmp_path, CALLENGINE_DATABASE__URL=url)
    assert b"1 dead letters are delivered again" in again.stderr, (again.stderr, endpoint)


def test_without_the_database_files_are_still_listed(run: Run, tmp_path: Path) -> None:
    kept = set_aside(tmp_path, b"{ no JSON")
    away = {"CALLENGINE_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = run("quarantine", "list", state=tmp_path, **away)
    assert done.returncode == 4
    assert kept.encode() in done.stdout
    assert b"not looked at: recordings, jobs and dead letters" in done.stderr
    assert [one["what"] for one in listed(run, tmp_path, **away)["unseen"]] == ["recordings, jobs and dead letters"]
    only_files = run("quarantine", "list", "--kind", "event", state=tmp_path, **away)
    assert (only_files.returncode, only_files.stderr.count(b"not looked at")) == (0, 0)


def test_only_our_user_may_read_what_is_kept(tmp_path: Path) -> None:
    os.umask(old := os.umask(0))
    set_aside(tmp_path, b"{ no JSON")
    os.umask(old)
    folder = tmp_path / "quarantine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
