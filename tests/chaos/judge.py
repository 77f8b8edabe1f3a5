"""The verdict: every call of the book against the switch's CDRs, the far end's list, and what was delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from callengine.calls.facts import LegReported
from callengine.calls.view import iso
from callengine.cdr.comparing import expected, is_call
from tests.chaos.delivered import Events
from tests.chaos.load import Placed
from tests.chaos.switches import FarCall
from tests.chaos.witness import Heard

# What reaches the far end this shortly before the switch is killed, it told nobody of: its events were still in line.
_UNTOLD_S: Final = 1.0
# A call of ours with one of these reasons says that the switch was never asked, or never dialled the lead.
_NEVER_ASKED: Final = frozenset(
    "queue_timeout cancelled switch_unreachable not_committed engine_stopped switch_refused lead_not_dialled".split()
)
_ENDS: Final = ("end_time", "hangup_cause", "talk_duration_s", "total_duration_s")


@dataclass
class Verdict:
    """``lines`` tell each fault that was found. ``untold``: the far end saw them; the switch died before it told, or
    before a daemon that was down was back to hear it.

    ``undialled``: why calls got no channel, by reason or cause. Nothing is wrong with them; many tell of a long outage.
    """

    calls: int = 0
    with_cdr: int = 0
    lost: int = 0
    wrong: int = 0
    stuck: int = 0
    doubled: int = 0
    webhooks_missing: int = 0
    untold: int = 0
    without_cdr: int = 0
    at_far_end: int = 0
    undialled: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, wrong, stuck, doubled or missing."""
        return not (self.lost or self.wrong or self.stuck or self.doubled or self.webhooks_missing)


@dataclass
class Evidence:
    """All that there is to judge by. ``deaths``: when the switch was being killed, from and until, our clock.

    ``unheard``: from when a daemon was down at whose time the switch died, until then: what the switch said between,
    the daemon cannot have heard, nor ask for any more.

    ``delivered``: by call, the ``seq`` of each event that its receiver took, and the call in the last of them.
    ``retold``: calls of which two events came under one ``seq``. ``stuck``: calls live when none was to be any more.
    """

    told: list[dict[str, Any]]
    cdrs: Mapping[str, LegReported]
    far: list[FarCall]
    placed: Placed
    deaths: list[tuple[float, float]]
    heard: Mapping[str, Heard]
    delivered: Mapping[str, Events]
    retold: Collection[str] = ()
    stuck: int = 0
    unheard: Collection[tuple[float, float]] = ()


def judge(e: Evidence) -> Verdict:
    """Compares all of it."""
    verdict = Verdict(calls=len(e.told), at_far_end=len(e.far))
    by_uuid = {call["fs_uuid"]: call for call in e.told}
    _count_lost(e, verdict, by_uuid)
    seen = {f.number for f in e.far}
    for call in e.told:
        if call["end_source"] is None:
            verdict.stuck += 1
            verdict.lines.append(f"stuck: {call['fs_uuid']} {call['status']}")
            continue
        found = e.cdrs.get(call["fs_uuid"])
        if found is not None:
            verdict.with_cdr += 1
            wrong = list(_against_cdr(e, call, found))
        else:
            verdict.without_cdr += 1
            if call["end_source"] == "clock":
                verdict.undialled[call["failure_reason"] or call["hangup_cause"] or "nothing said"] += 1
            wrong = list(_without_cdr(e, call, seen))
        if wrong:
            verdict.wrong += 1
            verdict.lines.append(f"wrong: {call['fs_uuid']} {call['end_source']}: {'; '.join(wrong)}")
    _count_webhooks(e, verdict)
    verdict.stuck = max(verdict.stuck, e.stuck)
    return verdict


def _count_lost(e: Evidence, verdict: Verdict, by_uuid: Mapping[str, Any]) -> None:
    for uuid, cdr in e.cdrs.items():
        if uuid not in by_uuid and is_call(cdr, e.cdrs.get):
            verdict.lost += 1
            verdict.lines.append(f"lost: {uuid} has a CDR")
    _count_forgotten(e, verdict)
    in_book = Counter(call["callee_number"] for call in e.told)
    arrivals = Counter(f.number for f in e.far)
    for call in e.far:
        if in_book[call.number]:
            continue
        if any(begin - _UNTOLD_S <= call.at_s <= end for begin, end in e.deaths) or _is_unheard(e, call.at_s):
            verdict.untold += 1
        else:
            verdict.lost += 1
            verdict.lines.append(f"lost: the far end saw {call.number}")
    for number in sorted({*arrivals, *e.placed.numbers}):
        if arrivals[number] > 1 or in_book[number] > 1:
            verdict.doubled += 1
            verdict.lines.append(f"doubled: {number}: {arrivals[number]} at the far end, {in_book[number]} in the book")
    rows = Counter(call["fs_uuid"] for call in e.told)
    for uuid, times in rows.items():
        if times > 1:
            verdict.doubled += 1
            verdict.lines.append(f"doubled: {uuid}: {times} rows")


def _count_forgotten(e: Evidence, verdict: Verdict) -> None:
    """Calls of which somebody was told by us, and that are not in the book."""
    known = {call["id"] for call in e.told}
    for call_id in sorted(e.placed.accepted - known):
        verdict.lost += 1
        verdict.lines.append(f"lost: {call_id} was accepted by the API")
    for call_id in sorted(e.delivered.keys() - known):
        verdict.lost += 1
        verdict.lines.append(f"lost: {call_id} was told by webhook")


def _against_cdr(e: Evidence, call: Mapping[str, Any], cdr: LegReported) -> Iterable[str]:
    """Every field. Nothing is left to doubt as an audit has to: each UUID lives once here, and is bridged once."""
    if not is_call(cdr, e.cdrs.get):
        yield "its CDR is that of another call's leg"
    for name, theirs in expected(cdr, e.cdrs.get).items():
        if call[name] != theirs:
            yield f"{name} is {call[name]!r}, the CDR says {theirs!r}"


def _without_cdr(e: Evidence, call: Mapping[str, Any], seen: set[str]) -> Iterable[str]:
    """What such a call claims beyond what anybody told."""
    uuid = call["fs_uuid"]
    heard = e.heard.get(uuid)
    if call["end_source"] == "clock" and (heard is None or _is_unheard(e, heard.created_us / 1e6)):
        yield from _without_channel(e, call, seen)
        return
    if not e.deaths:
        yield "there is no CDR"
        return
    if heard is None:
        heard = Heard()
    yield from _against_heard(e, call, heard)
    if heard.hangup_cause is None or call["end_time"] is None:
        # Whoever else listened may have been cut off a moment earlier than the daemon.
        told = heard.hangup_cause is not None or _near_a_death(e, call["ended_after"])
        for name in _ENDS:
            if call[name] is not None and not (name == "hangup_cause" and told):
                yield f"{name} is {call[name]!r}, and nobody told"
    if call["end_time"] is None:
        yield from _bounds(e, call)


def _against_heard(e: Evidence, call: Mapping[str, Any], heard: Heard) -> Iterable[str]:
    """What the switch had said before it died has to be what the book says, as far as it says anything of the end."""
    dialled, ended = iso(heard.created_us or None), iso(heard.ended_us or None)
    answered = iso(heard.answered_us or None)
    for name, told in (
        # In its last moments it may have told only one of those who listened.
        ("dial_time", None if _near_a_death(e, dialled) else dialled),
        ("answer_time", None if call["answer_time"] is None and _is_unheard(e, heard.answered_us / 1e6) else answered),
        ("end_time", None if _near_a_death(e, ended) else call["end_time"] and ended),
        ("hangup_cause", call["hangup_cause"] and heard.hangup_cause),
    ):
        if told and call[name] != told:
            yield f"{name} is {call[name]}, the switch had said {told}"
    if call["answer_time"] and not heard.answered_us and heard.from_birth and not _near_a_death(e, call["answer_time"]):
        yield f"answer_time is {call['answer_time']}, and nobody told"
    if call["status"] != ("completed" if call["answer_time"] else "failed"):
        yield f"it is {call['status']}, answered {call['answer_time']}"


def _bounds(e: Evidence, call: Mapping[str, Any]) -> Iterable[str]:
    """The end lies between them: at one of the deaths, as far as anybody can tell."""
    after, before = (call[name] and datetime.fromisoformat(call[name]).timestamp() for name in _BOUNDS)
    if not before:
        yield "its end has no bounds"
    elif after and after > before:
        yield f"its bounds are reversed: {call['ended_after']}, {call['ended_before']}"
    elif not any((after or 0) <= end + 0.1 and begin - _UNTOLD_S <= before for begin, end in e.deaths):
        yield f"its bounds {call['ended_after']} to {call['ended_before']} leave out when the switch died"


_BOUNDS: Final = ("ended_after", "ended_before")


def _without_channel(e: Evidence, call: Mapping[str, Any], seen: set[str]) -> Iterable[str]:
    reason, cause = call["failure_reason"], call["hangup_cause"]
    if call["status"] != "failed":
        yield f"it is {call['status']}, and there was no channel"
    if cause is None and reason is None:
        yield "it failed without a cause and without a reason"
    told = e.placed.jobs.get(call["fs_uuid"])
    alone = told is None and _near_a_death(e, call["end_time"])  # whoever else listened was being cut off just then
    if cause != told and not alone and not (cause is None and reason is not None):
        yield f"its job said {told}, the row says {cause} ({reason})"
    if call["callee_number"] in seen and reason in _NEVER_ASKED:
        yield f"{reason}, and the far end saw it"
    if call["callee_number"] in seen and not e.deaths:
        yield f"the far end saw it, and there is no CDR ({reason})"


def _near_a_death(e: Evidence, time: str | None) -> bool:
    at_s = datetime.fromisoformat(time).timestamp() if time else 0.0
    return any(begin - _UNTOLD_S <= at_s <= end + _UNTOLD_S for begin, end in e.deaths)


def _is_unheard(e: Evidence, at_s: float) -> bool:
    return any(begin <= at_s <= end for begin, end in e.unheard)


def _count_webhooks(e: Evidence, verdict: Verdict) -> None:
    for call_id in sorted(e.retold):
        verdict.doubled += 1
        verdict.lines.append(f"doubled: {call_id} was told two things under one seq")
    for call in e.told:
        got, last = e.delivered.get(call["id"], (set(), {}))
        # Whatever has ended was told at least once.
        upto = max(call["seq"], int(call["end_source"] is not None))
        missing = set(range(1, upto + 1)) - got
        beyond = [n for n in got if n > call["seq"]]
        if beyond:
            verdict.wrong += 1
            verdict.lines.append(f"wrong: {call['fs_uuid']} was told up to seq {max(beyond)}, it is {call['seq']}")
        if missing:
            verdict.webhooks_missing += len(missing)
            verdict.lines.append(f"not delivered: {call['fs_uuid']} seq {sorted(missing)} of {call['seq']}")
        elif upto:
            stale = [n for n in ("status", "hangup_cause", "end_time", "answer_time") if last[n] != call[n]]
            if stale:
                verdict.webhooks_missing += 1
                verdict.lines.append(f"the last event of {call['fs_uuid']} tells another {', '.join(stale)}")
