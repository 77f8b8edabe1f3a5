"""A daemon at a recorded switch, as the benchmarks run it: on a core of its own, and watched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from common import cpu_s, rss_mb
from http_client import Client
from switch import NODE, Switch

from tests.acceptance.daemon import Daemon

CORE: Final = 1
_SETTLE_S: Final = 0.3


class Subject:
    """A daemon and its switch. ``client`` has a key with all scopes."""

    def __init__(self, daemon: Daemon, switch: Switch) -> None:
        self.daemon = daemon
        self.switch = switch
        self.port = int(daemon.url.rsplit(":", 1)[1])
        self.client = Client(self.port, daemon.key)

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def cpu_s(self) -> float:
        """Of the daemon, so far."""
        return cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Of the daemon, now."""
        return rss_mb(self.pid)

    def settled(self, timeout_s: float = 120.0) -> None:
        """Returns when nothing waits in it."""
        names = ("callengine_writer_depth", "callengine_intake_events")
        self.until(lambda found: not sum(found.get(name, 0) for name in names), timeout_s)

    def until(self, true: Callable[[dict[str, float]], bool], timeout_s: float) -> None:
        """Returns when that is true of its metrics."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if true(self.daemon.metrics()):
                return
            time.sleep(_SETTLE_S)
        raise TimeoutError(f"the daemon was not done within {timeout_s:g} s")


@contextmanager
def subject(
    folder: Path, *, more: str = "", database_url: str = "", core: int | None = CORE, program: tuple[str, ...] = ()
) -> Iterator[Subject]:
    """A daemon that is ready. ``more`` is added to its configuration."""
    with ExitStack() as stack:
        switch = stack.enter_context(Switch())
        daemon = made(folder, switch, more=more, database_url=database_url, program=program)
        started(daemon, core)
        stack.callback(daemon.kill)
        yield Subject(daemon, switch)


def made(
    folder: Path, switch: Switch, *, more: str = "", database_url: str = "", program: tuple[str, ...] = ()
) -> Daemon:
    """One that is not started yet."""
    configuration = f'[switch]\nname = "{NODE}"\n[esl]\nport = {switch.port}\n[log]\nlevel = "warning"\n{more}'
    environ = {"CALLENGINE_ESL__PASSWORD": "x"}
    if database_url:
        environ["CALLENGINE_DATABASE__URL"] = database_url
    return Daemon(folder, configuration, environ, program=program or ("-m", "callengine"))


def compiled() -> None:
    """Has the bytecode of what the daemon imports written, as pip does it for whoever installs it."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", "import callengine.patched, callengine.daemon"], env=environ, check=True)


def started(daemon: Daemon, core: int | None = CORE) -> float:
    """Starts it, on that core. Returns the seconds until it was ready."""
    began_s = time.monotonic()
    daemon.start(wait=False)
    assert daemon.process is not None
    if core is not None and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(daemon.process.pid, {core})
    daemon.wait_ready()
    return time.monotonic() - began_s


class Many:
    """Threads that each do something, so many times a second, until the end; a context manager.

    ``took_ms`` has what each turn took, by its name.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.took_ms: dict[str, list[float]] = {}
        self.errors: list[str] = []

    def add(self, name: str, per_s: float, do: Callable[[], None]) -> None:
        """Has it done."""
        took = self.took_ms.setdefault(name, [])
        thread = threading.Thread(target=self._run, args=(took, per_s, do), daemon=True)
        self._threads.append(thread)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, took: list[float], per_s: float, do: Callable[[], None]) -> None:
        due_s = time.monotonic()
        while not self._over.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + 1 / per_s, time.monotonic() - 1)
            began_s = time.perf_counter()
            try:
                do()
            except (OSError, AssertionError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            took.append((time.perf_counter() - began_s) * 1000)


@contextmanager
def listening(module: str, arguments: list[str]) -> Iterator[int]:
    """A stand-in of ours as a process; its port."""
    from common import own

    command = [own("x")[0], "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r":(\d+)", process.stdout.readline())
        assert found is not None
        threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
        yield int(found[1])
    finally:
        process.kill()
        process.wait()


def _drain(pipe: Any) -> None:
    for _ in pipe:
        pass
