"""From a request to a plan: the closed set of what may be asked of the switch.

A request chooses by name among what the configuration opens; its numbers and texts have to match the patterns there.
Whatever the patterns allow, nothing passes that could be more than the number or the text it is (``esl.commands``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

from callengine.calls.facts import CallQueued
from callengine.calls.ids import usable_id
from callengine.config.originate import Agents, Gateway, is_forbidden_variable
from callengine.config.settings import Settings
from callengine.errors import MalformedInput, NotAllowed
from callengine.esl import commands
from callengine.esl.commands import Application, Extension
from callengine.originate.ids import new_uuid
from callengine.originate.rulebook import rule_of

MAX_RING_S: Final = 600
MAX_VARIABLES: Final = 64
QUEUE_APPLICATION: Final = "callcenter"

# What whoever has answered hears while the other one is rung: a ringing tone (ITU-T E.180), as in North America.
_RINGING_TONE: Final = "%(2000,4000,440,480)"
# Whatever `originate.variables` opens: with these a request would undo what the plan promises.
_OURS: Final = ("origination_", "originate_", "_nolocal_", "nolocal")
_OURS_EXACTLY: Final = frozenset(
    {"export_vars", "bridge_export_vars", "ignore_early_media", "transfer_ringback", "recording_follow_transfer"}
    | {"record_stereo", "app_disable_expand_variables", "sched_hangup"}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A call as it will be placed. ``call_id`` is also the UUID of the lead's channel; ``command`` is sent as it is.

    ``agent_leg`` is the UUID of the agent's channel where the agent is rung first.
    """

    call_id: str
    job_uuid: str
    command: str
    gateway: str
    destination: str
    ring_limit_s: int
    caller_number: str | None = None
    caller_name: str | None = None
    campaign: str | None = None
    lead: str | None = None
    queue: str | None = None
    agent: str | None = None
    agent_leg: str | None = None

    def queued(self, tenant_id: str, at_us: int) -> CallQueued:
        """The fact that this call was accepted; ``at_us`` is our clock."""
        return CallQueued(
            uuid=self.call_id,
            call_id=self.call_id,
            job_uuid=self.job_uuid,
            tenant_id=tenant_id,
            at_us=at_us,
            caller_number=self.caller_number,
            caller_name=self.caller_name,
            callee_number=self.destination,
            gateway=self.gateway,
            campaign=self.campaign,
            lead=self.lead,
            queue=self.queue,
            agent=self.agent,
            agent_leg=self.agent_leg,
        )


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """An agent to be rung: the configured dial string, filled in, and who that is."""

    dial_string: str
    agent_id: str


class Planner:
    """Makes plans under one configuration. Raises NotAllowed and MalformedInput, which name the field."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._set = settings.originate
        tracking = settings.tracking
        agents = tracking.agent_variables
        default = "callengine_agent_id"
        self._agent_variable = default if default in agents or not agents else agents[0]
        naming = (*agents, tracking.campaign_variable, tracking.lead_variable, tracking.tenant_variable)
        self._naming = frozenset(name.lower() for name in naming)

    # -- a whole call ---------------------------------------------------------------------------------------------

    def plan(self, request: Mapping[str, Any], now_us: int, rule: str | None = None) -> Plan:
        """The plan of a new call. ``request`` as in ``api.services.Control.originate``; ``now_us`` is our clock.

        ``rule`` is which calls the campaign or the tenant has recorded (``never``, ``originated``, ``all``); None: as
        the settings have it. What the request says of it goes first.
        """
        if not self._set.enabled:
            raise NotAllowed("destination", "cannot be dialled: originate.enabled is false")
        name, gateway = self._gateway(request.get("gateway"))
        destination = self.dialled("destination", request["destination"])
        number, shown = self._caller_id(gateway, request)
        target = request.get("on_answer") or {"type": "park"}
        agent = self.agent("on_answer", target) if target.get("type") == "agent" else None
        first = request.get("first", "lead")
        if first not in {"lead", "agent"}:
            raise MalformedInput("first", "must be lead or agent")
        if first == "agent" and agent is None:
            raise NotAllowed("on_answer", "must be an agent where the agent is rung first")
        ring_s = self._seconds("ring_timeout_s", request.get("ring_timeout_s"), self._set.ring_timeout_s, MAX_RING_S)
        call_id, job = new_uuid(now_us), new_uuid(now_us)
        asked = self._asked(request, shown)
        lead = self._lead_leg(request, call_id, number, ring_s, now_us)
        if self._records(request.get("record"), rule):
            path = self.recording_path(call_id, now_us)
            lead["execute_on_answer_2"] = commands.record_session(path)
            lead |= self.recording_variables()
        dial = gateway.dial_string.format(gateway=name, destination=destination)
        agent_leg = new_uuid(now_us) if first == "agent" else None
        if agent is not None and agent_leg is not None:
            command = self._agent_first(agent, agent_leg, destination, lead, asked, dial)
        else:
            # Ours come last: of two spellings of one variable FreeSWITCH keeps the later.
            ringing = {"transfer_ringback": _RINGING_TONE} if agent else {}
            then = self._then(target, agent, destination)
            command = commands.originate({**asked, **lead, **ringing}, dial, then)
        return Plan(
            call_id=call_id,
            job_uuid=job,
            command=command,
            gateway=name,
            destination=destination,
            ring_limit_s=ring_s + (self._set.ring_timeout_s if agent_leg else 0),
            caller_number=number,
            caller_name=shown,
            campaign=request.get("campaign_id"),
            lead=request.get("lead_id"),
            queue=target.get("queue") if target.get("type") == "queue" else None,
            agent=agent.agent_id if agent else None,
            agent_leg=agent_leg,
        )

    def _then(self, target: Mapping[str, Any], agent: AgentTarget | None, destination: str) -> Extension | Application:
        if agent is not None:
            return commands.bridge_to(self.agent_leg(agent, destination), agent.dial_string)
        if target.get("type") == "extension":
            return self.extension("on_answer.extension", target)
        return self.application("on_answer", target)

    def _agent_first(
        self, agent: AgentTarget, leg: str, destination: str, lead: dict[str, str], asked: dict[str, str], dial: str
    ) -> str:
        variables = {
            **commands.for_other_leg(asked),
            **self.agent_leg(agent, destination),
            "origination_uuid": leg,
            "transfer_ringback": _RINGING_TONE,
        }
        return commands.originate(variables, agent.dial_string, commands.bridge_to(lead, dial), field="gateway")

    # -- the legs -------------------------------------------------------------------------------------------------

    def _lead_leg(
        self, request: Mapping[str, Any], call_id: str, number: str | None, ring_s: int, now_us: int
    ) -> dict[str, str]:
        """What we say of the leg to the lead. Nothing in it needs quoting, wherever it stands.

        ``ignore_early_media``: without it an announcement before the answer counts as one for ``originate`` and
        ``bridge``: the call would be handed to the agent, the queue or the application while the lead's phone still
        rings, and the job would say +OK of calls that are never answered.
        """
        longest_s = self._seconds("max_duration_s", request.get("max_duration_s"), self._set.max_duration_s)
        leg = {
            "origination_uuid": commands.own_uuid(call_id),
            "originate_timeout": str(ring_s),
            "ignore_early_media": "true",
            "execute_on_answer_1": commands.sched_hangup(longest_s),
        }
        if number:
            leg["origination_caller_id_number"] = number
        return leg

    def agent_leg(self, agent: AgentTarget, lead_number: str | None) -> dict[str, str]:
        """What we say of the leg to an agent, whose phone shows the lead's number."""
        leg = {
            self._agent_variable: agent.agent_id,
            "originate_timeout": str(self._set.ring_timeout_s),
            "ignore_early_media": "true",
        }
        if lead_number and commands.is_number(lead_number):
            leg |= {"origination_caller_id_number": lead_number, "origination_caller_id_name": lead_number}
        return leg

    def _asked(self, request: Mapping[str, Any], caller_name: str | None) -> dict[str, str]:
        """What the request says of the lead's leg in its own words."""
        asked: dict[str, str] = {}
        variables = request.get("variables") or {}
        if len(variables) > MAX_VARIABLES:
            raise MalformedInput("variables", f"must not be more than {MAX_VARIABLES}")
        for name, value in variables.items():
            field = f"variables.{name}" if commands.is_variable(name) else "variables"
            if self._is_ours(name):
                raise NotAllowed(field, "is none that a request may set")
            if not self._set.allows_variable(name):
                raise _beyond(field, "variables")
            asked[name] = commands.check_value(f"variables.{name}", value)
        if len({name.lower() for name in asked}) < len(asked):
            raise MalformedInput("variables", "name one variable twice: FreeSWITCH does not tell upper case from lower")
        tracking = self._settings.tracking
        for field, variable in (("campaign_id", tracking.campaign_variable), ("lead_id", tracking.lead_variable)):
            value = request.get(field)
            if value is not None:
                if not usable_id(value):
                    raise MalformedInput(field, "must be 1 to 128 printable characters")
                asked[variable] = commands.check_value(field, value)
        if caller_name is not None:
            asked["origination_caller_id_name"] = caller_name
        return asked

    def _is_ours(self, name: str) -> bool:
        """Whether no request may set it, whatever the configuration opens."""
        lowered = name.lower()
        ours = lowered.startswith(_OURS) or lowered in _OURS_EXACTLY or lowered in self._naming
        return ours or is_forbidden_variable(name)

    # -- parts ----------------------------------------------------------------------------------------------------

    def _gateway(self, name: str | None) -> tuple[str, Gateway]:
        gateways = self._set.gateways
        if name is None:
            if len(gateways) != 1:
                raise NotAllowed("gateway", "must be named: the configuration has none, or several")
            name = next(iter(gateways))
        if name not in gateways:
            raise _beyond("gateway", "gateways")
        return name, gateways[name]

    def dialled(self, field: str, number: str) -> str:
        """A destination that the configuration allows."""
        if not self._set.destination_pattern.fullmatch(number):
            raise _beyond(field, "destination_pattern")
        return commands.check_dialled(field, number)

    def _caller_id(self, gateway: Gateway, request: Mapping[str, Any]) -> tuple[str | None, str | None]:
        number = request.get("caller_id_number")
        if number is None:
            number = gateway.caller_id_number or None
        elif not gateway.caller_id_pattern.fullmatch(number):
            raise _beyond("caller_id_number", "gateways.NAME.caller_id_pattern")
        if number is not None:
            commands.check_number("caller_id_number", number)
        name = request.get("caller_id_name")
        return number, None if name is None else commands.check_display_name("caller_id_name", name)

    def agent(self, field: str, target: Mapping[str, Any]) -> AgentTarget:
        """The agent that a target names."""
        template: Agents | None = self._set.agents.get(target["agents"])
        if template is None:
            raise _beyond(f"{field}.agents", "agents")
        agent_id = target["agent_id"]
        if not template.agent_pattern.fullmatch(agent_id):
            raise _beyond(f"{field}.agent_id", "agents.NAME.agent_pattern")
        commands.check_dialled(f"{field}.agent_id", agent_id)
        return AgentTarget(template.dial_string.format(agent=agent_id), agent_id)

    def extension(self, field: str, target: Mapping[str, Any]) -> Extension:
        """The extension that a target names, in the one context that is configured."""
        number = target["extension"]
        if not self._set.extension_pattern.fullmatch(number):
            raise _beyond(field, "extension_pattern")
        return Extension(commands.check_dialled(field, number), self._set.extension_context)

    def application(self, field: str, target: Mapping[str, Any]) -> Application:
        """What a target of type queue, application or park has executed; all of its text is the configuration's."""
        match target.get("type"):
            case "park":
                return Application("park")
            case "queue":
                queue = next((name for name in self._set.queues if name == target["queue"]), None)
                if queue is None:
                    raise _beyond(f"{field}.queue", "queues")
                return Application(QUEUE_APPLICATION, queue)
            case "application":
                configured = self._set.applications.get(target["application"])
                if configured is None:
                    raise _beyond(f"{field}.application", "applications")
                return Application(configured.application, configured.arguments)
            case _:
                raise NotAllowed(f"{field}.type")

    def _seconds(self, field: str, asked: Any, configured: int, limit: int | None = None) -> int:
        """``asked``, or the configured one; without a ``limit`` the configured one is also the most."""
        most = configured if limit is None else max(limit, configured)
        seconds = configured if asked is None else asked
        if type(seconds) is not int or not 1 <= seconds <= most:
            raise MalformedInput(field, f"must be a whole number of seconds from 1 to {most}")
        return seconds

    # -- recordings -----------------------------------------------------------------------------------------------

    def _records(self, asked: Any, rule: str | None) -> bool:
        if asked is not None and type(asked) is not bool:
            raise MalformedInput("record", "must be true or false")
        return (rule or rule_of(self._settings.recordings.start)) != "never" if asked is None else asked

    def recording_variables(self) -> dict[str, str]:
        """How a call is recorded: a transfer does not end it."""
        stereo = {"RECORD_STEREO": "true"} if self._settings.recordings.stereo else {}
        return {"recording_follow_transfer": "true", **stereo}

    def recording_path(self, call_id: str, now_us: int, number: int = 1) -> str:
        """Where the call's ``number``-th recording is written, as the switch names it: one folder a day."""
        ours = self._settings.recordings
        if not ours.directories:
            raise NotAllowed("record", "cannot be done: recordings.directories is empty")
        root = PurePosixPath(ours.directories[0])
        for theirs, mapped in ours.path_map.items():
            if root.is_relative_to(mapped):
                root = PurePosixPath(theirs) / root.relative_to(mapped)
                break
        day = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y-%m-%d")
        suffix = "" if number == 1 else f"-{number}"
        return commands.recording_path(f"{root}/{day}/{call_id}{suffix}.{ours.format}")


def _beyond(field: str, setting: str) -> NotAllowed:
    """The setting of ``[originate]`` is named, what it holds is not."""
    return NotAllowed(field, f"is not among what originate.{setting} allows")
