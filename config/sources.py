"""Where settings come from: one TOML file, the environment, systemd's credentials. Each value keeps its place.

The three are merged here rather than by pydantic-settings, since that forgets which of them a value came from, and an
error without its place is half an error.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from callengine.config.problems import Location, did_you_mean

PREFIX = "CALLENGINE_"
CREDENTIALS_PREFIX = "callengine_"
"""What systemd puts before the names of the files of a folder, with ``LoadCredential=callengine:FOLDER``."""
MAX_FILE_BYTES = 1 << 20


@dataclass
class Found:
    """What the sources say: the merged data, where each part of it stands, and what could not be read at all."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    file_failed: bool = False

    def put(self, section: str, name: str, value: object, place: str) -> None:
        """Sets one setting, over what an earlier source said of it."""
        table = self.data.setdefault(section, {})
        if not isinstance(table, dict):
            return  # the file has no table of that name but a value: that is complained about already
        table[name] = value
        for location in [known for known in self.origins if known[:2] == (section, name)]:
            del self.origins[location]
        self.origins[section, name] = place


def collect(model: type[BaseModel], file: Path | None, environ: Mapping[str, str]) -> Found:
    """Reads all sources, the weakest first. ``model`` has a field for each section."""
    found = Found()
    if file is not None:
        _read_file(file, found)
    _read_environment(model, environ, found)
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        _read_credentials(model, Path(directory), found)
    _default_state_directory(environ, found)
    return found


# -- the file -----------------------------------------------------------------------------------------------------


def _read_file(file: Path, found: Found) -> None:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        _fail(found, f"{file}: cannot be read ({error.strerror}): name another with --config, or let us read it")
        return
    try:
        text = raw.decode("utf-8-sig")  # editors on Windows begin a file with a mark that TOML has not
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        _fail(found, f"{file}:{line}: is not UTF-8: save it in that encoding")
        return
    try:
        if len(raw) > MAX_FILE_BYTES:
            raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes: this is no settings file")
        found.data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        fact, place = _syntax_error(str(error), text)
        _fail(found, f"{file}{place}: is no TOML: {fact}")
    except (ValueError, RecursionError) as error:
        _fail(found, f"{file}: {error}")
    else:
        found.origins = {location: f"{file}:{line}" for location, line in line_numbers(text).items()}


def _fail(found: Found, problem: str) -> None:
    found.problems.append(problem)
    found.file_failed = True


# What tomllib says, by its beginning, and what is to be done then.
_SYNTAX_REMEDIES: Final = {
    "Invalid value": 'text stands in straight quotes, as in "127.0.0.1"; yes and no are true and false',
    "Expected newline": 'text stands in quotes, as in "127.0.0.1", and each setting in a line of its own',
    "Invalid statement": "a line is [section], or name = value, or begins with #",
    "Expected '='": "a setting is name = value",
    "Cannot declare": "it stands further up already: put both parts there",
    "Cannot overwrite": "it is set a second time: delete one",
    "Unescaped": "text with a backslash stands in single quotes, as in '\\+372'",
    "Illegal character": "a quote is not closed, or a character stands there that cannot be seen",
    "Unclosed array": "a list ends with ]",
    "Unclosed inline": "a list ends with ]",
    "Expected ']": "a section is written [name]",
    "Unterminated": "a quote is not closed",
}


def _syntax_error(message: str, text: str) -> tuple[str, str]:
    """What tomllib says and the remedy, and ``:line``."""
    match = re.fullmatch(r"(?P<fact>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", message, re.DOTALL)
    if match is None:
        if message.startswith("Invalid value") and not text.rstrip().endswith("="):
            message = "Unclosed array"  # behind a comma nothing has to follow
        fact, line = message.removesuffix(" (at end of document)"), _left_open(text)
    else:
        fact, line = f"{match['fact']} in column {match['column']}", int(match["line"])
    remedy = next((told for beginning, told in _SYNTAX_REMEDIES.items() if fact.startswith(beginning)), "")
    return f"{fact}{remedy and f': {remedy}'}", f":{line}"


_MAX_LINES: Final = 2000
"""Of a longer file the statement that is left open is not looked for: each line would be read again and again."""


def _left_open(text: str) -> int:
    """The line of the statement that the document ends in; of a long file that of its end."""
    line = text.count("\n") + 1
    if line > _MAX_LINES:
        return line
    for start, pending in _pieces(text):
        line = start if pending is None else line
    return line


def line_numbers(text: str) -> dict[Location, int]:
    """The line on which each key of a TOML document stands, counted from 1. ``text`` has to be valid TOML.

    A statement is complete as soon as it parses on its own, and no proper beginning of one does; so the TOML parser
    itself tells where values end and how keys are to be read.
    """
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, statement, parsed in _statements(text):
        paths = list(_paths(parsed))
        if statement.lstrip().startswith("["):
            table = paths[-1]
            paths = [table[: depth + 1] for depth in range(len(table))]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            lines.setdefault(path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for start, statement in _pieces(text):
        if statement is not None:
            yield start, *statement


def _pieces(text: str) -> Iterator[tuple[int, tuple[str, dict[str, Any]] | None]]:
    """Each statement with its first line; None for what is left at the end and is none."""
    start, pending = 1, ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        start, pending = (start, f"{pending}\n{line}") if pending else (number, line)
        try:
            parsed = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        if parsed:
            yield start, (pending, parsed)
        pending = ""
    if pending:
        yield start, None


def _paths(table: Mapping[str, Any], above: Location = ()) -> Iterator[Location]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


# -- the environment ----------------------------------------------------------------------------------------------


def variable(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{section}__{name}".upper()


def fields(model: type[BaseModel]) -> Iterator[tuple[str, str, FieldInfo]]:
    """All settings: section, name, and what pydantic knows of it."""
    for section, info in model.model_fields.items():
        assert isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)  # noqa: PT018
        for name, setting in info.annotation.model_fields.items():
            yield section, name, setting


def _read_environment(model: type[BaseModel], environ: Mapping[str, str], found: Found) -> None:
    settings = {variable(section, name): (section, name, info) for section, name, info in fields(model)}
    by_plain = {known.replace("__", "_"): known for known in settings}
    for given in sorted(environ):
        if given in settings:
            section, name, info = settings[given]
            try:
                found.put(section, name, _from_text(info, environ[given]), given)
            except ValueError as error:
                found.problems.append(f"{given}: {error}")
        elif given.startswith(PREFIX) and ("__" in given or given in by_plain):
            hint = by_plain.get(given) or did_you_mean(given, settings)
            found.problems.append(f"{given}: there is no such setting{_hint(hint)}")


def _from_text(info: FieldInfo, text: str) -> object:
    """Lists as JSON or with commas, tables as JSON; the rest pydantic reads from text itself."""
    kind = get_origin(info.annotation)
    if kind not in {tuple, dict}:
        return text
    if kind is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"must be {'a list' if kind is tuple else 'a table'} in JSON") from None


def _hint(name: str | None) -> str:
    return f"; did you mean {name}?" if name else "; docs/configuration.md lists all"


# -- systemd ------------------------------------------------------------------------------------------------------


def is_secret(info: FieldInfo) -> bool:
    """Whether a setting may come as a credential and is never shown."""
    return info.annotation is SecretStr


def _read_credentials(model: type[BaseModel], directory: Path, found: Found) -> None:
    settings = {f"{section}.{name}": (section, name, info) for section, name, info in fields(model)}
    try:
        files = sorted(file for file in directory.iterdir() if file.is_file())
    except OSError as error:
        found.problems.append(f"{directory}: the credentials cannot be read ({error.strerror})")
        return
    for file in files:
        given = file.name.removeprefix(CREDENTIALS_PREFIX)
        place = f"credential {given}"
        if given not in settings:
            # Others may pass credentials of their own; only what looks like one of ours is a mistake.
            if given != file.name or given.partition(".")[0] in model.model_fields:
                found.problems.append(f"{place}: there is no such setting{_hint(did_you_mean(given, settings))}")
            continue
        section, name, info = settings[given]
        if not is_secret(info):
            found.problems.append(f"{place}: is no secret: set it in the file or as {variable(section, name)}")
            continue
        try:
            found.put(section, name, file.read_text(encoding="utf-8").rstrip("\r\n"), place)
        except (OSError, UnicodeDecodeError) as error:
            found.problems.append(f"{place}: cannot be read ({type(error).__name__})")


def _default_state_directory(environ: Mapping[str, str], found: Found) -> None:
    """systemd names the folder it made by StateDirectory=; several are separated by colons."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    state = found.data.get("state", {})
    if given and isinstance(state, dict) and "directory" not in state:
        found.put("state", "directory", given, "STATE_DIRECTORY")
