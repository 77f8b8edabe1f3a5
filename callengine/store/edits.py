"""What people change: a call's disposition and notes, campaigns, leads. Each method returns once it is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import peewee

from callengine.calls.record import CallRecord
from callengine.errors import AlreadyExists, MalformedInput, NoSuchCall, NoSuchCampaign
from callengine.store import schema
from callengine.store.clock import clock_us
from callengine.store.entities import Campaign, Executes, Lead
from callengine.store.reads import Reads, is_uuid

_TIMEOUT_S: Final = 5.0
_EDITABLE: Final = frozenset({"disposition", "notes"})


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

    def create_campaign(self, tenant_id: str, campaign_id: str, name: str | None) -> Campaign:
        """Raises AlreadyExists, MalformedInput."""
        _storable("id", campaign_id)
        _storable("name", name)
        made = Campaign(id=campaign_id, name=name, created_us=self._now_us())

        def create(db: peewee.Database) -> Campaign:
            query = schema.Campaign.insert(tenant_id=tenant_id, id=campaign_id, name=name, created_us=made.created_us)
            if not query.on_conflict(action="IGNORE").as_rowcount().execute(db):
                raise AlreadyExists("campaign")
            return made

        return self._executor.execute(create, _TIMEOUT_S)

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


def _storable(field: str, value: str | None) -> None:
    """NUL and lone surrogates are what JSON can say and a database cannot keep."""
    if value is not None and ("\0" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        raise MalformedInput(field, "must not contain NUL or lone surrogates")
