"""How fast calls are ordered: POST /v1/calls until the bgapi is on the wire, against greenswitch's ``send``.

``accepted``: orders a second over some connections at once, each answered once its row is committed. ``to the wire``:
orders one by one, from the request's first byte to the moment when the switch read the bgapi. greenswitch sends one
bgapi after another over an event socket and waits for each reply: that is all it does.

    python benchmarks/bench_originate.py [--orders 2000] [--connections 16]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import subprocess
import tempfile
import time

import gevent
import plots
from common import Report, own, parser, pin, quantile, sized
from gevent.pool import Pool
from http_client import Client
from running import Subject, subject
from switch import Switch

_ORIGINATE = """
[originate]
max_per_second = 10000
max_concurrent = 100000
queue_max = 100000
[originate.gateways.carrier]
"""


def order(number: int) -> dict[str, object]:
    """The body of a request."""
    return {"destination": f"+49170{number % 10_000_000:07}", "on_answer": {"type": "park"}}


def accepted(watched: Subject, orders: int, connections: int) -> tuple[float, float, float]:
    """Orders a second, processor time of each (µs), and how many bgapi the switch had read by the end, a second."""
    clients = [Client(watched.port, watched.daemon.key) for _ in range(connections)]

    def work(which: int) -> None:
        for number in range(which, orders, connections):
            status, _, body = clients[which].post("/v1/calls", order(number))
            assert status == 202, body

    before_s, began_s = watched.cpu_s(), time.monotonic()
    pool = Pool(connections)
    for which in range(connections):
        pool.spawn(work, which)
    pool.join(raise_error=True)
    took_s = time.monotonic() - began_s
    last_s = began_s
    for _ in range(orders):
        last_s = watched.switch.expect("bgapi", 60)["at_s"]
    cpu_us = (watched.cpu_s() - before_s) / orders * 1e6
    return orders / took_s, cpu_us, orders / (last_s - began_s)


def to_the_wire(watched: Subject, orders: int) -> list[float]:
    """ms of each."""
    took = []
    for number in range(orders):
        began_s = time.monotonic()
        status, _, body = watched.client.post("/v1/calls", order(number))
        assert status == 202, body
        took.append((watched.switch.expect("bgapi", 60)["at_s"] - began_s) * 1000)
    return took


def bare_greenswitch(port: int, orders: int) -> None:
    """The peer: prints a line with the moment before each send, and one with sends a second."""
    pin(1)
    import greenswitch

    client = greenswitch.InboundESL(host="127.0.0.1", port=port, password="x")
    client.connect()
    client.send("event plain BACKGROUND_JOB")
    began_s = time.monotonic()
    for number in range(orders):
        print(time.monotonic(), flush=True)
        client.send(f"bgapi originate sofia/gateway/carrier/+49170{number:07} &park()")
    print(orders / (time.monotonic() - began_s), flush=True)


def peer(orders: int) -> tuple[float, list[float]]:
    """Sends a second, and the ms from each to the wire."""
    with Switch() as switch:
        # Meanwhile, lest the pipe is full and the switch waits for us.
        came = gevent.spawn(lambda: [switch.expect("bgapi", 30)["at_s"] for _ in range(orders)])
        done = subprocess.run(
            own(__file__, "--peer", switch.port, "--orders", orders),
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
            check=True,
        )
        *sent, rate = map(float, done.stdout.split())
        took = [(came_s - at_s) * 1000 for came_s, at_s in zip(came.get(timeout=30), sent, strict=True)]
    return rate, took


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--orders", type=int)
    arguments.add_argument("--connections", type=int, default=16)
    arguments.add_argument("--peer", type=int)
    args = arguments.parse_args()
    orders = args.orders or sized(args, 40, 1000, 5000)
    if args.peer:
        bare_greenswitch(args.peer, orders)
        return
    rounds = args.rounds or sized(args, 1, 3, 5)
    pin(0)
    report = Report("originate", "Originate: ordering calls", {"orders": orders, "connections": args.connections})
    rates, cpu, placed = [], [], []
    ours: list[float] = []
    theirs: list[float] = []
    sends = []
    with tempfile.TemporaryDirectory() as name, subject(Path(name), more=_ORIGINATE) as watched:
        for _ in range(rounds):
            one = accepted(watched, orders, args.connections)
            for found, value in zip((rates, cpu, placed), one, strict=True):
                found.append(value)
            gevent.sleep(0.2)
            ours += to_the_wire(watched, max(orders // 10, 10))
            rate, took = peer(orders)
            sends.append(rate)
            theirs += took
    report.add("accepted", "orders/s", rates)
    report.add("accepted, processor of the daemon", "µs/order", cpu)
    report.add("on the wire", "bgapi/s", placed)
    report.add("greenswitch's send", "bgapi/s", sends)
    for who, values in (("POST to the wire", ours), ("greenswitch's send to the wire", theirs)):
        for share in (0.5, 0.99):
            report.add(f"{who}, p{share * 100:g}", "ms", [quantile(values, share)])
    report.ratio("accepted / greenswitch's send", report.median("accepted") / report.median("greenswitch's send"))
    report.ratio("on the wire / greenswitch's send", report.median("on the wire") / report.median("greenswitch's send"))
    shares = [i / 20 for i in range(1, 20)] + [0.99]
    curves = {who: [(s, quantile(v, s)) for s in shares] for who, v in (("POST", ours), ("greenswitch", theirs))}
    report.series = dict(curves)
    report.plot("wire", plots.lines("Time to the bgapi on the wire", "share of the orders", "ms", curves, log_y=True))
    report.note("The daemon, and greenswitch, on core 1; the switch and who orders on core 0.")
    report.finish(args.out)


if __name__ == "__main__":
    main()
