"""The section ``originate``: the closed set of what a request may ask of the switch."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from callengine.config.fields import (
    DIALLED,
    Count,
    Filled,
    ObjectName,
    Pattern,
    Rate,
    Seconds,
    Section,
    Text,
    WholeSeconds,
    placeholders,
)

_FORBIDDEN_PREFIXES = ("execute_on_", "api_", "exec_", "record_post_", "callengine_")
_FORBIDDEN_SUFFIX = "_hook"


def is_forbidden_variable(name: str) -> bool:
    """Whether no configuration may open the channel variable ``name`` to requests: it runs something, or is ours.

    FreeSWITCH finds variables without regard to case, so case is no way around it.
    """
    lowered = name.lower()
    return lowered.startswith(_FORBIDDEN_PREFIXES) or lowered.endswith(_FORBIDDEN_SUFFIX)


def _variable_pattern(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,127}\*|[A-Za-z0-9_.-]{1,128}", value):
        raise ValueError("must be a channel variable's name, or the beginning of one and a final '*'")
    stem = value.removesuffix("*")
    reaches = stem != value and any(prefix.startswith(stem.lower()) for prefix in _FORBIDDEN_PREFIXES)
    if reaches or is_forbidden_variable(stem):
        raise ValueError(
            "would let a request set what runs commands on the switch or names a call's owner"
            " (execute_on_*, api_*, exec_*, *_hook, record_post_*, callengine_*)"
        )
    return value


VariablePattern = Annotated[str, AfterValidator(_variable_pattern)]


class Gateway(Section):
    """A way out to the telephone network, under the name that requests use."""

    dial_string: Filled = Field(
        "sofia/gateway/{gateway}/{destination}",
        description="How FreeSWITCH reaches it; `{gateway}` is the table's name, `{destination}` the number."
        " Braces of FreeSWITCH's own are doubled.",
    )
    max_per_second: Rate | None = Field(None, description="Originates a second through it; unset: only the engine's.")
    max_concurrent: Count | None = Field(None, description="Calls at once through it; unset: only the engine's.")
    caller_id_pattern: Pattern = Field(
        re.compile(DIALLED), description="The caller id numbers that a request may show (the whole number must match)."
    )
    caller_id_number: Text = Field("", description="The caller id where a request names none; empty: the switch's.")

    @model_validator(mode="after")
    def _template(self) -> Self:
        names = placeholders(self.dial_string)
        if "destination" not in names or names - {"destination", "gateway"}:
            raise ValueError("dial_string must contain {destination}, and may contain {gateway}, and nothing else")
        if self.caller_id_number and not self.caller_id_pattern.fullmatch(self.caller_id_number):
            raise ValueError("caller_id_number must match caller_id_pattern")
        return self


class Agents(Section):
    """How to ring an agent, under the name that requests use."""

    dial_string: Filled = Field(description="How FreeSWITCH reaches one, as in `user/{agent}@example.com`.")
    agent_pattern: Pattern = Field(
        re.compile(r"[A-Za-z0-9_.-]{1,64}"), description="What an agent's id may be (the whole id must match)."
    )

    @model_validator(mode="after")
    def _template(self) -> Self:
        if placeholders(self.dial_string) != {"agent"}:
            raise ValueError("dial_string must contain {agent}, and no other name in braces")
        return self


class Application(Section):
    """What a request may have done on answer, by name. Its arguments are fixed here."""

    application: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")] = Field(
        description="The dialplan application, as in `playback`."
    )
    arguments: Text = Field("", description="Its arguments.")


class Originate(Section):
    """Calls that we place."""

    reloadable: ClassVar[frozenset[str]] = frozenset(
        "enabled queue_timeout_s queue_max max_per_second max_concurrent max_duration_s ring_timeout_s"
        " destination_pattern extension_pattern extension_context gateways queues agents applications variables".split()
    )

    enabled: bool = Field(True, description="Whether calls may be placed at all.")
    queue_timeout_s: Seconds = Field(30, description="A call that finds no slot for so long has failed.")
    queue_max: Count = Field(1000, description="So many calls may wait; further requests are answered 429.")
    max_per_second: Rate = Field(20, description="Originates a second, of this engine.")
    max_concurrent: Count = Field(200, description="Calls of ours at once, of this engine.")
    job_grace_s: Seconds = Field(5, description="How long an ended channel waits for the answer of its job.")
    max_duration_s: WholeSeconds = Field(14_400, description="After so long the switch hangs up a call that we placed.")
    ring_timeout_s: WholeSeconds = Field(30, description="How long it rings where a request does not say.")
    destination_pattern: Pattern = Field(
        re.compile(DIALLED), description="What may be dialled (the whole number must match)."
    )
    extension_pattern: Pattern = Field(
        re.compile(DIALLED), description="What may be transferred to (the whole extension must match)."
    )
    extension_context: ObjectName = Field("default", description="The one dialplan context for extensions.")
    gateways: dict[ObjectName, Gateway] = Field(default_factory=dict, description="Ways out, by name.")
    queues: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,128}$")], ...] = Field(
        (), description="Queues of mod_callcenter that an answered call may go to."
    )
    agents: dict[ObjectName, Agents] = Field(default_factory=dict, description="How agents are rung, by name.")
    applications: dict[ObjectName, Application] = Field(
        default_factory=dict, description="What may be done on answer, by name."
    )
    variables: tuple[VariablePattern, ...] = Field(
        ("sip_h_X-*",), description="Channel variables that a request may set; a final `*` stands for any ending."
    )

    def allows_variable(self, name: str) -> bool:
        """Whether a request may set the channel variable ``name``."""
        if is_forbidden_variable(name) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name):
            return False
        return any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in self.variables
        )
