"""The processes that serve: the daemon (``run``) and the API's reads alone (``serve_reads``).

``run`` reads as the list of what starts; its ``finally`` as the list of what stops, each within a bound.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent
from gevent import monkey
from gevent.event import Event

from callengine.api.blueprint import create_app
from callengine.api.server import ApiServer
from callengine.api.services import Readiness, Services
from callengine.cdr.service import Cdrs
from callengine.config.settings import Settings
from callengine.disks import Disks
from callengine.engine import Engine, Storage
from callengine.errors import AddressUnavailable, ConfigurationError, StoreError
from callengine.followup import Archive, FollowUp
from callengine.health import readiness
from callengine.logs import set_up_logging, withhold
from callengine.memory import Memory
from callengine.metrics import Metrics
from callengine.notify import Notifier
from callengine.originate.control import Control
from callengine.originate.rulebook import Rulebook
from callengine.quarantine import segments_aside
from callengine.recordings.signing import signer_of
from callengine.reloading import Reloader
from callengine.retries import Retries
from callengine.store.accounts import Accounts
from callengine.store.analysed import AnalysisReads
from callengine.store.checkpoint import Checkpoints
from callengine.store.database import Store, open_database
from callengine.store.edits import Edits
from callengine.store.holder import Holder
from callengine.store.lease import Lease
from callengine.store.outbox import OutboxReads
from callengine.store.reads import Reads
from callengine.store.upkeep import Upkeep
from callengine.store.writer import Writer
from callengine.stream import HEARTBEAT_S, Bounds, Feed, add_gauges
from callengine.supervise import Supervisor
from callengine.telling import Telling, standing_of
from callengine.threads import give_way

if TYPE_CHECKING:
    from callengine.tracing import Tracing

log = logging.getLogger(__name__)

# The hub shares the interpreter with the threads of reads and writes; at the default of 5 ms it would wait for them.
_SWITCH_INTERVAL_S = 0.0005
_DAY_US = 86_400_000_000
_CHECK_EVERY_S = 5.0
_HUB_LOOK_S = 0.05
# All of it: well within the TimeoutStopSec of the systemd unit.
_STOP_S = 35.0
_STOP_ENGINE_S = 5.0
_STOP_SERVER_S = 3.0
_STOP_REST_S = 3.0
_STOP_TRACING_S = 2.0


def run(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
    """The whole daemon, until SIGTERM or SIGINT. Returns the exit code: 0, or the supervisor's where a part gave up.

    ``read`` reads the settings again, upon SIGHUP, and raises ConfigurationError; without it they stay as they are.
    """
    _prepare(settings)
    notifier = Notifier(os.environ)
    telling = Telling(notifier)
    metrics = Metrics()
    supervisor = Supervisor(on_crash=lambda name, error: metrics.crashed(name))
    stop = _Stop()
    supervisor.spawn("status", telling.run)
    tracing = _tracing(settings, metrics)
    store = open_database(settings.database, settings.state.directory)
    archive = Archive(settings, store)
    writer = Writer(
        store,
        on_commit=_on_commit(metrics, tracing),
        recordings=bool(settings.recordings.directories),
        analyses=settings.ai.enabled,
    )
    supervisor.spawn("writer", writer.run, once=True)
    accounts = Accounts(store, writer)
    accounts.ensure_tenant(settings.tracking.default_tenant)
    supervisor.spawn("checkpoints", Checkpoints(store).run, once=True)
    supervisor.spawn("upkeep", Upkeep(writer, accounts, webhooks=settings.webhooks).run)
    reads = Reads(store)
    holder = Holder(settings.state.directory)
    _name_gateways(settings, metrics)
    engine = Engine(settings, Storage(writer, reads, accounts, Lease(writer), holder), supervisor, metrics)
    set_up_logging(settings, _node_of(engine))
    on_span = tracing.record if tracing is not None else None
    engine.originator.on_span = on_span
    followup = FollowUp(settings, store, writer, engine, archive, metrics, on_span)
    feed = _feed(settings, store, archive)
    add_gauges(feed, metrics.gauge)
    writer.on_published = lambda: _nudge(followup, feed)
    rulebook = Rulebook(accounts.record_rules, settings.recordings.start)
    control = Control(engine, engine.originator, settings, reads, rulebook=rulebook)
    engine.recorder = control.recorder(metrics)
    cdrs = Cdrs(settings, engine, store, writer, metrics)
    retries = _retries(settings, engine, store, writer, reads, cdrs, metrics)
    writer.on_set_aside = retries.refused
    services = Services(
        settings=settings,
        reads=reads,
        keys=accounts,
        edits=Edits(writer, reads),
        control=control,
        readiness=lambda: readiness(engine, writer, followup, retries, feed),
        metrics=metrics.render,
        data_as_of=lambda: engine.data_as_of,
        catch_up=engine.catch_up,
        recordings=archive.serving,
        recording_url=archive.serving.url,
        analyses=AnalysisReads(store),
        stream=feed,
        webhooks=followup.webhooks,
        cdr=cdrs.inbox,
    )
    server = _server(services, settings)
    _store_gauges(metrics, store, server)
    server.start()
    cdrs.start(supervisor)
    engine.start()
    supervisor.spawn("stream", feed.run)
    followup.start(supervisor)
    supervisor.spawn("retries", retries.run)
    if tracing is not None:
        supervisor.spawn("tracing", tracing.run)
    supervisor.spawn("disks", Disks(settings, metrics).run)
    kept = engine.book.calls
    supervisor.spawn("memory", Memory(lambda: (engine.tracker.done, len(kept)), writer if store.path else None).run)
    supervisor.spawn("hub", lambda: _keep_watching_the_hub(metrics))
    telling.standing = lambda: standing_of(engine)
    if notifier.watchdog_interval_s:
        supervisor.spawn("watchdog", telling.keep_alive)
    reloader = Reloader(
        settings,
        read or (lambda: settings),
        metrics,
        notifier,
        lambda changed: _on_reload(changed, settings, archive, rulebook, engine, metrics),
    )
    _reload_on_hangup(reloader, supervisor)
    metrics.watch_for_crashes([*supervisor.running, "tracker", "webhooks-courier"])
    log.info("serving on %s; event socket at %s", settings.http.public_url, settings.esl.address)
    _freeze()
    try:
        gevent.wait([stop, supervisor.fatal], count=1)
    finally:
        notifier.stopping()
        log.info("stopping: %s", stop.by)
        until = time.monotonic() + _STOP_S
        engine.stop(_STOP_ENGINE_S)
        feed.close()
        server.stop(_STOP_SERVER_S)
        followup.stop()
        engine.give_back()
        writer.stop(_writer_bound_s(until, writer, engine))
        supervisor.stop(_STOP_REST_S)
        cdrs.close()
        engine.quarantine.close(_STOP_REST_S)
        if tracing is not None:
            tracing.stop(_STOP_TRACING_S)
        archive.close()
        store.close()
        log.info("stopped; calls go on without us")
    return supervisor.failure.exit_code if supervisor.failure else 0


def _writer_bound_s(until: float, writer: Writer, engine: Engine) -> float:
    """How long what waits may take to be committed. What cannot be, since the database is away, is in the spool."""
    if writer.reason is not None and engine.spool.status == "ok":
        return _STOP_REST_S
    return max(until - time.monotonic(), _STOP_REST_S)


def serve_reads(settings: Settings, read: Callable[[], Settings] | None = None) -> int:
    """The API's reads in a process of their own, until SIGTERM or SIGINT; it has no switch and writes nothing."""
    _prepare(settings)
    metrics = Metrics()
    stop = _Stop()
    store = open_database(settings.database, settings.state.directory, migrate_schema=False)
    accounts = Accounts(store, store)
    reads = Reads(store)
    archive = Archive(settings, store)
    feed = _feed(settings, store, archive)
    add_gauges(feed, metrics.gauge)
    check = _Check(reads)
    supervisor = Supervisor(on_crash=lambda name, error: metrics.crashed(name))
    services = Services(
        settings=settings,
        reads=reads,
        keys=accounts,
        readiness=check.readiness,
        metrics=metrics.render,
        data_as_of=lambda: reads.data_as_of,
        recordings=archive.serving,
        recording_url=archive.serving.url,
        analyses=AnalysisReads(store),
        stream=feed,
    )
    server = _server(services, settings)
    _store_gauges(metrics, store, server)
    server.start()
    supervisor.spawn("check", check.run)
    supervisor.spawn("stream", feed.run)
    reloader = Reloader(
        settings,
        read or (lambda: settings),
        metrics,
        Notifier(os.environ),
        lambda changed: _on_reload(changed, settings, archive),
    )
    _reload_on_hangup(reloader, supervisor)
    log.info("serving reads on %s", settings.http.public_url)
    _freeze()
    try:
        gevent.wait([stop, supervisor.fatal], count=1)
    finally:
        log.info("stopping: %s", stop.by)
        feed.close()
        server.stop(_STOP_SERVER_S)
        supervisor.stop(_STOP_REST_S)
        archive.close()
        store.close()
    return supervisor.failure.exit_code if supervisor.failure else 0


def _prepare(settings: Settings) -> None:
    assert monkey.is_module_patched("socket"), "the commands that serve import callengine.patched first"
    _freeze()
    set_up_logging(settings)
    # The watchdog of systemd ends a hub that is stuck by SIGABRT: then the journal says where it was stuck.
    faulthandler.enable()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    give_way()
    settings.state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _retries(
    settings: Settings, engine: Engine, store: Store, writer: Writer, reads: Reads, cdrs: Cdrs, metrics: Metrics
) -> Retries:
    return Retries(
        engine.quarantine,
        segments_aside(engine.spool.directory),
        engine.tracker,
        engine.translator,
        engine.replay,
        store,
        writer,
        reads,
        metrics,
        lives=engine.lives,
        suspect=engine.suspect,
        opened=lambda: engine.opened,
        cdr_inbox=cdrs.retried_to,
        max_age_us=settings.cdr.since_days * _DAY_US,
    )


def _tracing(settings: Settings, metrics: Metrics) -> Tracing | None:
    """Raises ConfigurationError if it is wanted, and the extra is not installed."""
    if not settings.tracing.enabled:
        return None
    try:
        from callengine.tracing import Tracing
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigurationError(
            ["tracing.enabled: OpenTelemetry is not installed: pip install 'callengine[otel]'"]
        ) from None
    tracing = Tracing(settings.tracing, metrics)
    metrics.on_ended = tracing.call_ended
    return tracing


def _on_commit(metrics: Metrics, tracing: Tracing | None) -> Callable[[float, int], None]:
    def committed(seconds: float, rows: int) -> None:
        metrics.commit.observe(seconds)
        if tracing is not None:
            tracing.committed(seconds, rows)

    return committed


def _nudge(followup: FollowUp, feed: Feed) -> None:
    followup.nudge()
    feed.nudge()


def _feed(settings: Settings, store: Store, archive: Archive) -> Feed:
    return Feed(
        OutboxReads(store),
        Bounds.of(settings.http.max_long_lived),
        url_of=archive.serving.url,
        probed=bool(settings.recordings.directories),
        heartbeat_s=min(HEARTBEAT_S, settings.http.request_timeout_s / 2),
        keep_days=settings.webhooks.keep_days,
    )


def _server(services: Services, settings: Settings) -> ApiServer:
    try:
        return ApiServer(create_app(services), settings.http)
    except OSError as error:
        address = f"{settings.http.host}:{settings.http.port}"
        if error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL}:
            raise AddressUnavailable(address, error.strerror or str(error)) from None
        raise ConfigurationError([f"http.host, http.port: cannot listen on {address}: {error.strerror}"]) from None


class _Stop(Event):
    """Set by SIGTERM and SIGINT; the handlers do nothing else but to note which it was."""

    def __init__(self) -> None:
        super().__init__()
        self.by = "a part of it gave up"
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._ask, number.name)

    def _ask(self, by: str) -> None:
        self.by = by
        self.set()


def _reload_on_hangup(reloader: Reloader, supervisor: Supervisor) -> None:
    supervisor.spawn("reload", reloader.run)
    gevent.signal_handler(signal.SIGHUP, reloader.ask)


def _on_reload(
    changed: frozenset[str],
    settings: Settings,
    archive: Archive,
    rulebook: Rulebook | None = None,
    engine: Engine | None = None,
    metrics: Metrics | None = None,
) -> None:
    """Tells those that made something of a setting; whoever reads it from ``settings`` each time has it already."""
    withhold(settings)
    if any(name.startswith("log.") for name in changed):
        set_up_logging(settings, _node_of(engine))
    # Each time: what could not be done before (a key file that cannot be read) is done by asking again.
    try:
        archive.serving.sign_with(signer_of(settings))
    except ConfigurationError as error:
        log.error("recordings' links are signed as before: %s", error)
    if rulebook is not None and "recordings.start" in changed:
        rulebook.set_default(settings.recordings.start)
    if engine is not None and any(name.startswith("originate.") for name in changed):
        engine.originator.reconfigure()
    if metrics is not None and "originate.gateways" in changed:
        _name_gateways(settings, metrics)


def _node_of(engine: Engine | None) -> Callable[[], str]:
    return str if engine is None else lambda: engine.node


def _name_gateways(settings: Settings, metrics: Metrics) -> None:
    metrics.name_gateways({name: gateway.dial_string for name, gateway in settings.originate.gateways.items()})


def _freeze() -> None:
    """What lives as long as the process need not be looked at by every collection.

    Not by a first one either: of 150,000 objects 1,400 are garbage, and to find these takes 80 ms.
    """
    gc.freeze()
    gc.enable()


def _keep_watching_the_hub(metrics: Metrics) -> None:
    """What holds the hub up holds everything up: it has to be seen."""
    while True:
        began = time.monotonic()
        gevent.sleep(_HUB_LOOK_S)
        metrics.hub.observe(max(0.0, time.monotonic() - began - _HUB_LOOK_S))


class _Check:
    """Whether the database could be read a moment ago, for the process that only reads it."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._reason: str | None = "not read yet"

    def readiness(self) -> Readiness:
        """What /readyz answers."""
        parts = {"switch": "not held by this process", "database": self._reason or "ok"}
        return Readiness(self._reason is None, parts)

    def run(self) -> None:
        """Look from time to time."""
        while True:
            try:
                self._reads.check()
                self._reason = None
            except StoreError as error:
                if self._reason != str(error):
                    log.warning("the database cannot be read: %s", error)
                self._reason = str(error)
            gevent.sleep(_CHECK_EVERY_S)


def _store_gauges(metrics: Metrics, store: Store, server: ApiServer) -> None:
    started = time.time()
    rows: list[tuple[str, str, Callable[[], float]]] = [
        ("callengine_start_time_seconds", "When this process started, since the epoch.", lambda: started),
        ("callengine_reads_running", "Reads that run on the database.", lambda: float(store.reading)),
        ("callengine_reads_waiting", "Reads that wait for a connection.", lambda: float(store.waiting)),
        (
            "callengine_read_failures",
            "Reads that ended without the database since the start.",
            lambda: float(store.failures),
        ),
        ("callengine_http_connections", "HTTP connections that are open.", lambda: float(len(server.pool or ()))),
    ]
    for name, help_text, read in rows:
        metrics.gauge(name, help_text, read)
