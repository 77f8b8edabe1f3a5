"""docs/configuration.md, written from the settings themselves.

``python -m callengine.config.describe > docs/configuration.md`` writes it; a test fails where it is out of date.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from callengine.config.originate import Agents, Application, Gateway
from callengine.config.settings import DEFAULT_PATH, PATH_VARIABLE, Settings
from callengine.config.sources import is_secret, variable

TABLES: dict[str, type[BaseModel]] = {"gateways": Gateway, "agents": Agents, "applications": Application}
"""The settings of ``originate`` that are tables of tables."""

HEAD = f"""\
# Configuration

callengine reads one TOML file: the one given with `--config`, else the one that `{PATH_VARIABLE}` names, else
`{DEFAULT_PATH}` if it exists. The defaults work beside a FreeSWITCH as it is installed, so the file
may be missing. [callengine.toml](../config/callengine.toml) is an example with comments.

- Each setting is also an environment variable, `CALLENGINE_<SECTION>__<NAME>` (two underscores), which wins over the
  file. Lists are given with commas or in JSON, tables in JSON.
- Each *secret* is also a systemd credential named `<section>.<name>`, which wins over both: a file of that name in
  `/etc/callengine/credentials` (the unit has `LoadCredential=callengine:/etc/callengine/credentials`), or one by
  itself, as in `LoadCredential=esl.password:/root/esl.password`. Secrets are never printed.
- Unknown settings are refused. `callengine check-config` tells all problems at once, each with its place, and exits
  with 78 if there are any.
- Settings marked ↻ take effect when the file is read again: `systemctl reload callengine`, or SIGHUP to the process. A
  file with errors is refused as a whole, and the settings stay as they were; the log has every error with its place.
  Of the others the log names those that were changed: they need a restart. (The environment of a process cannot be
  changed, and its credentials are those that systemd gave it at its start.)
- Patterns are Python regular expressions that the whole value has to match.

*This page is made from the code: `python -m callengine.config.describe > docs/configuration.md`.*
"""


def describe() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for section, info in Settings.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: PT018
        yield _table(f"`[{section}]`", section, model)
        if section == "originate":
            for name, table in TABLES.items():
                yield _table(f"`[{section}.{name}.NAME]`", None, table)


def _table(title: str, section: str | None, model: type[BaseModel]) -> str:
    lines = [f"## {title}", "", " ".join((model.__doc__ or "").split()), ""]
    lines += ["| Setting | Value | Default | |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        label = f"`{name}`" if section is None else f'<a id="{section}.{name}"></a>`{section}.{name}`'
        if name in getattr(model, "reloadable", ()):
            label += " ↻"
        cells = [label, _kind(info), _default(info), info.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if section is not None:
        lines += ["", f"In the environment: `{variable(section, next(iter(model.model_fields)))}` and so on."]
    return "\n".join([*lines, ""])


def _kind(info: FieldInfo) -> str:
    if is_secret(info):
        return "secret"
    return _kind_of(info.annotation) + _bounds(info)


def _kind_of(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind_of(arguments[0])
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin in {Union, types.UnionType}:
        return _kind_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return "list"
    if origin is dict:
        return "table"
    if origin is re.Pattern:
        return "pattern"
    return {bool: "`true` or `false`", int: "whole number", float: "number", Path: "absolute path"}.get(
        annotation, "text"
    )


def _bounds(info: FieldInfo) -> str:
    lows = [one.ge for one in info.metadata if isinstance(one, Ge)]
    above = [one.gt for one in info.metadata if isinstance(one, Gt)]
    highs = [one.le for one in info.metadata if isinstance(one, Le)]
    longest = [one.max_length for one in info.metadata if isinstance(one, MaxLen)]
    parts = [f"at least {max(lows)}" for _ in lows[:1]]  # type: ignore[type-var]
    parts += [f"above {above[0]}" for _ in above[:1]]
    parts += [f"at most {min(highs)}" for _ in highs[:1]]  # type: ignore[type-var]
    parts += [f"at most {longest[0]} characters" for _ in longest[:1]]
    return "".join(f", {part}" for part in parts)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "has to be set"
    if info.default_factory is not None:
        return "see there" if info.default_factory is not dict else "empty"
    value = info.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, re.Pattern):
        value = value.pattern
    if value is None or value in ("", ()):
        return "empty" if value == () else "unset"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value if isinstance(value, float) else json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(describe())
