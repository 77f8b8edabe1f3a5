"""What a channel is: its caller profile with the stamps, its states, its variables, and the headers they make.

The order of the headers is that of the real switch (``switch_channel_event_set_data``,
``switch_caller_profile_event_set_data``). A variable set again moves to the end, as it does there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from callengine.standin.events import Value

if TYPE_CHECKING:
    from callengine.standin.clock import Task, Timer
    from callengine.standin.lifecycle import Plan
    from callengine.standin.recording import Recording

#: Channel states and their numbers.
STATE_NUMBERS: Final[dict[str, int]] = {
    name: number
    for number, name in enumerate(
        "CS_NEW CS_INIT CS_ROUTING CS_SOFT_EXECUTE CS_EXECUTE CS_EXCHANGE_MEDIA CS_PARK CS_CONSUME_MEDIA CS_HIBERNATE"
        " CS_RESET CS_HANGUP CS_REPORTING CS_DESTROY CS_NONE".split(),
    )
}
# A channel's state number can be ahead of the state it runs in: INIT with 2 at CHANNEL_CREATE, since it has been told
# to go on to CS_ROUTING, and 10 in every CHANNEL_HANGUP.

_CALLSTATE_NUMBERS: Final = {
    "DOWN": 0,
    "DIALING": 1,
    "RINGING": 2,
    "EARLY": 3,
    "ACTIVE": 4,
    "HELD": 5,
    "RING_WAIT": 6,
    "HANGUP": 7,
    "UNHELD": 8,
}


@dataclass(slots=True)
class Times:
    """Microseconds since the epoch; 0: never."""

    profile_created: int = 0
    created: int = 0
    answered: int = 0
    progress: int = 0
    progress_media: int = 0
    hangup: int = 0
    transfer: int = 0
    resurrect: int = 0
    bridged: int = 0
    last_hold: int = 0
    hold_accum: int = 0


@dataclass(slots=True)
class Profile:
    """A caller profile: who calls whom, as the channel sees it now."""

    direction: str
    logical_direction: str
    caller_id_name: str
    caller_id_number: str
    orig_caller_id_name: str
    orig_caller_id_number: str
    destination_number: str
    unique_id: str
    channel_name: str
    source: str = "src/switch_ivr_originate.c"
    context: str = "default"
    username: str = ""
    dialplan: str = ""
    callee_id_name: str = ""
    callee_id_number: str = ""
    network_addr: str = ""
    ani: str = ""
    transfer_source: str = ""
    rdnis: str = ""
    profile_index: str = "1"
    times: Times = field(default_factory=Times)

    def named(self, name: str) -> str:
        """What a variable of that name shows where the channel has none of its own (``switch_caller.c``)."""
        where = {"uuid": "unique_id", "chan_name": "channel_name"}.get(name.lower(), name.lower())
        return str(getattr(self, where)) if where in _FIELDS else ""

    def headers(self, prefix: str) -> dict[str, Value]:
        """``Caller-…`` or ``Other-Leg-…`` headers, without the empty ones."""
        times = self.times
        named = {
            f"{prefix}Direction": self.direction,
            f"{prefix}Logical-Direction": self.logical_direction,
            f"{prefix}Username": self.username,
            f"{prefix}Dialplan": self.dialplan,
            f"{prefix}Caller-ID-Name": self.caller_id_name,
            f"{prefix}Caller-ID-Number": self.caller_id_number,
            f"{prefix}Orig-Caller-ID-Name": self.orig_caller_id_name,
            f"{prefix}Orig-Caller-ID-Number": self.orig_caller_id_number,
            f"{prefix}Callee-ID-Name": self.callee_id_name,
            f"{prefix}Callee-ID-Number": self.callee_id_number,
            f"{prefix}Network-Addr": self.network_addr,
            f"{prefix}ANI": self.ani,
            f"{prefix}Destination-Number": self.destination_number,
            f"{prefix}Unique-ID": self.unique_id,
            f"{prefix}Source": self.source,
            f"{prefix}Transfer-Source": self.transfer_source,
            f"{prefix}Context": self.context,
            f"{prefix}RDNIS": self.rdnis,
            f"{prefix}Channel-Name": self.channel_name,
            f"{prefix}Profile-Index": self.profile_index,
        }
        block: dict[str, Value] = {name: value for name, value in named.items() if value}
        block[f"{prefix}Profile-Created-Time"] = str(times.profile_created)
        block[f"{prefix}Channel-Created-Time"] = str(times.created)
        block[f"{prefix}Channel-Answered-Time"] = str(times.answered)
        block[f"{prefix}Channel-Progress-Time"] = str(times.progress)
        block[f"{prefix}Channel-Progress-Media-Time"] = str(times.progress_media)
        block[f"{prefix}Channel-Hangup-Time"] = str(times.hangup)
        block[f"{prefix}Channel-Transfer-Time"] = str(times.transfer)
        block[f"{prefix}Channel-Resurrect-Time"] = str(times.resurrect)
        block[f"{prefix}Channel-Bridged-Time"] = str(times.bridged)
        block[f"{prefix}Channel-Last-Hold"] = str(times.last_hold)
        block[f"{prefix}Channel-Hold-Accum"] = str(times.hold_accum)
        block[f"{prefix}Screen-Bit"] = "true"
        block[f"{prefix}Privacy-Hide-Name"] = "false"
        block[f"{prefix}Privacy-Hide-Number"] = "false"
        return block


_FIELDS: Final = frozenset(each.name for each in fields(Profile) if each.name != "times")


def other_leg(profile: Profile, role: str, *, stamps: bool) -> dict[str, Value]:
    """What a leg shows of another: ``originator`` (at its creation, without stamps) or ``originatee`` (as bridged)."""
    block: dict[str, Value] = {"Other-Type": role}
    for name, value in profile.headers("Other-Leg-").items():
        if name not in {"Other-Leg-Profile-Index", "Other-Leg-Transfer-Source"}:
            block[name] = "0" if not stamps and name.endswith(("-Time", "-Hold", "-Accum")) else value
    block["Other-Leg-Logical-Direction"] = "inbound"
    return block


@dataclass(slots=True)
class AppRun:
    """One application as it was executed (the CDR's ``app_log``)."""

    name: str
    data: str
    stamp_us: int


class Channel:
    """One channel. ``variables`` are keyed as events show them, with ``variable_`` before the name."""

    def __init__(self, uuid: str, name: str, profile: Profile, session_id: int) -> None:
        self.uuid = uuid
        self.name = name
        self.profile = profile
        self.session_id = session_id
        self.direction = profile.direction
        self.variables: dict[str, Value] = {}
        self._spelled: dict[str, str] = {}  # a variable's name in small letters: as it is spelled here
        self.running_state = "CS_NONE"
        self.state_number = 0
        self.callstate = "DOWN"
        self.codec = ""
        self.hit_dialplan = False
        self.call_uuid = uuid
        self.early = False
        self.cause = ""
        self.destroyed = False
        self.other: dict[str, Value] = {}
        self.other_profile: Profile | None = None
        self.past_profiles: list[Profile] = []
        self.app_log: list[AppRun] = []
        self.recordings: dict[str, Recording] = {}
        # what the threads of the switch agree on
        self.task: Task | None = None  # the channel's own thread
        self.far_end: Task | None = None  # the party at the other end of the wire
        self.watcher: Task | None = None  # the originate that waits for this leg
        self.held_by_originate = False
        self.peer: Channel | None = None  # the partner of a bridge
        self.bridge_role = ""
        self.loopback_twin: Channel | None = None
        self.next_plan: Plan | None = None  # where a transfer, park or bridge sends it
        self.broadcasts: list[tuple[str, str]] = []
        self.breaking = False
        self.timers: list[Timer] = []
        self.executing = ""
        self.never_completes = False  # a fault: its CHANNEL_HANGUP_COMPLETE is never sent

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def is_sip(self) -> bool:
        return self.name.startswith("sofia/")

    def is_free(self) -> bool:
        """Whether it may go on with what it does: neither hung up nor sent elsewhere."""
        return not self.cause and self.next_plan is None

    @property
    def hung_up(self) -> bool:
        return bool(self.cause)

    @property
    def answered(self) -> bool:
        return self.profile.times.answered > 0

    @property
    def answer_state(self) -> str:
        if self.cause:
            return "hangup"
        if self.answered:
            return "answered"
        return "early" if self.early else "ringing"

    def enter(self, state: str, number: int | None = None) -> None:
        """Run in ``state``; ``number`` is the state it is told to go to, if that is another one already."""
        self.running_state = state
        self.state_number = STATE_NUMBERS[state] if number is None else number

    # -- variables -----------------------------------------------------------------------------------------------

    def set(self, name: str, value: str) -> None:
        """Set a variable; it moves to the end. An empty value unsets it. Upper and lower case are the same name."""
        key = f"variable_{name}"
        if self.variables.pop(key, None) is None:
            self._unset(name)
        if value:
            self.variables[key] = value
            self._spelled[name.lower()] = key

    def set_all(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            self.set(name, value)

    def unset(self, *names: str) -> None:
        for name in names:
            self._unset(name)

    def _unset(self, name: str) -> None:
        spelled = self._spelled.pop(name.lower(), None)
        if spelled is not None:
            self.variables.pop(spelled, None)

    def get(self, name: str) -> str:
        """The variable's value, ``""`` if it has none."""
        value = self.variables.get(self._spelled.get(name.lower(), ""), "")
        return value if isinstance(value, str) else "ARRAY::" + "|:".join(value)

    def beginning(self, prefix: str) -> list[str]:
        """The values of all variables whose name begins so, in order (``execute_on_answer_1``, ``…_2``)."""
        return [self.get(key[9:]) for key in self.variables if key[9:].lower().startswith(prefix)]

    def flag(self, name: str) -> bool:
        return is_true(self.get(name))

    # -- headers -------------------------------------------------------------------------------------------------

    def basic_block(self) -> dict[str, Value]:
        """The headers of every event of this channel, up to its codec."""
        block: dict[str, Value] = {
            "Channel-State": self.running_state,
            "Channel-Call-State": self.callstate,
            "Channel-State-Number": str(self.state_number),
            "Channel-Name": self.name,
            "Unique-ID": self.uuid,
            "Call-Direction": self.direction,
            "Presence-Call-Direction": self.direction,
            "Channel-HIT-Dialplan": "true" if self.hit_dialplan else "false",
            "Channel-Call-UUID": self.call_uuid,
            "Answer-State": self.answer_state,
        }
        if self.cause:
            block["Hangup-Cause"] = self.cause
        if self.codec:
            bits = "128000" if self.codec == "L16" else "64000"
            for way in ("Read", "Write"):
                block[f"Channel-{way}-Codec-Name"] = self.codec
                block[f"Channel-{way}-Codec-Rate"] = "8000"
                block[f"Channel-{way}-Codec-Bit-Rate"] = bits
        block.update(self.profile.headers("Caller-"))
        block.update(self.other)
        return block

    @property
    def callstate_number(self) -> str:
        return str(_CALLSTATE_NUMBERS[self.callstate])


def is_true(text: str) -> bool:
    """What FreeSWITCH takes for yes."""
    return text.lower() in {"yes", "on", "true", "t", "enabled", "active", "allow", "1"} or (
        text.isdigit() and int(text) != 0
    )
