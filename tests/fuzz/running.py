"""What the fuzzers share: cases drawn from a seed, run until the time is over, shrunk and kept where one fails.

A property makes the *parts* of a case (frames, bodies, steps) and checks them; whatever the check raises is a finding.
All chance in a check comes from the case's own seed, so that seed and parts are all it takes to run it again.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import re
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

Parts = tuple[bytes, ...]

HANG_S: Final = 20.0
"""Of CPU time for one case: a busy machine does not count."""
_SHRINK_S: Final = 30.0
_TELL_EVERY_S: Final = 60.0
_REPEATS_TOLD: Final = 3


class Hang(Exception):
    """One case took longer than any should."""


class Property(Protocol):
    """One thing that has to hold. ``share`` is how often it is tried, against the others."""

    name: str
    share: int

    def make(self, dice: random.Random) -> Parts:
        """The parts of a new case."""

    def check(self, parts: Parts, dice: random.Random) -> None:
        """Raises where it does not hold."""


class Failure(NamedTuple):
    """How a check failed; ``signature`` is the same for what is most likely the same fault."""

    signature: str
    text: str


@dataclass
class Found:
    """A finding: the smallest case that still fails in the same way, and where it was written to."""

    prop: str
    seed: int
    parts: Parts
    failure: Failure
    path: Path
    times: int = 1


@dataclass
class Report:
    """What a run did. ``execs`` counts cases by property."""

    seed: int
    seconds: float = 0.0
    execs: Counter[str] = field(default_factory=Counter)
    cpu_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    found: dict[str, Found] = field(default_factory=dict)

    def __str__(self) -> str:
        total = sum(self.execs.values())
        each = ", ".join(f"{name} {n}" for name, n in sorted(self.execs.items()))
        rate = total / self.seconds if self.seconds else 0.0
        lines = [f"seed {self.seed}: {total} cases in {self.seconds:.0f} s ({rate:.0f}/s): {each}"]
        lines += [f"{f.prop}, {f.times} times, {f.path}:\n{f.failure.text}" for f in self.found.values()]
        lines.append(f"{len(self.found)} findings")
        return "\n".join(lines)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raises `Hang` in what has used so much CPU time; for the main thread."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds:g} s of CPU")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempt(prop: Property, seed: int, parts: Parts) -> Failure | None:
    """Check one case; None where it holds."""
    try:
        with cpu_limit(HANG_S):
            prop.check(parts, random.Random(seed))
    except Exception as error:  # noqa: BLE001  whatever it is, it is what is looked for
        return Failure(_signature(error), "".join(traceback.format_exception(error)))
    return None


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    at = next((f for f in reversed(frames) if "/callengine/" in f.filename or "/fuzz/" in f.filename), frames[-1])
    words = re.sub(r"[0-9a-f]{8}-[0-9a-f-]+|\d+", "#", str(error).partition("\n")[0])
    return f"{type(error).__name__} in {at.name}:{at.lineno}: {words[:60]}"


def shrink(prop: Property, seed: int, parts: Parts, signature: str, seconds: float = _SHRINK_S) -> Parts:
    """Leave out parts, then pieces of parts, as long as it fails in the same way."""
    until = time.monotonic() + seconds

    def fails(candidate: Parts) -> bool:
        failure = attempt(prop, seed, candidate)
        return failure is not None and failure.signature == signature

    parts = tuple(_fewer(parts, lambda some: fails(tuple(some)), until))
    for at in range(len(parts)):
        body = parts[at]

        def with_body(some: Sequence[int], at: int = at, parts: Parts = parts) -> bool:
            return fails((*parts[:at], bytes(some), *parts[at + 1 :]))

        parts = (*parts[:at], bytes(_fewer(body, with_body, until)), *parts[at + 1 :])
    return parts


def _fewer(items: Sequence[Any], fails: Callable[[Sequence[Any]], bool], until: float) -> Sequence[Any]:
    """Delta debugging: halves first, then ever smaller pieces."""
    size = max(1, len(items) // 2)
    while items:
        at = 0
        while at < len(items):
            if time.monotonic() > until:
                return items
            fewer = [*items[:at], *items[at + size :]]
            if fails(fewer):
                items = fewer
            else:
                at += size
        if size == 1:
            break
        size = max(1, size // 2)
    return items


class Runner:
    """Runs properties until the time is over; a finding is shrunk, written to a file of its own, and told once."""

    def __init__(self, target: str, properties: Sequence[Property], seed: int) -> None:
        self.report = Report(seed)
        self._target, self._properties = target, properties
        self._folder: Path | None = None

    def run(self, seconds: float, *, say: Callable[[str], None] = lambda line: None) -> Report:
        """Each property once, then all by their shares; the clock decides how often, the seed on what."""
        report, dice = self.report, random.Random(self.report.seed)
        turns = [prop for prop in self._properties for _ in range(prop.share)]
        began = told = time.monotonic()
        for prop in self._properties:
            self._one(prop, dice.getrandbits(64), say)
        while (now := time.monotonic()) - began < seconds:
            report.seconds = now - began
            if now - told > _TELL_EVERY_S:
                told = now
                say(str(report).partition("\n")[0] + f"; {len(report.found)} findings")
            self._one(dice.choice(turns), dice.getrandbits(64), say)
        report.seconds = time.monotonic() - began
        return report

    def _one(self, prop: Property, seed: int, say: Callable[[str], None]) -> None:
        began = time.process_time()
        parts = prop.make(random.Random(f"{seed} make"))
        failure = attempt(prop, seed, parts)
        self.report.execs[prop.name] += 1
        self.report.cpu_s[prop.name] += time.process_time() - began
        if failure is None:
            return
        key = f"{prop.name}: {failure.signature}"
        if (known := self.report.found.get(key)) is not None:
            known.times += 1
            return
        parts = shrink(prop, seed, parts, failure.signature)
        found = Found(prop.name, seed, parts, attempt(prop, seed, parts) or failure, self._path())
        write(found, self._target)
        self.report.found[key] = found
        say(f"{prop.name} does not hold; again with: python -m tests.fuzz.{self._target} --again {found.path}")
        say(found.failure.text)

    def _path(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"callengine-fuzz-{self._target}-"))
        return self._folder / f"{len(self.report.found) + 1}.json"


def write(found: Found, target: str) -> None:
    """Everything that it takes to run a case again, and to see what it is."""
    whole = {
        "target": target,
        "property": found.prop,
        "seed": found.seed,
        "parts": [base64.b64encode(part).decode() for part in found.parts],
        "shown": [part[:2000].decode("latin-1") for part in found.parts],
        "failure": found.failure.text,
    }
    found.path.write_text(json.dumps(whole, indent=1))


def again(path: Path, properties: Sequence[Property]) -> Failure | None:
    """Run a case that was written down."""
    whole = json.loads(path.read_bytes())
    prop = next(p for p in properties if p.name == whole["property"])
    return attempt(prop, whole["seed"], tuple(base64.b64decode(part) for part in whole["parts"]))


def say(text: object) -> None:
    """A line on stdout, at once: a long run is watched through a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fresh_seed() -> int:
    """One that no run had before."""
    return secrets.randbits(32)


def parser(description: str | None) -> argparse.ArgumentParser:
    """What every fuzzer takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--minutes", type=float, default=1.0, help="how long (default %(default)s)")
    made.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    return made


def main(target: str, description: str | None, properties: Sequence[Property], argv: list[str] | None = None) -> int:
    """The command of a fuzzer that is made of properties. Exit code 1 where something was found."""
    command = parser(description)
    command.add_argument("--again", type=Path, metavar="FILE", help="run one case that was found before")
    command.add_argument("--only", metavar="NAME", help="one property: " + ", ".join(p.name for p in properties))
    given = command.parse_args(argv)
    if given.again:
        failure = again(given.again, properties)
        say(failure.text if failure else "it holds")
        return int(failure is not None)
    chosen = [p for p in properties if given.only in (None, p.name)]
    runner = Runner(target, chosen, fresh_seed() if given.seed is None else given.seed)
    say(f"seed {runner.report.seed}")
    report = runner.run(60 * given.minutes, say=say)
    say(report)
    each = {name: round(1000 * report.cpu_s[name] / n, 1) for name, n in report.execs.items()}
    say(f"CPU ms a case: {each}")
    return int(bool(report.found))
