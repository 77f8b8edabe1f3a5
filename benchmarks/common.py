"""What all benchmarks share: their arguments, rounds, the machine, and the figures as a table, as JSON and as Markdown.

A benchmark makes a ``Report``, adds its figures and ratios, and calls ``finish``. What is written goes to
``build/bench``, from where ``keep.py`` makes docs/benchmarks.md and docs/benchmarks.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "bench"
_LIBRARIES: Final = ("gevent", "greenswitch", "msgspec", "orjson", "peewee", "psycopg", "flask", "werkzeug", "pydantic")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With the arguments that each benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="sizes that take seconds, to see that it runs at all")
    made.add_argument("--full", action="store_true", help="the sizes of the figures that are promised")
    made.add_argument("--rounds", type=int, help="how often each is measured; the figures are medians")
    made.add_argument("--out", type=Path, default=BUILD, help="folder for the results (default: build/bench)")
    return made


def sized(args: argparse.Namespace, quick: Any, usual: Any, full: Any = None) -> Any:
    """What the size asked for means here."""
    if args.quick:
        return quick
    return full if args.full and full is not None else usual


def pin(core: int) -> bool:
    """This process to one core. False where there is only one, or none may be chosen."""
    if (os.cpu_count() or 1) < 2 or not hasattr(os, "sched_setaffinity"):
        return False
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return False
    return True


def quantile(values: Sequence[float], share: float) -> float:
    """0 where there are none."""
    found = sorted(values)
    return found[min(int(share * len(found)), len(found) - 1)] if found else 0.0


def cpu_s(pid: int) -> float:
    """Processor time of all threads of a process that are still there, user and system."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += int((task / "schedstat").read_text().split()[0])
    return found / 1e9


def rss_mb(pid: int) -> float:
    """What a process holds of memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine() -> dict[str, Any]:
    """What the figures are figures of."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "nice": os.nice(0),
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


class Report:
    """The figures of one benchmark. ``name`` names its files."""

    def __init__(self, name: str, title: str, settings: dict[str, Any]) -> None:
        self.name = name
        self.title = title
        self.settings = settings
        self.figures: list[dict[str, Any]] = []
        self.ratios: list[dict[str, Any]] = []
        self.series: dict[str, Any] = {}
        self.notes: list[str] = []
        self._plots: dict[str, str] = {}
        self._began_s = time.monotonic()

    def add(self, name: str, unit: str, values: Sequence[float]) -> float:
        """A figure, of which each round gave one value. Returns the median."""
        found = {
            "name": name,
            "unit": unit,
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "rounds": len(values),
        }
        self.figures.append(found)
        print("  " + _line(found), flush=True)
        return float(found["median"])

    def median(self, name: str) -> float:
        """Of a figure that was added."""
        return float(next(f["median"] for f in self.figures if f["name"] == name))

    def ratio(self, name: str, value: float) -> None:
        """One figure over another of the same run."""
        self.ratios.append({"name": name, "value": value})
        print(f"  {name}: {value:.2f}", flush=True)

    def note(self, text: str) -> None:
        """What has to be known to read the figures."""
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def plot(self, name: str, svg: str) -> None:
        """A drawing that goes with the figures."""
        self._plots[f"{self.name}-{name}.svg"] = svg

    def finish(self, folder: Path) -> None:
        """Writes ``NAME.json``, ``NAME.md`` and the plots."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, svg in self._plots.items():
            (folder / name).write_text(svg)
        result = {
            "benchmark": self.name,
            "title": self.title,
            "settings": self.settings,
            "figures": self.figures,
            "ratios": self.ratios,
            "series": self.series,
            "notes": self.notes,
            "plots": list(self._plots),
            "machine": machine(),
            "took_s": round(time.monotonic() - self._began_s, 1),
        }
        (folder / f"{self.name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / f"{self.name}.md").write_text(markdown(result))
        print(f"  written: {folder / self.name}.json", flush=True)


def number(value: float) -> str:
    """As many digits as mean something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:,.1f}" if size >= 10 else f"{value:,.2f}"


def _line(figure: dict[str, Any]) -> str:
    spread = f"  ({number(figure['min'])}–{number(figure['max'])})" if figure["rounds"] > 1 else ""
    return f"{figure['name']:52} {number(figure['median']):>10} {figure['unit']}{spread}"


def markdown(result: dict[str, Any], plots: str = "") -> str:
    """The result as a section; ``plots`` is the folder of its drawings, as seen from the page."""
    lines = [f"## {result['title']}", ""]
    given = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    lines += [f"{given}.", ""] if given else []
    lines += ["| | median | min–max | rounds |", "|---|---:|---:|---:|"]
    for figure in result["figures"]:
        spread = f"{number(figure['min'])}–{number(figure['max'])}" if figure["rounds"] > 1 else ""
        lines.append(
            f"| {figure['name']} | {number(figure['median'])} {figure['unit']} | {spread} | {figure['rounds']} |"
        )
    if result["ratios"]:
        lines += ["", "| ratio | |", "|---|---:|"]
        lines += [f"| {ratio['name']} | {ratio['value']:.2f} |" for ratio in result["ratios"]]
    notes = [*result["notes"], *_disturbed(result["machine"])]
    lines += [""] + [f"- {note}" for note in notes]
    lines += [f"\n![{result['title']}]({plots}{name})" for name in result["plots"]]
    at = result["machine"]
    measured = f"Measured {at['date']} at {at['commit']}, nice {at['nice']}, load {at['load']}"
    lines += ["", f"{measured}, in {result['took_s']} s.", ""]
    return "\n".join(lines)


def _disturbed(at: dict[str, Any]) -> list[str]:
    """What has to be said of figures that were taken beside others."""
    load, cores = float(at["load"]), int(at["cores"] or 1)
    if load <= cores:
        return []
    words = (
        f"**The machine was not ours** (load {load:g} on {cores} cores). Wall times are those of waiting for a core,"
        " and ratios of what is short turned around from one run to the next: neither shows that a figure is reached."
    )
    return [words]


def own(file: str, *words: object) -> list[str]:
    """The command that runs a benchmark's file once more, as a part of it."""
    return [sys.executable, file, *map(str, words)]
