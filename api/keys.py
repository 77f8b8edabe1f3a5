"""Who asks: bearer keys, and a short memory of them.

A key that was found is remembered for ``KNOWN_S``, by its hash: so a read costs one query, and a revoked key works so
long at most. Wrong keys are not remembered, but each further one from the same address waits longer for its answer.
Right ones never wait, whatever address they come from.
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

    def admit(self, authorization: str | None, address: str, scope: str) -> ApiKey:
        """The key that ``Authorization`` names, if it has ``scope``; raises ``Refusal`` (401, 403, 429)."""
        presented = bearer(authorization)
        if presented is None:
            raise unauthorized()
        key = self.find(presented)
        if key is None:
            self.guessed(address)
            raise unauthorized()
        if scope not in key.scopes:
            raise Refusal(403, "missing-scope", f"this key lacks the scope {scope}", extra={"scope": scope})
        return key

    def find(self, presented: str) -> ApiKey | None:
        """The key of that text, remembered or looked up."""
        if len(presented) > MAX_KEY_LENGTH:
            return None
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        now = self._now()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and now - known[1] < KNOWN_S:
            return known[0]
        key = self._keys.find_key(presented)
        with self._lock:
            self._known.pop(digest, None)
            if key is not None:
                self._known[digest] = (key, now)
                while len(self._known) > MAX_KNOWN:
                    self._known.popitem(last=False)
        return key

    def guessed(self, address: str) -> None:
        """Waits after a wrong key, longer each time; raises ``Refusal`` (429)."""
        self._patience.failed(address)


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
