"""Ids of what we make ourselves: UUID version 7 (RFC 9562), so that rows lie in the order of their time."""

from __future__ import annotations

import secrets
from uuid import UUID


def new_uuid(now_us: int) -> str:
    """A new UUID of that moment of our clock."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62
    value |= secrets.randbits(12) << 64 | secrets.randbits(62)
    return str(UUID(int=value))
