"""What goes wrong, row by row of the table. Each strikes once; the plan of when comes from the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import gevent

from tests.chaos.databases import locked
from tests.chaos.skewed import set_offset
from tests.chaos.world import World

_HOUR_S: Final = 3600.0
_DOWN_S: Final = 30.0


@dataclass(frozen=True)
class Fault:
    """``strike(world, seconds)`` once; ``pause_s`` bounds the random while before it. ``needs``: see ``World``."""

    name: str
    title: str
    times: int
    strike: Callable[[World, float], None]
    needs: frozenset[str] = frozenset()
    pause_s: tuple[float, float] = (2.0, 8.0)


def _nothing(world: World, seconds: float) -> None:
    gevent.sleep(seconds)


def _kill(world: World, seconds: float) -> None:
    """At a random instant, also while it starts; down for up to 30 s."""
    world.expected_down = True
    world.kill_daemon()
    gevent.sleep(world.dice.uniform(0, min(_DOWN_S, seconds)))
    world.daemon.start(wait=False)
    world.expected_down = False
    if world.dice.random() < 0.8:  # else it is killed again while it starts, it may be
        world.until_ready()


def _suspend(world: World, seconds: float) -> None:
    world.daemon.suspend()
    gevent.sleep(seconds)
    world.daemon.resume()
    world.until_ready()


def _terminate(world: World, seconds: float) -> None:
    """As systemd restarts it."""
    world.expected_down = True
    world.daemon.stop()
    world.daemon.start(wait=False)
    world.expected_down = False
    world.until_ready()


def _rst(world: World, seconds: float) -> None:
    assert world.proxy is not None
    world.proxy.rst()
    world.until_ready()


def _fin(world: World, seconds: float) -> None:
    assert world.proxy is not None
    world.proxy.fin()
    world.until_ready()


def _black_hole(world: World, seconds: float) -> None:
    """Long enough for the silence to be noticed."""
    assert world.proxy is not None
    world.proxy.black_hole()
    gevent.sleep(2 * world.switch.options.heartbeat_s + world.dice.uniform(2, 6))
    world.proxy.heal()
    gevent.sleep(1.0)
    world.until_ready()


def _reload(world: World, seconds: float) -> None:
    world.switch.reload_socket()
    gevent.sleep(0.5)
    world.until_ready()


def _switch_killed(world: World, seconds: float) -> None:
    world.end_switch(world.switch.kill)
    gevent.sleep(world.dice.uniform(0, 5))
    world.switch.start()
    world.until_ready()


def _switch_shut_down(world: World, seconds: float) -> None:
    world.end_switch(world.switch.shut_down)
    gevent.sleep(world.dice.uniform(0, 5))
    world.switch.start()
    world.until_ready()


def _both_killed(world: World, seconds: float) -> None:
    """The daemon some time before the switch: what was said between is known to nobody when both are back."""
    world.expected_down = True
    world.kill_daemon()
    gevent.sleep(world.dice.uniform(0, seconds))
    world.end_switch(world.switch.kill)
    gevent.sleep(world.dice.uniform(0, 5))
    world.switch.start()
    world.daemon.start(wait=False)
    world.expected_down = False
    world.until_ready()


def _postgres_stopped(world: World, seconds: float) -> None:
    """By turns orderly and at once, and frozen: it takes connections and says nothing."""
    postgres = world.postgres
    assert postgres is not None
    how = world.dice.choice(("stop", "stop_hard", "freeze"))
    getattr(postgres, how)()
    gevent.sleep(seconds)
    postgres.thaw() if how == "freeze" else postgres.start()
    world.until_ready()


def _postgres_restarted(world: World, seconds: float) -> None:
    assert world.postgres is not None
    world.postgres.restart()
    world.until_ready()


def _postgres_terminated(world: World, seconds: float) -> None:
    assert world.postgres is not None
    world.postgres.terminate_all()
    world.until_ready()


def _sqlite_locked(world: World, seconds: float) -> None:
    with locked(world.daemon.state / "callengine.db", seconds):
        gevent.sleep(seconds)
    world.until_ready()


def _disk_full(world: World, seconds: float) -> None:
    assert world.disk is not None
    world.disk.fill()
    gevent.sleep(seconds)
    world.disk.free()
    world.until_ready()


def _clock(world: World, seconds: float) -> None:
    """Forth or back by an hour, and home again after a while."""
    assert world.offset is not None
    set_offset(world.offset, world.dice.choice((-_HOUR_S, _HOUR_S)))
    gevent.sleep(world.dice.uniform(seconds / 6, seconds / 3))
    set_offset(world.offset, 0.0)
    world.until_ready()


def _garbled(world: World, seconds: float) -> None:
    assert world.proxy is not None
    world.proxy.garble()
    gevent.sleep(seconds)
    world.proxy.garble_off()
    print("  the proxy:", world.proxy.stats(), flush=True)


def _by_turns(world: World, seconds: float, names: frozenset[str]) -> None:
    """One after the other, in an order that the seed shuffles; each once before one comes again."""
    if not world.deck:
        world.deck = sorted(names - ({"sqlite-locked"} if world.postgres else _ON_POSTGRES))
        world.dice.shuffle(world.deck)
    name = world.deck.pop()
    print(f"  {name}", flush=True)
    FAULTS[name].strike(world, seconds)


def _everything(world: World, seconds: float) -> None:
    _by_turns(world, seconds, frozenset(FAULTS) - {"none", "disk-full", "everything", "database"})


def _database(world: World, seconds: float) -> None:
    _by_turns(world, seconds, _ON_POSTGRES | {"sqlite-locked", "kill", "terminate"})


_ON_POSTGRES: Final = frozenset({"postgres-stopped", "postgres-restarted", "postgres-terminated"})
_PROXY, _POSTGRES = frozenset({"proxy"}), frozenset({"postgres"})
_SWITCH, _DISK, _CLOCK = frozenset({"switch"}), frozenset({"disk"}), frozenset({"clock"})

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault("none", "nothing breaks", 1, _nothing),
        Fault("kill", "daemon killed -9, restarted after 0-30 s", 50, _kill, pause_s=(0.2, 10.0)),
        Fault("terminate", "daemon stopped by SIGTERM and started", 10, _terminate),
        Fault("suspend", "daemon stopped (SIGSTOP)", 3, _suspend),
        Fault("rst", "event socket cut: RST", 10, _rst, _PROXY),
        Fault("fin", "event socket cut: FIN", 10, _fin, _PROXY),
        Fault("black-hole", "event socket cut: black hole", 10, _black_hole, _PROXY),
        Fault("reload", "event socket cut: reload mod_event_socket", 10, _reload),
        Fault("switch-killed", "FreeSWITCH killed -9 and restarted", 5, _switch_killed, _SWITCH, (8.0, 20.0)),
        Fault("switch-shut-down", "FreeSWITCH shut down and restarted", 5, _switch_shut_down, _SWITCH, (8.0, 20.0)),
        Fault(
            "both-killed", "daemon killed -9, then FreeSWITCH, both restarted", 5, _both_killed, _SWITCH, (8.0, 20.0)
        ),
        Fault("postgres-stopped", "Postgres stopped", 5, _postgres_stopped, _POSTGRES, (5.0, 15.0)),
        Fault("postgres-restarted", "Postgres restarted", 5, _postgres_restarted, _POSTGRES, (5.0, 15.0)),
        Fault("postgres-terminated", "all connections of Postgres terminated", 5, _postgres_terminated, _POSTGRES),
        Fault("sqlite-locked", "SQLite locked by another process", 5, _sqlite_locked, frozenset({"sqlite"})),
        Fault("disk-full", "disk full", 3, _disk_full, _DISK),
        Fault("clock", "clock set back and forth by an hour", 5, _clock, _CLOCK),
        Fault("garbled", "every event doubled, 5% late, 1 in 10,000 garbage", 20, _garbled, _PROXY, (0.0, 0.1)),
        Fault(
            "everything", "all of these by turns, but the disk", 28, _everything, _SWITCH | _PROXY | _CLOCK, (0.5, 4.0)
        ),
        Fault("database", "what can befall a database, and the daemon meanwhile", 20, _database, pause_s=(0.5, 4.0)),
    )
}
