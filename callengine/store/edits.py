"""What people change: a call's disposition and notes, campaigns, leads. Each method returns once it is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import peewee

from callengine.calls.record import CallRecord
from callengine.errors import AlreadyExists, MalformedInput, NoSuchCall, NoSuchCampaign
from callengine.store import schema
from callengine.store.clock import clock_us
from callengine.store.entities import RECORD_RULES, Campaign, Executes, Lead, campaign_from
from callengine.store.reads import Reads, is_uuid

_TIMEOUT_S: Final = 5.0
_EDITABLE: Final = frozenset({"disposition", "notes"})
_OF_CAMPAIGN: Final = frozenset({"name", "goal", "dispositions", "record"})
GOAL_MAX: Final = 2000
DISPOSITIONS_MAX: Final = 64
CODE_MAX: Final = 64


class Edits:
    """All methods raise StoreUnavailable besides what they say."""

    def __init__(self, executor: Executes, reads: Reads, now_us: Callable[[], int] = clock_us) -> None:
        self._executor = executor
        self._reads = reads
        self._now_us = now_us

    def edit_call(self, tenant_id: str, call_id: str, changes: Mapping[str, str | None]) -> CallRecord:
        """Sets ``disposition`` and/or ``notes``; None clears. What an agent set, the analysis does not replace.

        Raises NoSuchCall, and MalformedInput for text that no database can hold.
        """
        if not is_uuid(call_id):
            raise NoSuchCall
        if unknown := set(changes) - _EDITABLE:
            raise ValueError(f"not to be edited: {', '.join(sorted(unknown))}")
        for name, value in changes.items():
            _storable(name, value)
        values = dict(changes)
        if "disposition" in changes:
            values["disposition_by"] = None if changes["disposition"] is None else "agent"

        def edit(db: peewee.Database) -> CallRecord:
            mine = (schema.Call.tenant_id == tenant_id) & (schema.Call.id == call_id)
            if values:
                schema.Call.update(**values).where(mine).execute(db)
            record = self._reads.record(db, tenant_id, call_id)
            if record is None:
                raise NoSuchCall
            return record

        return self._executor.execute(edit, _TIMEOUT_S)

    def create_campaign(
        self, tenant_id: str, campaign_id: str, name: str | None, settings: Mapping[str, Any] | None = None
    ) -> Campaign:
        """``settings`` as the changes of ``update_campaign``. Raises AlreadyExists, MalformedInput."""
        _storable("id", campaign_id)
        values = _campaign_values({**(settings or {}), "name": name})
        created_us = self._now_us()

        def create(db: peewee.Database) -> Campaign:
            query = schema.Campaign.insert(tenant_id=tenant_id, id=campaign_id, created_us=created_us, **values)
            if not query.on_conflict(action="IGNORE").as_rowcount().execute(db):
                raise AlreadyExists("campaign")
            return _campaign(db, tenant_id, campaign_id)

        return self._executor.execute(create, _TIMEOUT_S)

    def update_campaign(self, tenant_id: str, campaign_id: str, changes: Mapping[str, Any]) -> Campaign:
        """Sets any of ``name``, ``goal``, ``dispositions`` (1-64 codes) and ``record``; None clears.

        Raises NoSuchCampaign, MalformedInput.
        """
        _storable("id", campaign_id)
        values = _campaign_values(changes)

        def update(db: peewee.Database) -> Campaign:
            mine = (schema.Campaign.tenant_id == tenant_id) & (schema.Campaign.id == campaign_id)
            if values:
                schema.Campaign.update(**values).where(mine).execute(db)
            return _campaign(db, tenant_id, campaign_id)

        return self._executor.execute(update, _TIMEOUT_S)

    def create_lead(
        self, tenant_id: str, lead_id: str, campaign_id: str | None, name: str | None, phone_number: str | None
    ) -> Lead:
        """Raises AlreadyExists, NoSuchCampaign, MalformedInput."""
        for field, value in (
            ("id", lead_id),
            ("campaign_id", campaign_id),
            ("name", name),
            ("phone_number", phone_number),
        ):
            _storable(field, value)
        made = Lead(
            id=lead_id, campaign_id=campaign_id, name=name, phone_number=phone_number, created_us=self._now_us()
        )

        def create(db: peewee.Database) -> Lead:
            model = schema.Campaign
            if campaign_id is not None:
                there = model.select(model.id).where((model.tenant_id == tenant_id) & (model.id == campaign_id))
                if not list(there.tuples().execute(db)):
                    raise NoSuchCampaign
            query = schema.Lead.insert(
                tenant_id=tenant_id,
                id=lead_id,
                campaign_id=campaign_id,
                name=name,
                phone_number=phone_number,
                created_us=made.created_us,
            )
            if not query.on_conflict(action="IGNORE").as_rowcount().execute(db):
                raise AlreadyExists("lead")
            return made

        return self._executor.execute(create, _TIMEOUT_S)


def _campaign(db: peewee.Database, tenant_id: str, campaign_id: str) -> Campaign:
    model = schema.Campaign
    columns = (model.id, model.name, model.created_us, model.goal, model.dispositions, model.record)
    found = model.select(*columns).where((model.tenant_id == tenant_id) & (model.id == campaign_id)).dicts()
    for row in found.execute(db):
        return campaign_from(**row)
    raise NoSuchCampaign


def _campaign_values(changes: Mapping[str, Any]) -> dict[str, str | None]:
    """The columns to set. Raises MalformedInput."""
    if unknown := set(changes) - _OF_CAMPAIGN:
        raise ValueError(f"not to be edited: {', '.join(sorted(unknown))}")
    values = dict(changes)
    for name in ("name", "goal"):
        _storable(name, values.get(name))
    if len(values.get("goal") or "") > GOAL_MAX:
        raise MalformedInput("goal", f"must not be longer than {GOAL_MAX} characters")
    if values.get("record") not in (None, *RECORD_RULES):
        raise MalformedInput("record", f"must be one of {', '.join(RECORD_RULES)}")
    if (codes := values.get("dispositions")) is not None:
        values["dispositions"] = msgspec.json.encode(_codes(codes)).decode()
    return values


def _codes(codes: Any) -> list[str]:
    found = list(codes)
    if not 1 <= len(found) <= DISPOSITIONS_MAX or len(set(found)) < len(found):
        raise MalformedInput("dispositions", f"must be 1 to {DISPOSITIONS_MAX} different codes")
    if not all(0 < len(code) <= CODE_MAX and code.isprintable() for code in found):
        raise MalformedInput("dispositions", f"each must have 1 to {CODE_MAX} printable characters")
    return found


def _storable(field: str, value: str | None) -> None:
    """NUL and lone surrogates are what JSON can say and a database cannot keep."""
    if value is not None and ("\0" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        raise MalformedInput(field, "must not contain NUL or lone surrogates")
