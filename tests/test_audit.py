"""The audit of dependencies, with pip-audit itself on a service of our own in PyPI's place."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import audit
from tests.audit import Accepted, BrokenAudit, accepted, findings

TODAY = datetime.date(2026, 11, 22)
VULNERABILITY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "it lets anybody in",
    "fixed_in": ["2.0"],
    "published": "2026-11-01T00:00:00Z",
    "withdrawn": None,
}
# requests.get as a library would call it, led to the service that the test has instead.
_LED_ASTRAY = """
import os, re, requests
asked = requests.Session.request
requests.Session.request = lambda self, method, url, **more: asked(
    self, method, re.sub("^https://[^/]+", os.environ["OTHER_SERVICE"], url), **more
)
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Service:
    """Answers as PyPI's JSON API. ``known`` are vulnerabilities by package; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.status = 200
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                name = self.path.split("/")[2]
                body = json.dumps({"info": {}, "vulnerabilities": service.known.get(name, [])}).encode()
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def run(tmp_path: Path, service: Service) -> Run:
    """Runs the audit of a lock with two packages; ``url`` is where PyPI is."""
    (tmp_path / "sitecustomize.py").write_text(_LED_ASTRAY)
    lock = "".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in ("good", "bad"))
    (tmp_path / "requirements.lock").write_text(lock)
    call = (
        "import sys; from pathlib import Path; from tests import audit;"
        "audit.ROOT = Path(sys.argv[1]); sys.prefix = sys.argv[1];"
        "sys.exit(audit.main(audit.ROOT / 'requirements.lock', audit.ROOT / 'pyproject.toml'))"
    )

    def _run(allowed: str = "", url: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "pyproject.toml").write_text(f"[tool.callengine.audit]\naccepted = [{allowed}]\n")
        path = os.pathsep.join((str(tmp_path), str(audit.ROOT)))
        environ = {**os.environ, "PYTHONPATH": path, "OTHER_SERVICE": url or service.url, "NO_PROXY": "*"}
        command = [sys.executable, "-c", call, str(tmp_path)]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)

    return _run


def test_a_finding_fails_it_unless_it_is_accepted(run: Run, service: Service) -> None:
    service.known["bad"] = [VULNERABILITY]
    done = run()
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "audit: bad 1.0: PYSEC-2026-1 (fixed in: 2.0)",
        "audit: 2 packages, 1 findings",
    ]
    assert service.asked[1:] == ["/pypi/good/1.0/json", "/pypi/bad/1.0/json"]
    done = run('{ id = "CVE-2026-1", reason = "never called", until = 2999-01-01 }')
    assert (done.returncode, done.stdout) == (0, "audit: 2 packages, 0 findings\n")


@pytest.mark.parametrize("away", ["mirror", "refused"])
def test_without_advisories_the_check_goes_on_and_says_so(run: Run, service: Service, away: str) -> None:
    service.status = 404
    began = time.monotonic()
    done = run(url="http://127.0.0.1:9" if away == "refused" else "")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("audit: skipped, no advisories from here: ")
    assert done.stdout.count("\n") == 1
    assert time.monotonic() - began < 30


def test_a_lock_that_cannot_be_read_fails_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("good>=1\n")
    done = run()
    assert done.returncode == 1
    assert done.stdout.startswith("audit: broken: ")


def test_what_is_accepted_ends(tmp_path: Path) -> None:
    found = [{"name": "bad", "version": "1.0", "vulns": [{"id": "X", "aliases": ["Y"], "fix_versions": []}]}]
    for until, still in ((TODAY, False), (TODAY - datetime.timedelta(days=1), True)):
        lines = findings(found, [Accepted("Y", "why", until)], TODAY)
        assert bool(lines) is still
    assert "accepted until 2026-11-21" in lines[0]


@pytest.mark.parametrize(
    "entry",
    ['{ id = "X" }', '{ id = "X", reason = " ", until = 2027-01-01 }', '{ id = "X", reason = "r", until = "2027" }'],
)
def test_what_is_accepted_has_a_reason_and_an_end(tmp_path: Path, entry: str) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(f"[tool.callengine.audit]\naccepted = [{entry}]\n")
    with pytest.raises(BrokenAudit):
        accepted(project)


def test_our_own_list_can_be_read() -> None:
    accepted(audit.ROOT / "pyproject.toml")
