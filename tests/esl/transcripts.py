"""Recorded conversations with a real FreeSWITCH (tests/traces/wire): what each side sent, byte for byte."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent.parent / "traces" / "wire"


class Turn(NamedTuple):
    """One line of a transcript. ``eof``: the server closed after it."""

    by_server: bool
    data: bytes
    eof: bool


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def turns(name: str) -> list[Turn]:
    read = []
    for line in (_FOLDER / f"{name}.txt").read_text("ascii").splitlines():
        literal, eof = line[2:].removesuffix(" <EOF>"), line.endswith(" <EOF>")
        read.append(Turn(line.startswith("S "), ast.literal_eval(literal), eof))
    return read


def server_side(name: str) -> bytes:
    return b"".join(turn.data for turn in turns(name) if turn.by_server)
