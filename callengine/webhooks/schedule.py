"""When to try again: a delivery by its own failures, an endpoint by whether it can be told anything at all. Pure.

A delivery that failed waits for a gap that grows with its attempts. An endpoint that fails as a whole is *paused*: one
delivery at a time probes it, each time another one, and all others wait at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from callengine.webhooks.sender import UNREACHABLE, Reply

_S: Final = 1_000_000
GAPS_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
"""After the first failure, the second, …: about a day together."""
MAX_ATTEMPTS: Final = len(GAPS_S) + 1
RETRY_FOR_US: Final = 22 * 3600 * _S
"""No delivery is given up earlier than this, however often it was tried."""
PROBES_S: Final = (5, 15, 30, 60, 120, 300, 600, 900)
GIVE_UP_PROBES: Final = 24
GIVE_UP_US: Final = 28 * 3600 * _S
"""What is older is given up where an endpoint has failed for so long, and so many probes."""
RETRY_AFTER_MAX_S: Final = 3600
JITTER: Final = 0.2

GONE: Final = 410
TOO_MANY: Final = 429

# So many failures in a row, without a success between, until it is the endpoint's rather than the event's fault.
_ENDPOINT_DOWN: Final = 3
_ENDPOINT_REFUSES: Final = 8


def is_dead(attempts: int, created_us: int, now_us: int) -> bool:
    """Whether a delivery is given up that failed for the ``attempts``-th time."""
    return attempts >= MAX_ATTEMPTS and now_us - created_us >= RETRY_FOR_US


def next_us(attempts: int, now_us: int, jitter: float, retry_after_s: float | None = None) -> int:
    """When a delivery is tried again that failed for the ``attempts``-th time. ``jitter`` is from [0, 1)."""
    gap_s = GAPS_S[min(attempts, len(GAPS_S)) - 1] * (1 - JITTER / 2 + JITTER * jitter)
    if retry_after_s is not None:
        gap_s = max(gap_s, min(retry_after_s, RETRY_AFTER_MAX_S))
    return now_us + int(gap_s * _S)


def later_us(now_us: int, jitter: float) -> int:
    """When a delivery is tried again that was put off without an attempt."""
    return now_us + int(GAPS_S[0] * (1 - JITTER / 2 + JITTER * jitter) * _S)


@dataclass(slots=True)
class Health:
    """How an endpoint is doing: as its row has it, then as attempts end. ``changed``: the row has to be written."""

    failures: int
    failing_since_us: int | None
    retry_us: int
    disabled_reason: str | None = None
    changed: bool = False
    recovered: bool = False
    struck_us: int = 0

    @property
    def paused(self) -> bool:
        """Only a single probe may be sent, and not before ``retry_us``."""
        return self.retry_us > 0

    def took(self, reply: Reply, began_us: int, now_us: int, jitter: float) -> None:
        """An attempt that began at ``began_us`` has ended so."""
        if reply.ok:
            self._succeeded()
        elif reply.status == GONE:
            self.disabled_reason = "it answered 410 Gone"
            self.changed = True
        elif began_us >= self.struck_us:  # of those that were under way together, one is enough to know
            self._failed(reply, now_us, jitter)

    def _succeeded(self) -> None:
        if not self.failures and not self.paused:
            return
        self.recovered = self.recovered or self.paused
        self.failures, self.failing_since_us, self.retry_us = 0, None, 0
        self.changed = True

    def _failed(self, reply: Reply, now_us: int, jitter: float) -> None:
        self.failures += 1
        self.failing_since_us = self.failing_since_us or now_us
        self.struck_us = now_us + 1
        self.changed = True
        # As many as are needed to blame the endpoint do not count as probes.
        probes = self.failures - _needed(reply) + 1
        if probes < 1 and not self.paused:
            return
        gap_s = PROBES_S[min(max(probes, 1), len(PROBES_S)) - 1] * (1 - JITTER / 2 + JITTER * jitter)
        if reply.retry_after_s is not None and reply.status in (TOO_MANY, 503):
            gap_s = min(max(reply.retry_after_s, 1), RETRY_AFTER_MAX_S)
        self.retry_us = now_us + int(gap_s * _S)

    def given_up(self, now_us: int) -> bool:
        """Whether it has failed for so long that what waits for it becomes a dead letter."""
        since_us = self.failing_since_us
        return since_us is not None and self.failures >= GIVE_UP_PROBES and now_us - since_us >= GIVE_UP_US


def _needed(reply: Reply) -> int:
    """How many failures in a row like this one it takes to blame the endpoint."""
    if (
        reply.kind == UNREACHABLE
        or reply.status == TOO_MANY
        or (reply.status == 503 and reply.retry_after_s is not None)
    ):
        return 1
    if reply.status is None or reply.status >= 500:
        return _ENDPOINT_DOWN
    return _ENDPOINT_REFUSES
