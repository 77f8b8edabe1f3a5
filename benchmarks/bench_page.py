"""The page in Chromium with many live calls: what it costs in CPU and memory.

A stand-in switch, a daemon and a headless Chromium as processes, in which somebody has signed in and looks at the calls
of now. Each call tells four changes (dialling, ringing, answered, ended), so that ``changes / 4`` calls a second, each
as long as it takes until there are ``live``, keep both figures. CPU is that of all of Chromium's processes, the page's
own is told beside; it draws in software here, which a graphics card would take off it. Memory is what the page's
process holds for itself (PSS), and of that the heap of its JavaScript. ``--faults`` prints what the page complained of.

    python benchmarks/bench_page.py [--live 1000] [--changes 100] [--seconds 60] [--view '#/']
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1])]

import callengine.patched  # noqa: F401

from callengine.esl.client import EslClient
from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon
from tests.page.chromium import Browser, Page

_CHANGES_A_CALL: Final = 4
_RING_S: Final = 4.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_SETTLED_S: Final = 15.0
_LOOK_S: Final = 1.0
_COUNT_FRAMES: Final = (
    "window.frames_asked = 0; const asked = window.requestAnimationFrame;"
    "window.requestAnimationFrame = (draw) => { window.frames_asked += 1; return asked(draw); };"
)
_CONFIGURATION: Final = """
[esl]
host = "{host}"
port = {port}
"""


class Cost(NamedTuple):
    """Of a browser: seconds of CPU, of all its processes and of the page's own, and the latter's memory in MB."""

    all_s: float
    page_s: float
    page_mb: float
    browser_mb: float


class Calls(threading.Thread):
    """Has the switch place ``rate`` calls a second that live for ``life_s``, until ``over`` is set."""

    def __init__(self, switch: StandInProcess, rate: float, life_s: float) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.placed = 0
        self._switch, self._rate, self._life_s = switch, rate, life_s

    def run(self) -> None:
        """One ``bgapi`` after the other; what is late is caught up with."""
        client = EslClient(self._switch.host, self._switch.port, "ClueCon")
        client.connect()
        began = time.monotonic()
        talk_s = max(1.0, self._life_s - _RING_S)
        while not self.over.is_set():
            while self.placed < (time.monotonic() - began) * self._rate:
                self.placed += 1
                told = f"standin_ring_s={_RING_S},standin_talk_s={talk_s},callengine_campaign_id=c{self.placed % 7}"
                number = f"+1555{self.placed % 10_000:04d}200"
                client.send(f"bgapi originate {{{told}}}sofia/gateway/carrier/{number} &park()", timeout_s=30)
            time.sleep(0.02)
        client.close()

    def stop(self) -> None:
        """Has it place no more."""
        self.over.set()
        self.join(30)


def processes(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * _TICK_S


def _pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cost(browser: Browser) -> Cost:
    """What it took so far. The page's own process is the busiest of those that draw pages."""
    pids = processes(browser.process.pid)
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    pages = [pid for pid in pids if b"--type=renderer" in words[pid]]
    page = max(pages, key=_cpu_s)
    return Cost(sum(map(_cpu_s, pids)), _cpu_s(page), _pss_mb(page), sum(map(_pss_mb, pids)))


def heap_mb(page: Page) -> float:
    """What its JavaScript uses of its heap."""
    return float(page.call("Runtime.getHeapUsage")["usedSize"]) / 1e6


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=1000, help="calls at once (default %(default)s)")
    parser.add_argument("--changes", type=float, default=100.0, help="events a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure (default %(default)s)")
    parser.add_argument("--view", default="#/", help="what is looked at (default %(default)s)")
    parser.add_argument("--faults", action="store_true")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = parse(argv)
    rate = options.changes / _CHANGES_A_CALL
    life_s = options.live / rate
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-page-")))
        switch = stack.enter_context(launch(["--max-sessions", "10000"]))
        (folder / "state").mkdir()
        daemon = Daemon(folder / "state", _CONFIGURATION.format(host=switch.host, port=switch.port))
        daemon.start()
        stack.callback(daemon.stop)
        calls = Calls(switch, rate, life_s)
        calls.start()
        stack.callback(calls.stop)
        browser = stack.enter_context(Browser(folder))
        page = browser.page()
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_COUNT_FRAMES)
        page.open(f"{daemon.url}/{options.view}")
        page.until("document.querySelector('#key')")
        page.type("#key", daemon.key)
        page.press("Enter")
        print(f"{rate:g} calls a second that live {life_s:g} s; waiting until they are {options.live}")
        time.sleep(life_s + _SETTLED_S)
        # What the browser tells of its network would be a part of the measurement.
        page.call("Network.disable")
        measure(options, browser, page, daemon)
        if options.faults:
            print("\n".join(page.faults()))
    return 0


def measure(options: argparse.Namespace, browser: Browser, page: Page, daemon: Daemon) -> None:
    """Prints the figures."""
    before, sent, began = cost(browser), daemon.metrics()["callengine_stream_events"], time.monotonic()
    frames = page.js("frames_asked")
    seen = []
    for _ in range(max(1, int(options.seconds / _LOOK_S))):
        time.sleep(_LOOK_S)
        value = page.js("document.querySelector('#live-count').textContent.replace(/\\D/g, '')")
        seen.append(int(value or 0))
    took_s = time.monotonic() - began
    frames = page.js("frames_asked") - frames
    after, now = cost(browser), daemon.metrics()
    live = sum(value for name, value in now.items() if name.startswith("callengine_live_calls"))
    print(f"live calls on the page: {min(seen)} to {max(seen)} (the daemon has {live:.0f})")
    changes = (now["callengine_stream_events"] - sent) / took_s
    print(f"changes a second: {changes:.0f}, drawn {frames / took_s:.1f} times a second")
    share, own = (100 * (b - a) / took_s for a, b in zip(before[:2], after[:2], strict=True))
    print(f"CPU: {share:.1f} % of a core in all of Chromium, {own:.1f} % in the page's process, over {took_s:.0f} s")
    print(
        f"memory: {after.page_mb:.0f} MB in the page's process (its JavaScript's heap {heap_mb(page):.0f} MB),"
        f" {after.browser_mb:.0f} MB in all of Chromium"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
