"""A stream of varied calls, placed through the API. What each number does is up to the stand-in (its scenarios)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from callengine.cli.client import Client
from callengine.cli.exits import Failed

GATEWAY = "standin"
AGENTS = "desk"
QUEUE = "support@default"
APPLICATION = "announcement"
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "spring-2026": {
        "name": "Spring 2026",
        "goal": "Find out whether the offer of this spring is of interest, and when to call again.",
        "dispositions": ["WRONG_NUMBER", "DECLINED", "LATER", "CALL_BACK", "INTERESTED"],
    },
    "renewals": {
        "name": "Renewals",
        "goal": "Renew the service contract before it ends.",
        "dispositions": ["CANCELLED", "UNDECIDED", "LATER", "UPGRADED", "RENEWED"],
    },
}
"""By their ids: what ``POST /v1/campaigns`` takes besides."""
TALK_VARIABLE = "standin_talk_s"
"""By which a call tells the stand-in how long the far end talks; the demo's daemon lets requests set it."""
_NAMES = ("alma", "boris", "chen", "dara", "emil", "fatima", "goran", "hana")


@dataclass(frozen=True)
class Kind:
    """A kind of call: how often among all (``weight``), the last digits of its number, and what is asked for.

    ``talk_s`` are the bounds of how long the far end talks, where that is not left to the stand-in.
    """

    weight: int
    digits: str
    target: str = "park"
    first: str = "lead"
    record: bool = False
    talk_s: tuple[float, float] | None = None
    ring_timeout_s: int | None = None
    hung_up_after_s: float | None = None


KINDS = (
    Kind(10, "200"),
    Kind(8, "200", "agent"),
    Kind(14, "200", "agent", record=True, talk_s=(6.0, 14.0)),
    Kind(4, "200", "agent", first="agent"),
    Kind(4, "200", "agent", first="agent", record=True, talk_s=(6.0, 14.0)),
    Kind(8, "200", "queue", record=True),
    Kind(9, "203", "agent", talk_s=(6.0, 14.0)),  # the switch records this one by itself
    Kind(4, "200", record=True, talk_s=(2.0, 4.5)),  # too short to be analysed
    Kind(4, "200", "application"),
    Kind(4, "202"),
    Kind(6, "183"),
    Kind(3, "182", "agent"),
    Kind(3, "204"),
    Kind(7, "180", ring_timeout_s=8),
    Kind(8, "486"),
    Kind(5, "404"),
    Kind(2, "603"),
    Kind(2, "503"),
    Kind(2, "302"),
    Kind(3, "180", hung_up_after_s=4.0),
)


def request_for(kind: Kind, rng: random.Random) -> dict[str, Any]:
    """The body of ``POST /v1/calls`` for a call of that kind."""
    request: dict[str, Any] = {
        "destination": f"+1555{rng.randrange(10_000):04d}{kind.digits}",
        "gateway": GATEWAY,
        "caller_id_number": "+15550100",
        "first": kind.first,
        "on_answer": _target(kind.target, rng),
        "record": kind.record,
        "lead_id": f"lead-{rng.randrange(10_000):04d}",
    }
    if (campaign := rng.choice((*CAMPAIGNS, None))) is not None:
        request["campaign_id"] = campaign
    if kind.talk_s is not None:
        request["variables"] = {TALK_VARIABLE: f"{rng.uniform(*kind.talk_s):.1f}"}
    if kind.ring_timeout_s is not None:
        request["ring_timeout_s"] = kind.ring_timeout_s
    return request


def _target(name: str, rng: random.Random) -> dict[str, str]:
    match name:
        case "agent":
            return {"type": "agent", "agents": AGENTS, "agent_id": rng.choice(_NAMES)}
        case "queue":
            return {"type": "queue", "queue": QUEUE}
        case "application":
            return {"type": "application", "application": APPLICATION}
    return {"type": "park"}


class Traffic:
    """Places ``rate`` calls a second through ``client`` until it is stopped; ``problem`` says why the last one was not.

    ``make`` gives the next request, and after how many seconds to hang that call up (None: it is left alone).
    """

    def __init__(self, client: Client, rate: float, make: Callable[[], tuple[dict[str, Any], float | None]]) -> None:
        self.placed = 0
        self.problem: str | None = None
        self._client = client
        self._rate = rate
        self._make = make
        self._stop = threading.Event()
        self._hangups: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begins placing calls."""
        self._thread.start()

    def stop(self) -> None:
        """Places no more. Bounded by one request."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self._client.timeout_s)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            # What could not be placed in time is left out: a demo that catches up would overrun itself.
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            try:
                self._place()
                self._hang_up()
                self.problem = None
            except Failed as error:
                self.problem = error.message
                self._stop.wait(0.5)

    def _place(self) -> None:
        request, hang_up_after_s = self._make()
        call = self._client.post("/v1/calls", request, {"Idempotency-Key": str(uuid4())})
        self.placed += 1
        if hang_up_after_s is not None:
            self._hangups.append((time.monotonic() + hang_up_after_s, call["id"]))

    def _hang_up(self) -> None:
        now = time.monotonic()
        due = [call_id for at, call_id in self._hangups if at <= now]
        self._hangups = [entry for entry in self._hangups if entry[0] > now]
        for call_id in due:
            self._client.post(f"/v1/calls/{call_id}/hangup", {})


def varied(seed: int) -> Callable[[], tuple[dict[str, Any], float | None]]:
    """Calls of all ``KINDS``, by their weights."""
    rng = random.Random(seed)  # noqa: S311 - which numbers a demo dials is no secret

    def make() -> tuple[dict[str, Any], float | None]:
        kind = rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
        return request_for(kind, rng), kind.hung_up_after_s

    return make


def always(number: str, gateway: str | None) -> Callable[[], tuple[dict[str, Any], float | None]]:
    """Calls to one number, for a real switch."""
    request = {"destination": number} | ({} if gateway is None else {"gateway": gateway})
    return lambda: (request, None)
