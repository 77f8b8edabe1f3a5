"""Who asks: bearer keys, and a short memory of them.

A key that was found is remembered for ``KNOWN_S``, by its hash: so a read costs one query, and a revoked key works so
long at most. Wrong keys are not remembered, but each further one from the same address waits longer for its answer.
Right ones never wait, whatever address they come from. What the database cannot be asked for while it is away is asked
of a longer memory (``remembered``), which lets nobody read anything but how the process is doing.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from callengine.api.brake import Patience
from callengine.api.problems import Refusal
from callengine.api.services import ApiKey, Keys

KNOWN_S = 5.0
REMEMBERED_S = 3600.0
MAX_KNOWN = 1024
MAX_KEY_LENGTH = 256


class Gate:
    """Finds the key of a request, or refuses the request. At most ``max_waiting`` refusals wait at once (``brake``)."""

    def __init__(
        self,
        keys: Keys,
        *,
        max_waiting: int,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._keys = keys
        self._now = now
        self._patience = Patience(max_waiting=max_waiting, now=now, sleep=sleep)
        self._known: OrderedDict[bytes, tuple[ApiKey, float]] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, authorization: str | None, address: str, scope: str | None) -> ApiKey:
        """The key that ``Authorization`` names, if it has ``scope``; None: whatever it has.

        Raises ``Refusal`` (401, 403, 429).
        """
        presented = bearer(authorization)
        if presented is None:
            raise unauthorized()
        key = self.find(presented)
        if key is None:
            self.guessed(address)
            raise unauthorized()
        if scope is not None and scope not in key.scopes:
            raise Refusal(403, "missing-scope", f"this key lacks the scope {scope}", extra={"scope": scope})
        return key

    def find(self, presented: str) -> ApiKey | None:
        """The key of that text, known for a moment or looked up. Raises ``StoreError``."""
        if len(presented) > MAX_KEY_LENGTH:
            return None
        digest, now = _digest(presented), self._now()
        known = self._seen(digest, now, KNOWN_S)
        if known is not None:
            return known
        key = self._keys.find_key(presented)
        with self._lock:
            self._known.pop(digest, None)
            if key is not None:
                self._known[digest] = (key, now)
                while len(self._known) > MAX_KNOWN:
                    self._known.popitem(last=False)
        return key

    def known(self, presented: str) -> ApiKey | None:
        """The key of that text, if it was found a moment ago; the database is not asked."""
        return self._seen(_digest(presented), self._now(), KNOWN_S) if len(presented) <= MAX_KEY_LENGTH else None

    def remembered(self, presented: str) -> ApiKey | None:
        """The key of that text, if the database had it within the last hour when it was last asked for it."""
        return self._seen(_digest(presented), self._now(), REMEMBERED_S)

    def _seen(self, digest: bytes, now: float, within_s: float) -> ApiKey | None:
        with self._lock:
            key, at = self._known.get(digest, (None, now))
        return key if now - at < within_s else None

    def guessed(self, address: str) -> None:
        """Waits after a wrong key, longer each time; raises ``Refusal`` (429)."""
        self._patience.failed(address)


def _digest(presented: str) -> bytes:
    return hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()


def bearer(authorization: str | None) -> str | None:
    """The token of an ``Authorization: Bearer`` header (RFC 6750), None where it is none."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and token and token.isascii() and token.isprintable() else None


def same_secret(presented: str, secret: str) -> bool:
    """Compares in a time that does not tell how much of it is right."""
    return hmac.compare_digest(presented.encode(), secret.encode())


def unauthorized() -> Refusal:
    """401, the same for no key and for a wrong one."""
    return Refusal(
        401,
        "unauthorized",
        "this needs a valid API key: Authorization: Bearer <key>",
        headers={"WWW-Authenticate": 'Bearer realm="callengine"'},
    )
