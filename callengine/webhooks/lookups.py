"""Looking up names in threads, where nobody's silent name servers may take all of them.

The system's resolver cannot be interrupted: a thread is taken for as long as it likes, half a minute often, though we
wait for less. So each tenant has a few of them only, and whoever wants a name that is under way shares the answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from gevent.event import AsyncResult, Event

from callengine.errors import LookupsBusy, NameNotResolved
from callengine.threads import Threads

Address = IPv4Address | IPv6Address

LOOKUP_S: Final = 5.0
"""How long one who asks waits for the answer."""
_PLACE_S: Final = 1.0


class Lookups:
    """``resolve(host, port)`` answers like getaddrinfo, in a native thread; raises OSError.

    ``threads`` in all, of which one tenant takes ``of_one`` at most. Greenlets of one hub only.
    """

    def __init__(
        self,
        resolve: Callable[[str, int], list[Any]],
        threads: int,
        of_one: int,
        *,
        lookup_s: float = LOOKUP_S,
        place_s: float = _PLACE_S,
    ) -> None:
        self._resolve = resolve
        self._threads = threads
        self._of_one = of_one
        self._lookup_s = lookup_s
        self._place_s = place_s
        self._pool: Threads | None = None
        self._under_way: dict[str, AsyncResult[list[Address]]] = {}
        self._taken: Counter[str] = Counter()
        self._freed = Event()

    @property
    def under_way(self) -> int:
        """How many names are being looked up."""
        return len(self._under_way)

    def addresses(self, host: str, port: int, tenant_id: str) -> list[Address]:
        """What the name leads to. Raises NameNotResolved, also where no answer came in time; LookupsBusy."""
        answer = self._asked(host, port, tenant_id)
        answer.wait(self._lookup_s)
        if not answer.value:
            raise NameNotResolved
        return list(answer.value)

    def _asked(self, host: str, port: int, tenant_id: str) -> AsyncResult[list[Address]]:
        deadline = time.monotonic() + self._place_s
        while True:
            answer = self._under_way.get(host)
            if answer is not None:
                return answer
            if len(self._under_way) < self._threads and self._taken[tenant_id] < self._of_one:
                return self._start(host, port, tenant_id)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise LookupsBusy
            self._freed.wait(left_s)

    def _start(self, host: str, port: int, tenant_id: str) -> AsyncResult[list[Address]]:
        answer: AsyncResult[list[Address]] = AsyncResult()
        self._under_way[host] = answer
        self._taken[tenant_id] += 1
        try:
            if self._pool is None:
                self._pool = Threads(self._threads)
            job = self._pool.spawn(self._look_up, host, port)
        except BaseException:  # the greenlet may be killed here too
            self._landed(host, tenant_id, [])
            raise
        job.rawlink(lambda done: self._landed(host, tenant_id, done.value or []))
        return answer

    def _landed(self, host: str, tenant_id: str, found: list[Address]) -> None:
        self._under_way.pop(host).set(found)
        self._taken[tenant_id] -= 1
        if not self._taken[tenant_id]:
            del self._taken[tenant_id]
        # Whoever waits looks for himself; those that wait from now on wait for the next.
        freed, self._freed = self._freed, Event()
        freed.set()

    def _look_up(self, host: str, port: int) -> list[Address]:
        """In a native thread, from which no error may be raised; none found says it as well."""
        try:
            found = [ip_address(entry[4][0].partition("%")[0]) for entry in self._resolve(host, port)]
        except (OSError, ValueError, UnicodeError):
            return []
        return list(dict.fromkeys(found))
