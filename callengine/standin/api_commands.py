"""The API commands: what ``api`` and ``bgapi`` answer (``mod_commands.c``).

A command is a function of the switch and its argument. It returns its answer, or a script that will: an originate takes
as long as it takes. A command that is not here is answered as the real switch answers one that it does not know, and
an empty answer becomes ``-ERR no reply``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, TypeAlias
from xml.sax.saxutils import quoteattr

from callengine.standin import callcenter, legs, sources
from callengine.standin.api_show import show
from callengine.standin.api_uuid import UUID_COMMANDS
from callengine.standin.apps import run_extension
from callengine.standin.bridging import transfer_to
from callengine.standin.causes import parse_cause
from callengine.standin.channels import Channel
from callengine.standin.clock import Script, Task
from callengine.standin.dialstring import arguments
from callengine.standin.expand import expand
from callengine.standin.originate import DEFAULT_TIMEOUT_S, dial, release
from callengine.standin.switch import BANNER, VERSION, Switch

#: The work of a command that takes time: a script whose result is the answer.
Waiting: TypeAlias = Generator[float | None, bool, str]
Command: TypeAlias = Callable[[Switch, str], "str | Job"]

_ORIGINATE_USAGE: Final = (
    "-USAGE: <call url> <exten>|&<application_name>(<app_args>) [<dialplan>] [<context>] [<cid_name>] [<cid_num>]"
    " [<timeout_sec>]\n"
)
_FSCTL_USAGE: Final = (
    "[api_expansion [on|off]|recover|send_sighup|hupall|pause [inbound|outbound]|resume [inbound|outbound]|shutdown"
    " [cancel|elegant|asap|now|restart]|sps|sps_peak_reset|sync_clock|sync_clock_when_idle|reclaim_mem|max_sessions|"
    "min_dtmf_duration [num]|max_dtmf_duration [num]|default_dtmf_duration [num]|min_idle_cpu|loglevel [level]|"
    "debug_level [level]|mdns_resolve [enable|disable]]"
)


class Job:
    """A command that takes time: ``start`` runs it as a task of its own, and ``then`` gets the answer."""

    def __init__(self, switch: Switch, work: Callable[[Job], Waiting]) -> None:
        self.switch = switch
        self.task: Task | None = None
        self._work = work
        self.after: Callable[[], None] = lambda: None

    def start(self, then: Callable[[str], None]) -> None:
        self.task = Task(self.switch.clock, self._run(then))
        self.switch.background.add(self.task)

    def _run(self, then: Callable[[str], None]) -> Script:
        answer = yield from self._work(self)
        then(answer)
        self.after()
        if self.task is not None:
            self.switch.background.discard(self.task)


# -- originate ----------------------------------------------------------------------------------------------------


def _originate(switch: Switch, argument: str) -> str | Job:
    parts = arguments(argument)
    if not 2 <= len(parts) <= 7:
        return _ORIGINATE_USAGE
    given = [None if part.lower() == "undef" else part for part in parts] + [None] * 7
    dial_string, target = given[0] or "", given[1] or ""
    extra = {}
    if given[4]:
        extra["origination_caller_id_name"] = given[4]
    if given[5]:
        extra["origination_caller_id_number"] = given[5]
    timeout = given[6] or ""
    limit_s = int(timeout) if timeout.isdigit() and int(timeout) > 0 else DEFAULT_TIMEOUT_S

    def work(job: Job) -> Waiting:
        if job.task is None:
            return "-ERR NORMAL_TEMPORARY_FAILURE\n"
        outcome = yield from dial(switch, job.task, dial_string, timeout_s=limit_s, extra=extra)
        job.after = lambda: release(outcome.legs)
        winner = outcome.winner
        if winner is None:
            return f"-ERR {outcome.cause}\n"
        _send(switch, winner, target, given[2] or "XML", given[3] or "default")
        return f"+OK {winner.uuid}\n"

    return Job(switch, work)


def _send(switch: Switch, channel: Channel, target: str, dialplan: str, context: str) -> None:
    """Where the answered leg goes: ``&app(data)``, or an extension."""
    if target.startswith("&") and len(target) > 1:
        legs.hit_dialplan(switch, channel)
        name, _, data = target[1:].partition(")")[0].partition("(")
        channel.next_plan = lambda sw, own: run_extension(sw, own, [(name, data)])
        legs.wake(channel.task)
    else:
        transfer_to(switch, channel, target, dialplan, context)


# -- the switch ---------------------------------------------------------------------------------------------------


def _status(switch: Switch, _argument: str) -> str:
    now, last = switch.rate()
    return (
        f"UP {switch.uptime_text()}\n"
        f"FreeSWITCH (Version {VERSION}  64bit) is ready ({BANNER})\n"
        f"{switch.sessions_ever} session(s) since startup\n"
        f"{len(switch.channels)} session(s) - peak {switch.sessions_peak}, last 5min {switch.sessions_peak} \n"
        f"{max(now, last)} session(s) per Sec out of max {switch.sessions_per_second}, peak {switch.rate_peak},"
        f" last 5min {switch.rate_peak} \n"
        f"{switch.max_sessions} session(s) max\n"
        "min idle cpu 0.00/90.00\n"
        "Current Stack Size/Max 240K/240K\n"
    )


def _version(_switch: Switch, argument: str) -> str:
    if argument and "short".startswith(argument):
        return f"{VERSION}\n"
    return f"FreeSWITCH Version {VERSION}~64bit ({BANNER})\n"


def _hupall(switch: Switch, argument: str) -> str:
    parts = arguments(argument)
    cause = parse_cause(parts[0]) if parts else "MANAGER_REQUEST"
    pairs = dict(zip(parts[1::2], parts[2::2], strict=False))
    for channel in list(switch.channels.values()):
        if all(channel.get(name) == value for name, value in pairs.items()):
            legs.hangup(switch, channel, cause)
    if not pairs:
        return f"+OK hangup all channels with cause {cause}\n"
    shown = f"[{parts[1]}]=[{parts[2]}]"
    if len(pairs) == 1:
        return f"+OK hangup all channels matching {shown} with cause: {cause}\n"
    return f"+OK hangup all channels matching {shown}... with cause: {cause}\n"


def _fsctl(switch: Switch, argument: str) -> str:
    parts = arguments(argument, 6)
    verb = parts[0].lower() if parts else ""
    rest = parts[1:]
    if not verb:
        return f"-USAGE: {_FSCTL_USAGE}\n"
    if verb in {"pause", "resume"}:
        _pause(switch, rest[0].lower() if rest else "", verb == "pause")
        return "+OK\n"
    if verb == "hupall":
        _hupall(switch, "")
        return "+OK\n"
    if verb in {"max_sessions", "sps"}:
        return _limit(switch, verb, rest)
    if verb == "shutdown":
        return _shutdown(switch, {word.lower() for word in rest})
    if verb in {"pause_check", "shutdown_check", "ready_check"}:
        paused = switch.paused_inbound and switch.paused_outbound
        state = {"pause_check": paused, "shutdown_check": switch.shutting_down, "ready_check": True}[verb]
        return "true" if state else "false"
    if verb == "sps_peak_reset":
        switch.rate_peak = 0
        return "+OK max sessions per second counter reset\n"
    if verb == "last_sps":
        return f"+OK last sessions per second: {switch.rate()[1]}\n"
    if verb in {"send_sighup", "reclaim_mem", "flush_db_handles", "save_history"}:
        return "+OK\n"
    if verb == "sync_clock":
        return "+OK clock synchronized\n"
    return f"-ERR Invalid command\nUSAGE: fsctl {_FSCTL_USAGE}\n"


def _pause(switch: Switch, which: str, on: bool) -> None:
    if which != "outbound":
        switch.paused_inbound = on
    if which != "inbound":
        switch.paused_outbound = on


def _limit(switch: Switch, verb: str, rest: list[str]) -> str:
    value = int(rest[0]) if rest and rest[0].isdigit() else 0
    if verb == "max_sessions":
        switch.max_sessions = value or switch.max_sessions
        return f"+OK max sessions: {switch.max_sessions}\n"
    switch.sessions_per_second = value or switch.sessions_per_second
    return f"+OK sessions per second: {switch.sessions_per_second}\n"


def _shutdown(switch: Switch, words: set[str]) -> str:
    if "cancel" in words:
        switch.shutting_down = False
    elif words & {"elegant", "asap"}:
        switch.shutting_down = True
        switch.on_shutdown("elegant")
    else:
        switch.shutting_down = True
        switch.on_shutdown("now")
    return "+OK\n"


def _reloadxml(switch: Switch, _argument: str) -> str:
    switch.emit("RELOADXML", sources.RELOADXML)
    return "+OK [Success]\n"


def _global_getvar(switch: Switch, argument: str) -> str:
    if not argument:
        return "".join(f"{name}={value}\n" for name, value in switch.globals.items())
    return switch.globals.get(argument, "")


def _global_setvar(switch: Switch, argument: str) -> str:
    name, found, value = argument.partition("=")
    if not found or not name:
        return "-USAGE: <var>=<value> [=<value2>]\n"
    switch.globals[name.strip()] = value
    return "+OK"


def _sched_api(switch: Switch, argument: str) -> str:
    when, _, others = argument.partition(" ")
    group, _, command = others.partition(" ")
    if not command or not group:
        return "-ERR Invalid syntax. USAGE: [+@]<time> <group_name> <command_string>[&]\n"
    number = when.lstrip("+@")
    seconds = int(number) if number.isdigit() else 0
    if not when.startswith(("+", "@")):
        seconds = max(0, seconds - int(time.time()))
    switch.scheduled += 1
    delay_s = _whole_seconds(switch, seconds)
    switch.clock.after(delay_s, run_detached, switch, command.rstrip("&"))
    return f"+OK Added: {switch.scheduled}\n"


def _whole_seconds(switch: Switch, seconds: int) -> float:
    now = switch.clock.now_us()
    return max(0.0, now // 1_000_000 + seconds - now / 1_000_000)


def run_detached(switch: Switch, line: str) -> None:
    """Run a command whose answer nobody waits for."""
    name, _, argument = line.strip().partition(" ")
    answer = call(switch, name, argument)
    if isinstance(answer, Job):
        answer.start(lambda _text: None)


def _callcenter_config(switch: Switch, argument: str) -> str:
    centre = callcenter.centre_of(switch)
    words = argument.split()
    if words[:2] == ["agent", "list"]:
        rows = ["name|instance_id|uuid|type|contact|status|state"]
        for name, state in centre.agents.items():
            contact = f"[leg_timeout=10]sofia/gateway/agents/{name.partition('@')[0]}"
            rows.append(f"{name}|single_box||callback|{contact}|Available|{state}")
        return "\n".join(rows) + "\n+OK\n"
    if words[:2] == ["queue", "list"] and len(words) == 2:
        return "name|strategy\nsupport@default|longest-idle-agent\n+OK\n"
    if words[:3] == ["queue", "count", "members"] and len(words) > 3:
        return f"{len(centre.waiting.get(words[3], []))}\n"
    if words[:3] == ["queue", "list", "members"] and len(words) > 3:
        rows = [f"{words[3]}|single_box|{each.uuid}" for each in centre.waiting.get(words[3], [])]
        return "\n".join(["queue|instance_id|session_uuid", *rows]) + "\n+OK\n"
    return "-ERR Invalid!\n"


def _eval(switch: Switch, argument: str) -> str:
    return expand(argument, lambda name: switch.globals.get(name, ""))


def _expanded(switch: Switch, argument: str) -> str | Job:
    name, _, rest = _eval(switch, argument).partition(" ")
    return call(switch, name, rest)


def _sofia(switch: Switch, argument: str) -> str:
    """``status gateway NAME`` alone."""
    match argument.split():
        case ["status", "gateway", name] if switch.options.knows_gateway(name):
            return f"{'=' * 97}\nName    \t{name}\nProfile \texternal\nState   \tNOREG\nStatus  \tUP\n{'=' * 97}\n"
        case ["status", "gateway", _]:
            return "Invalid Gateway!\n"
        case _:
            return "-USAGE: sofia status gateway <name>\n"


def _xml_locate(switch: Switch, argument: str) -> str:
    """``configuration configuration name json_cdr.conf`` alone."""
    if argument.split() != ["configuration", "configuration", "name", "json_cdr.conf"]:
        return "can't find anything\n"
    given = {"log-dir": str(switch.options.cdr)} if switch.options.cdr is not None else {}
    params = "".join(
        f"    <param name={quoteattr(name)} value={quoteattr(value)}></param>\n"
        for name, value in {**given, **switch.options.json_cdr}.items()
    )
    return f'<configuration name="json_cdr.conf">\n  <settings>\n{params}  </settings>\n</configuration>\n'


COMMANDS: Final[dict[str, Command]] = {
    "originate": _originate,
    "status": _status,
    "version": _version,
    "show": show,
    "hupall": _hupall,
    "fsctl": _fsctl,
    "reloadxml": _reloadxml,
    "global_getvar": _global_getvar,
    "global_setvar": _global_setvar,
    "sched_api": _sched_api,
    "callcenter_config": _callcenter_config,
    "hostname": lambda switch, _argument: switch.options.hostname,
    "switchname": lambda switch, _argument: switch.options.hostname,
    "echo": lambda _switch, argument: argument,
    "eval": _eval,
    "expand": _expanded,
    "create_uuid": lambda switch, _argument: switch.new_uuid(),
    "file_exists": lambda _switch, argument: "true" if Path(argument).exists() else "false",
    "sofia": _sofia,
    "xml_locate": _xml_locate,
    "strepoch": lambda switch, _argument: str(switch.clock.now_us() // 1_000_000),
    "module_exists": lambda switch, argument: "true" if argument in switch.options.modules else "false",
    **UUID_COMMANDS,
}


def call(switch: Switch, name: str, argument: str) -> str | Job:
    """The answer of a command, or the job that will have it."""
    block = {"API-Command": name, **({"API-Command-Argument": argument} if argument else {})}
    switch.emit("API", sources.API, block)
    command = COMMANDS.get(name.lower())
    if command is None:
        return f"-ERR {name} Command not found!\n"
    return command(switch, argument)
