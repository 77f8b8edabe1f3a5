"""Calls as the tracker would hand them to the store."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

import msgspec

from callengine.calls.call import Call, EventName
from callengine.calls.facts import Source
from callengine.calls.ids import call_id_of
from callengine.calls.leg import Leg, Note
from callengine.calls.machine import Noted, Published
from callengine.calls.record import record_of

T0 = 1_795_343_600_000_000
TENANT = str(UUID(int=0x01A203E5_0000_7000_8000_000000000001))
OTHER = str(UUID(int=0x01A203E5_0000_7000_8000_000000000002))
_serials = count(1)


def a_call(dial_us: int = T0, *, tenant_id: str = TENANT, node: str = "sw1", seq: int = 0, **leg: Any) -> Call:
    """A call that rings nowhere yet. ``leg`` are fields of its channel; ``campaign`` and ``lead`` are the call's."""
    of_call = {name: leg.pop(name) for name in ("campaign", "lead", "overlong", "recordings") if name in leg}
    uuid = leg.pop("uuid", None) or str(UUID(int=next(_serials), version=4))
    own = Leg(
        uuid=uuid,
        core_uuid="0fe0a1c2-3d4e-4f50-8a9b-0c1d2e3f4a5b",
        direction="outbound",
        first_created_us=dial_us,
        created_us=dial_us,
        callee_number="+49301234567",
    )
    return Call(
        id=call_id_of(node, uuid, dial_us),
        node=node,
        own=msgspec.structs.replace(own, **leg),
        tenant_id=tenant_id,
        held=False,
        seq=seq,
        **of_call,
    )


def changed(call: Call, **change: Any) -> Call:
    """The call later: fields of its channel, and ``seq``."""
    seq = change.pop("seq", call.seq)
    return msgspec.structs.replace(call, seq=seq, own=msgspec.structs.replace(call.own, **change))


def ended(call: Call, at_us: int | None = None, **change: Any) -> Call:
    """The call, over."""
    at_us = call.own.created_us + 60_000_000 if at_us is None else at_us
    return changed(call, hangup_us=at_us, hangup_cause="NORMAL_CLEARING", over=True, end_source=Source.EVENT, **change)


def noted(call: Call, name: str, at_us: int = T0, source: Source = Source.EVENT, detail: str | None = None) -> Noted:
    """An entry for the call's timeline."""
    return Noted(call.id, Note(name, at_us, call.own.uuid, source, detail))


def published(call: Call, event: EventName, seq: int) -> Published:
    """A milestone of the call."""
    return Published(call.id, event, seq, msgspec.structs.replace(record_of(call), seq=seq))
