"""Settings that are read again while the process runs.

The sections of a running process are changed in place, by nobody else and all at once: whoever reads a setting each
time that it is needed has the new value from then on. Only what its section calls ``reloadable`` is changed; the test
of this module holds that nobody copies such a setting when it is made.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from callengine.config.fields import Section
from callengine.config.settings import Settings
from callengine.errors import ConfigurationError


class Changes(NamedTuple):
    """What a reload came to, by name (``section.name``). Values are not told: some are secret."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def reload(live: Settings, fresh: Settings) -> Changes:
    """Brings ``live`` up to ``fresh``, as far as it can be. Raises ConfigurationError; then nothing was changed."""
    planned: list[tuple[Section, dict[str, object]]] = []
    applied: list[str] = []
    needs_restart: list[str] = []
    for title in Settings.model_fields:
        section: Section = getattr(live, title)
        other: Section = getattr(fresh, title)
        changed = [name for name in type(section).model_fields if getattr(section, name) != getattr(other, name)]
        values = {name: getattr(other, name) for name in changed if section.can_reload(name, getattr(other, name))}
        _check(title, section, values)
        planned.append((section, values))
        applied += (f"{title}.{name}" for name in values)
        needs_restart += (f"{title}.{name}" for name in changed if name not in values)
    for section, values in planned:
        for name, value in values.items():
            # Frozen for all but us.
            object.__setattr__(section, name, value)
    return Changes(tuple(applied), tuple(needs_restart))


def _check(title: str, section: Section, values: dict[str, object]) -> None:
    """Each file is valid by itself; what becomes of the old one and a part of the new one has to be, too."""
    if not values:
        return
    try:
        type(section).model_validate({name: getattr(section, name) for name in type(section).model_fields} | values)
    except ValidationError as error:
        facts = [str(one["msg"]).removeprefix("Value error, ") for one in error.errors(include_input=False)]
        raise ConfigurationError([f"{title}: without a restart: {fact}" for fact in facts]) from None
