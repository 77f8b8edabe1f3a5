"""What one core takes in: a recorded mixed load, served over loopback to other clients, and to the whole engine.

The others only receive and look up one header; greenswitch and Genesis get the events in plain, since they cannot read
JSON events. The engine receives, tracks and stores every call with its timeline in SQLite, with spool and outbox and
one endpoint registered. Each in a process of its own on one core, the server on another, in turn, several rounds. The
ratios of the medians are the figures; the processor time an event says the same where the machine is not ours alone.

libesl is compared where LIBESL_INCLUDE and LIBESL_LIB (libesl.a) name one; Genesis where GENESIS_PYTHON names a Python
that has it. CALLENGINE_BENCH_DATABASE: another database than SQLite.

    python benchmarks/bench_intake.py [--rounds 5] [--copies 54] [--peers callengine,greenswitch]
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import plots
from common import Report, own, parser, pin, sized
from load import events, plain
from peers import Peer, peers

_RECEIVE_S = 300


class Round(NamedTuple):
    """``rate`` in events a second from the first byte sent to the last event dealt with; ``cpu_us`` of each event."""

    rate: float
    cpu_us: float


def serve(path: str) -> None:
    """The event socket of a switch without channels that has a lot to tell; prints its port, and when it began."""
    pin(0)
    data = Path(path).read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    connection.sendall(b"Content-Type: auth/request\n\n")
    waiting = b""
    streaming = False
    connection.settimeout(0.5)
    while True:
        try:
            got = connection.recv(65536)
        except TimeoutError:
            if streaming:
                connection.settimeout(None)
                print(time.monotonic(), flush=True)
                connection.sendall(data)
                streaming = False
            continue
        if not got:
            return
        waiting += got
        while b"\n\n" in waiting:
            command, waiting = waiting.split(b"\n\n", 1)
            streaming |= command.startswith(b"event")
            if command.startswith(b"api"):
                body = b'{"row_count":0}' if b"show" in command else b"recorded"
                connection.sendall(b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(body), body))
            else:
                reply = b"event listener enabled json" if command.startswith(b"event") else b"accepted"
                connection.sendall(b"Content-Type: command/reply\nReply-Text: +OK %s\n\n" % reply)


def measured(peer: Peer, path: str, count: int) -> Round:
    """One peer, once."""
    server = subprocess.Popen(own(__file__, "--serve", path), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        done = subprocess.run(
            peer.command(port, count), stdout=subprocess.PIPE, text=True, timeout=_RECEIVE_S, check=True
        )
        began_s = float(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
    found = json.loads(done.stdout.splitlines()[-1])
    return Round(count / (found["ended_s"] - began_s), found["cpu_s"] / count * 1e6)


def one_round(name: str, path: str, count: int) -> float:
    """Events a second of one peer."""
    found, _ = peers(Path(path).parent)
    return measured(next(peer for peer in found if peer.name == name), path, count).rate


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--copies", type=int, help="how often the recording of 2,781 events is repeated")
    arguments.add_argument("--peers", default="", help="only these, with commas between")
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.serve:
        serve(args.serve)
        return
    rounds = args.rounds or sized(args, 1, 3, 5)
    data, count = events(args.copies or sized(args, 1, 54))
    report = Report(
        "intake", "Intake: a recorded mixed load over loopback", {"events": count, "bytes each": len(data) // count}
    )
    with tempfile.TemporaryDirectory() as folder:
        there, missing = peers(Path(folder))
        if args.peers:
            there = [peer for peer in there if peer.name in args.peers.split(",")]
        files = {"json": Path(folder, "json"), "plain": Path(folder, "plain")}
        files["json"].write_bytes(data)
        if any(peer.feed == "plain" for peer in there):
            files["plain"].write_bytes(plain(data))
        del data
        found: dict[str, list[Round]] = {peer.name: [] for peer in there}
        for _ in range(rounds):
            for peer in there:
                found[peer.name].append(measured(peer, str(files[peer.feed]), count))
    _tell(report, found)
    for line in missing:
        report.note(line)
    report.note("Client on core 1, server on core 0. Others receive only; callengine does all of its work.")
    report.finish(args.out)


def _tell(report: Report, found: dict[str, list[Round]]) -> None:
    for name, rounds in found.items():
        report.add(name, "events/s", [r.rate for r in rounds])
    for name, rounds in found.items():
        report.add(f"{name}, processor", "µs/event", [r.cpu_us for r in rounds])
    if "callengine" in found:
        for name in found:
            if name != "callengine":
                report.ratio(f"callengine / {name}, events/s", report.median("callengine") / report.median(name))
                report.ratio(
                    f"{name} / callengine, processor",
                    report.median(f"{name}, processor") / report.median("callengine, processor"),
                )
    report.plot("rate", plots.bars("Events/s of one core", "events/s", {n: report.median(n) for n in found}))


if __name__ == "__main__":
    main()
