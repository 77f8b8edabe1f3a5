"""What the API needs of the rest, as protocols: nothing here opens a socket or a database.

Calls, campaigns, leads, keys are always asked for with the tenant that the key belongs to. Ids come as the caller wrote
them; ``call_id`` is a UUID in lower case with hyphens (anything else is answered 404 before a service is asked).

All methods may raise ``StoreUnavailable`` (answered 503) and the ``RequestRefused`` tree (answered by its ``status``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.config.settings import Settings

T = TypeVar("T")


class Idempotency(NamedTuple):
    """An Idempotency-Key (1-255 visible ASCII characters) and the SHA-256 (hex) of the request it came with."""

    key: str
    fingerprint: str


class ApiKey(Protocol):
    """Who asks: a key belongs to one tenant and has scopes such as ``calls:read``."""

    @property
    def id(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...
    @property
    def scopes(self) -> Collection[str]: ...


class Campaign(Protocol):
    """A campaign. ``id`` is the tenant's own string, unique within the tenant; ``created_us`` is our clock.

    ``record``: ``never``, ``originated``, ``all``, or None: as the tenant has it.
    """

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def created_us(self) -> int: ...
    @property
    def goal(self) -> str | None: ...
    @property
    def dispositions(self) -> Sequence[str] | None: ...
    @property
    def record(self) -> str | None: ...


class Lead(Protocol):
    """A lead. ``id`` is the tenant's own string, unique within the tenant; ``created_us`` is our clock."""

    @property
    def id(self) -> str: ...
    @property
    def campaign_id(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def phone_number(self) -> str | None: ...
    @property
    def created_us(self) -> int: ...


class Reads(Protocol):
    """The store's reads. ``page`` counts from 1, totals are exact, a page past the end is empty (with the total)."""

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None: ...

    def shown_call(self, tenant_id: str, call_id: str, shown: Callable[..., T]) -> T | None:
        """What ``shown`` makes of that call, from the values of its ``CallRecord`` in their order."""

    def calls(
        self,
        tenant_id: str,
        filters: Mapping[str, str | int],
        page: int,
        page_size: int,
        shown: Callable[..., T],
    ) -> tuple[Sequence[T], int]:
        """By dial time descending (null first), then id descending.

        ``shown`` makes of each what is returned, from the values of its ``CallRecord`` in their order.

        ``filters`` has any of ``campaign_id``, ``lead_id``, ``agent_id``, ``status``, ``direction``, ``disposition``
        (all: equal to), ``dialed_after_us`` (dial_us >= it), ``dialed_before_us`` (dial_us < it) and ``number`` (the
        caller's or the callee's, as ``calls.numbers.comparable`` has it).
        """

    def timeline(self, tenant_id: str, call_id: str) -> Sequence[Note]:
        """What happened, in order. Empty also where there is no such call."""

    def campaign(self, tenant_id: str, campaign_id: str) -> Campaign | None: ...
    def campaigns(self, tenant_id: str, page: int, page_size: int) -> tuple[Sequence[Campaign], int]:
        """By ``created_us`` descending, then ``id`` ascending."""

    def lead(self, tenant_id: str, lead_id: str) -> Lead | None: ...
    def leads(self, tenant_id: str, campaign_id: str | None, page: int, page_size: int) -> tuple[Sequence[Lead], int]:
        """All leads of the tenant, or of one campaign; by ``created_us`` descending, then ``id`` ascending."""


class Keys(Protocol):
    """API keys. They are stored hashed, and compared in constant time."""

    def find_key(self, presented: str) -> ApiKey | None:
        """The key of that text, or None where there is none or it was revoked."""


class Edits(Protocol):
    """What people change in the store. Each returns once it is committed."""

    def edit_call(self, tenant_id: str, call_id: str, changes: Mapping[str, str | None]) -> CallRecord:
        """Sets ``disposition`` and/or ``notes`` (None clears) and ``disposition_by``. Raises ``NoSuchCall``."""

    def create_campaign(
        self, tenant_id: str, campaign_id: str, name: str | None, settings: Mapping[str, Any]
    ) -> Campaign:
        """``settings`` as the changes of ``update_campaign``. Raises ``AlreadyExists``."""

    def update_campaign(self, tenant_id: str, campaign_id: str, changes: Mapping[str, Any]) -> Campaign:
        """Sets any of ``name``, ``goal``, ``dispositions``, ``record``; None clears. Raises ``NoSuchCampaign``."""

    def create_lead(
        self, tenant_id: str, lead_id: str, campaign_id: str | None, name: str | None, phone_number: str | None
    ) -> Lead:
        """Raises ``AlreadyExists``, and ``NoSuchCampaign`` for a campaign that is not there."""


class Control(Protocol):
    """What the engine does to calls. Every method returns the call as committed.

    Each raises ``NoSuchCall`` (also for another tenant's), ``CallOver``, ``WrongState``, ``NotAllowed``,
    ``SwitchUnavailable``; doing again what is done already is no error.

    A *target* is a mapping with one of these forms, as in the requests:
    ``{"type": "agent", "agents": <name in originate.agents>, "agent_id": str}``,
    ``{"type": "queue", "queue": <one of originate.queues>}``,
    ``{"type": "extension", "extension": str}``,
    ``{"type": "application", "application": <name in originate.applications>}``,
    ``{"type": "call", "call_id": str}`` (bridge only), ``{"type": "park"}``.
    """

    def originate(
        self, tenant_id: str, request: Mapping[str, Any], idempotency: Idempotency | None = None
    ) -> CallRecord:
        """Commits the row (and the key with it, in the same transaction), and queues the call.

        ``request`` has all of: ``destination: str``, ``gateway: str | None`` (None: the only one configured),
        ``caller_id_number: str | None``, ``caller_id_name: str | None``, ``ring_timeout_s: int | None``,
        ``first: "lead" | "agent"``, ``on_answer: target`` (never ``call``; of type ``agent`` where the agent is first),
        ``record: bool | None`` (None: as configured), ``campaign_id: str | None``, ``lead_id: str | None``,
        ``variables: dict[str, str]``.

        The same key with the same fingerprint returns the record that was returned the first time, as it was then;
        raises ``IdempotencyConflict``, ``IdempotencyInProgress``, ``QueueFull``. What was refused keeps no key.
        """

    def hangup(self, tenant_id: str, call_id: str, cause: str | None) -> CallRecord:
        """``cause`` is a FreeSWITCH cause; None: NORMAL_CLEARING. A queued call is cancelled. Over: no error."""

    def bridge(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        """Connects the call to an ``agent`` that is rung for it, or to another live ``call`` of the tenant."""

    def transfer(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        """Sends the call's channel to a ``queue``, ``extension``, ``application`` or to ``park``."""

    def hold(self, tenant_id: str, call_id: str) -> CallRecord: ...
    def unhold(self, tenant_id: str, call_id: str) -> CallRecord: ...

    def dtmf(self, tenant_id: str, call_id: str, digits: str, duration_ms: int | None) -> CallRecord:
        """``digits`` is 1-64 of ``0-9A-D*#wW`` (w: half a second's pause, W: a second's)."""

    def recording(self, tenant_id: str, call_id: str, action: str) -> CallRecord:
        """``action`` is ``start``, ``stop``, ``pause`` (masks) or ``resume``."""


class RecordingFile(Protocol):
    """A recording. Only with ``status`` ``ready`` it can be played; ``deleted`` is told apart from all others.

    ``storage`` is ``disk`` or ``s3``. ``sha256`` (hex) and ``bytes`` are what it was found to have when it was looked
    at. ``format`` is the file name's ending, as in ``wav``.
    """

    @property
    def id(self) -> str: ...
    @property
    def call_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def bytes(self) -> int | None: ...


class OpenRecording(Protocol):
    """An open file. Reading it holds nothing up but who reads; ``modified_s`` is since the epoch."""

    @property
    def size(self) -> int: ...
    @property
    def modified_s(self) -> float: ...
    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the file's end. Raises ``OSError``."""

    def close(self) -> None: ...


class Recordings(Protocol):
    """Recordings of whatever tenant, by the recording's id: a signed link is asked for by nobody in particular."""

    def verify(self, recording_id: str, expires: str, signature: str) -> None:
        """Raises ``LinkInvalid`` or ``LinkExpired`` unless we made a link of these."""

    def find(self, recording_id: str) -> RecordingFile | None: ...

    def open(self, file: Any) -> OpenRecording:
        """Opens what ``find`` found and is stored on disk. Raises the ``RecordingError`` tree."""

    def presigned(self, file: Any, filename: str, content_type: str, method: str) -> str:
        """A URL of the bucket's own for ``GET`` or ``HEAD``, for a short time. Raises ``BucketError``."""


class Analysis(Protocol):
    """A call's analysis; ``status`` None: there is none. Of ``next_us`` and ``done_us`` one at most is known.

    A statement is ``{"text", "quote"}``, where ``quote`` may be missing, a turn ``{"speaker", "offset_ms", "text"}``.
    """

    @property
    def call_id(self) -> str: ...
    @property
    def status(self) -> str | None: ...
    @property
    def run(self) -> int | None: ...
    @property
    def sdk(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def prompt_version(self) -> str | None: ...
    @property
    def audio_ms(self) -> int | None: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def spent_micros(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def statements(self) -> Sequence[Mapping[str, Any]] | None: ...
    @property
    def transcript(self) -> Sequence[Mapping[str, Any]] | None: ...
    @property
    def created_us(self) -> int | None: ...
    @property
    def next_us(self) -> int | None: ...
    @property
    def done_us(self) -> int | None: ...


class Analyses(Protocol):
    """What was found out about calls by listening to them."""

    def analysis(self, tenant_id: str, call_id: str) -> Analysis | None:
        """None where the tenant has no such call."""


class EventReader(Protocol):
    """One who reads the event stream: a blocking iterator of pieces of ``text/event-stream``, the first at once."""

    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Gives the reader's place back. May be called more than once."""


class Stream(Protocol):
    """The events of calls as they are committed."""

    def open(
        self,
        tenant_id: str,
        filters: Mapping[str, Any],
        last_event_id: str | None,
        still_admitted: Callable[[], bool],
    ) -> EventReader:
        """Begins behind the event ``last_event_id`` of the tenant's; None, or one that is not there: from now on.

        ``filters`` has any of ``events`` (a frozenset of names), ``call_id``, ``campaign_id``, ``lead_id``,
        ``agent_id``. ``still_admitted`` is asked from time to time; what it says ends the stream. Raises
        ``TooManyReaders``.
        """


class Endpoint(Protocol):
    """Where a tenant wants to be told; without its secrets. ``retry_us`` 0: it is not paused."""

    @property
    def id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def description(self) -> str | None: ...
    @property
    def events(self) -> Sequence[str]: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def disabled_reason(self) -> str | None: ...
    @property
    def failures(self) -> int: ...
    @property
    def failing_since_us(self) -> int | None: ...
    @property
    def retry_us(self) -> int: ...
    @property
    def old_secret_until_us(self) -> int | None: ...
    @property
    def created_us(self) -> int: ...


class Delivery(Protocol):
    """One event for one endpoint. ``status``: ``pending``, ``delivered`` or ``dead``."""

    @property
    def endpoint_id(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def call_id(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def next_us(self) -> int: ...
    @property
    def last_status(self) -> int | None: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def created_us(self) -> int: ...
    @property
    def ended_us(self) -> int | None: ...


class Attempt(Protocol):
    """One attempt: what was answered, or what went wrong."""

    @property
    def n(self) -> int: ...
    @property
    def at_us(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...
    @property
    def status(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def response(self) -> str | None: ...


class TrialReply(Protocol):
    """What came of trying an endpoint out."""

    @property
    def ok(self) -> bool: ...
    @property
    def status(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def response(self) -> str | None: ...
    @property
    def duration_s(self) -> float: ...


class Webhooks(Protocol):
    """Endpoints and what they were told. Ids are UUIDs in lower case.

    What is not the tenant's raises ``NoSuchEndpoint`` or ``NoSuchDelivery``.
    """

    def create(
        self, tenant_id: str, url: str, events: Collection[str], description: str | None, enabled: bool
    ) -> tuple[Endpoint, str]:
        """The endpoint and its secret; ``events`` empty: all. Raises ``MalformedInput``, ``NotAllowed`` (its URL),
        ``TooManyEndpoints``."""

    def endpoints(self, tenant_id: str, page: int, page_size: int) -> tuple[Sequence[Endpoint], int]:
        """The oldest first."""

    def endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint: ...

    def update(self, tenant_id: str, endpoint_id: str, changes: Mapping[str, Any]) -> Endpoint:
        """Sets any of ``url``, ``events``, ``description`` (None clears), ``enabled``."""

    def delete(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """The endpoint as it was."""

    def rotate_secret(self, tenant_id: str, endpoint_id: str, overlap_s: int) -> tuple[Endpoint, str]:
        """A new secret; that of before signs as well for ``overlap_s`` seconds."""

    def test(self, tenant_id: str, endpoint_id: str) -> TrialReply:
        """Sends an event now, and waits for what comes back. Raises ``TooManyTests``."""

    def deliveries(
        self, tenant_id: str, filters: Mapping[str, str], page: int, page_size: int
    ) -> tuple[Sequence[Delivery], int]:
        """The newest events first. ``filters``: ``endpoint_id``, ``status``, ``event``, ``call_id`` (equal to)."""

    def delivery(self, tenant_id: str, endpoint_id: str, event_id: str) -> tuple[Delivery, Sequence[Attempt]]:
        """With its attempts in order."""

    def replay(self, tenant_id: str, endpoint_id: str, event_id: str) -> Delivery:
        """Delivers it again, under the same id."""

    def replay_dead(self, tenant_id: str, endpoint_id: str, since_us: int) -> tuple[int, bool]:
        """Delivers dead letters again whose events are not older: how many, and whether that was all."""


class CdrInbox(Protocol):
    """Where posted CDRs wait until what they tell is committed."""

    def put(self, body: bytes) -> bool:
        """Whether the record is safe on the disk now. Never waits for the database; does not raise."""


class Readiness(msgspec.Struct, frozen=True):
    """Whether the process can do its work, and a word on each part that this depends on."""

    ready: bool
    parts: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a process can offer. Without ``edits``, ``control`` or ``stream`` the routes that need them answer 503.

    ``metrics`` renders the Prometheus text format. ``data_as_of`` is the moment (µs, our clock) up to which the store
    has everything, None where nobody knows. ``catch_up`` has what arrived of a call committed before it is read, within
    a bound. ``recording_url`` signs the URL of a recording, by its id; without ``recordings`` what it leads to is
    answered 503. Without ``cdr`` no CDRs are taken over HTTP. ``monotonic_s`` and
    ``sleep`` serve the brake on wrong keys (``sleep`` has to be cooperative, as the patched ``time.sleep`` is).
    """

    settings: Settings
    reads: Reads
    keys: Keys
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    edits: Edits | None = None
    control: Control | None = None
    stream: Stream | None = None
    webhooks: Webhooks | None = None
    data_as_of: Callable[[], int | None] = field(default=lambda: None)
    catch_up: Callable[[str], None] = field(default=lambda call_id: None)
    recording_url: Callable[[str], str] | None = None
    recordings: Recordings | None = None
    analyses: Analyses | None = None
    cdr: CdrInbox | None = None
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
