"""The sections of the settings, all but ``originate``. The descriptions are what docs/configuration.md prints."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from callengine.config.fields import (
    AbsolutePath,
    Cidr,
    Count,
    DatabaseUrl,
    Days,
    DaysOrForEver,
    Dollars,
    Filled,
    HangupCause,
    Host,
    HttpUrl,
    Milliseconds,
    Port,
    Seconds,
    Section,
    Text,
    VariableName,
    WholeSeconds,
    bucket_name,
    key_prefix,
)

_BackingOff = TypeVar("_BackingOff", "Esl", "Ai")


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _ordered(section: _BackingOff) -> _BackingOff:
    """A section whose pauses grow, unless the shortest is longer than the longest."""
    if section.backoff_min_s > section.backoff_max_s:
        raise ValueError("backoff_min_s must not be greater than backoff_max_s")
    return section


class Esl(Section):
    """The event socket of FreeSWITCH."""

    host: Host = Field("127.0.0.1", description="Where FreeSWITCH's event socket listens.")
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
    backoff_max_s: Seconds = Field(
        5, description="Longest pause before connecting again. What happens meanwhile is known late, not lost."
    )
    intake_max_events: Count = Field(
        500_000, description="How many received events may wait for the tracker before the connection is given up."
    )
    intake_max_bytes: Count = Field(1 << 30, description="The same bound in bytes.")

    _ordered = model_validator(mode="after")(_ordered)

    @property
    def address(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.port}"


class Switch(Section):
    """The FreeSWITCH that this engine tracks."""

    name: Text = Field("", max_length=128, description="Its name (`node`) on every call; empty: the switch's hostname.")


class Http(Section):
    """The API, the metrics and the live page."""

    reloadable: ClassVar[frozenset[str]] = frozenset("signing_key old_signing_keys".split())

    host: Host = Field("127.0.0.1", description="Where to listen. Beyond loopback `/metrics` needs `metrics.token`.")
    port: Port = Field(8088, description="The port to listen on.")
    public_url: HttpUrl = Field(
        "", description="The URL under which clients reach us, for the links we give out; empty: `http://host:port`."
    )
    signing_key: SecretStr = Field(
        SecretStr(""), description="Signs recording URLs; empty: generated once and kept in `state.directory`."
    )
    old_signing_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys that signed before, separated by white space: URLs that they signed work until they expire.",
    )
    max_body_bytes: Count = Field(65_536, description="A request with a larger body is answered 413.")
    max_concurrency: Count = Field(64, description="How many requests are served at once; further ones wait.")
    max_long_lived: Count = Field(
        64,
        le=10_000,
        description="How many recordings are sent at once, and how many readers the stream has; each has so many.",
    )
    request_timeout_s: Seconds = Field(
        30,
        description="Bound for one request, from its first byte to its answer; of a recording or the stream: for each"
        " 64 kB of it.",
    )

    @model_validator(mode="after")
    def _keys_without_space(self) -> Self:
        key = self.signing_key.get_secret_value()
        if key.split() not in ([], [key]):
            raise ValueError("signing_key must have no white space in it")
        return self

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
    spool: bool = Field(
        True,
        description="Whether events are written to files in `state.directory/spool` as they come, to be read again"
        " where the process was killed before what they tell was committed.",
    )
    spool_max_bytes: Count = Field(
        4 << 30,
        ge=1 << 24,
        description="How much these files may take, while the database is away say. Beyond it, and where less than"
        " 64 MiB of the disk are free, what is there stays and no more is written.",
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

    reloadable: ClassVar[frozenset[str]] = frozenset(
        "start stereo format url_ttl_s keep_local wait_s sweep_days keep_days".split()
    )

    directories: tuple[AbsolutePath, ...] = Field(
        (), description="The only directories that recordings are ever read from, as this machine sees them."
    )
    path_map: dict[str, AbsolutePath] = Field(
        default_factory=dict, description="The switch's directory to ours, where the two see different paths."
    )
    start: Literal["never", "answer", "all"] = Field(
        "never",
        description="Which calls are recorded where neither campaign nor tenant says: none, those that we originate"
        " (`answer`: from their answer on), or `all`, also those that others place.",
    )
    stereo: bool = Field(True, description="Each side on a channel of its own.")
    format: Literal["wav", "mp3"] = Field("wav", description="The file format to record in.")
    url_ttl_s: WholeSeconds = Field(3600, description="How long a recording's URL works.")
    storage: Literal["disk", "s3"] = Field(
        "disk", description="Where finished recordings are kept: where they were made, or in the bucket of `[s3]`."
    )
    keep_local: bool = Field(
        False, description='With `storage = "s3"`: whether the local file stays once it is in the bucket.'
    )
    wait_s: WholeSeconds = Field(
        30, description="How long a file may stay away that the switch says it recorded; then it is `missing`."
    )
    sweep_days: Days = Field(
        2, description="Files that nothing told of are looked for if they are not older than so many days."
    )
    keep_days: DaysOrForEver = Field(
        0,
        description="How many days recordings are kept, of tenants that have no rule of their own; 0: for ever."
        " Then the file is deleted.",
    )


class S3(Section):
    """The bucket of an S3-compatible store, for `recordings.storage = "s3"`."""

    endpoint_url: HttpUrl = Field("", description="The store's URL; empty: Amazon's, by the region.")
    bucket: Annotated[str, AfterValidator(bucket_name)] = Field("", description="The bucket's name.")
    prefix: Annotated[str, AfterValidator(key_prefix)] = Field(
        "recordings", description="What the names of objects begin with, without slashes around it."
    )
    region: Text = Field("us-east-1", description="The region; many stores other than Amazon's do not care.")
    access_key_id: Text = Field("", description="The id of the access key.")
    secret_access_key: SecretStr = Field(SecretStr(""), description="The access key itself.")
    path_style: bool = Field(True, description="`endpoint/bucket/object` in URLs; else `bucket.endpoint/object`.")
    url_ttl_s: WholeSeconds = Field(
        300,
        le=604_800,
        description="How long the bucket's own URL works, to which a recording's URL redirects.",
    )
    concurrency: Count = Field(4, le=64, description="How many transfers go on at once.")
    connect_timeout_s: Seconds = Field(10, description="Bound for connecting.")
    read_timeout_s: Seconds = Field(60, description="Without a byte for so long a transfer has failed.")


class Ai(Section):
    """Summary and sentiment by Gemini."""

    reloadable: ClassVar[frozenset[str]] = frozenset(
        "model transcript transcript_max_s deadline_s max_attempts"
        " backoff_min_s backoff_max_s min_audio_s silence_dbfs skip_causes daily_spend_usd".split()
    )

    enabled: bool = Field(False, description="Whether finished recordings are sent to Gemini at all.")
    sdk: Literal["google-genai", "google-generativeai"] = Field(
        "google-genai", description="Through which of Google's packages; the latter is without support since 2025."
    )
    api_key: SecretStr = Field(SecretStr(""), description="The key for the Gemini API.")
    base_url: HttpUrl = Field("", description="Another address for the Gemini API; empty: Google's.")
    model: Filled = Field("gemini-3.5-flash-lite", description="The model to ask.")
    transcript: bool = Field(
        True,
        description="Whether to ask for and keep a transcript; without it no statement can be held against a quote.",
    )
    transcript_max_s: WholeSeconds = Field(900, description="Of longer calls no transcript is asked for.")
    workers: Count = Field(4, le=64, description="How many calls are analysed at once.")
    deadline_s: Seconds = Field(300, ge=10, le=3600, description="Bound for one analysis, uploads included.")
    max_attempts: Count = Field(
        8, le=100, description="After so many attempts that failed for a passing reason an analysis has failed."
    )
    backoff_min_s: Seconds = Field(
        10, description="First pause before such an attempt is repeated; the next is four times as long."
    )
    backoff_max_s: Seconds = Field(21_600, description="Longest such pause.")
    min_audio_s: Seconds = Field(5, description="Calls with less audio than this are not sent.")
    silence_dbfs: float = Field(
        -50, ge=-120, le=0, description="A recording whose loudest second is softer than this is silent, and not sent."
    )
    skip_causes: tuple[HangupCause, ...] = Field(
        (), description="Hangup causes that mean a voicemail: such calls are not sent. FreeSWITCH's names."
    )
    daily_spend_usd: Dollars = Field(
        0,
        description="What the analyses of one tenant may cost a day (UTC); 0: no bound. A tenant's own bound wins;"
        " there 0 means that nothing is sent.",
    )
    input_usd_per_million: Dollars = Field(
        0.30,
        description="Price of a million input tokens, by which costs are reckoned. The defaults are the default model's"
        " as others' price lists have it, not measured: compare them with your bill.",
    )
    output_usd_per_million: Dollars = Field(2.50, description="Price of a million output tokens.")

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.enabled and not self.api_key.get_secret_value():
            raise ValueError("ai.enabled needs ai.api_key: set it, or give it as the credential ai.api_key")
        return self

    _ordered = model_validator(mode="after")(_ordered)


class Webhooks(Section):
    """Telling tenants of their calls, at the endpoints that they register."""

    reloadable: ClassVar[frozenset[str]] = frozenset("endpoints_at_once max_endpoints".split())

    allow_http: bool = Field(False, description="Whether endpoints may do without TLS; else only `https://` is called.")
    allow_networks: tuple[Cidr, ...] = Field(
        (),
        description="Networks that endpoints may lie in though they are not public, as in `10.1.0.0/16`; these also"
        " without TLS. Whoever may register endpoints can then reach every machine in them.",
    )
    timeout_s: Seconds = Field(15, le=60, description="Bound for one delivery, from the name's lookup to the answer.")
    endpoints_at_once: Count = Field(32, le=256, description="How many endpoints are delivered to at once.")
    calls_at_once: Count = Field(4, le=32, description="How many calls an endpoint is told of side by side.")
    max_endpoints: Count = Field(20, le=1000, description="How many endpoints a tenant may have.")
    keep_days: Days = Field(7, description="How long events, and the log of what was delivered, are kept.")
    dead_keep_days: Days = Field(30, description="How long what could not be delivered is kept, to be replayed.")

    @model_validator(mode="after")
    def _dead_kept_longest(self) -> Self:
        if self.dead_keep_days < self.keep_days:
            raise ValueError("dead_keep_days must not be less than keep_days")
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


class Cdr(Section):
    """FreeSWITCH's CDRs (mod_json_cdr): how calls ended that nobody was listening to."""

    reloadable: ClassVar[frozenset[str]] = frozenset(
        "switchname poll_s grace_s max_bytes http_user http_secret audit_hour".split()
    )

    directories: tuple[AbsolutePath, ...] = Field(
        (), description="Where mod_json_cdr writes its files, as this machine sees them. Read at start, and watched."
    )
    switchname: Text = Field(
        "", max_length=128, description="Only records that carry this `switchname` are taken in; empty: all of them."
    )
    after: Literal["keep", "delete"] = Field(
        "keep", description="What becomes of a file once what it tells is committed."
    )
    since_days: Days = Field(7, description="Older records are not read, and no call is made of them.")
    poll_s: Seconds = Field(
        1.0, le=60, description="How often the directories are looked at; less often where many files lie there."
    )
    grace_s: Seconds = Field(
        3.0,
        le=30,
        description="How long a call that is gone from the switch waits for its record before it is closed without.",
    )
    max_bytes: Count = Field(1 << 20, le=1 << 26, description="A larger record is not read, and not taken over HTTP.")
    http_user: Filled = Field("freeswitch", max_length=128, description="User of `POST /fs/cdr` (HTTP Basic).")
    http_secret: SecretStr = Field(
        SecretStr(""), description="Its password; empty: records are not taken over HTTP, and the address is a 404."
    )
    inbox_max_files: Count = Field(
        10_000, description="How many posted records may wait in `state.directory`; further ones are answered 503."
    )
    inbox_max_bytes: Count = Field(256 << 20, description="The same bound in bytes.")
    audit: bool = Field(
        True, description="Whether the calls of the last day are compared with the directories once a day."
    )
    audit_hour: int = Field(3, ge=0, le=23, description="When: the hour of the day, UTC.")

    def can_reload(self, name: str, value: object) -> bool:
        """Posted records are taken or not from the start on; then user and password may change."""
        if name == "http_secret":
            return bool(self.http_secret.get_secret_value() and isinstance(value, SecretStr) and len(value))
        return super().can_reload(name, value)

    @model_validator(mode="after")
    def _user_without_colon(self) -> Self:
        if ":" in self.http_user:
            raise ValueError("http_user must have no colon in it: HTTP Basic ends the name there")
        return self


class Metrics(Section):
    """The Prometheus metrics."""

    reloadable: ClassVar[frozenset[str]] = frozenset("token".split())

    token: SecretStr = Field(SecretStr(""), description="Bearer token for `/metrics`; needed beyond loopback.")


def _headers(secret: SecretStr) -> SecretStr:
    for part in secret.get_secret_value().split(","):
        name, equals, value = part.partition("=")
        if part.strip() and not (
            equals and re.fullmatch(r"[A-Za-z0-9-]+", name.strip()) and value.strip().isprintable()
        ):
            raise ValueError("must be name=value, with commas between several")
    return secret


class Tracing(Section):
    """Traces for OpenTelemetry: of each call, and of what is done for it. Needs `pip install 'callengine[otel]'`."""

    enabled: bool = Field(False, description="Whether traces are sent.")
    endpoint: HttpUrl = Field(
        "http://127.0.0.1:4318/v1/traces", description="The whole URL of the receiver: OTLP over HTTP, as protobuf."
    )
    headers: Annotated[SecretStr, AfterValidator(_headers)] = Field(
        SecretStr(""), description="Headers to send along, as in `authorization=Bearer …`, with commas between several."
    )
    service_name: Filled = Field("callengine", max_length=128, description="The `service.name` that they carry.")
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Of how many calls: a call's trace is sent whole or not.")
    commits: bool = Field(True, description="Whether each group of rows that is committed is a trace of its own.")
    queue_max: Count = Field(
        10_000, le=1_000_000, description="So many spans may wait to be sent; further ones are dropped."
    )
    timeout_s: Seconds = Field(10, le=60, description="Bound for sending one batch, its repetitions included.")

    @model_validator(mode="after")
    def _has_endpoint(self) -> Self:
        if self.enabled and not self.endpoint:
            raise ValueError("tracing.enabled needs tracing.endpoint")
        return self


class Log(Section):
    """The log, on standard error."""

    reloadable: ClassVar[frozenset[str]] = frozenset("level format".split())

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")
    format: Literal["auto", "text", "json"] = Field(
        "auto",
        description="`text`: lines for people; `json`: one object a line, with `ts`, `level`, `logger`, `message` and,"
        " where there is one, `node`, `call_id`, `exception`; `auto`: text on a terminal, else JSON.",
    )
