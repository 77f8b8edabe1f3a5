"""Some thousand mixed calls on a real FreeSWITCH, compared field by field with the switch's own CDRs.

Not part of the test run: it needs a FreeSWITCH that writes mod_json_cdr records into a folder, and far ends that behave
by the number dialled. It runs a daemon of its own. Half of the calls are placed over that daemon's API, half by
somebody else (plain ``bgapi originate``); inbound calls of a SIP load generator that run meanwhile are compared too.

    python -m tests.acceptance.mixed_calls --esl 127.0.0.1:8021:ClueCon --cdr /var/log/freeswitch/json_cdr \\
        --gateway carrier --agents-gateway agents --calls 2000 --rate 100
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool

from callengine.calls.causes import cause_of
from callengine.esl.client import EslClient
from callengine.esl.headers import Translator
from tests.acceptance import cdrs

# kind -> (digit that the far end goes by, share of the mix)
KINDS = {
    "answered": ("1", 8), "busy": ("2", 2), "no_answer": ("3", 2), "not_found": ("4", 2), "early_media": ("5", 2),
    "bridged": ("1", 3), "recorded": ("1", 2), "killed_ringing": ("3", 2), "invalid_gateway": ("1", 1),
    "loopback": ("1", 1),
}  # fmt: skip


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esl", required=True, help="host:port:password of the event socket")
    parser.add_argument("--cdr", required=True, type=Path, help="the folder that mod_json_cdr writes to")
    parser.add_argument("--recordings", type=Path, help="a folder that the switch may write recordings to")
    parser.add_argument("--gateway", required=True, help="the sofia gateway to the far end")
    parser.add_argument("--agents-gateway", required=True, help="the sofia gateway to the agents")
    parser.add_argument("--loopback", default="loopback/9004/default", help="a dial string for the loopback calls")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", default="", help="a database URL; default: SQLite in a folder of its own")
    parser.add_argument("--settle-s", type=float, default=30.0, help="how long to wait for the last call to end")
    return parser.parse_args(argv)


class Daemon:
    """A daemon of its own on a free port, with its key."""

    def __init__(self, args: argparse.Namespace, state: Path) -> None:
        host, port, password = args.esl.split(":", 2)
        self.url = f"http://127.0.0.1:{_free_port()}"
        config = state / "callengine.toml"
        config.write_text(_configuration(args, state, host, port, int(self.url.rsplit(":", 1)[1])))
        self._command = [sys.executable, "-m", "callengine", "--config", str(config)]
        self._env = {**os.environ, "CALLENGINE_CONFIG": str(config), "CALLENGINE_ESL__PASSWORD": password}
        if args.database:
            self._env["CALLENGINE_DATABASE__URL"] = args.database
        self._run("migrate", "run")
        self._run("tenant", "create", "default", check=False)
        key = self._run("key", "create", "--tenant", "default", "--scope", "calls:read", "--scope", "calls:write")
        self.key = key.strip().splitlines()[-1]
        self.log = (state / "daemon.log").open("w+")
        self.process = subprocess.Popen([sys.executable, "-m", "callengine", "run"], env=self._env, stderr=self.log)
        self._wait_ready()

    def _run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "callengine", *words], env=self._env, capture_output=True, text=True
        )
        if check and done.returncode:
            raise SystemExit(f"callengine {words[0]}: {done.stderr}")
        return done.stdout

    def _wait_ready(self) -> None:
        for _ in range(300):
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            gevent.sleep(0.1)
        self.stop()
        raise SystemExit(f"the daemon did not get ready: {self.log.read()[-2000:]}")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def calls(self) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            got = self.ask("GET", f"/v1/calls?page={page}&page_size=200")
            yield from got["data"]
            if page >= got["total_pages"]:
                return
            page += 1

    def figures(self) -> str:
        """How the daemon fared: its CPU time, how long events waited for the tracker, how long commits took."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
        cpu_s = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        count = float(values["callengine_event_lag_seconds_count"])
        bucket = 'callengine_event_lag_seconds_bucket{{le="{}"}}'
        late = {bound: count - float(values[bucket.format(bound)]) for bound in ("0.02", "0.1", "1.0")}
        hub = {
            b: float(values[f'callengine_hub_lateness_seconds_bucket{{le="{b}"}}'])
            for b in ("0.01", "0.1", "1.0", "+Inf")
        }
        took_s, commits = (float(values[f"callengine_commit_seconds_{what}"]) for what in ("sum", "count"))
        return (
            f"daemon: {cpu_s:.1f} s of CPU; {count:.0f} batches of events, of these waited longer than (s): {late};"
            f" hub late by at most (s): {hub};"
            f" {commits:.0f} commits of {1000 * took_s / commits:.1f} ms"
        )

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.log.seek(0)
        return code


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _configuration(args: argparse.Namespace, state: Path, host: str, port: str, http_port: int) -> str:
    recordings = args.recordings or state / "recordings"
    recordings.mkdir(exist_ok=True)
    return f"""
[esl]
host = "{host}"
port = {port}
[http]
port = {http_port}
[state]
directory = "{state}"
[recordings]
directories = ["{recordings}"]
[originate]
max_per_second = 1000
max_concurrent = 5000
queue_max = 5000
[originate.gateways.far]
dial_string = "sofia/gateway/{args.gateway}/{{destination}}"
[originate.gateways.nowhere]
dial_string = "sofia/gateway/no_such_gateway/{{destination}}"
[originate.gateways.loop]
dial_string = "loopback/{{destination}}/default"
[originate.agents.desk]
dial_string = "sofia/gateway/{args.agents_gateway}/{{agent}}"
"""


class Load:
    """Places the calls and keeps what only the one who placed them knows."""

    def __init__(self, args: argparse.Namespace, daemon: Daemon) -> None:
        self.args = args
        self.daemon = daemon
        self.dice = random.Random(args.seed)
        self.placed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.jobs: dict[str, str] = {}
        self.causes: dict[str, str] = {}
        host, port, password = args.esl.split(":", 2)
        self.esl = EslClient(host, int(port), password)
        self.esl.register_handle("*", self._events)
        self.esl.connect()
        self.esl.subscribe(["BACKGROUND_JOB"])
        self._translator = Translator()

    def _events(self, bodies: list[bytes]) -> bool:
        for body in bodies:
            fact: Any = self._translator.json(body)
            if fact is not None and (channel := self.jobs.get(getattr(fact, "job_uuid", ""))) is not None:
                cause = cause_of(fact.text)
                if cause:
                    self.causes[channel] = cause
        return True

    def run(self) -> None:
        kinds = [kind for kind, (_, share) in KINDS.items() for _ in range(share)]
        pool, began = Pool(400), time.monotonic()
        for number in range(self.args.calls):
            gevent.sleep(max(0.0, began + number / self.args.rate - time.monotonic()))
            kind = self.dice.choice(kinds)
            place = self._by_api if number % 2 else self._by_others
            pool.spawn(self._place, place, kind, number)
        pool.join()
        took = time.monotonic() - began
        print(f"placed {sum(self.placed.values())} calls in {took:.1f} s: {dict(self.placed)}")

    def _place(self, place: Any, kind: str, number: int) -> None:
        try:
            place(kind, number)
            self.placed[f"{kind}/{place.__name__.removeprefix('_by_')}"] += 1
        except urllib.error.HTTPError as error:
            self.refused[f"{error.code} {error.read().decode()[:200]}"] += 1

    def _by_api(self, kind: str, number: int) -> None:
        digit = KINDS[kind][0]
        body: dict[str, Any] = {
            "destination": f"{digit}{number:05d}",
            "gateway": "far",
            "campaign_id": f"c{number % 7}",
            "lead_id": f"lead-{number}",
            "ring_timeout_s": 4,
        }
        if kind == "bridged":
            body["on_answer"] = {"type": "agent", "agents": "desk", "agent_id": f"2{number % 10:03d}"}
        elif kind == "recorded":
            body["record"] = True
        elif kind == "invalid_gateway":
            body["gateway"] = "nowhere"
        elif kind == "loopback":
            body |= {"gateway": "loop", "destination": self.args.loopback.split("/")[1]}
        call = self.daemon.ask("POST", "/v1/calls", body)
        if kind == "invalid_gateway":
            self.causes[call["fs_uuid"]] = "INVALID_GATEWAY"
        if kind == "killed_ringing":
            gevent.sleep(2.0)
            self.daemon.ask("POST", f"/v1/calls/{call['id']}/hangup", {})

    def _by_others(self, kind: str, number: int) -> None:
        """The same by plain ESL, as another dialler on the switch would."""
        channel, job, digit = str(uuid.uuid4()), str(uuid.uuid4()), KINDS[kind][0]
        variables = f"origination_uuid={channel},originate_timeout=4,callengine_campaign_id=o{number % 7}"
        target = f"sofia/gateway/{self.args.gateway}/{digit}{number:05d}"
        application = "&park()"
        if kind == "bridged":
            agent = f"3{number % 10:03d}"
            application = f"&bridge({{callengine_agent_id={agent}}}sofia/gateway/{self.args.agents_gateway}/{agent})"
        elif kind == "invalid_gateway":
            target = f"sofia/gateway/no_such_gateway/{number}"
        elif kind == "loopback":
            target = self.args.loopback
        if kind != "invalid_gateway":
            self.jobs[job] = channel
        self.esl.bgapi(f"originate {{{variables}}}{target} {application}", job)
        if kind == "killed_ringing":
            gevent.sleep(1.0)
            self.esl.api(f"uuid_kill {channel}")


def main(argv: list[str]) -> int:
    args = parse(argv)
    before = {p.name for p in args.cdr.glob("*.json")}
    with tempfile.TemporaryDirectory(prefix="callengine-mixed-") as folder:
        state = Path(folder)
        state.chmod(0o755)
        daemon = Daemon(args, state)
        try:
            there_before = {c["fs_uuid"] for c in daemon.calls()}
            load = Load(args, daemon)
            load.run()
            until = time.monotonic() + args.settle_s
            while time.monotonic() < until and any(c["end_source"] is None for c in daemon.calls()):
                gevent.sleep(1.0)
            gevent.sleep(2.0)
            told = [c for c in daemon.calls() if c["fs_uuid"] not in there_before]
            print(daemon.figures())
            found = {u: v for u, v in cdrs.read(args.cdr).items() if not any(u in name for name in before)}
            without: dict[str, str | None] = {
                u: c for u, c in load.causes.items() if u not in found and c == "INVALID_GATEWAY"
            }
            # Hung up while still in line: no channel, and rightly so.
            without |= {c["fs_uuid"]: None for c in told if c["failure_reason"] == "cancelled"}
            lines = cdrs.differences(told, found, without)
            wrong = {line.split(":", 1)[0] for line in lines}
            for call in [c for c in told if c["fs_uuid"] in wrong][:20]:
                events = daemon.ask("GET", f"/v1/calls/{call['id']}/events")
                print(call["fs_uuid"], call["status"], call["failure_reason"], json.dumps(events)[:1500])
        finally:
            code = daemon.stop()
            words = ('"level":"warning"', '"level":"error"', "Traceback")
            errors = [line for line in daemon.log.read().splitlines() if any(word in line for word in words)]
    print(f"in the book {len(told)}; legs with a CDR {len(found)}; without a channel {len(without)}")
    print("by status", dict(Counter(c["status"] for c in told)))
    print("by cause", dict(Counter(str(c["hangup_cause"]) for c in told)))
    print("failed without a channel", dict(Counter(c["failure_reason"] for c in told if c["failure_reason"])))
    print("with an agent", sum(c["agent_id"] is not None for c in told))
    print("recorded", sum(c["has_recording"] for c in told))
    for what, number in load.refused.items():
        print(f"refused by the API: {number} x {what}")
    print(f"daemon: exit code {code}, {len(errors)} warnings and errors logged", *errors[:5], sep="\n  ")
    print(f"differences: {len(lines)}", *lines[:40], sep="\n  ")
    return 1 if lines or errors or load.refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
