"""A clock that is moved is moved for callengine, at once, and only as far as it is said."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.skewed import set_offset

_ROOT = Path(__file__).resolve().parents[2]
_ASKED = """
import sys
from pathlib import Path
from tests.chaos.skewed import install, set_offset
file = Path(sys.argv[1])
install(file)
import callengine.patched
import time
from callengine.store.clock import clock_us
before = time.monotonic(), clock_us()
set_offset(file, -3600)
after = time.monotonic(), clock_us()
print(before[1], after[1], after[0] - before[0], time.time_ns(), time.time())
"""


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_clock_moves_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    set_offset(file, 3600.5)
    said = _run("-c", _ASKED, str(file))
    before_us, after_us, between_s, after_ns, after_s = map(float, said.stdout.split())
    now_s = time.time()
    assert 3560 < before_us / 1e6 - now_s < 3600.6
    for moved_s in (after_us / 1e6, after_ns / 1e9, after_s):
        assert -3640 < moved_s - now_s <= -3599
    assert between_s < 1


def test_it_is_callengine_that_runs(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    file.touch()
    usual, moved = _run("-m", "callengine", "--help"), _run("-m", "tests.chaos.skewed", str(file), "--help")
    assert (moved.returncode, moved.stdout) == (0, usual.stdout)
    assert "run" in moved.stdout
    assert _run("-m", "tests.chaos.skewed", str(file)).returncode == 1


def test_nothing_of_ours_asks_a_clock_that_is_not_moved() -> None:
    other = re.compile(r"\b(?:datetime|date)\.(?:now|utcnow|today)\(|\b(?:gmtime|localtime|ctime)\(\)|CLOCK_REALTIME")
    taken = re.compile(r"from time import .*\btime(?:_ns)?\b")
    files = [path for room in ("callengine", "api", "ai", "config") for path in (_ROOT / room).rglob("*.py")]
    assert len(files) > 100
    found = [path for path in files if other.search(text := path.read_text()) or taken.search(text)]
    assert [path for path in found if "standin" not in path.parts] == []
