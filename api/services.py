"""What the API needs of the rest, as protocols: nothing here opens a socket or a database.

Calls, campaigns, leads, keys are always asked for with the tenant that the key belongs to. Ids come as the caller wrote
them; ``call_id`` is a UUID in lower case with hyphens (anything else is answered 404 before a service is asked).

All methods may raise ``StoreUnavailable`` (answered 503) and the ``RequestRefused`` tree (answered by its ``status``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from callengine.calls.leg import Note
from callengine.calls.record import CallRecord
from callengine.config.settings import Settings


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
    """A campaign. ``id`` is the tenant's own string, unique within the tenant; ``created_us`` is our clock."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def created_us(self) -> int: ...


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

    def calls(
        self, tenant_id: str, filters: Mapping[str, str | int], page: int, page_size: int
    ) -> tuple[Sequence[CallRecord], int]:
        """By dial time descending (null first), then id descending.

        ``filters`` has any of ``campaign_id``, ``lead_id``, ``agent_id``, ``status``, ``direction``, ``disposition``
        (all: equal to), ``dialed_after_us`` (dial_us >= it) and ``dialed_before_us`` (dial_us < it).
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

    def create_campaign(self, tenant_id: str, campaign_id: str, name: str | None) -> Campaign:
        """Raises ``AlreadyExists``."""

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


class Readiness(msgspec.Struct, frozen=True):
    """Whether the process can do its work, and a word on each part that this depends on."""

    ready: bool
    parts: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a process can offer. Without ``edits`` or ``control`` the routes that need them answer 503.

    ``metrics`` renders the Prometheus text format. ``data_as_of`` is the moment (µs, our clock) up to which the store
    has everything, None where nobody knows. ``recording_url`` signs the URL of a call's recording. ``monotonic_s`` and
    ``sleep`` serve the brake on wrong keys (``sleep`` has to be cooperative, as the patched ``time.sleep`` is).
    """

    settings: Settings
    reads: Reads
    keys: Keys
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    edits: Edits | None = None
    control: Control | None = None
    data_as_of: Callable[[], int | None] = field(default=lambda: None)
    recording_url: Callable[[CallRecord], str | None] = field(default=lambda _record: None)
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
