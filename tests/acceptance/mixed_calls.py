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
import http.client
import json
import random
import sys
import tempfile
import time
import urllib.error
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool

from callengine.calls.causes import cause_of
from callengine.esl.client import EslClient
from callengine.esl.headers import Translator
from tests.acceptance import cdrs
from tests.acceptance.daemon import Daemon

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
    parser.add_argument("--kills", type=int, default=0, help="kill -9 the daemon so often during the load")
    parser.add_argument("--down-s", type=float, default=10.0, help="start it again after 0 to so many seconds")
    parser.add_argument("--settle-s", type=float, default=30.0, help="how long to wait for the last call to end")
    return parser.parse_args(argv)


def _configuration(args: argparse.Namespace, state: Path) -> str:
    host, port, _ = args.esl.split(":", 2)
    recordings = args.recordings or state / "recordings"
    recordings.mkdir(exist_ok=True)
    return f"""
[esl]
host = "{host}"
port = {port}
[recordings]
directories = ["{recordings}"]
[cdr]
directories = ["{args.cdr}"]
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
        self.unanswered: Counter[str] = Counter()
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
        except (OSError, http.client.HTTPException) as error:
            if not self.args.kills:
                raise
            # Whether it was placed is in the book, if it was: the answer went down with the daemon.
            self.unanswered[type(error).__name__] += 1

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


def kill_and_start(args: argparse.Namespace, daemon: Daemon, over_s: float) -> None:
    """``--kills`` times, at random moments of the load."""
    dice = random.Random(args.seed)
    began = time.monotonic()
    for number, at_s in enumerate(sorted(dice.uniform(1, over_s) for _ in range(args.kills)), 1):
        gevent.sleep(max(0.5, began + at_s - time.monotonic()))
        daemon.kill()
        down_s = dice.uniform(0, args.down_s)
        gevent.sleep(down_s)
        daemon.start()
        print(f"kill {number}: down for {down_s:.1f} s", flush=True)


def main(argv: list[str]) -> int:
    args = parse(argv)
    before = {p.name for p in args.cdr.glob("*.json")}
    with tempfile.TemporaryDirectory(prefix="callengine-mixed-") as folder:
        state = Path(folder)
        state.chmod(0o755)
        secrets = {"CALLENGINE_ESL__PASSWORD": args.esl.split(":", 2)[2]}
        if args.database:
            secrets["CALLENGINE_DATABASE__URL"] = args.database
        daemon = Daemon(state, _configuration(args, state), secrets)
        daemon.start()
        try:
            there_before = {c["fs_uuid"] for c in daemon.calls()}
            load = Load(args, daemon)
            killer = gevent.spawn(kill_and_start, args, daemon, args.calls / args.rate)
            load.run()
            killer.get()
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
            # Asked for just before a kill, and no channel came: only the job's answer told the cause, to nobody.
            restarted = {c["fs_uuid"] for c in told if c["failure_reason"] == "engine_restarted"}
            without |= dict.fromkeys(restarted.difference(found))
            lines = cdrs.differences(told, found, without)
            wrong = {line.split(":", 1)[0] for line in lines}
            for call in [c for c in told if c["fs_uuid"] in wrong][:20]:
                events = daemon.ask("GET", f"/v1/calls/{call['id']}/events")
                print(call["fs_uuid"], call["status"], call["failure_reason"], json.dumps(events)[:1500])
        finally:
            code = daemon.stop()
            errors = daemon.complaints()
    print(f"in the book {len(told)}; legs with a CDR {len(found)}; without a channel {len(without)}")
    print("by status", dict(Counter(c["status"] for c in told)))
    print("by cause", dict(Counter(str(c["hangup_cause"]) for c in told)))
    print("failed without a channel", dict(Counter(c["failure_reason"] for c in told if c["failure_reason"])))
    print("with an agent", sum(c["agent_id"] is not None for c in told))
    print("recorded", sum(c["has_recording"] for c in told))
    for what, number in load.unanswered.items():
        print(f"not answered by a daemon that was killed: {number} x {what}")
    for what, number in load.refused.items():
        print(f"refused by the API: {number} x {what}")
    print(f"daemon: exit code {code}, {len(errors)} warnings and errors logged", *errors[:5], sep="\n  ")
    print(f"differences: {len(lines)}", *lines[:40], sep="\n  ")
    return 1 if lines or (not args.kills and (errors or load.refused)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
