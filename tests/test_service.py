"""What systemd/ holds: the unit, the script that puts it in place, and root's way to the commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from callengine.cli.exits import CONFIGURATION, USAGE
from callengine.config.settings import Settings
from callengine.config.sources import CREDENTIALS_PREFIX, fields, is_secret
from callengine.daemon import _STOP_S
from callengine.telling import _PUT_OFF_S

ROOT = Path(__file__).parents[1]
SYSTEMD = ROOT / "systemd"
UNIT = (SYSTEMD / "callengine.service").read_text(encoding="utf-8")


def directive(name: str) -> str:
    """The last value of a directive of the unit."""
    found = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    assert found, f"{name} is not set"
    return str(found[-1])


def test_the_unit() -> None:
    assert directive("Type") == "notify"
    assert directive("ExecStart").endswith("/callengine run")
    assert "freeswitch.service" in directive("After")
    assert not re.search(r"^(Requires|BindsTo|Requisite)=", UNIT, re.MULTILINE), "a switch that is away is waited for"
    assert int(directive("TimeoutStopSec")) > _STOP_S
    assert int(directive("TimeoutStartSec")) > _PUT_OFF_S
    assert directive("LoadCredential").startswith(f"{CREDENTIALS_PREFIX.removesuffix('_')}:/")
    assert set(map(int, directive("RestartPreventExitStatus").split())) == {USAGE, CONFIGURATION}
    assert directive("Restart") == "on-failure"


def test_every_secret_is_named_where_the_folder_is_explained() -> None:
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    for section, name, info in fields(Settings):
        if is_secret(info):
            assert f"`{section}.{name}`" in page


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )


@needs_systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The program itself is not there: that alone may be complained about."""
    unit = tmp_path / "callengine.service"
    unit.write_text(UNIT.replace("/opt/callengine/bin/callengine", "/bin/true"))
    done = analyze("verify", str(unit))
    ours = [line for line in done.stderr.splitlines() if "callengine.service" in line and "Man page" not in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_its_exposure_is_at_most_two() -> None:
    done = analyze("security", "--offline=true", str(SYSTEMD / "callengine.service"))
    if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    found = re.search(r"exposure level for callengine\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= 2.0


# -- install.sh -------------------------------------------------------------------------------------------------------


def install(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **({"PATH": path} if path else {})}
    line = ["sh", str(SYSTEMD / "install.sh"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environ)


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH on which there is a systemd that does nothing."""
    for name in ("systemd-sysusers", "systemd-tmpfiles", "systemctl"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\nexit 1\n")
        tool.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_a_dry_run_says_all_and_does_nothing(tools: str) -> None:
    before = {path: path.exists() for path in map(Path, ("/opt/callengine", "/etc/callengine"))}
    done = install("--dry-run", path=tools)
    assert done.returncode == 0, done.stderr
    for part in ("-m venv /opt/callengine", "/usr/local/bin/callengine", "callengine.service", "systemd-sysusers"):
        assert part in done.stdout or before[Path("/opt/callengine")]
    assert "callengine doctor" in done.stdout
    assert {path: path.exists() for path in before} == before


def test_taking_it_away_keeps_the_calls_unless_told_otherwise() -> None:
    done = install("--uninstall", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "rm -rf /var/lib/callengine" not in done.stdout
    assert "/etc/callengine and /var/lib/callengine stay" in done.stdout
    purged = install("--uninstall", "--purge", "--dry-run")
    assert "rm -rf /etc/callengine /var/lib/callengine" in purged.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--purge",), "goes with --uninstall"),
        (("--exras", "ai"), "there is no option --exras"),
        (("--extras",), "--extras needs a value"),
        (("--extras", "ai; rm"), "names with commas"),
        (("--dry-run", "--python", "/no/such/python"), "apt install python3-venv"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str, tools: str) -> None:
    done = install(*arguments, path=tools)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("install.sh: ")
    assert words in line


def test_all_that_is_put_in_place_is_taken_away() -> None:
    script = (SYSTEMD / "install.sh").read_text(encoding="utf-8")
    away = script.partition("uninstall_all() {")[2]
    for name in ("unit", "dropins", "wrapper", "sysusers", "tmpfiles", "home"):
        assert f'"${name}"' in away
    for name in ("callengine.service", "callengine.sysusers.conf", "callengine.tmpfiles.conf", "callengine.wrapper"):
        assert name in script
        assert (SYSTEMD / name).is_file()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_are_clean() -> None:
    for name in ("install.sh", "callengine.wrapper"):
        done = subprocess.run(
            ["shellcheck", str(SYSTEMD / name)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout


# -- the wrapper ------------------------------------------------------------------------------------------------------

_CAT = """\
# /etc/systemd/system/callengine.service
[Unit]
Description=x
[Service]
Type=notify
User=callengine
ExecStart=/opt/callengine/bin/callengine run
LoadCredential=callengine:/etc/callengine/credentials
WatchdogSec=30
[Install]
WantedBy=multi-user.target

# /etc/systemd/system/callengine.service.d/freeswitch.conf
[Service]
SupplementaryGroups=freeswitch
Environment="A=1 2" B=3
"""


@pytest.fixture
def wrapper(tmp_path: Path) -> tuple[Path, str]:
    """The wrapper on a machine with systemd where we are root, as far as it can tell; and its PATH."""
    for name, script in {
        "systemctl": f"cat <<'END'\n{_CAT}END\n",
        "systemd-run": 'printf "%s\\n" "$@"\n',
        "id": "echo 0\n",
        "program": 'printf "itself %s\\n" "$*"\n',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)
    text = (SYSTEMD / "callengine.wrapper").read_text(encoding="utf-8")
    (tmp_path / "callengine.service").touch()
    text = text.replace("/opt/callengine/bin/callengine", str(tmp_path / "program"))
    text = text.replace("/run/systemd/system", str(tmp_path)).replace("/etc/systemd/system", str(tmp_path))
    (tmp_path / "wrapper").write_text(text)
    return tmp_path / "wrapper", f"{tmp_path}:{os.environ['PATH']}"


def wrapped(wrapper: tuple[Path, str], *arguments: str, **environ: str) -> list[str]:
    line = ["sh", str(wrapper[0]), *arguments]
    env = {**os.environ, "PATH": wrapper[1], **environ}
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, env=env).stdout.splitlines()


def test_root_runs_commands_as_the_service(wrapper: tuple[Path, str]) -> None:
    given = wrapped(wrapper, "tenant", "create", "two words", "$(id)", CALLENGINE_LOG__LEVEL="debug")
    assert given[-5:] == [str(wrapper[0].parent / "program"), "tenant", "create", "two words", "$(id)"]
    properties = [word.removeprefix("--property=") for word in given if word.startswith("--property=")]
    assert properties[1:] == [
        "User=callengine",
        "LoadCredential=callengine:/etc/callengine/credentials",
        "SupplementaryGroups=freeswitch",
        'Environment="A=1 2" B=3',
    ]
    assert "--setenv=CALLENGINE_LOG__LEVEL" in given
    assert "--wait" in given


def test_what_has_nothing_to_do_with_the_service_runs_as_it_is(wrapper: tuple[Path, str]) -> None:
    assert wrapped(wrapper, "replay", "a.esl") == ["itself replay a.esl"]
    assert wrapped(wrapper, "--version") == ["itself --version"]
    (wrapper[0].parent / "id").write_text("#!/bin/sh\necho 1000\n")
    assert wrapped(wrapper, "doctor") == ["itself doctor"]
