"""All settings, and the one way to load them.

One TOML file; each setting also as ``CALLENGINE_<SECTION>__<NAME>`` in the environment, which wins over the file;
secrets also as systemd credentials named ``<section>.<name>``, which win over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator

from callengine.config import problems, sources
from callengine.config.fields import Section
from callengine.config.originate import Originate
from callengine.config.sections import (
    S3,
    Ai,
    Cdr,
    Database,
    Esl,
    Http,
    Log,
    Metrics,
    Recordings,
    State,
    Switch,
    Tracing,
    Tracking,
    Webhooks,
)
from callengine.errors import ConfigurationError

DEFAULT_PATH = Path("/etc/callengine/callengine.toml")
PATH_VARIABLE = "CALLENGINE_CONFIG"


class Settings(Section):
    """All sections. Immutable; passed to whoever needs it, never looked up."""

    esl: Esl = Field(default_factory=Esl)
    switch: Switch = Field(default_factory=Switch)
    http: Http = Field(default_factory=Http)
    state: State = Field(default_factory=State)
    database: Database = Field(default_factory=Database)
    recordings: Recordings = Field(default_factory=Recordings)
    s3: S3 = Field(default_factory=S3)
    ai: Ai = Field(default_factory=Ai)
    webhooks: Webhooks = Field(default_factory=Webhooks)
    tracking: Tracking = Field(default_factory=Tracking)
    originate: Originate = Field(default_factory=Originate)
    cdr: Cdr = Field(default_factory=Cdr)
    metrics: Metrics = Field(default_factory=Metrics)
    tracing: Tracing = Field(default_factory=Tracing)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _has_bucket(self) -> Self:
        if self.recordings.storage == "s3":
            s3 = self.s3
            given = {
                "s3.bucket": s3.bucket,
                "s3.access_key_id": s3.access_key_id,
                "s3.secret_access_key": s3.secret_access_key.get_secret_value(),
            }
            missing = [name for name, value in given.items() if not value]
            if missing:
                raise ValueError(f"recordings.storage s3 needs {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        """Settles what one section takes from another, so that no reader has to know."""
        if not self.database.url.get_secret_value():
            url = SecretStr(f"sqlite:///{self.state.directory / 'callengine.db'}")
            self._settle("database", self.database.model_copy(update={"url": url}))
        if not self.http.public_url:
            host = f"[{self.http.host}]" if ":" in self.http.host else self.http.host
            self._settle("http", self.http.model_copy(update={"public_url": f"http://{host}:{self.http.port}"}))
        return self

    def _settle(self, name: str, section: Section) -> None:
        object.__setattr__(self, name, section)


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``path`` (of ``--config``), else ``$CALLENGINE_CONFIG``, else the default where it exists."""
    if path is not None:
        return path
    if named := environ.get(PATH_VARIABLE):
        return Path(named)
    return DEFAULT_PATH if DEFAULT_PATH.is_file() else None


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Reads file, environment and credentials. Raises ``ConfigurationError`` with every problem, each a line."""
    found = sources.collect(Settings, find_file(path, environ), environ)
    if found.file_failed:  # whatever else is missing may well stand in that file
        raise ConfigurationError(found.problems)
    try:
        settings = Settings.model_validate(found.data)
    except ValidationError as error:
        # Without the cause: a traceback of it would go into the log, and it has been said in full.
        raise ConfigurationError(found.problems + problems.explain(Settings, error, found.origins)) from None
    if found.problems:
        raise ConfigurationError(found.problems)
    return settings


def secrets(settings: Settings) -> set[str]:
    """Every secret that is set, also in part: the log has none of them. A default is none, everybody knows it."""
    found: set[str] = set()
    for section, name, info in sources.fields(Settings):
        value = getattr(getattr(settings, section), name)
        if not isinstance(value, SecretStr) or value == info.default:
            continue
        text = value.get_secret_value()
        if (section, name) == ("database", "url"):
            # Of an address the password alone: the rest of it belongs into errors.
            password = urlsplit(text).password
            found |= {password, unquote(password)} if password else set()
        else:
            found |= {text, *text.split(), *(part.partition("=")[2].strip() for part in text.split(","))}
    return found - {""}


def as_shown(settings: Settings) -> dict[str, Any]:
    """All values as JSON-ready data, by section, secrets masked: for ``check-config`` and the log."""
    shown = settings.model_dump(mode="json")
    shown["database"]["url"] = settings.database.url_without_password
    return shown
