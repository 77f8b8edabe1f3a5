"""The scripts of ``callengine completion``: each shell takes them, and completes what there is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from callengine.cli.completion import SHELLS, script
from callengine.cli.main import build_parser
from tests.cli.commands import run
from tests.cli.test_main import parsers


@pytest.mark.parametrize("shell", SHELLS)
def test_it_has_every_command_and_option(shell: str) -> None:
    text = script(shell)
    for name, parser in parsers(build_parser()).items():
        assert name.split()[-1] in text
        for action in parser._actions:
            for option in action.option_strings:
                assert option.lstrip("-") in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_it(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([program, "-n", path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def bash(words: str, tmp_path: Path) -> set[str]:
    """What bash offers for the last of ``words``."""
    path = tmp_path / "script.bash"
    path.write_text(script("bash"))
    lines = [
        f"source {path}",
        f"COMP_WORDS=({words})",
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))",
        "_shtab_callengine",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    command = [str(shutil.which("bash")), "--norc", "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_what_bash_offers(tmp_path: Path) -> None:
    assert {"run", "tenant", "completion"} <= bash("callengine ''", tmp_path)
    assert bash("callengine te", tmp_path) == {"tenant"}
    assert {"create", "list", "set"} <= bash("callengine tenant ''", tmp_path)
    assert "--record" in bash("callengine tenant set --r", tmp_path)
    assert bash("callengine tenant set --record n", tmp_path) == {"never"}
    assert bash("callengine completion z", tmp_path) == {"zsh"}
    (tmp_path / "settings.toml").touch()
    assert "settings.toml" in bash("callengine run --config sett", tmp_path)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_what_fish_offers(tmp_path: Path) -> None:
    path = tmp_path / "callengine.fish"
    path.write_text(script("fish"))
    for words, wanted in (("callengine te", "tenant"), ("callengine tenant set --re", "--record")):
        command = [str(shutil.which("fish")), "--no-config", "-c", f"source {path}; complete -C '{words}'"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin"},
        )
        assert wanted in done.stdout, done


def test_nothing_else_is_printed(tmp_path: Path) -> None:
    done = run("completion", "bash", state=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == script("bash")
