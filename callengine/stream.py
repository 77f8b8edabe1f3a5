"""The events of calls as they are committed, for readers that stay: what ``GET /v1/stream`` sends (server-sent events).

One greenlet a process reads the outbox in the order of its positions, renders each event once, and puts it into the
bounded queues of those who want it. A reader that comes to read on reads the database itself, up to where the feed is,
and joins the feed at exactly that position: nothing is left out, nothing comes twice. See the WHATWG's HTML standard,
"Server-sent events", for the format.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import gevent
import msgspec
import orjson
from gevent.event import Event

from callengine.calls.record import StoredEvent
from callengine.calls.view import UrlOf, show_event
from callengine.config.sections import Webhooks as Settings
from callengine.errors import StoreError, TooManyReaders
from callengine.store.clock import clock_us
from callengine.store.outbox import Page

log = logging.getLogger(__name__)

POLL_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
KEY_LOOK_S: Final = 20.0
RETRY_MS: Final = 3000
# A page is decoded on the hub at one go; rendering goes on in turns.
_PAGE: Final = 200
_PAGE_OF_TENANT: Final = 100
_TURN_S: Final = 0.002
# How many positions one look for a tenant's events spans: others' stand between them.
_WINDOW: Final = 5000
_IDLE_S: Final = 60.0
_DAY_US: Final = 24 * 3600 * 1_000_000
# Who comes back shortly before an event is forgotten still has to read what came behind it.
_MARGIN_US: Final = 3600 * 1_000_000
_PIECE_BYTES: Final = 65_536
_COMMENT: Final = b": still here\n\n"


class Outbox(Protocol):
    """The reads of the outbox (``store.outbox.OutboxReads``). All may raise StoreUnavailable."""

    def after(self, position: int, limit: int) -> Page: ...
    def of_tenant(self, tenant_id: str, after: int, upto: int, limit: int) -> Page: ...
    def last_position(self) -> int: ...
    def position_of(self, tenant_id: str, event_id: str, since_us: int) -> int | None: ...


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of a tenant a reader wants; None: whatever it is."""

    events: frozenset[str] | None = None
    call_id: str | None = None
    campaign_id: str | None = None
    lead_id: str | None = None
    agent_id: str | None = None

    def has(self, event: StoredEvent) -> bool:
        """Whether this is one of them."""
        record = event.record
        return (
            (self.events is None or event.event in self.events)
            and (self.call_id is None or event.call_id == self.call_id)
            and (self.campaign_id is None or record.campaign_id == self.campaign_id)
            and (self.lead_id is None or record.lead_id == self.lead_id)
            and (self.agent_id is None or record.agent_id == self.agent_id)
        )


class Bounds(NamedTuple):
    """``readers`` in all, ``of_tenant`` of one; and what may wait for one of them, in events and in bytes."""

    readers: int = 64
    of_tenant: int = 32
    queue_events: int = 1000
    queue_bytes: int = 4 << 20

    @classmethod
    def of(cls, readers: int) -> Bounds:
        """So many readers, of which one tenant has half at most."""
        return cls(readers=readers, of_tenant=max(1, readers // 2))


class Reason(StrEnum):
    """Why a stream was ended by us; the last message says it."""

    SLOW = "slow"
    KEY = "key"
    DATABASE = "database"
    STOPPING = "stopping"


_WORDS: Final = {
    Reason.SLOW: "more events came than were read; go on with Last-Event-ID",
    Reason.KEY: "the key was revoked, or has lost the scope calls:read",
    Reason.DATABASE: "the database is not available at the moment; go on with Last-Event-ID",
    Reason.STOPPING: "the server is stopping; go on with Last-Event-ID",
}


def message(name: str, data: object, event_id: str | None = None) -> bytes:
    """One message. ``data`` becomes one line of JSON."""
    head = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), orjson.dumps(data))


class Feed:
    """``run`` is to be supervised; ``nudge`` says that something may have come into the outbox, and never waits.

    ``url_of`` signs recordings' URLs, ``probed`` as in ``view.show``. ``clock`` is monotonic, in seconds, and
    ``wait(event, seconds)`` waits by it. ``heartbeat_s`` has to be well below what the server waits for a piece.
    ``now_us`` is the wall clock, and ``keep_days`` for how long events are kept (``webhooks.keep_days``).
    """

    def __init__(
        self,
        outbox: Outbox,
        bounds: Bounds | None = None,
        *,
        url_of: UrlOf | None = None,
        probed: bool = False,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Event, float], object] = Event.wait,
        now_us: Callable[[], int] = clock_us,
        keep_days: int = Settings.model_fields["keep_days"].default,
    ) -> None:
        self.outbox = outbox
        self.bounds = bounds or Bounds()
        self.heartbeat_s = heartbeat_s
        self.clock = clock
        self.wait = wait
        self.dropped = 0
        """Readers that were too slow, since the start."""
        self.turned_away = 0
        """Readers for whom there was no place, since the start."""
        self.sent = 0
        """Events that were handed to readers' connections, since the start."""
        self.lag_s = 0.0
        """How old the last event was when it was put into the queues."""
        self._url_of = url_of
        self._probed = probed
        self._now_us = now_us
        self._keep_days = keep_days
        self._open: dict[str, set[Reader]] = {}
        self._live: dict[str, set[Reader]] = {}
        self._position = 0
        self._wake = Event()
        self._closed = False
        self._failing = False

    # -- readers -----------------------------------------------------------------------------------------------------

    @property
    def readers(self) -> int:
        """How many there are."""
        return sum(map(len, self._open.values()))

    def open(
        self,
        tenant_id: str,
        filters: Mapping[str, Any],
        last_event_id: str | None = None,
        still_admitted: Callable[[], bool] = lambda: True,
    ) -> Reader:
        """A reader: its iteration blocks, and ends; ``close`` gives its place back, also where nothing was read.

        ``filters`` are fields of ``Wanted``. With ``last_event_id`` it begins right behind that event of the tenant's,
        else with what is committed from now on. ``still_admitted`` is asked from time to time. Raises TooManyReaders,
        StoreUnavailable.
        """
        mine = self._open.get(tenant_id, ())
        if self._closed or self.readers >= self.bounds.readers or len(mine) >= self.bounds.of_tenant:
            self.turned_away += 1
            raise TooManyReaders
        reader = Reader(self, tenant_id, Wanted(**filters), still_admitted)
        # Before the database is asked: else many could pass the bound meanwhile.
        self._open.setdefault(tenant_id, set()).add(reader)
        try:
            start = None if last_event_id is None else self._position_of(tenant_id, last_event_id)
            reader.begin(start, self.outbox.last_position(), last_event_id)
        except BaseException:
            reader.close()
            raise
        return reader

    def _position_of(self, tenant_id: str, event_id: str) -> int | None:
        """None also for what is there only because it could not be delivered: what came behind it may be gone."""
        since_us = self._now_us() - self._keep_days * _DAY_US + _MARGIN_US
        return self.outbox.position_of(tenant_id, event_id, since_us)

    def leave(self, reader: Reader) -> None:
        """The reader is gone; its place is free."""
        for places in (self._live, self._open):
            mine = places.get(reader.tenant_id)
            if mine is not None:
                mine.discard(reader)
                if not mine:
                    del places[reader.tenant_id]

    def join(self, reader: Reader) -> int | None:
        """Puts whatever comes behind the reader's position into its queue from now on.

        Where the feed is further already: returns how far the reader has to read the database first. Never waits.
        """
        if not self._live:
            self._position = reader.position
        elif reader.position < self._position:
            return self._position
        self._live.setdefault(reader.tenant_id, set()).add(reader)
        self._wake.set()
        return None

    def part(self, reader: Reader) -> None:
        """Nothing more is put into the reader's queue; its place is still taken."""
        mine = self._live.get(reader.tenant_id)
        if mine is not None:
            mine.discard(reader)
            if not mine:
                del self._live[reader.tenant_id]

    def close(self) -> None:
        """Ends all readers with a word, and takes no more."""
        self._closed = True
        for mine in list(self._open.values()):
            for reader in list(mine):
                reader.end(Reason.STOPPING)

    # -- the feed ----------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something may have been committed. Never waits."""
        self._wake.set()

    def run(self) -> None:
        """Distributes what comes, until it is killed."""
        while True:
            self._wake.wait(POLL_S if self._live else _IDLE_S)
            self._wake.clear()
            while self._live and self.turn():
                pass

    def turn(self) -> bool:
        """Reads the next page and distributes it. Whether there may be more at once."""
        start = self._position
        try:
            page = self.outbox.after(start, _PAGE)
        except StoreError as error:
            if not self._failing:
                self._failing = True
                log.warning("the stream waits: %s", error)
            return False
        if self._failing:
            self._failing = False
            log.info("the stream goes on")
        if not self._live or self._position != start:
            return bool(self._live)  # all have left meanwhile; whoever came begins elsewhere
        began = self.clock()
        for event in page:
            self._position = event.position
            self._offer(event)
            if self.clock() - began > _TURN_S:
                gevent.sleep(0)
                began = self.clock()
                if not self._live or self._position != event.position:
                    return bool(self._live)
        self._position = page.upto  # the last of them may be some that cannot be read
        if page:
            self.lag_s = max(0.0, (self._now_us() - page[-1].created_us) / 1_000_000)
        return page.more

    def _offer(self, event: StoredEvent) -> None:
        rendered: bytes | None = None
        for reader in tuple(self._live.get(event.tenant_id, ())):
            if event.position > reader.position and reader.wanted.has(event):
                if rendered is None:
                    rendered = self.render(event)
                if rendered and not reader.put(event.position, rendered):
                    self.dropped += 1

    def render(self, event: StoredEvent) -> bytes:
        """The event as it is sent; empty where that cannot be, which must stop nothing behind it."""
        try:
            return message(event.event, show_event(event, self._url_of, probed=self._probed), event.id)
        except Exception:
            log.exception("the event %s cannot be shown to the stream's readers", event.id)
            return b""


class Reader:
    """One who reads: an iterator of pieces of at most 64 kB, the first of them at once."""

    def __init__(self, feed: Feed, tenant_id: str, wanted: Wanted, still_admitted: Callable[[], bool]) -> None:
        self.tenant_id = tenant_id
        self.wanted = wanted
        self.position = 0
        """All up to here was put into the queue, or was not wanted."""
        self._feed = feed
        self._still_admitted = still_admitted
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._piece = b""
        self._ready = Event()
        self._upto = 0
        self._joined = False
        self._ended: Reason | None = None
        self._closed = False
        now = feed.clock()
        self._beat_at = now + feed.heartbeat_s
        self._key_at = now + KEY_LOOK_S

    def begin(self, start: int | None, last: int, last_event_id: str | None) -> None:
        """``start`` is where the reader was; ``last`` is the end of the outbox."""
        self._piece = b"retry: %d\n: callengine\n\n" % RETRY_MS
        if last_event_id is not None and start is None:
            detail = "that event is not, or no longer, known; what follows begins now"
            self._piece += message("reset", {"last_event_id": last_event_id, "detail": detail})
        self.position = last if start is None else start
        self._upto = last

    def put(self, position: int, rendered: bytes) -> bool:
        """The next event; False where too much waits: then the reader is dropped. Never waits."""
        bounds = self._feed.bounds
        if len(self._queue) >= bounds.queue_events or self._queued_bytes + len(rendered) > bounds.queue_bytes:
            self.end(Reason.SLOW)
            return False
        self.position = position
        self._append(rendered)
        self._ready.set()
        return True

    def end(self, reason: Reason) -> None:
        """Nothing more comes but the word that says so. What still waits is left out: it comes after a return."""
        if self._ended is None:
            self._ended = reason
            self._queue.clear()
            self._queued_bytes = 0
            self._feed.part(self)
            self._ready.set()

    def close(self) -> None:
        """Gives the place back. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self._feed.leave(self)
            self._ready.set()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._next()
        self._beat_at = self._feed.clock() + self._feed.heartbeat_s
        return piece

    def _next(self) -> bytes:
        while not self._closed:
            self._look_at_key()
            if self._piece or self._queue:
                return self._take()
            if self._ended is not None:
                word = message("dropped", {"reason": self._ended, "detail": _WORDS[self._ended]})
                self.close()
                return word
            now = self._feed.clock()
            if now >= self._beat_at:
                return _COMMENT
            if self._joined:
                self._ready.clear()
                self._feed.wait(self._ready, max(0.0, min(self._key_at, self._beat_at) - now))
            else:
                self._catch_up()
        raise StopIteration

    def _take(self) -> bytes:
        """What waits, as far as it fits into one piece."""
        parts, size = [self._piece], len(self._piece)
        while self._queue and size < _PIECE_BYTES:
            part = self._queue.popleft()
            self._feed.sent += 1
            self._queued_bytes -= len(part)
            parts.append(part)
            size += len(part)
        joined = b"".join(parts)
        self._piece = joined[_PIECE_BYTES:]
        return joined[:_PIECE_BYTES]

    def _catch_up(self) -> None:
        """The next page from the database; at its end, the feed."""
        if self.position >= self._upto:
            ahead = self._feed.join(self)
            if ahead is None:
                self._joined = True
                return
            self._upto = ahead
        upto = min(self._upto, self.position + _WINDOW)
        try:
            page = self._feed.outbox.of_tenant(self.tenant_id, self.position, upto, _PAGE_OF_TENANT)
        except StoreError as error:
            log.info("a reader of the stream is let go: %s", error)
            self.end(Reason.DATABASE)
            return
        for event in page:
            if self.wanted.has(event) and (rendered := self._feed.render(event)):
                self._append(rendered)
        self.position = page.upto if page.more else upto

    def _append(self, rendered: bytes) -> None:
        self._queue.append(rendered)
        self._queued_bytes += len(rendered)

    def _look_at_key(self) -> None:
        """From time to time; while the database is away nobody is turned out."""
        now = self._feed.clock()
        if now < self._key_at or self._ended is not None:
            return
        self._key_at = now + KEY_LOOK_S
        try:
            if not self._still_admitted():
                self.end(Reason.KEY)
        except StoreError as error:
            log.debug("a key of the stream could not be looked at: %s", error)


def add_gauges(feed: Feed, gauge: Callable[[str, str, Callable[[], float]], object]) -> None:
    """The feed's metrics; ``gauge`` is ``Metrics.gauge``."""
    rows: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("callengine_stream_readers", "Readers of the event stream.", lambda: float(feed.readers)),
        ("callengine_stream_dropped", "Readers dropped for being slow, since the start.", lambda: float(feed.dropped)),
        ("callengine_stream_turned_away", "Readers turned away, since the start.", lambda: float(feed.turned_away)),
        ("callengine_stream_events", "Events handed to readers, since the start.", lambda: float(feed.sent)),
        (
            "callengine_stream_lag_seconds",
            "How old the last event was when it was handed to the readers.",
            lambda: feed.lag_s,
        ),
    )
    for name, help_text, read in rows:
        gauge(name, help_text, read)
