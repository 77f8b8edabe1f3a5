"""Originate: going through a dial string's groups and waiting for their legs (``switch_ivr_originate``)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

from callengine.standin import legs
from callengine.standin.channels import Channel
from callengine.standin.clock import TICK_S, Task
from callengine.standin.dialstring import DialStringMalformed, LegTarget, parse
from callengine.standin.endpoints import Attempt, LegNotCreated, create_leg
from callengine.standin.switch import Switch

DEFAULT_TIMEOUT_S = 60
_NEVER_US = 1 << 62


@dataclass(slots=True)
class Outcome:
    """How an originate ended: the leg that won, or the cause.

    ``legs`` are all that it made, to be let go of with ``release``; ``causes`` is ``uuid;CAUSE`` of each of the last
    group.
    """

    winner: Channel | None
    cause: str
    causes: list[str] = field(default_factory=list)
    legs: list[Channel] = field(default_factory=list)


Dialling: TypeAlias = Generator[float | None, bool, Outcome]


def dial(
    switch: Switch,
    waiter: Task,
    text: str,
    *,
    originator: Channel | None = None,
    timeout_s: int = DEFAULT_TIMEOUT_S,
    extra: dict[str, str] | None = None,
) -> Dialling:
    """Place the legs of a dial string and wait. ``waiter`` is the task that runs this, poked when a leg moves."""
    try:
        parsed = parse(text)
    except DialStringMalformed:
        return Outcome(None, "DESTINATION_OUT_OF_ORDER")
    exported = switch.exported(originator, "export_vars") if originator is not None else {}
    variables = {**exported, **(extra or {}), **parsed.variables}
    limit = variables.get("originate_timeout", "")
    seconds = int(limit) if limit.isdigit() and int(limit) > 0 else timeout_s
    attempt = Attempt(switch, waiter, originator, variables, seconds)
    outcome = Outcome(None, "DESTINATION_OUT_OF_ORDER")
    for index, group in enumerate(parsed.groups):
        outcome = yield from _dial_group(attempt, group)
        if outcome.winner is not None or outcome.cause == "ORIGINATOR_CANCEL":
            break
        if index + 1 < len(parsed.groups):
            release(attempt.legs)  # the next group may bring the same UUID to life again
            attempt.legs.clear()
            yield TICK_S
    outcome.legs = attempt.legs
    return outcome


def _dial_group(attempt: Attempt, group: list[LegTarget]) -> Dialling:
    mine: list[Channel] = []
    cause = "NONE"
    for target in group:
        try:
            mine.append(create_leg(attempt, attempt.variables, target))
        except LegNotCreated as refusal:
            cause = refusal.cause
    if not mine:
        return Outcome(None, cause)
    outcome = yield from _wait(attempt, mine)
    for leg in mine:
        leg.watcher = None
        if leg is not outcome.winner:
            legs.hangup(attempt.switch, leg, "LOSE_RACE" if outcome.winner is not None else outcome.cause)
    outcome.causes = [f"{leg.uuid};{leg.cause or 'NONE'}" for leg in mine]
    return outcome


def release(mine: list[Channel]) -> None:
    """The originate lets go of its legs: those that have ended may be destroyed."""
    for leg in mine:
        leg.held_by_originate = False
        legs.wake(leg.task)


def _deadline_us(attempt: Attempt, timeout_s: int) -> int:
    """When a timeout of N seconds fires: whole seconds of the clock are compared, so between N-1 and N s from now."""
    return (attempt.switch.clock.now_us() // 1_000_000 + timeout_s) * 1_000_000


def _wait(attempt: Attempt, mine: list[Channel]) -> Dialling:
    clock = attempt.switch.clock
    end_us = _deadline_us(attempt, attempt.timeout_s)
    leg_ends = {leg.uuid: _leg_deadline_us(attempt, leg) for leg in mine}
    while True:
        for leg in mine:
            if not leg.hung_up and (leg.answered or (leg.early and attempt.takes_early_media)):
                yield TICK_S  # the originate looks at its legs once a tick
                if not leg.hung_up:
                    return Outcome(leg, "SUCCESS")
        if all(leg.hung_up for leg in mine):
            cause = mine[-1].cause
            yield TICK_S  # seen a tick later: by then the last leg's CHANNEL_HANGUP_COMPLETE is out
            return Outcome(None, cause)
        if attempt.originator is not None and attempt.originator.hung_up:
            return Outcome(None, "ORIGINATOR_CANCEL")
        now = clock.now_us()
        if now >= end_us:
            return Outcome(None, "NO_ANSWER")
        for leg in mine:
            if leg_ends[leg.uuid] <= now:
                legs.hangup(attempt.switch, leg, "NO_ANSWER")
        next_us = min(end_us, *(leg_ends[leg.uuid] for leg in mine))
        yield max(TICK_S, (next_us - now) / 1_000_000)


def _leg_deadline_us(attempt: Attempt, leg: Channel) -> int:
    limit = leg.get("leg_timeout")
    return _deadline_us(attempt, int(limit)) if limit.isdigit() and int(limit) > 0 else _NEVER_US
