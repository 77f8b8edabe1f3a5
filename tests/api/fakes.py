"""The services in memory. They filter, order, page and refuse as the real ones have to; nothing is canned."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import msgspec
from flask import Flask
from pydantic import SecretStr

from callengine.api.blueprint import create_app
from callengine.api.services import Idempotency, Readiness, Services
from callengine.calls.facts import Source
from callengine.calls.leg import Note
from callengine.calls.numbers import comparable
from callengine.calls.record import CallRecord
from callengine.config.originate import Agents, Application, Gateway, Originate
from callengine.config.settings import Settings
from callengine.errors import (
    AlreadyExists,
    CallOver,
    IdempotencyConflict,
    NoSuchCall,
    NoSuchCampaign,
    NotAllowed,
    StoreUnavailable,
    WrongState,
)
from tests.api.fake_webhooks import FakeWebhooks

ALICE, BOB = "tenant-alice", "tenant-bob"
ALL_SCOPES = ("calls:read", "calls:write", "campaigns:read", "campaigns:write", "webhooks:read", "webhooks:write")
BASE_US = 1_795_343_615_301_165


@dataclass(frozen=True)
class Key:
    id: str
    tenant_id: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class CampaignRow:
    id: str
    name: str | None
    created_us: int
    goal: str | None = None
    dispositions: list[str] | None = None
    record: str | None = None


@dataclass(frozen=True)
class LeadRow:
    id: str
    campaign_id: str | None
    name: str | None
    phone_number: str | None
    created_us: int


@dataclass(frozen=True)
class AnalysisRow:
    call_id: str
    status: str | None = None
    run: int | None = None
    sdk: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    audio_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    spent_micros: int | None = None
    error: str | None = None
    statements: list[dict[str, Any]] | None = None
    transcript: list[dict[str, Any]] | None = None
    created_us: int | None = None
    next_us: int | None = None
    done_us: int | None = None


@dataclass
class World:
    """Everything that is stored, by tenant."""

    calls: dict[str, CallRecord] = field(default_factory=dict)
    notes: dict[str, list[Note]] = field(default_factory=dict)
    analyses: dict[str, AnalysisRow] = field(default_factory=dict)
    campaigns: dict[tuple[str, str], CampaignRow] = field(default_factory=dict)
    leads: dict[tuple[str, str], LeadRow] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    answered: dict[tuple[str, str], tuple[str, CallRecord]] = field(default_factory=dict)
    orders: list[tuple[str, str, Any]] = field(default_factory=list)
    webhooks: dict[str, Any] = field(default_factory=dict)
    away: bool = False
    key_lookups: int = 0
    queries: int = 0
    now_us: int = BASE_US
    clock_s: float = 0.0
    failing: Exception | None = None
    delays: list[float] = field(default_factory=list)

    def empty(self) -> None:
        """Makes everything as new; the clock goes on past whatever was remembered."""
        clock_s = self.clock_s + 3600
        self.__init__()  # type: ignore[misc]
        self.clock_s = clock_s

    def key(self, text: str, tenant: str, *scopes: str) -> dict[str, str]:
        """Makes a key, and the header that presents it."""
        self.keys[text] = Key(text, tenant, frozenset(scopes or ALL_SCOPES))
        return {"Authorization": f"Bearer {text}"}

    def add_call(self, tenant: str, **fields: Any) -> CallRecord:
        """Stores a call; a campaign that it names is created."""
        record = CallRecord(
            **{"id": str(uuid.uuid4()), "tenant_id": tenant, "node": "fs1", "fs_uuid": str(uuid.uuid4()), **fields}
        )
        self.calls[record.id] = record
        if record.campaign_id is not None:
            self.campaigns.setdefault((tenant, record.campaign_id), CampaignRow(record.campaign_id, None, self.tick()))
        self.notes[record.id] = [Note("created", record.dial_us or self.now_us, record.fs_uuid, Source.EVENT)]
        return record

    def tick(self) -> int:
        self.now_us += 1_000
        return self.now_us

    def asked(self) -> None:
        self.queries += 1
        if self.failing is not None:
            raise self.failing
        if self.away:
            raise StoreUnavailable("secret-host:5432 refused the connection")


def _page(items: Sequence[Any], page: int, page_size: int) -> tuple[list[Any], int]:
    return list(items[(page - 1) * page_size : page * page_size]), len(items)


class FakeReads:
    def __init__(self, world: World) -> None:
        self.world = world

    def call(self, tenant_id: str, call_id: str) -> CallRecord | None:
        self.world.asked()
        record = self.world.calls.get(call_id)
        return record if record is not None and record.tenant_id == tenant_id else None

    def shown_call(self, tenant_id: str, call_id: str, shown: Callable[..., Any]) -> Any:
        record = self.call(tenant_id, call_id)
        return None if record is None else shown(*msgspec.structs.astuple(record))

    def calls(
        self,
        tenant_id: str,
        filters: Mapping[str, str | int],
        page: int,
        page_size: int,
        shown: Callable[..., Any],
    ) -> tuple[Sequence[Any], int]:
        self.world.asked()
        found = [r for r in self.world.calls.values() if r.tenant_id == tenant_id and _matches(r, filters)]
        found.sort(key=attrgetter("id"), reverse=True)
        found.sort(key=lambda r: -(2**63) if r.dial_us is None else -r.dial_us)
        records, total = _page(found, page, page_size)
        return [shown(*msgspec.structs.astuple(record)) for record in records], total

    def timeline(self, tenant_id: str, call_id: str) -> Sequence[Note]:
        return [] if self.call(tenant_id, call_id) is None else self.world.notes[call_id]

    def campaign(self, tenant_id: str, campaign_id: str) -> CampaignRow | None:
        self.world.asked()
        return self.world.campaigns.get((tenant_id, campaign_id))

    def campaigns(self, tenant_id: str, page: int, page_size: int) -> tuple[Sequence[CampaignRow], int]:
        self.world.asked()
        found = [c for (owner, _), c in self.world.campaigns.items() if owner == tenant_id]
        return _page(sorted(found, key=lambda c: (-c.created_us, c.id)), page, page_size)

    def lead(self, tenant_id: str, lead_id: str) -> LeadRow | None:
        self.world.asked()
        return self.world.leads.get((tenant_id, lead_id))

    def leads(
        self, tenant_id: str, campaign_id: str | None, page: int, page_size: int
    ) -> tuple[Sequence[LeadRow], int]:
        self.world.asked()
        found = [lead for (owner, _), lead in self.world.leads.items() if owner == tenant_id]
        found = [lead for lead in found if campaign_id in (None, lead.campaign_id)]
        return _page(sorted(found, key=lambda lead: (-lead.created_us, lead.id)), page, page_size)


def _matches(record: CallRecord, filters: Mapping[str, Any]) -> bool:
    wanted = dict(filters)
    after, before = wanted.pop("dialed_after_us", None), wanted.pop("dialed_before_us", None)
    if (after is not None or before is not None) and record.dial_us is None:
        return False
    if after is not None and (record.dial_us or 0) < after:
        return False
    if before is not None and (record.dial_us or 0) >= before:
        return False
    number = wanted.pop("number", None)
    if number is not None and number not in {comparable(n or "") for n in (record.caller_number, record.callee_number)}:
        return False
    return all(getattr(record, name) == value for name, value in wanted.items())


class FakeAnalyses:
    def __init__(self, world: World) -> None:
        self.world = world

    def analysis(self, tenant_id: str, call_id: str) -> AnalysisRow | None:
        if FakeReads(self.world).call(tenant_id, call_id) is None:
            return None
        return self.world.analyses.get(call_id, AnalysisRow(call_id))


class FakeKeys:
    def __init__(self, world: World) -> None:
        self.world = world

    def find_key(self, presented: str) -> Key | None:
        self.world.key_lookups += 1
        if self.world.away:
            raise StoreUnavailable("away")
        return self.world.keys.get(presented)


class FakeEdits:
    def __init__(self, world: World) -> None:
        self.world = world

    def edit_call(self, tenant_id: str, call_id: str, changes: Mapping[str, str | None]) -> CallRecord:
        self.world.asked()
        record = self.world.calls.get(call_id)
        if record is None or record.tenant_id != tenant_id:
            raise NoSuchCall
        by = {"disposition_by": "agent"} if "disposition" in changes else {}
        edited = msgspec.structs.replace(record, **changes, **by)
        self.world.calls[call_id] = edited
        return edited

    def create_campaign(
        self, tenant_id: str, campaign_id: str, name: str | None, settings: Mapping[str, Any]
    ) -> CampaignRow:
        self.world.asked()
        if (tenant_id, campaign_id) in self.world.campaigns:
            raise AlreadyExists("campaign")
        made = CampaignRow(campaign_id, name, self.world.tick(), **settings)
        self.world.campaigns[tenant_id, campaign_id] = made
        return made

    def update_campaign(self, tenant_id: str, campaign_id: str, changes: Mapping[str, Any]) -> CampaignRow:
        self.world.asked()
        if (tenant_id, campaign_id) not in self.world.campaigns:
            raise NoSuchCampaign
        changed = replace(self.world.campaigns[tenant_id, campaign_id], **changes)
        self.world.campaigns[tenant_id, campaign_id] = changed
        return changed

    def create_lead(
        self, tenant_id: str, lead_id: str, campaign_id: str | None, name: str | None, phone_number: str | None
    ) -> LeadRow:
        self.world.asked()
        if (tenant_id, lead_id) in self.world.leads:
            raise AlreadyExists("lead")
        if campaign_id is not None and (tenant_id, campaign_id) not in self.world.campaigns:
            raise NoSuchCampaign
        made = LeadRow(lead_id, campaign_id, name, phone_number, self.world.tick())
        self.world.leads[tenant_id, lead_id] = made
        return made


class FakeControl:
    """Checks what a request asks against the configured set, and keeps the state that orders need."""

    def __init__(self, world: World, originate: Originate) -> None:
        self.world = world
        self.allowed = originate

    def originate(
        self, tenant_id: str, request: Mapping[str, Any], idempotency: Idempotency | None = None
    ) -> CallRecord:
        self.world.asked()
        if idempotency is not None:
            known = self.world.answered.get((tenant_id, idempotency.key))
            if known is not None:
                if known[0] != idempotency.fingerprint:
                    raise IdempotencyConflict
                return known[1]
        gateway = request["gateway"] or next(iter(self.allowed.gateways))
        if gateway not in self.allowed.gateways:
            raise NotAllowed("gateway")
        if not self.allowed.destination_pattern.fullmatch(request["destination"]):
            raise NotAllowed("destination")
        self._check_target("on_answer", request["on_answer"])
        for name in request["variables"]:
            if not self.allowed.allows_variable(name):
                raise NotAllowed("variables")
        record = self.world.add_call(
            tenant_id,
            queued_us=self.world.tick(),
            callee_number=request["destination"],
            caller_number=request["caller_id_number"],
            gateway=gateway,
            campaign_id=request["campaign_id"],
            lead_id=request["lead_id"],
        )
        self.world.orders.append(("originate", record.id, dict(request)))
        if idempotency is not None:
            self.world.answered[tenant_id, idempotency.key] = (idempotency.fingerprint, record)
        return record

    def _check_target(self, place: str, target: Mapping[str, Any]) -> None:
        a = self.allowed
        checks: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "agent": lambda t: t["agents"] in a.agents and a.agents[t["agents"]].agent_pattern.fullmatch(t["agent_id"]),
            "queue": lambda t: t["queue"] in a.queues,
            "extension": lambda t: a.extension_pattern.fullmatch(t["extension"]),
            "application": lambda t: t["application"] in a.applications,
            "park": lambda t: True,
            "call": lambda t: True,
        }
        if not checks[target["type"]](target):
            raise NotAllowed(f"{place}.{target['type']}")

    def _order(self, tenant_id: str, call_id: str, what: str, told: Any, *, answered: bool = True) -> CallRecord:
        self.world.asked()
        record = self.world.calls.get(call_id)
        if record is None or record.tenant_id != tenant_id:
            raise NoSuchCall
        if not record.live:
            raise CallOver
        if answered and record.answer_us is None:
            raise WrongState(what, "answered")
        self.world.orders.append((what, call_id, told))
        return record

    def hangup(self, tenant_id: str, call_id: str, cause: str | None) -> CallRecord:
        try:
            record = self._order(tenant_id, call_id, "hangup", cause, answered=False)
        except CallOver:
            return self.world.calls[call_id]
        over = msgspec.structs.replace(
            record,
            live=False,
            status="completed" if record.answer_us else "failed",
            hangup_cause=cause or "NORMAL_CLEARING",
        )
        self.world.calls[call_id] = over
        return over

    def bridge(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        self._check_target("to", target)
        if target["type"] == "call":
            self._order(tenant_id, target["call_id"], "bridge", None)
        return self._order(tenant_id, call_id, "bridge", dict(target))

    def transfer(self, tenant_id: str, call_id: str, target: Mapping[str, Any]) -> CallRecord:
        self._check_target("to", target)
        return self._order(tenant_id, call_id, "transfer", dict(target))

    def hold(self, tenant_id: str, call_id: str) -> CallRecord:
        return self._order(tenant_id, call_id, "hold", None)

    def unhold(self, tenant_id: str, call_id: str) -> CallRecord:
        return self._order(tenant_id, call_id, "unhold", None)

    def dtmf(self, tenant_id: str, call_id: str, digits: str, duration_ms: int | None) -> CallRecord:
        return self._order(tenant_id, call_id, "dtmf", (digits, duration_ms))

    def recording(self, tenant_id: str, call_id: str, action: str) -> CallRecord:
        return self._order(tenant_id, call_id, f"recording_{action}", None)


def settings(**http: Any) -> Settings:
    """Settings with something of everything in the closed set."""
    return Settings.model_validate(
        {
            "http": {"public_url": "https://calls.example.com", **http},
            "metrics": {"token": SecretStr("metrics-secret")},
            "originate": Originate(
                gateways={"carrier": Gateway()},
                queues=("sales@default",),
                agents={"desk": Agents(dial_string="user/{agent}@example.com")},
                applications={"greeting": Application(application="playback", arguments="hello.wav")},
            ),
        }
    )


def services(world: World, chosen: Settings | None = None, **more: Any) -> Services:
    """All services over one world."""
    chosen = chosen or settings()
    offered: dict[str, Any] = {
        "settings": chosen,
        "reads": FakeReads(world),
        "keys": FakeKeys(world),
        "edits": FakeEdits(world),
        "webhooks": FakeWebhooks(world),
        "analyses": FakeAnalyses(world),
        "control": FakeControl(world, chosen.originate),
        "readiness": lambda: Readiness(True, {"database": "ok", "esl": "connected"}),
        "metrics": lambda: b"callengine_build_info 1.0\n",
        "data_as_of": lambda: BASE_US,
        "monotonic_s": lambda: world.clock_s,
        "sleep": lambda seconds: world.delays.append(seconds),
    }
    return Services(**{**offered, **more})


def app(world: World, chosen: Settings | None = None, **more: Any) -> Flask:
    """The daemon's application over one world."""
    return create_app(services(world, chosen, **more))
