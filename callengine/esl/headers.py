"""Events of the event socket as facts. The one module that knows FreeSWITCH's header names.

An event is decoded straight into the fact it states: msgspec reads the headers that make up the fact and skips the rest
unbuilt; what is read costs by the header. What it refuses (bytes that are no UTF-8, an array where a string is
expected, an empty number) goes through a slower full decode. Header names: switch_event.c, switch_channel.c
(``switch_channel_event_set_basic_data``), switch_caller.c, mod_sofia, mod_callcenter, mod_loopback; variables carry
the prefix ``variable_``.

Text that JSON or a database would refuse is mended here: what is no UTF-8, NUL, and halves of surrogate pairs become
U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntFlag
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from callengine.calls import facts
from callengine.calls.facts import ChannelFact, Fact, Heartbeat, JobAnswered, Micros, SwitchShutdown
from callengine.errors import MalformedEvent
from callengine.esl.jsons import load_object

_HEADERS: Final[dict[str, str]] = {
    "uuid": "Unique-ID",
    "core_uuid": "Core-UUID",
    "at_us": "Event-Date-Timestamp",
    "created_us": "Caller-Channel-Created-Time",
    "progress_us": "Caller-Channel-Progress-Time",
    "progress_media_us": "Caller-Channel-Progress-Media-Time",
    "answered_us": "Caller-Channel-Answered-Time",
    "bridged_us": "Caller-Channel-Bridged-Time",
    "hangup_us": "Caller-Channel-Hangup-Time",
    "hangup_cause": "Hangup-Cause",
    "direction": "Call-Direction",
    "channel_name": "Channel-Name",
    "caller_number": "Caller-Caller-ID-Number",
    "caller_name": "Caller-Caller-ID-Name",
    "callee_number": "Caller-Destination-Number",
    "other_uuid": "Other-Leg-Unique-ID",
    "originator": "variable_originator",
    "loopback_leg": "variable_loopback_leg",
    "loopback_other": "variable_other_loopback_leg_uuid",
    "queue_side": "variable_cc_side",
    "queue_member": "variable_cc_member_session_uuid",
    "queue": "variable_cc_queue",
    "user_name": "variable_user_name",
    "own_agent": "variable_callengine_agent_id",
    "voice_agent": "variable_callengine_voice_agent",
    "gateway": "variable_sip_gateway_name",
    "sip_call_id": "variable_sip_call_id",
    "sip_term_status": "variable_sip_term_status",
    "sip_failure_status": "variable_sip_invite_failure_status",
    "sip_disposition": "variable_sip_hangup_disposition",
    "amd_result": "variable_amd_result",
    "bridge_a": "Bridge-A-Unique-ID",
    "bridge_b": "Bridge-B-Unique-ID",
    "bridged_to": "variable_bridge_to",
    "path": "Record-File-Path",
    "duration_ms": "variable_record_ms",
    "discarded": "variable_RECORD_DISCARDED",
}
# Where an event names channels whose call it may belong to: kept with it, also where its fact has no use for them.
_LINKS: Final = (
    "Channel-Call-UUID",
    "Other-Leg-Unique-ID",
    "variable_originator",
    "variable_originate_signal_bond",
    "variable_other_loopback_leg_uuid",
    "variable_other_loopback_from_uuid",
    "variable_cc_member_session_uuid",
)
# Once a channel that the switch dialled has answered, the plain headers show the number dialled.
_ORIGINAL: Final = {
    "caller_number": "Caller-Orig-Caller-ID-Number",
    "caller_name": "Caller-Orig-Caller-ID-Name",
}

_CHANNEL_EVENTS: Final[dict[str, type[ChannelFact]]] = {
    "CHANNEL_CREATE": facts.LegCreated,
    "CHANNEL_PROGRESS": facts.LegRang,
    "CHANNEL_PROGRESS_MEDIA": facts.LegRang,
    "CHANNEL_ANSWER": facts.LegAnswered,
    "CHANNEL_BRIDGE": facts.LegBridged,
    "CHANNEL_UNBRIDGE": facts.LegUnbridged,
    "CHANNEL_HOLD": facts.LegHeld,
    "CHANNEL_UNHOLD": facts.LegUnheld,
    "CHANNEL_HANGUP": facts.LegHungUp,
    "CHANNEL_HANGUP_COMPLETE": facts.LegEnded,
    "CHANNEL_DESTROY": facts.LegDestroyed,
    "CHANNEL_DATA": facts.LegListed,
    "RECORD_START": facts.RecordingStarted,
    "RECORD_STOP": facts.RecordingStopped,
}

SUBSCRIBED_EVENTS: Final[tuple[str, ...]] = (
    *(name for name in _CHANNEL_EVENTS if name != "CHANNEL_DATA"),
    "BACKGROUND_JOB",
    "HEARTBEAT",
    "SHUTDOWN",
)

# switch_core_session.c: a session's id has room for no more.
_MAX_UUID_CHARS: Final = 256
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
_TEXT: Final[Any] = str | None
_NAME: Final = "Event-Name"
# A field that is not read gets a name that no header has.
_NO_HEADER: Final = ""


class Variables(msgspec.Struct, frozen=True, kw_only=True):
    """Which channel variables name the agent (the first set counts), the tenant, the campaign and the lead."""

    agents: tuple[str, ...] = ("callengine_agent_id", "cc_agent", "dialed_user")
    tenant: str = "callengine_tenant_id"
    campaign: str = "callengine_campaign_id"
    lead: str = "callengine_lead_id"


def _mended(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text


class _OtherEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field=_NAME):
    """One that is about no channel."""

    core_uuid: str = msgspec.field(name="Core-UUID", default="")
    at_us: Micros = msgspec.field(name="Event-Date-Timestamp", default=0)


class _JobEvent(_OtherEvent, frozen=True, kw_only=True, gc=False, tag="BACKGROUND_JOB"):
    job_uuid: str = msgspec.field(name="Job-UUID", default="")
    text: str = msgspec.field(name="_body", default="")

    def fact(self) -> Fact:
        job_uuid, text, core_uuid = map(_mended, (self.job_uuid, self.text.strip(), self.core_uuid))
        return JobAnswered(job_uuid=job_uuid, text=text, core_uuid=core_uuid, at_us=self.at_us)


class _HeartbeatEvent(_OtherEvent, frozen=True, kw_only=True, gc=False, tag="HEARTBEAT"):
    session_count: int | None = msgspec.field(name="Session-Count", default=None)

    def fact(self) -> Fact:
        return Heartbeat(core_uuid=_mended(self.core_uuid), at_us=self.at_us, session_count=self.session_count)


class _ShutdownEvent(_OtherEvent, frozen=True, kw_only=True, gc=False, tag="SHUTDOWN"):
    def fact(self) -> Fact:
        return SwitchShutdown(core_uuid=_mended(self.core_uuid), at_us=self.at_us)


_OTHER_EVENTS: Final[dict[str, type[Any]]] = {
    "BACKGROUND_JOB": _JobEvent,
    "HEARTBEAT": _HeartbeatEvent,
    "SHUTDOWN": _ShutdownEvent,
}


class _Reader(NamedTuple):
    """How one event is read: into which type, from which headers, what makes the fact of that, and what it lacks to be
    one, if anything.
    """

    kind: type[Any]
    headers: frozenset[str]
    decode: Callable[[bytes], Any]
    finish: Callable[[Any, bool], Fact]
    lacks: Callable[[Any], str | None]


def _reader(kind: type[Any], finish: Callable[[Any, bool], Fact], lacks: Callable[[Any], str | None]) -> _Reader:
    headers = frozenset(field.encode_name for field in msgspec.structs.fields(kind))
    return _Reader(kind, headers, msgspec.json.Decoder(kind, strict=False).decode, finish, lacks)


class _ChannelEvent:
    """One channel event: its fact with a header to each field, and what is left to do after the decode.

    Several variables may name the agent, each is read into a field; which of them counts is decided then. Where two
    fields are configured to read the same header, it is decoded into the first of them and copied.
    """

    def __init__(
        self, event: str, base: type[ChannelFact], headers: Mapping[str, str], agents: tuple[str, ...]
    ) -> None:
        self._event = event
        self._stopped = issubclass(base, facts.RecordingStopped)
        self._originals = list(_ORIGINAL.items()) if issubclass(base, facts.LegListed) else []
        self._copies: list[tuple[str, str]] = []
        self._fields: list[tuple[str, Any, Any]] = []
        self._by_header: dict[str, str] = {}
        own = {info.name for info in msgspec.structs.fields(base)}
        read = {header for name, header in headers.items() if name in own}
        named = [f"variable_{agent}" for agent in agents]
        more = [header for header in dict.fromkeys(named) if header not in read]
        headers = {**headers, "leg_agent": more[0] if more else _NO_HEADER}
        for info in msgspec.structs.fields(base):
            if info.name == "discarded":
                self._read(info.name, headers[info.name])
            else:
                default = msgspec.NODEFAULT if info.required else info.default
                self._read(info.name, headers[info.name], info.type, default)
        for index, header in enumerate((*more[1:], *(header for _, header in self._originals))):
            self._read(f"more_{index}", header)
        named_by = list(dict.fromkeys(self._by_header[header] for header in named))
        for index, header in enumerate(header for header in _LINKS if header not in self._by_header):
            self._read(f"link_{index}", header)
        texts = [name for name, kind, _ in self._fields if kind in (str, _TEXT) and name not in named_by]
        self.kind = msgspec.defstruct(
            base.__name__,
            self._fields,
            bases=(base,),
            frozen=True,
            kw_only=True,
            gc=False,
            omit_defaults=True,
            tag_field=_NAME,
            tag=event,
        )
        self._named_by = tuple(named_by)
        self._texts = (*named_by, *texts)
        self._more = bool(self._copies or self._originals) or self._stopped

    def _read(self, name: str, header: str, kind: Any = _TEXT, default: Any = None) -> None:
        if header in self._by_header:
            self._copies.append((name, self._by_header[header]))
            header = _NO_HEADER
        if header == _NO_HEADER:
            header = f"({name})"
        self._by_header[header] = name
        self._fields.append((name, kind, msgspec.field(default=default, name=header)))

    @staticmethod
    def lacks(decoded: Any) -> str | None:
        """What is missing of which channel it is about, and when."""
        if not 0 < len(decoded.uuid) <= _MAX_UUID_CHARS:
            return "a usable Unique-ID"
        return None if decoded.at_us else "Event-Date-Timestamp"

    def finish(self, decoded: Any, nul: bool) -> Fact:
        """The fact itself; ``nul``: there may be NUL in it. Raises MalformedEvent where it says of no channel, or not
        when.
        """
        if (lacking := self.lacks(decoded)) is not None:
            raise MalformedEvent(f"{self._event} without {lacking}")
        if nul:
            decoded = self._without_nul(decoded)
        agent: str | None = None
        for name in self._named_by:
            if agent := getattr(decoded, name):
                break
        change: dict[str, Any] = {} if decoded.leg_agent == agent else {"leg_agent": agent}
        if self._more:
            self._finish(decoded, change)
        fact: Fact = msgspec.structs.replace(decoded, **change) if change else decoded
        return fact

    def _without_nul(self, decoded: Any) -> Any:
        texts = {name: getattr(decoded, name) for name in self._texts}
        return msgspec.structs.replace(decoded, **{name: text and _mended(text) for name, text in texts.items()})

    def _finish(self, decoded: Any, change: dict[str, Any]) -> None:
        for name, source in self._copies:
            change[name] = getattr(decoded, source)
        for name, header in self._originals:
            change[name] = getattr(decoded, self._by_header[header]) or getattr(decoded, name)
        if self._stopped:
            change["discarded"] = (decoded.discarded or "").lower() in _TRUE


class Kind(IntFlag):
    """As what a header is read, for who looks for it in an event's bytes (``_sieve.c``, which has the same numbers).

    A text has none of these. ``OMITTED_0``: at 0 it says nothing. ``UUID``, ``AT``, ``CREATED``, ``HUNG_UP``: which of
    the channel's own headers it is. ``ODD``: neither text nor number.
    """

    NUMBER = 1
    OMITTED_0 = 2
    UUID = 4
    AT = 8
    CREATED = 16
    HUNG_UP = 32
    ODD = 64


_OWN: Final = {"uuid": Kind.UUID, "at_us": Kind.AT, "created_us": Kind.CREATED, "hangup_us": Kind.HUNG_UP}


def _kind_of(info: msgspec.structs.FieldInfo) -> Kind:
    told = msgspec.inspect.type_info(info.type)
    types = {type(each) for each in (told.types if isinstance(told, msgspec.inspect.UnionType) else (told,))}
    kind = _OWN.get(info.name, Kind(0))
    if msgspec.inspect.IntType in types:
        return kind | Kind.NUMBER | (Kind.OMITTED_0 if info.default == 0 else Kind(0))
    return kind if types <= {msgspec.inspect.StrType, msgspec.inspect.NoneType} else kind | Kind.ODD


_NUL: Final = b"\\u0000"
_encode: Final = msgspec.json.Encoder().encode
_NAME_PREFIX: Final = b'{"Event-Name":"'
_NAME_AT: Final = len(_NAME_PREFIX)
# Of its variables only the one that names the tenant is read, since a call waits for that for a moment only: the
# completion follows, at once as a rule, with all of them.
_HANGUP: Final = "CHANNEL_HANGUP"
COMPLETES: Final = b"CHANNEL_HANGUP_COMPLETE"
"""The event that tells of a channel's end, with all of its stamps."""
DESTROYS: Final = b"CHANNEL_DESTROY"
"""The one that tells of it once more."""
COMPLETE: Final = _NAME_PREFIX + COMPLETES + b'"'
"""What the former begins with."""
DESTROY: Final = _NAME_PREFIX + DESTROYS + b'"'
"""What the latter begins with."""
_UUID_IS: Final = b'"Unique-ID":"'
_CREATED_IS: Final = b'"Caller-Channel-Created-Time":'
_HUNG_UP_IS: Final = b'"Caller-Channel-Hangup-Time":'


class Life(NamedTuple):
    """Which channel an event is about, and when that was created (µs, in digits)."""

    uuid: bytes
    created_us: bytes


def life_of(body: bytes) -> Life | None:
    """What channel a JSON event is about, read off its bytes, whole or digested; None where that is not plain."""
    uuid_at, created_at = body.find(_UUID_IS), body.find(_CREATED_IS)
    if uuid_at < 0 or created_at < 0:
        return None
    uuid_at += len(_UUID_IS)
    created_at += len(_CREATED_IS)
    uuid = body[uuid_at : body.find(b'"', uuid_at)]
    created = body[created_at : body.find(b",", created_at)].strip(b'"')
    if not created.isdigit() or not uuid.replace(b"-", b"").isalnum():
        return None
    return Life(uuid, created)


def ended_life_of(digest: bytes) -> Life | None:
    """The same of the digest of an end, where it says when."""
    return life_of(digest) if _HUNG_UP_IS in digest else None


def _stated(decoded: Any, nul: bool) -> Fact:
    fact: Fact = decoded.fact()
    return fact


def _nothing(decoded: Any) -> str | None:
    return None


@lru_cache(maxsize=8)
def _readers(variables: Variables) -> dict[bytes, _Reader]:
    """By event name. Kept, so that facts of equal configurations are of equal types."""
    headers = _HEADERS | {
        "tenant": f"variable_{variables.tenant}",
        "campaign": f"variable_{variables.campaign}",
        "lead": f"variable_{variables.lead}",
    }
    readers = {event.encode(): _reader(kind, _stated, _nothing) for event, kind in _OTHER_EVENTS.items()}
    plain = {
        name: _NO_HEADER if header.startswith("variable_") and name != "tenant" else header
        for name, header in headers.items()
    }
    for event, base in _CHANNEL_EVENTS.items():
        if event == _HANGUP:
            shape = _ChannelEvent(event, base, plain, ())
        else:
            shape = _ChannelEvent(event, base, headers, variables.agents)
        readers[event.encode()] = _reader(shape.kind, shape.finish, shape.lacks)
    return readers


class Translator:
    """Turns event bodies into facts. One per configuration; has no state but its decoders."""

    def __init__(self, variables: Variables | None = None) -> None:
        self._readers = _readers(variables or Variables())

    def layout(self) -> dict[bytes, dict[bytes, Kind]]:
        """By event name, the headers that are read of it, and as what. Those in parentheses are no header's name."""
        # An event that is named twice is no plain one.
        named = {_NAME.encode(): Kind.ODD}
        return {
            event: named | {info.encode_name.encode(): _kind_of(info) for info in msgspec.structs.fields(reader.kind)}
            for event, reader in self._readers.items()
        }

    def json(self, body: bytes) -> Fact | None:
        """The fact that a JSON event states, or None for an event that states none of ours.

        Raises MalformedEvent where the body is no event.
        """
        if body.startswith(_NAME_PREFIX):
            name = body[_NAME_AT : body.find(b'"', _NAME_AT)]
            reader = self._readers.get(name)
            if reader is not None:
                try:
                    decoded = reader.decode(body)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    return self.headers(load_object(body, "event body"))
                return reader.finish(decoded, _NUL in body)
            if name.isalnum() or name.replace(b"_", b"").isalnum():
                return None
        return self.headers(load_object(body, "event body"))

    def digest(self, body: bytes) -> bytes | None:
        """A JSON event with nothing in it but what is ever read of it: some 450 bytes of 6,000, of which `json` makes
        the same fact. None for one that states none of ours; what is not plain stays as it is.
        """
        if not body.startswith(_NAME_PREFIX):
            return body
        name = body[_NAME_AT : body.find(b'"', _NAME_AT)]
        reader = self._readers.get(name)
        if reader is None:
            return None if name.replace(b"_", b"").isalnum() else body
        try:
            decoded = reader.decode(body)
            return _encode(decoded) if reader.lacks(decoded) is None else body
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return body

    def plain(self, body: bytes) -> Fact | None:
        """The fact that a plain event states. Values are URL-encoded; a body follows behind an inner Content-Length.

        Raises MalformedEvent where the body is no event.
        """
        return self.headers(parse_plain(body))

    def headers(self, headers: Mapping[str, Any]) -> Fact | None:
        """The fact that a full set of headers states. Raises MalformedEvent where they are no event's."""
        name = headers.get("Event-Name")
        if not isinstance(name, str) or not name:
            raise MalformedEvent("event without Event-Name")
        reader = self._readers.get(name.encode("utf-8", "replace"))
        if reader is None:
            return None
        flat = {k: text for k, v in headers.items() if k in reader.headers and (text := _text(v))}
        try:
            decoded = msgspec.convert(flat, reader.kind, strict=False)
        except msgspec.MsgspecError as error:
            raise MalformedEvent(f"{name}: {error}") from None
        return reader.finish(decoded, False)


def _text(value: Any) -> str:
    """A header's value as text, empty where there is none. Of one that was set several times the first counts."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return ""
    return _UNFIT.sub("\ufffd", value if isinstance(value, str) else str(value))


def parse_plain(body: bytes) -> dict[str, Any]:
    """Headers of a plain event; ``_body`` holds what stands behind an inner Content-Length.

    Each value is unquoted by itself, after the lines were split: a ``%0A`` in a caller's name forges no header.
    """
    head, _, rest = body.partition(b"\n\n")
    headers: dict[str, Any] = {}
    for line in head.split(b"\n"):
        name, colon, value = line.partition(b": ")
        if not colon:
            continue
        text = unquote_to_bytes(value).decode("utf-8", "replace")
        headers[name.decode("utf-8", "replace")] = text[7:].split("|:") if text.startswith("ARRAY::") else text
    length = headers.get("Content-Length")
    if rest and isinstance(length, str) and length.isascii() and length.isdigit() and len(length) <= 10:
        headers["_body"] = rest[: int(length)].decode("utf-8", "replace")
    return headers
