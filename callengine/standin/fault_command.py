"""``api standin_fault …``: what goes wrong, from outside the process. No FreeSWITCH has this command.

====================== ===============================================================================
word                   what happens
====================== ===============================================================================
``silent on|off``      no event is sent at all
``drop N``             the next N events are lost
``drop_name NAME``     events of that name are lost from now on
``duplicate N``        the next N events come twice
``delay N SECONDS``    the next N events come so much later
``no_complete UUID``   this channel's CHANNEL_HANGUP_COMPLETE and CHANNEL_DESTROY never come
``header_only on|off`` recordings stay at their 44 bytes of header
``fin`` ``rst``        every connection is closed, politely or not
``reload``             notice and end of every connection, calls live on
``stall on|off``       connections stay open and nothing is written
``shutdown``           SHUTDOWN, calls end with SYSTEM_SHUTDOWN, notice, end
``kill``               everything is gone, nothing is said, nobody listens
``restart [SECONDS]``  a kill, and after so long a new core on the same port
``inbound KIND [CALLED [CALLER]]`` an incoming call (``ivr``, ``abandoned``, ``agent``, ``queue``, ``nowhere``)
``reset``              all faults off
====================== ===============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import gevent

if TYPE_CHECKING:
    from callengine.standin.server import StandIn

USAGE: Final = (
    "-USAGE: standin_fault silent on|off|drop N|drop_name NAME|duplicate N|delay N SECONDS|no_complete UUID|"
    "header_only on|off|fin|rst|reload|stall on|off|shutdown|kill|restart [SECONDS]|inbound KIND [CALLED [CALLER]]|"
    "reset\n"
)


def fault_command(standin: StandIn, argument: str) -> str:
    """Do what is asked; the connections are broken only after the answer is out."""
    words = argument.split()
    if not words:
        return USAGE
    verb, rest = words[0], words[1:]
    if verb == "inbound":
        uuid = standin.place_inbound(rest[0] if rest else "ivr", called=_word(rest, 1), caller=_word(rest, 2))
        return f"+OK {uuid}\n" if uuid else "-ERR no call now\n"
    if verb in _ON_CONNECTIONS:
        gevent.spawn_later(0.05, _ON_CONNECTIONS[verb], standin, rest)
        return "+OK\n"
    return "+OK\n" if _on_events(standin, verb, rest) else USAGE


def _word(rest: list[str], index: int) -> str:
    return rest[index] if index < len(rest) else ""


def _number(rest: list[str], index: int, fallback: float) -> float:
    try:
        return float(rest[index])
    except (IndexError, ValueError):
        return fallback


def _restart(standin: StandIn, rest: list[str]) -> None:
    standin.kill()
    gevent.spawn_later(_number(rest, 0, 0.0), standin.restart)


_ON_CONNECTIONS: Final[dict[str, Callable[[StandIn, list[str]], None]]] = {
    "fin": lambda standin, _rest: standin.drop_connections(),
    "rst": lambda standin, _rest: standin.drop_connections(reset=True),
    "reload": lambda standin, _rest: standin.reload(),
    "stall": lambda standin, rest: standin.stall(_word(rest, 0) != "off"),
    "shutdown": lambda standin, _rest: standin.shutdown(),
    "kill": lambda standin, _rest: standin.kill(),
    "restart": _restart,
}


def _on_events(standin: StandIn, verb: str, rest: list[str]) -> bool:
    faults = standin.faults
    on = _word(rest, 0) != "off"
    count = int(_number(rest, 0, 1))
    if verb == "silent":
        faults.silent = on
    elif verb == "drop":
        faults.drop_next = count
    elif verb == "drop_name" and rest:
        faults.drop_names.add(rest[0])
    elif verb == "duplicate":
        faults.duplicate_next = count
    elif verb == "delay":
        faults.delay_next, faults.delay_s = count, _number(rest, 1, 1.0)
    elif verb == "header_only":
        faults.header_only_recordings = on
    elif verb == "no_complete" and _word(rest, 0) in standin.switch.channels:
        standin.switch.channels[rest[0]].never_completes = True
    elif verb == "reset":
        faults.reset()
    else:
        return False
    return True
