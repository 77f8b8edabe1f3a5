"""Ids of calls: UUID version 7 (RFC 9562), ordered by the time of the call's beginning."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID, uuid5

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def call_id_of(node: str, fs_uuid: str, created_us: int) -> str:
    """The id of a call that we track: the same channel gives the same id, also after a crash and in a replay.

    The time is the channel's creation; what version 7 fills at random is a hash of (node, channel UUID, creation).
    """
    digest = blake2b(f"{node}\0{fs_uuid}\0{created_us}".encode("utf-8", "surrogatepass"), digest_size=10).digest()
    noise = int.from_bytes(digest, "big")
    value = (created_us // 1000 & (1 << 48) - 1) << 80 | _VERSION_7
    value |= (noise >> 64 & 0xFFF) << 64 | _VARIANT | (noise & (1 << 62) - 1)
    return _text(f"{value:032x}")


def recording_id_of(call_id: str, leg: str, path: str) -> str:
    """The id of a recording: the same for the same file of the same channel, however often it is met."""
    return str(uuid5(UUID(call_id), f"{leg}\n{path}"))


def event_id_of(call_id: str, key: str) -> str:
    """The id under which an event is told: the same however often it is written or delivered.

    UUID version 8 (RFC 9562): the call's own beginning, so that events lie in the index about as they come, and a hash
    of (call, key). ``key``: for a milestone its number in the book, else what the event is about.
    """
    return _text(event_key_of(call_id, key).hex())


def event_key_of(call_id: str, key: str) -> bytes:
    """The 16 bytes of ``event_id_of``."""
    noise = blake2b(f"{call_id}\0{key}".encode("utf-8", "surrogatepass"), digest_size=10).digest()
    begun = bytes.fromhex(f"{call_id[:8]}{call_id[9:13]}")
    return begun + bytes((noise[0] & 0x0F | 0x80, noise[1], noise[2] & 0x3F | 0x80)) + noise[3:]


def _text(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def usable_id(text: str) -> bool:
    """Campaign and lead ids are the tenant's own strings: 1-128 printable characters."""
    return 0 < len(text) <= 128 and text.isprintable()
