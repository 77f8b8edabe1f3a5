"""Every alert, set off for real: daemons in trouble, and a Prometheus with the very rules that are shipped.

    python -m tests.prometheus.drill [--minutes 25] [--only NAME …]

Not part of the test run: the alerts have to last for as long as their ``for`` says. Needs `prometheus`; the full disk
is a tmpfs, which wants root. Prints each alert as it fires, with its labels, and ends with 1 where one did not.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import contextlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from callengine.esl.client import EslClient
from callengine.standin.gemini.launch import launch as launch_gemini
from callengine.standin.launch import StandInProcess
from callengine.standin.launch import launch as launch_switch
from tests.acceptance.daemon import Daemon, free_port
from tests.ai.fake import KEY
from tests.chaos.databases import locked
from tests.prometheus.server import Prometheus
from tests.prometheus.shipped import ALERTS, rules

_DAY_US = 86_400_000_000

ILL = """
import callengine.patched
import gevent, time
from gevent import monkey
from callengine import daemon, disks
from callengine.cli.main import main
import sys
sleep = monkey.get_original("time", "sleep")
look, began = disks.Disks.look, time.monotonic()
crashed = []
def broken(self):
    if time.monotonic() - began > 60 and not crashed:
        crashed.append(1)
        raise RuntimeError("on purpose")
    return look(self)
disks.Disks.look = broken
def hog():
    while True:
        sleep(0.4)
        gevent.sleep(0.4)
gevent.spawn(hog)
sys.exit(main(["run"]))
"""


class Ground:
    """Where the drill takes place: what was started is ended with it."""

    def __init__(self, folder: Path, prometheus: Prometheus) -> None:
        self.folder = folder
        self._prometheus = prometheus
        self._starting = BoundedSemaphore()
        self.stack = contextlib.ExitStack()
        self.daemons: dict[str, Daemon] = {}

    def switch(self, *more: str) -> StandInProcess:
        with self._starting:
            return self.stack.enter_context(launch_switch(["--seed", "3", *more], timeout_s=60))

    def daemon(
        self,
        name: str,
        switch: StandInProcess,
        more: str = "",
        *,
        prepare: Callable[[Path], object] = lambda state: None,
        wait: bool = True,
        **options: Any,
    ) -> Daemon:
        state = self.folder / name
        state.mkdir(exist_ok=True)
        text = f"""
[esl]
host = "{switch.host}"
port = {switch.port}
backoff_min_s = 0.1
{more}"""
        with self._starting:
            made = self.daemons[name] = Daemon(state, text, **options)
            prepare(state)
            made.start(wait=False)
            if wait:
                made.wait_ready(180)
            self.stack.callback(lambda: made.process and made.process.poll() is None and made.kill())
        self._prometheus.watch(made.url.removeprefix("http://"))
        print(f"{name}: {made.url}", flush=True)
        return made


def place(daemon: Daemon, number: str, gateway: str, calls: int) -> None:
    """Has it place so many."""
    for _ in range(calls):
        body = {"destination": number, "gateway": gateway, "on_answer": {"type": "park"}}
        daemon.ask("POST", "/v1/calls", body)


def change(daemon: Daemon, statement: str, *values: object) -> int:
    """Changes its rows behind its back: time that would have to pass."""
    database = sqlite3.connect(daemon.state / "callengine.db", timeout=20)
    with contextlib.closing(database), database:
        return database.execute(statement, values).rowcount


# -- the troubles ------------------------------------------------------------------------------------------------------


def failing_gateway(ground: Ground) -> Daemon:
    """CallengineOriginateFailures, CallengineLowNER, CallengineOriginatesNotSent, CallengineStuckCalls."""
    daemon = ground.daemon(
        "gateways",
        ground.switch(),
        """
[tracking]
overlong_after_s = 5
[originate]
queue_timeout_s = 2
max_per_second = 50
[originate.gateways.carrier]
[originate.gateways.narrow]
max_concurrent = 1
""",
    )
    place(daemon, "15550201", "narrow", 1)
    gevent.sleep(15)  # scraped, so that what follows is an increase
    place(daemon, "15550201", "narrow", 1)
    for _ in range(5):
        place(daemon, "15550503", "carrier", 8)
        gevent.sleep(7)
    return daemon


def standby(ground: Ground) -> None:
    """CallengineNotReady."""
    switch = ground.switch()
    holder = ground.daemon("holder", switch)
    more = f'[database]\nurl = "sqlite:///{holder.state}/callengine.db"'
    ground.daemon("standby", switch, more, wait=False)


def restless(ground: Ground) -> None:
    """CallengineRestarts."""
    daemon = ground.daemon("restless", ground.switch())
    for _ in range(4):
        gevent.sleep(15)
        daemon.stop()
        daemon.start()


def ill(ground: Ground) -> None:
    """CallengineGreenletCrash, CallengineHubLate."""
    ground.daemon("ill", ground.switch(), program=("-c", f"import sys; sys.argv[1:] = []\n{ILL}"))


def locked_database(ground: Ground) -> None:
    """CallengineDatabaseNotWritable, CallengineBehind, CallengineSpoolFilling."""
    switch = ground.switch()
    daemon = ground.daemon("locked", switch, "[database]\nbusy_timeout_ms = 500\n[state]\nspool_max_bytes = 16777216")
    client = EslClient(switch.host, switch.port, "ClueCon")
    client.connect()
    ground.stack.enter_context(locked(daemon.state / "callengine.db", 3600))
    for _ in range(40):
        for _ in range(10):
            command = "originate {standin_talk_s=2}sofia/gateway/carrier/15550200 &park"
            client.bgapi(command, str(uuid.uuid4()))
        gevent.sleep(1)
    client.close()


def no_spool(ground: Ground) -> None:
    """CallengineSpoolNotWritten, CallengineQuarantineLost."""

    def prepare(state: Path) -> None:
        for name in ("spool", "quarantine"):
            (state / name).write_text("in the way")
        (state / "cdrs").mkdir()

    more = f'[cdr]\ndirectories = ["{ground.folder}/nospool/cdrs"]'
    daemon = ground.daemon("nospool", ground.switch(), more, prepare=prepare)
    gevent.sleep(15)
    (daemon.state / "cdrs" / "broken.cdr.json").write_text("{this is no record")


def poison(ground: Ground) -> None:
    """CallengineQuarantine."""
    more = f'[cdr]\ndirectories = ["{ground.folder}/poison/cdrs"]'
    daemon = ground.daemon("poison", ground.switch(), more, prepare=lambda state: (state / "cdrs").mkdir())
    gevent.sleep(15)
    (daemon.state / "cdrs" / "broken.cdr.json").write_text("{this is no record")


def full_disk(ground: Ground) -> None:
    """CallengineDiskFilling."""
    state = ground.folder / "fulldisk"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "callengine-drill", str(state)], check=True)
    ground.stack.callback(lambda: subprocess.run(["umount", "-l", str(state)], check=True))
    daemon = ground.daemon("fulldisk", ground.switch())
    with (daemon.state / "filler").open("wb") as file:
        file.write(b"\0" * (185 << 20))


def webhooks(ground: Ground) -> None:
    """CallengineWebhookBacklog, CallengineWebhookDead."""
    more = '[webhooks]\nallow_networks = ["127.0.0.0/8"]\n[originate.gateways.carrier]\n'
    daemon = ground.daemon("webhooks", ground.switch(), more)
    daemon.command("webhook", "create", "--tenant", "default", "--url", f"http://127.0.0.1:{free_port()}/")
    place(daemon, "15550486", "carrier", 4)
    gevent.sleep(45)  # the dead are counted every 30 s: first, that there are none
    old_us = int(time.time() * 1_000_000) - _DAY_US
    changed = change(daemon, "UPDATE delivery SET created_us = ?, attempts = 10, next_us = 0", old_us)
    change(daemon, "UPDATE endpoint SET retry_us = 0")
    assert changed
    gevent.sleep(60)
    place(daemon, "15550486", "carrier", 2)
    gevent.sleep(10)
    # Waiting for hours, as after a night, and not given up yet.
    change(daemon, "UPDATE delivery SET created_us = ? WHERE status = 'pending'", old_us + _DAY_US - 7_200_000_000)


def _analysing(ground: Ground, name: str, model: str, more: str = "") -> Daemon:
    gemini = ground.stack.enter_context(launch_gemini())
    recordings = ground.folder / name / "recordings"
    recordings.mkdir(parents=True)
    return ground.daemon(
        name,
        ground.switch("--recordings", str(recordings)),
        f"""
[recordings]
directories = ["{recordings}"]
start = "answer"
[ai]
enabled = true
api_key = "{KEY}"
base_url = "{gemini.base_url}"
model = "{model}"
min_audio_s = 1
{more}
[originate.gateways.carrier]
""",
    )


def analyses(ground: Ground) -> None:
    """CallengineAnalysisBacklog."""
    daemon = _analysing(ground, "gemini", "gemini-e503")
    place(daemon, "15550200", "carrier", 2)
    for _ in range(60):
        gevent.sleep(2)
        # The process was stopped for two hours, say, with these in line and nobody to take them up.
        old_us = int(time.time() * 1_000_000) - 7_200_000_000
        change(daemon, "UPDATE analysis SET next_us = ?, node = 'another' WHERE due", old_us)


def budget(ground: Ground) -> None:
    """CallengineAnalysisSpend, CallengineAnalysisOverBudget."""
    prices = "daily_spend_usd = 1\ninput_usd_per_million = 100\noutput_usd_per_million = 0\n"
    daemon = _analysing(ground, "budget", "gemini-simulated", prices)
    gevent.sleep(15)
    for _ in range(12):
        place(daemon, "15550200", "carrier", 1)
        gevent.sleep(8)


def lost_switch(ground: Ground) -> None:
    """CallengineLinkDown."""
    switch = ground.switch()
    ground.daemon("linkless", switch)
    gevent.sleep(15)
    switch.stop()


def killed(ground: Ground) -> None:
    """CallengineDown."""
    daemon = ground.daemon("killed", ground.switch())
    gevent.sleep(15)
    daemon.kill()


def _tell(prometheus: Prometheus, ground: Ground, seen: set[str], at_s: float) -> None:
    names = {daemon.url.removeprefix("http://"): name for name, daemon in ground.daemons.items()}
    for alert, labels in prometheus.firing().items():
        if alert not in seen:
            seen.add(alert)
            shown = {k: v for k, v in labels[0].items() if k not in ("alertname", "job", "severity")}
            shown["instance"] = names[shown["instance"]]
            print(f"{at_s:6.0f} s  {alert}  {shown}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--only", nargs="*", default=[], help="these troubles alone")
    given = parser.parse_args()
    troubles = [failing_gateway, standby, restless, ill, locked_database, no_spool, poison, full_disk, webhooks]
    troubles += [analyses, budget, lost_switch, killed]
    chosen = [trouble for trouble in troubles if not given.only or trouble.__name__ in given.only]
    expected = {alert for trouble in chosen for alert in re.findall(r"Callengine\w+", trouble.__doc__ or "")}
    every = {rule["alert"] for rule in rules(ALERTS)}
    if not given.only and expected != every:
        raise SystemExit(f"nothing here sets these off: {sorted(every - expected)}")
    began, seen = time.monotonic(), set[str]()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "prometheus").mkdir()
        with Prometheus(Path(name) / "prometheus") as prometheus:
            ground = Ground(Path(name), prometheus)
            print(prometheus.url, flush=True)
            with ground.stack:
                started = [gevent.spawn(trouble, ground) for trouble in chosen]
                while time.monotonic() - began < given.minutes * 60 and expected - seen:
                    _tell(prometheus, ground, seen, time.monotonic() - began)
                    gevent.sleep(2)
                gevent.killall(started)
    print(f"did not fire: {sorted(expected - seen)}" if expected - seen else f"all {len(expected)} fired")
    return int(bool(expected - seen))


if __name__ == "__main__":
    sys.exit(main())
