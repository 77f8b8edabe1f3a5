"""What the store returns besides calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec
import peewee

T = TypeVar("T")

RECORD_RULES: Final = ("never", "originated", "all")
"""Which calls are recorded: none, those that we originate, or also those that others place."""


class Executes(Protocol):
    """Whoever can run a function in a transaction: the ``Writer`` in a daemon, the ``Store`` in a command."""

    def execute(self, fn: Callable[[peewee.Database], T], timeout_s: float) -> T:
        """``fn(db)``, committed; raises what it raises, and StoreUnavailable."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Whose calls they are, and the tenant's own rules; None: as the settings have it.

    ``record``: ``never``, ``originated`` or ``all``. ``recordings_days``: how long recordings are kept.
    ``ai_daily_spend_micros``: what its analyses may cost a day (UTC), in millionths of a USD.
    """

    id: str
    name: str
    created_us: int
    record: str | None = None
    recordings_days: int | None = None
    ai_daily_spend_micros: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret. ``prefix`` is what may be shown of it."""

    id: str
    prefix: str
    tenant_id: str
    scopes: tuple[str, ...]
    created_us: int
    name: str | None = None
    last_used_us: int | None = None
    revoked_us: int | None = None


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign; ``id`` is the tenant's own string.

    ``goal`` and ``dispositions`` (the codes that its calls can have; None: any) are for the analysis; ``record`` is one
    of ``RECORD_RULES``, None: as the tenant has it.
    """

    id: str
    name: str | None
    created_us: int
    goal: str | None = None
    dispositions: tuple[str, ...] | None = None
    record: str | None = None


def campaign_from(
    id: str,  # noqa: A002  the column's name
    name: str | None,
    created_us: int,
    goal: str | None,
    dispositions: str | None,
    record: str | None,
) -> Campaign:
    """The campaign from its columns, by name: ``dispositions`` is JSON there."""
    codes = None if dispositions is None else msgspec.json.decode(dispositions, type=tuple[str, ...])
    return Campaign(id=id, name=name, created_us=created_us, goal=goal, dispositions=codes, record=record)


class RecordRules(msgspec.Struct, frozen=True, kw_only=True):
    """What tenants and campaigns say of recording, those that say nothing left out; by ids, a campaign's with its
    tenant's."""

    tenants: dict[str, str]
    campaigns: dict[tuple[str, str], str]


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """A lead; ``id`` is the tenant's own string."""

    id: str
    campaign_id: str | None
    name: str | None
    phone_number: str | None
    created_us: int
