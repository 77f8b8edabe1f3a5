"""kill -9 at any moment between the hangup and the last webhook, again and again: nothing is lost, nothing told twice.

Runs a daemon, a stand-in switch (or the FreeSWITCH of --esl), a stand-in for Gemini and a webhook receiver. Each round
places recorded calls, waits for their hangup, kills the daemon after a random while, and starts it again at once.

    python -m tests.acceptance.kills --kills 50 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callengine.standin.launch import StandInProcess, launch
from tests.acceptance.daemon import Daemon
from tests.acceptance.surroundings import KEY, Surroundings

CALLS = 3
WINDOW_S = 2.5
"""From the hangup to the last webhook, about, with the latency that the stand-in for Gemini is given."""
# A question is under way from its first byte to the commit of its answer; the stand-in notes when it had answered.
ASKING_US = 600_000
COMMIT_US = 500_000
_GATEWAY = "far"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", default="", help="a database URL; default: SQLite in a folder of its own")
    parser.add_argument("--sdk", default="google-genai")
    parser.add_argument("--keep", type=Path, help="a new folder for everything, which is left there")
    parser.add_argument("--esl", help="host:port:password of a FreeSWITCH; default: a stand-in")
    parser.add_argument("--recordings", type=Path, help="with --esl: a folder that the switch may write to")
    parser.add_argument("--target", default="", help="with --esl: a dial string that answers and stays, with audio")
    return parser.parse_args(argv)


@dataclass
class Outcome:
    """What was found. ``wrong`` is empty where everything held."""

    calls: int = 0
    deliveries: int = 0
    repeats: int = 0
    asked: int = 0
    asked_again: int = 0
    analysed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Kills:
    """One run, in ``folder``."""

    def __init__(self, args: argparse.Namespace, folder: Path, around: Surroundings) -> None:
        self.args, self.around = args, around
        self.dice = random.Random(args.seed)
        self.killed_us: list[int] = []
        self.standin: StandInProcess | None = None
        recordings = args.recordings or folder / "recordings"
        recordings.mkdir(exist_ok=True)
        if args.esl:
            host, port, password = args.esl.split(":", 2)
            dial, self.number = args.target.rsplit("/", 1)
        else:
            self.standin = launch(["--recordings", str(recordings), "--seed", str(args.seed)])
            host, port, password = self.standin.host, str(self.standin.port), "ClueCon"
            dial, self.number = "sofia/gateway/far", "15550201"
        configuration = f"""
[esl]
host = "{host}"
port = {port}
backoff_min_s = 0.1
[recordings]
directories = ["{recordings}"]
[originate.gateways.{_GATEWAY}]
dial_string = "{dial}/{{destination}}"
{around.settings()}
"""
        secrets = {"CALLENGINE_ESL__PASSWORD": password, "CALLENGINE_AI__SDK": args.sdk, **around.environ()}
        if args.database:
            secrets["CALLENGINE_DATABASE__URL"] = args.database
        self.daemon = Daemon(folder, configuration, secrets)

    def run(self) -> Outcome:
        """All rounds, then what is to be seen of them."""
        self.daemon.start()
        self.around.register(self.daemon)
        placed: list[str] = []
        for number in range(1, self.args.kills + 1):
            began = time.monotonic()
            placed += self._round()
            after_s = self.dice.uniform(0, WINDOW_S)
            time.sleep(after_s)
            self.killed_us.append(time.time_ns() // 1000)
            self.daemon.kill()
            self.daemon.start()
            print(
                f"kill {number}: {after_s:.2f} s after the hangup, round {time.monotonic() - began:.1f} s", flush=True
            )
        self._settle(placed)
        outcome = self._compare(placed)
        if code := self.daemon.stop():
            outcome.wrong.append(f"the daemon ended with {code}")
        return outcome

    def close(self) -> None:
        """Ends whatever still runs."""
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.kill()
        if self.standin is not None:
            self.standin.stop()

    def _round(self) -> list[str]:
        """Some calls, recorded, and hung up."""
        body = {"destination": self.number, "record": True, "on_answer": {"type": "park"}}
        calls = [self.daemon.ask("POST", "/v1/calls", body)["id"] for _ in range(CALLS)]
        for call in calls:
            self._wait(call, "answered", 20)
        time.sleep(1.5)
        for call in calls:
            self.daemon.ask("POST", f"/v1/calls/{call}/hangup", {})
        return calls

    def _wait(self, call: str, status: str, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self.daemon.ask("GET", f"/v1/calls/{call}")["status"] != status:
            if time.monotonic() > until:
                raise RuntimeError(f"{call} did not get {status} within {timeout_s:g} s")
            time.sleep(0.05)

    def _settle(self, placed: list[str]) -> None:
        """Until every call is analysed and told, or for too long."""
        until = time.monotonic() + 180
        while time.monotonic() < until:
            told = self.around.told()
            if all(any(e["type"] == "call.analyzed" for e in told.get(call, [])) for call in placed):
                break
            time.sleep(0.5)
        # What a killed one had uploaded is deleted once its lease is over and somebody looks.
        until = time.monotonic() + 150
        while self.around.stored() and time.monotonic() < until:
            time.sleep(1)
        time.sleep(3)

    def _compare(self, placed: list[str]) -> Outcome:
        outcome = Outcome(calls=len(placed))
        told = self.around.told()
        delivered = [body for body in self.around.delivered() if body["type"].startswith("call.")]
        outcome.deliveries = len(delivered)
        outcome.repeats = len(delivered) - sum(map(len, told.values()))
        for call in placed:
            self._compare_call(self.daemon.ask("GET", f"/v1/calls/{call}"), told.get(call, []), outcome)
        answered_us = [e["at_us"] for e in self.around.asked() if e.get("route") == "generateContent"]
        outcome.asked = len(answered_us)
        outcome.asked_again = outcome.asked - len(placed)
        under_way = sum(
            any(at_us - ASKING_US <= kill <= at_us + COMMIT_US for kill in self.killed_us) for at_us in answered_us
        )
        if not 0 <= outcome.asked_again <= under_way:
            outcome.wrong.append(
                f"{outcome.asked_again} questions were asked again, {under_way} were under way at a kill"
            )
        if places := [str(path) for path in self.daemon.state.rglob("*") if path.is_file() and KEY in _text(path)]:
            outcome.wrong.append(f"the key for the model stands in {places}")
        if stored := self.around.stored():
            outcome.wrong.append(f"{len(stored)} uploads were left behind")
        return outcome

    def _compare_call(self, call: dict[str, Any], events: list[dict[str, Any]], outcome: Outcome) -> None:
        wrong, name = outcome.wrong, call["id"]
        outcome.analysed[str(call["analysis_status"])] += 1
        seqs = [e["seq"] for e in events]
        if seqs != sorted(seqs):
            wrong.append(f"{name}: told out of order: {seqs}")
        if sorted(seqs) != list(range(1, call["seq"] + 1)):
            wrong.append(f"{name}: told with seq {seqs}, the call has {call['seq']}")
        types = Counter(e["type"] for e in events)
        for kind in ("call.ended", "call.recording_ready", "call.analyzed"):
            if types[kind] != 1:
                wrong.append(f"{name}: {types[kind]} {kind}")
        if call["analysis_status"] != "completed":
            wrong.append(f"{name}: analysis_status {call['analysis_status']}")
        if not call["has_recording"] or call["end_source"] is None:
            wrong.append(f"{name}: has_recording {call['has_recording']}, end_source {call['end_source']}")


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _folder(kept: Path | None) -> AbstractContextManager[str]:
    if kept is None:
        return tempfile.TemporaryDirectory(prefix="callengine-kills-")
    kept.mkdir(parents=True)
    return nullcontext(str(kept))


def run(args: argparse.Namespace) -> Outcome:
    """The whole run, in a folder of its own."""
    with _folder(args.keep) as name, Surroundings(Path(name)) as around:
        Path(name).chmod(0o755)
        kills = Kills(args, Path(name), around)
        try:
            outcome = kills.run()
            for line in kills.daemon.complaints()[:5]:
                print(f"  logged: {line[:300]}")
        finally:
            kills.close()
    return outcome


def main(argv: list[str]) -> int:
    outcome = run(parse(argv))
    print(
        f"{outcome.calls} calls: {dict(outcome.analysed)}; {outcome.deliveries} deliveries, {outcome.repeats} of them"
        f" repeats; {outcome.asked} questions to the model, {outcome.asked_again} of them again"
    )
    print(f"wrong: {len(outcome.wrong)}", *outcome.wrong[:40], sep="\n  ")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
