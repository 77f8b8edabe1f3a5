"""Keeps what was measured: docs/benchmarks.md, docs/benchmarks.json and docs/benchmarks/*.svg, from build/bench.

A benchmark that was not run again stays as it was, with the machine, the commit and the date of then.

    python benchmarks/keep.py [--results build/bench] [--docs docs]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parent)]

from common import BUILD, ROOT, markdown

ORDER: Final = ("intake", "durable", "latency", "stall", "reads", "size", "originate")
_HEAD: Final = """# Measured

What `make bench` printed, kept by `python benchmarks/keep.py`; the same as JSON in [benchmarks.json](benchmarks.json).
Figures are of the machine they were measured on; read the ratios, each of which is of one run. Where the machine was
not idle (its load stands at the end of each section), wall times say more of the others, and processor times hold. What
was tried to get there, and thrown away, stands in [performance.md](performance.md).

"""


def kept(results: Path, docs: Path) -> list[dict[str, Any]]:
    """All results there are, the new ones in place of the old."""
    file = docs / "benchmarks.json"
    old = json.loads(file.read_text())["results"] if file.exists() else []
    found = {result["benchmark"]: result for result in old}
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text())
        found[result["benchmark"]] = result
        for name in result["plots"]:
            shutil.copyfile(results / name, docs / "benchmarks" / name)
    return sorted(found.values(), key=lambda r: ORDER.index(r["benchmark"]) if r["benchmark"] in ORDER else len(ORDER))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=BUILD)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    (args.docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    results = kept(args.results, args.docs)
    (args.docs / "benchmarks.json").write_text(json.dumps({"results": results}, indent=1) + "\n")
    sections = [markdown(result, "benchmarks/") for result in results]
    machines = sorted({_machine(result["machine"]) for result in results})
    (args.docs / "benchmarks.md").write_text(_HEAD + "\n".join(machines) + "\n\n" + "\n".join(sections))
    print(f"kept: {', '.join(result['benchmark'] for result in results)}")


def _machine(found: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items() if version)
    where = f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB; {found['system']}"
    return f"- {where}; {found['python']}; {libraries}."


if __name__ == "__main__":
    main()
