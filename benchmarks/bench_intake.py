"""What one core takes in: a recorded mixed load, served over loopback to greenswitch and to the whole engine.

greenswitch only receives and looks up one header, of the same events in their plain form, since it cannot read JSON
events. The engine receives, tracks, and stores every call and its timeline in SQLite. Each in a process of its own, in
turn, several rounds; the ratio of the medians is the figure.

    python benchmarks/bench_intake.py [--rounds 5] [--copies 8]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1]))

TRACE = Path(__file__).parent.parent / "tests" / "traces" / "load_slice.json.esl.gz"
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FRAME = re.compile(rb"Content-Length: (\d+)\nContent-Type: text/event-json\n\n")


def events(copies: int) -> tuple[bytes, int]:
    """The events of the recording, ``copies`` times, each time with channels of its own."""
    stream = gzip.decompress(TRACE.read_bytes())
    bodies = []
    at = 0
    while (found := _FRAME.search(stream, at)) is not None:
        at = found.end() + int(found[1])
        bodies.append(stream[found.start() : at])
    one = b"".join(bodies)
    core = re.search(rb'"Core-UUID":"([^"]+)"', one)
    assert core is not None

    def renamed(number: int) -> bytes:
        mark = b"%08x" % number
        return _UUID.sub(lambda m: m[0] if m[0] == core[1] else mark + m[0][8:], one)

    return b"".join(renamed(n + 1) for n in range(copies)), len(bodies) * copies


def plain(data: bytes) -> bytes:
    """The same events as ``event plain`` sends them (switch_event.c, ``switch_event_serialize``)."""
    out = []
    at = 0
    while (found := _FRAME.search(data, at)) is not None:
        at = found.end() + int(found[1])
        headers = json.loads(data[found.end() : at].decode("utf-8", "replace"))
        lines = [f"{name}: {quote(str(value), safe='')}\n" for name, value in headers.items() if name != "_body"]
        body = "".join(lines).encode() + b"\n"
        out.append(b"Content-Length: %d\nContent-Type: text/event-plain\n\n%s" % (len(body), body))
    return b"".join(out)


def serve(path: str) -> None:
    """The event socket of a switch without channels that has a lot to tell; prints its port."""
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


def peer_greenswitch(port: int, count: int) -> None:
    """greenswitch receives, and looks up one header of each event."""
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import greenswitch

    seen = 0

    def handler(event: object) -> None:
        nonlocal seen
        event.headers.get("Event-Name")  # type: ignore[attr-defined]
        seen += 1

    client = greenswitch.InboundESL(host="127.0.0.1", port=port, password="x")
    client.register_handle("*", handler)
    client.connect()
    client.send("event plain ALL")
    while seen < count:
        gevent.sleep(0.01)
    print(time.monotonic(), flush=True)


def peer_callengine(port: int, count: int) -> None:
    """The engine receives, tracks and stores; done when everything is committed."""
    import callengine.patched  # noqa: F401
    import gevent

    from callengine.config.settings import load
    from callengine.engine import Engine, Storage
    from callengine.metrics import Metrics
    from callengine.store.accounts import Accounts
    from callengine.store.database import open_database
    from callengine.store.holder import Holder
    from callengine.store.lease import Lease
    from callengine.store.reads import Reads
    from callengine.store.writer import Writer
    from callengine.supervise import Supervisor

    with tempfile.TemporaryDirectory() as state:
        environ = {
            "CALLENGINE_STATE__DIRECTORY": state,
            "CALLENGINE_STATE__SPOOL": os.environ.get("CALLENGINE_STATE__SPOOL", "true"),
            "CALLENGINE_ESL__PORT": str(port),
        }
        settings = load(None, environ)
        store = open_database(settings.database, settings.state.directory)
        writer, supervisor = Writer(store), Supervisor()
        supervisor.spawn("writer", writer.run, once=True)
        accounts = Accounts(store, writer)
        accounts.ensure_tenant(settings.tracking.default_tenant)
        storage = Storage(writer, Reads(store), accounts, Lease(writer), Holder(settings.state.directory))
        engine = Engine(settings, storage, supervisor, Metrics())
        engine.start()
        while engine.tracker.applied < count or writer.depth:
            gevent.sleep(0.005)
        print(time.monotonic(), flush=True)


def one_round(peer: str, path: str, count: int) -> float:
    """Events a second, from the first byte sent to the last event dealt with."""
    own = [sys.executable, __file__]
    server = subprocess.Popen([*own, "--serve", path, "--count", str(count)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    done = subprocess.run(
        [*own, "--peer", peer, "--port", port, "--count", str(count)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    began = float(server.stdout.readline())
    ended = float(done.stdout.split()[-1])
    server.kill()
    server.wait()
    return count / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    if args.peer:
        {"greenswitch": peer_greenswitch, "callengine": peer_callengine}[args.peer](args.port, args.count)
        return
    data, count = events(args.copies)
    with tempfile.NamedTemporaryFile() as json_file, tempfile.NamedTemporaryFile() as plain_file:
        json_file.write(data)
        json_file.flush()
        plain_file.write(plain(data))
        plain_file.flush()
        files = {"greenswitch": plain_file.name, "callengine": json_file.name}
        rates: dict[str, list[float]] = {"greenswitch": [], "callengine": []}
        for _ in range(args.rounds):
            for peer, found in rates.items():
                found.append(one_round(peer, files[peer], count))
    medians = {peer: statistics.median(found) for peer, found in rates.items()}
    print(f"{count} events, {len(data) / count:.0f} bytes each, {args.rounds} rounds; events/s, median (min-max)")
    for peer, found in rates.items():
        print(f"  {peer:12} {medians[peer]:9,.0f}  ({min(found):,.0f}-{max(found):,.0f})")
    print(
        f"  callengine, all of it / greenswitch, receiving only: {medians['callengine'] / medians['greenswitch']:.2f}"
    )
    print(json.dumps({"events": count, "rounds": args.rounds, "median_events_per_s": medians}))


if __name__ == "__main__":
    main()
