"""The load: mixed calls, half of them over the API, half by somebody else, as a dialler on the same switch would.

The far end goes by the number that is dialled: a real one (see ``--help``) by its first digit, the stand-in by its last
three. Each number is dialled once in a run.
"""

from __future__ import annotations

import http.client
import random
import re
import time
import urllib.error
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import gevent
import orjson
from gevent.event import Event
from gevent.pool import Pool

from callengine.calls.causes import cause_of
from callengine.errors import EslError
from callengine.esl.client import EslClient
from tests.acceptance.daemon import Daemon
from tests.chaos.options import Options


class Kind(NamedTuple):
    """What becomes of a call: the first digit and the last three of its number, and its share of the mix."""

    first: str
    last: str
    share: int


KINDS: Final = {
    "answered": Kind("1", "200", 8),
    "busy": Kind("2", "486", 2),
    "no_answer": Kind("3", "180", 2),
    "not_found": Kind("4", "404", 2),
    "early_media": Kind("5", "183", 2),
    "bridged": Kind("1", "200", 3),
    "recorded": Kind("1", "200", 2),
    "killed_ringing": Kind("3", "180", 2),
    "invalid_gateway": Kind("1", "200", 1),
    "loopback": Kind("1", "200", 1),
}
_UUID: Final = re.compile(r"origination_uuid='?([0-9a-f-]{36})")
_AT_ONCE: Final = 400
_RECONNECT_S: Final = 0.3
RING_TIMEOUT_S: Final = 4


@dataclass
class Placed:
    """What the one who placed the calls knows. ``jobs``: cause by channel UUID of calls that got no channel.

    ``numbers`` are all that it dialled, each once; ``accepted`` the ids of the calls that the API answered 202 for.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, str] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """Calls that somebody was told are placed."""
        return sum(self.kinds.values())

    @property
    def broken(self) -> int:
        """Requests that the daemon answered with a fault of its own."""
        return sum(times for answer, times in self.refused.items() if answer.startswith("500 "))


class Load:
    """``run`` places calls until ``stop`` is called. The numbers of one run share ``tag``, three digits."""

    def __init__(self, options: Options, daemon: Daemon, dice: random.Random) -> None:
        self.options, self.daemon, self.dice = options, daemon, dice
        self.tag = f"{dice.randrange(1000):03d}"
        self.placed = Placed()
        self._stop = Event()
        self._esl: EslClient | None = None

    # -- its own connection --------------------------------------------------------------------------------------------

    def _connection(self) -> EslClient | None:
        """Made anew where the switch went away; None while it is."""
        if self._esl is None or self._esl.closed.is_set():
            client = EslClient(self.options.host, self.options.port, self.options.password)
            client.register_handle("*", self._events)
            try:
                client.connect()
                client.subscribe(["BACKGROUND_JOB"])
            except EslError:
                gevent.sleep(_RECONNECT_S)
                return None
            self._esl = client
        return self._esl

    def _events(self, bodies: list[bytes]) -> bool:
        """Everybody's jobs: what became of an originate that made no channel is said nowhere else."""
        for body in bodies:
            event: dict[str, Any] = orjson.loads(body.decode("utf-8", "replace"))
            channel = _UUID.search(event.get("Job-Command-Arg", ""))
            if channel is not None and (cause := cause_of(event.get("_body", ""))):
                self.placed.jobs[channel[1]] = cause
        return True

    # -- the load ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """No further call."""
        self._stop.set()

    def run(self) -> None:
        """At the rate of the options; returns when the last call is placed."""
        kinds = [name for name, kind in KINDS.items() for _ in range(kind.share)]
        pool, began, number = Pool(_AT_ONCE), time.monotonic(), 0
        while not self._stop.wait(max(0.0, began + number / self.options.rate - time.monotonic())):
            place = self._by_api if number % 2 else self._by_others
            pool.spawn(self._place, place, self.dice.choice(kinds), number)
            number += 1
        pool.join(timeout=60)

    def _place(self, place: Callable[[str, int], None], kind: str, number: int) -> None:
        by = place.__name__.removeprefix("_by_")
        try:
            place(kind, number)
            self.placed.kinds[f"{kind}/{by}"] += 1
        except urllib.error.HTTPError as error:
            self.placed.refused[f"{error.code} {error.read().decode()[:160]}"] += 1
        except (OSError, http.client.HTTPException, EslError) as error:
            # Whether it was placed is in the book, if it was: the answer went down with what broke.
            self.placed.unanswered[f"{by}: {type(error).__name__}"] += 1

    def _number(self, kind: str, number: int) -> str:
        first, last, _ = KINDS[kind]
        dialled = f"{first}{self.tag}{number:06d}{last}"
        self.placed.numbers.add(dialled)
        return dialled

    def _by_api(self, kind: str, number: int) -> None:
        body: dict[str, Any] = {
            "destination": self._number(kind, number),
            "gateway": "far",
            "campaign_id": f"c{number % 7}",
            "lead_id": f"lead-{number}",
            "ring_timeout_s": RING_TIMEOUT_S,
        }
        if kind == "bridged":
            body["on_answer"] = {"type": "agent", "agents": "desk", "agent_id": f"2{number % 10:03d}"}
        elif kind == "recorded":
            body["record"] = True
        elif kind == "invalid_gateway":
            body["gateway"] = "nowhere"
        elif kind == "loopback":
            body |= {"gateway": "loop", "destination": self.options.loopback.split("/")[1]}
        call = self.daemon.ask("POST", "/v1/calls", body)
        self.placed.accepted.add(call["id"])
        if kind == "killed_ringing":
            gevent.sleep(2.0)
            self.daemon.ask("POST", f"/v1/calls/{call['id']}/hangup", {})

    def _by_others(self, kind: str, number: int) -> None:
        esl = self._connection()
        if esl is None:
            raise ConnectionError("no switch")
        channel = str(uuid.uuid4())
        variables = (
            f"origination_uuid={channel},originate_timeout={RING_TIMEOUT_S},callengine_campaign_id=o{number % 7}"
        )
        target = f"sofia/gateway/{self.options.gateway}/{self._number(kind, number)}"
        application = "&park()"
        if kind == "bridged":
            agent, agents = f"3{number % 10:03d}", self.options.agents_gateway
            application = f"&bridge({{callengine_agent_id={agent}}}sofia/gateway/{agents}/{agent})"
        elif kind == "invalid_gateway":
            target = f"sofia/gateway/no_such_gateway/{number}"
        elif kind == "loopback":
            target = self.options.loopback
        esl.bgapi(f"originate {{{variables}}}{target} {application}", str(uuid.uuid4()))
        if kind == "killed_ringing":
            gevent.sleep(1.0)
            esl.api(f"uuid_kill {channel}")
