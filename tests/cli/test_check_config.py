"""``callengine check-config``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.cli.commands import lines, run


def test_all_errors_at_once_each_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "callengine.toml"
    file.write_text('[esl]\nhost = ""\nport = 99999\npasword = "hunter2"\n[http]\nport = "x"\n')
    done = run("check-config", "--config", str(file), state=tmp_path, CALLENGINE_LOG__LEVEL="loud")
    assert done.returncode == 78
    assert done.stdout == b""
    told = lines(done.stderr)
    assert len(told) == 5
    for line, place in zip(sorted(told), (":2", ":3", ":4", ":6"), strict=False):
        assert line.startswith(f"callengine: {file}{place}: ")
    assert any(line.startswith("callengine: CALLENGINE_LOG__LEVEL: ") for line in told)
    assert b"hunter2" not in done.stderr


def test_unreadable_file(tmp_path: Path) -> None:
    done = run("check-config", "--config", str(tmp_path / "none.toml"), state=tmp_path)
    assert done.returncode == 78
    (line,) = lines(done.stderr)
    assert "cannot be read" in line


def test_effective_settings_are_a_settings_file(tmp_path: Path) -> None:
    settings = {
        "CALLENGINE_ESL__PASSWORD": "sesame-open",
        "CALLENGINE_DATABASE__URL": "postgresql://anna:hunter2@db/calls",
        "CALLENGINE_ORIGINATE__GATEWAYS": json.dumps({"carrier": {"max_per_second": 3, "caller_id_number": "+1"}}),
        "CALLENGINE_ORIGINATE__QUEUES": "sales@default",
    }
    done = run("check-config", state=tmp_path, **settings)
    assert done.returncode == 0
    assert b"sesame" not in done.stdout + done.stderr
    assert b"hunter2" not in done.stdout + done.stderr
    shown = tomllib.loads(done.stdout.decode())
    assert shown["originate"]["gateways"]["carrier"]["max_per_second"] == 3
    assert shown["originate"]["queues"] == ["sales@default"]
    assert shown["database"]["url"] == "postgresql://anna@db/calls"
    file = tmp_path / "again.toml"
    file.write_bytes(done.stdout)
    again = run("check-config", "--json", "--config", str(file), state=tmp_path)
    assert again.returncode == 0
    as_json = json.loads(run("check-config", "--json", state=tmp_path, **settings).stdout)
    assert json.loads(again.stdout) == as_json


def test_advice_is_told_beside_it(tmp_path: Path) -> None:
    done = run("check-config", state=tmp_path, CALLENGINE_HTTP__HOST="0.0.0.0")
    assert done.returncode == 0
    assert any(line.startswith("callengine: note: metrics.token") for line in lines(done.stderr))


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("run", state=tmp_path, CALLENGINE_STATE__DIRECTORY=str(tmp_path / "file" / "state"))
    assert done.returncode == 78
    (line,) = lines(done.stderr)
    assert "state.directory" in line


def test_other_commands_tell_the_same(tmp_path: Path) -> None:
    for arguments in (["run"], ["api"], ["tenant", "list"], ["migrate", "run"], ["quarantine", "list"]):
        done = run(*arguments, state=tmp_path, CALLENGINE_ESL__PORT="0", CALLENGINE_HTTP__PORT="x")
        assert done.returncode == 78, arguments
        assert len(lines(done.stderr)) == 2
        assert b"Traceback" not in done.stderr
