"""The clients that ``bench_intake`` compares: each receives so many events, and prints when it was done.

The peers receive and look up one header of each event, and no more; callengine does all of its work. Each prints a line
of JSON: ``ended_s`` (monotonic) and ``cpu_s``, the processor time of its process from its subscription to its end.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from common import pin

CORE: Final = 1
PYTHON_ALONE: Final = "callengine in Python"
_GENESIS: Final = "GENESIS_PYTHON"


def used_s() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _done(before_s: float) -> None:
    print(json.dumps({"ended_s": time.monotonic(), "cpu_s": used_s() - before_s}), flush=True)


def greenswitch_client(port: int, count: int) -> None:
    """greenswitch, in plain: it cannot read JSON events."""
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import greenswitch

    seen = 0

    def handler(event: Any) -> None:
        nonlocal seen
        event.headers.get("Event-Name")
        seen += 1

    client = greenswitch.InboundESL(host="127.0.0.1", port=port, password="x")
    client.register_handle("*", handler)
    client.connect()
    client.send("event plain ALL")
    before_s = used_s()
    while seen < count:
        gevent.sleep(0.01)
    _done(before_s)


def genesis_client(port: int, count: int) -> None:
    """Genesis (asyncio), in plain, which is what its consumer asks for."""
    import asyncio

    from genesis import Inbound  # type: ignore[import-not-found]

    async def receive() -> None:
        seen = 0
        done = asyncio.Event()

        async def handler(event: Any) -> None:
            nonlocal seen
            event.get("Event-Name")
            seen += 1
            if seen >= count:
                done.set()

        async with Inbound("127.0.0.1", port, "x") as client:
            client.on("*", handler)
            await client.send("events plain ALL")
            before_s = used_s()
            await done.wait()
            _done(before_s)

    asyncio.run(receive())


def bare_client(port: int, count: int) -> None:
    """The stream cut by Content-Length and orjson on each body: the least that a client in Python can do."""
    import orjson

    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"auth x\n\nevent json ALL\n\n")
    seen, waiting = 0, bytearray()
    before_s = used_s()
    while seen < count:
        waiting += connection.recv(262_144)
        at = 0
        while (end := waiting.find(b"\n\n", at)) >= 0:
            head = waiting.find(b"Content-Length: ", at, end)
            if head < 0:
                at = end + 2
                continue
            line = waiting.find(b"\n", head, end)
            length = int(waiting[head + 16 : line if line > 0 else end])
            if len(waiting) < end + 2 + length:
                break
            orjson.loads(memoryview(waiting)[end + 2 : end + 2 + length]).get("Event-Name")
            at = end + 2 + length
            seen += 1
        del waiting[:at]
    _done(before_s)


def callengine_client(port: int, count: int) -> None:
    """All of it: tracked, timeline, spool and outbox, one endpoint that asked for every event; done once committed.

    Nothing is sent to the endpoint meanwhile: what is measured is that its deliveries are written.
    """
    import callengine.patched  # noqa: F401
    import gc
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

    sys.setswitchinterval(0.0005)  # as the daemon has it
    with tempfile.TemporaryDirectory(dir=os.environ.get("CALLENGINE_BENCH_FOLDER")) as state:
        environ = {
            "CALLENGINE_STATE__DIRECTORY": state,
            "CALLENGINE_STATE__SPOOL": os.environ.get("CALLENGINE_STATE__SPOOL", "true"),
            "CALLENGINE_ESL__PORT": str(port),
        }
        if url := os.environ.get("CALLENGINE_BENCH_DATABASE"):
            environ["CALLENGINE_DATABASE__URL"] = url
        settings = load(None, environ)
        store = open_database(settings.database, settings.state.directory)
        writer, supervisor = Writer(store), Supervisor()
        supervisor.spawn("writer", writer.run, once=True)
        accounts = Accounts(store, writer)
        tenant_id = accounts.ensure_tenant(settings.tracking.default_tenant).id
        if os.environ.get("CALLENGINE_BENCH_ENDPOINT", "1") == "1":
            _endpoint(store, writer, tenant_id)
        storage = Storage(writer, Reads(store), accounts, Lease(writer), Holder(settings.state.directory))
        engine = Engine(settings, storage, supervisor, Metrics())
        gc.collect()
        gc.freeze()
        engine.start()
        before_s = used_s()
        heard = None
        while heard is None or heard.events_received < count or engine.tracker.behind or writer.depth:
            heard = engine.link.client or heard
            gevent.sleep(0.005)
        _done(before_s)
        engine.give_back()


def python_client(port: int, count: int) -> None:
    """The same without what is compiled of callengine."""
    os.environ["CALLENGINE_PURE_PYTHON"] = "1"
    callengine_client(port, count)


def _endpoint(store: Any, writer: Any, tenant_id: str) -> None:
    from callengine.calls.call import EventName
    from callengine.store.webhooks import Endpoint, EndpointStore

    if EndpointStore(store, writer).page(tenant_id, 1, 1)[1]:
        return  # the store has been used before
    endpoint = Endpoint(
        id="01920000-0000-7000-8000-000000000001",
        url="http://127.0.0.1:9/",
        description=None,
        events=tuple(name.value for name in EventName),
        enabled=True,
        disabled_reason=None,
        failures=0,
        failing_since_us=None,
        retry_us=0,
        old_secret_until_us=None,
        created_us=time.time_ns() // 1000,
    )
    EndpointStore(store, writer).add(tenant_id, endpoint, "whsec_" + "A" * 43 + "=", 16)


class Peer:
    """One client: the format it is fed (``json``, ``plain``), and the command that runs it. None: it is not there."""

    def __init__(self, name: str, feed: str, command: Callable[[int, int], list[str]]) -> None:
        self.name = name
        self.feed = feed
        self.command = command


_CLIENTS: Final[dict[str, Callable[[int, int], None]]] = {
    "greenswitch": greenswitch_client,
    "Genesis": genesis_client,
    "cut + orjson": bare_client,
    "callengine": callengine_client,
    PYTHON_ALONE: python_client,
}


def peers(folder: Path) -> tuple[list[Peer], list[str]]:
    """Those that are there, and a line for each that is not."""
    found, missing = [], []
    for name, python in (("Genesis", os.environ.get(_GENESIS)), ("greenswitch", sys.executable)):
        if python:
            found.append(Peer(name, "plain", _command(python, name)))
        else:
            missing.append(f"{name} was left out: {_GENESIS} names no Python that has it.")
    library = _libesl(folder)
    if library is None:
        missing.append("libesl was left out: LIBESL_INCLUDE and LIBESL_LIB name none, or there is no C compiler.")
    else:
        found += [Peer(f"libesl {feed}", feed, _c_command(library, feed)) for feed in ("plain", "json")]
    own = ["callengine"]
    if find_spec("callengine.esl._sieve") is None:
        missing.append("Of callengine nothing was compiled: it is all Python.")
    else:
        own.append(PYTHON_ALONE)
    found += [Peer(name, "json", _command(sys.executable, name)) for name in ("cut + orjson", *own)]
    return found, missing


def callengine_peer() -> Peer:
    """The engine alone."""
    return Peer("callengine", "json", _command(sys.executable, "callengine"))


def _command(python: str, name: str) -> Callable[[int, int], list[str]]:
    return lambda port, count: [python, __file__, name, str(port), str(count)]


def _c_command(program: Path, feed: str) -> Callable[[int, int], list[str]]:
    core = [str(CORE)] if (os.cpu_count() or 1) > 1 else []
    return lambda port, count: [str(program), str(port), str(count), feed, *core]


def _libesl(folder: Path) -> Path | None:
    include, library = os.environ.get("LIBESL_INCLUDE"), os.environ.get("LIBESL_LIB")
    compiler = shutil.which("cc")
    if not include or not library or compiler is None:
        return None
    program = folder / "libesl_client"
    source = Path(__file__).with_name("libesl_client.c")
    words = [compiler, "-O2", "-I", include, "-o", str(program), str(source), library, "-lpthread", "-lm", "-lstdc++"]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    return program


if __name__ == "__main__":
    pin(CORE)
    _CLIENTS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
