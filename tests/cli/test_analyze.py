"""``callengine analyze``, in this process: what it finds, what it says, and what it queues."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from callengine.api.shown import AnalysisStatus
from callengine.cli import analyze
from callengine.cli.exits import NOT_FOUND, UNAVAILABLE, USAGE, Failed
from callengine.cli.parser import Commands, Parser
from callengine.config.sections import Database
from callengine.errors import NoSuchCall
from callengine.store.accounts import Accounts
from callengine.store.database import Store, open_database
from callengine.store.writer import Writer
from tests.ai.jobs import a_live_call, a_recorded_call, analysis_row
from tests.store.build import T0, a_call

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CALLENGINE_CONFIG", str(tmp_path / "empty.toml"))
    monkeypatch.setenv("CALLENGINE_STATE__DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    opened = open_database(Database(url=f"sqlite:///{state}/callengine.db"), state)
    yield opened
    opened.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    made = Writer(store, recordings=True, analyses=True, now_us=lambda: T0)
    made.start()
    yield made
    made.stop(10)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def _run(*arguments: str) -> tuple[int, dict[str, Any]]:
        parser = Parser("callengine", description="test")
        analyze.register(Commands(parser))
        args = parser.parse_args(["analyze", *arguments, "--json"])
        code = args.handler(args)
        return code, json.loads(capsys.readouterr().out)

    return _run


def test_a_call_by_its_id(run: Run, writer: Writer, store: Store) -> None:
    call = a_recorded_call(writer)
    writer.execute(lambda db: db.execute_sql("UPDATE analysis SET due = 0, status = 'failed'"), 5)
    code, told = run(call.id.upper())
    # 1500 + 960 tokens in, 1240 out
    wanted = {"calls": 1, "minutes": 0.5, "estimated_cost_usd": 0.0038, "queued": 1, "left_out": []}
    assert (code, told) == (0, wanted)
    row = analysis_row(store, call.id)
    assert (row["run"], row["due"], row["status"]) == (2, 1, "pending")


def test_a_dry_run_changes_nothing(run: Run, writer: Writer, store: Store) -> None:
    calls = [a_recorded_call(writer, {"duration_ms": 90_000}) for _ in range(3)]
    before = [analysis_row(store, call.id) for call in calls]
    code, told = run("--status", "pending", "--dry-run")
    assert (code, told["calls"], told["minutes"], "queued" in told) == (0, 3, 4.5, False)
    assert told["estimated_cost_usd"] > 0
    assert [analysis_row(store, call.id) for call in calls] == before


def test_filters(run: Run, writer: Writer, store: Store) -> None:
    tenant = Accounts(store, store).create_tenant("acme")
    mine = a_recorded_call(writer, tenant_id=tenant.id, campaign="spring")
    a_recorded_call(writer, tenant_id=tenant.id)
    a_recorded_call(writer)
    assert run("--tenant", "acme", "--dry-run")[1]["calls"] == 2
    assert run("--tenant", "acme", "--campaign", "spring", "--yes")[1]["queued"] == 1
    assert run("--since", "2026-11-01", "--dry-run")[1]["calls"] == 3
    assert run("--since", "2026-11-01", "--limit", "2", "--dry-run")[1]["calls"] == 2
    assert run("--until", "2026-11-01T00:00+02:00", "--dry-run")[1]["calls"] == 0
    assert analysis_row(store, mine.id)["run"] == 1  # it waited already


def test_what_a_filter_found_is_not_queued_unasked(
    run: Run, writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_recorded_call(writer)
    with pytest.raises(Failed, match="--yes") as refused:
        run("--status", "pending")
    assert refused.value.code == USAGE

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Person("n\n"))
    with pytest.raises(Failed, match="nothing was changed"):
        run("--status", "pending")
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    assert run("--status", "pending")[1]["queued"] == 1
    assert run("--status", "failed")[1]["queued"] == 0  # nothing to ask about


def test_what_cannot_be_analysed_is_told(run: Run, writer: Writer) -> None:
    live, ready = a_live_call(writer), a_recorded_call(writer)
    nothing = a_recorded_call(writer, {"status": "failed"})
    code, told = run(live.id, nothing.id, ready.id)
    assert (code, told["queued"], told["left_out"]) == (1, 1, [live.id, nothing.id])
    with pytest.raises(NoSuchCall):
        run(a_call().id)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--limit", "5"],
        ["no-id"],
        ["--campaign", "c"],
        ["00000000-0000-7000-8000-000000000000", "--tenant", "acme"],
        ["--status", "done"],
        ["--since", "yesterday"],
        ["--limit", "0", "--status", "failed"],
    ],
)
def test_wrong_usage(run: Run, state: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_database_and_no_tenant(run: Run, state: Path) -> None:
    with pytest.raises(Failed) as failed:
        run("--status", "failed")
    assert failed.value.code == UNAVAILABLE
    open_database(Database(url=f"sqlite:///{state}/callengine.db"), state).close()
    with pytest.raises(Failed) as failed:
        run("--tenant", "nobody", "--dry-run")
    assert failed.value.code == NOT_FOUND


def test_the_statuses_are_those_that_there_are() -> None:
    assert set(analyze._STATUSES) == {*get_args(AnalysisStatus), "none"} - {"running"}
