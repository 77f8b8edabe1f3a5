"""``/docs``: what it loads is its own, nothing else is let in, and a browser shows every operation."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from gevent import subprocess as cooperative
from gevent.pywsgi import WSGIServer

from callengine.api.blueprint import create_blueprint
from tests.api import fakes
from tests.api.fakes import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def loaded(text: str) -> list[str]:
    """What a page asks for by itself."""
    return re.findall(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="([^"]+)"', text)


@pytest.mark.parametrize("prefix", ["", "/telephony"])
def test_all_that_the_page_loads_is_there_wherever_it_is_mounted(world: World, prefix: str) -> None:
    app = Flask("host")
    app.register_blueprint(create_blueprint(fakes.services(world)), url_prefix=prefix or None)
    client = app.test_client()
    page = client.get(f"{prefix}/docs")
    assert page.content_type == "text/html; charset=utf-8"
    found = loaded(page.text)
    assert len(found) >= 4
    for relative in found:
        assert "//" not in relative
        path = urljoin(f"{prefix}/docs", relative)
        assert path.startswith(f"{prefix}/docs/")
        answer = client.get(path)
        assert answer.status_code == 200, path
        kind = {"css": "text/css", "js": "text/javascript", "png": "image/png"}[path.rpartition(".")[2]]
        assert answer.mimetype == kind
        assert len(answer.data) > 100


def test_nothing_else_is_let_in(client: FlaskClient) -> None:
    policy = client.get("/docs").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["style-src"], rules["connect-src"]) == ("'self'",) * 3
    assert "unsafe" not in policy
    assert "http" not in policy
    text = client.get("/docs").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "style=" not in text


def test_what_was_loaded_is_not_loaded_again(client: FlaskClient) -> None:
    first = client.get("/docs/swagger-ui-bundle.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get("/docs/nothing.js").status_code == 404


def test_the_plain_page_has_every_operation_and_its_examples(client: FlaskClient) -> None:
    text = client.get("/docs/plain").text
    document: Any = client.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f'id="{operation["operationId"]}"' in text
            assert f"{method.upper()} {path}" in text
            assert [sample["label"] for sample in operation["x-codeSamples"]] == ["curl", "Python"]
            assert all(escape(sample["source"]) in text for sample in operation["x-codeSamples"])


@pytest.fixture
def served(world: World) -> Iterator[str]:
    server = WSGIServer(("127.0.0.1", 0), fakes.app(world), log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_them_and_complains_of_nothing(served: str, tmp_path: Path, client: FlaskClient) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=20000"]
    command += ["--dump-dom", f"{served}/docs#/calls/list_calls"]
    done = cooperative.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if ":CONSOLE" in line]
    assert not [line for line in said if "Deprecated: escaping deep link" not in line], said
    shown = done.stdout.decode()
    document: Any = client.get("/openapi.json").json
    for operations in document["paths"].values():
        for operation in operations.values():
            assert f"{operation['tags'][0]}-{operation['operationId']}" in shown
    assert "curl -sS --fail-with-body" in shown  # of the one that the address opens
