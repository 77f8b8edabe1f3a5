"""Wrong secrets are answered more slowly each time, by address, in bounded memory and few places."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from callengine.api.problems import Refusal

FREE_FAILURES: Final = 5
FORGIVEN_AFTER_S: Final = 60.0
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 2.0
MAX_ADDRESSES: Final = 4096
_HOST_BITS: Final = 64


def origin(address: str) -> str:
    """Whose failures count together: of IPv6 the whole /64, in which one host has as many addresses as it likes."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS))


class Brake:
    """Counts failures by address, and says how long the next answer has to wait. Bounded; ``now`` is passed in."""

    def __init__(self, max_addresses: int = MAX_ADDRESSES) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._max = max_addresses
        self._lock = threading.Lock()

    def failed(self, address: str, now: float) -> float:
        """Notes a failure. Seconds to wait before answering it."""
        whose = origin(address)
        with self._lock:
            count, last = self._failures.pop(whose, (0, now))
            count = 1 if now - last > FORGIVEN_AFTER_S else count + 1
            self._failures[whose] = (count, now)
            while len(self._failures) > self._max:
                self._failures.popitem(last=False)
        beyond = count - FREE_FAILURES
        return 0.0 if beyond <= 0 else min(FIRST_DELAY_S * 2.0 ** min(beyond - 1, 16), LONGEST_DELAY_S)

    def is_guessing(self, address: str, now: float) -> bool:
        """Whether its next failure would have to wait."""
        with self._lock:
            count, last = self._failures.get(origin(address), (0, now))
        return count >= FREE_FAILURES and now - last <= FORGIVEN_AFTER_S

    def __len__(self) -> int:
        return len(self._failures)


class Patience:
    """A brake, and the places in which its answers wait: at most ``max_waiting``, so that a flood of guesses cannot
    take all the places of the server; the rest is answered 429 at once."""

    def __init__(self, *, max_waiting: int, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._brake = Brake()
        self._now = now
        self._sleep = sleep
        self._max_waiting = max_waiting
        self._waiting = 0
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Before a secret that people choose is even looked at: raises ``Refusal`` (429) to one who guesses while all
        places are taken, since what is refused at once would else be a guess that costs nothing."""
        if self._waiting >= self._max_waiting and self._brake.is_guessing(address, self._now()):
            raise _too_many()

    def failed(self, address: str) -> None:
        """Notes a failure, and waits; raises ``Refusal`` (429) where too many do."""
        delay_s = self._brake.failed(address, self._now())
        if not delay_s:
            return
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise _too_many()
            self._waiting += 1
        try:
            self._sleep(delay_s)
        finally:
            with self._lock:
                self._waiting -= 1


def _too_many() -> Refusal:
    return Refusal(429, "too-many-failures", "too many requests with a wrong secret", headers={"Retry-After": "2"})
