"""The pages say what there is: every event, entry of a timeline, problem type and command, and nothing that is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from callengine.calls.call import EventName
from callengine.cli.main import build_parser
from callengine.config.describe import TABLES
from callengine.config.settings import Settings
from callengine.config.sources import fields
from tests.cli.test_main import parsers
from tests.docs.vocabulary import ROOT, abandoned_reasons, problem_types, timeline_names

DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


def named(page: str, heading: str = "") -> set[str]:
    """What stands in backquotes in the first column of the table below ``heading``."""
    text = PAGES[page].partition(heading)[2] if heading else PAGES[page]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table, (page, heading)
    return {word for row in table[0].splitlines() for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_the_site_has_every_page_and_leads_to_it(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for name in PAGES:
        built = name.replace(".md", ".html")
        assert (site / built).is_file()
        assert f'href="{built}"' in home or name == "index.md", f"nothing leads to {name}"


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//[^"]*', text), path.name
        assert not re.findall(r'<link\b[^>]*\bhref="(?:https?:)?//[^"]*', text), path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_only_the_pages_are_in_it(site: Path) -> None:
    assert not [path for path in site.rglob("*") if path.suffix in {".py", ".md", ".jsonl"}]


# -- words ------------------------------------------------------------------------------------------------------------


def test_every_entry_of_a_timeline_is_explained() -> None:
    assert named("calls.md", "## The timeline") - {"recording_paused", "recording_resumed"} == timeline_names()


def test_every_reason_for_not_dialling_is_explained() -> None:
    assert named("calls.md", "## Why a call was never dialled") == abandoned_reasons() | {"failure_reason"}


def test_every_problem_type_is_listed() -> None:
    listed = set(re.findall(r"`([a-z-]+)`", PAGES["api.md"].partition("`type` ends with")[2].partition("\n\n")[0]))
    from_http = {"content-too-large"}  # which the library raises, with its own words
    assert listed - from_http - {"errors"} == problem_types()


@pytest.mark.parametrize("page", ["webhooks.md", "stream.md"])
def test_every_event_is_named(page: str) -> None:
    assert set(EventName) <= set(re.findall(r"`(call\.[a-z_]+)`", PAGES[page]))


def test_every_command_and_every_exit_code_is_there() -> None:
    for name, parser in parsers(build_parser()).items():
        section = PAGES["commands.md"].partition(f" `callengine {name}`\n")[2].partition("\n#")[0]
        assert section, name
        for action in parser._actions:
            for option in action.option_strings:
                assert re.search(rf"{option}\b", section) or option in {"-h", "--help", "--config", "--json"}, (
                    name,
                    option,
                )
    from callengine.cli import exits

    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    told = {
        int(code)
        for code in re.findall(r"^ *(\d+) ", PAGES["commands.md"].rpartition("## Exit codes")[2], re.MULTILINE)
    }
    assert codes <= told


def test_settings_that_pages_speak_of_are_there() -> None:
    known = {f"{section}.{name}" for section, name, _ in fields(Settings)}
    known |= {f"originate.{table}" for table in TABLES}
    sections = "|".join(Settings.model_fields)
    for page, text in PAGES.items():
        if page == "architecture.md":  # which speaks of modules
            continue
        for word in re.findall(rf"`((?:{sections})\.[a-z_0-9]+)`", text):
            assert word in known, f"{page} speaks of {word}"


def test_metrics_that_pages_speak_of_are_there() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "callengine").rglob("*.py"))
    source += "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ai").rglob("*.py"))
    # The recording rules: what Prometheus makes of them.
    source += "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "config" / "prometheus").glob("*.yml"))
    for page, text in PAGES.items():
        for word in re.findall(r"`(callengine_[a-z_]+[a-z])\b(?![=.])", text):
            name = re.sub(r"_(bucket|count|sum|total)$", "", word)
            assert name in source, f"{page} speaks of {word}"
