"""What callengine writes is for its own user only, whatever umask it was started with."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callengine.standin.launch import launch
from tests.acceptance.daemon import free_port

SECRET = "a-secret-of-the-switch"


class OpenHanded:
    """A daemon under umask 000, in a state directory whose parents are not there yet."""

    def __init__(self, folder: Path, esl_port: int) -> None:
        self.top = folder / "made"
        self.state = self.top / "by" / "us"
        self.cdrs = folder / "json_cdr"
        self.cdrs.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        self._env = {
            **os.environ,
            "CALLENGINE_ESL__PORT": str(esl_port),
            "CALLENGINE_HTTP__PORT": self.url.rpartition(":")[2],
            "CALLENGINE_STATE__DIRECTORY": str(self.state),
            "CALLENGINE_CDR__HTTP_SECRET": SECRET,
            "CALLENGINE_CDR__DIRECTORIES": f'["{self.cdrs}"]',
            "CALLENGINE_CDR__POLL_S": "0.2",
            "CALLENGINE_CDR__GRACE_S": "0.2",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> str:
        line = [sys.executable, "-m", "callengine", *words]
        done = subprocess.run(line, env=self._env, capture_output=True, text=True, umask=0, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        line = [sys.executable, "-m", "callengine", "run"]
        self.process = subprocess.Popen(line, env=self._env, umask=0)
        self.until(lambda: self.ask("/readyz") == 200)

    def ask(self, path: str, body: bytes | None = None) -> int:
        user = base64.b64encode(f"freeswitch:{SECRET}".encode()).decode()
        headers = {"Authorization": f"Basic {user}", "Content-Type": "application/json"} if body else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert condition()

    def files(self) -> dict[str, int]:
        """The modes of all that is there, folders too, by their paths below the top."""
        modes = {".": stat.S_IMODE(self.top.stat().st_mode)}
        for path in self.top.rglob("*"):
            try:
                modes[str(path.relative_to(self.top))] = stat.S_IMODE(path.lstat().st_mode)
            except FileNotFoundError:  # a draft
                continue
        return modes

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(40) == 0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[OpenHanded]:
    with launch(["--port", "0", "--time-scale", "20", "--inbound-rate", "5"]) as standin:
        made = OpenHanded(tmp_path, standin.port)
        yield made
        made.stop()


def test_nobody_else_can_read_or_write_any_of_it(daemon: OpenHanded) -> None:
    daemon.command("migrate", "run")
    daemon.start()
    assert daemon.ask("/fs/cdr", b'{"variables": "no record"}') == 200
    (daemon.cdrs / "broken.cdr.json").write_text("{")
    seen: dict[str, int] = {}

    def is_all_there() -> bool:
        seen.update(daemon.files())
        names = " ".join(seen)
        wanted = ("callengine.db", "-wal", "-shm", "/spool/", "engine.lock", "quarantine/", "cdr-inbox", ".key")
        return all(part in names for part in wanted)

    daemon.until(is_all_there)
    daemon.stop()
    daemon.process = None
    seen |= daemon.files()
    assert {name: oct(mode) for name, mode in seen.items() if mode & 0o077} == {}
