"""The benchmarks run, at sizes that take seconds, and what they write has its shape: what is not run rots."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"
_WANTED = {
    "intake": (["--peers", "greenswitch,cut + orjson,callengine"], ["greenswitch", "cut + orjson", "callengine"]),
    "durable": (["--databases", "sqlite"], ["sqlite, 0 in the store", "sqlite, 2,000 in the store"]),
    "latency": ([], ["50 calls/s: processor of the daemon"]),
    "stall": (["--calls", "400"], ["under load: lateness of the hub, p99", "events told"]),
    "reads": (["--databases", "sqlite", "--calls", "1000"], ["sqlite, 1,000: single call, ours"]),
    "size": (["--live", "20", "--through", "100"], ["RSS with no calls", "start-up with 20 live calls"]),
    "originate": ([], ["accepted", "greenswitch's send"]),
}


def _measured(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(_FOLDER / f"bench_{name}.py"), "--quick", "--out", str(folder), *_WANTED[name][0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return result


@pytest.mark.parametrize("name", _WANTED)
def test_a_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    result = _measured(name, tmp_path)
    assert result["benchmark"] == name
    figures = {figure["name"]: figure for figure in result["figures"]}
    for wanted in _WANTED[name][1]:
        assert figures[wanted]["median"] > 0, wanted
    for figure in figures.values():
        assert 0 <= figure["min"] <= figure["median"] <= figure["max"] < math.inf, figure
        assert figure["rounds"] >= 1
    assert all(0 < ratio["value"] < math.inf for ratio in result["ratios"])
    assert {"cpu", "cores", "python", "libraries", "commit", "date"} <= set(result["machine"])
    assert result["plots"]
    for plot in result["plots"]:
        assert ElementTree.parse(tmp_path / plot).getroot().tag.endswith("svg")
    text = (tmp_path / f"{name}.md").read_text()
    assert all(f"| {figure} |" in text for figure in figures)


def test_what_was_measured_is_kept_beside_what_was_not(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    docs.mkdir()

    def keep(name: str, median: float, load: str = "1") -> None:
        figure = {"name": "speed", "unit": "a second", "median": median, "min": 1.0, "max": 9.0, "rounds": 3}
        machine = dict.fromkeys(
            ("cpu", "cores", "memory_gb", "system", "python", "commit", "date", "nice", "load"), "1"
        )
        result = {"benchmark": name, "title": name, "settings": {}, "figures": [figure], "ratios": [], "notes": []}
        result |= {"plots": [], "series": {}, "took_s": 1, "machine": {**machine, "load": load, "libraries": {}}}
        (results / f"{name}.json").write_text(json.dumps(result))
        command = [sys.executable, str(_FOLDER / "keep.py"), "--results", str(results), "--docs", str(docs)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        (results / f"{name}.json").unlink()

    keep("reads", 2.0)
    keep("intake", 3.0)
    keep("intake", 4.0)
    kept = json.loads((docs / "benchmarks.json").read_text())["results"]
    assert [(r["benchmark"], r["figures"][0]["median"]) for r in kept] == [("intake", 4.0), ("reads", 2.0)]
    page = (docs / "benchmarks.md").read_text()
    assert "| speed | 4.00 a second |" in page
    assert "not ours" not in page
    keep("intake", 4.0, load="7.5")
    assert "The machine was not ours** (load 7.5 on 1 cores)" in (docs / "benchmarks.md").read_text()
