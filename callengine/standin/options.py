"""What a stand-in is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODULES: Final = frozenset(
    "mod_commands mod_dptools mod_event_socket mod_sofia mod_loopback mod_callcenter mod_json_cdr mod_sndfile".split()
)


@dataclass(frozen=True, slots=True)
class SocketUser:
    """A user of ``userauth``; ``events`` and ``apis`` are names, or ``all``."""

    password: str
    events: tuple[str, ...] = ("all",)
    apis: tuple[str, ...] = ("all",)
    log: bool = True


@dataclass(slots=True)
class Options:
    """Settings of one stand-in. Times are real seconds; ``time_scale`` divides what lives last, and nothing else.

    ``json_cdr`` is what its json_cdr.conf has beside the folder of ``cdr``; it posts nothing.
    """

    host: str = "127.0.0.1"
    port: int = 0
    password: str = "ClueCon"  # noqa: S105 - the event socket's public default
    users: dict[str, SocketUser] = field(default_factory=dict)
    acl_denies: bool = False
    auth_timeout_s: float = 25.0
    hostname: str = "standin"
    seed: int = 1
    time_scale: float = 1.0
    recordings: Path | None = None
    cdr: Path | None = None
    far_end: Path | None = None
    inbound_rate: float = 0.0
    inbound_numbers: tuple[str, ...] = ("15550199", "15550198")
    heartbeat_s: float = 20.0
    max_sessions: int = 5000
    sessions_per_second: int = 1000
    gateways: tuple[str, ...] = ()
    modules: frozenset[str] = MODULES
    json_cdr: dict[str, str] = field(default_factory=dict)
    queue_limit: int = 100_000
    lost_limit: int = 500
    reorder: float = 0.01
    early_loopback: float = 0.17

    def knows_gateway(self, name: str) -> bool:
        """Any gateway is known unless a list was given, or its name begins with ``no`` or ``invalid``."""
        if self.gateways:
            return name in self.gateways
        return not name.startswith(("no", "invalid", "unknown"))
