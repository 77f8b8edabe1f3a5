"""The API by its document: a whole daemon, a stand-in switch with calls on it, both databases, schemathesis.

    python -m tests.fuzz.api --minutes 20 [--seed N] [--database sqlite|postgres|both]

What was found is printed with a request that shows it; the log of the daemon, and its database, are kept then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import peewee
import psycopg

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon
from tests.databases import running_postgres
from tests.fuzz import exploring, running
from tests.fuzz.exploring import Explored

_PASSWORD: Final = "a-password-of-the-switch"
_CDR_SECRET: Final = "a-secret-of-the-cdrs"
_LIVEZ_MS: Final = 50.0
_OPEN: Final = r"""
[esl]
host = "{host}"
port = {port}
backoff_min_s = 0.1
[http]
public_url = "http://127.0.0.1"
[originate]
destination_pattern = "(?s).{{1,64}}"
max_per_second = 50
queue_timeout_s = 2
agents.sales.dial_string = "user/{{agent}}@127.0.0.1"
applications.hello = {{ application = "playback", arguments = "x.wav" }}
queues = ["support@default"]
variables = ["sip_h_X-*"]
[originate.gateways.carrier]
dial_string = "sofia/gateway/far/{{destination}}"
"""
_OPERATIONS: Final = """
[checks]
# What the configuration, the switch, or the state of a call refuses is no part of the document.
positive_data_acceptance.enabled = false
# 503 is documented: the switch or the database is away, or no more is taken.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""

_PROBE: Final = """
import json, os, sys, time, urllib.request
url, out = sys.argv[1:3]
took, late, failed = [], [], 0
while True:
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(url + "/livez", timeout=5) as answer:
            failed += answer.status != 200
    except OSError:
        failed += 1
    took.append(1000 * (time.perf_counter() - began))
    if len(took) % 10 == 0:
        figures = {"n": len(took), "failed": failed}
        for name, found in (("", sorted(took)), ("own_lateness_", sorted(late))):
            for part in (50, 99, 100):
                figures[f"{name}p{part}_ms"] = round(found[(len(found) - 1) * part // 100], 1)
        with open(out + ".new", "w") as file:
            json.dump(figures, file)
        os.replace(out + ".new", out)
    began = time.perf_counter()
    time.sleep(0.1)
    late.append(1000 * (time.perf_counter() - began) - 100)
"""


class House:
    """A daemon, its switch, its database, and somebody who asks all the time whether it lives."""

    def __init__(self, folder: Path, database: str, seed: int) -> None:
        self.folder, self.database = folder, database
        arguments = ["--password", _PASSWORD, "--seed", str(seed), "--inbound-rate", "1", "--time-scale", "3"]
        self.switch: StandInProcess = launch([*arguments, "--inbound-numbers", "+15550199"])
        secrets = {"CALLENGINE_ESL__PASSWORD": _PASSWORD, "CALLENGINE_CDR__HTTP_SECRET": _CDR_SECRET}
        if database:
            secrets["CALLENGINE_DATABASE__URL"] = database
        self.daemon = Daemon(folder, _OPEN.format(host=self.switch.host, port=self.switch.port), secrets)
        self.daemon.start()
        self._probe = subprocess.Popen([sys.executable, "-c", _PROBE, self.daemon.url, str(folder / "livez.json")])
        self._hurry()
        self._fill()

    def _hurry(self) -> None:
        """Only who asks is to be nice: else what is measured is how long a nice daemon waits for a busy machine."""
        for process in (self.daemon.process, self._probe, self.switch.process):
            if process is not None:
                with suppress(PermissionError):
                    os.setpriority(os.PRIO_PROCESS, process.pid, 0)

    def _fill(self) -> None:
        """Something of everything; and another tenant, of whom nobody else may learn."""
        daemon, hidden = self.daemon, f"hidden-{uuid.uuid4()}"
        daemon.command("tenant", "create", "other")
        theirs = daemon.command("key", "create", "--tenant", "other", "--scope", "campaigns:write").strip()
        ours, daemon.key = daemon.key, theirs.splitlines()[-1]
        daemon.ask("POST", "/v1/campaigns", {"id": hidden})
        daemon.ask("POST", "/v1/leads", {"id": hidden + "-lead", "campaign_id": hidden})
        exploring.SECRETS.clear()
        exploring.SECRETS.update({hidden, ours, daemon.key, _PASSWORD, _CDR_SECRET, str(self.folder)})
        daemon.key = ours
        for n in range(3):
            daemon.ask("POST", "/v1/campaigns", {"id": f"c{n}"})
            daemon.ask("POST", "/v1/leads", {"id": f"l{n}", "campaign_id": f"c{n}", "phone_number": "+15550100"})
            body = {"destination": "15550201", "campaign_id": f"c{n}", "on_answer": {"type": "park"}}
            daemon.ask("POST", "/v1/calls", body)
        daemon.ask("POST", "/v1/webhooks/endpoints", {"url": "https://nobody.example.com/"})

    def look(self) -> list[str]:
        """What is wrong with it after all that, once it has been stopped."""
        wrong = list(self._unread())
        wrong += self._lived()
        code = self.daemon.stop()
        if code:
            wrong.append(f"the daemon ended with {code}")
        wrong += [f"in its log: {line[:500]}" for line in dict.fromkeys(self.daemon.complaints()) if not _meant(line)][
            :10
        ]
        said = self.daemon.said()
        wrong += [f"its log tells a secret: {s[:12]}…" for s in exploring.SECRETS - {str(self.folder)} if s in said]
        return wrong + self._damaged()

    def _lived(self) -> Iterator[str]:
        self._probe.terminate()
        self._probe.wait(10)
        lived = json.loads((self.folder / "livez.json").read_text())
        running.say(f"/livez: {lived}")
        if lived["failed"]:
            yield f"/livez failed {lived['failed']} times"
        # On a machine that is busy with other things, both who asks and who answers wait for it.
        if lived["p99_ms"] > _LIVEZ_MS + 2 * lived["own_lateness_p99_ms"]:
            yield f"/livez took {lived['p99_ms']:.0f} ms at p99"

    def _unread(self) -> Iterator[str]:
        """Every page of everything can still be read, and so can each call."""
        try:
            for call in self.daemon.calls():
                self.daemon.ask("GET", f"/v1/calls/{call['id']}/events")
            for path in ("campaigns", "leads", "webhooks/endpoints", "webhooks/deliveries"):
                page, pages = 1, 1
                while page <= pages:
                    pages = self.daemon.ask("GET", f"/v1/{path}?page={page}&page_size=200")["total_pages"]
                    page += 1
        except (HTTPError, OSError, ValueError) as error:
            yield f"not everything can be read: {error}"

    def _damaged(self) -> list[str]:
        if self.database:
            with psycopg.connect(self.database) as connection:
                names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
                for (name,) in names:
                    connection.execute(f'SELECT count(t::text) FROM "{name}" AS t'.encode())
            return []
        [path] = [*self.folder.glob("*.db")]
        db: Any = peewee.SqliteDatabase(str(path))
        told = [row for check in ("integrity_check", "foreign_key_check") for row in db.execute_sql(f"PRAGMA {check}")]
        db.close()
        return [] if told == [("ok",)] else [f"the database is damaged: {told[:5]}"]

    def close(self) -> None:
        """Ends whatever still runs."""
        for process in (self._probe, self.daemon.process):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
        self.switch.stop()


def _meant(line: str) -> bool:
    """Warnings that belong to what is done here: webhooks to nobody, requests that are refused."""
    return '"level":"warning"' in line and any(word in line for word in ("webhook", "endpoint"))


@contextmanager
def _a_database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield ""
        return
    with running_postgres() as server:
        yield server.create()


def run(kind: str, seconds: float, seed: int) -> tuple[Explored, list[str]]:
    """One database for so long. What the requests found, and what was wrong afterwards."""
    dice, explored = random.Random(seed), Explored()
    folder = Path(tempfile.mkdtemp(prefix=f"callengine-fuzz-api-{kind}-"))
    with _a_database(kind) as database:
        house = House(folder, database, seed)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                one = dice.getrandbits(31)
                more = f"max-time = {max(1, int(until - time.monotonic()))}"
                exploring.explore(
                    house.daemon.url,
                    house.daemon.key,
                    seed=one,
                    examples=30,
                    more=more,
                    operations=_OPERATIONS,
                    into=explored,
                    on_event=lambda: time.monotonic() < until + 30,
                )
                running.say(f"{kind}, seed {one}: {explored}")
            wrong = house.look()
        finally:
            house.close()
    if explored.found or wrong:
        told = "\n\n".join([*explored.found.values(), *wrong])
        (folder / "findings.txt").write_text(f"{kind}, seed {seed}\n\n{told}\n")
        running.say(f"kept, with findings.txt: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return explored, wrong


def main(argv: list[str] | None = None) -> int:
    """The command. Exit code 1 where something was found."""
    command = running.parser(__doc__)
    command.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    given: argparse.Namespace = command.parse_args(argv)
    seed = running.fresh_seed() if given.seed is None else given.seed
    running.say(f"seed {seed}")
    kinds = ("sqlite", "postgres") if given.database == "both" else (given.database,)
    warnings.simplefilter("ignore")
    bad = 0
    for kind in kinds:
        began = time.monotonic()
        explored, wrong = run(kind, 60 * given.minutes / len(kinds), seed)
        took_s = time.monotonic() - began
        running.say(f"{kind}: {explored} ({explored.requests / took_s:.1f} requests/s)")
        for told in (*explored.found.values(), *wrong):
            running.say(f"\n{told}")
        bad += len(explored.found) + len(wrong)
    running.say(f"{bad} findings")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
