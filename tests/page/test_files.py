"""The page's files: what they may not have in them, how they are served, and that the API has what they ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from callengine.api import front
from callengine.config.settings import Settings
from tests.api import fakes
from tests.api.fakes import World
from tests.api.test_mount import host
from tests.docs.vocabulary import timeline_names

FOLDER = Path(front.__file__).parent / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))
ASSETS = sorted(path.name for path in FOLDER.iterdir())
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTMLUnsafe|srcdoc"
    r"|\beval\b|new Function|setAttribute\(\"(style|on)|javascript:|localStorage|document\.cookie"
)
MAX_LINES = 400
MAX_BYTES = 122_000


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return fakes.app(World()).test_client()


def directives(policy: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_text_or_keeps_a_key(path: Path) -> None:
    source = path.read_text()
    assert MARKUP.findall(source) == []
    assert len(source.splitlines()) <= MAX_LINES
    # Whatever is not ours would be a third party.
    assert re.findall(r"https?://", source) == []
    if path.name != "session.js":
        assert "sessionStorage" not in source


def test_the_key_is_in_a_header_alone() -> None:
    """It is read where requests are made, and nowhere else."""
    users = {path.name for path in SCRIPTS if re.search(r"session\.key\(\)", path.read_text())}
    assert users == {"api.js", "stream.js", "app.js"}
    for name in ("api.js", "stream.js"):
        uses = [line for line in (FOLDER / name).read_text().splitlines() if "session.key()" in line]
        assert all("Bearer ${session.key()}" in line or "key = session.key()" in line for line in uses), uses


def test_the_document_has_nothing_inline() -> None:
    markup = (FOLDER / front.INDEX).read_text()
    for script in re.findall(r"<script\b[^>]*>(.*?)</script>", markup, re.DOTALL):
        assert script == ""
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", markup) == []
    assert re.findall(r'(?:src|href)="(?:https?:)?//', markup) == []
    # Relative, since the blueprint may be mounted anywhere.
    assert re.findall(r'(?:src|href)="/', markup) == []
    for name in re.findall(r'(?:src|href)="page/([^"]+)"', markup):
        assert name in ASSETS
    assert '<html lang="en">' in markup
    assert "maximum-scale" not in markup
    assert "user-scalable" not in markup


def test_every_module_that_is_imported_is_there() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert (FOLDER / name).is_file(), f"{path.name} imports {name}"
    for sheet in FOLDER.glob("*.css"):
        assert re.findall(r"@import|url\(", sheet.read_text()) == []


def test_it_is_small() -> None:
    assert sum((FOLDER / name).stat().st_size for name in ASSETS) < MAX_BYTES
    assert set(front.page_files()) == set(ASSETS), "a kind of file that is not served"


def test_the_policy_is_strict_on_every_file(client: FlaskClient) -> None:
    for path in ("/", *(f"/page/{name}" for name in ASSETS)):
        response = client.get(path)
        assert response.status_code == 200, path
        policy = directives(response.headers["Content-Security-Policy"])
        assert policy == {
            "default-src": ["'none'"],
            "script-src": ["'self'"],
            "style-src": ["'self'"],
            "connect-src": ["'self'"],
            "img-src": ["'self'"],
            "media-src": ["'self'"],
            "frame-ancestors": ["'none'"],
            "base-uri": ["'none'"],
            "form-action": ["'none'"],
            "require-trusted-types-for": ["'script'"],
            "trusted-types": ["'none'"],
        }
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    ("s3", "origins"),
    [
        (
            {"bucket": "calls", "region": "eu-north-1"},
            ["https://s3.eu-north-1.amazonaws.com", "https://calls.s3.eu-north-1.amazonaws.com"],
        ),
        ({"bucket": "calls", "endpoint_url": "https://store.example.com:9000/x"}, ["https://store.example.com:9000"]),
        (
            {"bucket": "calls", "endpoint_url": "https://store.example.com", "path_style": False},
            ["https://calls.store.example.com"],
        ),
    ],
)
def test_recordings_in_a_bucket_can_be_played_from_there(s3: dict[str, Any], origins: list[str]) -> None:
    settings = fakes.settings()
    chosen = settings.model_copy(
        update={
            "s3": settings.s3.model_copy(update=s3),
            "recordings": settings.recordings.model_copy(update={"storage": "s3"}),
        }
    )
    assert isinstance(chosen, Settings)
    policy = directives(front.policy(chosen))
    assert policy["media-src"] == ["'self'", *origins]
    assert policy["connect-src"] == ["'self'"]


def test_what_is_unchanged_is_not_sent_again(client: FlaskClient) -> None:
    for path in ("/", "/page/page.css"):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


def test_kinds_are_told_and_nothing_else_is_served(client: FlaskClient) -> None:
    assert client.get("/").content_type == "text/html; charset=utf-8"
    assert client.get("/page/app.js").content_type == "text/javascript; charset=utf-8"
    assert client.get("/page/page.css").content_type == "text/css; charset=utf-8"
    assert client.get("/page/icon.svg").content_type == "image/svg+xml"
    for name in ("", "nothing.js", "..%2Ffront.py", "../front.py", "%2e%2e/front.py", "__init__.py", "app.js/"):
        assert client.get(f"/page/{name}").status_code == 404, name


def test_it_works_wherever_it_is_mounted(world: World) -> None:
    client = host(world)
    assert client.get("/telephony/").status_code == 200
    assert client.get("/telephony/page/app.js").status_code == 200


@pytest.fixture
def world() -> World:
    return World()


def test_the_api_has_what_the_page_asks_for(client: FlaskClient) -> None:
    """Every path, and every parameter of the list's filters, as the document has them."""
    document: Any = client.get("/openapi.json").json
    asked = set()
    for path in SCRIPTS:
        source = path.read_text()
        for template in re.findall(r"[\"`](?:\$\{path\}|v1|readyz)[^\"`]*[\"`]", source):
            asked.add(template.strip('"`').replace("${path}", "v1/calls/${this.id}"))
    found = {re.sub(r"\$\{[^}]*\}", "*", one) for one in asked if not one.endswith("v1/recordings/")}
    known = {re.sub(r"\{[^}]*\}", "*", path.lstrip("/")) for path in document["paths"]}
    assert found - known == set()
    assert {"v1/key", "v1/calls", "v1/calls/*", "v1/calls/*/events", "v1/calls/*/analysis", "v1/stream"} <= found
    parameters = {one["name"] for one in document["paths"]["/v1/calls"]["get"]["parameters"]}
    source = (FOLDER / "calls.js").read_text() + (FOLDER / "live.js").read_text()
    used = {"status", "direction", "agent", "campaign", "lead", "disposition", "number"}
    used |= {"dialed_after", "dialed_before"}
    assert used | {"page", "page_size"} == parameters
    assert all(re.search(rf"\b{name}\b", source) for name in used)


def test_it_has_words_for_every_state_that_the_api_tells(client: FlaskClient) -> None:
    schemas: Any = client.get("/openapi.json").json["components"]["schemas"]  # type: ignore[index]
    words = (FOLDER / "words.js").read_text()
    for status in schemas["Call"]["properties"]["status"]["enum"]:
        assert f"{status}: " in words
    for source in schemas["Event"]["properties"]["source"]["enum"]:
        assert f"{source}: " in words
    timeline = (FOLDER / "lanes.js").read_text()
    assert [name for name in sorted(timeline_names()) if f"{name}: " not in timeline] == []
    recordings = (FOLDER / "recordings.js").read_text()
    for status in schemas["RecordingShown"]["properties"]["status"]["enum"]:
        assert f"{status}: " in recordings
    analysis = (FOLDER / "analysis.js").read_text()
    choices = schemas["AnalysisShown"]["properties"]["status"]["anyOf"][0]["enum"]
    for status in choices:
        assert status.startswith("completed") or f"{status}: " in analysis, status
