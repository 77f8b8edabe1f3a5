"""Transcripts of the real switch's wire, and how they are compared with what a switch says now.

A file is lines of ``C`` (what the client sent) and ``S`` (what came back), as Python byte strings; ``<EOF>`` where the
server closed. They were recorded on FreeSWITCH 1.10.12. What differs from run to run (UUIDs, dates, counters, lengths
that follow from them) is masked on both sides; all else has to be equal, byte for byte.
"""

from __future__ import annotations

import ast
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.client import Closed, Wire

FOLDER = Path(__file__).parent / "wire"

_MASKS = [
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"<uuid>"),
    (rb"Content-Length: \d+", b"Content-Length: <n>"),
    (rb'"Content-Length":"\d+"', b'"Content-Length":"<n>"'),
    (rb"<Content-Length>\d+", b"<Content-Length><n>"),
    (rb"(Event-Date-[A-Za-z]+|Event-Sequence|FreeSWITCH-[A-Za-z0-9]+)(: |\":\"|>)[^\n\"<]*", rb"\1\2<x>"),
    (rb"UP \d+ years?, [^\n\\]*", b"UP <time>"),
    # Which revision it was built from, where it was built from a repository.
    (rb"(?<=\d-release )[^\n()]*(?=\d\dbit\))", b""),
    (rb"is ready[^\n\\]*", b"is ready"),
    (rb"\d+ session\(s\)", b"<n> session(s)"),
    (rb"(peak|max|last 5min) \d+", rb"\1 <n>"),
    (rb"min idle cpu \d+\.\d+/\d+\.\d+", b"min idle cpu <x>"),
    (rb"Current Stack Size/Max \d+K/\d+K", b"Current Stack Size/Max <x>"),
    (rb"\n\n1[78]\d{8}(?=Content|$)", b"\n\n<epoch>"),
    (rb"\n\nvm$", b"\n\n<host>"),
    (rb"\n\nstandin$", b"\n\n<host>"),
    (rb"1\.10\.\d+-release", b"<version>"),
]


@dataclass
class Step:
    """One exchange: what the client sends (nothing at first), what it gets, and whether the server closes then."""

    sent: bytes
    received: bytes
    closed: bool


def read(name: str) -> list[Step]:
    steps: list[Step] = []
    sent = b""
    for line in (FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if line.startswith("C "):
            sent = ast.literal_eval(line[2:])
        elif line.startswith("S "):
            text, closed = (line[2:-6], True) if line.endswith(" <EOF>") else (line[2:], False)
            steps.append(Step(sent, ast.literal_eval(text), closed))
            sent = b""
    return steps


def mask(data: bytes) -> bytes:
    for pattern, replacement in _MASKS:
        data = re.sub(pattern, replacement, data)
    return data


def replay(wire: Wire, steps: list[Step], password: bytes = b"ClueCon", timeout_s: float = 5.0) -> None:
    """Send what the client sent and compare what comes back."""
    gone = False
    for step in steps:
        if gone:
            assert not step.received
            continue
        if step.sent:
            wire.send(step.sent.replace(b"auth ClueCon", b"auth " + password))
        expected = mask(step.received)
        got = _receive(wire, expected, step.closed, timeout_s)
        assert mask(got) == expected, f"after {step.sent!r}"
        gone = step.closed


def _receive(wire: Wire, expected: bytes, closed: bool, timeout_s: float) -> bytes:
    deadline = time.monotonic() + (timeout_s if expected or closed else 0.1)
    got, wire.buffer = wire.buffer, b""
    while mask(got) != expected or closed or not expected:
        try:
            wire._fill(deadline)
        except (TimeoutError, Closed):
            break
        got += wire.buffer
        wire.buffer = b""
    return got
