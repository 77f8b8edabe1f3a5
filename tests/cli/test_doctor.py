"""``callengine doctor`` as it is typed: its lines, its JSON, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import free_port
from tests.cli.commands import lines, run


@pytest.fixture(scope="module")
def switch() -> Iterator[StandInProcess]:
    with launch(["--seed", "1"]) as process:
        yield process


def test_a_line_a_look_and_what_to_type(switch: StandInProcess, tmp_path: Path) -> None:
    settings = {"CALLENGINE_ESL__PORT": str(switch.port), "CALLENGINE_HTTP__PORT": str(free_port())}
    done = run("doctor", state=tmp_path, **settings)
    assert done.returncode == 5, done.stderr
    told = lines(done.stdout)
    assert f"ok   event socket connected to 127.0.0.1:{switch.port}, the password fits" in told
    at = next(n for n, line in enumerate(told) if line.startswith("warn daemon"))
    assert told[at + 1].strip() == "→ systemctl enable --now callengine; or callengine run"
    assert lines(done.stderr)[-1].endswith("0 fail, 4 skip")
    wrong = run("doctor", state=tmp_path, **settings, CALLENGINE_ESL__PASSWORD="hunter2")
    assert wrong.returncode == 1
    assert any(line.startswith("fail event socket") for line in lines(wrong.stdout))
    assert b"hunter2" not in wrong.stdout + wrong.stderr


def test_nothing_is_made_and_nothing_changed(switch: StandInProcess, tmp_path: Path) -> None:
    state = tmp_path / "not-there-yet"
    settings = {"CALLENGINE_STATE__DIRECTORY": str(state), "CALLENGINE_ESL__PORT": str(switch.port)}
    done = run("doctor", state=tmp_path, **settings)
    assert b"is not there yet" in done.stdout
    assert not state.exists()


def test_json(switch: StandInProcess, tmp_path: Path) -> None:
    done = run("doctor", "--json", state=tmp_path, CALLENGINE_ESL__PORT=str(switch.port))
    told = json.loads(done.stdout)
    first = told["findings"][0]
    assert set(first) == {"check", "level", "text", "remedy"}
    assert {finding["level"] for finding in told["findings"]} <= {"ok", "warn", "fail", "skip"}
    assert sum(told["counts"].values()) == len(told["findings"])


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "callengine.toml"
    file.write_text('[esl]\npasword = "hunter2"\nport = 99999\n')
    done = run("doctor", "--config", str(file), state=tmp_path)
    assert done.returncode == 78
    told = lines(done.stdout)
    assert len(told) == 2
    assert all(line.startswith(f"fail settings     {file}:") for line in told)
    as_json = run("doctor", "--json", "--config", str(file), state=tmp_path)
    assert as_json.returncode == 78
    assert json.loads(as_json.stdout)["counts"] == {"fail": 2}
    assert b"hunter2" not in done.stdout + done.stderr + as_json.stdout
