"""What the store returns besides calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
import peewee

T = TypeVar("T")


class Executes(Protocol):
    """Whoever can run a function in a transaction: the ``Writer`` in a daemon, the ``Store`` in a command."""

    def execute(self, fn: Callable[[peewee.Database], T], timeout_s: float) -> T:
        """``fn(db)``, committed; raises what it raises, and StoreUnavailable."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Whose calls they are."""

    id: str
    name: str
    created_us: int


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
    """A campaign; ``id`` is the tenant's own string."""

    id: str
    name: str | None
    created_us: int


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """A lead; ``id`` is the tenant's own string."""

    id: str
    campaign_id: str | None
    name: str | None
    phone_number: str | None
    created_us: int
