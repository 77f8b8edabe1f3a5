"""The sections of the settings, all but ``originate``. The descriptions are what docs/configuration.md prints."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from callengine.config.fields import (
    AbsolutePath,
    Count,
    DatabaseUrl,
    Filled,
    HttpUrl,
    Milliseconds,
    Port,
    Seconds,
    Section,
    Text,
    VariableName,
    WholeSeconds,
)


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Esl(Section):
    """The event socket of FreeSWITCH."""

    host: Filled = Field("127.0.0.1", description="Where FreeSWITCH's event socket listens.")
    port: Port = Field(8021, description="Its port.")
    password: SecretStr = Field(SecretStr("ClueCon"), description="Its password, as in event_socket.conf.xml.")
    connect_timeout_s: Seconds = Field(5, description="Bound for connecting and authenticating.")
    command_timeout_s: Seconds = Field(10, description="Bound for the reply to a command.")
    heartbeat_timeout_s: Seconds = Field(
        45,
        description="Without any event for so long the connection counts as dead."
        " FreeSWITCH sends a heartbeat every 20 s unless told otherwise.",
    )
    backoff_min_s: Seconds = Field(0.5, description="First pause before connecting again.")
    backoff_max_s: Seconds = Field(30, description="Longest pause before connecting again.")
    intake_max_events: Count = Field(
        500_000, description="How many received events may wait for the tracker before the connection is given up."
    )
    intake_max_bytes: Count = Field(1 << 30, description="The same bound in bytes.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_min_s > self.backoff_max_s:
            raise ValueError("backoff_min_s must not be greater than backoff_max_s")
        return self

    @property
    def address(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.port}"


class Switch(Section):
    """The FreeSWITCH that this engine tracks."""

    name: Text = Field("", max_length=128, description="Its name (`node`) on every call; empty: the switch's hostname.")


class Http(Section):
    """The API, the metrics and the live page."""

    host: Filled = Field("127.0.0.1", description="Where to listen. Beyond loopback `/metrics` needs `metrics.token`.")
    port: Port = Field(8088, description="The port to listen on.")
    public_url: HttpUrl = Field(
        "", description="The URL under which clients reach us, for the links we give out; empty: `http://host:port`."
    )
    signing_key: SecretStr = Field(
        SecretStr(""), description="Signs recording URLs; empty: generated once and kept in `state.directory`."
    )
    max_body_bytes: Count = Field(65_536, description="A request with a larger body is answered 413.")
    max_concurrency: Count = Field(64, description="How many requests are served at once; further ones wait.")
    request_timeout_s: Seconds = Field(30, description="Bound for one request, from its first byte to its answer.")

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach us."""
        return is_loopback(self.host)


def _state_directory() -> Path:
    return Path("var").absolute()


class State(Section):
    """What callengine keeps on disk."""

    directory: AbsolutePath = Field(
        default_factory=_state_directory,
        description="For the database, the signing key and whatever else has to outlive a restart."
        " Unset: `$STATE_DIRECTORY`, which systemd sets, else `var` in the working directory.",
    )


class Database(Section):
    """Where the calls are kept."""

    url: DatabaseUrl = Field(
        SecretStr(""),
        description="`sqlite:///file` or `postgresql://user:password@host/database`;"
        " empty: `callengine.db` in `state.directory`.",
    )
    commit_interval_ms: Milliseconds = Field(100, description="At most so long until a change is committed.")
    pool_size: Count = Field(8, le=1000, description="Connections for reading.")
    busy_timeout_ms: Milliseconds = Field(5000, description="SQLite: how long to wait for another process's lock.")
    sqlite_synchronous: Literal["normal", "full"] = Field(
        "normal", description="SQLite: `full` also survives a power cut without losing the last commits."
    )

    @property
    def is_postgres(self) -> bool:
        """Postgres, or else SQLite."""
        return self.url.get_secret_value().startswith("postgres")

    @property
    def url_without_password(self) -> str:
        """The URL as it may be shown and logged."""
        url = self.url.get_secret_value()
        parts = urlsplit(url)
        if not (parts.netloc or parts.query):
            return url
        user, at, place = parts.netloc.rpartition("@")
        return parts._replace(netloc=user.partition(":")[0] + at + place, query="").geturl()


class Recordings(Section):
    """Where recordings lie, and when they are made."""

    directories: tuple[AbsolutePath, ...] = Field(
        (), description="The only directories that recordings are ever read from, as this machine sees them."
    )
    path_map: dict[str, AbsolutePath] = Field(
        default_factory=dict, description="The switch's directory to ours, where the two see different paths."
    )
    start: Literal["never", "answer"] = Field("never", description="When to record the calls that we originate.")
    stereo: bool = Field(True, description="Each side on a channel of its own.")
    format: Literal["wav", "mp3"] = Field("wav", description="The file format to record in.")
    url_ttl_s: WholeSeconds = Field(3600, description="How long a recording's URL works.")


class Ai(Section):
    """Summary and sentiment by Gemini."""

    enabled: bool = Field(False, description="Whether finished recordings are sent to Gemini at all.")
    sdk: Literal["google-genai", "google-generativeai"] = Field(
        "google-genai", description="Through which of Google's packages; the latter is without support since 2025."
    )
    api_key: SecretStr = Field(SecretStr(""), description="The key for the Gemini API.")
    base_url: HttpUrl = Field("", description="Another address for the Gemini API; empty: Google's.")
    model: Filled = Field("gemini-3.5-flash-lite", description="The model to ask.")
    transcript: bool = Field(True, description="Whether to ask for and keep a transcript too.")

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.enabled and not self.api_key.get_secret_value():
            raise ValueError("ai.enabled needs ai.api_key")
        return self


class Tracking(Section):
    """Which calls are tracked, and how it is known whose they are."""

    agent_variables: tuple[VariableName, ...] = Field(
        ("callengine_agent_id", "cc_agent", "dialed_user"),
        description="Channel variables that name the agent; the first that is set counts.",
    )
    campaign_variable: VariableName = Field("callengine_campaign_id", description="Names the campaign.")
    lead_variable: VariableName = Field("callengine_lead_id", description="Names the lead.")
    tenant_variable: VariableName = Field("callengine_tenant_id", description="Names the tenant.")
    own_only: bool = Field(False, description="Track only the calls that we originate.")
    overlong_after_s: WholeSeconds = Field(4 * 3600, description="A call that lasts longer is flagged `overlong`.")
    default_tenant: Filled = Field(
        "default", max_length=128, description="Whose the calls are that name no known tenant: the operator's."
    )
    tenant_hold_s: Seconds = Field(
        2.0, le=60, description="So long events of a call without a named tenant are held back, until answer at most."
    )

    @model_validator(mode="after")
    def _tenant_not_from_outside(self) -> Self:
        if self.tenant_variable.lower().startswith("sip_h_"):
            raise ValueError("tracking.tenant_variable must not be a SIP header (sip_h_…): any caller could set it")
        return self


class Metrics(Section):
    """The Prometheus metrics."""

    token: SecretStr = Field(SecretStr(""), description="Bearer token for `/metrics`; needed beyond loopback.")


class Log(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: for humans on a terminal, else one JSON object a line."
    )
