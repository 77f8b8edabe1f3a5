"""Whose a call is: the number map, the tenant that a channel variable names, campaign and lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from callengine.calls.call import Call

replace = msgspec.structs.replace


class Unattributed(msgspec.Struct, frozen=True, gc=False):
    """A tenant's, campaign's or lead's name that could not be used, counted once a call; the call keeps what it has.

    ``what`` is ``tenant``, ``campaign`` or ``lead``.
    """

    call_id: str
    what: str


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a call is. ``tenants`` maps names to ids, ``numbers`` dialled numbers to tenant ids."""

    default_tenant: str
    tenants: Mapping[str, str] = {}
    numbers: Mapping[str, str] = {}

    @property
    def single(self) -> bool:
        """With one tenant there is nothing to wait for."""
        return len(self.tenants) <= 1 and not self.numbers


def attribute(call: Call, rules: Rules) -> tuple[Call, Unattributed | None]:
    """The number map at the creation, else the variable when first seen; moved once at most, before all telling."""
    own = call.own
    change: dict[str, Any] = {}
    unknown: Unattributed | None = None
    if call.held and not call.tenant_named and own.created_us and rules.numbers and not own.authenticated:
        tenant = rules.numbers.get(own.callee_number or "") if own.direction == "inbound" else None
        if tenant is not None:
            change |= {"tenant_id": tenant, "tenant_named": True}
    if own.tenant and not call.tenant_named and not change:
        named = rules.tenants.get(own.tenant)
        change["tenant_named"] = True
        if named is None or (named != call.tenant_id and not call.held):
            unknown = Unattributed(call.id, "tenant")
        elif call.held:
            change["tenant_id"] = named
    if call.campaign is None and own.campaign:
        change["campaign"] = own.campaign
    if call.lead is None and own.lead:
        change["lead"] = own.lead
    if call.queue is None and own.queue:
        change["queue"] = own.queue
    return (replace(call, **change) if change else call), unknown
