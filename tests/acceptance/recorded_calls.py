"""Calls recorded in every way on a real FreeSWITCH: the file, its URL, its length, and what is told of it.

Not part of the test run: it needs a FreeSWITCH and far ends that answer and send audio. It runs a daemon of its own, a
stand-in for Gemini and a webhook receiver.

    python -m tests.acceptance.recorded_calls --esl 127.0.0.1:8021:ClueCon --recordings /var/recordings \\
        --target sofia/gateway/carrier/6000 --agent sofia/gateway/agents/2000 --dialplan 9002
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import io
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import wave
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import gevent

from callengine.calls.facts import RecordingStopped
from callengine.esl.client import EslClient
from callengine.esl.headers import Translator
from tests.acceptance.daemon import Daemon
from tests.acceptance.surroundings import Surroundings

TOLERANCE_MS = 20


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esl", required=True, help="host:port:password of the event socket")
    parser.add_argument("--recordings", required=True, type=Path, help="a folder that the switch may write to")
    parser.add_argument("--target", required=True, help="a dial string that answers and stays, with audio")
    parser.add_argument("--agent", required=True, help="a dial string of an agent who answers and stays")
    parser.add_argument("--dialplan", required=True, help="an extension that answers and runs record_session for 5 s")
    parser.add_argument("--database", default="", help="a database URL; default: SQLite in a folder of its own")
    return parser.parse_args(argv)


class Switch:
    """Somebody else on the event socket, who knows what RECORD_STOP claimed of each file."""

    def __init__(self, args: argparse.Namespace) -> None:
        host, port, password = args.esl.split(":", 2)
        self.claims: dict[str, RecordingStopped] = {}
        self._translator = Translator()
        self._esl = EslClient(host, int(port), password)
        self._esl.register_handle("*", self._events)
        self._esl.connect()
        self._esl.subscribe(["RECORD_STOP"])

    def _events(self, bodies: list[bytes]) -> bool:
        for body in bodies:
            fact = self._translator.json(body)
            if isinstance(fact, RecordingStopped):
                self.claims[fact.path] = fact
        return True

    def api(self, command: str) -> str:
        return self._esl.api(command).strip()

    def originate(self, target: str, application: str, variables: str = "") -> str:
        channel = str(uuid.uuid4())
        extra = f",{variables}" if variables else ""
        answer = self.api(f"originate {{origination_uuid={channel}{extra}}}{target} {application}")
        if not answer.startswith("+OK"):
            raise RuntimeError(f"originate {target}: {answer}")
        return channel


class Cases:
    """Each returns the channel of the call it made, and what is to be found: (status, reason, channels) a file."""

    def __init__(self, args: argparse.Namespace, switch: Switch, daemon: Daemon) -> None:
        self.args, self.switch, self.daemon = args, switch, daemon

    def _file(self, name: str) -> str:
        return str(self.args.recordings / f"{name}-{uuid.uuid4()}.wav")

    def by_originate(self) -> tuple[str, list[Any]]:
        gateway, number = self.args.target.rsplit("/", 1)
        del gateway
        call = self.daemon.ask(
            "POST", "/v1/calls", {"destination": number, "record": True, "on_answer": {"type": "park"}}
        )
        gevent.sleep(6)
        self.daemon.ask("POST", f"/v1/calls/{call['id']}/hangup", {})
        return call["fs_uuid"], [("ready", None, 2)]

    def by_dialplan(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, f"'&transfer({self.args.dialplan} XML default)'")
        gevent.sleep(7)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 2)]

    def cut_by_hangup(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, "&park()")
        self.switch.api(f"uuid_record {channel} start {self._file('cut')}")
        gevent.sleep(5.5)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 1)]

    def short_and_discarded(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, "&park()", "RECORD_MIN_SEC=3")
        self.switch.api(f"uuid_record {channel} start {self._file('discarded')}")
        gevent.sleep(1.5)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("failed", "discarded", None)]

    def short_and_kept(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, "&park()")
        self.switch.api(f"uuid_record {channel} start {self._file('short')}")
        gevent.sleep(1.5)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 1)]

    def to_a_bad_path(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, "&park()")
        answer = self.switch.api(f"uuid_record {channel} start /proc/no/such/place.wav")
        if not answer.startswith("-ERR"):
            raise RuntimeError(f"a bad path was answered {answer}")
        gevent.sleep(1)
        self.switch.api(f"uuid_kill {channel}")
        return channel, []

    def outside_of_the_folders(self) -> tuple[str, list[Any]]:
        with tempfile.TemporaryDirectory() as folder:
            channel = self.switch.originate(self.args.target, "&park()")
            self.switch.api(f"uuid_record {channel} start {folder}/outside.wav")
            gevent.sleep(2)
            self.switch.api(f"uuid_kill {channel}")
            gevent.sleep(2)
        return channel, [("failed", "outside", None)]

    def bridged_and_stereo(self) -> tuple[str, list[Any]]:
        file = self._file("bridged")
        variables = f"RECORD_STEREO=true,execute_on_answer='record_session {file}'"
        channel = self.switch.originate(self.args.target, f"&bridge({self.args.agent})", variables)
        gevent.sleep(7)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 2)]

    def several_files(self) -> tuple[str, list[Any]]:
        channel = self.switch.originate(self.args.target, "&park()")
        for name in ("first", "second"):
            file = self._file(name)
            self.switch.api(f"uuid_record {channel} start {file}")
            gevent.sleep(3)
            self.switch.api(f"uuid_record {channel} stop {file}")
        gevent.sleep(0.5)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 1), ("ready", None, 1)]

    def by_request(self) -> tuple[str, list[Any]]:
        """Started, masked, unmasked and stopped over the API in the middle of the call."""
        number = self.args.target.rsplit("/", 1)[1]
        call = self.daemon.ask("POST", "/v1/calls", {"destination": number, "on_answer": {"type": "park"}})
        path = f"/v1/calls/{call['id']}"
        until = time.monotonic() + 10
        while self.daemon.ask("GET", path)["status"] != "answered" and time.monotonic() < until:
            gevent.sleep(0.1)
        for action, pause_s in (("start", 2), ("pause", 2), ("resume", 2), ("stop", 0.5)):
            self.daemon.ask("POST", f"{path}/recording/{action}", {})
            gevent.sleep(pause_s)
        self.daemon.ask("POST", f"{path}/hangup", {})
        return call["fs_uuid"], [("ready", None, 2)]

    def by_rule(self) -> tuple[str, list[Any]]:
        """Somebody else's call, of a tenant whose calls are all to be recorded. The last case: the rule stays."""
        self.daemon.command("tenant", "set", "default", "--record", "all")
        gevent.sleep(7)
        channel = self.switch.originate(self.args.target, "&park()")
        gevent.sleep(4)
        self.switch.api(f"uuid_kill {channel}")
        return channel, [("ready", None, 2)]

    def all(self) -> dict[str, Callable[[], tuple[str, list[Any]]]]:
        names = [name for name in vars(type(self)) if not name.startswith("_") and name != "all"]
        return {name: getattr(self, name) for name in names}


def fetched(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Without any API key."""
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def problems_of_file(recording: dict[str, Any], claims: dict[str, RecordingStopped]) -> list[str]:
    """What is wrong with one ready recording."""
    wrong = []
    status, headers, body = fetched(recording["url"])
    if status != 200 or sha256(body).hexdigest() != recording["sha256"] or len(body) != recording["bytes"]:
        wrong.append(f"GET answers {status} with {len(body)} bytes, not {recording['bytes']}")
        return wrong
    with wave.open(io.BytesIO(body)) as audio:
        length_ms = audio.getnframes() * 1000 / audio.getframerate()
    if abs(length_ms - recording["duration_ms"]) > 1:
        wrong.append(f"the file has {length_ms} ms, told are {recording['duration_ms']}")
    claimed = [c for c in claims.values() if c.uuid == recording["leg"] and c.duration_ms is not None]
    if not any(abs(c.duration_ms - recording["duration_ms"]) <= TOLERANCE_MS for c in claimed if c.duration_ms):
        wrong.append(f"record_ms {[c.duration_ms for c in claimed]}, told are {recording['duration_ms']}")
    status, headers, part = fetched(recording["url"], Range="bytes=1000-1999")
    if (status, part) != (206, body[1000:2000]) or headers.get("Content-Range") != f"bytes 1000-1999/{len(body)}":
        wrong.append(f"a range is answered {status} {headers.get('Content-Range')}")
    status, headers, part = fetched(recording["url"], "HEAD")
    if (status, headers.get("Content-Length"), part) != (200, str(len(body)), b""):
        wrong.append(f"HEAD is answered {status} {headers.get('Content-Length')}")
    before, signature = recording["url"].split("signature=")
    status, _, _ = fetched(f"{before}signature={'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
    if status != 403:
        wrong.append(f"a forged URL is answered {status}")
    return wrong


def problems_of(call: dict[str, Any], expected: list[Any], told: list[dict[str, Any]], switch: Switch) -> list[str]:
    """What is wrong with one call, and with what was told of it."""
    found = [(r["status"], r["reason"], r["channels"]) for r in call["recordings"]]
    wrong = [] if found == expected else [f"recordings {found}, expected {expected}"]
    ready = [r for r in call["recordings"] if r["status"] == "ready"]
    if call["has_recording"] is not bool(ready):
        wrong.append(f"has_recording {call['has_recording']}")
    longest_ms = max((r["duration_ms"] for r in ready), default=0)
    longest = [r["url"].partition("?")[0] for r in ready if r["duration_ms"] == longest_ms] or [""]
    if (call["recording_url"] or "").partition("?")[0] not in longest:
        wrong.append(f"recording_url {call['recording_url']}")
    for recording in ready:
        wrong += problems_of_file(recording, switch.claims)
    seqs = [event["seq"] for event in told]
    if seqs != list(range(1, len(seqs) + 1)) or call["seq"] != len(seqs):
        wrong.append(f"told with seq {seqs}, the call has {call['seq']}")
    names = [event["type"] for event in told]
    for what, number in (
        ("call.recording_ready", len(ready)),
        ("call.recording_failed", len(expected) - len(ready)),
        ("call.ended", 1),
        ("call.analyzed", 1 if expected else 0),
    ):
        if names.count(what) != number:
            wrong.append(f"{names.count(what)} {what}, expected {number}")
    return wrong


def analysed(daemon: Daemon, channels: set[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    """The calls by channel, once nothing more is to come of them."""
    until = time.monotonic() + timeout_s
    while True:
        calls = {c["fs_uuid"]: c for c in daemon.calls() if c["fs_uuid"] in channels}
        waits = [
            c
            for c in calls.values()
            if c["end_source"] is None or c["analysis_status"] in {"pending", "running", "retrying"}
        ]
        if (not waits and len(calls) == len(channels)) or time.monotonic() > until:
            return calls
        gevent.sleep(0.5)


def configuration(args: argparse.Namespace, surroundings: Surroundings) -> str:
    host, port, _ = args.esl.split(":", 2)
    return f"""
[esl]
host = "{host}"
port = {port}
[recordings]
directories = ["{args.recordings}"]
[originate.gateways.far]
dial_string = "{args.target.rsplit("/", 1)[0]}/{{destination}}"
{surroundings.settings()}
"""


def main(argv: list[str]) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory(prefix="callengine-recorded-") as folder, Surroundings(Path(folder)) as around:
        secrets = {"CALLENGINE_ESL__PASSWORD": args.esl.split(":", 2)[2], **around.environ()}
        if args.database:
            secrets["CALLENGINE_DATABASE__URL"] = args.database
        daemon = Daemon(Path(folder), configuration(args, around), secrets)
        daemon.start()
        try:
            around.register(daemon)
            switch = Switch(args)
            cases = Cases(args, switch, daemon)
            made: dict[str, tuple[str, list[Any]]] = {}
            for name, case in cases.all().items():
                made[name] = case()
            calls = analysed(daemon, {channel for channel, _ in made.values()}, 60)
            gevent.sleep(3)
            told = around.told()
            bad = 0
            for name, (channel, expected) in made.items():
                call = calls.get(channel)
                lines = ["not in the book"] if call is None else []
                if call is not None:
                    lines = problems_of(call, expected, told.get(call["id"], []), switch)
                bad += len(lines)
                told_names = [event["type"] for event in told.get(call["id"], [])] if call else []
                status = call["analysis_status"] if call else None
                print(
                    f"{'ok ' if not lines else 'BAD'} {name}: {status}; {' '.join(told_names)}", *lines, sep="\n      "
                )
                if call is not None and call["ai_summary"]:
                    print("      ", json.dumps(call["ai_summary"])[:300])
        finally:
            code = daemon.stop()
            print(f"daemon: exit code {code}", *daemon.complaints()[:10], sep="\n  ")
    print(f"{len(made)} calls, {bad} things wrong")
    return 1 if bad or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
