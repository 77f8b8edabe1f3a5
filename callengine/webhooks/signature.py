"""Signatures as Standard Webhooks 1.0 has them (github.com/standard-webhooks, spec/standard-webhooks.md).

What is signed is ``{id}.{timestamp}.{body}`` by HMAC-SHA256. An id is a UUID here, so no dot of it can shift what is
signed.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

PREFIX: Final = "whsec_"
MIN_BYTES: Final = 24
MAX_BYTES: Final = 64
_BYTES: Final = 32


def new_secret() -> str:
    """A fresh secret: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + b64encode(secrets.token_bytes(_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key that a secret stands for. Raises ValueError, which does not repeat it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (NotBase64, ValueError):
        raise ValueError("a webhook secret has to be whsec_ and base64") from None
    if not secret.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"a webhook secret has to be whsec_ and {MIN_BYTES} to {MAX_BYTES} bytes in base64")
    return key


def sign(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one signature for each key, so that either verifies while two are valid."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    return " ".join(f"v1,{b64encode(hmac_digest(key, content, sha256)).decode()}" for key in keys)


def headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(keys, message_id, timestamp_s, body),
    }
