"""Tenants, the numbers by which inbound calls are theirs, and API keys.

A key is ``ce_<prefix>_<secret>``: the prefix finds its row, the SHA-256 of the whole proves it. The secret has 256
random bits, so a plain hash cannot be searched; it is shown once, when the key is made, and stored nowhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final

import peewee
import uuid_utils

from callengine.errors import AlreadyExists, MalformedInput, NoSuchTenant
from callengine.store import schema
from callengine.store.clock import clock_us
from callengine.store.database import Store
from callengine.store.entities import RECORD_RULES, ApiKey, Executes, RecordRules, Tenant

SCOPES: Final = (
    "calls:read",
    "calls:write",
    "campaigns:read",
    "campaigns:write",
    "webhooks:read",
    "webhooks:write",
)
_TIMEOUT_S: Final = 5.0
_MAX_KEY_LENGTH: Final = 200
_USED_EVERY_US: Final = 60_000_000
_MAX_USES: Final = 10_000
_NO_HASH: Final = bytes(32)
_MAX_DAYS: Final = 36_500
_MAX_MICROS: Final = 10**15


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def hash_of(key: str) -> bytes:
    """What is stored of a key."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


class Accounts:
    """``executor`` is the ``Writer`` in a daemon, else the ``Store`` itself. All methods may raise StoreUnavailable."""

    def __init__(self, store: Store, executor: Executes, now_us: Callable[[], int] = clock_us) -> None:
        self._store = store
        self._executor = executor
        self._now_us = now_us
        self._uses: dict[str, int] = {}

    # -- tenants -----------------------------------------------------------------------------------------------------

    def create_tenant(self, name: str) -> Tenant:
        """Raises AlreadyExists, and MalformedInput unless the name has 1-128 printable characters."""
        tenant, made = self._ensure(name)
        if not made:
            raise AlreadyExists("tenant")
        return tenant

    def ensure_tenant(self, name: str) -> Tenant:
        """The tenant of that name, made if there is none."""
        return self._ensure(name)[0]

    def _ensure(self, name: str) -> tuple[Tenant, bool]:
        if not (0 < len(name) <= 128 and name.isprintable()):
            raise MalformedInput("tenant", "must have 1 to 128 printable characters")
        fresh = Tenant(id=_new_id(), name=name, created_us=self._now_us())

        def ensure(db: peewee.Database) -> Tenant:
            row = {"id": fresh.id, "name": name, "created_us": fresh.created_us}
            schema.Tenant.insert(row).on_conflict(action="IGNORE").execute(db)
            return _tenant(db, name)

        found = self._executor.execute(ensure, _TIMEOUT_S)
        return found, found.id == fresh.id

    def tenants(self) -> list[Tenant]:
        """All, by name."""
        query = schema.Tenant.select().order_by(schema.Tenant.name).dicts()
        return self._store.run(lambda db: [Tenant(**row) for row in query.execute(db)], _TIMEOUT_S)

    def tenant(self, name: str) -> Tenant:
        """Raises NoSuchTenant."""
        return self._store.run(lambda db: _tenant(db, name), _TIMEOUT_S)

    def directory(self) -> tuple[dict[str, str], dict[str, str]]:
        """What attributes calls: tenants' names to their ids, and dialled numbers to tenants' ids."""
        tenants = schema.Tenant.select(schema.Tenant.name, schema.Tenant.id).tuples()
        numbers = schema.TenantNumber.select(schema.TenantNumber.number, schema.TenantNumber.tenant_id).tuples()
        return self._store.run(lambda db: (dict(tenants.execute(db)), dict(numbers.execute(db))), _TIMEOUT_S)

    def update_tenant(self, name: str, changes: Mapping[str, str | int | None]) -> Tenant:
        """Sets any of ``record``, ``recordings_days`` and ``ai_daily_spend_micros``; None: as the settings have it.

        Raises NoSuchTenant, MalformedInput.
        """
        for field, value in changes.items():
            _check_rule(field, value)

        def update(db: peewee.Database) -> Tenant:
            tenant = _tenant(db, name)
            if changes:
                schema.Tenant.update(**changes).where(schema.Tenant.id == tenant.id).execute(db)
            return _tenant(db, name)

        return self._executor.execute(update, _TIMEOUT_S)

    def record_rules(self) -> RecordRules:
        """What tenants and campaigns say of recording, those that say nothing left out."""
        tenant, campaign = schema.Tenant, schema.Campaign
        of_tenants = tenant.select(tenant.id, tenant.record).where(tenant.record.is_null(False)).tuples()
        columns = (campaign.tenant_id, campaign.id, campaign.record)
        of_campaigns = campaign.select(*columns).where(campaign.record.is_null(False)).tuples()

        def read(db: peewee.Database) -> RecordRules:
            campaigns = {(owner, name): rule for owner, name, rule in of_campaigns.execute(db)}
            return RecordRules(tenants=dict(of_tenants.execute(db)), campaigns=campaigns)

        return self._store.run(read, _TIMEOUT_S)

    # -- numbers -----------------------------------------------------------------------------------------------------

    def add_number(self, tenant: str, number: str) -> None:
        """Calls to ``number`` are that tenant's from now on. Raises NoSuchTenant, AlreadyExists, MalformedInput."""
        if not (0 < len(number) <= 128 and number.isprintable()):
            raise MalformedInput("number", "must have 1 to 128 printable characters")

        def add(db: peewee.Database) -> None:
            row = {"number": number, "tenant_id": _tenant(db, tenant).id, "created_us": self._now_us()}
            if not schema.TenantNumber.insert(row).on_conflict(action="IGNORE").as_rowcount().execute(db):
                raise AlreadyExists("number")

        self._executor.execute(add, _TIMEOUT_S)

    def remove_number(self, tenant: str, number: str) -> bool:
        """Whether it was there. Calls that were attributed by it stay where they are. Raises NoSuchTenant."""
        model = schema.TenantNumber

        def remove(db: peewee.Database) -> bool:
            mine = (model.number == number) & (model.tenant_id == _tenant(db, tenant).id)
            return bool(model.delete().where(mine).execute(db))

        return self._executor.execute(remove, _TIMEOUT_S)

    def numbers(self, tenant: str) -> list[str]:
        """The tenant's numbers, in order. Raises NoSuchTenant."""
        model = schema.TenantNumber

        def read(db: peewee.Database) -> list[str]:
            query = model.select(model.number).where(model.tenant_id == _tenant(db, tenant).id).order_by(model.number)
            return [number for (number,) in query.tuples().execute(db)]

        return self._store.run(read, _TIMEOUT_S)

    # -- keys --------------------------------------------------------------------------------------------------------

    def create_key(self, tenant: str, scopes: Collection[str], name: str | None = None) -> tuple[ApiKey, str]:
        """The key and its text, which nobody can read again. Raises NoSuchTenant, MalformedInput."""
        wanted = tuple(scope for scope in SCOPES if scope in scopes)
        if unknown := sorted(set(scopes).difference(SCOPES)):
            raise MalformedInput("scope", f"there is no {', '.join(unknown)}; there are: {', '.join(SCOPES)}")
        if not wanted:
            raise MalformedInput("scope", f"at least one of: {', '.join(SCOPES)}")
        prefix = secrets.token_hex(6)
        text = f"ce_{prefix}_{secrets.token_urlsafe(32)}"
        key_id, created_us = _new_id(), self._now_us()

        def create(db: peewee.Database) -> ApiKey:
            tenant_id = _tenant(db, tenant).id
            key = ApiKey(id=key_id, prefix=prefix, tenant_id=tenant_id, scopes=wanted, created_us=created_us, name=name)
            schema.ApiKey.insert(
                id=key_id,
                prefix=prefix,
                hash=hash_of(text),
                tenant_id=tenant_id,
                name=name,
                scopes=" ".join(wanted),
                created_us=created_us,
            ).execute(db)
            return key

        return self._executor.execute(create, _TIMEOUT_S), text

    def find_key(self, presented: str) -> ApiKey | None:
        """The key of that text; None where there is none, or it was revoked."""
        kind, _, rest = presented.partition("_")
        prefix, _, secret = rest.partition("_")
        if kind != "ce" or not prefix or not secret or len(presented) > _MAX_KEY_LENGTH or not presented.isascii():
            return None
        query = schema.ApiKey.select().where(schema.ApiKey.prefix == prefix).dicts()
        found = self._store.run(lambda db: list(query.execute(db)), _TIMEOUT_S)
        row = found[0] if found else {"hash": _NO_HASH}
        if not compare_digest(bytes(row["hash"]), hash_of(presented)) or row.get("revoked_us") is not None:
            return None
        key = _key(row)
        self._used(key)
        return key

    def _used(self, key: ApiKey) -> None:
        now_us = self._now_us()
        if (key.last_used_us or 0) + _USED_EVERY_US <= now_us and (key.id in self._uses or len(self._uses) < _MAX_USES):
            self._uses[key.id] = now_us

    def record_uses(self) -> None:
        """Writes down when keys were last used, to the minute. For a loop of the daemon: no request waits for it."""
        uses, self._uses = self._uses, {}
        if not uses:
            return

        def write(db: peewee.Database) -> None:
            for key_id, used_us in uses.items():
                schema.ApiKey.update(last_used_us=used_us).where(schema.ApiKey.id == key_id).execute(db)

        self._executor.execute(write, _TIMEOUT_S)

    def keys(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys, also the revoked ones, the oldest first. Raises NoSuchTenant."""
        model = schema.ApiKey

        def read(db: peewee.Database) -> list[ApiKey]:
            query = model.select().where(model.tenant_id == _tenant(db, tenant).id).order_by(model.created_us, model.id)
            return [_key(row) for row in query.dicts().execute(db)]

        return self._store.run(read, _TIMEOUT_S)

    def revoke_key(self, prefix: str) -> bool:
        """Ends a key for good, by the part of it that may be shown. False where there is none that still works."""
        model = schema.ApiKey
        mine = (model.prefix == prefix.removeprefix("ce_")) & model.revoked_us.is_null()
        query = model.update(revoked_us=self._now_us()).where(mine)
        return bool(self._executor.execute(lambda db: query.execute(db), _TIMEOUT_S))


def _check_rule(field: str, value: str | int | None) -> None:
    most = {"recordings_days": _MAX_DAYS, "ai_daily_spend_micros": _MAX_MICROS}
    if field != "record" and field not in most:
        raise ValueError(f"not to be edited: {field}")
    if value is None:
        return
    if field == "record":
        if value not in RECORD_RULES:
            raise MalformedInput("record", f"must be one of {', '.join(RECORD_RULES)}")
    elif type(value) is not int or not 0 <= value <= most[field]:
        raise MalformedInput(field, f"must be a whole number from 0 to {most[field]}")


def _tenant(db: peewee.Database, name: str) -> Tenant:
    found = list(schema.Tenant.select().where(schema.Tenant.name == name).dicts().execute(db))
    if not found:
        raise NoSuchTenant
    return Tenant(**found[0])


def _key(row: dict[str, Any]) -> ApiKey:
    fields = {
        name: row[name] for name in ("id", "prefix", "tenant_id", "created_us", "name", "last_used_us", "revoked_us")
    }
    return ApiKey(scopes=tuple(row["scopes"].split()), **fields)
