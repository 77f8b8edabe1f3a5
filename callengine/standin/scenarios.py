"""What the far end does, chosen by the number that was dialled.

The last three digits decide, or the whole of a name:

============== ============ ========================================================================================
last digits    name         what happens
============== ============ ========================================================================================
``200``        answer       180, answered, and the far end hangs up after some seconds
``201``        stay         180, answered, and it stays until the near end hangs up
``202``        machine      answered by an answering machine (``amd_result=machine``), which hangs up by itself
``203``        record       answered and recorded from the answer on (``record_session``), far end hangs up
``204``        direct       answered without ringing (a 200 with no 180), far end hangs up
``180``        ring         180, and nobody answers
``100``        silent       no answer of any kind
``183``        early        183 with early media, then answered
``182``        ringearly    180, then 183, then answered
``187``        earlybusy    183, then 486
``302``        refused      480 after ringing for a while
``CCC``        sipCCC       the SIP response CCC, 400 to 699: 486 is busy, 404 unknown, 603 rejected, 503, 480, …
              busy         as 486
anything else  agent…       on a leg of a bridge, to a user, or by the gateway ``agents``: rings, answers and stays
anything else               a mix, always the same for one number and seed: most answer, some do not
============== ============ ========================================================================================

Times are drawn from the seed and bounded; a channel variable fixes them, in real seconds that no time scale shortens:
``standin_ring_s`` (how long it rings or waits), ``standin_talk_s`` (from answer to the far end's hangup).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from callengine.standin import legs
from callengine.standin.channels import Channel
from callengine.standin.clock import TICK_S, Script
from callengine.standin.sipvars import Wire
from callengine.standin.switch import Switch


@dataclass(slots=True)
class Far:
    """The far end of one leg."""

    switch: Switch
    channel: Channel
    wire: Wire
    rng: random.Random

    def span(self, low_s: float, high_s: float, variable: str = "") -> float:
        """A drawn length of time in real seconds, or what a channel variable fixes it to."""
        drawn = self.rng.uniform(low_s, high_s)
        fixed = self.channel.get(variable) if variable else ""
        try:
            return max(TICK_S, float(fixed)) if fixed else max(TICK_S, self.switch.clock.life(drawn))
        except ValueError:
            return max(TICK_S, self.switch.clock.life(drawn))

    def reaction(self) -> float:
        """From the INVITE to the first response."""
        return self.span(0.02, 0.25)

    def ringing(self) -> float:
        return self.span(1.0, 7.0, "standin_ring_s")

    def talk(self) -> float:
        return self.span(4.0, 25.0, "standin_talk_s")

    def ring(self) -> None:
        legs.ring(self.switch, self.channel, self.wire)

    def early_media(self) -> None:
        legs.early_media(self.switch, self.channel, self.wire)

    def answer(self) -> None:
        legs.answer(self.switch, self.channel, self.wire)

    def refuse(self, status: int) -> None:
        legs.far_refuse(self.switch, self.channel, self.wire, status)

    def bye(self) -> None:
        legs.far_bye(self.switch, self.channel)


Scenario: TypeAlias = Callable[[Far], Script]


def _answer(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    yield far.ringing()
    far.answer()
    yield far.talk()
    far.bye()


def _stay(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    yield far.ringing()
    far.answer()


def _direct(far: Far) -> Script:
    yield far.reaction()
    far.answer()
    yield far.talk()
    far.bye()


def _machine(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    yield far.ringing()
    far.answer()
    yield far.span(1.0, 2.5)
    far.channel.set("amd_result", "machine")
    far.channel.set("amd_cause", "MAXWORDS-5-4")
    yield far.talk()
    far.bye()


def _record(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    if not any("record_session" in each for each in far.channel.beginning("execute_on_answer")):
        far.channel.set("execute_on_answer", f"record_session {far.channel.uuid}.wav")
    yield far.ringing()
    far.answer()
    yield far.talk()
    far.bye()


def _ring(far: Far) -> Script:
    yield far.reaction()
    far.ring()


def _silent(_far: Far) -> Script:
    yield from ()


def _early(far: Far) -> Script:
    yield far.reaction()
    far.early_media()
    yield far.ringing()
    far.answer()
    yield far.talk()
    far.bye()


def _ring_then_early(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    yield far.span(0.3, 1.0)
    far.early_media()
    yield far.ringing()
    far.answer()
    yield far.talk()
    far.bye()


def _early_then_busy(far: Far) -> Script:
    yield far.reaction()
    far.early_media()
    yield far.ringing()
    far.refuse(486)


def _refused_after_ringing(far: Far) -> Script:
    yield far.reaction()
    far.ring()
    yield far.ringing()
    far.refuse(480)


def _responds(status: int) -> Scenario:
    def respond(far: Far) -> Script:
        yield far.reaction()
        far.refuse(status)

    return respond


def _agent(far: Far) -> Script:
    """Somebody who is paid to answer."""
    yield far.reaction()
    far.ring()
    yield far.span(0.4, 3.0, "standin_ring_s")
    far.answer()
    if far.channel.get("standin_talk_s"):
        yield far.talk()
        far.bye()


BY_NAME: Final[dict[str, Scenario]] = {
    "answer": _answer,
    "stay": _stay,
    "machine": _machine,
    "record": _record,
    "direct": _direct,
    "ring": _ring,
    "silent": _silent,
    "early": _early,
    "ringearly": _ring_then_early,
    "earlybusy": _early_then_busy,
    "refused": _refused_after_ringing,
    "busy": _responds(486),
    "agent": _agent,
}

BY_DIGITS: Final[dict[str, str]] = {
    "200": "answer",
    "201": "stay",
    "202": "machine",
    "203": "record",
    "204": "direct",
    "180": "ring",
    "100": "silent",
    "183": "early",
    "182": "ringearly",
    "187": "earlybusy",
    "302": "refused",
}

#: What a number outside the table does, in parts of a hundred.
MIX: Final[tuple[tuple[int, str], ...]] = (
    (52, "answer"),
    (8, "record"),
    (4, "machine"),
    (6, "early"),
    (3, "ringearly"),
    (12, "ring"),
    (8, "busy"),
    (3, "sip404"),
    (2, "refused"),
    (1, "sip603"),
    (1, "sip503"),
)


def choose(number: str, seed: int, *, agent: bool = False) -> str:
    """The name of what a number does: one of ``BY_NAME`` or ``sipCCC``."""
    bare = number.lower().partition("*")[0].lstrip("+")
    if bare in BY_NAME or (bare.startswith("sip") and bare[3:].isdigit()):
        return bare
    digits = "".join(char for char in bare if char.isdigit())[-3:]
    if len(digits) == 3 and digits in BY_DIGITS:
        return BY_DIGITS[digits]
    if len(digits) == 3 and 400 <= int(digits) <= 699:
        return f"sip{digits}"
    if agent or bare.startswith("agent"):
        return "agent"
    names = [name for _, name in MIX]
    weights = [weight for weight, _ in MIX]
    return random.Random(f"{seed}:{bare}").choices(names, weights)[0]


def scenario(name: str) -> Scenario:
    if name.startswith("sip") and name[3:].isdigit():
        return _responds(int(name[3:]))
    return BY_NAME[name]


def far_end(
    switch: Switch, channel: Channel, wire: Wire, number: str, rng: random.Random, *, agent: bool = False
) -> Script:
    """The script of a leg's far end."""
    far = Far(switch, channel, wire, rng)
    return scenario(choose(number, switch.options.seed, agent=agent))(far)
