"""Signed URLs of recordings: whoever has one may hear that recording until it expires, and needs no key.

The signature is an HMAC-SHA256 over the recording's id and the expiry, by itsdangerous with a salt of its own. It is
made with ``http.signing_key``, else with a key that is generated once and kept in ``state.directory``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import itsdangerous
from itsdangerous.encoding import base64_decode, base64_encode

from callengine.config.settings import Settings
from callengine.errors import ConfigurationError, LinkExpired, LinkInvalid

KEY_FILE: Final = "signing.key"
MIN_KEY: Final = 32
"""Characters of a key in the key file, at least; what is generated has 43."""

_SALT: Final = b"callengine.recording-url"
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_EXPIRES: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_MAX_FILE_BYTES: Final = 65_536


class Signer:
    """Makes and checks URLs. ``keys``: the first signs, the others are still accepted. No key is ever shown."""

    def __init__(self, keys: Sequence[str], public_url: str, ttl_s: int) -> None:
        if not keys or not all(keys):
            raise ValueError("there has to be a key")
        # itsdangerous signs with the last of its keys.
        self._signer = itsdangerous.Signer(
            list(reversed(keys)), salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256
        )
        self._base = f"{public_url}/v1/recordings/"
        self._ttl_s = ttl_s

    def url(self, recording_id: str, now_s: float) -> str:
        """The absolute URL of a recording, good for ``ttl_s`` seconds from ``now_s`` (epoch)."""
        expires = str(int(now_s) + self._ttl_s)
        signature = self._signer.get_signature(_signed(recording_id, expires)).decode()
        return f"{self._base}{quote(recording_id, safe='')}?expires={expires}&signature={signature}"

    def verify(self, recording_id: str, expires: str, signature: str, now_s: float) -> None:
        """Raises ``LinkInvalid`` for what none of our keys signed, and ``LinkExpired`` from the second ``expires`` on.

        In constant time for signatures of the right length. Each signature has one spelling only.
        """
        if not (_EXPIRES.fullmatch(expires) and _SIGNATURE.fullmatch(signature)):
            raise LinkInvalid
        one_spelling = base64_encode(base64_decode(signature)).decode() == signature
        if not (self._signer.verify_signature(_signed(recording_id, expires), signature) and one_spelling):
            raise LinkInvalid
        if now_s >= int(expires):
            raise LinkExpired


def _signed(recording_id: str, expires: str) -> str:
    return f"{expires}.{recording_id}"


def signer_of(settings: Settings) -> Signer:
    """The signer that the settings ask for. Reads or makes the key file; raises ``ConfigurationError``."""
    http = settings.http
    own = http.signing_key.get_secret_value()
    old = http.old_signing_keys.get_secret_value().split()
    keys = [own, *old] if own else [*kept_keys(settings.state.directory / KEY_FILE), *old]
    return Signer(keys, http.public_url, settings.recordings.url_ttl_s)


def kept_keys(file: Path) -> list[str]:
    """The keys in ``file``, one a line; the first signs. Made with one new key where it is missing.

    Of several processes that start at once, one makes the file, and all use what it wrote: it comes into being complete
    and under its name in one step (link(2)). Raises ``ConfigurationError``.
    """
    try:
        try:
            text = _read(file)
        except FileNotFoundError:
            _make(file)
            text = _read(file)
    except OSError as error:
        raise ConfigurationError([f"{file}: the signing key cannot be kept there ({error.strerror})"]) from None
    keys = text.split()
    if not keys or any(len(key) < MIN_KEY for key in keys):
        raise ConfigurationError([f"{file}: has to hold keys of at least {MIN_KEY} characters, one a line"])
    return keys


def _read(file: Path) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_mode & 0o077:
            raise ConfigurationError([f"{file}: others can read the signing key: chmod 600"])
        return stream.read(_MAX_FILE_BYTES).decode("ascii", "replace")


def _make(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(f"{secrets.token_urlsafe(32)}\n".encode())
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(fresh, file)
    finally:
        fresh.unlink()
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
