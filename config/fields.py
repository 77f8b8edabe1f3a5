"""The types that settings are made of: each refuses what could not be meant, in words that name the remedy."""

from __future__ import annotations

import re
import string
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

DIALLED = r"\+?[0-9*#]{1,32}"
"""What a destination or an extension may be unless the operator says otherwise."""


class Section(BaseModel):
    """A table of the TOML file. Frozen; an unknown key is an error; a refused value is never repeated.

    ``reloadable`` names the settings that take effect when they are read again (``config.reload``): those that whoever
    needs them reads from the section each time, and those that the daemon hands on (``daemon``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    reloadable: ClassVar[frozenset[str]] = frozenset()

    def can_reload(self, name: str, value: object) -> bool:
        """Whether that setting can become ``value`` while we run."""
        return name in self.reloadable


def _no_bool(value: object) -> object:
    """``port = true`` would otherwise be port 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _no_control_characters(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    return value


def _compiled(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path, beginning with /")
    return path


# switch_ivr_async.c: a number, and a flag.
_RECORDINGS = frozenset({"record_ms", "RECORD_DISCARDED"})


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", value):
        raise ValueError("must be the name of a channel variable: letters, digits, '_', '.' and '-'")
    if value in _RECORDINGS:
        raise ValueError(f"must not be {value}: that is what FreeSWITCH tells of a recording")
    return value


def _hangup_cause(value: str) -> str:
    if not re.fullmatch(r"[A-Z0-9_]{2,64}", value):
        raise ValueError("must be a hangup cause by FreeSWITCH's name, as in NO_ANSWER")
    return value


def _object_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("must be a name of 1 to 64 letters, digits, '_', '.' or '-'")
    return value


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("must be networks as in 10.1.0.0/16 or fd00::/8, with no bits set behind the prefix") from None


def _host(value: str) -> str:
    """A name or an address, and nothing around it."""
    if "/" in value or any(character.isspace() for character in value):
        raise ValueError("must be a name or an address alone, as in 127.0.0.1: without http:// and without a path")
    if ":" in value:
        try:
            ip_address(value.partition("%")[0])
        except ValueError:
            raise ValueError(
                "must be a name or an address alone, as in 127.0.0.1: the port is a setting of its own"
            ) from None
    return value


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    return parts


def http_url(value: str) -> str:
    """Empty, or an absolute http(s) URL without query and fragment; a trailing slash is dropped."""
    if not value:
        return value
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and a host")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must have no user, query or fragment")
    return value.rstrip("/")


def _database_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if not url:
        return secret
    parts = _split(url)
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2 or parts.path.endswith("/"):
            raise ValueError("a SQLite URL is sqlite:/// and a file, as in sqlite:////var/lib/callengine/callengine.db")
        if parts.path == "/:memory:":
            raise ValueError("must name a file: one in memory cannot be shared by the writer and the readers")
    elif parts.scheme in {"postgresql", "postgres"}:
        if len(parts.path) < 2:
            raise ValueError("a PostgreSQL URL names a database, as in postgresql://user@host/callengine")
    else:
        raise ValueError("must begin with sqlite:/// or postgresql://")
    return secret


def bucket_name(value: str) -> str:
    """Empty, or a name that every S3-compatible store takes."""
    if value and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
        raise ValueError("must be a bucket's name: 3 to 63 of a-z, 0-9, '.' and '-'")
    return value


def key_prefix(value: str) -> str:
    """Empty, or folders in a bucket, of characters that need no quoting anywhere."""
    if value and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", value):
        raise ValueError("must be names of letters, digits, '_', '.' and '-' with single slashes between them")
    return value


def placeholders(template: str) -> set[str]:
    """The names between braces in ``template``; raises ``ValueError`` where it is no template of plain names."""
    names: set[str] = set()
    try:
        for _, name, spec, conversion in string.Formatter().parse(template):
            if name is not None:
                if spec or conversion or not name.isidentifier():
                    raise ValueError("braces may only hold a plain name")
                names.add(name)
    except ValueError as error:
        raise ValueError(f"is no template: {error}") from None
    return names


Text = Annotated[str, AfterValidator(_no_control_characters)]
Filled = Annotated[Text, Field(min_length=1)]
Host = Annotated[Filled, AfterValidator(_host)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=65535)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=2_592_000, allow_inf_nan=False)]
WholeSeconds = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=2_592_000)]
Days = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=3650)]
DaysOrForEver = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=36_500)]
Milliseconds = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=600_000)]
Rate = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100_000, allow_inf_nan=False)]
Dollars = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_compiled)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
HangupCause = Annotated[str, AfterValidator(_hangup_cause)]
ObjectName = Annotated[str, AfterValidator(_object_name)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
Cidr = Annotated[str, AfterValidator(_cidr)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
