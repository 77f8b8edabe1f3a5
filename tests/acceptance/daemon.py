"""A daemon of its own, as a process that can be stopped, killed and started again, and a client of its API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_READY_S = 60.0
_SCOPES = ("calls:read", "calls:write", "campaigns:read", "campaigns:write", "webhooks:read", "webhooks:write")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Daemon:
    """``configuration`` is TOML without ``http.port`` and ``state.directory``, which are made here. ``start`` it.

    ``program``: what Python is to run, before the word ``run``.
    """

    def __init__(
        self,
        state: Path,
        configuration: str,
        environ: Mapping[str, str] | None = None,
        *,
        program: Sequence[str] = ("-m", "callengine"),
    ) -> None:
        self._program = program
        self.state = state
        self.url = f"http://127.0.0.1:{free_port()}"
        path = state / "callengine.toml"
        path.write_text(configuration)
        ours = {
            "CALLENGINE_CONFIG": str(path),
            "CALLENGINE_HTTP__PORT": self.url.rsplit(":", 1)[1],
            "CALLENGINE_STATE__DIRECTORY": str(state),
        }
        self._env = {**os.environ, **ours, **(environ or {})}
        self.log_path = state / "daemon.log"
        self.log_path.touch()
        self.process: subprocess.Popen[bytes] | None = None
        self.command("migrate", "run")
        self.command("tenant", "create", "default", check=False)
        scopes = [word for scope in _SCOPES for word in ("--scope", scope)]
        self.key = self.command("key", "create", "--tenant", "default", *scopes).strip().splitlines()[-1]

    # -- the process -------------------------------------------------------------------------------------------------

    def command(self, *words: str, check: bool = True) -> str:
        """What ``callengine WORDS`` prints."""
        line = [sys.executable, "-m", "callengine", *words]
        done = subprocess.run(line, env=self._env, capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"callengine {words[0]}: {done.stderr}")
        return done.stdout

    def start(self, *, wait: bool = True) -> None:
        """Starts it; ``wait``: until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, *self._program, "run"], env=self._env, stderr=log)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s: float = _READY_S) -> None:
        """Raises RuntimeError with the end of its log if that takes longer."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process is not None and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the daemon did not get ready: {self.said()[-2000:]}")

    def is_ready(self) -> bool:
        """What /readyz says, within two seconds; False where nobody answers."""
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def suspend(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def hangup(self) -> None:
        """SIGHUP: read the settings again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def rss_bytes(self) -> int:
        """What it holds of memory."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """SIGTERM. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=40)

    def said(self) -> str:
        """Its log, of all its lives."""
        return self.log_path.read_text()

    def complaints(self) -> list[str]:
        """The lines of its log that are warnings or worse."""
        words = ('"level":"warning"', '"level":"error"', '"level":"critical"', "Traceback")
        return [line for line in self.said().splitlines() if any(word in line for word in words)]

    # -- its API -----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises ``urllib.error.HTTPError``."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def calls(self) -> Iterator[dict[str, Any]]:
        """All calls, the newest first."""
        page = 1
        while True:
            got = self.ask("GET", f"/v1/calls?page={page}&page_size=200")
            yield from got["data"]
            if page >= got["total_pages"]:
                return
            page += 1

    def metrics(self) -> dict[str, float]:
        """All samples, by name and labels as they are written."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def figures(self) -> str:
        """How it fared: its CPU time, how long events waited for the tracker, how long commits took."""
        assert self.process is not None
        values = self.metrics()
        user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
        cpu_s = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        count = values["callengine_event_lag_seconds_count"]
        bucket = 'callengine_event_lag_seconds_bucket{{le="{}"}}'
        late = {bound: count - values[bucket.format(bound)] for bound in ("0.02", "0.1", "1.0")}
        bounds = ("0.01", "0.1", "1.0", "+Inf")
        hub = {b: values[f'callengine_hub_lateness_seconds_bucket{{le="{b}"}}'] for b in bounds}
        took_s, commits = (values[f"callengine_commit_seconds_{what}"] for what in ("sum", "count"))
        return (
            f"daemon: {cpu_s:.1f} s of CPU; {count:.0f} batches of events, of these waited longer than (s): {late};"
            f" hub late by at most (s): {hub};"
            f" {commits:.0f} commits of {1000 * took_s / max(commits, 1):.1f} ms"
        )


def launched(module: str, arguments: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """``python -m MODULE ARGUMENTS``; what it says goes into a file, since nobody reads a pipe that would fill up."""
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
