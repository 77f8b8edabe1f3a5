"""Channels that state facts as the switch does, and a desk that keeps what a book makes of them.

Seconds count from `T0`; a channel's facts carry its whole timetable up to then, as FreeSWITCH's events do.
"""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import NAMESPACE_OID, uuid5

from callengine.calls import facts
from callengine.calls.book import Book, Timing
from callengine.calls.call import Call
from callengine.calls.facts import CallQueued, ChannelFact, JobAnswered, LegGone, OriginateSent
from callengine.calls.ledger import Outcome
from callengine.calls.machine import Effect, Noted, Published, Refused, Rules, Unattributed
from callengine.calls.record import CallRecord, record_of
from callengine.calls.view import show

T0 = 1_800_000_000_000_000
CORE = "core-1"
OPERATOR = "operator"

F = TypeVar("F", bound=ChannelFact)


def us(seconds: float) -> int:
    """The switch's stamp at that second."""
    return T0 + round(seconds * 1_000_000)


def time(seconds: float) -> str:
    """The same as the API shows it; for the first minute."""
    whole, ms = divmod(int(seconds * 1000), 1000)
    return f"2027-01-15T08:00:{whole:02d}.{ms:03d}Z"


def call_id(uuid: str) -> str:
    """The id of the call that we originate with that channel UUID."""
    return str(uuid5(NAMESPACE_OID, uuid))


class Channel:
    """One channel of the switch. Each method is an event of it, at a second, and returns the fact it states."""

    def __init__(self, uuid: str = "A", at: float = 0.0, direction: str = "inbound", **described: Any) -> None:
        self.uuid = uuid
        self.core_uuid = CORE
        self.stamps: dict[str, int] = {"created_us": us(at)}
        self.variables: dict[str, Any] = {}
        self.cause: str | None = None
        self.hangup_us = 0
        self.described = {
            "direction": direction,
            "caller_number": "+15550100",
            "caller_name": "Ada",
            "callee_number": "+15550199",
            "channel_name": f"sofia/internal/{uuid}",
        } | described
        self.at = at

    def _fact(self, kind: type[F], at: float, **fields: Any) -> F:
        at_us = us(at)
        return kind(uuid=self.uuid, core_uuid=self.core_uuid, at_us=at_us, **(self.stamps | self.variables | fields))

    def again(self, at: float) -> Channel:
        """The same UUID, living again."""
        channel = Channel(self.uuid, at)
        channel.described = dict(self.described)
        return channel

    def created(self, **fields: Any) -> facts.LegCreated:
        return self._fact(facts.LegCreated, self.at, **(self.described | fields))

    def listed(self, at: float, **fields: Any) -> facts.LegListed:
        return self._fact(facts.LegListed, at, **(self._lasting() | fields))

    def _lasting(self) -> dict[str, Any]:
        """What still tells later for whom a channel was created: a variable, if anything."""
        return {name: value for name, value in self.described.items() if name != "other_uuid"}

    def reported(self, at: float, cause: str = "NORMAL_CLEARING", **fields: Any) -> facts.LegReported:
        self.hangup_us = us(at)
        return self._fact(
            facts.LegReported, at, **(self._lasting() | {"hangup_us": us(at), "hangup_cause": cause} | fields)
        )

    def rang(self, at: float) -> facts.LegRang:
        self.stamps["progress_us"] = us(at)
        return self._fact(facts.LegRang, at)

    def early_media(self, at: float) -> facts.LegRang:
        self.stamps["progress_media_us"] = us(at)
        return self._fact(facts.LegRang, at)

    def answered(self, at: float, **fields: Any) -> facts.LegAnswered:
        self.stamps["answered_us"] = us(at)
        return self._fact(facts.LegAnswered, at, **fields)

    def bridged(self, other: str, at: float, **fields: Any) -> facts.LegBridged:
        return self._fact(
            facts.LegBridged, at, **({"bridged_us": us(at), "bridge_a": self.uuid, "bridge_b": other} | fields)
        )

    def unbridged(self, other: str, at: float) -> facts.LegUnbridged:
        return self._fact(facts.LegUnbridged, at, bridge_a=self.uuid, bridge_b=other)

    def held(self, at: float) -> facts.LegHeld:
        return self._fact(facts.LegHeld, at)

    def unheld(self, at: float) -> facts.LegUnheld:
        return self._fact(facts.LegUnheld, at)

    def started(self, path: str, at: float) -> facts.RecordingStarted:
        return self._fact(facts.RecordingStarted, at, path=path)

    def stopped(self, path: str, at: float, duration_ms: int | None = 5000, **fields: Any) -> facts.RecordingStopped:
        return self._fact(facts.RecordingStopped, at, path=path, duration_ms=duration_ms, **fields)

    def hung_up(self, at: float, cause: str = "NORMAL_CLEARING") -> facts.LegHungUp:
        self.cause = cause
        return self._fact(facts.LegHungUp, at, hangup_cause=cause)

    def ended(self, at: float, cause: str | None = None, **fields: Any) -> facts.LegEnded:
        self.cause = cause or self.cause or "NORMAL_CLEARING"
        self.hangup_us = self.hangup_us or us(at)
        return self._fact(facts.LegEnded, at, **({"hangup_us": self.hangup_us, "hangup_cause": self.cause} | fields))

    def destroyed(self, at: float, **fields: Any) -> facts.LegDestroyed:
        self.hangup_us = self.hangup_us or us(at)
        return self._fact(
            facts.LegDestroyed, at, **({"hangup_us": self.hangup_us, "hangup_cause": self.cause} | fields)
        )

    def never_ran(self, at: float) -> facts.LegDestroyed:
        """The lone CHANNEL_DESTROY of an attempt that came to nothing: no stamp, no cause."""
        return facts.LegDestroyed(uuid=self.uuid, core_uuid=self.core_uuid, at_us=us(at))

    def gone(self, before: float, after: float = 0.0) -> LegGone:
        return LegGone(uuid=self.uuid, at_us=us(before), before_us=us(before), after_us=us(after) if after else 0)

    def life(self, rang: float, answered: float, ended: float) -> list[ChannelFact]:
        """A whole answered life."""
        return [
            self.created(),
            self.rang(rang),
            self.answered(answered),
            self.hung_up(ended),
            self.ended(ended),
            self.destroyed(ended),
        ]


def leg(uuid: str, parent: str, at: float = 1.0, **described: Any) -> Channel:
    """A channel that the switch dials for another one."""
    return Channel(uuid, at, "outbound", other_uuid=parent, originator=parent, **described)


class Desk:
    """A book, and all that it ever told. ``now`` of the book is the fact's second, unless told otherwise."""

    def __init__(self, rules: Rules | None = None, *, node: str = "sw1", **options: Any) -> None:
        self.book = Book(node, rules or Rules(default_tenant=OPERATOR), **options)
        self.calls: dict[str, Call] = {}
        self.effects: list[Effect] = []
        self.suspects: list[str] = []
        self.now = 0.0
        self.changes = 0

    def take(self, *told: Any) -> Desk:
        """Apply facts, each at its own second by the switch's clock, which only goes forward."""
        for fact in told:
            self.now = max(self.now, (fact.at_us - T0) / 1_000_000)
            self._keep(self.book.apply(fact, self.now))
        return self

    def tick(self, now: float) -> list[str]:
        """Let time pass; returns the new suspects."""
        self.now = max(self.now, now)
        before = len(self.suspects)
        self._keep(self.book.tick(self.now))
        return self.suspects[before:]

    def _keep(self, out: Outcome) -> None:
        for call in out.changed.values():
            assert self.book.calls.get(call.id) in (call, None)
        for call_id, record in out.records.items():
            assert record == record_of(out.changed[call_id])
        self.changes += len(out.changed)
        self.calls.update(out.changed)
        self.effects.extend(out.effects)
        self.suspects.extend(out.suspects)

    # -- ours

    def originate(self, uuid: str = "A", *, sent: bool = True, **fields: Any) -> Desk:
        """Queue a call of ours and send its originate; job ``job-<uuid>``; our clock is an hour off the switch's."""
        queued = CallQueued(
            uuid=uuid,
            call_id=call_id(uuid),
            job_uuid=f"job-{uuid}",
            tenant_id="tenant-1",
            at_us=ours(self.now),
            **({"callee_number": "+15550123", "gateway": "lab"} | fields),
        )
        self._keep(self.book.apply(queued, self.now))
        if sent:
            self._keep(self.book.apply(OriginateSent(uuid=uuid, at_us=ours(self.now)), self.now))
        return self

    def job(self, text: str, at: float, uuid: str = "A") -> Desk:
        return self.take(JobAnswered(job_uuid=f"job-{uuid}", text=text, core_uuid=CORE, at_us=us(at)))

    # -- what came of it

    def call(self, uuid: str = "A") -> Call:
        """The last that was told of the call of that channel."""
        (call,) = [c for c in self.calls.values() if c.fs_uuid == uuid]
        return call

    def record(self, uuid: str = "A") -> CallRecord:
        return record_of(self.call(uuid))

    def shown(self, uuid: str = "A") -> dict[str, Any]:
        return show(self.record(uuid))

    def roots(self) -> set[str]:
        """The channels that are calls."""
        return {c.fs_uuid for c in self.calls.values()}

    def legs(self, uuid: str = "A") -> dict[str, dict[str, Any]]:
        return {view["fs_uuid"]: view for view in self.shown(uuid)["legs"]}

    def published(self, uuid: str = "A") -> list[Published]:
        return [e for e in self.effects if isinstance(e, Published) and e.record.fs_uuid == uuid]

    def told(self, uuid: str = "A") -> list[str]:
        return [e.event.value.removeprefix("call.") for e in self.published(uuid)]

    def refused(self) -> list[str]:
        return [e.refusal.name for e in self.effects if isinstance(e, Refused)]

    def unattributed(self) -> list[str]:
        return [e.what for e in self.effects if isinstance(e, Unattributed)]

    def notes(self, uuid: str = "A") -> list[str]:
        call_id = self.call(uuid).id
        return [e.note.name for e in self.effects if isinstance(e, Noted) and e.call_id == call_id]


def ours(now: float) -> int:
    """Our own clock at that second: an hour before the switch's."""
    return us(now) - 3600 * 1_000_000


PATIENT = Timing(retire_s=1e9, stray_s=1e9, silent_s=1e9, hangup_grace_s=1e9)
"""For facts in disorder, whose stamps make the clock jump."""
