"""Recording a live call on request: start, stop, pause, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from callengine.calls.call import Call
from callengine.errors import NotAllowed, WrongState
from callengine.esl import commands
from callengine.originate import view
from callengine.originate.orders import Desk, Orders
from callengine.originate.request import Planner

_MASKS: Final[Mapping[str, tuple[Literal["mask", "unmask"], str]]] = {
    "pause": ("mask", "recording_paused"),
    "resume": ("unmask", "recording_resumed"),
}


def act(orders: Orders, planner: Planner, call: Call, desk: Desk, action: str) -> None:
    """Do what is asked, unless it is so already. Raises WrongState, NotAllowed."""
    running = _running(call, desk)
    if action == "start":
        if not running:
            _start(orders, planner, call, desk)
    elif action == "stop":
        _stop(orders, call, desk, running)
    elif action in _MASKS:
        _mask(orders, call, desk, running, action)
    else:
        raise NotAllowed("action", "must be start, stop, pause or resume")


def _running(call: Call, desk: Desk) -> list[tuple[str, str]]:
    """(channel, path) of what is being recorded; the event of one started just now may be on its way."""
    found = [(r.leg, r.path) for r in view.open_recordings(call)]
    if desk.recording is not None and not any(r.path == desk.recording for r in call.recordings):
        found.append((call.own.uuid, desk.recording))
    return found


def _start(orders: Orders, planner: Planner, call: Call, desk: Desk) -> None:
    number = max(desk.recordings, len(call.recordings)) + 1
    path = planner.recording_path(call.id, orders.board.now_us(), number)
    for name, value in planner.recording_variables().items():
        orders.api(commands.uuid_setvar(call.own.uuid, name, value))
    if not orders.ask(call, "recording_start", commands.uuid_record(call.own.uuid, "start", path)):
        raise WrongState("recording", "one that FreeSWITCH can record")
    desk.recordings, desk.recording, desk.masked = number, path, False


def _stop(orders: Orders, call: Call, desk: Desk, running: list[tuple[str, str]]) -> None:
    for leg, path in running:
        orders.ask(call, "recording_stop", commands.uuid_record(leg, "stop", path))
    desk.recording, desk.masked = None, False


def _mask(orders: Orders, call: Call, desk: Desk, running: list[tuple[str, str]], action: str) -> None:
    if not running:
        raise WrongState(action, "being recorded")
    verb, word = _MASKS[action]
    masked = verb == "mask"
    if masked is desk.masked:
        return
    done = [orders.ask(call, word, commands.uuid_record(leg, verb, path)) for leg, path in running]
    if not any(done):
        raise WrongState(action, "being recorded")
    desk.masked = masked
