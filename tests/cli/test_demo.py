"""``callengine demo`` from end to end: the real daemon, the stand-in switch, HTTP. Each test takes some ten seconds."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from callengine.cli.demo.children import Child, free_port
from tests.cli.commands import command, environment

START_S = 60
STOP_S = 15
KINDS = {
    "call": re.compile(r"[0-9:.]{12} (completed|failed) (inbound|outbound) \S+ [A-Z_]+( |$)"),
    "delivery": re.compile(r"[0-9:.]{12} webhook call\.[a-z_]+ \S+ seq=[0-9]+ attempt=1 204$"),
    "analysis": re.compile(r"analysis of \S+: (completed.*: Simulated analysis: |skipped_|failed)"),
    "recording": re.compile(r"curl -s -o call\.wav 'http://127\.0\.0\.1:[0-9]+/v1/recordings/\S+'$"),
}
CHILDREN = 4
GEMINI_KEY = "a-key-that-nobody-else-may-see"


class Demo:
    """A demo under way; its temporary folder is inside of ``tmp_path``."""

    def __init__(self, tmp_path: Path, *arguments: str, **more: str) -> None:
        self.temp = tmp_path / "temp"
        self.temp.mkdir()
        if "--port" not in arguments:
            arguments += ("--port", str(free_port()))  # not the usual one: somebody may have a demo under way
        environ = environment(tmp_path / "state", TMPDIR=str(self.temp))
        del environ["CALLENGINE_STATE__DIRECTORY"]  # else: a setting; the demo has a folder of its own
        environ = {name: value for name, value in environ.items() if name not in {"GEMINI_API_KEY", "GOOGLE_API_KEY"}}
        self.process = subprocess.Popen(
            command("demo", "--plain", *arguments),
            env=environ | more,
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
        assert "stand-in" in title, self.end()
        assert "not FreeSWITCH" in title
        return {"title": title, "url": url.split()[1], "key": key.split()[1], "calls": calls, "campaign": campaign}

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


def kind_of(line: str) -> str | None:
    return next((kind for kind, pattern in KINDS.items() if pattern.match(line)), None)


def test_some_seconds_of_it(demos: list[Demo], tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--seconds", "60", "--rate", "5")
    demos.append(demo)
    header = demo.header()
    assert "analysis: a stand-in, not Gemini" in header["title"]
    children = demo.children()
    assert len(children) == CHILDREN
    lines: dict[str | None, str] = {}
    while not KINDS.keys() <= lines.keys():
        line = demo.line()
        assert line, lines  # else it has ended before all of them came
        lines.setdefault(kind_of(line), line)
    assert None not in lines, lines[None]
    # Pasted as they stand:
    for name in ("calls", "campaign"):
        answer = subprocess.check_output(["bash", "-c", header[name]], timeout=10)
        page = json.loads(answer)
        assert page["page_size"] == 3
        if name == "calls":
            assert page["total"] > 5
            assert {call["direction"] for call in page["data"]} <= {"inbound", "outbound"}
    assert shlex.split(header["calls"])[0] == "curl"
    subprocess.check_call(["bash", "-c", lines["recording"]], timeout=10, cwd=tmp_path)
    with wave.open(str(tmp_path / "call.wav")) as recording:
        assert recording.getnframes() > recording.getframerate()
    demo.process.send_signal(signal.SIGINT)
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert all(map(kind_of, out)), out
    assert re.search(r"[0-9]+ calls: [0-9]+ completed, [0-9]+ failed", err)
    assert all(gone(pid) for pid in children)
    assert list(demo.temp.iterdir()) == []


def test_a_key_of_ones_own_stays_with_the_daemon(demos: list[Demo], tmp_path: Path) -> None:
    """Ended long before a recording could be sent to anybody."""
    demo = Demo(tmp_path, "--seconds", "1", GEMINI_API_KEY=GEMINI_KEY)
    demos.append(demo)
    header = demo.header()
    assert "analysis: Gemini (your GEMINI_API_KEY)" in header["title"]
    children = demo.children()
    assert len(children) == CHILDREN - 1  # no stand-in for it
    secret = GEMINI_KEY.encode()
    knowing = [pid for pid in children if secret in Path(f"/proc/{pid}/environ").read_bytes()]
    assert [b"run" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in knowing] == [True]
    assert not any(secret in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children)
    (folder,) = demo.temp.glob("callengine-demo-*")
    assert folder.stat().st_mode & 0o077 == 0
    for file in (path for path in folder.rglob("*") if path.is_file()):
        assert secret not in file.read_bytes(), file
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert GEMINI_KEY not in "".join(out) + err


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


def test_beside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callengine").mkdir()
    monkeypatch.chdir(tmp_path)
    child = Child("it", ["callengine", "--version"], os.environ, tmp_path / "log")
    until = time.monotonic() + START_S
    while child.exit_code is None and time.monotonic() < until:
        time.sleep(0.05)
    assert child.exit_code == 0, child.last_words()


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
