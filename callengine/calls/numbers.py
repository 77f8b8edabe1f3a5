"""How phone numbers are compared: as they are written, but for what people and gateways put between the digits."""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_NUMBER: Final = 64
"""A number that is longer is found by nothing."""
_SEPARATORS: Final = str.maketrans("", "", " -()./")
_PASTED: Final = frozenset({"Zs", "Pd", "Cf"})


def comparable(number: str) -> str:
    """The number without spaces, ``-``, ``(``, ``)``, ``.``, ``/``, and without a leading ``+``.

    Nothing is guessed: a national number or one with ``00`` is not its international form. As the database has it
    (migration 0004).
    """
    return number.translate(_SEPARATORS).lstrip("+")


def searched(text: str) -> str:
    """The same of what somebody typed or pasted: no-break spaces, other dashes and marks of direction go as well."""
    return comparable("".join(c for c in text if unicodedata.category(c) not in _PASTED))
