"""What is wrong with the settings, in one line each: the place, the fact, the remedy. No line repeats a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Location = tuple[str, ...]


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The nearest of ``known``, or ``None`` if none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)), None)


def one_line(text: str) -> str:
    """``text`` without control characters: an unknown key is named in full, and a quoted key may hold anything."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def must(message: str) -> str:
    """A message of pydantic's in the words that ours have."""
    return re.sub(r"^\w+ should ", "must ", message.removeprefix("Value error, "))


def explain(model: type[BaseModel], error: ValidationError, origins: Mapping[Location, str]) -> list[str]:
    """One line for each error of ``model``, in the order in which pydantic found them, none twice."""
    lines = [
        _line(model, tuple(str(part) for part in one["loc"]), one["type"], one["msg"], origins)
        for one in error.errors(include_url=False, include_input=False)
    ]
    return list(dict.fromkeys(lines))


def _line(model: type[BaseModel], location: Location, kind: str, message: str, origins: Mapping[Location, str]) -> str:
    place = _place(_culprit(location, message), origins)
    setting = ".".join(part for part in location if part != "[key]")
    fact = _fact(model, location, kind, message)
    return one_line(": ".join(part for part in (place, setting, fact) if part))


def _culprit(location: Location, message: str) -> Location:
    """Where the setting stands that a rule over several of them is about: such a rule names it first."""
    first = message.removeprefix("Value error, ").split(" ", 1)[0]
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", first):
        return location
    return tuple(first.split(".")) if "." in first else (*location, first)


def _place(location: Location, origins: Mapping[Location, str]) -> str:
    for length in range(len(location), 0, -1):
        if place := origins.get(location[:length]):
            return place
    return ""


def _fact(model: type[BaseModel], location: Location, kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return _unknown(model, location)
        case "missing":
            return "has to be set"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a table: write it as [{'.'.join(location)}]"
        case "tuple_type":
            return "must be a list, in brackets"
        case "string_type":
            return "must be text, in quotes"
        case _:
            return must(message)


def _unknown(model: type[BaseModel], location: Location) -> str:
    *above, word = location
    siblings = _model_at(model, tuple(above)).model_fields
    noun = "section or setting" if not above else "setting"
    if near := did_you_mean(word, siblings):
        return f"there is no such {noun}; did you mean {'.'.join([*above, near])}?"
    sections = model.model_fields
    elsewhere = [f"{section}.{word}" for section in sections if word in _model_at(model, (section,)).model_fields]
    if elsewhere:
        return f"there is no such {noun}; did you mean {' or '.join(elsewhere)}?"
    return f"there is no such {noun}; there are: {', '.join(siblings)}"


def _model_at(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that validates what stands at ``location``; names of tables in a dict are passed over."""
    for part in location:
        info = model.model_fields.get(part)
        if info is not None:
            model = _first_model(info.annotation) or model
    return model


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _first_model(argument))), None)
