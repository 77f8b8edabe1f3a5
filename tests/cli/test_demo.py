"""``callengine demo`` from end to end: the real daemon, the stand-in switch, HTTP. Each test takes some ten seconds."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import command, environment

START_S = 60
STOP_S = 15
CALL = re.compile(r"[0-9:.]{12} (completed|failed) (inbound|outbound) \S+ [A-Z_]+( |$)")


class Demo:
    """A demo under way; its temporary folder is inside of ``tmp_path``."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self.temp = tmp_path / "temp"
        self.temp.mkdir()
        environ = environment(tmp_path / "state", TMPDIR=str(self.temp))
        del environ["CALLENGINE_STATE__DIRECTORY"]  # else: a setting; the demo has a folder of its own
        self.process = subprocess.Popen(
            command("demo", "--plain", *arguments),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def header(self) -> dict[str, str]:
        """The lines above the calls: what it is, the URL, the key, the curl lines."""
        title, url, key, calls, campaign = (self.line() for _ in range(5))
        assert "stand-in" in title
        assert "not FreeSWITCH" in title
        return {"url": url.split()[1], "key": key.split()[1], "calls": calls, "campaign": campaign}

    def children(self) -> list[int]:
        return [
            int(line) for line in subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(self.process.pid)]).split()
        ]

    def end(self) -> tuple[list[str], str]:
        """Its remaining lines and what it said, once it has ended."""
        out, err = self.process.communicate(timeout=STOP_S)
        return out.decode().splitlines(), err.decode()


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate(timeout=STOP_S)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_some_seconds_of_it(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--seconds", "8", "--rate", "6")
    demos.append(demo)
    header = demo.header()
    children = demo.children()
    assert len(children) == 2
    assert {"completed", "failed"} & set(demo.line().split())
    # Pasted as they stand:
    for name in ("calls", "campaign"):
        answer = subprocess.check_output(["bash", "-c", header[name]], timeout=10)
        page = json.loads(answer)
        assert page["page_size"] == 3
        if name == "calls":
            assert page["total"] > 5
            assert {call["direction"] for call in page["data"]} <= {"inbound", "outbound"}
    assert shlex.split(header["calls"])[0] == "curl"
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert len(out) >= 3
    assert all(CALL.match(line) for line in out), out
    assert re.search(r"[0-9]+ calls: [0-9]+ completed, [0-9]+ failed", err)
    assert all(gone(pid) for pid in children)
    assert list(demo.temp.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_and_leaves_nothing(number: signal.Signals, demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.header()
    children = demo.children()
    told = time.monotonic()
    demo.process.send_signal(number)
    _, err = demo.end()
    assert time.monotonic() - told < 10
    assert demo.process.returncode == 0, err
    assert "Traceback" not in err
    assert all(gone(pid) for pid in children)
    assert list(demo.temp.iterdir()) == []


def test_told_to_end_while_it_starts(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    until = time.monotonic() + START_S
    while not list(demo.temp.glob("callengine-demo-*/standin.log")) and time.monotonic() < until:
        time.sleep(0.02)
    demo.process.send_signal(signal.SIGINT)
    _, err = demo.end()
    assert demo.process.returncode == 0, err
    assert "Traceback" not in err
    assert list(demo.temp.iterdir()) == []


def test_killed_it_leaves_no_process(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.header()
    children = demo.children()
    demo.process.kill()
    until = time.monotonic() + STOP_S
    while not all(gone(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(gone(pid) for pid in children)


def test_the_daemon_dies(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.header()
    for pid in demo.children():
        os.kill(pid, signal.SIGKILL)
    _, err = demo.end()
    assert demo.process.returncode == 1
    assert "ended unasked" in err
    assert list(demo.temp.iterdir()) == []


def test_a_taken_port(demos: list[Demo], tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        demo = Demo(tmp_path, "--port", str(taken.getsockname()[1]))
        demos.append(demo)
        _, err = demo.end()
    assert demo.process.returncode == 1
    assert "is taken" in err
    assert list(demo.temp.iterdir()) == []
