"""docs/start.md: its lines do what it says, one after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.daemon import free_port
from tests.docs.vocabulary import ROOT

PAGE = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
_SECONDS = 40


def blocks(heading: str) -> list[str]:
    """The shell lines below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CALLENGINE_")}
    (tmp_path / "bin").mkdir()
    for name, more in (("python", ""), ("callengine", "-m callengine")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {more} "$@"\n')
        program.chmod(0o755)
    return {
        **bare,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CALLENGINE_HTTP__PORT": str(free_port()),
        "STANDIN": str(free_port()),
    }


def await_ready(daemon: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        assert daemon.poll() is None, "the daemon has ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_the_daemon_and_a_stand_in(environment: dict[str, str], tmp_path: Path) -> None:
    first, second = (block.replace("8022", environment["STANDIN"]) for block in blocks("The daemon and a stand-in"))
    daemon = subprocess.Popen(["bash", "-ec", first], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        await_ready(daemon, f"http://127.0.0.1:{environment['CALLENGINE_HTTP__PORT']}/readyz")
        done = subprocess.run(
            ["bash", "-ec", second], cwd=tmp_path, env=environment, capture_output=True, timeout=_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"completed" in done.stdout
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(_SECONDS)
